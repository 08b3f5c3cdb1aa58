"""Writes that an interrupt of their caller cannot break off half-way.

Python delivers signals (Ctrl-C, timers) to the main thread alone, between any two of its instructions: inside
of COMMIT, or between taking a lock and noting that it is held. No ``except`` clause is safe from that. What
writes therefore never runs on the main thread: it is handed to one thread of the process, and an interrupt
breaks off the waiting for it, while the write itself goes on to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

from attrs import define, field

from quantumio.system import environment, threads

__all__ = ["after_abandoned", "uninterrupted"]

_T = TypeVar("_T")
_NAME: Final = "registry-writes"


@define(eq=False)
class _Job:
    """Work, and the box for its end: queues in C, because an interrupt cannot leave them half changed."""

    work: Callable[[], object]
    box: SimpleQueue[tuple[object, BaseException | None]] = field(factory=SimpleQueue)

    def run(self) -> None:
        try:
            self.box.put((self.work(), None))
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            self.box.put((None, error))

    def result(self) -> object:
        value, error = self.box.get()
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # no cycle of frame and error


class _Worker:
    """The thread, which works on one job after the other, in order. It ends with the process."""

    def __init__(self) -> None:
        self.unfinished: set[_Job] = set()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        threads.start(threading.Thread(target=self._serve, name=_NAME, daemon=True))

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            job.run()
            self.unfinished.discard(job)
            del job  # an idle thread keeps nothing alive

    def run(self, work: Callable[[], object]) -> object:
        job = _Job(work)
        self.unfinished.add(job)
        self._jobs.put(job)
        return job.result()


_workers: dict[int, _Worker] = {}  # by process: a fork takes no threads with it


def uninterrupted(work: Callable[[], _T]) -> _T:
    """Run work; an exception that a signal raises meanwhile ends the waiting, not the work.

    On threads that get no signals, it simply runs. What was broken off before comes first: writes keep the
    order in which the program made them.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    pid = environment.pid()
    worker = _workers.get(pid)
    if worker is None:
        try:
            worker = _workers[pid] = _Worker()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            return work()
    return cast(_T, worker.run(work))


def after_abandoned(work: Callable[[], _T]) -> _T:
    """Run work that asks what became of writes: after all that an interrupted caller no longer waits for."""
    worker = _workers.get(environment.pid())
    if worker is not None and worker.unfinished:
        worker.run(_nothing)
    return uninterrupted(work)


def _nothing() -> Any:
    return None
