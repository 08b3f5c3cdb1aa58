"""What goes wrong around a repository costs nothing that was promised."""

import errno
import os
import shutil

import anyio
import pytest

from quantumio import Butler, CommitParkedError, Committed, ErrorKind, InternalError
from quantumio.destinations.files import FilesDestination
from quantumio.engine import _loop_thread
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.errors import DestinationError
from tests.acceptance.processes import leave_placed_outputs, run

pytestmark = pytest.mark.on_disk


@pytest.mark.parametrize("end", ["", "sys.exit(0)"])
def test_exiting_interpreter_finishes_what_was_committed(make_butler, tmp_path, end):
    make_butler(run="r").close()
    script = f"""
        import sys
        from quantumio import Butler
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        for visit in range(20):
            with butler.context(ack="buffered") as ctx:  # two outputs: several threads write them
                ctx.put({{"visit": visit}}, "stats", visit=visit)
                ctx.put({{"visit": visit}}, "stats", visit=100 + visit)
        {end}
    """
    run(script, tmp_path / "night")
    with Butler(tmp_path / "night", readonly=True) as butler:
        assert len(list(butler.query("stats", collections="r"))) == 40


def test_registry_from_a_backup_is_not_cleaned_up_by_opening_it(make_butler, tmp_path):
    root = tmp_path / "night"
    make_butler(config={"rules": [{"mode": "immediate"}]}, run="r").close()
    leave_placed_outputs(root)
    with Butler(root, run="r", instrument="ST8") as butler:
        with butler.context() as ctx:  # whatever is done in the background is done by then
            ctx.put({"a": 1}, "stats", visit=9)
        butler.drain()
        assert len(list(root.rglob("stats/r/*.json"))) == 4
        butler.recover(restored=True)
        catalog = butler._session.repositories[0].catalog
        assert catalog.preparing() == []
    assert len(list(root.rglob("stats/r/*.json"))) == 4
    with Butler(root, run="r", instrument="ST8") as butler:
        assert butler.recover().items == []
    assert len(list(root.rglob("stats/r/*.json"))) == 4


@pytest.fixture
def journaled(make_butler, tmp_path):
    """A repository with one context in the journal, whose process is dead."""
    root = tmp_path / "night"
    make_butler(run="r").close()
    script = """
        import os, sys
        from quantumio.engine._carrier import Carrier
        from quantumio import Butler
        async def never(self, context):
            os.kill(os.getpid(), 9)
        Carrier._place_and_flip = never
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        ctx = butler.context(ack="journaled")
        ctx.put({"a": 1}, "stats", visit=1)
        ctx.commit()
    """
    run(script, root, fails=True)
    assert [entry.state for entry in Journal(root / "journal").entries()] == [JournalState.READY]
    return root


@pytest.mark.parametrize("state", ["tmp", "done"])
def test_foreign_file_in_one_entry_of_the_journal_stops_no_other(journaled, state):
    strange = journaled / "journal" / f"00000000-0000-7000-8000-000000000000.{state}"
    strange.mkdir()
    (strange / ".nfs0001").write_text("somebody else's")
    with Butler(journaled, run="r", instrument="ST8") as butler:
        actions = {item.action for item in butler.recover().items}
        assert actions == {"committed", "left"}
        assert butler.get("stats", visit=1) == {"a": 1}
        (strange / ".nfs0001").unlink()
        assert {item.action for item in butler.recover().items} == {"removed"}
        butler.errors(acknowledge=True)


def test_entry_that_cannot_be_closed_does_not_change_the_outcome(journaled, monkeypatch):
    def fail(self):
        raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr(JournalEntry, "finish", fail)
    with Butler(journaled, run="r", instrument="ST8") as butler:
        with butler.context(ack="journaled") as ctx:
            ctx.put({"a": 2}, "stats", visit=2)
        ticket = butler.ticket(ctx.txid)
        if not isinstance(ticket, Committed):
            ticket.wait()
        with pytest.raises(ExceptionGroup, match="background"):
            butler.drain()
        assert isinstance(butler.ticket(ctx.txid), Committed)
        assert butler.get("stats", visit=2) == {"a": 2}
        assert any("was not closed" in entry.message for entry in butler.errors(acknowledge=True))


def test_dependent_of_what_cannot_be_recovered_now_waits_for_it(make_butler, tmp_path):
    config = {
        "destinations": {"archive": {"kind": "files", "root": "archive/disk"}},
        "rules": [{"to": "archive"}],
    }
    root = tmp_path / "night"
    make_butler(config=config, run="r").close()
    (root / "archive").write_text("in the way")
    script = """
        import sys
        from quantumio import Butler, CommitParkedError
        from quantumio.engine import PlanScope
        with Butler(sys.argv[1], run="r", instrument="ST8") as butler:
            scope = PlanScope()
            first, second = butler.context(ack="journaled"), butler.context(ack="journaled")
            first._context._plan = second._context._plan = scope
            first.put({"a": 1}, "stats", visit=1)
            first.commit("buffered")
            second.get("stats", visit=1)
            second.put({"a": 2}, "stats", visit=2)
            try:
                second.commit("committed")
            except CommitParkedError:
                pass
            print(first.txid)
            butler.errors(acknowledge=True)
    """
    told = run(script, root)
    (root / "archive").unlink()
    manifest = root / "journal" / f"{told.strip()}.ready" / "manifest.json"
    kept = manifest.with_name("kept")
    shutil.move(manifest, root / "kept")
    with Butler(root, run="r", instrument="ST8") as butler:
        assert {item.action for item in butler.recover().items} == {"left"}
        shutil.move(root / "kept", manifest)
        assert not kept.exists()
        assert [item.action for item in butler.recover().items] == ["committed", "committed"]
        assert butler.get("stats", visit=2) == {"a": 2}
        butler.errors(acknowledge=True)


def test_loop_that_cannot_start_is_told_and_tried_again(make_butler, monkeypatch):
    butler = make_butler(run="r")
    start = anyio.run

    def fail_once(*arguments):
        monkeypatch.setattr(_loop_thread.anyio, "run", start)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(_loop_thread.anyio, "run", fail_once)
    ctx = butler.context()
    ctx.put({"a": 1}, "stats", visit=1)
    with pytest.raises(InternalError, match="open files"):
        ctx.commit()
    ctx.abort()
    with butler.context() as again:
        again.put({"a": 1}, "stats", visit=1)
    assert butler.get("stats", visit=1) == {"a": 1}


def test_promise_waits_for_a_disk_that_is_full(make_butler, monkeypatch):
    butler = make_butler(run="r")
    place = FilesDestination.place

    def full(self, placements):
        raise DestinationError("no space is left", kind=ErrorKind.DISK_FULL)

    monkeypatch.setattr(FilesDestination, "place", full)
    with butler.context(ack="journaled") as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler._session.repositories[0].runtime.wait_idle(60)
    monkeypatch.setattr(FilesDestination, "place", place)
    assert [item.action for item in butler.recover().items] == ["committed"]
    assert butler.get("stats", visit=1) == {"a": 1}
    butler.errors(acknowledge=True)


@pytest.mark.parametrize("ack", ["journaled", "committed"])
def test_what_is_carried_when_the_destinations_are_closed_goes_on_later(make_butler, tmp_path, ack):
    """A Butler that closes does not wait without end for what it carries in the background."""
    butler = make_butler(run="r")
    ctx = butler.context(ack=ack)
    ctx.put({"a": 1}, "stats", visit=1)
    butler._session.repositories[0].destinations.close()
    with pytest.raises(CommitParkedError, match="the destinations are closed"):
        ctx.commit("buffered").wait("committed", 60)
    butler.errors(acknowledge=True)
    butler.close()
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        butler.recover()
        assert butler.get("stats", visit=1) == {"a": 1}
