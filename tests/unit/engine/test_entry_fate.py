"""A dry recovery says of each entry of the journal what a real one then does with it."""

import attrs
import pytest

from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.errors import NotFoundError
from quantumio.ports import LEASE_OVER
from tests.unit.engine.journals import OTHER, TARGETS, TXID, encodings, journal, write
from tests.unit.engine.journals import transaction as journaled
from tests.unit.engine.test_committer import transaction
from tests.unit.engine.test_recovery_ends import found

__all__ = ["found"]

pytestmark = pytest.mark.anyio


def write_upstream(found):
    """Write the entry that the other one needs."""
    return journal(found.root).write(
        transaction=journaled(OTHER, requires=()), targets=TARGETS, encodings=encodings()
    )


def looked(found):
    return [(item.action, item.detail) for item in found.recovery().look().items if item.what == "journal"]


async def recovered(found):
    report = await found.recovery().run(end_dead=True)
    return [(item.action, item.detail) for item in report.items if item.what == "journal"]


def a_bit_of(entry):
    blob = entry.manifest().blobs[-1]
    path = entry.blob_path(blob)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    return f"{path} is damaged: its bytes have another digest"


def its_manifest(entry):
    (entry.path / "manifest.json").write_text("{")
    return f"{entry.path / 'manifest.json'} is damaged"


@pytest.mark.parametrize("damage", [a_bit_of, its_manifest])
async def test_damaged_entry_is_left_and_with_it_what_needs_it(found, damage):
    write(journal(found.root)).release()
    write_upstream(found).release()
    told = damage(journal(found.root).entries()[1])
    needing, damaged = looked(found)
    assert needing == ("left", f"it needs transaction {OTHER}, which is in the journal still")
    assert damaged[0] == "left"
    assert damaged[1].startswith(told)
    assert sorted(await recovered(found)) == sorted([needing, damaged])


async def test_what_needs_an_entry_that_another_process_holds_waits_for_it(found):
    write(journal(found.root)).release()
    holder = write_upstream(found)
    (needing, held) = looked(found)
    assert needing == ("left", f"it needs transaction {OTHER}, which is in the journal still")
    assert held[0] == "held"
    assert await recovered(found) == [needing]
    holder.release()


async def test_entry_whose_transaction_may_go_on_is_carried(found):
    write(journal(found.root)).release()
    assert looked(found) == [("carry", "")]
    found.prepared(found.owner(), txid=TXID)
    assert looked(found) == [("carry", "")]
    assert found.catalog.abort(TXID, 0, LEASE_OVER)
    assert looked(found) == [("carry", "")]
    assert [action for action, _ in await recovered(found)] == ["committed"]


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_entry_whose_transaction_was_ended_is_told_as_in_conflict(found, is_damaged):
    write(journal(found.root)).release()
    if is_damaged:  # nobody reads its bytes
        a_bit_of(*journal(found.root).entries())
    found.prepared(found.owner(), txid=TXID)
    assert found.catalog.abort(TXID, 0, "by hand")
    before = looked(found)
    assert before == [("conflict", "it was ended: by hand")]
    assert await recovered(found) == before
    assert found.states() == [JournalState.CONFLICT]


async def test_entry_whose_earlier_attempt_was_deleted_is_told_as_in_conflict(found):
    (earlier,) = found.catalog.flip([attrs.evolve(transaction(found.place, 1), key="k")])
    write(journal(found.root)).release()
    again = attrs.evolve(transaction(found.place, 1, txid=TXID), key="k")
    found.catalog.prepare([again], found.owner().id, 60.0)
    found.catalog.flip([again])
    assert looked(found) == [("remove", "it is committed")]
    found.catalog.delete([earlier.refs[0].id], dry_run=False)
    before = looked(found)
    assert before[0][0] == "conflict"
    assert await recovered(found) == before


async def test_entry_of_what_is_committed_and_one_that_was_never_finished_are_removed(found):
    write(journal(found.root)).release()
    found.catalog.flip([transaction(found.place, 1, txid=TXID)])
    write(journal(found.root), OTHER).release()
    (found.root / f"{OTHER}.ready").rename(found.root / f"{OTHER}.tmp")
    assert looked(found) == [("remove", "it is committed"), ("remove", "")]
    assert {action for action, _ in await recovered(found)} == {"committed", "removed"}
    assert found.states() == []


@pytest.mark.parametrize("step", ["manifest", "read"])
async def test_entry_that_somebody_finishes_meanwhile_is_not_told(found, monkeypatch, step):
    write(journal(found.root)).release()

    def finished(self, *_):
        raise NotFoundError(f"{self.path} is no longer in the journal")

    monkeypatch.setattr(JournalEntry, step, finished)
    assert looked(found) == []
