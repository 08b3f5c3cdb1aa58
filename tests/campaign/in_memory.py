"""Where the steps of a campaign have their repositories: in memory, if there is a directory there with room.

SIGKILL leaves what a process has written, on a disk as in memory; and what a disk forgets when the power fails
is computed, not tried. So it proves the same there, and no step waits for a disk, which on a slow one is most
of its time. The journal refuses a file system in memory unless it may use one, so it is told that it may.
"""

import functools
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from tests.crash import scenarios

SHARED = Path("/dev/shm")
ROOM_BYTES = 1 << 30


def room():
    """Return a temporary directory, as a context."""
    in_memory = SHARED.is_dir() and shutil.disk_usage(SHARED).free >= ROOM_BYTES
    return tempfile.TemporaryDirectory(prefix="qio-campaign-", dir=SHARED if in_memory else None)


def prepare(name, repository):
    """Make the repository of a scenario, whose journal may be in memory."""
    make = scenarios.make

    def make_in_memory(repository, **config):
        runtime = {**config.pop("runtime", {}), "allow_volatile_journal": True}
        make(repository, runtime=runtime, **config)

    with patch.object(scenarios, "make", make_in_memory):
        getattr(scenarios, name)(repository)


def __getattr__(name):
    """Return what prepares a repository, by its name in the scenarios: other processes can import it."""
    prepared = functools.partial(prepare, name)
    prepared.__module__, prepared.__qualname__ = __name__, name
    return prepared
