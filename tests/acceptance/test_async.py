"""The async side on asyncio and trio: the same Butler, nothing blocking on the loop."""

import inspect

import anyio
import numpy as np
import pytest

from quantumio import (
    AsyncButler,
    AsyncDataContext,
    Butler,
    Committed,
    DataContext,
    DatasetType,
    NotFoundError,
)
from quantumio.butler import AsyncDeferredDataset, DeferredDataset
from tests.acceptance.night import catalogue, image

pytestmark = pytest.mark.anyio


@pytest.fixture
async def async_butler(make_butler, tmp_path):
    make_butler().close()
    async with AsyncButler(tmp_path / "night", run="u/ada/isr", instrument="ST8") as butler:
        yield butler


async def test_put_commit_get(async_butler):
    async with async_butler.context() as ctx:
        receipt = await ctx.put(image(), "calexp", visit=1, detector=0)
        await ctx.put(catalogue(), "source", visit=1, detector=0)
        assert (await ctx.get("calexp", visit=1, detector=0)).shape == (40, 30)
    assert isinstance(ctx.ticket.outcome, Committed)
    await receipt.wait("settled")
    assert len(await async_butler.get("source", visit=1, detector=0)) == 20
    assert await async_butler.query("*").count() == 2
    assert {ref.dataset_type.name async for ref in async_butler.query("*")} == {"calexp", "source"}
    assert len([table async for table in async_butler.query("source").get_all(as_="arrow")]) == 1
    query = async_butler.query("*")
    table = await query.table()
    assert table.num_rows == 2
    assert await query.exists()
    page = await query.page(1)
    assert [*page.refs, *(await query.page(1, page.next)).refs] == [ref async for ref in query]
    assert [batch.num_rows async for batch in query.batches(["id"])] == [1, 1]


async def test_context_without_entering_opens_by_itself(make_butler, tmp_path):
    make_butler().close()
    butler = AsyncButler(tmp_path / "night", run="r", instrument="ST8")
    ctx = butler.context()
    await ctx.put({}, "stats", visit=1)
    await ctx.commit("settled")
    assert await butler.get("stats", visit=1) == {}
    await butler.close()


async def test_entered_in_one_task_and_left_in_another(async_butler):
    ctx = async_butler.context()

    async def enter():
        await ctx.__aenter__()
        await ctx.put({}, "stats", visit=1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ctx.__aexit__, None, None, None)
    assert await async_butler.exists("stats", visit=1)


async def test_fifty_contexts_at_once(async_butler):
    async def quantum(visit):
        async with async_butler.context() as ctx:
            await ctx.put(np.full(10, visit), "pixels", visit=visit, detector=0)

    async with anyio.create_task_group() as tasks:
        for visit in range(50):
            tasks.start_soon(quantum, visit)
    assert await async_butler.query("pixels").count() == 50


async def test_exception_aborts(async_butler):
    with pytest.raises(ZeroDivisionError):
        async with async_butler.context() as ctx:
            await ctx.put({}, "stats", visit=1)
            raise ZeroDivisionError
    with pytest.raises(NotFoundError):
        await async_butler.get("stats", visit=1)


async def test_cancelling_a_block_aborts_it(async_butler):
    with anyio.move_on_after(0.05) as scope:
        async with async_butler.context() as ctx:
            await ctx.put({}, "stats", visit=1)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not await async_butler.exists("stats", visit=1)


async def test_cancelled_commit_is_decided_when_it_returns(async_butler, monkeypatch):
    """Cancelled before the flip it is given up, after it it is committed; never undecided."""
    outcomes = []
    for delay in (0, 0.001, 0.01, 0.05, 60):
        ctx = async_butler.context()
        await ctx.put(np.zeros(100_000), "pixels", visit=int(delay * 1000), detector=0)
        with anyio.move_on_after(delay):
            await ctx.commit()
        if ctx._entered.is_open:  # cancelled before the commit was handed over
            await ctx.abort()
            continue
        await ctx.ticket.wait_decided()
        committed = isinstance(ctx.ticket.outcome, Committed)
        outcomes.append(committed)
        assert await async_butler.exists("pixels", visit=int(delay * 1000), detector=0) is committed
    assert outcomes
    await async_butler.errors(acknowledge=True)


async def test_put_that_waits_for_the_buffer_can_be_cancelled(make_butler, tmp_path):
    make_butler(config={"runtime": {"max_buffer_bytes": "1 MiB", "put_timeout_s": 60}}).close()
    async with AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler:
        async with butler.context() as ctx:
            # a temporary lives in memory alone: it is never spilled to make room
            await ctx.put(np.zeros(100_000), "pixels", visit=1, detector=0, to="temporary")
            with anyio.fail_after(20), anyio.move_on_after(0.2) as scope:
                await ctx.put(np.zeros(100_000), "pixels", visit=1, detector=1)
            assert scope.cancelled_caught
            assert len(ctx.refs) == 1
        assert await butler.query("pixels").count() == 0


@pytest.mark.parametrize(
    ("plain", "asynchronous"),
    [(Butler, AsyncButler), (DataContext, AsyncDataContext), (DeferredDataset, AsyncDeferredDataset)],
)
async def test_both_sides_have_the_same_methods(plain, asynchronous, anyio_backend):
    def public(cls):
        return {
            name: member
            for name, member in inspect.getmembers(cls)
            if not name.startswith("_") and callable(member)
        }

    ours, theirs = public(plain), public(asynchronous)
    internal = {"level", "give_up", "give_up_waiting", "hand_over"}
    assert set(ours) - internal == set(theirs)
    for name in set(ours) - internal:
        one, other = inspect.signature(ours[name]), inspect.signature(theirs[name])
        assert list(one.parameters.values()) == list(other.parameters.values()), name
        assert inspect.getdoc(theirs[name]), name


async def test_registering_and_creating(tmp_path):
    butler = await AsyncButler.create(tmp_path / "new")
    assert await butler.register_dataset_type(DatasetType("a", dimensions=[], storage_class="Text"))
    async with butler.context(run="r") as ctx:
        await ctx.put("hello", "a")
    assert await butler.get("a", collections="r") == "hello"
    await butler.close()
