"""The only doors to the machine: local files, and time, randomness and identifiers.

Everything that the engine, the destinations and the registry do to a local file goes through
`quantumio.system.files`; every clock, random number and UUID comes from `quantumio.system.environment`.
That makes each such operation countable, and replaceable in a simulation.
"""

from quantumio.system import environment, files

__all__ = ["environment", "files"]
