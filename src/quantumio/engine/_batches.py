"""Calls that share a trip: whatever waits while one trip is under way goes with the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import anyio
from attrs import define, field, frozen

from quantumio.system import threads

__all__ = ["Batches", "Waiting"]

_MOST: Final = 64
"""Members of a trip at most: bounds how long the registry's write lock is held."""

_MOMENTS: Final = 4
_MOMENT_S: Final = 0.0003
"""How often, and how long each time, a trip waits for others that are under way, in seconds.

A trip costs as much as some of its members do: with fewer trips more contexts are committed, where several
threads each wait for one of theirs. Who is alone waits for nobody.
"""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@define(eq=False)
class _Trip(Generic[_Item, _Result]):
    """Items that go together, and what comes of them; who waits for one waits for all."""

    items: list[_Item] = field(factory=list)
    done: anyio.Event = field(factory=anyio.Event)
    results: Sequence[_Result] = ()
    error: Exception | None = None


@frozen(eq=False)
class Waiting(Generic[_Item, _Result]):
    """An item that was sent, and its result once there is one."""

    _trip: _Trip[_Item, _Result]
    _seat: int

    async def result(self) -> _Result:
        """Wait for the result, or raise why there is none."""
        await self._trip.done.wait()
        if self._trip.error is not None:
            raise self._trip.error
        return self._trip.results[self._seat]


class Batches(Generic[_Item, _Result]):
    """Runs a function on groups of items in a worker thread, one group at a time. Lives on one event loop.

    Parameters
    ----------
    work
        Given the items of a group, returns one result for each. Must not raise: what may fail is part of
        the results. (Where it does, all who wait get that error.)
    under_way
        Tells how many items there may be, with those that are not sent yet.
    """

    def __init__(
        self, work: Callable[[Sequence[_Item]], Sequence[_Result]], under_way: Callable[[], int]
    ) -> None:
        self._work = work
        self._under_way = under_way
        self._trips: deque[_Trip[_Item, _Result]] = deque()  # the last one still takes items
        self._sent: anyio.Event | None = None
        self._limiter = anyio.CapacityLimiter(1)

    def send(self, item: _Item) -> Waiting[_Item, _Result]:
        """Send an item; nobody takes it back."""
        if not self._trips or len(self._trips[-1].items) == _MOST:
            self._trips.append(_Trip())
            if self._sent is not None:
                self._sent.set()
        trip = self._trips[-1]
        trip.items.append(item)
        return Waiting(trip, len(trip.items) - 1)

    async def call(self, item: _Item) -> _Result:
        """Wait for the result of one item. A caller that is cancelled does not take the item back."""
        return await self.send(item).result()

    async def run(self) -> None:
        """Serve until cancelled; a group that is under way is finished."""
        while True:
            self._sent = anyio.Event()
            while self._trips:
                with anyio.CancelScope(shield=True):
                    await self._gather()
                    await self._take(self._trips.popleft())
            await self._sent.wait()

    async def _gather(self) -> None:
        """Wait a moment while less than half of those that are under way are here."""
        for _ in range(_MOMENTS):
            if len(self._trips) > 1 or 2 * len(self._trips[0].items) >= self._under_way():
                return
            await anyio.sleep(_MOMENT_S)

    async def _take(self, trip: _Trip[_Item, _Result]) -> None:
        try:
            trip.results = await threads.run(self._work, trip.items, limiter=self._limiter)
        except Exception as error:  # noqa: BLE001  something has ended the thread by force
            trip.error = error
        trip.done.set()
