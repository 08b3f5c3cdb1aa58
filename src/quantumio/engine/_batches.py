"""Calls that share a trip: whatever waits while one trip is under way goes with the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import anyio
from attrs import define, field

from quantumio.system import threads

__all__ = ["Batches", "Waiting"]

_MOST: Final = 64
"""Members of a trip at most: bounds how long the registry's write lock is held."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@define(eq=False)
class Waiting(Generic[_Item, _Result]):
    """An item that was sent, and its result once there is one."""

    item: _Item
    done: anyio.Event = field(factory=anyio.Event)
    _result: _Result | None = None
    _error: Exception | None = None

    async def result(self) -> _Result:
        """Wait for the result, or raise why there is none."""
        await self.done.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set before the event

    def give(self, result: _Result) -> None:
        """Give the result to whoever waits for it."""
        self._result = result
        self.done.set()

    def fail(self, error: Exception) -> None:
        """Have an error raised where the result is waited for."""
        self._error = error
        self.done.set()


class Batches(Generic[_Item, _Result]):
    """Runs a function on groups of items in a worker thread, one group at a time. Lives on one event loop.

    Parameters
    ----------
    work
        Given the items of a group, returns one result for each. Must not raise: what may fail is part of
        the results. (Where it does, all who wait get that error.)
    """

    def __init__(self, work: Callable[[Sequence[_Item]], Sequence[_Result]]) -> None:
        self._work = work
        self._send, self._receive = anyio.create_memory_object_stream[Waiting[_Item, _Result]](math.inf)
        self._limiter = anyio.CapacityLimiter(1)

    def send(self, item: _Item) -> Waiting[_Item, _Result]:
        """Send an item; nobody takes it back."""
        waiting: Waiting[_Item, _Result] = Waiting(item)
        self._send.send_nowait(waiting)
        return waiting

    async def call(self, item: _Item) -> _Result:
        """Wait for the result of one item. A caller that is cancelled does not take the item back."""
        return await self.send(item).result()

    async def run(self) -> None:
        """Serve until cancelled; a group that is under way is finished."""
        with self._send, self._receive:
            async for first in self._receive:
                group = [first]
                while len(group) < _MOST and self._receive.statistics().current_buffer_used:
                    group.append(self._receive.receive_nowait())
                with anyio.CancelScope(shield=True):
                    items = [waiting.item for waiting in group]
                    try:
                        results = await threads.run(self._work, items, limiter=self._limiter)
                    except Exception as error:  # noqa: BLE001  something has ended the thread by force
                        for waiting in group:
                            waiting.fail(error)
                        continue
                for waiting, result in zip(group, results, strict=True):
                    waiting.give(result)
