"""Moments that threads and event loops can wait for."""

from __future__ import annotations

from quantumio.engine._waiting import Waiters
from quantumio.model import Moment

__all__ = ["Progress"]


class Progress:
    """The moments that something has reached, in a thread-safe, waitable form.

    Moments are only ever added. After `finish` no more will come.
    """

    def __init__(self) -> None:
        self._reached: set[Moment] = set()
        self._finished = False
        self._waiters = Waiters()

    def reach(self, *moments: Moment) -> None:
        """Record moments and wake those who wait."""
        self._reached.update(moments)
        self._waiters.wake()

    def finish(self) -> None:
        """Say that nothing more will be reached, and wake those who wait."""
        self._finished = True
        self._waiters.wake()

    def has_reached(self, moment: Moment) -> bool:
        """Whether the moment has come."""
        return moment in self._reached

    def _is_over(self, moment: Moment) -> bool:
        return self._finished or moment in self._reached

    def wait(self, moment: Moment, timeout_s: float | None = None) -> bool:
        """Wait in this thread until the moment came or cannot come; False on timeout."""
        return self._waiters.wait(lambda: self._is_over(moment), timeout_s)

    async def wait_async(self, moment: Moment, timeout_s: float | None = None) -> bool:
        """Wait on this event loop until the moment came or cannot come; False on timeout.

        Cancelling ends the waiting, not what is waited for.
        """
        return await self._waiters.wait_async(lambda: self._is_over(moment), timeout_s)
