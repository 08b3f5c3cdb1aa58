"""Making room in memory: outputs of open contexts go to files without a name, which end with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from quantumio.engine._budget import ByteBudget
from quantumio.engine._context import Context
from quantumio.ports import Chunks
from quantumio.system import files

__all__ = ["Spill"]


class Spill:
    """Moves outputs from memory to files. Thread-safe.

    Nothing is promised of a spilled output that is not promised of one in memory: the file has no name and
    is not synced.

    Parameters
    ----------
    directory
        Where the files are: a directory of a local file system that is no memory.
    contexts
        Returns the contexts that may have something to be spilled.
    min_free_bytes
        What has to stay free on the file system: it is the repository's, and others need it too.
    """

    def __init__(
        self,
        directory: Path,
        budget: ByteBudget,
        contexts: Callable[[], Iterable[Context]],
        *,
        min_free_bytes: int,
    ) -> None:
        self._directory = directory
        self._budget = budget
        self._contexts = contexts
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self.spilled_bytes = 0

    def make_room(self, nbytes: int) -> None:
        """Spill outputs of open contexts, the largest first, until so many bytes fit, or nothing is left."""
        with self._lock:  # one at a time: a second would spill what the first has made room with
            sizes = [(context.spillable_bytes, context) for context in self._contexts()]
            for size, context in sorted(sizes, key=lambda one: one[0], reverse=True):
                if size == 0 or self._budget.fits(nbytes):
                    return
                self.spilled_bytes += context.spill(self._store, lambda: self._budget.fits(nbytes))

    def _store(self, chunks: Chunks) -> memoryview:
        nbytes = sum(memoryview(chunk).nbytes for chunk in chunks)
        if files.free_bytes(self._directory) - nbytes < self._min_free_bytes:
            raise OSError(f"less than {self._min_free_bytes} bytes would stay free at {self._directory}")
        return files.map_unnamed(self._directory, chunks)
