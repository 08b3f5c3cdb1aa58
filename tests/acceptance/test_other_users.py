"""Whoever may read a repository, or write to it, but not look into the journal of another user, can work."""

import pytest

from quantumio import Butler
from quantumio.errors import DestinationError, ErrorKind
from quantumio.system import files
from tests.acceptance.night import with_failed_copy

pytestmark = pytest.mark.on_disk


@pytest.fixture
def foreign(make_butler, monkeypatch):
    """A repository whose journal is another user's: a directory of mode 0700."""
    butler = make_butler(run="r")
    with butler.context(ack="journaled") as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler.drain()
    butler.close()
    root = butler._session.repositories[0].root
    real = files.list_directory

    def refuse(path):
        if path == root / "journal":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(files, "list_directory", refuse)
    return root


def test_who_reads_is_told_that_there_is_a_journal_of_somebody_else(foreign):
    with Butler(foreign, readonly=True) as reader:
        for items in (reader.unfinished(), reader.recover(dry_run=True).items):
            assert [(item.what, item.txid, item.action) for item in items] == [
                ("journal", None, "unreadable")
            ]
            assert "Permission denied" in items[0].detail
        with pytest.raises(DestinationError) as caught:
            reader.set_aside()
        assert caught.value.kind is ErrorKind.PERMISSION


def test_who_writes_can_put_and_recover_what_is_not_in_it(foreign):
    with Butler(foreign, run="r", instrument="ST8") as writer:
        with writer.context() as ctx:
            ctx.put({"a": 2}, "stats", visit=2)
        report = writer.recover()
        assert ([item.action for item in report.items], report.is_clean) == (["unreadable"], True)
        assert writer.flush() == []
        assert writer.get("stats", visit=2) == {"a": 2}


def test_journal_that_cannot_be_read_for_another_reason_is_no_other_users(foreign, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(files, "list_directory", fail)
    with Butler(foreign, readonly=True) as reader, pytest.raises(DestinationError, match="Input/output"):
        reader.unfinished()


def test_dry_run_tells_copies_that_were_postponed(make_butler):
    butler, opened, whole, _ = with_failed_copy(make_butler)
    butler.flush()  # who asks makes an attempt; it is postponed again, for longer
    assert [item.action for item in butler.unfinished()] == ["postponed"]
    for _ in range(2):
        assert [(item.what, item.action) for item in butler.recover(dry_run=True).items] == [
            ("follow_up", "do")
        ]
    opened._open["second"] = whole
    assert [item.action for item in butler.recover().items] == ["done"]
    assert butler.recover(dry_run=True).items == []
    butler.errors(acknowledge=True)
