"""The ways from an event loop into a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio

from quantumio.system import threads

__all__ = ["in_thread", "limited_in_thread", "reading_in_thread"]

_T = TypeVar("_T")


async def in_thread(function: Callable[..., _T], *arguments: object, **keywords: object) -> _T:
    """Run blocking code in a worker thread. Cancelling waits for it: what it changes stays known."""
    return await threads.run(partial(function, *arguments, **keywords))


async def limited_in_thread(
    limiter: anyio.CapacityLimiter, function: Callable[..., _T], *arguments: object, **keywords: object
) -> _T:
    """Run blocking code in one of the limiter's worker threads. Cancelling waits for it."""
    return await threads.run(partial(function, *arguments, **keywords), limiter=limiter)


async def reading_in_thread(function: Callable[..., _T], *arguments: object, **keywords: object) -> _T:
    """Run blocking code that changes nothing in a worker thread. Cancelling abandons it."""
    return await threads.run(partial(function, *arguments, **keywords), abandon_on_cancel=True)
