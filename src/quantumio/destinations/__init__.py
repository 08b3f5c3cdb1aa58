"""Where outputs go: files, objects, workspaces, databases and memory, by name and opened at first use."""

from quantumio.destinations._identity import store_gone
from quantumio.destinations._opened import OpenedDestinations, check_settings
from quantumio.destinations._options import Opening, Options
from quantumio.destinations.direct import DirectDestination

__all__ = [
    "DirectDestination",
    "OpenedDestinations",
    "Opening",
    "Options",
    "check_settings",
    "store_gone",
]
