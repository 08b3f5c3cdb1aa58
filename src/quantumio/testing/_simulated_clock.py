"""Simulated time: it passes only where nobody can run, at once, to the moment at which somebody wakes."""

from __future__ import annotations

import heapq
import itertools
import math

import trio

__all__ = ["SimulatedClock", "sleep"]


class SimulatedClock(trio.abc.Clock):
    """The clock of a run of trio, and those who sleep by it.

    `trio.sleep` would do, but makes and cancels a scope each time, and a simulation does little else.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleeping: list[tuple[float, int, list[trio.lowlevel.Task]]] = []
        self._number = itertools.count()

    def start_clock(self) -> None:
        """Begin; there is nothing to do."""

    def current_time(self) -> float:
        """Return the seconds since the beginning."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Let time pass: trio asks when nobody can run."""
        sleeping = self._sleeping
        while sleeping and not sleeping[0][2]:  # cancelled meanwhile
            heapq.heappop(sleeping)
        until = min(deadline, sleeping[0][0] if sleeping else math.inf)
        if until == math.inf:
            return math.inf
        self._now = max(self._now, until)
        while sleeping and sleeping[0][0] <= self._now:
            for task in heapq.heappop(sleeping)[2]:
                trio.lowlevel.reschedule(task)
        return 0

    async def sleep(self, seconds: float) -> None:
        """Wait as long, unless the task is cancelled."""
        woken = [trio.lowlevel.current_task()]
        heapq.heappush(self._sleeping, (self._now + seconds, next(self._number), woken))

        def give_up(raise_cancel: object) -> trio.lowlevel.Abort:
            woken.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)


async def sleep(seconds: float) -> None:
    """Let simulated time pass."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, SimulatedClock)
    await clock.sleep(seconds)
