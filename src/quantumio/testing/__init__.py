"""For authors of plug-ins: suites for their destinations, destinations that fail on purpose, and crashes.

Nothing here is used at run time. It needs pytest, hypothesis and trio. `crash_everywhere` kills a scenario at
each of its points and has somebody look at what it leaves; `power_loss` does so for power cuts; `simulate`
runs several processes in a world whose every chance comes from a seed.
"""

from quantumio.testing._crash import Acknowledge, Crash, CrashReport, Violation, crash_everywhere
from quantumio.testing._destination_suites import ObjectDestinationSuite, make_placement
from quantumio.testing._faulty import Fault, FaultyDestination, FaultyTableDestination
from quantumio.testing._power_loss import PowerCut, PowerLossReport, power_loss
from quantumio.testing._simulation import (
    SimulatedProcess,
    Simulation,
    SimulationFaults,
    SimulationReport,
    simulate,
)
from quantumio.testing._table_suite import TableDestinationSuite

__all__ = [
    "Acknowledge",
    "Crash",
    "CrashReport",
    "Fault",
    "FaultyDestination",
    "FaultyTableDestination",
    "ObjectDestinationSuite",
    "PowerCut",
    "PowerLossReport",
    "SimulatedProcess",
    "Simulation",
    "SimulationFaults",
    "SimulationReport",
    "TableDestinationSuite",
    "Violation",
    "crash_everywhere",
    "make_placement",
    "power_loss",
    "simulate",
]
