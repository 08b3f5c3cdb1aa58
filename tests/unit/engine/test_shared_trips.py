"""Trips that several senders share: nobody is left behind, and nobody's failure is another's."""

import gc
import threading
import weakref

import anyio
import pytest

from quantumio.engine._shared_trips import SharedTrips

pytestmark = pytest.mark.anyio


class Carrier:
    """Carries numbers, each trip once it may; negative ones fail."""

    def __init__(self) -> None:
        self.trips: list[list[int]] = []
        self._permits = threading.Semaphore(0)

    def let(self, trips):
        self._permits.release(trips)

    def __call__(self, contents):
        self.trips.append(list(contents))
        assert self._permits.acquire(timeout=20)
        return [ValueError(str(number)) if number < 0 else None for number in contents]


async def until(condition):
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def start(tasks, trips, send, waiting):
    """Start a sender, and wait until so many wait for a trip."""
    tasks.start_soon(send)
    await until(lambda: len(trips._waiting) == waiting)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((1, 1, 1, 1, 1, 1), [[0], [1, 2, 3], [4, 5]]), ((1, 2, 7, 1, 1), [[0], [1], [2], [3, 4]])],
    ids=["as many as fit", "a large one alone"],
)
async def test_those_who_wait_share_the_next_trip_in_their_order(sizes, expected):
    carrier = Carrier()
    trips = SharedTrips(carrier, at_once=1, capacity=3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trips.send, 0, sizes[0])
        await until(lambda: carrier.trips)
        for number, size in enumerate(sizes[1:], 1):
            await start(tasks, trips, lambda: trips.send(number, size), number)  # noqa: B023  it starts now
        carrier.let(len(sizes))
    assert carrier.trips == expected


async def test_as_many_trips_at_once_as_allowed():
    carrier = Carrier()
    trips = SharedTrips(carrier, at_once=2, capacity=8)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(trips.send, number, 1)
        await until(lambda: len(carrier.trips) == 2 and len(trips._waiting) == 3)
        carrier.let(3)
    assert [len(trip) for trip in carrier.trips] == [1, 1, 3]


async def test_failure_is_told_to_its_sender_alone():
    carrier = Carrier()
    trips = SharedTrips(carrier, at_once=1, capacity=8)
    told = {}

    async def send(number):
        try:
            await trips.send(number, 1)
        except ValueError as error:
            told[number] = str(error)
        else:
            told[number] = None

    async with anyio.create_task_group() as tasks:
        for number in (0, 1, -2, 3):
            tasks.start_soon(send, number)
        await until(lambda: len(trips._waiting) == 3)
        carrier.let(2)
    assert told == {0: None, 1: None, -2: "-2", 3: None}


async def test_what_the_carrier_raises_is_told_and_the_next_trip_goes():
    def carry(contents):
        raise KeyError(contents[0])

    trips = SharedTrips(carry, at_once=1, capacity=8)
    for number in range(3):
        with pytest.raises(KeyError, match=str(number)):
            await trips.send(number, 1)


async def test_who_is_cancelled_while_waiting_is_not_carried():
    carrier = Carrier()
    trips = SharedTrips(carrier, at_once=1, capacity=8)
    scope = anyio.CancelScope()

    async def given_up():
        with scope:
            await trips.send(1, 1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trips.send, 0, 1)
        await until(lambda: carrier.trips)
        await start(tasks, trips, given_up, 1)
        await start(tasks, trips, lambda: trips.send(2, 1), 2)
        scope.cancel()
        await until(lambda: len(trips._waiting) == 1)
        carrier.let(2)
    assert carrier.trips == [[0], [2]]


@pytest.mark.parametrize("place", ["driver", "passenger"])
async def test_who_is_cancelled_under_way_waits_for_the_end_and_takes_nobody_along(place):
    carrier = Carrier()
    trips = SharedTrips(carrier, at_once=1, capacity=8)
    scope, events = anyio.CancelScope(), []

    async def given_up():
        with scope:
            await trips.send(1, 1)
            events.append("not cancelled")
        events.append("returned")

    async def other():
        await trips.send(2, 1)
        events.append("carried")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trips.send, 0, 1)
        await until(lambda: carrier.trips)
        for number, sender in enumerate((given_up, other) if place == "driver" else (other, given_up), 1):
            await start(tasks, trips, sender, number)
        carrier.let(1)
        await until(lambda: len(carrier.trips) == 2)
        scope.cancel()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert events == []
        carrier.let(1)
    assert sorted(events) == ["carried", "returned"]


async def test_what_has_arrived_does_not_wait_for_the_garbage_collector():
    class Content:
        pass

    carrier = Carrier()
    carrier.let(2)
    trips = SharedTrips(lambda contents: carrier([0] * len(contents)), at_once=1, capacity=4)
    content = Content()
    gone = weakref.ref(content)
    gc.disable()
    try:
        await trips.send(content, 1)
        del content
        await trips.send(Content(), 1)  # the thread that carried the first has forgotten it, too
        assert gone() is None
    finally:
        gc.enable()
