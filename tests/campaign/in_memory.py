"""Where the steps of a campaign have their repositories: in memory, if there is a directory there with room.

SIGKILL leaves what a process has written, on a disk as in memory; and what a disk forgets in a power cut is
computed, not tried. So it proves the same there, and no step waits for a disk, which may be most of its time.
The journal refuses a file system in memory unless it may use one, so it is told that it may.
"""

import contextlib
import functools
import random
import shutil
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from quantumio.system import files
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


SYNC_S = 0.003
"""How long a sync takes on average, of ``slowly``."""


def slowly(scenario, seed):
    """Return a scenario whose syncs take their time as on a disk, and another one for each seed.

    What several threads write meanwhile waits for the next sync: the order of the operations, and how much is
    not safe when the power fails, depend on it.
    """
    chance = random.Random(seed)

    def delayed(sync):
        def wait_and_sync(*arguments):
            time.sleep(chance.expovariate(1 / SYNC_S))
            return sync(*arguments)

        return wait_and_sync

    @functools.wraps(scenario)
    def run(repository, acknowledge):
        with contextlib.ExitStack() as patches:
            for name in ("_fsync", "_fsync_directory"):
                patches.enter_context(patch.object(files, name, delayed(getattr(files, name))))
            scenario(repository, acknowledge)

    return run


def __getattr__(name):
    """Return what prepares a repository, by its name in the scenarios: other processes can import it."""
    prepared = functools.partial(prepare, name)
    prepared.__module__, prepared.__qualname__ = __name__, name
    return prepared
