"""Moments: threads, asyncio and trio wait for the same thing."""

import asyncio
import threading
import time

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from quantumio.engine import Progress
from quantumio.model import Moment

anyio_test = pytest.mark.anyio


def wait_for_wakers(progress: Progress, number: int) -> None:
    """Wait until so many event loops wait (there is no other sign of it)."""
    deadline = time.monotonic() + 20
    while len(progress._waiters._wakers) < number:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@given(st.lists(st.sampled_from(list(Moment)), max_size=6), st.booleans(), st.sampled_from(list(Moment)))
def test_moment_is_over_if_it_came_or_nothing_more_comes(reached, finished, asked):
    progress = Progress()
    progress.reach(*reached)
    if finished:
        progress.finish()
    assert progress.has_reached(asked) is (asked in reached)
    assert progress.wait(asked, 0) is (asked in reached or finished)

    async def ask():
        return await progress.wait_async(asked, 0)

    assert anyio.run(ask) is (asked in reached or finished)


def test_threads_wake_when_their_moment_comes_and_not_before():
    progress, woken = Progress(), []

    def wait(moment):
        assert progress.wait(moment, 30)
        woken.append(moment)

    threads = {
        moment: threading.Thread(target=wait, args=(moment,))
        for moment in (Moment.RELEASED, Moment.COMMITTED, Moment.SETTLED)
    }
    for thread in threads.values():
        thread.start()
    for moment, thread in threads.items():
        progress.reach(moment)
        thread.join(10)
        assert woken[-1] is moment
    assert len(woken) == 3


def test_finish_wakes_those_who_wait_in_vain():
    progress = Progress()
    results = []
    thread = threading.Thread(target=lambda: results.append(progress.wait(Moment.SETTLED, 30)))
    thread.start()
    progress.finish()
    thread.join(10)
    assert results == [True]
    assert not progress.has_reached(Moment.SETTLED)


@anyio_test
async def test_loop_wakes_for_a_moment_of_another_thread():
    progress = Progress()

    def reach():
        wait_for_wakers(progress, 3)
        progress.reach(Moment.RELEASED)
        progress.reach(Moment.COMMITTED)
        progress.finish()

    woken = []

    async def wait(moment):
        assert await progress.wait_async(moment, 30)
        woken.append(moment)

    async with anyio.create_task_group() as tasks:
        for moment in (Moment.COMMITTED, Moment.RELEASED, Moment.SETTLED):
            tasks.start_soon(wait, moment)
        tasks.start_soon(anyio.to_thread.run_sync, reach)
    assert set(woken) == {Moment.COMMITTED, Moment.RELEASED, Moment.SETTLED}
    assert progress._waiters._wakers == ()


@anyio_test
async def test_other_moments_do_not_end_the_waiting():
    progress = Progress()
    done = anyio.Event()

    async def wait():
        await progress.wait_async(Moment.SETTLED)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        for moment in (Moment.ACCEPTED, Moment.RELEASED, Moment.DURABLE, Moment.COMMITTED):
            progress.reach(moment)
            await anyio.wait_all_tasks_blocked()
            assert not done.is_set()
        progress.reach(Moment.SETTLED)


@anyio_test
async def test_cancelled_and_timed_out_waiters_leave_no_waker_behind():
    progress = Progress()
    assert not await progress.wait_async(Moment.SETTLED, 0.01)
    assert progress._waiters._wakers == ()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(progress.wait_async, Moment.SETTLED)
        await anyio.wait_all_tasks_blocked()
        assert len(progress._waiters._wakers) == 5
        tasks.cancel_scope.cancel()
    assert progress._waiters._wakers == ()
    progress.reach(Moment.SETTLED)
    assert await progress.wait_async(Moment.SETTLED)


@anyio_test
async def test_one_waiter_of_many_may_be_cancelled():
    progress = Progress()
    results = []

    async def wait(scope):
        with scope:
            results.append(await progress.wait_async(Moment.SETTLED))

    scopes = [anyio.CancelScope() for _ in range(4)]
    async with anyio.create_task_group() as tasks:
        for scope in scopes:
            tasks.start_soon(wait, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert len(progress._waiters._wakers) == 3
        progress.reach(Moment.SETTLED)
    assert results == [True] * 3


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_loop_that_ended_while_it_waited_harms_nobody(library):
    """A loop may be gone without its tasks having been cancelled: wakers of it are left behind."""
    progress = Progress()
    stale = []

    async def leave_a_waker():
        from quantumio.engine._waiting import LoopCaller

        caller = LoopCaller()
        stale.append(lambda: caller.call(lambda: None))

    if library == "asyncio":
        asyncio.run(leave_a_waker())
    else:
        trio.run(leave_a_waker)
    progress._waiters._add(stale[0])
    results = []
    thread = threading.Thread(target=lambda: results.append(progress.wait(Moment.SETTLED, 30)))
    thread.start()
    progress.reach(Moment.ACCEPTED)
    progress.reach(Moment.SETTLED)
    thread.join(10)
    assert results == [True]


def test_threads_asyncio_and_trio_wait_for_the_same_moment():
    progress, woken = Progress(), []

    async def wait(name):
        assert await progress.wait_async(Moment.COMMITTED, 30)
        woken.append(name)

    def plain():
        assert progress.wait(Moment.COMMITTED, 30)
        woken.append("thread")

    threads = [
        threading.Thread(target=plain),
        threading.Thread(target=anyio.run, args=(wait, "asyncio"), kwargs={"backend": "asyncio"}),
        threading.Thread(target=anyio.run, args=(wait, "trio"), kwargs={"backend": "trio"}),
    ]
    for thread in threads:
        thread.start()
    wait_for_wakers(progress, 2)
    progress.reach(Moment.COMMITTED)
    for thread in threads:
        thread.join(10)
    assert sorted(woken) == ["asyncio", "thread", "trio"]


@anyio_test
async def test_no_wake_up_is_lost_while_moments_come_from_many_threads():
    for _ in range(30):
        progress = Progress()
        threads = [threading.Thread(target=progress.reach, args=(moment,)) for moment in Moment]
        async with anyio.create_task_group() as tasks:
            for moment in Moment:
                tasks.start_soon(progress.wait_async, moment)
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        assert progress._waiters._wakers == ()
