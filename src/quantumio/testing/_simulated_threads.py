"""Threads that take turns: each runs until it waits for something, and a seeded scheduler says who is next.

A simulated thread is a thread of the system that is never let run beside another one: it is resumed by a task
of trio, which waits until it gives the turn back. So real code that blocks runs unchanged, and the order of
everything that happens is the order of trio's tasks, which comes from a seed.
"""

from __future__ import annotations

import _thread
import contextlib
import contextvars
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from queue import Empty
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import trio

from quantumio.testing._simulated_clock import sleep

__all__ = [
    "NURSERY",
    "Killed",
    "SimulatedEvent",
    "SimulatedLock",
    "SimulatedReentrantLock",
    "SimulatedSignal",
    "SimulatedThread",
    "on_one_core",
    "run_in_turn",
    "run_now",
    "turn",
    "wait_until",
]

_T = TypeVar("_T")

_local = threading.local
_start_new_thread = _thread.start_new_thread  # which a simulation replaces

_FIRST_LOOK_S: Final = 0.001
_LONGEST_LOOK_S: Final = 2.0
"""How long who waits for a lock waits before looking again, in simulated seconds: doubled each time."""


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the calling thread, and those that it starts, on one core: always the same of a process.

    Of threads that take turns one alone has work to do. On the core of the one before it is there at once; on
    another one it has to be woken first, which takes longer than what it does.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_core_of(os.getpid())})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@cache
def _core_of(pid: int) -> int:
    """Return the core that the process is on when it asks first: one that had little to do."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[36])


class Killed(BaseException):
    """Unwinds what a simulated process was doing when it was killed; nothing of it has an effect any more."""


class _Turn:
    """One thread of the system, and the turn that it and its task hand to each other."""

    idle: list[_Turn] = []  # noqa: RUF012  threads are started once for all simulations

    name = "simulated"

    def __init__(self) -> None:
        self._given = _thread.allocate_lock()
        self._returned = _thread.allocate_lock()
        self._given.acquire()
        self._returned.acquire()
        self._work: Callable[[], object] = _nothing
        self._wanted: Callable[[], Awaitable[object]] | None = None
        self._answer: tuple[object, BaseException | None] = (None, None)
        _start_new_thread(self._serve, ())

    def _serve(self) -> None:
        while True:
            self._given.acquire()
            _here.turn = self
            try:
                self._answer = (self._work(), None)
            except BaseException as error:  # noqa: BLE001  raised in the task
                self._answer = (None, error)
            self._work, self._wanted = _nothing, None
            self._returned.release()

    # -- in the thread
    def wait_for(self, wanted: Callable[[], Awaitable[_T]]) -> _T:
        """Give the turn back until the task has awaited something."""
        self._wanted = wanted
        self._returned.release()
        self._given.acquire()
        value, error = self._answer
        self._answer = (None, None)
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # what was awaited

    # -- in the task
    def begin(self, work: Callable[[], object]) -> None:
        self._work = work

    def resume(self) -> Callable[[], Awaitable[object]] | None:
        """Let the thread run; returns what it wants to be awaited, None if it has ended."""
        self._given.release()
        self._returned.acquire()
        return self._wanted

    def answer(self, value: object, error: BaseException | None) -> None:
        self._answer = (value, error)

    def end(self) -> object:
        (value, error), self._answer = self._answer, (None, None)
        self.idle.append(self)
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # no cycle of frame and error


class _Here(_local):
    turn: _Turn | None = None


_here = _Here()


def turn() -> _Turn | None:
    """Return the turn of the calling thread, None where it is none of the simulated ones."""
    return _here.turn


async def run_in_turn(
    function: Callable[..., _T], *arguments: object, limiter: Any = None, abandon_on_cancel: bool = False
) -> _T:
    """Run a function in a simulated thread; as `anyio.to_thread.run_sync`, whose place it takes."""
    if limiter is not None:
        async with limiter:
            return await run_in_turn(function, *arguments)
    await trio.lowlevel.checkpoint()
    one = _Turn.idle.pop() if _Turn.idle else _Turn()
    context = contextvars.copy_context()
    one.begin(lambda: context.run(function, *arguments))
    with anyio.CancelScope(shield=True):  # as threads are: to be waited for
        while (wanted := one.resume()) is not None:
            try:
                one.answer(await wanted(), None)
            except trio.Cancelled:  # shielded from all but the death of its process
                one.answer(None, Killed())
            except Exception as error:  # noqa: BLE001  raised in the thread
                one.answer(None, error)
    return one.end()  # type: ignore[return-value]  # what the function returned


def _sleep(seconds: float) -> None:
    here = _here.turn
    if here is None:
        raise RuntimeError("a lock is waited for on the event loop, which nobody could release")
    here.wait_for(partial(sleep, seconds))


def wait_until(is_over: Callable[[], bool], timeout_s: float | None = None) -> bool:
    """Look again and again, ever more rarely, in simulated time; False on timeout."""
    pause_s, waited_s = _FIRST_LOOK_S, 0.0
    while not is_over():
        if timeout_s is not None and waited_s >= timeout_s:
            return False
        _sleep(pause_s)
        waited_s += pause_s
        pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
    return True


# -- what stands for the standard library's own
class SimulatedLock:
    """Stands for `threading.Lock`."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        if self._lock.acquire(False):
            return True
        return blocking and wait_until(lambda: self._lock.acquire(False), None if timeout < 0 else timeout)

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether anybody has it."""
        return self._lock.locked()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class SimulatedReentrantLock(SimulatedLock):
    """Stands for `threading.RLock`."""

    def __init__(self) -> None:
        super().__init__()
        self._owner, self._count = 0, 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more where this thread has it."""
        me = _thread.get_ident()
        if self._owner != me and not super().acquire(blocking, timeout):
            return False
        self._owner = me
        self._count += 1
        return True

    def release(self) -> None:
        """Give it back as often as it was taken."""
        if self._owner != _thread.get_ident():
            raise RuntimeError("cannot release a lock that another thread has taken")
        self._count -= 1
        if not self._count:
            self._owner = 0
            super().release()

    def _is_owned(self) -> bool:  # what `threading.Condition` asks of it
        return self._owner == _thread.get_ident()


class SimulatedEvent:
    """Stands for `threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[trio.Event] = []

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Have it happen."""
        self._is_set = True
        for event in tuple(self._waiting):
            _wake(event)

    def clear(self) -> None:
        """Have it not happened."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it."""
        if not self._is_set:
            here = _here.turn
            assert here is not None, "the event loop would wait for itself"
            here.wait_for(lambda: self._wait(timeout))
        return self._is_set

    async def _wait(self, timeout_s: float | None) -> None:
        event = trio.Event()
        self._waiting.append(event)
        try:
            with anyio.move_on_after(timeout_s):
                await event.wait()
        finally:
            self._waiting.remove(event)


def _wake(event: trio.Event) -> None:
    """Set an event, from any of the simulation's threads."""
    if (here := _here.turn) is None:
        event.set()
    else:
        here.wait_for(_awaitable(event.set))


class SimulatedSignal(Generic[_T]):
    """Stands for `quantumio.system.environment.Signal`: one thread waits, any may wake it."""

    def __init__(self) -> None:
        self._given: list[_T] = []
        self._event: trio.Event | None = None

    def put(self, value: _T) -> None:
        """Wake who waits."""
        self._given.append(value)
        if (event := self._event) is not None:
            _wake(event)

    def get(self, timeout: float | None = None) -> _T:
        """Wait until somebody wakes it; as a queue, raise `queue.Empty` where nobody did in time."""
        if not self._given:
            here = _here.turn
            assert here is not None, "the event loop would wait for itself"
            here.wait_for(lambda: self._wait(timeout))
        if not self._given:
            raise Empty
        return self._given.pop(0)

    async def _wait(self, timeout_s: float | None) -> None:
        self._event = trio.Event()
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        self._event = None


class SimulatedThread:
    """Stands for `threading.Thread`; an event loop's becomes a task on the simulation's own loop."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] = lambda: None,
        name: str = "",
        args: tuple[Any, ...] = (),
        *,
        daemon: bool = False,
    ) -> None:
        self.name = name
        # A thread that is given a coroutine function runs an event loop: here there is one for all.
        has_loop = bool(args) and inspect.iscoroutinefunction(args[0])
        self._work = args[0] if has_loop else lambda: run_in_turn(target, *args)
        self._ended = SimulatedEvent()

    def start(self) -> None:
        """Start it in the process of who calls."""
        here = _here.turn
        assert here is not None, "only a simulated thread starts another one"
        here.wait_for(_awaitable(lambda: NURSERY.get().start_soon(self._run)))

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._ended.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._ended.wait(timeout)


NURSERY: contextvars.ContextVar[trio.Nursery] = contextvars.ContextVar("nursery")
"""Of the simulated process."""


def run_now(executor: object, function: Callable[..., _T], /, *arguments: Any, **keywords: Any) -> Future[_T]:
    """Stand for ``ThreadPoolExecutor.submit``: run at once, in the thread that asks."""
    future: Future[_T] = Future()
    try:
        future.set_result(function(*arguments, **keywords))
    except Exception as error:  # noqa: BLE001  raised where the result is asked for
        future.set_exception(error)
    return future


def _awaitable(function: Callable[[], _T]) -> Callable[[], Awaitable[_T]]:
    async def run() -> _T:
        return function()

    return run


def _nothing() -> None:
    pass
