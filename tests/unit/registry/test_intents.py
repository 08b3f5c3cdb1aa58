"""Intents: who may go on with a transaction, and how it ends before it is visible."""

import threading
import time

import pytest
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitParked,
    Committed,
    FollowUp,
    FollowUpKind,
    TransactionState,
)
from quantumio.ports import LEASE_OVER
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, Place, make_transaction, visit

CLEAN = FollowUp(kind=FollowUpKind.CLEAN, destination="local")
EXPORT = FollowUp(kind=FollowUpKind.EXPORT, destination="local")


@pytest.fixture
def owner(catalog: SqlCatalog):
    return owner_of(catalog)


def owner_of(catalog: SqlCatalog, host: str = "here"):
    identity = environment.uuid7()
    catalog.register_owner(identity, host, "boot")
    return identity


def prepared(catalog, owner, number=1, *, lease_s=60.0, **options):
    transaction = make_transaction(CALEXP, [visit(number)], **options)
    (record,) = catalog.prepare([transaction], owner, lease_s)
    assert (record.state, record.owner, record.epoch) == (TransactionState.PREPARING, owner, 0)
    return transaction


def wait_until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come")


def test_intent_keeps_the_manifest_and_is_gone_with_the_commit(catalog, owner):
    transaction = evolve(prepared(catalog, owner), follow_ups=(EXPORT,))
    (found,) = catalog.preparing()
    assert found.transaction == evolve(transaction, follow_ups=())
    assert (found.owner_host, found.owner_boot_id, found.lease_over) == ("here", "boot", False)
    (outcome,) = catalog.flip([transaction], owner)
    assert isinstance(outcome, Committed)
    record = catalog.transaction(transaction.txid)
    assert (record.state, record.owner, record.transaction) == (TransactionState.COMMITTED, None, None)
    assert catalog.preparing() == []
    assert catalog.outcome(transaction.txid) == outcome
    assert catalog.flip([transaction], owner) == [outcome]


def test_group_is_prepared_and_flipped_together(catalog, owner):
    group = [make_transaction(CALEXP, [visit(number)]) for number in range(64)]
    records = catalog.prepare(group, owner, 60.0)
    assert [record.txid for record in records] == [one.txid for one in group]
    assert catalog.prepare([], owner, 60.0) == []
    outcomes = catalog.flip(group, owner)
    assert {type(outcome) for outcome in outcomes} == {Committed}


def test_intent_again_renews_the_manifest_of_the_same_owner_alone(catalog, owner):
    transaction = prepared(catalog, owner)
    more = evolve(transaction, outputs=(), journaled=True)
    (record,) = catalog.prepare([more], owner, 60.0)
    assert record.transaction == more
    other = owner_of(catalog)
    (record,) = catalog.prepare([transaction], other, 60.0)
    assert (record.owner, record.transaction) == (owner, more)


def test_who_takes_over_fences_who_had_it(catalog, owner):
    transaction = prepared(catalog, owner)
    other = owner_of(catalog)
    record = catalog.take_over(transaction.txid, other, 0)
    assert (record.owner, record.epoch) == (other, 1)
    late = catalog.take_over(transaction.txid, owner, 0)
    assert (late.owner, late.epoch) == (other, 1)
    (outcome,) = catalog.flip([transaction], owner)
    assert isinstance(outcome, CommitParked)
    assert not catalog.abort(transaction.txid, 0, "aborted")
    (outcome,) = catalog.flip([evolve(transaction, epoch=1)], other)
    assert isinstance(outcome, Committed)
    assert catalog.take_over(transaction.txid, owner, 1).state is TransactionState.COMMITTED
    assert not catalog.abort(transaction.txid, 1, "aborted")
    assert catalog.take_over(environment.uuid7(), owner, 0) is None


def test_what_was_ended_never_becomes_visible(catalog, owner):
    transaction = prepared(catalog, owner)
    assert catalog.abort(transaction.txid, 0, "aborted", [CLEAN])
    assert not catalog.abort(transaction.txid, 0, "aborted", [CLEAN])
    (outcome,) = catalog.flip([transaction], owner)
    assert isinstance(outcome, CommitFailed)
    assert outcome.kind is ErrorKind.ABORTED
    assert [(one.txid, one.follow_up) for one in catalog.outbox()] == [(transaction.txid, CLEAN)]
    assert catalog.reopen(transaction.txid, owner, 0).state is TransactionState.ABORTED
    (record,) = catalog.prepare([transaction], owner, 60.0)
    assert (record.state, record.reason) == (TransactionState.ABORTED, "aborted")


def test_lease_is_over_when_its_owner_is_silent_and_may_be_opened_again(catalog, owner):
    transaction = prepared(catalog, owner, lease_s=0.2)
    kept = prepared(catalog, owner, 2, lease_s=600.0)
    wait_until(lambda: catalog.transaction(transaction.txid).lease_over)
    assert not catalog.reap(kept.txid, 0)
    assert not catalog.reap(transaction.txid, 1)
    assert catalog.renew_lease(owner)
    assert not catalog.reap(transaction.txid, 0)
    wait_until(lambda: catalog.transaction(transaction.txid).lease_over)
    assert catalog.reap(transaction.txid, 0, [CLEAN])
    assert catalog.transaction(transaction.txid).reason == LEASE_OVER
    (outcome,) = catalog.flip([transaction], owner)
    assert isinstance(outcome, CommitParked)
    again = catalog.reopen(transaction.txid, owner, 0)
    assert (again.state, again.epoch, again.generation, again.owner) == (
        TransactionState.PREPARING,
        1,
        1,
        owner,
    )
    assert (again.transaction.epoch, again.transaction.generation) == (1, 1)
    (outcome,) = catalog.flip([evolve(transaction, epoch=1, generation=1)], owner)
    assert isinstance(outcome, Committed)
    assert not catalog.renew_lease(environment.uuid7())


def test_flip_that_refuses_a_member_ends_it_and_says_what_is_to_be_removed(catalog, owner):
    first = prepared(catalog, owner, key="quantum")
    loser = prepared(catalog, owner, expect=0)
    again = prepared(catalog, owner, 2, key="quantum")
    group = [evolve(first, follow_ups=(EXPORT,)), loser, again]
    outcomes = catalog.flip(group, owner)
    assert [type(outcome) for outcome in outcomes] == [Committed, CommitConflict, Committed]
    assert outcomes[2].reused
    reasons = [catalog.transaction(one.txid).reason for one in group]
    assert reasons == [None, "conflict", "reused"]
    left = {(one.txid, one.follow_up, one.is_due) for one in catalog.outbox()}
    assert left == {(first.txid, EXPORT, False), (loser.txid, CLEAN, False), (again.txid, CLEAN, False)}


def test_what_requires_another_waits_for_it_or_fails_with_it(catalog, owner):
    upstream, other = prepared(catalog, owner), prepared(catalog, owner, 2)
    waiting = evolve(prepared(catalog, owner, 3), requires=(upstream.txid, other.txid))
    assert isinstance(catalog.flip([waiting], owner)[0], CommitParked)
    assert isinstance(catalog.flip([upstream], owner)[0], Committed)
    assert isinstance(catalog.flip([waiting], owner)[0], CommitParked)
    outcomes = catalog.flip([other, waiting], owner)
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed]

    ended = prepared(catalog, owner, 4)
    assert catalog.abort(ended.txid, 0, "aborted")
    for required in (ended.txid, environment.uuid7()):
        dependent = evolve(prepared(catalog, owner, 5), requires=(required,))
        (outcome,) = catalog.flip([dependent], owner)
        assert isinstance(outcome, CommitFailed)
        assert outcome.kind is ErrorKind.UPSTREAM
        assert catalog.transaction(dependent.txid).state is TransactionState.ABORTED


def test_what_requires_a_reused_one_commits(catalog, owner):
    first, again = prepared(catalog, owner, key="q"), prepared(catalog, owner, 2, key="q")
    catalog.flip([first, again], owner)
    dependent = evolve(prepared(catalog, owner, 3), requires=(again.txid,))
    assert isinstance(catalog.flip([dependent], owner)[0], Committed)


def test_registry_from_a_backup_sets_aside_what_was_on_its_way(catalog, owner):
    transaction = prepared(catalog, owner)
    assert catalog.quarantine() == 1
    assert catalog.preparing() == []
    assert not catalog.abort(transaction.txid, 0, "aborted")
    assert isinstance(catalog.flip([transaction], owner)[0], CommitParked)
    assert catalog.transaction(transaction.txid).state is TransactionState.QUARANTINED


@pytest.mark.parametrize("wrong", [None, "x", 5])
def test_what_is_no_transaction_is_refused(catalog, wrong):
    with pytest.raises(InvalidInputError):
        catalog.transaction(wrong)
    assert catalog.transaction(environment.uuid7()) is None


def test_fence_and_flip_that_race_have_one_winner(place: Place, catalog: SqlCatalog, owner):
    other_catalog = place.open()
    other = owner_of(other_catalog, "there")
    for number in range(20):
        transaction = prepared(catalog, owner, number)
        results = {}
        start = threading.Barrier(2)

        def fence(transaction=transaction, results=results, start=start):
            start.wait(10)
            results["record"] = other_catalog.take_over(transaction.txid, other, 0)

        thread = threading.Thread(target=fence)
        thread.start()
        start.wait(10)
        (outcome,) = catalog.flip([transaction], owner)
        thread.join(30)
        if isinstance(outcome, Committed):
            assert results["record"].state is TransactionState.COMMITTED
        else:
            assert isinstance(outcome, CommitParked)
            assert (results["record"].owner, results["record"].epoch) == (other, 1)
    other_catalog.close()
