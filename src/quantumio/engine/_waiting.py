"""Waiting that an interrupt cannot break.

Python raises ``KeyboardInterrupt`` between any two instructions of the main thread. `threading.Condition`,
`threading.Event` and `concurrent.futures.Future` are written in Python: an interrupt inside of them leaves
their lock taken for ever, and then the runtime's thread, which wants to say that something has happened,
waits for ever too. What the caller's thread and the runtime's thread share therefore consists of operations
that are one instruction: those of deques, of queues in C, and of ``with`` on locks in C.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from quantumio.system import environment

__all__ = ["LoopCaller", "Reply", "Waiters"]

_T = TypeVar("_T")

_LONGEST_WAIT_S: Final = 1e6
"""What the queues of every platform can wait for at once, in seconds; who waits longer looks again."""


class LoopCaller:
    """Runs plain functions on an event loop from any thread, without waiting for them.

    anyio's own way back into a loop waits for the call; a waiter must never be able to block the one who
    wakes it, so the loop's native "call soon" is used (asyncio and trio).
    """

    def __init__(self) -> None:
        token = anyio.lowlevel.current_token().native_token
        self._soon: Callable[..., object] = (
            token.run_sync_soon if hasattr(token, "run_sync_soon") else token.call_soon_threadsafe  # type: ignore[attr-defined]
        )

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call the function soon.

        Raises
        ------
        RuntimeError
            The loop has ended (trio's RunFinishedError is one).
        """
        self._soon(function, *arguments)


_changing = threading.RLock()  # an interrupt's handler may wait, too


class Waiters:
    """Threads and event loops that wait until a condition holds.

    Who changes something changes it first and calls `wake` after; who waits registers first and looks after.
    So no change is missed, without a lock.
    """

    def __init__(self) -> None:
        self._wakers: tuple[Callable[[], object], ...] = ()  # every output has one, and few are waited for

    def _add(self, wake: Callable[[], object]) -> None:
        with _changing:
            self._wakers = (*self._wakers, wake)

    def _remove(self, wake: Callable[[], object]) -> None:
        with _changing:
            self._wakers = tuple(other for other in self._wakers if other is not wake)

    def wake(self) -> None:
        """Have everybody who waits look again."""
        for wake in self._wakers:
            with suppress(RuntimeError):  # that loop has ended; nobody waits there any more
                wake()

    def wait(self, is_over: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait in this thread until the condition holds; False on timeout."""
        if is_over():
            return True
        signal: SimpleQueue[None] = SimpleQueue()

        def wake() -> None:
            signal.put(None)

        deadline = None if timeout_s is None else environment.monotonic() + timeout_s
        self._add(wake)
        try:
            while not is_over():
                remaining = None if deadline is None else deadline - environment.monotonic()
                if remaining is not None and remaining <= 0:
                    return False
                with suppress(Empty):
                    signal.get(timeout=None if remaining is None else min(remaining, _LONGEST_WAIT_S))
        finally:
            self._remove(wake)
        return True

    async def wait_async(self, is_over: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait on this event loop until the condition holds; False on timeout.

        Cancelling ends the waiting, not what is waited for.
        """
        if is_over():
            return True
        caller = LoopCaller()
        event = anyio.Event()

        def wake() -> None:
            caller.call(event.set)

        self._add(wake)
        try:
            with anyio.move_on_after(timeout_s):
                while not is_over():
                    await event.wait()
                    event = anyio.Event()
        finally:
            self._remove(wake)
        return is_over()


class Reply(Generic[_T]):
    """What one call on another thread gives back: a value or an error, once."""

    def __init__(self) -> None:
        self._waiters = Waiters()
        self._given: list[tuple[_T | None, BaseException | None]] = []

    def give(self, value: _T) -> None:
        """Give the value."""
        self._given.append((value, None))
        self._waiters.wake()

    def fail(self, error: BaseException) -> None:
        """Give an error, raised where it is waited for."""
        self._given.append((None, error))
        self._waiters.wake()

    @property
    def is_given(self) -> bool:
        """Whether it is there."""
        return bool(self._given)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait in this thread until it is there; False on timeout."""
        return self._waiters.wait(lambda: self.is_given, timeout_s)

    def result(self) -> _T:
        """Wait in this thread, and return the value or raise the error."""
        self.wait()
        value, error = self._given[0]
        if error is None:
            return value  # type: ignore[return-value]  # given together with no error
        try:
            raise error
        finally:
            del error  # no cycle of frame and error
