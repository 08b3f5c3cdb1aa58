"""What was set aside has a way back: it can be looked at, taken in once, and dropped."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import uuid

import anyio.to_thread
import pytest

from quantumio import (
    AsyncButler,
    Butler,
    CommitConflictError,
    CommitParkedError,
    CommitUnknown,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from quantumio.engine import PlanScope
from quantumio.engine._carrier import Carrier
from quantumio.engine._journal_entry import JournalEntry
from quantumio.engine._standing import last_retry, retry_of
from quantumio.engine._way_back import WayBack
from quantumio.errors import DestinationError, ErrorKind
from quantumio.model import TransactionState
from quantumio.testing import Fault, FaultyDestination, collect_garbage_at_once
from tests.acceptance.night import lose, told

pytestmark = pytest.mark.on_disk


def catalog_of(butler):
    return butler._session.repositories[0].catalog


def files_of(one):
    return [file for output in one.outputs for file in output.files]


def test_it_is_told_with_its_reason_its_datasets_and_where_its_bytes_are(butler):
    txid = lose(butler, 1)
    (one,) = butler.set_aside()
    assert (one.txid, one.damage) == (txid, None)
    assert "none was expected, and the latest version is 1" in one.reason
    assert one.since_ns is not None
    assert [(o.ref.dataset_type.name, o.expect) for o in one.outputs] == [("stats", 0), ("blob", None)]
    assert [file.path.read_bytes() for file in files_of(one)][1] == b"late"
    assert json.loads(files_of(one)[0].path.read_bytes()) == {"late": True}
    assert one.nbytes == sum(path.stat().st_size for path in one.path.iterdir())
    (item,) = butler.unfinished()
    assert (item.action, item.detail) == ("conflict", one.reason)


def test_it_is_taken_in_as_the_next_version_once(butler):
    txid = lose(butler, 1)
    (planned,) = butler.recover(retry=txid, as_next=True, dry_run=True).items
    assert (planned.action, str(butler.set_aside()[0].path) in planned.detail) == ("retry", True)
    assert told(butler.recover(retry=str(txid), as_next=True)) == [(txid, "committed")]
    assert butler.set_aside() == butler.unfinished() == []
    assert not list(butler._session.repositories[0].runtime.journal.entries())
    assert butler.get("stats", visit=1) == {"late": True}
    assert [one.ref.version for one in butler.versions("stats", visit=1)] == [1, 2]
    assert butler.get("blob", visit=1) == b"late"
    for dry_run in (True, False):
        (item,) = butler.recover(retry=txid, dry_run=dry_run).items
        assert item.action == "committed"
        assert str(retry_of(txid, 1)) in item.detail
    (item,) = butler.recover(drop=txid).items
    assert item.action == "committed", "there is nothing left to drop"
    assert len(butler.versions("stats", visit=1)) == 2
    assert collect_garbage_at_once(butler).findings == ()


def test_what_is_in_conflict_again_stays_and_can_be_tried_again(butler):
    txid = lose(butler, 1)
    report = butler.recover(retry=[txid])
    assert (told(report), report.is_clean) == ([(txid, "conflict")], False)
    assert report.items[0].detail.endswith("it stays set aside")
    assert [one.txid for one in butler.set_aside()] == [txid]
    assert len(butler.versions("stats", visit=1)) == 1
    butler.drain()  # it was told: not once more
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    assert butler.ticket(retry_of(txid, 2)).refs[0].version == 2
    assert butler.errors() == []  # why it was set aside, twice, is over


def test_what_was_expected_may_hold_again(butler):
    txid = lose(butler, 1)
    context = butler.context(ack="journaled")
    context.put({"third": True}, "stats", visit=1, expect=2)
    context.commit()
    with pytest.raises(ExceptionGroup):
        butler.drain()
    butler.errors(acknowledge=True)
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    assert told(butler.recover(retry=[context.txid])) == [(context.txid, "committed")]
    assert butler.get("stats", visit=1) == {"third": True}


def test_it_is_dropped_for_good(butler):
    txid = lose(butler, 1)
    assert told(butler.recover(drop=[txid], dry_run=True)) == [(txid, "drop")]
    assert [one.txid for one in butler.set_aside()] == [txid]
    assert told(butler.recover(drop=[txid])) == [(txid, "dropped")]
    assert butler.set_aside() == butler.unfinished() == []
    assert butler.get("stats", visit=1) == {"late": False}
    report = butler.recover(drop=[txid])
    assert (told(report), report.is_clean) == ([(txid, "nothing")], True), "again it is no error"
    report = butler.recover(retry=[txid], as_next=True)
    assert (told(report), report.is_clean) == ([(txid, "left")], False)
    assert told(butler.recover(drop=[txid], dry_run=True)) == [(txid, "nothing")]


def test_what_was_never_set_aside_is_not_told_as_dropped(butler):
    with butler.context() as winner:
        winner.put({"late": False}, "stats", visit=1)
    loser = butler.context()
    loser.put({"late": True}, "stats", visit=1, expect="create")
    with pytest.raises(CommitConflictError):
        loser.commit()
    assert butler.set_aside() == []
    for dry_run in (True, False):
        (item,) = butler.recover(drop=loser.txid, dry_run=dry_run).items
        assert (item.txid, item.action) == (loser.txid, "nothing")
        assert "conflict" in item.detail
        (item,) = butler.recover(retry=loser.txid, dry_run=dry_run).items
        assert item.action == "left"
    with pytest.raises(NotFoundError):
        butler.recover(drop=winner.txid)


@pytest.mark.parametrize("action", ["committed", "dropped"])
def test_entry_that_cannot_be_removed_is_told_beside_what_became_of_it(butler, action):
    txid = lose(butler, 1)
    (one,) = butler.set_aside()
    (one.path / "somebody's").write_text("notes")
    options = {"retry": txid, "as_next": True} if action == "committed" else {"drop": txid}
    report = butler.recover(**options)
    assert told(report) == [(txid, action), (txid, "left")]
    assert not report.is_clean
    assert "somebody else put" in report.items[1].detail
    assert len(butler.versions("stats", visit=1)) == (2 if action == "committed" else 1)
    assert butler.set_aside() == []
    butler.drain()  # the report has told it
    (one.path.with_suffix(".done") / "somebody's").unlink()
    assert told(butler.recover()) == [(txid, "removed")]
    butler.errors(acknowledge=True)


@pytest.fixture
def dependent(make_butler, monkeypatch):
    """Have two contexts in the journal, of which one read the other's output, and let others be first."""
    archive = {"kind": "files", "root": "archive/disk"}
    butler = make_butler(config={"destinations": {"archive": archive}, "rules": [{"to": "archive"}]}, run="r")
    in_the_way = butler._session.repositories[0].root / "archive"
    in_the_way.write_text("")
    read, park = threading.Event(), Carrier._park

    async def park_later(self, context, failed):
        await anyio.to_thread.run_sync(read.wait, 20)
        return await park(self, context, failed)

    def recover(visit):
        monkeypatch.setattr(Carrier, "_park", park_later)
        first, second = butler.context(), butler.context()
        first._context._plan = second._context._plan = PlanScope()
        first.put({"late": True}, "stats", visit=1, expect="create")
        first.commit("buffered")
        assert second.get("stats", visit=1) == {"late": True}
        read.set()
        second.put({"derived": True}, "stats", visit=2, expect="create")
        with pytest.raises(CommitParkedError):
            second.commit()
        with butler.context() as winner:
            winner.put({"late": False}, "stats", visit=visit, to="local")
        in_the_way.unlink()
        return butler, first.txid, second.txid, told(butler.recover())

    return recover


def test_what_needs_another_is_taken_in_after_it(dependent):
    butler, first, second, recovered = dependent(1)
    assert recovered == [(first, "conflict"), (second, "failed")]
    assert told(butler.recover(retry=[second], as_next=True)) == [(second, "failed")]
    both = butler.recover(retry=[second, first], as_next=True)
    assert told(both) == [(first, "committed"), (second, "committed")]
    stored = catalog_of(butler).stored([ref.id for ref in butler.query("stats")])
    seqs = {one.ref.data_id["visit"]: one.commit_seq for one in stored.values()}
    assert seqs[1] < seqs[2]
    assert butler.set_aside() == []
    butler.errors(acknowledge=True)


def test_what_needs_something_visible_is_taken_in(dependent):
    butler, first, second, recovered = dependent(2)
    assert recovered == [(first, "committed"), (second, "conflict")]
    assert told(butler.recover(retry=[second], as_next=True)) == [(second, "committed")]
    assert butler.get("stats", visit=2) == {"derived": True}
    butler.errors(acknowledge=True)


def test_what_cannot_be_placed_now_stays_and_nothing_of_the_attempt_is_left(butler):
    txid = lose(butler, 1)
    opened = butler._session.repositories[0].destinations
    whole = opened.get("local")
    opened._open["local"] = FaultyDestination(whole, Fault(at=1, forever=True, kind=ErrorKind.UNREACHABLE))
    report = butler.recover(retry=[txid], as_next=True)
    assert (told(report), report.is_clean) == ([(txid, "parked")], False)
    assert catalog_of(butler).preparing() == []
    opened._open["local"] = whole
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    butler.errors(acknowledge=True)
    butler.recover()
    assert butler.unfinished() == []


@pytest.mark.parametrize(
    ("with_blob", "action", "why"),
    [
        (False, "left", "another attempt under its key has committed"),
        (True, "conflict", "has no such output"),
    ],
)
def test_an_attempt_under_the_key_that_has_committed_is_not_taken_for_it(butler, with_blob, action, why):
    txid = lose(butler, 1, key="quantum", with_blob=with_blob)
    with butler.context(key="quantum") as ctx:
        ctx.put({"again": True}, "stats", visit=1)
    report = butler.recover(retry=[txid], as_next=True)
    assert (told(report), report.is_clean) == ([(txid, action)], False)
    assert why in report.items[0].detail
    (one,) = butler.set_aside()
    assert [file.path.read_bytes() for file in files_of(one)][1:] == [b"late"] * with_blob
    assert json.loads(files_of(one)[0].path.read_bytes()) == {"late": True}
    assert butler.get("stats", visit=1) == {"again": True}


@pytest.mark.parametrize("state", [TransactionState.PREPARING, TransactionState.COMMITTED])
def test_what_died_in_a_retry_is_found_by_the_next(butler, monkeypatch, state):
    """An attempt that is on its way is ended first; one that has committed is the last."""
    txid = lose(butler, 1)

    def die(self, entry, again):
        raise DestinationError("killed", kind=ErrorKind.UNREACHABLE)

    if state is TransactionState.COMMITTED:
        with monkeypatch.context() as patched:
            patched.setattr(WayBack, "_close", die)
            assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "left")]
    else:
        (entry,) = butler._session.repositories[0].runtime.journal.entries()
        dead = uuid.uuid4()
        catalog_of(butler).register_owner(dead, "elsewhere", "boot")
        way_back = butler._session.repositories[0].runtime._recovery.way_back
        transaction = way_back._again(entry.manifest().transaction, retry_of(txid, 1), True)
        catalog_of(butler).prepare([transaction], dead, 1000)
    last, record = last_retry(txid, catalog_of(butler).transaction)
    assert (last, record.state) == (retry_of(txid, 1), state)
    assert [one.txid for one in butler.set_aside()] == [txid]
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    assert last_retry(txid, catalog_of(butler).transaction)[1].state is TransactionState.COMMITTED
    assert catalog_of(butler).preparing() == []
    assert [one.ref.version for one in butler.versions("stats", visit=1)] == [1, 2]
    butler.errors(acknowledge=True)


def test_recovery_removes_what_is_visible_already_and_decides_nothing_else(butler, monkeypatch):
    txid, other = lose(butler, 1), lose(butler, 2)
    with monkeypatch.context() as patched:
        patched.setattr(WayBack, "_close", lambda self, entry, again: 1 / 0)
        with pytest.raises(Exception, match="division"):
            butler.recover(retry=[txid], as_next=True)
    left = {item.txid: item.action for item in butler.recover(dry_run=True).items}
    assert left == {txid: "remove", other: "left"}
    assert told(butler.recover()) == [(txid, "committed")]
    assert [one.txid for one in butler.set_aside()] == [other]
    assert butler.recover().items == []


def test_what_somebody_else_decides_about_is_left(butler):
    txid = lose(butler, 1)
    (entry,) = butler._session.repositories[0].runtime.journal.entries()
    assert entry.lock()
    for options in ({"retry": [txid]}, {"drop": [txid]}):
        assert told(butler.recover(**options)) == [(txid, "left")]
        assert told(butler.recover(**options, dry_run=True)) == [(txid, "held")]
    entry.release()
    assert told(butler.recover(drop=[txid])) == [(txid, "dropped")]
    butler.errors(acknowledge=True)


def test_what_another_process_works_on_is_left_and_names_it(butler):
    txid = lose(butler, 1)
    (one,) = butler.set_aside()
    script = """
        import sys
        from pathlib import Path
        from quantumio.system.locks import FileLock
        with FileLock(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(one.path / "LOCK")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        for dry_run, action in ((True, "held"), (False, "left")):
            (item,) = butler.recover(drop=txid, dry_run=dry_run).items
            assert (item.action, item.detail) == (action, f"held by process {holder.pid}")
        holder.communicate("\n")
    assert told(butler.recover(drop=txid)) == [(txid, "dropped")]


def test_what_is_damaged_is_told_and_can_be_dropped(butler):
    txid = lose(butler, 1)
    (one,) = butler.set_aside()
    (one.path / "manifest.json").write_text("{")
    (one.path / "reason.json").write_text("{")
    (damaged,) = butler.set_aside()
    assert (damaged.txid, damaged.outputs, damaged.reason) == (txid, (), "it is not known why")
    assert "manifest.json is damaged" in damaged.damage
    assert "reason.json is damaged" in butler.unfinished()[0].detail
    report = butler.recover(retry=[txid], as_next=True)
    assert told(report) == [(txid, "left")]
    assert "damaged" in report.items[0].detail
    assert one.path.exists()
    assert told(butler.recover(drop=[txid])) == [(txid, "dropped")]
    assert not one.path.exists()
    butler.errors(acknowledge=True)


def test_file_of_an_output_that_is_gone_or_cut_is_told_before_anybody_decides(butler):
    txid = lose(butler, 1)
    (one,) = butler.set_aside()
    assert one.damage is None
    gone, cut = (file.path for output in one.outputs for file in output.files)
    gone.unlink()
    with cut.open("r+b") as file:
        file.truncate(2)
    (damaged,) = butler.set_aside()
    assert damaged.outputs == one.outputs
    assert f"{gone} is damaged: it is missing" in damaged.damage
    assert f"{cut} is damaged: it has 2 bytes" in damaged.damage
    for options in ({}, {"dry_run": True}):
        (item,) = butler.recover(retry=txid, as_next=True, **options).items
        assert (item.txid, item.action) == (txid, "left")
        assert f"{gone} is damaged" in item.detail or f"{cut} is damaged" in item.detail
    assert told(butler.recover(drop=txid, dry_run=True)) == [(txid, "drop")]
    (one.path / "manifest.json").write_text("{")
    (item,) = butler.recover(retry=txid, dry_run=True).items
    assert (item.action, "manifest.json is damaged" in item.detail) == ("left", True)
    assert told(butler.recover(drop=txid)) == [(txid, "dropped")]
    butler.errors(acknowledge=True)


def test_what_somebody_has_just_decided_about_is_not_told(butler, monkeypatch):
    txid = lose(butler, 1)
    runtime = butler._session.repositories[0].runtime
    listed, note = runtime.journal.entries(), JournalEntry.note

    def note_and_lose(self):
        told = note(self)
        shutil.rmtree(self.path)
        return told

    with monkeypatch.context() as patched:
        patched.setattr(JournalEntry, "note", note_and_lose)
        assert butler.set_aside() == []
    monkeypatch.setattr(runtime.journal, "entries", lambda: listed)
    assert butler.set_aside() == []
    assert told(butler.recover(drop=[txid])) == [(txid, "left")]
    butler.errors(acknowledge=True)


def test_commit_without_an_answer_is_found_by_asking(butler, monkeypatch):
    txid = lose(butler, 1)
    way_back = butler._session.repositories[0].runtime._recovery.way_back
    carry = way_back._carry

    async def no_answer(manifest, *others):
        await carry(manifest, *others)
        return CommitUnknown(txid=manifest.transaction.txid, reason="no answer")

    monkeypatch.setattr(way_back, "_carry", no_answer)
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    assert butler.set_aside() == []


def test_what_cannot_be_decided_now_is_left_whole(butler, monkeypatch):
    """The registry does not answer at one step or another: nothing is removed."""
    txid, gone = lose(butler, 1), lose(butler, 2)
    butler.recover(drop=[gone])

    def away(self, *arguments):
        raise DestinationError("the registry is away", kind=ErrorKind.REGISTRY)

    for step, options in (
        ("_settle", {"drop": [txid]}),
        ("_settle", {"retry": [txid]}),
        ("_drop_row", {"drop": [txid]}),
        ("_close", {"retry": [txid], "as_next": True}),
        ("_close", {"drop": [txid]}),
        ("_close", {}),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(WayBack, step, away)
            assert told(butler.recover(**options)) == [(txid, "left")]
        assert [one.damage for one in butler.set_aside()] == [None]
    with monkeypatch.context() as patched:
        patched.setattr(WayBack, "_without_bytes", away)
        assert told(butler.recover(retry=[gone])) == [(gone, "left")]
    assert told(butler.recover(drop=[txid])) == [(txid, "committed")], "it was taken in meanwhile"
    assert butler.set_aside() == []
    butler.errors(acknowledge=True)


# -- a registry that was put back from a backup


@pytest.fixture
def restored(make_butler):
    """A Butler, and a transaction that was on its way when the backup was made, with what it has placed."""
    butler = make_butler(config={"rules": [{"mode": "immediate"}]}, run="r")
    context = butler.context()
    context.put({"undecided": True}, "stats", visit=1)
    butler.recover(restored=True)
    context.abort()
    butler.errors(acknowledge=True)
    return butler, context.txid


def placed(butler):
    return [
        path
        for path in (butler._session.repositories[0].root / "data").rglob("*.json")
        if "_qio" not in path.parts
    ]


def test_what_is_in_quarantine_without_bytes_can_only_be_dropped(restored):
    butler, txid = restored
    (one,) = butler.set_aside()
    assert (one.txid, one.path, one.nbytes) == (txid, None, 0)
    (place,) = one.outputs[0].places
    assert place.destination == "local"
    assert len(placed(butler)) == 1
    for dry_run in (True, False):
        assert told(butler.recover(retry=[txid], dry_run=dry_run)) == [(txid, "left")]
    assert told(butler.recover(drop=[txid], dry_run=True)) == [(txid, "drop")]
    assert len(placed(butler)) == 1
    for _ in range(2):
        assert told(butler.recover(drop=[txid])) == [(txid, "dropped")]
    assert placed(butler) == butler.set_aside() == butler.unfinished() == []
    assert catalog_of(butler).transaction(txid).state is TransactionState.ABORTED


def test_what_cannot_be_removed_yet_is_told_and_removed_later(restored):
    butler, txid = restored
    opened = butler._session.repositories[0].destinations
    whole = opened.get("local")
    opened._open["local"] = FaultyDestination(whole, Fault(at=1, forever=True, kind=ErrorKind.UNREACHABLE))
    (item,) = butler.recover(drop=[txid]).items
    assert item.action == "dropped"
    assert "to be removed at local still" in item.detail
    opened._open["local"] = whole
    butler.recover()
    assert placed(butler) == []
    butler.errors(acknowledge=True)


def test_what_is_in_quarantine_with_bytes_is_taken_in(make_butler):
    butler = make_butler(run="r")
    txid = lose(butler, 1)
    with sqlite3.connect(butler._session.repositories[0].root / "registry.sqlite3") as connection:
        changed = connection.execute("UPDATE txn SET state = 'QUARANTINED' WHERE state = 'ABORTED'").rowcount
    connection.close()
    assert changed == 1
    (one,) = butler.set_aside()
    assert one.path is not None
    assert [len(output.places) for output in one.outputs] == [1, 1]
    assert told(butler.recover(retry=[txid], as_next=True)) == [(txid, "committed")]
    assert butler.set_aside() == butler.unfinished() == []
    assert butler.get("blob", visit=1) == b"late"


# -- what is asked for


def test_wrong_decisions_are_refused_before_anything_is_done(butler):
    txid = lose(butler, 1)
    unknown = uuid.uuid4()
    with pytest.raises(NotFoundError, match="was not set aside here") as caught:
        butler.recover(drop=[txid, unknown])
    assert caught.value.kind is ErrorKind.NO_TICKET
    for wrong, said in (
        ({"retry": [txid], "drop": [txid]}, "retried and dropped"),
        ({"retry": [txid], "restored": True}, "restored"),
        ({"as_next": True}, "as_next"),
        ({"drop": 7}, "no transaction"),
        ({"drop": ["x"]}, "no UUID"),
        ({"retry": [txid], "as_next": 1}, "as_next"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            butler.recover(**wrong)
    assert butler.recover(retry=[], drop=[]).items == []
    assert [one.txid for one in butler.set_aside()] == [txid]
    root = butler._session.repositories[0].root
    butler.close()
    with Butler(root, readonly=True) as reader:
        assert [one.txid for one in reader.set_aside()] == [txid]
        with pytest.raises(StateError, match="read-only"):
            reader.recover(drop=[txid])
        assert told(reader.recover(drop=[txid], dry_run=True)) == [(txid, "drop")]


@pytest.mark.anyio
async def test_event_loops_have_the_same(butler):
    first, second = lose(butler, 1), lose(butler, 2)
    async with AsyncButler(butler._session.repositories[0].root, run="r") as other:
        assert [one.txid for one in await other.set_aside()] == [first, second]
        report = await other.recover(retry=[first], drop=[second], as_next=True)
        assert told(report) == [(first, "committed"), (second, "dropped")]
        assert await other.set_aside() == []


def test_failure_of_a_retry_is_told_once_by_its_report_and_is_over_with_its_success(butler):
    txid = lose(butler, 1)
    report = butler.recover(retry=txid)
    assert told(report) == [(txid, "conflict")]
    assert {entry.txid for entry in butler.errors()} == {txid}
    butler.drain()  # the report has told it
    butler.recover(retry=txid, as_next=True)
    assert butler.errors() == []


def test_failure_of_a_retry_that_nobody_has_waited_for_is_raised_later(butler, monkeypatch):
    txid = lose(butler, 1)
    runtime = butler._session.repositories[0].runtime
    monkeypatch.setattr(runtime, "_deliver", lambda items: None)  # an interrupt came before the report
    butler.recover(retry=txid)
    with pytest.raises(ExceptionGroup) as caught:
        butler.drain()
    assert "the latest version is 1" in str(caught.value.exceptions[0])


def test_retry_whose_waiting_was_interrupted_is_waited_for_by_who_asks_again(butler, monkeypatch):
    txid = lose(butler, 1)
    decide, retry = Carrier.decide, WayBack.retry
    asked, go_on = [], threading.Event()

    async def interrupted(self, context):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        await anyio.to_thread.run_sync(go_on.wait, 60)
        return await decide(self, context)

    async def counted(self, txids, **options):
        asked.append(txids)
        if len(asked) == 2:
            go_on.set()
        return await retry(self, txids, **options)

    monkeypatch.setattr(WayBack, "retry", counted)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Carrier, "decide", interrupted)
        butler.recover(retry=txid, as_next=True)
    (item,) = butler.recover(drop=txid).items
    assert item.action == "left"
    assert f"process {os.getpid()}, this one" in item.detail
    assert told(butler.recover(retry=txid, as_next=True)) == [(txid, "committed")]
    assert butler.set_aside() == []
    assert len(butler.versions("stats", visit=1)) == 2
    butler.drain()


@pytest.mark.parametrize("given", [0, False, 1.5, [0], "abc"])
def test_what_is_no_transaction_is_refused(butler, given):
    for arguments in ({"retry": given}, {"drop": given}):
        with pytest.raises(InvalidInputError):
            butler.recover(**arguments)


def test_failed_copy_of_what_is_taken_in_is_told(make_butler):
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second?"]}],
    }
    butler = make_butler(config=config, run="r")
    txid = lose(butler, 1)
    opened = butler._session.repositories[0].destinations
    opened._open["second"] = FaultyDestination(opened.get("second"), Fault(at=1, forever=True))
    assert told(butler.recover(retry=txid, as_next=True)) == [(txid, "committed")]
    with pytest.raises(ExceptionGroup) as raised:
        butler.drain()
    assert all("'second'" in str(one) for one in raised.value.exceptions)
    assert {one.txid for one in butler.errors()} == {txid}
