"""Where killed processes have their repositories: in memory, if there is a directory there with room.

SIGKILL leaves what a process has written, on a disk as in memory; and what a disk forgets in a power cut is
computed, not tried. So it proves the same there, and nobody waits for a disk, which may be most of the time.
The journal refuses a file system in memory unless it may use one: the scenarios tell it that it may.
"""

import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
ROOM_BYTES = 1 << 30


def room():
    """Return a temporary directory, as a context."""
    in_memory = SHARED.is_dir() and shutil.disk_usage(SHARED).free >= ROOM_BYTES
    return tempfile.TemporaryDirectory(prefix="quantumio-crash-", dir=SHARED if in_memory else None)
