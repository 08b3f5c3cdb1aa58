"""A thread with an event loop that runs jobs, handed over from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final

import anyio
from attrs import frozen

from quantumio.engine._waiting import LoopCaller, Reply
from quantumio.errors import InternalError
from quantumio.system import threads

__all__ = ["Job", "LoopThread"]

_LOOK_AGAIN_S: Final = 1.0
"""How often the loop looks for jobs that nobody told it of, in seconds.

An interrupt between handing a job over and waking the loop leaves the job waiting; this is when it is found.
"""


def _nothing() -> None:
    pass


@frozen(eq=False)
class Job:
    """Work for the loop.

    Attributes
    ----------
    run
        Does it. Must not raise.
    refuse
        Called instead, in whatever thread, where the loop has ended: nobody may wait for it in vain.
    take
        Called on the loop just before the job leaves the queue.
    owner
        Whose it is, for `LoopThread.holds`.
    """

    run: Callable[[], Coroutine[object, object, None]]
    refuse: Callable[[], None]
    take: Callable[[], None] = _nothing
    owner: object = None


class LoopThread:
    """Starts at the first job; runs every job that was handed over before it ended, and refuses all others.

    Handing over is one append to a deque: an interrupt of the caller hands a job over whole, or not at all.

    Parameters
    ----------
    name
        Of the thread.
    run
        Coroutine function that is called on the loop with `serve`, and awaits it.
    """

    def __init__(self, name: str, run: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        self._name = name
        self._run = run
        self._permits = [None]  # to start the thread: one
        self._permitting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._started: Reply[LoopCaller] = Reply()
        self._ended: Reply[None] = Reply()
        self._jobs: deque[Job] = deque()
        self._stopping = False
        self._handed_over: anyio.Event | None = None

    @property
    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def holds(self, owner: object) -> bool:
        """Whether a job of this owner waits to be taken."""
        return any(job.owner is owner for job in reversed(tuple(self._jobs)))  # mostly it is the newest

    def owners(self) -> list[object]:
        """Owners of the jobs that wait to be taken."""
        return [job.owner for job in tuple(self._jobs) if job.owner is not None]

    def hand_over(self, job: Job) -> None:
        """Have the loop run a job, or have the job refused where the loop has ended."""
        caller = self.start()
        self._jobs.append(job)
        with suppress(RuntimeError):  # the loop has ended
            caller.call(self._look)
        if self._ended.is_given:  # looked at after the append: the loop refused the rest before, or not this
            self._refuse_rest()

    def stop(self, timeout_s: float) -> bool:
        """End after the jobs that were handed over; False if some of them still run after the timeout."""
        self._stopping = True
        started = self._started
        if not started.is_given:
            return True
        with suppress(RuntimeError):
            started.result().call(self._look)
        if not self._ended.wait(timeout_s):
            return False
        assert self._thread is not None
        self._thread.join(timeout_s)
        return True

    # -- the thread
    def start(self) -> LoopCaller:
        """Start the thread and its loop, unless they run.

        Raises
        ------
        StateError
            No thread could be started (``kind="threads"``). Whoever comes next tries again.
        InternalError
            No event loop could be made. Whoever comes next tries again.
        """
        started = self._started  # the one that this call waits for: a failure puts another in its place
        if not started.is_given:
            threads.start_uninterrupted(self._begin)
        try:
            return started.result()
        except OSError as error:
            raise InternalError(
                f"the runtime's event loop could not be started: {error}",
                hint="close files, or raise the limit of open files (ulimit -n), and try again",
            ) from error

    def _begin(self) -> None:
        with self._permitting:
            if not self._permits:
                return  # somebody was first
            self._permits.pop()
        try:
            # A daemon, so that an exiting interpreter is not kept waiting: closing drains it.
            self._thread = threading.Thread(
                target=self._run_loop, args=(self._main,), name=self._name, daemon=True
            )
            threads.start(self._thread)
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            self._fail(error)

    def _run_loop(self, main: Callable[[], Awaitable[None]]) -> None:
        try:
            anyio.run(main)
        except BaseException as error:
            if self._started.is_given:
                raise
            self._fail(error)  # for want of descriptors, or of a worker thread

    def _fail(self, error: BaseException) -> None:
        """Tell who waits for the start; whoever comes next tries again."""
        with self._permitting:  # who sees the new reply finds the permit
            failed, self._started = self._started, Reply()
            self._permits.append(None)
        failed.fail(error)

    async def _main(self) -> None:
        await threads.keep_worker()
        self._handed_over = anyio.Event()
        self._started.give(LoopCaller())
        try:
            await self._run(self._serve)
        finally:
            self._ended.give(None)
            self._refuse_rest()

    async def _serve(self) -> None:
        """Start jobs in the order in which they were handed over, until `stop`; and wait for all."""
        async with anyio.create_task_group() as running:
            while True:
                self._handed_over = anyio.Event()
                while self._jobs:
                    job = self._jobs[0]
                    job.take()
                    self._jobs.popleft()  # after that: at every moment it is found somewhere
                    running.start_soon(job.run)
                if self._stopping:
                    return
                with anyio.move_on_after(_LOOK_AGAIN_S):
                    await self._handed_over.wait()

    def _look(self) -> None:
        assert self._handed_over is not None
        self._handed_over.set()

    def _refuse_rest(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            job.refuse()
