"""Calls that share a trip: what ends their thread by force is an error of each, and of nobody else."""

import anyio
import pytest

from quantumio.engine._batches import Batches
from quantumio.errors import InternalError

pytestmark = pytest.mark.anyio


async def test_thread_that_is_ended_by_force_fails_its_group_alone():
    may_end = [SystemExit(3)]

    def double(items):
        if may_end:
            raise may_end.pop()
        return [2 * item for item in items]

    batches = Batches(double)
    one, other = batches.send(1), batches.send(2)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(batches.run)
            for waiting in (one, other):
                with pytest.raises(InternalError):
                    await waiting.result()
            assert await batches.call(4) == 8
            tasks.cancel_scope.cancel()
