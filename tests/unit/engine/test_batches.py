"""Calls that share a trip: who travels together, and what comes of a thread that is ended by force."""

import anyio
import pytest

from quantumio.engine import _batches
from quantumio.engine._batches import Batches
from quantumio.errors import InternalError

pytestmark = pytest.mark.anyio


async def test_thread_that_is_ended_by_force_fails_its_group_alone():
    may_end = [SystemExit(3)]

    def double(items):
        if may_end:
            raise may_end.pop()
        return [2 * item for item in items]

    batches = Batches(double, lambda: 2)
    one, other = batches.send(1), batches.send(2)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(batches.run)
            for waiting in (one, other):
                with pytest.raises(InternalError):
                    await waiting.result()
            assert await batches.call(4) == 8
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("under_way", "more", "trips"),
    [
        (1, [2], [[1], [2]]),  # who is alone waits for nobody
        (2, [2], [[1], [2]]),
        (3, [2], [[1, 2]]),
        (3, [], [[1]]),  # nobody comes
        (200, range(2, 70), [list(range(1, 65)), list(range(65, 70))]),  # a trip is full
    ],
)
async def test_trip_waits_a_moment_for_others_that_are_under_way(monkeypatch, under_way, more, trips):
    went = []
    batches = Batches(lambda items: went.append(list(items)) or items, lambda: under_way)
    left, waiting = list(more), [batches.send(1)]

    async def others_come(_):
        waiting.extend(map(batches.send, left))
        left.clear()

    monkeypatch.setattr(_batches.anyio, "sleep", others_come)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(batches.run)
            await waiting[0].result()
            waiting.extend(map(batches.send, left))
            assert [await one.result() for one in waiting] == [1, *more]
            tasks.cancel_scope.cancel()
    assert went == trips
