"""Group commit: each transaction has its own outcome, whatever happens to its group."""

import tempfile
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from quantumio.engine._batches import _MOST as _MAX_GROUP
from quantumio.engine._committer import Committer
from quantumio.engine._owner import Owner
from quantumio.errors import CommitUnknownError, DestinationError, ErrorKind
from quantumio.model import (
    Artifact,
    CommitConflict,
    CommitFailed,
    Committed,
    CommitUnknown,
    DataId,
    DatasetRef,
    OutputRecord,
    Transaction,
)
from quantumio.system import environment
from tests.unit.engine.conftest import WrappedCatalog

pytestmark = pytest.mark.anyio


def transaction(place, visit, *, expect=None, txid=None):
    dataset_type = place.butler.dataset_type("stats")
    ref = DatasetRef(environment.uuid7(), dataset_type, DataId({"instrument": "ST8", "visit": visit}), "r")
    artifact = Artifact(destination="a", path=f"stats/{ref.id}", format="json", digest="0" * 64, nbytes=2)
    output = OutputRecord(ref=ref, expect=expect, artifacts=(artifact,))
    return Transaction(txid=txid or environment.uuid7(), run="r", key=None, outputs=(output,))


def committer_of(catalog):
    owner = Owner(Path(tempfile.mkdtemp(prefix="quantumio-owners-")))
    return Committer(catalog, owner, lease_s=60.0, journaled_lease_s=600.0, under_way=lambda: 1)


async def flip_all(catalog, transactions):
    """Flip all at once, and return their outcomes in order."""
    committer = committer_of(catalog)
    outcomes = {}

    async def flip(one):
        outcomes[one.txid] = await committer.flip(one)

    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        async with anyio.create_task_group() as tasks:
            for one in transactions:
                tasks.start_soon(flip, one)
        service.cancel_scope.cancel()
    return [outcomes[one.txid] for one in transactions]


def commit_seqs(outcomes):
    return [outcome.commit_seq for outcome in outcomes]


async def test_everything_that_waits_goes_in_one_group_of_bounded_size(place):
    """While one group is on its way, the next one gathers."""
    groups, gathering = [], threading.Event()

    def flip(real, group, owner=None):
        groups.append(len(group))
        if len(groups) == 1:
            assert gathering.wait(20)
        return real(group)

    catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    committer = committer_of(catalog)
    number = 2 * _MAX_GROUP + 10
    outcomes = []

    async def one(visit):
        outcomes.append(await committer.flip(transaction(place, visit)))

    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, 0)
            await anyio.wait_all_tasks_blocked()
            for visit in range(1, number):
                tasks.start_soon(one, visit)
            await anyio.wait_all_tasks_blocked()
            gathering.set()
        service.cancel_scope.cancel()
    assert groups == [1, _MAX_GROUP, _MAX_GROUP, number - 1 - 2 * _MAX_GROUP]
    assert len(set(commit_seqs(outcomes))) == number
    assert place.butler.query("stats").count() == number


async def test_conflict_of_one_member_does_not_disturb_the_others(place):
    transactions = [transaction(place, 1), transaction(place, 2, expect=7), transaction(place, 3)]
    first, second, third = await flip_all(place.repository.catalog, transactions)
    assert isinstance(first, Committed)
    assert isinstance(third, Committed)
    assert isinstance(second, CommitConflict)
    assert second.txid == transactions[1].txid
    assert second.ref == transactions[1].outputs[0].ref
    assert place.butler.query("stats").count() == 2


async def test_failed_flip_is_the_definite_failure_of_each_member(place):
    def flip(real, group, owner=None):
        raise DestinationError("the disk of the registry is full", hint="make room", kind=ErrorKind.DISK_FULL)

    catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    transactions = [transaction(place, visit) for visit in range(3)]
    for one, outcome in zip(transactions, await flip_all(catalog, transactions), strict=True):
        assert isinstance(outcome, CommitFailed)
        assert (outcome.txid, outcome.kind) == (one.txid, ErrorKind.DISK_FULL)
        assert "make room" in outcome.message
    assert place.butler.query("stats").count() == 0


async def test_group_waits_for_the_lock_of_the_registry_once_and_not_each_member_for_itself(place):
    locked = DestinationError("process 4711 has it", kind=ErrorKind.LOCKED)
    asked = []

    def refuse(real, group, *arguments):
        asked.append(len(group))
        raise locked

    catalog = WrappedCatalog(place.repository.catalog, flip=refuse, prepare=refuse)
    transactions = [transaction(place, visit) for visit in range(3)]
    committer = committer_of(catalog)
    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        outcomes = committer._flip(transactions)
        answers = committer._prepare(transactions)
        service.cancel_scope.cancel()
    assert [(type(one), one.txid, one.kind) for one in outcomes] == [
        (CommitFailed, one.txid, ErrorKind.LOCKED) for one in transactions
    ]
    assert answers == [locked] * 3
    assert asked == [3, 3]


@pytest.mark.parametrize("committed", [True, False])
async def test_flip_without_an_answer_is_resolved_by_the_registry_for_each_member(place, committed):
    def flip(real, group, owner=None):
        outcomes = real(group) if committed else []
        raise CommitUnknownError(
            "no answer",
            outcome=CommitUnknown(txid=group[0].txid, reason="no answer"),
            hint=str(len(outcomes)),
        )

    catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    transactions = [transaction(place, 1), transaction(place, 2, expect=9), transaction(place, 3)]
    outcomes = await flip_all(catalog, transactions)
    assert [outcome.txid for outcome in outcomes] == [one.txid for one in transactions]
    if committed:
        assert [type(outcome) for outcome in outcomes] == [Committed, CommitFailed, Committed]
        assert outcomes[0].refs[0].version == 1
    else:
        assert {type(outcome) for outcome in outcomes} == {CommitFailed}
    assert place.butler.query("stats").count() == (2 if committed else 0)


async def test_registry_that_cannot_be_asked_leaves_the_outcome_unknown(place):
    def flip(real, group, owner=None):
        real(group)
        raise CommitUnknownError("no answer", outcome=CommitUnknown(txid=group[0].txid, reason="no answer"))

    def outcome(real, txid):
        raise DestinationError("the registry is away")

    catalog = WrappedCatalog(place.repository.catalog, flip=flip, outcome=outcome)
    one = transaction(place, 1)
    (got,) = await flip_all(catalog, [one])
    assert isinstance(got, CommitUnknown)
    assert got.txid == one.txid
    assert "the registry is away" in got.reason


@pytest.mark.parametrize("committed", [True, False])
async def test_bug_in_the_registry_is_resolved_like_a_lost_answer(place, committed):
    def flip(real, group, owner=None):
        if committed:
            real(group)
        raise KeyError("a bug")

    catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    one, other = transaction(place, 1), transaction(place, 2)
    outcomes = await flip_all(catalog, [one, other])
    assert {type(outcome) for outcome in outcomes} == {Committed if committed else CommitFailed}
    assert [outcome.txid for outcome in outcomes] == [one.txid, other.txid]


async def test_bug_while_resolving_leaves_the_outcome_unknown_and_the_service_alive(place):
    def flip(real, group, owner=None):
        if any(one.outputs[0].ref.data_id["visit"] == 1 for one in group):
            raise KeyError("a bug")
        return real(group)

    def outcome(real, txid):
        raise KeyError("another bug")

    catalog = WrappedCatalog(place.repository.catalog, flip=flip, outcome=outcome)
    committer = committer_of(catalog)
    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        with anyio.fail_after(20):
            assert isinstance(await committer.flip(transaction(place, 1)), CommitUnknown)
            assert isinstance(await committer.flip(transaction(place, 2)), Committed)
        service.cancel_scope.cancel()


async def test_outcomes_of_the_wrong_number_are_no_outcomes(place):
    """A bug in a catalog must not give a transaction the outcome of another one."""

    def flip(real, group, owner=None):
        return real(group)[1:]

    catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    one = transaction(place, 1)
    committer = committer_of(catalog)
    async with anyio.create_task_group() as service:
        service.start_soon(committer.run)
        with anyio.fail_after(20):
            outcome = await committer.flip(one)
        assert isinstance(outcome, (Committed, CommitUnknown))
        assert outcome.txid == one.txid
        service.cancel_scope.cancel()


async def test_cancelled_service_finishes_the_group_that_is_on_its_way(place):
    """What the registry did must be known."""
    reached, go_on = threading.Event(), threading.Event()

    def flip(real, group, owner=None):
        reached.set()
        assert go_on.wait(20)
        return real(group)

    committer = committer_of(WrappedCatalog(place.repository.catalog, flip=flip))
    outcomes = []

    async def one():
        with anyio.CancelScope(shield=True):
            outcomes.append(await committer.flip(transaction(place, 1)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(committer.run)
        tasks.start_soon(one)
        await anyio.to_thread.run_sync(reached.wait)
        tasks.cancel_scope.cancel()
        go_on.set()
    assert isinstance(outcomes[0], Committed)
