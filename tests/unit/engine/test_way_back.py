"""What was set aside, where somebody else decides meanwhile, or the registry or the disk does not answer."""

import errno

import pytest

from quantumio.engine._way_back import WayBack
from quantumio.errors import DestinationError, ErrorKind
from quantumio.system import failpoints
from tests.acceptance.night import lose, told

pytestmark = pytest.mark.on_disk

AWAY = DestinationError("the registry is away", kind=ErrorKind.REGISTRY)


@pytest.fixture
def butler(make_place):
    return make_place({"rules": [{"to": ["a"]}]}).butler


def once_before(monkeypatch, owner, name, happens):
    """Have something happen just before, or instead of, the first call."""
    real, left = getattr(owner, name), [happens]

    def call(self, *arguments, **options):
        if left:
            left.pop()()
        return real(self, *arguments, **options)

    monkeypatch.setattr(owner, name, call)


def away():
    raise AWAY


def test_reason_that_is_damaged_is_told_where_all_that_is_unfinished_is(butler):
    lose(butler, with_blob=False)
    (one,) = butler.set_aside()
    (one.path / "reason.json").write_text("{")
    (item,) = butler.unfinished()
    assert item.action == "conflict"
    assert "reason.json is damaged" in item.detail


def test_what_the_registry_does_not_answer_is_left_and_can_be_asked_again(butler, monkeypatch):
    """Also of one that has no bytes here."""
    txid = lose(butler, with_blob=False)
    (entry,) = butler._session.repositories[0].runtime.journal.entries()
    assert entry.lock()
    entry.finish()
    runtime = butler._session.repositories[0].runtime
    with monkeypatch.context() as patched:
        once_before(patched, WayBack, "_last", away)
        assert [item.action for item in runtime.retry_set_aside([txid], as_next=False)] == ["left"]
    assert [item.action for item in runtime.retry_set_aside([txid], as_next=False)] == ["left"]
    with monkeypatch.context() as patched:
        once_before(patched, WayBack, "_last", away)
        (item,) = runtime.drop_set_aside([txid])
    assert item.action == "left"
    assert "the registry is away" in item.detail
    butler.errors(acknowledge=True)


def test_entry_is_free_again_where_dropping_it_fails(butler, monkeypatch):
    txid = lose(butler, with_blob=False)
    with monkeypatch.context() as patched:
        once_before(patched, WayBack, "_settle", away)
        assert told(butler.recover(drop=[txid])) == [(txid, "left")]
    assert [entry.kind for entry in butler.errors(acknowledge=True)] == [ErrorKind.REGISTRY]
    assert told(butler.recover(drop=[txid])) == [(txid, "dropped")]
    assert butler.set_aside() == []


def die_before_it_is_closed(butler, txid):
    """Take one in again, and break off when that has just committed."""
    left = [OSError(errno.EIO, "the disk is broken")]

    def hook(point):
        if point == "retry.after" and left:
            raise left.pop()

    with failpoints.watched(hook):
        assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "left")]
    butler.errors(acknowledge=True)
    assert butler.get("stats", visit=1) == {"late": True}
    assert len(butler.set_aside()) == 1


def test_what_was_taken_in_and_not_closed_is_not_dropped_but_closed(butler):
    txid = lose(butler, with_blob=False)
    die_before_it_is_closed(butler, txid)
    assert told(butler.recover(drop=[txid])) == [(txid, "committed")]
    assert butler.set_aside() == []
    assert butler.get("stats", visit=1) == {"late": True}


def test_what_was_taken_in_and_cannot_be_closed_now_is_closed_later(butler, monkeypatch):
    txid = lose(butler, with_blob=False)
    die_before_it_is_closed(butler, txid)
    with monkeypatch.context() as patched:
        once_before(patched, WayBack, "_close", away)
        assert told(butler.recover()) == [(txid, "left")]
    butler.errors(acknowledge=True)
    assert told(butler.recover()) == [(txid, "committed")]
    assert butler.set_aside() == butler.unfinished() == []
