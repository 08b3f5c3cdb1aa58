"""Carrying outputs: what fails is told of that output at that destination, and of nothing else."""

import threading
import time
from hashlib import sha256

import numpy as np
import pytest
from polars.exceptions import PanicException

from quantumio.destinations.memory import MemoryDestination
from quantumio.engine._flush import _attempt
from quantumio.errors import CommitFailedError, DestinationError, ErrorKind, InternalError
from quantumio.model import ArtifactState, Committed
from quantumio.ports import Placement
from quantumio.system import failpoints
from quantumio.testing import Fault, FaultyDestination

COPY_AT_B = {"rules": [{"to": ["a", "b?"]}]}


def placement(path, data):
    return Placement(path=path, chunks=(data,), nbytes=len(data), digest=sha256(data).hexdigest())


def commit_logs(butler, *texts):
    with butler.context() as ctx:
        for visit, text in enumerate(texts):
            ctx.put(text, "log", visit=visit)
    return ctx


def copies(butler, ctx):
    """Return of which visits there is a copy at ``b``."""
    return {
        ref.data_id["visit"]
        for ref in ctx.refs
        for one in butler.where_is(ref)
        if one.destination == "b" and one.state is ArtifactState.OK
    }


class RefusesPoison(MemoryDestination):
    """Refuses every call that brings a poisoned object."""

    def place(self, placements):
        if any(b"poison" in b"".join(placement.chunks) for placement in placements):
            raise DestinationError(f"destination {self.name!r} is full", kind=ErrorKind.DISK_FULL)
        return super().place(placements)


def test_small_copies_that_cannot_travel_together_travel_one_by_one(make_place):
    place = make_place(COPY_AT_B)
    place.install(RefusesPoison("b"))
    ctx = commit_logs(place.butler, "one", "poison", "three", "more poison")
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    told = {str(error.__notes__[0]) for error in caught.value.exceptions}
    assert len(told) == 2
    assert all("'b'" in note and ("visit=1" in note or "visit=3" in note) for note in told)
    assert copies(place.butler, ctx) == {0, 2}
    assert len(place.objects("b")) == 2
    assert not ctx.ticket.reached("settled")


class RefusesPoisonAfter(RefusesPoison):
    """Waits with its first write until the gate is open."""

    def __init__(self, name):
        super().__init__(name)
        self.opened, self.reached = threading.Event(), threading.Event()

    def place(self, placements):
        self.reached.set()
        assert self.opened.wait(60)
        return super().place(placements)


def test_contexts_that_cannot_travel_together_travel_alone(make_place):
    place = make_place({"rules": [{"to": ["a"]}]})
    destination = place.install(RefusesPoisonAfter("a"))
    tickets = []
    for visit, text in enumerate(["first", "poison", "third"]):
        ctx = place.butler.context()
        ctx.put(text, "log", visit=visit)
        tickets.append(ctx.commit("buffered"))
        assert destination.reached.wait(60)  # the first is under way, and the others wait for its return
    (trips,) = place.runtime._flusher._place_trips.values()
    deadline = time.monotonic() + 60
    while len(trips._waiting) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    destination.opened.set()
    for ticket in tickets[::2]:
        ticket.wait("committed", timeout=60)
    with pytest.raises(CommitFailedError, match="'a' is full"):
        tickets[1].wait("committed", timeout=60)
    assert {ref.data_id["visit"] for ref in place.butler.query("log")} == {0, 2}


def test_small_copies_that_arrive_one_by_one_have_arrived(make_place):
    place = make_place(COPY_AT_B)
    destination = place.install(FaultyDestination(MemoryDestination("b"), Fault(at=1)))
    ctx = commit_logs(place.butler, "one", "two", "three")
    ctx.ticket.wait("settled", timeout=60)
    assert destination.calls == 4
    assert copies(place.butler, ctx) == {0, 1, 2}
    assert place.butler.errors() == []


def test_one_small_copy_that_fails_is_tried_once(make_place):
    place = make_place(COPY_AT_B)
    destination = place.install(FaultyDestination(MemoryDestination("b"), Fault(at=1)))
    ctx = commit_logs(place.butler, "one")
    with pytest.raises(ExceptionGroup):
        place.butler.drain()
    assert destination.calls == 1
    assert copies(place.butler, ctx) == set()


class HasSomethingElse(MemoryDestination):
    """Finds somebody else's bytes under the first name that it is to write."""

    foreign = None

    def place(self, placements):
        if self.foreign is None:
            self.foreign = placements[-1].path
            super().place([placement(self.foreign, b"somebody else's")])
        return super().place(placements)


def test_bytes_of_somebody_else_under_a_name_of_ours_are_never_removed(make_place):
    place = make_place({"rules": [{"to": ["a"]}]})
    destination = place.install(HasSomethingElse("a"))
    with pytest.raises(CommitFailedError) as caught:
        commit_logs(place.butler, "one", "two")
    assert caught.value.kind is ErrorKind.CORRUPT
    assert destination.read(destination.foreign) == b"somebody else's"
    (entry,) = place.butler.errors()
    assert (entry.destination, entry.ref.data_id["visit"]) == ("a", 1)
    assert place.butler.query("log").count() == 0


def test_bug_in_the_engine_fails_what_it_was_met_with_and_nothing_else(place):
    left = [KeyError("a bug")]

    def hook(point):
        if point == "flush.encode.before" and left:
            raise left.pop()

    with failpoints.watched(hook), pytest.raises(CommitFailedError, match="KeyError") as caught:
        commit_logs(place.butler, "one")
    assert caught.value.kind is ErrorKind.INTERNAL
    assert place.objects("a", "b") == []
    assert isinstance(commit_logs(place.butler, "one").ticket.outcome, Committed)
    place.assert_idle_and_empty()


def test_bug_with_one_of_several_trips_fails_their_context_whole(place):
    """Large outputs have a trip of their own."""
    left = [KeyError("a bug")]

    def hook(point):
        if point == "flush.place.before" and left:
            raise left.pop()

    with failpoints.watched(hook), pytest.raises(CommitFailedError), place.butler.context() as ctx:
        for detector in range(3):
            ctx.put(np.full(200_000, detector), "pixels", visit=1, detector=detector)
    assert place.objects("a", "b") == []
    assert place.butler.query("pixels").count() == 0
    assert ErrorKind.INTERNAL in {entry.kind for entry in place.butler.errors()}
    place.assert_idle_and_empty()


class Panics(MemoryDestination):
    """Raises, once, what is no `Exception`, as libraries written in Rust do."""

    def __init__(self, name, error):
        super().__init__(name)
        self.errors = [error]

    def place(self, placements):
        if self.errors:
            raise self.errors.pop()
        return super().place(placements)


@pytest.mark.parametrize("error", [PanicException("called unwrap on None"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_library_that_panics_fails_the_commit_and_ends_nothing(make_place, error, mode):
    """The loop that carries all contexts ended, and nobody was told."""
    place = make_place({"rules": [{"to": ["a"], "mode": mode}]})
    place.install(Panics("a", error))
    with pytest.raises((CommitFailedError, InternalError), match=type(error).__name__) as caught:
        commit_logs(place.butler, "one")
    assert caught.value.kind is ErrorKind.INTERNAL
    assert isinstance(commit_logs(place.butler, "one").ticket.outcome, Committed)
    assert len(place.objects("a")) == 1
    place.assert_idle_and_empty()


def test_interrupt_of_who_removes_in_his_own_thread_goes_through(place):
    """It is the user's, and no failure of an output."""
    ctx = place.butler.context()
    ctx.put("one", "log", visit=1)
    (output,) = ctx._context.outputs

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _attempt(output, "a", interrupted)
    ctx.abort()
