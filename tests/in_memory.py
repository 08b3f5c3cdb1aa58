"""Where tests have their files: in memory, if there is a directory there with room.

Nobody waits for a disk then, which is most of the time where files are small; and some file systems are slow
long after many files were deleted (ext4 without a journal looks at every inode that it has freed).

SIGKILL leaves what a process has written, on a disk as in memory; and what a disk forgets in a power cut is
computed, not tried. So the tests prove the same there. The journal refuses a file system in memory unless it
may use one: scenarios of crashes tell it that it may, and other tests of it are marked ``on_disk``.
"""

import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
ROOM_BYTES = 4 << 30


def directory() -> str | None:
    """Return the directory in memory, or None where there is none, or one without room."""
    has_room = SHARED.is_dir() and shutil.disk_usage(SHARED).free >= ROOM_BYTES
    return str(SHARED) if has_room else None


def room():
    """Return a temporary directory, as a context."""
    return tempfile.TemporaryDirectory(prefix="quantumio-tests-", dir=directory())
