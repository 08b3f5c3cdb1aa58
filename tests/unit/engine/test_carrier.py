"""The way of one context: whatever fails on it, its outcome is told and true, and nothing is left behind."""

import numpy as np
import pytest
from attrs import evolve

from quantumio.destinations.memory import MemoryDestination
from quantumio.engine._owner import Owner
from quantumio.errors import (
    CommitFailedError,
    CommitParkedError,
    CommitUnknownError,
    DestinationError,
    ErrorKind,
    StateError,
)
from quantumio.model import CommitFailed, Committed, TransactionState
from quantumio.ports import LEASE_OVER
from quantumio.testing import Fault, FaultyDestination
from tests.unit.engine.conftest import WrappedCatalog

pytestmark = pytest.mark.on_disk

TO_A = {"rules": [{"to": ["a"]}]}
IMMEDIATE = {"rules": [{"to": ["a"], "mode": "immediate"}]}
NO_ROOM = {"runtime": {"journal_min_free_bytes": str(1 << 62)}}
"""No disk has so much: the journal takes nothing."""

AWAY = DestinationError("the registry is away", kind=ErrorKind.REGISTRY)


def stats(ctx, visit=1, **options):
    return ctx.put({"visit": visit}, "stats", visit=visit, **options)


def raises(error):
    """Return a wrapper of a call of the registry that always fails."""

    def call(real, *arguments):
        raise error

    return call


def journaled(place):
    return [entry.txid for entry in place.runtime.journal.entries()]


def assert_nothing_is_left(place, *, objects=0):
    place.assert_idle_and_empty()
    assert journaled(place) == []
    assert place.repository.catalog.preparing() == []
    assert place.repository.catalog.outbox() == []
    assert len(place.objects("a")) == objects


# ---------------------------------------------------------------------------- sealed to decided


def test_quantum_without_outputs_is_done_once_under_its_key(place):
    """Whoever runs it again is told that there is nothing to do."""
    outcomes = []
    for _ in range(2):
        with place.butler.context(key="isr-1") as ctx:
            pass
        outcomes.append(ctx.ticket.outcome)
    assert [outcome.refs for outcome in outcomes] == [(), ()]
    assert [outcome.reused for outcome in outcomes] == [False, True]
    assert outcomes[0].commit_seq == outcomes[1].commit_seq
    place.assert_idle_and_empty()


def test_output_that_cannot_be_encoded_is_not_journaled_and_its_commit_fails(make_place):
    place = make_place(TO_A)
    array = np.zeros(10)
    ctx = place.butler.context()
    ctx.put(array, "pixels", visit=1, detector=0, own="borrow")
    array[3] = 1
    with pytest.raises(CommitFailedError) as caught:
        ctx.commit("journaled")
    assert caught.value.kind is ErrorKind.MUTATED_AFTER_PUT
    (entry,) = place.butler.errors()
    assert (entry.txid, entry.ref.data_id["visit"], entry.kind) == (ctx.txid, 1, ErrorKind.MUTATED_AFTER_PUT)
    place.butler.drain()  # whoever waited was told
    assert_nothing_is_left(place)


def test_commit_fails_where_the_journal_that_it_asks_for_has_no_room(make_place):
    place = make_place(TO_A | NO_ROOM)
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitFailedError, match="not journaled") as caught:
        ctx.commit("journaled")
    assert caught.value.kind is ErrorKind.BUFFER_FULL
    assert [entry.txid for entry in place.butler.errors()] == [ctx.txid]
    assert place.butler.query("stats").count() == 0
    assert_nothing_is_left(place)


def test_commit_that_cannot_be_parked_fails_of_what_it_would_have_been_parked_for(make_place):
    place = make_place(TO_A | NO_ROOM)
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitFailedError, match="as planned") as caught:
        ctx.commit()
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert_nothing_is_left(place)


def test_context_whose_registry_cannot_say_whether_it_goes_on_is_parked_and_carried_later(make_place):
    place = make_place(TO_A)
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, transaction=raises(AWAY))
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitParkedError, match="as planned"):
        ctx.commit()
    assert journaled(place) == [ctx.txid]
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    assert_nothing_is_left(place, objects=1)


def ended_at_every_flip(place, *, times=4):
    """Have others end what is to become visible, over the silence of this process; return the generations."""
    catalog, flipped = place.repository.catalog, []

    def silent(real, group, owner=None):
        if len(flipped) < times:
            (one,) = group
            flipped.append(one.generation)
            assert catalog.abort(one.txid, one.epoch, LEASE_OVER)
        return real(group, owner)

    return flipped, silent


def test_context_that_is_ended_over_its_silence_again_and_again_is_kept_for_later(make_place):
    """It was said to be parked, and nobody had its bytes any more."""
    place = make_place(TO_A)
    flipped, silent = ended_at_every_flip(place)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=silent)
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitParkedError, match="silent for too long"):
        ctx.commit()
    assert flipped == [0, 1, 2, 3]
    assert journaled(place) == [ctx.txid]
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    assert place.butler.errors() == []
    assert journaled(place) == []


def test_context_that_was_ended_and_cannot_be_opened_again_now_is_kept_for_later(make_place):
    place = make_place(TO_A)
    _, silent = ended_at_every_flip(place, times=1)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=silent, reopen=raises(AWAY))
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitParkedError):
        ctx.commit()
    assert journaled(place) == [ctx.txid]
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"visit": 1}


def test_context_that_nobody_can_keep_is_not_said_to_be_parked(make_place):
    place = make_place(TO_A | NO_ROOM)
    _, silent = ended_at_every_flip(place)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=silent)
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitUnknownError, match="silent for too long.*not journaled"):
        ctx.commit()
    assert journaled(place) == []
    assert [entry.txid for entry in place.butler.errors()] == [ctx.txid]


@pytest.fixture
def placed(make_place):
    """Open a context that has placed one output."""
    place = make_place(IMMEDIATE)
    ctx = place.butler.context()
    stats(ctx)
    assert len(place.objects("a")) == 1
    return place, ctx


def test_context_that_somebody_has_ended_by_hand_fails_and_leaves_nothing(placed):
    place, ctx = placed
    assert place.repository.catalog.abort(ctx.txid, 0, "by hand")
    with pytest.raises(CommitFailedError, match="ended before: by hand") as caught:
        ctx.commit()
    assert caught.value.kind is ErrorKind.ABORTED
    assert place.butler.query("stats").count() == 0
    assert_nothing_is_left(place)


def test_context_that_another_process_has_taken_over_is_kept_and_nothing_is_removed(placed):
    place, ctx = placed
    other = Owner(place.runtime._owners)
    other.register(place.repository.catalog)
    assert place.repository.catalog.take_over(ctx.txid, other.id, 0).epoch == 1
    with pytest.raises(CommitParkedError, match="another process carries it"):
        ctx.commit()
    assert len(place.objects("a")) == 1
    assert journaled(place) == [ctx.txid]
    place.butler.recover()
    assert isinstance(place.butler.ticket(ctx.txid), Committed)
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    other.release()


def test_context_in_quarantine_is_kept_for_people_to_decide(placed):
    place, ctx = placed
    place.butler.recover(restored=True)
    with pytest.raises(CommitParkedError, match="set aside"):
        ctx.commit()
    assert len(place.objects("a")) == 1
    assert place.butler.query("stats").count() == 0
    (entry,) = place.runtime.journal.entries()
    assert entry.txid == ctx.txid


def test_context_that_was_committed_elsewhere_meanwhile_has_that_outcome(placed):
    """Its token was resumed in another process, which was faster."""
    place, ctx = placed
    (output,) = ctx._context.outputs
    elsewhere = evolve(ctx._context.transaction([output.record()], ()), inputs=())
    (outcome,) = place.repository.catalog.flip([elsewhere])
    assert isinstance(outcome, Committed)
    ticket = ctx.commit()
    assert ticket.outcome.reused
    assert ticket.outcome.refs == outcome.refs
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    assert len(place.objects("a")) == 1
    assert place.butler.fsck(3).is_whole


# ---------------------------------------------------------------------------- one output of an open context


def test_immediate_put_tells_that_the_registry_does_not_take_it_and_places_nothing(make_place):
    place = make_place(IMMEDIATE)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, prepare=raises(AWAY))
    ctx = place.butler.context()
    with pytest.raises(DestinationError, match="the registry is away"):
        stats(ctx)
    assert ctx.refs == ()
    ctx.abort()
    assert_nothing_is_left(place)


def test_immediate_put_of_a_context_that_others_have_ended_is_refused(make_place):
    place = make_place(IMMEDIATE)
    ctx = place.butler.context()
    stats(ctx, 1)
    assert place.repository.catalog.abort(ctx.txid, 0, LEASE_OVER)
    with pytest.raises(StateError, match="not this process's any more"):
        stats(ctx, 2)
    assert [ref.data_id["visit"] for ref in ctx.refs] == [1]
    ctx.commit()  # what it has goes on under other names
    assert [ref.data_id["visit"] for ref in place.butler.query("stats")] == [1]


# ---------------------------------------------------------------------------- what never becomes visible


def test_what_was_placed_of_an_aborted_context_is_removed_though_the_loop_has_ended(make_place):
    place = make_place(IMMEDIATE)
    ctx = place.butler.context()
    stats(ctx)
    assert place.runtime._loop.stop(60)
    ctx.abort()
    assert isinstance(ctx.ticket.outcome, CommitFailed)
    assert place.objects("a") == []
    assert place.repository.catalog.transaction(ctx.txid).state is TransactionState.ABORTED
    assert place.runtime.budget.used_bytes == 0


def test_what_was_placed_is_left_though_the_loop_has_ended_where_the_registry_does_not_answer(make_place):
    place = make_place(IMMEDIATE)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, abort=raises(AWAY))
    ctx = place.butler.context()
    stats(ctx)
    assert place.runtime._loop.stop(60)
    ctx.abort()
    assert len(place.objects("a")) == 1
    (entry,) = place.butler.errors()
    assert "what was placed was left" in entry.message
