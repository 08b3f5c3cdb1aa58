"""For authors of plug-ins: suites that their destinations must pass, and destinations that fail on purpose.

Nothing here is used at run time. The suites need pytest and hypothesis.
"""

from quantumio.testing._destination_suites import ObjectDestinationSuite, make_placement
from quantumio.testing._faulty import Fault, FaultyDestination, FaultyTableDestination
from quantumio.testing._table_suite import TableDestinationSuite

__all__ = [
    "Fault",
    "FaultyDestination",
    "FaultyTableDestination",
    "ObjectDestinationSuite",
    "TableDestinationSuite",
    "make_placement",
]
