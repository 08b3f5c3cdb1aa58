"""What recovery does with what it finds, whatever others have made of it meanwhile."""

import errno
from collections import Counter
from hashlib import sha256

import attrs
import pytest

from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._owner import Owner
from quantumio.engine._recovery import Recovery
from quantumio.errors import DestinationError, ErrorKind
from quantumio.model import Committed, FollowUp, FollowUpKind, TransactionState
from quantumio.ports import LEASE_OVER, REUSED, Placement
from quantumio.system import environment
from tests.unit.engine.conftest import WrappedCatalog
from tests.unit.engine.journals import TXID, journal, write
from tests.unit.engine.test_committer import transaction

pytestmark = pytest.mark.anyio


@attrs.define
class Found:
    """A recovery of a journal beside a repository, and what it was asked to carry."""

    place: object
    root: object
    carried: list = attrs.field(factory=list)
    error: Exception | None = None

    @property
    def catalog(self):
        return self.place.repository.catalog

    def recovery(self, ledger=None, **calls):
        runtime = self.place.runtime

        async def carry(manifest, entry, epoch, generation):
            if self.error is not None:
                raise self.error
            for blob in manifest.blobs:  # as one that carries it does first
                entry.read(blob)
            self.carried.append((epoch, generation))
            return Committed(txid=manifest.transaction.txid, refs=(), commit_seq=1)

        return Recovery(
            catalog=WrappedCatalog(self.catalog, **calls),
            journal=journal(self.root),
            owner=runtime._owner,
            owners=runtime._owners,
            follow_ups=runtime._follow_ups,
            ledger=ledger or ErrorLedger(),
            carry=carry,
        )

    async def run(self, **calls):
        report = await self.recovery(**calls).run(end_dead=True)
        return [(item.what, item.action) for item in report.items]

    def owner(self, *, dead=False):
        owner = Owner(self.place.runtime._owners)
        owner.register(self.catalog)
        if dead:
            owner.release()
        return owner

    def prepared(self, owner, *, txid=None, lease_s=600.0):
        one = transaction(self.place, 1, txid=txid)
        self.catalog.prepare([one], owner.id, lease_s)
        return one

    def states(self):
        return [entry.state for entry in journal(self.root).entries()]


@pytest.fixture
def found(place, tmp_path):
    return Found(place, tmp_path / "journal")


async def test_entry_of_what_is_visible_already_is_closed(found):
    write(journal(found.root)).release()
    (outcome,) = found.catalog.flip([transaction(found.place, 1, txid=TXID)])
    assert isinstance(outcome, Committed)
    assert await found.run() == [("journal", "committed")]
    assert (found.states(), found.carried) == ([], [])


class Killed(BaseException):
    """What comes after it is not done by this process."""


async def test_why_it_was_parked_is_listed_no_more_whenever_recovery_dies(found, monkeypatch):
    """It was listed for ever after a death between closing the entry and forgetting why it was parked."""
    write(journal(found.root)).release()
    found.catalog.flip([transaction(found.place, 1, txid=TXID)])
    kept = found.root.parent / "errors"
    ledger = ErrorLedger(kept)
    ledger.add(ErrorKind.UNREACHABLE, "the archive is away", txid=TXID)
    ledger.save()
    done = []

    def dies_at_the_second(real):
        def step(*arguments):
            if done:
                raise Killed
            done.append(real.__name__)
            return real(*arguments)

        return step

    for one, name in ((ErrorLedger, "withdraw"), (JournalEntry, "finish")):
        monkeypatch.setattr(one, name, dies_at_the_second(getattr(one, name)))
    with pytest.raises(Killed):
        await found.recovery(ErrorLedger(kept)).run(end_dead=True)
    monkeypatch.undo()
    assert len(done) == 1
    await found.recovery(ErrorLedger(kept)).run(end_dead=True)
    assert ErrorLedger(kept).entries() == []
    assert found.states() == []


async def test_entry_of_what_somebody_ended_is_kept_for_people_and_then_left_alone(found):
    write(journal(found.root)).release()
    found.prepared(found.owner(), txid=TXID)
    assert found.catalog.abort(TXID, 0, "by hand")
    assert await found.run() == [("journal", "conflict")]
    assert found.states() == [JournalState.CONFLICT]
    assert journal(found.root).entries()[0].note().reason == "it was ended: by hand"
    assert await found.run() == []
    assert (found.states(), found.carried) == ([JournalState.CONFLICT], [])


@pytest.mark.parametrize(
    ("is_deleted", "action", "states"),
    [(False, "committed", []), (True, "conflict", [JournalState.CONFLICT])],
)
async def test_entry_of_what_stands_for_an_earlier_attempt_is_closed(found, is_deleted, action, states):
    """A death between the flip and the closing of the entry set it aside, as if it were in conflict."""
    (earlier,) = found.catalog.flip([attrs.evolve(transaction(found.place, 1), key="k")])
    write(journal(found.root)).release()
    again = attrs.evolve(transaction(found.place, 1, txid=TXID), key="k")
    found.catalog.prepare([again], found.owner().id, 60.0)
    (outcome,) = found.catalog.flip([again])
    assert outcome.reused
    assert found.catalog.transaction(TXID).reason == REUSED
    if is_deleted:  # what is in the journal is all that there is
        found.catalog.delete([earlier.refs[0].id], dry_run=False)
    assert ("journal", action) in await found.run()
    assert (found.states(), found.carried) == (states, [])


async def test_entry_of_what_was_ended_over_its_silence_is_carried_under_other_names(found):
    write(journal(found.root)).release()
    found.prepared(found.owner(), txid=TXID)
    assert found.catalog.abort(TXID, 0, LEASE_OVER)
    assert await found.run() == [("journal", "committed")]
    assert found.carried == [(1, 1)]


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken"), DestinationError("away", kind=ErrorKind.UNREACHABLE)]
)
async def test_entry_that_cannot_be_carried_now_is_left_and_free(found, error):
    write(journal(found.root)).release()
    found.error = error
    assert await found.run() == [("journal", "left")]
    assert found.states() == [JournalState.READY]
    found.error = None
    assert await found.run() == [("journal", "committed")]


async def test_entry_that_somebody_works_on_is_left_to_them(found):
    entry = write(journal(found.root))
    assert await found.run() == []
    assert (found.states(), found.carried) == ([JournalState.READY], [])
    entry.release()


async def test_transaction_whose_lease_is_over_is_ended(found):
    one = found.prepared(found.owner(), lease_s=0.0)
    assert ("transaction", "ended") in await found.run()
    record = found.catalog.transaction(one.txid)
    assert (record.state, record.reason) == (TransactionState.ABORTED, LEASE_OVER)


async def test_transaction_that_its_owner_goes_on_with_meanwhile_is_not_ended(found):
    """Its lease seemed over; the registry says otherwise when it is to be ended."""
    one = found.prepared(found.owner(), lease_s=0.0)
    assert await found.run(reap=lambda real, *arguments: False) == []
    assert found.catalog.transaction(one.txid).state is TransactionState.PREPARING


async def test_transaction_of_a_dead_owner_that_another_took_first_is_theirs(found):
    one, other = found.prepared(found.owner(dead=True)), found.owner()

    def take_over(real, txid, owner, epoch):
        assert real(txid, other.id, epoch).owner == other.id
        return real(txid, owner, epoch)

    assert await found.run(take_over=take_over) == []
    record = found.catalog.transaction(one.txid)
    assert (record.state, record.owner) == (TransactionState.PREPARING, other.id)


async def test_transaction_that_cannot_be_ended_now_is_left_and_told(found):
    one = found.prepared(found.owner(dead=True))

    def take_over(real, *arguments):
        raise DestinationError("the registry is away", kind=ErrorKind.REGISTRY)

    assert await found.run(take_over=take_over) == [("transaction", "left")]
    assert found.catalog.transaction(one.txid).state is TransactionState.PREPARING
    assert ("transaction", "ended") in await found.run()


@pytest.mark.parametrize("dead", [True, False])
async def test_follow_up_of_a_dead_owner_is_done_and_that_of_a_living_one_left(found, dead):
    owner = found.owner()
    one = found.prepared(owner)
    clean = [FollowUp(kind=FollowUpKind.CLEAN, destination="a")]
    assert found.catalog.abort(one.txid, 0, "by hand", clean)
    found.catalog.hasten_follow_ups()
    claimed = found.catalog.claim(owner.id, 1, 600.0) or found.catalog.outbox()
    assert [entry.txid for entry in claimed] == [one.txid]
    if dead:
        owner.release()
    assert await found.run() == ([("follow_up", "done")] if dead else [])
    assert len(found.catalog.outbox()) == (0 if dead else 1)


async def test_destination_that_keeps_recovery_waiting_in_vain_is_asked_once_in_a_round(found, monkeypatch):
    """A lock that a stopped process held there was waited for half a minute for each follow-up, and again."""
    store = found.place.repository.destinations.get("a")
    cleaning = [FollowUp(kind=FollowUpKind.CLEAN, destination=name) for name in "ab"]
    for _ in range(3):
        assert found.catalog.abort(found.prepared(found.owner()).txid, 0, "by hand", cleaning)
    asked, waited_s, real = [], [], environment.monotonic
    monkeypatch.setattr(environment, "monotonic", lambda: real() + sum(waited_s))

    def remove(paths):
        asked.append(paths)
        waited_s.append(30.0)
        raise DestinationError("somebody holds the lock", kind=ErrorKind.TIMEOUT)

    monkeypatch.setattr(store, "remove", remove)
    assert Counter(await found.run()) == {("follow_up", "left"): 3, ("follow_up", "done"): 3}
    assert len(asked) == 1
    monkeypatch.undo()
    found.catalog.hasten_follow_ups()
    assert await found.run() == [("follow_up", "done")] * 3


async def test_nothing_is_ended_nor_removed_where_a_process_wrote_that_the_registry_does_not_know(
    found, monkeypatch
):
    """The registry is a copy, or was put back: the transaction may be committed in another one."""
    store = found.place.repository.destinations.get("a")
    one = found.prepared(found.owner(dead=True))
    ended = found.prepared(found.owner())
    cleaning = [FollowUp(kind=FollowUpKind.CLEAN, destination="a")]
    assert found.catalog.abort(ended.txid, 0, "by hand", cleaning)
    for each in (one, ended):
        (path,) = (artifact.path for output in each.outputs for artifact in output.artifacts)
        store.place([Placement(path=path, chunks=(b"x",), nbytes=1, digest=sha256(b"x").hexdigest())])
    kept = found.place.objects("a")
    assert len(kept) == 2
    stranger = environment.uuid7()
    store.note_session(stranger)
    asked, sessions = [], type(store).sessions

    def counted(self):
        asked.append(self.name)
        return sessions(self)

    monkeypatch.setattr(type(store), "sessions", counted)
    assert await found.run() == [("transaction", "left"), ("follow_up", "left")]
    assert found.place.objects("a") == kept
    assert found.catalog.transaction(one.txid).state is TransactionState.PREPARING
    assert len(found.catalog.outbox()) == 1
    assert asked == ["a"]  # once, however many ask
    found.catalog.register_owner(stranger, "", "")  # somebody has decided
    found.catalog.hasten_follow_ups()
    told = await found.run()
    assert sorted(told) == [("follow_up", "done"), ("follow_up", "done"), ("transaction", "ended")]
    assert found.place.objects("a") == []


async def test_what_a_dead_process_left_is_ended_though_its_store_cannot_be_asked(found, monkeypatch):
    def away(self):
        raise DestinationError("away", kind=ErrorKind.UNREACHABLE)

    store = found.place.repository.destinations.get("a")
    monkeypatch.setattr(type(store), "sessions", away)
    one = found.prepared(found.owner(dead=True))
    assert await found.run() == [("transaction", "ended"), ("follow_up", "left")]
    assert found.catalog.transaction(one.txid).state is TransactionState.ABORTED
