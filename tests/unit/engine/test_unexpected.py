"""Errors that no step foresees, memory that runs out among them: what is known of a context is told."""

import pytest

from quantumio import Butler, CommitFailedError, CommitUnknownError, ErrorKind, StateError
from quantumio.engine import _context
from quantumio.engine._carrier import Carrier
from quantumio.model import CommitParked, Committed

pytestmark = pytest.mark.on_disk

ERRORS = [(MemoryError(), ErrorKind.MEMORY), (KeyError("a bug"), ErrorKind.INTERNAL)]
HERE = pytest.mark.parametrize(("error", "kind"), ERRORS, ids=["memory", "bug"])


@pytest.fixture
def broken(monkeypatch):
    """Return a function that has a step of the carrier raise, the first time."""

    def break_(step, error):
        real, errors = getattr(Carrier, step), [error]

        async def once(self, *arguments):
            if errors:
                raise errors.pop()
            return await real(self, *arguments)

        monkeypatch.setattr(Carrier, step, once)

    return break_


def put(butler):
    ctx = butler.context()
    ctx.put({"visit": 1}, "stats", visit=1)
    return ctx


@HERE
def test_context_that_was_not_flipped_yet_has_failed(place, broken, error, kind):
    broken("_flip", error)
    ctx = put(place.butler)
    with pytest.raises(CommitFailedError) as caught:
        ctx.commit()
    assert caught.value.kind is kind
    assert place.butler.query("stats").count() == 0
    assert place.objects("a", "b") == []
    assert isinstance(put(place.butler).commit().outcome, Committed)


@HERE
def test_context_that_was_journaled_is_kept_and_comes_later(place, broken, error, kind):
    broken("_flip", error)
    ctx = put(place.butler)
    ticket = ctx.commit("journaled")
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert {one.kind for one in caught.value.exceptions} == {kind}
    assert isinstance(ticket.outcome, CommitParked)
    assert [item.action for item in place.butler.recover().items] == ["committed"]
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    assert isinstance(place.butler.ticket(ctx.txid), Committed)


@HERE
def test_context_whose_flip_was_asked_for_is_unknown_and_nothing_is_removed(place, monkeypatch, error, kind):
    async def flip(self, transaction):
        raise error

    monkeypatch.setattr("quantumio.engine._committer.Committer.flip", flip)
    with pytest.raises(CommitUnknownError):
        put(place.butler).commit()
    assert len(place.objects("a", "b")) == 2
    assert {one.kind for one in place.butler.errors(acknowledge=True)} == {kind}


@HERE
def test_outcome_that_is_known_is_told_whatever_follows(place, broken, error, kind):
    broken("close_entry", error)
    ctx = put(place.butler)
    assert isinstance(ctx.commit().outcome, Committed)
    assert {one.kind for one in place.butler.errors(acknowledge=True)} == {kind}


def test_want_of_memory_while_that_is_concluded_changes_nothing(place, broken):
    broken("_flip", KeyError("a bug"))
    broken("end", MemoryError())
    with pytest.raises(CommitFailedError):
        put(place.butler).commit()
    assert {one.kind for one in place.butler.errors(acknowledge=True)} == {
        ErrorKind.INTERNAL,
        ErrorKind.MEMORY,
    }
    assert isinstance(put(place.butler).commit().outcome, Committed)


def test_put_that_finds_no_memory_has_put_nothing(place, monkeypatch):
    butler = place.butler

    def take_snapshot(*arguments, **options):
        raise MemoryError("Unable to allocate 8 EiB")

    with butler.context() as ctx:
        with monkeypatch.context() as patched:
            patched.setattr(_context, "take_snapshot", take_snapshot)
            with pytest.raises(StateError, match="memory ran out in the put of stats") as caught:
                ctx.put({"a": 1}, "stats", visit=1)
        assert caught.value.kind is ErrorKind.MEMORY
        ctx.put({"a": 2}, "stats", visit=1)
    assert butler.get("stats", visit=1) == {"a": 2}


def test_destination_that_finds_no_memory_is_tried_again(place, monkeypatch):
    real, errors = type(place.repository.destinations.get("a")).place, [MemoryError()]

    def place_once(self, placements):
        if errors:
            raise errors.pop()
        return real(self, placements)

    monkeypatch.setattr(type(place.repository.destinations.get("a")), "place", place_once)
    ctx = put(place.butler)
    ticket = ctx.commit("buffered")
    with pytest.raises(ExceptionGroup, match=r".*") as caught:
        place.butler.drain()
    assert {one.kind for one in caught.value.exceptions} == {ErrorKind.MEMORY}
    assert isinstance(ticket.outcome, CommitParked)
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"visit": 1}


def test_repository_opens_where_recovery_finds_no_thread(place, broken, monkeypatch):
    broken("_flip", MemoryError())
    ticket = put(place.butler).commit("journaled")
    with pytest.raises(ExceptionGroup):
        place.butler.drain()
    assert isinstance(ticket.outcome, CommitParked)
    place.butler.errors(acknowledge=True)
    place.butler.close()

    def refuse(function):
        raise StateError("no thread could be started", kind=ErrorKind.THREADS)

    with monkeypatch.context() as patched:
        patched.setattr("quantumio.system.threads.start_uninterrupted", refuse)
        butler = Butler(place.repository.root, run="r", instrument="ST8")
        assert butler.query("stats").count() == 0
    with butler:
        assert [one.kind for one in butler.errors(acknowledge=True)] == [ErrorKind.THREADS]
        assert [item.action for item in butler.recover().items] == ["committed"]
        assert butler.query("stats").count() == 1
