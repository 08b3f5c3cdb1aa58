"""Moments that threads and event loops can wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.lowlevel

from quantumio.model import Moment

__all__ = ["LoopCaller", "Progress"]


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


class Progress:
    """The moments that something has reached, in a thread-safe, waitable form.

    Moments are only ever added. After `finish` no more will come.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._reached: set[Moment] = set()
        self._finished = False
        self._wakers: list[Callable[[], None]] = []

    def reach(self, *moments: Moment) -> None:
        """Record moments and wake those who wait."""
        with self._condition:
            self._reached.update(moments)
            self._wake()

    def finish(self) -> None:
        """Say that nothing more will be reached, and wake those who wait."""
        with self._condition:
            self._finished = True
            self._wake()

    def _wake(self) -> None:
        self._condition.notify_all()
        for wake in self._wakers:
            with suppress(RuntimeError):  # that loop has ended; nobody waits there any more
                wake()

    def has_reached(self, moment: Moment) -> bool:
        """Whether the moment has come."""
        return moment in self._reached

    def _is_over(self, moment: Moment) -> bool:
        return self._finished or moment in self._reached

    def wait(self, moment: Moment, timeout_s: float | None = None) -> bool:
        """Wait in this thread until the moment came or cannot come; False on timeout."""
        with self._condition:
            return self._condition.wait_for(lambda: self._is_over(moment), timeout_s)

    async def wait_async(self, moment: Moment, timeout_s: float | None = None) -> bool:
        """Wait on this event loop until the moment came or cannot come; False on timeout.

        Cancelling ends the waiting, not what is waited for.
        """
        if self._is_over(moment):
            return True
        caller = LoopCaller()
        event = anyio.Event()

        def wake() -> None:
            caller.call(event.set)

        with self._condition:
            self._wakers.append(wake)
        try:
            with anyio.move_on_after(timeout_s):
                while not self._is_over(moment):
                    await event.wait()
                    event = anyio.Event()
        finally:
            with self._condition:
                self._wakers.remove(wake)
        return self._is_over(moment)
