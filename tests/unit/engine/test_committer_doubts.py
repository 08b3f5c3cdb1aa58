"""Group commit where the registry gives no answer, or another one than was hoped for: who is told what."""

import contextlib
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread
import attrs
import pytest

from quantumio.engine._committer import _MOST_UNKNOWN, Committer
from quantumio.engine._owner import Owner
from quantumio.errors import CommitUnknownError, DestinationError, ErrorKind, InternalError
from quantumio.model import (
    CommitFailed,
    CommitParked,
    Committed,
    CommitUnknown,
    FollowUp,
    FollowUpKind,
    TransactionState,
)
from quantumio.ports import LEASE_OVER
from tests.unit.engine.conftest import WrappedCatalog
from tests.unit.engine.test_committer import transaction

pytestmark = pytest.mark.anyio

CLEAN = FollowUp(kind=FollowUpKind.CLEAN, destination="a")


def owner_in_a_directory():
    return Owner(Path(tempfile.mkdtemp(prefix="quantumio-owners-")))


@contextlib.asynccontextmanager
async def serving(catalog):
    committer = Committer(
        catalog, owner_in_a_directory(), lease_s=60.0, journaled_lease_s=600.0, under_way=lambda: 1
    )
    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        with anyio.fail_after(60):
            yield committer
        service.cancel_scope.cancel()


def no_answer(group):
    return CommitUnknownError("no answer", outcome=CommitUnknown(txid=group[0].txid, reason="no answer"))


async def prepare_together(committer, transactions):
    """Prepare all in one group: the first keeps the loop's worker busy while the others gather."""
    answers = {}

    async def one(member):
        answers[member.txid] = await committer.prepare(member)

    async with anyio.create_task_group() as tasks:
        for member in transactions:
            tasks.start_soon(one, member)
    return [answers[member.txid] for member in transactions]


async def test_intent_that_cannot_be_written_does_not_spoil_those_of_its_group(place):
    groups = []

    def prepare(real, members, owner, lease_s):
        groups.append(len(members))
        if any(one.outputs[0].ref.data_id["visit"] == 2 for one in members):
            raise DestinationError("too large", kind=ErrorKind.REGISTRY)
        return real(members, owner, lease_s)

    transactions = [transaction(place, visit) for visit in range(1, 5)]
    async with serving(WrappedCatalog(place.repository.catalog, prepare=prepare)) as committer:
        first, spoiled, third, fourth = await prepare_together(committer, transactions)
    assert max(groups) > 1
    assert isinstance(spoiled, DestinationError)
    states = {
        place.repository.catalog.transaction(one.txid).state for one in (transactions[0], *transactions[2:])
    }
    assert states == {TransactionState.PREPARING}
    assert {answer.state for answer in (first, third, fourth)} == states
    assert place.repository.catalog.transaction(transactions[1].txid) is None


async def test_bug_while_intents_are_written_fails_those_and_nothing_else(place):
    broken = [True]

    def prepare(real, *arguments):
        if broken.pop():
            raise KeyError("a bug")
        return real(*arguments)

    async with serving(WrappedCatalog(place.repository.catalog, prepare=prepare)) as committer:
        answer = await committer.prepare(transaction(place, 1))
        assert isinstance(answer, InternalError)
        broken.append(False)
        good = transaction(place, 2)
        assert committer.is_ours(await committer.prepare(good), good.epoch)


async def test_commit_without_an_answer_is_fenced_and_tried_again(place):
    """The registry is asked at the next epoch: the lost COMMIT can never come after that one."""
    epochs = []

    def flip(real, group, owner=None):
        epochs.append(group[0].epoch)
        if len(epochs) == 1:
            raise no_answer(group)
        return real(group, owner)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(place.repository.catalog, flip=flip)) as committer:
        await committer.prepare(one)
        outcome = await committer.flip(one)
    assert isinstance(outcome, Committed)
    assert epochs == [0, 1]
    assert place.butler.query("stats").count() == 1


async def test_commit_that_never_gets_an_answer_fails_for_certain(place):
    calls = []

    def flip(real, group, owner=None):
        calls.append(group[0].epoch)
        raise no_answer(group)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(place.repository.catalog, flip=flip)) as committer:
        await committer.prepare(one)
        outcome = await committer.flip(one)
    assert isinstance(outcome, CommitFailed)
    assert calls == list(range(_MOST_UNKNOWN + 1))
    # its last attempt is fenced, too: it stays invisible whatever becomes of that
    assert isinstance(place.repository.catalog.flip([attrs.evolve(one, epoch=calls[-1])])[0], CommitParked)
    assert place.butler.query("stats").count() == 0


async def test_bug_in_a_flip_that_is_fenced_is_not_tried_again(place):
    calls = []

    def flip(real, group, owner=None):
        calls.append(group)
        raise KeyError("a bug")

    one = transaction(place, 1)
    async with serving(WrappedCatalog(place.repository.catalog, flip=flip)) as committer:
        await committer.prepare(one)
        outcome = await committer.flip(one)
    assert (type(outcome), outcome.kind) == (CommitFailed, ErrorKind.INTERNAL)
    assert len(calls) == 1


async def test_transaction_that_others_have_taken_over_is_parked(place):
    catalog, other = place.repository.catalog, owner_in_a_directory()
    other.register(catalog)

    def flip(real, group, owner=None):
        assert catalog.take_over(group[0].txid, other.id, 0).owner == other.id
        raise no_answer(group)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(catalog, flip=flip)) as committer:
        await committer.prepare(one)
        outcome = await committer.flip(one)
        assert isinstance(outcome, CommitParked)
        assert not await anyio.to_thread.run_sync(committer.abort_here, one.txid, "aborted", [CLEAN])
    record = catalog.transaction(one.txid)
    assert (record.state, record.owner) == (TransactionState.PREPARING, other.id)


@pytest.mark.parametrize("answers", [1, 100])
async def test_transaction_that_was_ended_meanwhile_is_told_so(place, answers):
    """Asked once more the registry says how; where it does not answer, its record says it."""
    catalog, calls = place.repository.catalog, []

    def flip(real, group, owner=None):
        calls.append(group)
        catalog.abort(group[0].txid, 0, "aborted")
        if len(calls) <= answers:
            raise no_answer(group)
        return real(group, owner)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(catalog, flip=flip)) as committer:
        await committer.prepare(one)
        outcome = await committer.flip(one)
    assert (type(outcome), outcome.kind) == (CommitFailed, ErrorKind.ABORTED)
    assert len(calls) == (2 if answers == 1 else _MOST_UNKNOWN + 1)
    assert place.butler.query("stats").count() == 0


async def test_what_was_ended_over_its_silence_is_opened_again_once_and_nothing_else(place):
    catalog = place.repository.catalog
    silent, aborted, unknown = (transaction(place, visit) for visit in (1, 2, 3))
    async with serving(catalog) as committer:
        await committer.prepare(silent)
        await committer.prepare(aborted)
        assert catalog.abort(silent.txid, 0, LEASE_OVER)
        assert catalog.abort(aborted.txid, 0, "aborted")
        again = await committer.reopen(silent.txid)
        assert (again.epoch, again.generation) == (1, 1)
        assert await committer.reopen(silent.txid) is None
        assert await committer.reopen(aborted.txid) is None
        assert await committer.reopen(unknown.txid) is None


async def test_somebody_else_who_was_first_has_it(place):
    catalog, other = place.repository.catalog, owner_in_a_directory()
    other.register(catalog)

    def reopen(real, txid, owner, epoch):
        assert real(txid, other.id, epoch).owner == other.id
        return real(txid, owner, epoch)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(catalog, reopen=reopen)) as committer:
        await committer.prepare(one)
        assert catalog.abort(one.txid, 0, LEASE_OVER)
        assert await committer.reopen(one.txid) is None
    assert catalog.transaction(one.txid).owner == other.id


async def test_what_is_dead_or_unknown_may_be_removed(place):
    catalog = place.repository.catalog
    one, other = transaction(place, 1), transaction(place, 2)
    async with serving(catalog) as committer:
        await committer.prepare(one)
        for txid in (one.txid, one.txid, other.txid):  # on its way, ended, never known
            assert await anyio.to_thread.run_sync(committer.abort_here, txid, "aborted", [CLEAN])
    assert catalog.transaction(one.txid).state is TransactionState.ABORTED


@pytest.mark.parametrize(
    ("error", "kind"),
    [(DestinationError("the registry is away", kind=ErrorKind.REGISTRY), DestinationError),
     (KeyError("a bug"), InternalError)],
)  # fmt: skip
async def test_follow_up_that_could_not_be_noted_is_told_and_stays(place, error, kind):
    catalog, failures = place.repository.catalog, [error]

    def finish(real, done):
        if failures:
            raise failures.pop()
        return real(done)

    one = transaction(place, 1)
    async with serving(WrappedCatalog(catalog, finish_follow_ups=finish)) as committer:
        await committer.prepare(one)
        await anyio.to_thread.run_sync(committer.abort_here, one.txid, "aborted", [CLEAN])
        with pytest.raises(kind):
            await committer.finish(one.txid, [CLEAN])
        assert [entry.txid for entry in catalog.outbox()] == [one.txid]
        await committer.finish(one.txid, ())
        assert [entry.txid for entry in catalog.outbox()] == [one.txid]
        await committer.finish(one.txid, [CLEAN])
        assert catalog.outbox() == []
