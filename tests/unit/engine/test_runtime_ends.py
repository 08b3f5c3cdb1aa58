"""How the work of a runtime ends: closed upon, abandoned, or met by a bug; somebody is always told."""

import gc
import threading

import numpy as np
import pytest

from quantumio import Butler
from quantumio.engine import _runtime
from quantumio.errors import (
    CommitFailedError,
    CommitUnknownError,
    DestinationError,
    ErrorKind,
    InternalError,
    StateError,
)
from quantumio.model import (
    ArtifactState,
    CommitFailed,
    CommitParked,
    Committed,
    CommitUnknown,
    TransactionState,
)
from quantumio.registry._catalog import SqlCatalog
from quantumio.system import environment, failpoints
from tests.unit.engine.conftest import Gate, WrappedCatalog

pytestmark = pytest.mark.on_disk

AWAY = DestinationError("the registry is away", kind=ErrorKind.REGISTRY)
TO_A = {"rules": [{"to": ["a"]}]}
IMMEDIATE = {"rules": [{"to": ["a"], "mode": "immediate"}]}


def stats(ctx, visit=1, **options):
    return ctx.put({"visit": visit}, "stats", visit=visit, **options)


def raises_at(point, *errors):
    """Return a hook that raises these errors, one each time that a point is reached."""
    left = list(errors)

    def hook(name):
        if name == point and left:
            raise left.pop(0)

    return hook


def failing(*errors):
    """Return a wrapper of a call of the registry that raises these errors, one a call, and then calls."""
    left = list(errors)

    def call(real, *arguments):
        if left:
            raise left.pop(0)
        return real(*arguments)

    return call


# ---------------------------------------------------------------------------- closed


def close_upon_a_call_that_does_not_return(place, monkeypatch, ack):
    """Close while a destination does not answer; return the gate, the ticket, and what `close` has raised."""
    monkeypatch.setattr(_runtime, "_ABANDON_AFTER_S", 0.05)
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ticket = ctx.commit(ack)
    assert gate.reached.wait(60)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.close(timeout=0)
    (error,) = caught.value.exceptions
    assert str(ctx.txid) in error.__notes__[0]
    return gate, ticket, error


def let_it_return(place, gate):
    gate.opened.set()
    assert place.runtime._loop._ended.wait(60)


def test_call_that_does_not_return_is_left_behind_and_the_journal_keeps_it(make_place, monkeypatch):
    place = make_place(TO_A)
    gate, ticket, error = close_upon_a_call_that_does_not_return(place, monkeypatch, "journaled")
    assert "in the journal" in str(error)
    outcome = ticket.outcome
    assert isinstance(outcome, CommitParked)
    let_it_return(place, gate)
    assert ticket.outcome is outcome  # it was told, and stays
    with Butler(place.repository.root, run="r", instrument="ST8") as butler:
        butler.recover()
        assert isinstance(butler.ticket(ticket.txid), Committed)
        assert butler.get("stats", visit=1) == {"visit": 1}
        assert butler.errors() == []


def test_close_says_so_where_a_call_does_not_return_and_nobody_keeps_it(make_place, monkeypatch):
    """It ended without a word, as if everything were committed."""
    place = make_place(TO_A | {"runtime": {"journal_min_free_bytes": 1 << 62}})
    gate, ticket, error = close_upon_a_call_that_does_not_return(place, monkeypatch, "buffered")
    assert "had not returned" in str(error)
    assert isinstance(ticket.outcome, CommitUnknown)
    let_it_return(place, gate)
    assert isinstance(ticket.outcome, CommitUnknown)
    with Butler(place.repository.root, run="r", instrument="ST8") as butler:
        assert ticket.txid in {entry.txid for entry in butler.errors(acknowledge=True)}
        assert butler.query("stats").count() == 0


def test_copy_that_is_under_way_at_a_close_is_brought_later_and_the_commit_stands(make_place, monkeypatch):
    monkeypatch.setattr(_runtime, "_ABANDON_AFTER_S", 0.05)
    place = make_place({"rules": [{"to": ["local", "b?"]}]})
    gate = place.install(Gate("b", fails=True))
    with place.butler.context() as ctx:
        stats(ctx)
    assert gate.reached.wait(60)
    place.butler.close(timeout=0)
    assert isinstance(ctx.ticket.outcome, Committed)
    gate.opened.set()
    assert place.runtime._loop._ended.wait(60)
    assert not place.runtime.journal.entries()
    with Butler(place.repository.root, run="r", instrument="ST8") as butler:
        butler.recover()
        assert {one.state for one in butler.where_is(ctx.refs[0])} == {ArtifactState.OK}


def test_child_of_a_fork_can_neither_use_nor_end_what_its_parent_carries(place, monkeypatch):
    """In this process, so that it counts; `tests/acceptance` forks."""
    ctx = place.butler.context()
    stats(ctx)
    with monkeypatch.context() as patched:
        patched.setattr(environment, "pid", lambda: place.runtime._pid + 1)
        with pytest.raises(StateError) as caught:
            place.runtime.check_usable()
        assert caught.value.kind is ErrorKind.FORKED
        place.runtime.close(0)
    place.runtime._closed = False  # that was the child's
    ctx.commit()
    assert place.butler.get("stats", visit=1) == {"visit": 1}


# ---------------------------------------------------------------------------- abandoned


def test_what_was_placed_of_a_context_that_nobody_has_any_more_is_removed(make_place):
    place = make_place(IMMEDIATE)
    removed = threading.Event()

    def hook(point):
        if point == "finish.after":
            removed.set()

    ctx = place.butler.context()
    stats(ctx)
    txid = ctx.txid
    assert len(place.objects("a")) == 1
    with failpoints.watched(hook):
        del ctx
        gc.collect()
        assert removed.wait(60)
    assert place.objects("a") == []
    assert place.repository.catalog.transaction(txid).state is TransactionState.ABORTED
    assert place.butler.ticket(txid).kind is ErrorKind.ABORTED
    assert place.repository.catalog.outbox() == []


def test_giving_a_commit_up_after_the_end_changes_nothing(place):
    with place.butler.context() as ctx:
        stats(ctx)
    assert place.runtime._loop.stop(60)
    ctx.give_up()
    assert isinstance(ctx.ticket.outcome, Committed)


# ---------------------------------------------------------------------------- bugs of our own


def test_bug_while_a_context_is_carried_is_told_and_ends_nothing(make_place):
    place = make_place(TO_A)
    with failpoints.watched(raises_at("journal.before", KeyError("a bug"))):
        ctx = place.butler.context()
        stats(ctx)
        with pytest.raises((CommitFailedError, CommitUnknownError), match="KeyError"):
            ctx.commit("journaled")
    assert isinstance(ctx.ticket.outcome, CommitFailed | CommitUnknown)
    assert [(entry.kind, entry.txid) for entry in place.butler.errors()] == [(ErrorKind.INTERNAL, ctx.txid)]
    assert place.butler.query("stats").count() == 0
    with place.butler.context() as again:
        stats(again)
    assert isinstance(again.ticket.outcome, Committed)
    place.assert_idle_and_empty()


def test_bug_after_the_outcome_was_told_is_told_too(make_place):
    """It was lost: the commit stands, and what follows it is not done."""
    place = make_place(TO_A)
    with failpoints.watched(raises_at("decide.after", KeyError("a bug"))):
        with place.butler.context() as ctx:
            stats(ctx)
        assert place.runtime.wait_idle(60)
    assert isinstance(ctx.ticket.outcome, Committed)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert [error.kind for error in caught.value.exceptions] == [ErrorKind.INTERNAL]
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    place.assert_idle_and_empty()


def test_bug_in_recovery_is_told_to_who_asked_and_to_the_ledger(place, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(SqlCatalog, "hasten_follow_ups", lambda self: {}["a bug"])
        with pytest.raises(InternalError, match="a bug"):
            place.butler.recover()
    place.run_on_loop(lambda: None)
    assert ErrorKind.INTERNAL in {entry.kind for entry in place.butler.errors()}
    assert place.butler.recover().is_clean


def test_who_takes_in_again_what_was_set_aside_is_told_that_the_journal_cannot_be_read(place):
    root = place.runtime.journal.root
    place.butler.recover()
    kept = root.rename(root.with_name("hidden")) if root.exists() else None
    root.write_text("no directory")
    with pytest.raises(DestinationError):
        place.runtime.retry_set_aside([environment.uuid7()], as_next=False)
    root.unlink()
    if kept is not None:
        kept.rename(root)
    assert place.butler.recover().is_clean


def test_immediate_put_that_a_bug_meets_is_told_and_not_waited_for(make_place):
    """Before anything of it is on its way."""
    place = make_place(IMMEDIATE)
    ctx = place.butler.context()
    context = ctx._context
    intent = context.intent
    context.intent = lambda *more: {}["a bug"]
    with pytest.raises(InternalError):
        stats(ctx)
    context.intent = intent
    assert ctx.refs == ()
    stats(ctx)
    ctx.commit()
    assert len(place.objects("a")) == 1
    place.assert_idle_and_empty()


# ---------------------------------------------------------------------------- the lease


def test_lease_that_is_not_renewed_is_told_and_renewed_later(place, monkeypatch):
    monkeypatch.setattr(_runtime, "_RENEWALS", 100_000)
    errors, renewed = [AWAY, KeyError("a bug")], threading.Event()

    def renew_lease(real, owner):
        if errors:
            raise errors.pop(0)
        renewed.set()
        return real(owner)

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, renew_lease=renew_lease)
    with place.butler.context() as ctx:
        stats(ctx)
    assert renewed.wait(60)
    with place.butler.context() as ctx:
        stats(ctx, 2)
    told = [entry for entry in place.butler.errors() if "the lease was not renewed" in entry.message]
    assert [entry.kind for entry in told] == [ErrorKind.REGISTRY, ErrorKind.INTERNAL]
    assert place.butler.query("stats").count() == 2


# ---------------------------------------------------------------------------- ingest


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.arange(12.0))
    return path


def test_ingest_whose_intent_the_registry_does_not_take_places_nothing(make_place, image):
    place = make_place(TO_A)
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, prepare=failing(AWAY))
    with pytest.raises(DestinationError, match="the registry is away"):
        place.butler.ingest(image, "pixels", visit=1, detector=0, transfer="copy")
    assert place.objects("a", "local") == []
    assert image.exists()
    place.butler.ingest(image, "pixels", visit=1, detector=0, transfer="copy")
    assert (place.butler.get("pixels", visit=1, detector=0) == np.arange(12.0)).all()


def test_what_follows_an_ingest_is_kept_for_later_where_the_registry_is_away(make_place, image, monkeypatch):
    place = make_place({"rules": [{"to": ["local", "b?"]}]})
    real = SqlCatalog.outbox
    with monkeypatch.context() as patched:
        patched.setattr(SqlCatalog, "outbox", lambda self: failing(AWAY)(real, self))
        (ref,) = place.butler.ingest(image, "pixels", visit=1, detector=0, transfer="copy")
        with pytest.raises(ExceptionGroup) as caught:
            place.butler.drain()
    assert [error.kind for error in caught.value.exceptions] == [ErrorKind.REGISTRY]
    assert place.runtime._recoverer.is_left_over
    assert place.butler.flush(60) == []
    assert {one.state for one in place.butler.where_is(ref)} == {ArtifactState.OK}
    place.assert_idle_and_empty()
