"""Syncs that take their time, as on a disk."""

import contextlib
import functools
import random
import time
from unittest.mock import patch

from quantumio.system import files

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
