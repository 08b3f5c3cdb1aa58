"""What many callers want done in worker threads, done for all of them in few calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
from attrs import define, field

from quantumio.system import threads

__all__ = ["SharedTrips"]

_T = TypeVar("_T")


@define(eq=False)
class _Parcel(Generic[_T]):
    content: _T
    size: int
    has_left: bool = False
    trip: Sequence[_Parcel[_T]] = ()
    """Those that travel with it, itself first, where its sender is to drive."""
    woken: anyio.Event = field(factory=anyio.Event)
    """It arrived, or its sender is to drive."""
    failure: Exception | None = None


class SharedTrips(Generic[_T]):
    """Carries parcels to worker threads; while all trips are under way the next one fills.

    The call of a thread costs as much as a small output does. Lives on one event loop.

    Parameters
    ----------
    carry
        Called in a worker thread with the contents of one trip, whose senders wait; returns for each what
        it failed with, or None.
    at_once
        Trips that may be under way at the same time.
    capacity
        Sizes that one trip carries; a larger parcel travels alone.
    """

    def __init__(
        self, carry: Callable[[Sequence[_T]], Sequence[Exception | None]], *, at_once: int, capacity: int
    ) -> None:
        self._carry = carry
        self._capacity = capacity
        self._free = at_once
        self._threads = anyio.CapacityLimiter(at_once)
        self._waiting: deque[_Parcel[_T]] = deque()

    async def send(self, content: _T, size: int) -> None:
        """Have it carried, and raise what it failed with.

        Cancelled, it returns when nothing of it is under way any more.
        """
        parcel = _Parcel(content, size)
        self._waiting.append(parcel)
        self._dispatch()
        try:
            await parcel.woken.wait()
        finally:
            if parcel.has_left:
                with anyio.CancelScope(shield=True):  # others may travel with it
                    await parcel.woken.wait()
                    if trip := parcel.trip:
                        parcel.trip = ()  # it is one of them: what it carries would wait for the collector
                        await self._drive(trip)
            else:
                self._waiting.remove(parcel)
        await anyio.lowlevel.checkpoint_if_cancelled()
        if parcel.failure is not None:
            raise parcel.failure

    def _dispatch(self) -> None:
        """Fill the free trips with those that have waited longest."""
        while self._free and self._waiting:
            self._free -= 1
            first = self._waiting[0]
            first.trip = self._load()
            first.woken.set()

    def _load(self) -> list[_Parcel[_T]]:
        loaded: list[_Parcel[_T]] = []
        room = self._capacity
        while self._waiting and (not loaded or self._waiting[0].size <= room):
            parcel = self._waiting.popleft()
            parcel.has_left = True
            room -= parcel.size
            loaded.append(parcel)
        return loaded

    async def _drive(self, trip: Sequence[_Parcel[_T]]) -> None:
        try:
            contents = [parcel.content for parcel in trip]
            failures = await threads.run(self._carry, contents, limiter=self._threads)
        except Exception as error:  # noqa: BLE001  each of the senders is to know
            failures = [error] * len(trip)
        for parcel, failure in zip(trip, failures, strict=True):
            parcel.failure = failure
            parcel.woken.set()
        self._free += 1
        self._dispatch()
