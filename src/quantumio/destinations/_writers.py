"""Threads of a destination that work on several objects at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar, cast

from quantumio.errors import StateError
from quantumio.system.threads import Pool

__all__ = ["Writers"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class Writers:
    """A pool of threads, made at first use. Thread-safe.

    Parameters
    ----------
    name
        Of the destination, for the names of the threads.
    threads
        How many.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    def each(self, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """Apply a function to all, in parallel where there are several; then raise an error, if any.

        Nothing goes on behind the caller's back: every call has ended when this returns or raises.
        """
        if len(items) < 2:
            return [function(item) for item in items]
        results: list[_R | None] = [None] * len(items)
        indices = iter(range(len(items)))

        def work() -> None:  # handing over each item would take as long as writing a small one
            for index in indices:
                results[index] = function(items[index])

        with self._lock:
            if self._pool is None:
                self._pool = Pool(self._threads, f"quantumio-{self._name}")
            pending: list[Future[None]] = []
            is_refused = False
            try:
                for _ in range(min(self._threads, len(items))):
                    pending.append(self._pool.submit(work))  # noqa: PERF401  those before an error count
            except (RuntimeError, StateError):
                # The interpreter ends, or there are no threads: what was accepted is written all the same.
                is_refused = True
        if is_refused:
            work()
        for future in pending:
            future.exception()
        for future in pending:
            future.result()
        return cast("list[_R]", results)

    def close(self) -> None:
        """End the threads; idempotent."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
