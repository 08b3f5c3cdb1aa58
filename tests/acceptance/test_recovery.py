"""What is promised survives: journaled contexts, dead owners, what follows a commit."""

import os
import sqlite3
import threading
import time

import anyio
import anyio.to_thread
import numpy as np
import pytest
from astropy.table import Table

from quantumio import (
    AsyncButler,
    Butler,
    CommitConflictError,
    CommitFailed,
    CommitParked,
    CommitParkedError,
    Committed,
    ErrorKind,
    InvalidInputError,
    StateError,
)
from quantumio.engine import PlanScope, _recoverer, known_outcome
from quantumio.engine._carrier import Carrier
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.model import ArtifactState, TransactionState
from quantumio.ports import LEASE_OVER
from quantumio.registry import _outbox
from quantumio.testing import Fault, FaultyDestination
from tests.acceptance.night import with_failed_copy
from tests.acceptance.processes import leave_placed_outputs, run

pytestmark = pytest.mark.on_disk

AWAY = {"destinations": {"archive": {"kind": "files", "root": "archive/disk"}}, "rules": [{"to": "archive"}]}


def journal(root):
    return [entry.state for entry in Journal(root / "journal").entries()]


def catalog_of(butler):
    return butler._session.repositories[0].catalog


@pytest.fixture
def away(make_butler, tmp_path):
    """A repository whose one destination is a disk that is not mounted: a file is in its way."""
    root = tmp_path / "night"
    butler = make_butler(config=AWAY, run="r")
    (root / "archive").write_text("in the way")
    return butler, root


def test_journaled_context_survives_the_death_of_its_process_and_of_its_destination(away):
    butler, root = away
    butler.close()
    script = """
        import os, sys
        from quantumio import Butler
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        for visit in range(3):
            with butler.context(ack="journaled") as ctx:
                ctx.put({"visit": visit}, "stats", visit=visit)
            print(ctx.txid, flush=True)
        os.kill(os.getpid(), 9)
    """
    txids = run(script, root, fails=True).split()
    assert len(txids) == 3
    assert journal(root) == [JournalState.READY] * 3
    with Butler(root, run="r", instrument="ST8") as butler:
        assert {item.action for item in butler.recover().items} == {"parked"}
        butler.errors(acknowledge=True)
        (root / "archive").unlink()
        assert [item.action for item in butler.recover().items] == ["committed"] * 3
        assert [butler.get("stats", visit=visit) for visit in range(3)] == [{"visit": v} for v in range(3)]
        assert {type(butler.ticket(txid)) for txid in txids} == {Committed}
        assert butler.recover().items == []
    assert journal(root) == []


def test_pack_of_a_journaled_context_is_placed_when_its_destination_is_back(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        for visit in range(20):
            ctx.put({"visit": visit}, "stats", visit=visit)
    butler.close()
    (root / "archive").unlink()
    with Butler(root, run="r", instrument="ST8") as butler:
        butler.recover()
        assert [butler.get("stats", visit=visit) for visit in range(20)] == [{"visit": v} for v in range(20)]
    assert len([*(root / "archive" / "disk").rglob("*.zip")]) == 1
    assert journal(root) == []


def test_what_read_a_parked_output_is_parked_with_it_and_recovered_after_it(away, monkeypatch):
    butler, root = away
    read, park = threading.Event(), Carrier._park

    async def park_later(self, context, failed):
        await anyio.to_thread.run_sync(read.wait, 20)
        return await park(self, context, failed)

    monkeypatch.setattr(Carrier, "_park", park_later)
    scope = PlanScope()
    first, second = butler.context(), butler.context()
    first._context._plan = second._context._plan = scope
    first.put({"a": 1}, "stats", visit=1)
    ticket = first.commit("buffered")
    assert second.get("stats", visit=1) == {"a": 1}
    read.set()
    second.put({"a": 2}, "stats", visit=2)
    with pytest.raises(CommitParkedError, match=str(first.txid)):
        second.commit()
    assert isinstance(ticket.outcome, CommitParked)
    known = known_outcome(first.txid, catalog_of(butler), Journal(root / "journal"))
    assert known == CommitParked(txid=first.txid, reason="it is in the journal, for `recover` to go on")
    (root / "archive").unlink()
    assert [item.action for item in butler.recover().items] == ["committed"] * 2
    seqs = {one.ref.data_id["visit"]: one.commit_seq for one in stored(butler)}
    assert seqs[1] < seqs[2]
    assert catalog_of(butler).preparing() == []
    butler.errors(acknowledge=True)


def stored(butler):
    refs = list(butler.query("stats"))
    return list(catalog_of(butler).stored([ref.id for ref in refs]).values())


def test_journaled_context_that_lost_is_kept_for_people(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"late": True}, "stats", visit=1, expect="create")
    with butler.context() as winner:
        winner.put({"late": False}, "stats", visit=1, to="local")
    (root / "archive").unlink()
    (item,) = butler.recover().items
    assert item.action == "conflict"
    assert journal(root) == [JournalState.CONFLICT]
    lost = known_outcome(ctx.txid, catalog_of(butler), Journal(root / "journal"))  # as another process asks
    assert isinstance(lost, CommitFailed)
    assert lost.message == "it was ended: conflict"
    (entry,) = Journal(root / "journal").entries()
    assert str(winner.txid) in entry.note().reason
    assert butler.get("stats", visit=1) == {"late": False}
    assert not list((root / "archive").rglob("*.json")) or not list((root / "archive").rglob("*0.0.json"))
    butler.errors(acknowledge=True)
    assert butler.recover(dry_run=True).items[0].action == "left"


def test_conflict_leaves_nothing_to_do_at_best_effort_destinations(make_butler):
    """The flip notes them for removal, too, though nothing was placed there yet."""
    archive = {"kind": "files", "root": "archive"}
    config = {"destinations": {"archive": archive}, "rules": [{"to": ["local", "archive?"]}]}
    butler = make_butler(config=config, run="r")
    with pytest.raises(CommitConflictError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1, expect=5)
    assert catalog_of(butler).outbox() == []
    assert butler.recover(dry_run=True).items == []


def test_what_a_living_process_carries_is_told_as_held_and_not_as_to_be_recovered(
    butler, tmp_path, monkeypatch
):
    goes_on = threading.Event()
    real = Carrier._place_and_flip

    async def wait(self, context):
        await anyio.to_thread.run_sync(goes_on.wait)
        return await real(self, context)

    monkeypatch.setattr(Carrier, "_place_and_flip", wait)
    with butler.context(ack="journaled") as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    try:
        (found,) = butler.recover(dry_run=True).items
        assert (found.txid, found.action) == (ctx.txid, "held")
        assert found.detail.startswith(f"held by process {os.getpid()}, this one")
        (found,) = butler.unfinished()
        assert found.detail.startswith(f"held by process {os.getpid()}, this one")
    finally:
        goes_on.set()
    butler.drain()
    assert butler.recover(dry_run=True).items == []


def test_damaged_manifest_in_the_registry_is_kept_and_stops_no_other(make_butler, tmp_path):
    root = tmp_path / "night"
    make_butler(config={"rules": [{"mode": "immediate"}]}, run="r").close()
    for _ in range(2):
        leave_placed_outputs(root)
    with sqlite3.connect(root / "registry.sqlite3") as connection:
        connection.execute("UPDATE txn SET manifest = '{' WHERE txid = (SELECT min(txid) FROM txn)")
    connection.close()
    with Butler(root, run="r", instrument="ST8") as butler:
        assert [one.action for one in butler.recover(dry_run=True).items] == ["left", "end"]
        assert ["is damaged" in one.detail for one in butler.unfinished()] == [True, False]
        report = butler.recover()
        assert [one.action for one in report.items] == ["left", "ended", "done"]
        assert "is damaged" in report.items[0].detail
        assert not report.is_clean
        assert len(list(root.rglob("stats/r/*.json"))) == 3  # nobody knows what it has placed
        butler.errors(acknowledge=True)


def test_promise_is_kept_when_its_transaction_is_ended_while_recovery_takes_it_over(away, monkeypatch):
    """Another recovery has looked before the entry was there, and meets an owner who was silent since."""
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    (root / "archive").unlink()
    catalog = catalog_of(butler)
    (record,) = catalog.preparing()
    take_over = type(catalog).take_over

    def ended_before(self, txid, owner, epoch):
        self.abort(txid, record.epoch, LEASE_OVER)
        return take_over(self, txid, owner, epoch)

    monkeypatch.setattr(type(catalog), "take_over", ended_before)
    assert [item.action for item in butler.recover().items if item.what == "journal"] == ["committed"]
    assert butler.get("stats", visit=1) == {"a": 1}
    assert catalog.transaction(ctx.txid).generation == 1
    assert journal(root) == []
    butler.errors(acknowledge=True)


def test_open_context_dies_with_its_process_and_leaves_nothing(make_butler, tmp_path):
    root = tmp_path / "night"
    make_butler(config={"rules": [{"mode": "immediate"}]}, run="r").close()
    leave_placed_outputs(root)
    assert len(list(root.rglob("stats/r/*.json"))) == 3
    with Butler(root, run="r", instrument="ST8", readonly=True) as butler:
        found = butler.recover(dry_run=True).items
        assert [(item.what, item.action) for item in found] == [("transaction", "end")]
        known = butler.ticket(found[0].txid)
        assert isinstance(known, CommitParked)
        assert "on its way in process" in known.reason
        with pytest.raises(StateError) as error:
            butler.recover()
        assert error.value.kind is ErrorKind.READ_ONLY
    with Butler(root, run="r", instrument="ST8") as butler:
        actions = [(item.what, item.action) for item in butler.recover().items]
        assert actions == [("transaction", "ended"), ("follow_up", "done")]
        known = butler.ticket(found[0].txid)
        assert isinstance(known, CommitFailed)
        assert "not heard of" in known.message
        assert list(root.rglob("stats/r/*.json")) == []
        assert catalog_of(butler).outbox() == []


def test_living_process_is_left_alone_by_the_recovery_of_another(make_butler, tmp_path):
    root = tmp_path / "night"
    butler = make_butler(config={"rules": [{"mode": "immediate"}]}, run="r")
    ctx = butler.context()
    ctx.put({"a": 1}, "stats", visit=1)
    script = """
        import sys
        from quantumio import Butler
        with Butler(sys.argv[1], run="r", instrument="ST8") as butler:
            print(len(butler.recover().items))
            print(type(butler.ticket(sys.argv[2])).__name__)
    """
    assert run(script, root, str(ctx.txid)).split() == ["0", "CommitParked"]
    ctx.commit()
    assert butler.get("stats", visit=1) == {"a": 1}


def test_copy_that_failed_comes_later_from_a_copy_that_is_whole(make_butler):
    butler, opened, whole, ctx = with_failed_copy(make_butler)
    (ref,) = ctx.refs
    states = {one.destination: one.state for one in butler.where_is(ref)}
    assert states == {"local": ArtifactState.OK, "second": ArtifactState.PENDING}
    assert not ctx.ticket.reached("settled")
    assert butler.fsck(2).is_whole
    opened._open["second"] = whole
    catalog = catalog_of(butler)
    (entry,) = catalog.outbox()
    catalog.release_claims(entry.claimed_by)
    (item,) = butler.recover().items
    assert (item.what, item.action) == ("follow_up", "done")
    assert {one.state for one in butler.where_is(ref)} == {ArtifactState.OK}
    assert butler.fsck(3).is_whole
    assert catalog.outbox() == []


def test_copy_that_failed_is_tried_again_by_the_same_process(make_butler, monkeypatch):
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 0.05)
    monkeypatch.setattr(_outbox, "_CLAIM_OF_WRITER_NS", 300_000_000)
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second?"]}],
    }
    butler = make_butler(config=config, run="r")
    opened = butler._session.repositories[0].destinations
    opened._open["second"] = FaultyDestination(opened.get("second"), Fault(at=1))
    with butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    with pytest.raises(ExceptionGroup):
        butler.drain()
    for _ in range(400):
        if all(one.state is ArtifactState.OK for one in butler.where_is(ctx.refs[0])):
            break
        time.sleep(0.05)
    else:
        pytest.fail("nobody came back to the copy")
    assert butler.fsck(3).is_whole


def test_context_that_was_ended_over_its_silence_goes_on_under_other_names(make_butler, monkeypatch):
    butler = make_butler(run="r")
    catalog = catalog_of(butler)
    flipping = threading.Event()
    flip = type(catalog).flip

    def silent(self, group, owner=None):
        if not flipping.is_set():
            flipping.set()
            (record,) = self.preparing()
            assert self.abort(record.txid, record.epoch, LEASE_OVER)
        return flip(self, group, owner)

    monkeypatch.setattr(type(catalog), "flip", silent)
    with butler.context() as ctx:
        ctx.put(np.arange(4), "pixels", visit=1, detector=0)
    record = catalog.transaction(ctx.txid)
    assert (record.state, record.epoch, record.generation) == (TransactionState.COMMITTED, 1, 1)
    (location,) = butler.where_is(ctx.refs[0])
    assert f"{ctx.txid}.1." in location.url
    assert (butler.get(ctx.refs[0]) == np.arange(4)).all()


@pytest.mark.parametrize("url", ["sqlite:///level3.db", "registry"])
def test_rows_of_a_second_attempt_have_load_ids_of_their_own(make_butler, monkeypatch, url):
    """Whoever still cleans up after the first attempt can never hit the rows of the second."""
    level3 = {"kind": "database", "url": url}
    butler = make_butler(
        config={"destinations": {"level3": level3}, "rules": [{"to": ["local", "level3"]}]}, run="r"
    )
    catalog = catalog_of(butler)
    flip, planned = type(catalog).flip, []

    def silent(self, group, owner=None):
        if not planned:
            (record,) = self.preparing()
            planned.extend(a for output in record.transaction.outputs for a in output.artifacts)
            assert self.abort(record.txid, record.epoch, LEASE_OVER)
        return flip(self, group, owner)

    monkeypatch.setattr(type(catalog), "flip", silent)
    rows = Table({"star": [1, 2, 3]})
    with butler.context(ack="settled") as ctx:
        ctx.put(rows, "source", visit=1, detector=0)
    (repository,) = butler._session.repositories
    (first,) = [artifact for artifact in planned if artifact.load_id is not None]
    repository.destinations.get("level3").remove_load(first.path, first.load_id)
    (second,) = [a for a in catalog.stored([ctx.refs[0].id])[ctx.refs[0].id].artifacts if a.load_id]
    assert second.load_id != first.load_id
    assert repository.destinations.get("level3").read(second.path, second.load_id).num_rows == 3


def test_context_that_was_aborted_by_somebody_fails_and_leaves_nothing(make_butler, monkeypatch, tmp_path):
    butler = make_butler(run="r")
    catalog = catalog_of(butler)
    flip = type(catalog).flip

    def beaten(self, group, owner=None):
        (record,) = self.preparing()
        assert self.abort(record.txid, record.epoch, "aborted")
        return flip(self, group, owner)

    monkeypatch.setattr(type(catalog), "flip", beaten)
    ctx = butler.context()
    ctx.put({"a": 1}, "stats", visit=1)
    ticket = ctx.commit("buffered")
    with pytest.raises(ExceptionGroup):
        butler.drain()
    assert isinstance(ticket.outcome, CommitFailed)
    assert list((tmp_path / "night" / "data").rglob("*.json")) == [
        tmp_path / "night" / "data" / "_qio" / "store.json"
    ]


def test_failures_are_kept_until_somebody_acknowledges_them(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler.close()
    with Butler(root, run="r", instrument="ST8", readonly=True) as again:
        assert ctx.txid in {entry.txid for entry in again.errors()}
        assert again.errors(acknowledge=True) == []  # who only reads cannot make them go away
        assert again.errors()
    with Butler(root, run="r", instrument="ST8") as again:
        again.recover()  # what recovery in the background meets again would be told anew
        assert ctx.txid in {entry.txid for entry in again.errors(acknowledge=True)}
        assert again.errors() == []
    with Butler(root, run="r", instrument="ST8", readonly=True) as again:
        assert again.errors() == []


def test_failures_of_a_process_that_has_gone_are_over_once_what_it_parked_is_visible(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler.close()
    (root / "archive").unlink()
    with Butler(root, run="r", instrument="ST8") as again:
        again.recover()
        assert again.get("stats", visit=1) == {"a": 1}
        assert again.errors() == []
    assert list((root / "errors").iterdir()) == []


def test_failure_that_is_met_again_and_again_is_one_failure(away, monkeypatch):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    count = len(butler.errors())
    for _ in range(3):
        assert {item.action for item in butler.recover().items} == {"parked"}
    assert len(butler.errors()) == count
    butler.close()
    for _ in range(3):
        with Butler(root, run="r", instrument="ST8") as again:
            again.recover()
            assert len(again.errors()) == count
    assert len(list((root / "errors").iterdir())) == count


@pytest.mark.parametrize("file", ["manifest.json", "blob-0-0.json"])
def test_damaged_entry_of_the_journal_is_told_and_stops_nobody(away, file):
    butler, root = away
    txids = []
    for visit in (1, 2):
        with pytest.raises(CommitParkedError), butler.context() as ctx:
            ctx.put({"a": visit}, "stats", visit=visit)
        txids.append(ctx.txid)
    butler.close()
    (root / "archive").unlink()
    damaged = root / "journal" / f"{txids[0]}.ready" / file
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes().replace(b"a", b"o"))
    (root / "journal" / "notes.txt").write_text("somebody's")
    with Butler(root, readonly=True) as reader:
        looked = {item.txid: item for item in reader.recover(dry_run=True).items}
    assert [looked[txid].action for txid in txids] == ["left", "carry"]
    assert f"{damaged} is damaged" in looked[txids[0]].detail
    for _ in range(2):
        with Butler(root, run="r", instrument="ST8") as again:
            actions = {item.txid: item.action for item in again.recover().items}
            assert actions[txids[0]] == "left"
            assert [ref.data_id["visit"] for ref in again.query("stats")] == [2]
    assert damaged.exists()
    assert (root / "journal" / "notes.txt").exists()


def test_repository_on_a_disk_that_cannot_be_written_is_read(away, monkeypatch):
    butler, root = away
    with butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1, to="local")
    butler.close()
    with Butler(root, run="r", instrument="ST8", readonly=True) as again:
        assert again.get("stats", visit=1) == {"a": 1}
        assert again.errors() == []
        assert again.unfinished() == []
        assert again.recover(dry_run=True).items == []
    assert not (root / "owners").exists() or list((root / "owners").iterdir()) == []


def test_terminated_run_finishes_or_parks_what_it_has(make_butler, tmp_path):
    root = tmp_path / "night"
    make_butler(run="r").close()
    script = """
        import os, signal, sys
        from quantumio import Butler, drain_on_sigterm
        drain_on_sigterm(20)
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        for visit in range(50):
            ctx = butler.context()
            ctx.put({"visit": visit}, "stats", visit=visit)
            ctx.commit("buffered")
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")
    """
    assert run(script, root, fails=True) == ""
    with Butler(root, run="r", instrument="ST8") as butler:
        assert butler.recover().items == []
        assert butler.query("stats").count() == 50


@pytest.mark.anyio
async def test_async_side_recovers_too(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler.errors(acknowledge=True)
    butler.close()
    (root / "archive").unlink()
    async with AsyncButler(root, run="r", instrument="ST8") as again:
        assert [item.action for item in (await again.recover()).items] == ["committed"]
        assert (await again.recover(dry_run=True)).items == []
        assert (await again.gc()).is_complete
        seen = []
        assert (await again.gc(dry_run=False, progress=seen.append)).removed == 0
        assert seen
        assert (await again.scrub(parts=1, progress=seen.append)).datasets == 1
        assert (await again.scrub(parts=1, part=0)).is_whole
        assert await again.flush() == []


def test_flush_carries_what_is_parked_and_tells_what_is_left(away):
    butler, root = away
    with pytest.raises(CommitParkedError), butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    butler.errors(acknowledge=True)
    left = butler.flush()
    assert [(one.what, one.txid, one.action) for one in left if one.what == "journal"] == [
        ("journal", ctx.txid, "ready")
    ]
    butler.errors(acknowledge=True)
    (root / "archive").unlink()
    assert butler.flush(60) == []
    assert butler.get("stats", visit=1) == {"a": 1}


def test_flush_tries_at_once_what_has_failed_here_and_what_was_postponed(make_butler):
    butler, opened, whole, ctx = with_failed_copy(make_butler)
    (left,) = butler.flush()
    assert (left.what, left.action) == ("follow_up", "postponed")
    opened._open["second"] = whole
    assert butler.flush() == []
    assert {one.state for one in butler.where_is(ctx.refs[0])} == {ArtifactState.OK}
    butler.errors(acknowledge=True)


def test_flush_of_a_readonly_butler_and_a_wrong_timeout_are_refused(away):
    butler, root = away
    with pytest.raises(InvalidInputError):
        butler.flush(-1)
    with Butler(root, readonly=True) as reader, pytest.raises(StateError):
        reader.flush()
