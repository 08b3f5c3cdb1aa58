"""The only doors to the machine: files, time, chance and identifiers, threads; and where it may stop.

Everything that the engine, the destinations and the registry do to a local file goes through
`quantumio.system.files`; every clock, random number and UUID comes from `quantumio.system.environment`, every
thread from `quantumio.system.threads`.
That makes each such operation countable, and replaceable in a simulation. Each reaches named points of
`quantumio.system.failpoints`, at which a test can kill the process.
"""

from quantumio.system import deadlines, environment, failpoints, file_systems, files, os_errors

__all__ = ["deadlines", "environment", "failpoints", "file_systems", "files", "os_errors"]
