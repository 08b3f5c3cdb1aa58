"""What the journal has promised is kept for later, whatever it fails of, and may be carried again at once."""

import errno
import threading
from functools import partial

import pytest

from quantumio import Butler
from quantumio.destinations.memory import MemoryDestination
from quantumio.engine._carrier import Carrier
from quantumio.errors import CommitParkedError, DestinationError, ErrorKind
from quantumio.model import CommitConflict, CommitFailed, CommitParked, Committed
from quantumio.ports import LEASE_OVER
from quantumio.system import failpoints
from quantumio.testing import Fault, FaultyDestination
from tests.unit.engine.conftest import Gate, WrappedCatalog

pytestmark = pytest.mark.on_disk

TO_A = {"rules": [{"to": ["a"]}]}


def commit(butler, ack):
    with butler.context(ack=ack) as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    return ctx


@pytest.mark.parametrize("kind", [ErrorKind.CLOSED, ErrorKind.DISK_FULL, ErrorKind.PERMISSION])
def test_promise_is_no_conflict_because_of_what_can_be_mended(make_place, kind):
    """Of a Butler that was closed while recovery carried an entry in the background it was one, for ever."""
    place = make_place(TO_A)
    destination = place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1, kind=kind)))
    ctx = commit(place.butler, "journaled")
    assert place.runtime.wait_idle(60)
    assert destination.calls >= 1
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    assert not isinstance(ctx.ticket.outcome, CommitFailed)
    place.assert_idle_and_empty()


def test_parked_context_may_be_carried_again_before_it_is_concluded(make_place, monkeypatch):
    """Its entry is free by then: the second one met what the first had left in the tables of the runtime."""
    place = make_place(TO_A)
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    close, again = Carrier.close_entry, []

    async def close_and_recover(self, context, outcome):
        await close(self, context, outcome)
        if not again:
            again.append(outcome)
            await place.runtime._recoverer.recover_left()

    monkeypatch.setattr(Carrier, "close_entry", close_and_recover)
    with pytest.raises(CommitParkedError):
        commit(place.butler, "committed")
    assert len(again) == 1
    place.assert_idle_and_empty()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    assert [entry.kind for entry in place.butler.errors() if entry.kind is ErrorKind.INTERNAL] == []


def ends_over_silence(place, *points):
    """Return a hook that ends what is on its way at these points, over our silence."""
    left, catalog = list(points), place.repository.catalog

    def hook(point):
        if left and point == left[0]:
            del left[0]
            (record,) = catalog.preparing()
            assert catalog.abort(record.txid, record.epoch, LEASE_OVER)

    return hook


def test_what_failed_before_it_was_placed_again_is_no_failure(make_place):
    """It was noted at once, and raised by `drain` though everything was committed."""
    place = make_place(TO_A)
    destination = place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    with failpoints.watched(ends_over_silence(place, "flush.place.before")):
        ctx = commit(place.butler, "settled")
    assert destination.calls == 2
    assert isinstance(ctx.ticket.outcome, Committed)
    assert place.butler.errors() == []
    place.butler.drain()
    (path,) = place.objects("a")
    assert f"{ctx.txid}.1." in path
    place.assert_idle_and_empty()
    assert place.butler.unfinished() == []


def test_what_fails_again_under_other_names_is_told_by_its_last_failure(make_place):
    place = make_place(TO_A)
    destination = place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1, forever=True)))
    with (
        failpoints.watched(ends_over_silence(place, "flush.place.before", "flush.place.before")),
        pytest.raises(CommitParkedError),
    ):
        commit(place.butler, "committed")
    (entry,) = place.butler.errors()
    assert f"call {destination.calls}" in entry.message
    assert destination.calls == 3


def park(place):
    """Commit while the destination is away; return the context, and mend the destination."""
    inner = place.repository.destinations.get("a")
    place.install(FaultyDestination(inner, Fault(at=1)))
    ctx = place.butler.context()
    ctx.put({"n": 1}, "stats", visit=1)
    ctx.commit("buffered")
    assert place.runtime.wait_idle(60)
    assert isinstance(ctx.ticket.outcome, CommitParked)
    assert [entry.txid for entry in place.butler.errors()] == [ctx.txid]
    return ctx


def test_failure_of_what_was_parked_goes_when_it_has_committed(make_place):
    place = make_place(TO_A)
    ctx = park(place)
    place.butler.recover()
    assert isinstance(place.butler.ticket(ctx.txid), Committed)
    assert place.butler.errors() == []
    place.butler.drain()  # nothing to be told: all is visible
    place.butler.close()
    with Butler(place.repository.root, run="r", instrument="ST8", readonly=True) as again:
        assert again.errors() == []


def test_entry_that_could_not_be_closed_is_told_until_it_is(make_place):
    place = make_place(TO_A)
    ctx = park(place)
    left = [OSError(errno.EIO, "the disk is broken")]

    def breaks_once(point):
        if point == "files.rename.before" and left:
            raise left.pop()

    with failpoints.watched(breaks_once):
        assert [item.action for item in place.butler.recover().items] == ["committed"]
    assert isinstance(place.butler.ticket(ctx.txid), Committed)
    (entry,) = place.butler.errors()
    assert "its journal entry was not closed" in entry.message
    assert [item.action for item in place.butler.recover().items] == ["committed"]
    assert place.butler.errors() == []
    assert place.butler.unfinished() == []


def test_conflict_of_what_was_parked_is_told_though_it_was_told_that_it_is_parked(make_place):
    """The ledger had something of that transaction already, so that nobody heard of the conflict."""
    place = make_place(TO_A)
    inner = place.repository.destinations.get("a")
    place.install(FaultyDestination(inner, Fault(at=1)))
    with pytest.raises(CommitParkedError), place.butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1, expect="create")
    with place.butler.context() as other:
        other.put({"n": 2}, "stats", visit=1)
    assert [item.action for item in place.butler.recover().items] == ["conflict"]
    assert isinstance(place.butler.ticket(ctx.txid), CommitConflict)
    assert {entry.kind for entry in place.butler.errors() if entry.txid == ctx.txid} == {
        ErrorKind.UNREACHABLE,
        place.butler.ticket(ctx.txid).kind,
    }
    place.assert_idle_and_empty()


def test_why_it_failed_is_told_though_what_was_placed_cannot_be_ended(make_place):
    """What was left was noted first, and stood in the place of the reason."""
    place = make_place(TO_A)

    def abort(real, *arguments):
        raise DestinationError("the registry is away", kind=ErrorKind.REGISTRY)

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, abort=abort)
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    ctx.put({"n": 1}, "stats", visit=1)
    ctx.commit("buffered")
    assert gate.reached.wait(60)
    ctx.give_up()
    place.run_on_loop(lambda: None)
    gate.opened.set()
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert isinstance(ctx.ticket.outcome, CommitFailed)
    assert [error.kind for error in caught.value.exceptions] == [ErrorKind.CANCELLED, ErrorKind.REGISTRY]
    assert "what was placed was left" in str(caught.value.exceptions[1])
    assert len(place.objects("a")) == 1


def is_waiting(context):
    """Whether somebody waits until another one has written the journal entry of a context."""
    return context.journaling is not None and context.journaling.statistics().tasks_waiting > 0


def test_context_that_is_closed_upon_while_it_is_parked_is_journaled_once(make_place):
    """The second one met the entry of the first, so that the context failed instead of being parked."""
    place = make_place(TO_A)
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    first, second, go_on = threading.Event(), threading.Event(), threading.Event()

    def hook(point):
        if point == "journal.before" and first.is_set():
            second.set()
        elif point == "journal.before":
            first.set()
            assert go_on.wait(60)

    with failpoints.watched(hook):
        ctx = place.butler.context()
        ctx.put({"n": 1}, "stats", visit=1)
        ctx.commit("buffered")
        assert first.wait(60)
        place.runtime._soon(partial(place.runtime._park, ctx._context), go_on.set)  # as `close` does
        while not second.is_set() and not place.run_on_loop(lambda: is_waiting(ctx._context)):
            pass
        go_on.set()
        assert place.runtime.wait_idle(60)
    assert not second.is_set()  # it waited for the first one, and found the entry
    assert isinstance(ctx.ticket.outcome, CommitParked)
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    assert isinstance(place.butler.ticket(ctx.txid), Committed)
