"""Where threads come from: the one door through which work is handed to another thread.

The system refuses a thread where a limit is reached: of processes (``ulimit -u``), of a control group, of
memory (each thread needs room for its stack). Work whose thread was refused has not begun, so what became of
it is never unknown. Refused threads are asked for again, after ever longer pauses; who cannot wait is told by
an error that says so.
"""

from __future__ import annotations

import _thread
import logging
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from typing import Final, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from typing_extensions import TypeVarTuple, Unpack

from quantumio.errors import ErrorKind, InternalError, StateError
from quantumio.system import environment

__all__ = ["Pool", "is_exit", "keep_worker", "run", "start", "start_uninterrupted"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")

_PATIENCE_S: Final = 10.0
"""How long a thread is asked for, in seconds."""

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.25
"""Between asking and asking again: doubled each time, in seconds."""

_keeps_worker: anyio.lowlevel.RunVar[bool] = anyio.lowlevel.RunVar("quantumio_keeps_worker")


def is_exit(error: BaseException) -> bool:
    """Whether a library wanted to end the thread, or the process: no `Exception`, and no interrupt."""
    return isinstance(error, SystemExit) or type(error).__name__ == "PanicException"  # of one written in Rust


# -- worker threads of an event loop
async def run(
    function: Callable[[Unpack[_Arguments]], _T],
    *arguments: *_Arguments,
    limiter: anyio.CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> _T:
    """Run blocking code in a worker thread of this event loop, as `anyio.to_thread.run_sync` does.

    Where the loop keeps a worker (see `keep_worker`) it is waited for as long as it takes: it will be free.

    Parameters
    ----------
    limiter
        Bounds how many run at the same time.
    abandon_on_cancel
        Whether cancelling abandons it; else what it changes stays known: cancelling waits for it.

    Raises
    ------
    StateError
        No thread could be started (``kind="threads"``); the function was not called.
    InternalError
        A library wanted to end the thread, or the process; the loop, and what else it carries, goes on.
    """
    has_begun = False

    def work() -> _T:
        nonlocal has_begun
        has_begun = True
        try:
            return function(*arguments)
        except BaseException as error:
            if is_exit(error):
                raise InternalError(f"{type(error).__name__}: {error}", hint="please report this") from error
            raise

    refusal: Exception | None = None
    for pause_s in _pauses(math.inf if _keeps_worker.get(False) else _PATIENCE_S):
        if pause_s:
            await anyio.sleep(pause_s)
        try:
            return await anyio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
        except (RuntimeError, MemoryError) as error:
            if has_begun or not _is_refusal(error):
                raise
            refusal = error
    raise _refused(refusal) from refusal


async def keep_worker() -> None:
    """Start a worker thread of this event loop that stays, so that `run` never waits in vain from now on.

    For loops of asyncio: anyio ends their idle workers, but never the last one.

    Raises
    ------
    StateError
        It could not be started (``kind="threads"``).
    """
    await run(_nothing)
    _keeps_worker.set(True)


# -- threads
def start(thread: threading.Thread) -> None:
    """Start a thread.

    Raises
    ------
    StateError
        It could not be started (``kind="threads"``).
    """
    _persist(thread.start)


def start_uninterrupted(function: Callable[[], object]) -> None:
    """Run a function in a thread that is started by one call of C.

    ``Thread.start`` waits, in Python, for what the new thread says: an interrupt there would leave both
    waiting.

    Raises
    ------
    StateError
        It could not be started (``kind="threads"``).
    """
    _persist(lambda: _thread.start_new_thread(function, ()))


def _persist(begin: Callable[[], object]) -> None:
    """Start something, again and again while it is refused."""
    refusal: Exception | None = None
    for pause_s in _pauses(_PATIENCE_S):
        if pause_s:
            with suppress(Empty):
                environment.Signal[None]().get(timeout=pause_s)
        try:
            begin()
            return
        except (RuntimeError, MemoryError) as error:
            if not _is_refusal(error):
                raise
            refusal = error
    raise _refused(refusal) from refusal


# -- pools
class _Work(Generic[_T]):
    """Work that is done by whoever comes first, or by nobody."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self.future: Future[_T] = Future()
        self._function = function
        self._turns = [None]  # one

    def take_back(self) -> bool:
        """Have nobody do it; False if somebody has begun."""
        try:
            self._turns.pop()
        except IndexError:
            return False
        return True

    def run(self) -> None:
        if not self.take_back():
            return
        try:
            self.future.set_result(self._function())
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            self.future.set_exception(error)


class Pool:
    """A pool of threads that makes do with those that it gets.

    Parameters
    ----------
    threads
        How many it has at most.
    name
        What the names of its threads begin with.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._has_thread = False

    def submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        """Have a thread of the pool call a function.

        Raises
        ------
        StateError
            The pool has no thread, and none could be started (``kind="threads"``); the function will not be
            called.
        RuntimeError
            The interpreter is ending.
        """
        work = _Work(lambda: function(*arguments))
        try:
            self._executor.submit(work.run)
            self._has_thread = True
        except (RuntimeError, MemoryError) as error:
            if not _is_refusal(error):
                raise
            # It is in the pool's queue all the same: one of the threads that there are comes to it.
            if not self._has_thread and work.take_back():
                raise _refused(error) from error
        return work.future

    def close(self, *, cancel: bool = False) -> None:
        """End the threads, after all that was submitted or, where it is cancelled, what they have begun."""
        self._executor.shutdown(cancel_futures=cancel)


def _pauses(patience_s: float) -> Iterator[float]:
    """Yield nothing to wait for, and then ever longer pauses, in seconds."""
    yield 0.0
    pause_s, waited_s, is_told = _FIRST_PAUSE_S, 0.0, False
    while waited_s < patience_s:
        if waited_s > 1 and not is_told:
            _log.warning("no thread can be started for %.1f s; asking again", waited_s)
            is_told = True
        yield pause_s
        waited_s += pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _is_refusal(error: Exception) -> bool:
    """Whether the system has refused a thread; else the interpreter ends, or it is another error."""
    return isinstance(error, MemoryError) or "start new thread" in str(error)


def _refused(error: Exception | None) -> StateError:
    return StateError(
        f"no thread could be started: {error or 'out of memory'}",
        hint="raise the limit of processes (ulimit -u, or pids.max of the control group) or of memory, "
        "or have fewer threads, and try again",
        kind=ErrorKind.THREADS,
    )


def _nothing() -> None:
    pass
