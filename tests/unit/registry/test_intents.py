"""Intents: owners and leases, taking over, ending and opening again."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, StateError
from quantumio.model import (
    CommitFailed,
    CommitParked,
    Committed,
)
from quantumio.ports import LEASE_OVER, DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.registry._schema import TXN
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, NOTE, artifact, make_transaction, until, visit
from tests.unit.registry.intents import (
    CLEAN,
    LONG_S,
    SHORT_S,
    end_by_lease,
    flip,
    follow_ups,
    generations,
    known,
    new_owner,
    prepare,
    standing,
)

# -- prepare


def test_prepared_transactions_are_known_and_not_visible(catalog: SqlCatalog, owner: UUID) -> None:
    group = [make_transaction(CALEXP, [visit(number)], key=f"k{number}") for number in range(20)]
    records = catalog.prepare(group, owner, LONG_S)
    assert [record.txid for record in records] == [one.txid for one in group]
    for one, record in zip(group, records, strict=True):
        assert record == known(catalog, one.txid)
        assert record.transaction == one
        assert (record.owner, record.owner_host, record.owner_boot_id) == (owner, "node7", "boot-1")
        assert not record.lease_over
        assert catalog.outcome(one.txid) is None
    assert catalog.preparing() == records
    assert catalog.count(DatasetQuery()) == 0
    assert catalog.collections() == []


def test_oldest_intents_are_listed_first(catalog: SqlCatalog, owner: UUID) -> None:
    transactions = [make_transaction(NOTE, [{}]) for _ in range(3)]
    for one in reversed(transactions):
        prepare(catalog, one, owner)
    times = [sa.select(TXN.c.created_at).where(TXN.c.txid == one.txid) for one in transactions]
    created = catalog._database.read(
        lambda connection: [connection.execute(time).scalar_one() for time in times]
    )
    expected = sorted(zip(created, [one.txid for one in transactions], strict=True))
    assert [record.txid for record in catalog.preparing()] == [txid for _, txid in expected]


def test_manifest_is_replaced_by_its_owner_at_its_epoch_alone(catalog: SqlCatalog, owner: UUID) -> None:
    first = make_transaction(CALEXP, [visit(1)])
    prepare(catalog, first, owner)
    second = attrs.evolve(first, journaled=True, follow_ups=(CLEAN,))
    prepare(catalog, second, owner)
    assert known(catalog, first.txid).transaction == second
    (record,) = catalog.prepare([attrs.evolve(first, run="other")], new_owner(catalog), LONG_S)
    assert (record.owner, record.transaction) == (owner, second)
    (record,) = catalog.prepare([attrs.evolve(first, epoch=4)], owner, LONG_S)
    assert (record.epoch, record.transaction) == (0, second)


def test_decided_transactions_stay_as_they_are(catalog: SqlCatalog, owner: UUID) -> None:
    committed, aborted, new = (make_transaction(CALEXP, [visit(number)]) for number in range(3))
    (outcome,) = flip(catalog, committed)
    prepare(catalog, aborted, owner)
    assert catalog.abort(aborted.txid, 0, "user")
    records = catalog.prepare([aborted, committed, new], owner, LONG_S)
    assert [str(record.state) for record in records] == ["ABORTED", "COMMITTED", "PREPARING"]
    assert [record.owner for record in records] == [None, None, owner]
    assert records[0].transaction == aborted
    assert records[1].transaction is None
    assert catalog.outcome(committed.txid) == outcome


def test_owner_must_be_registered(catalog: SqlCatalog, owner: UUID) -> None:
    stranger, transaction = environment.uuid7(), make_transaction(CALEXP, [visit(1)])
    with pytest.raises(StateError, match="does not know the owner"):
        catalog.prepare([transaction], stranger, LONG_S)
    assert catalog.transaction(transaction.txid) is None
    prepare(catalog, transaction, owner)
    with pytest.raises(StateError, match="does not know the owner"):
        catalog.take_over(transaction.txid, stranger, 0)
    assert standing(catalog, transaction.txid) == ("PREPARING", None, 0, 0)


def test_key_that_no_registry_takes_disturbs_nobody_else(catalog: SqlCatalog, owner: UUID) -> None:
    bad = make_transaction(CALEXP, [visit(1)], key="a\0b")
    good = make_transaction(CALEXP, [visit(2)])
    assert {record.state for record in catalog.prepare([bad, good], owner, LONG_S)} == {"PREPARING"}
    refused, committed = flip(catalog, bad, good)
    assert (type(refused), refused.kind) == (CommitFailed, ErrorKind.NAME)
    assert isinstance(committed, Committed)
    assert standing(catalog, bad.txid) == ("ABORTED", "failed", 0, 0)


def test_no_group_is_nothing(catalog: SqlCatalog, owner: UUID) -> None:
    assert catalog.prepare([], owner, LONG_S) == []


def test_damaged_manifest_is_told_and_hides_no_other(catalog: SqlCatalog, owner: UUID) -> None:
    transaction, other = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    prepare(catalog, transaction, owner)
    prepare(catalog, other, owner)
    with catalog._database.edit("damaging") as connection:
        damage = sa.update(TXN).where(TXN.c.txid == transaction.txid).values(manifest='{"version": 1}')
        connection.execute(damage)
    with pytest.raises(DestinationError, match="is damaged") as error:
        catalog.transaction(transaction.txid)
    assert error.value.kind is ErrorKind.CORRUPT
    damaged, whole = catalog.preparing()
    assert (damaged.txid, damaged.transaction) == (transaction.txid, None)
    assert "is damaged" in (damaged.damage or "")
    assert (whole.txid, whole.damage) == (other.txid, None)
    assert whole.transaction is not None
    assert catalog.quarantined() == []
    assert catalog.quarantine() == 2
    assert [(one.txid, one.damage) for one in catalog.quarantined()] == [
        (one.txid, one.damage) for one in (damaged, whole)
    ]


# -- leases


def test_lease_is_over_when_its_owner_is_silent_by_the_clock_of_the_database(
    catalog: SqlCatalog, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    prepare(catalog, long, owner)
    prepare(catalog, short, owner, SHORT_S)
    monkeypatch.setattr(environment, "now_ns", lambda: 5)  # the clock of this machine says nothing
    until(lambda: known(catalog, short.txid).lease_over)
    assert not known(catalog, long.txid).lease_over
    assert [record.lease_over for record in catalog.preparing()] == [False, True]
    assert not catalog.reap(long.txid, 0, [CLEAN])
    assert standing(catalog, long.txid) == ("PREPARING", None, 0, 0)
    assert catalog.reap(short.txid, 0, [CLEAN])
    assert standing(catalog, short.txid) == ("ABORTED", LEASE_OVER, 0, 0)
    assert follow_ups(catalog, short.txid) == [CLEAN]
    assert follow_ups(catalog, long.txid) == []


def test_owner_who_is_heard_of_again_keeps_its_transactions(catalog: SqlCatalog, owner: UUID) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    prepare(catalog, transaction, owner, SHORT_S)
    until(lambda: known(catalog, transaction.txid).lease_over)
    (record,) = catalog.prepare([transaction], owner, LONG_S)
    assert not record.lease_over
    (record,) = catalog.prepare([transaction], owner, SHORT_S)
    until(lambda: known(catalog, transaction.txid).lease_over)
    before = beat(catalog, owner)
    assert catalog.renew_lease(owner)
    assert beat(catalog, owner) > before
    catalog.register_owner(owner, "node8", "boot-2")
    assert known(catalog, transaction.txid).owner_host == "node8"
    assert not catalog.renew_lease(environment.uuid7())


def beat(catalog: SqlCatalog, owner: UUID) -> int:
    statement = sa.text("SELECT heartbeat_at FROM registry_owner WHERE id = :id")
    id_ = catalog._database.rules.uuid_in(owner)
    return int(catalog._database.read(lambda one: one.execute(statement, {"id": id_}).scalar_one()))


def test_reaper_needs_the_epoch_too(catalog: SqlCatalog, owner: UUID) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    prepare(catalog, transaction, owner, 0)
    until(lambda: known(catalog, transaction.txid).lease_over)
    assert not catalog.reap(transaction.txid, 1)
    assert catalog.reap(transaction.txid, 0)
    assert not catalog.reap(transaction.txid, 0)
    assert not known(catalog, transaction.txid).lease_over


# -- taking over, ending, opening again


def test_who_takes_over_fences_the_one_who_had_it(catalog: SqlCatalog, owner: UUID) -> None:
    other, transaction = new_owner(catalog), make_transaction(CALEXP, [visit(1)])
    prepare(catalog, transaction, owner)
    record = catalog.take_over(transaction.txid, other, 0)
    assert record is not None
    assert (record.state, record.owner, record.epoch) == ("PREPARING", other, 1)
    mine = record.transaction
    assert mine == attrs.evolve(transaction, epoch=1)
    assert not catalog.abort(transaction.txid, 0, "user", [CLEAN])
    (parked,) = flip(catalog, transaction)
    assert isinstance(parked, CommitParked)
    assert "taken it over" in parked.reason
    assert catalog.outbox() == []
    assert isinstance(flip(catalog, mine)[0], Committed)
    assert standing(catalog, transaction.txid) == ("COMMITTED", None, 1, 0)


def test_take_over_of_what_is_not_to_be_had_says_what_it_is(catalog: SqlCatalog, owner: UUID) -> None:
    assert catalog.take_over(environment.uuid7(), owner, 0) is None
    assert catalog.reopen(environment.uuid7(), owner, 0) is None
    committed, preparing = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    flip(catalog, committed)
    record = catalog.take_over(committed.txid, owner, 0)
    assert record == known(catalog, committed.txid)
    assert (str(record.state), record.epoch) == ("COMMITTED", 0)
    prepare(catalog, preparing, owner)
    record = catalog.take_over(preparing.txid, new_owner(catalog), 3)
    assert record is not None
    assert (record.owner, record.epoch) == (owner, 0)


def test_aborted_transaction_is_never_visible(catalog: SqlCatalog, owner: UUID) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    prepare(catalog, transaction, owner)
    assert catalog.abort(transaction.txid, 0, "user", [CLEAN])
    record = known(catalog, transaction.txid)
    assert (str(record.state), record.reason, record.owner) == ("ABORTED", "user", None)
    assert record.transaction == transaction
    (failed,) = flip(catalog, transaction)
    assert (type(failed), failed.kind) == (CommitFailed, ErrorKind.ABORTED)
    assert failed.message.endswith("was aborted: user")
    assert not catalog.abort(transaction.txid, 0, "again")
    record = catalog.reopen(transaction.txid, owner, 0)
    assert record is not None
    assert str(record.state) == "ABORTED"
    assert catalog.preparing() == []
    assert follow_ups(catalog, transaction.txid) == [CLEAN]
    assert catalog.count(DatasetQuery()) == 0


def test_transaction_whose_lease_was_over_is_opened_again_under_new_names(
    catalog: SqlCatalog, owner: UUID
) -> None:
    transaction = make_transaction(CALEXP, [visit(1)], journaled=True)
    end_by_lease(catalog, transaction)
    (parked,) = flip(catalog, transaction)
    assert isinstance(parked, CommitParked)
    assert "may be opened again" in parked.reason
    assert str(catalog.reopen(transaction.txid, owner, 5).state) == "ABORTED"  # type: ignore[union-attr]
    record = catalog.reopen(transaction.txid, owner, 0)
    assert record is not None
    assert (record.owner, record.reason) == (owner, None)
    assert standing(catalog, transaction.txid) == ("PREPARING", None, 1, 1)
    assert record.transaction == attrs.evolve(transaction, epoch=1, generation=1)
    prepare(catalog, record.transaction, owner)
    (committed,) = flip(catalog, record.transaction)
    assert isinstance(committed, Committed)
    assert standing(catalog, transaction.txid) == ("COMMITTED", None, 1, 1)
    assert generations(catalog) == [1]


def test_objects_that_are_recorded_later_are_of_the_generation_that_was_committed(
    catalog: SqlCatalog, owner: UUID
) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    end_by_lease(catalog, transaction)
    record = catalog.reopen(transaction.txid, owner, 0)
    assert record is not None
    assert record.transaction is not None
    (committed,) = flip(catalog, record.transaction)
    catalog.record_artifacts({committed.refs[0].id: [artifact("copy.fits", store="archive")]})
    assert generations(catalog) == [1, 1]


def test_quarantined_transactions_are_left_alone(catalog: SqlCatalog, owner: UUID) -> None:
    group = [make_transaction(CALEXP, [visit(number)]) for number in range(2)]
    catalog.prepare(group, owner, 0)
    assert catalog.quarantine() == 2
    assert catalog.quarantine() == 0
    assert catalog.preparing() == []
    one = group[0]
    (parked,) = flip(catalog, one)
    assert isinstance(parked, CommitParked)
    assert "quarantine" in parked.reason
    assert not catalog.abort(one.txid, 0, "user")
    assert not catalog.reap(one.txid, 0)
    record = catalog.take_over(one.txid, owner, 0)
    assert record is not None
    assert (str(record.state), record.epoch) == ("QUARANTINED", 0)
    assert str(catalog.prepare([one], owner, LONG_S)[0].state) == "QUARANTINED"


def test_quarantined_transactions_are_dropped_once_with_what_is_to_be_cleaned(
    catalog: SqlCatalog, owner: UUID
) -> None:
    one, other = (make_transaction(CALEXP, [visit(number)]) for number in range(2))
    catalog.prepare([one], owner, 0)
    assert not catalog.drop(one.txid, "dropped", [CLEAN]), "it is on its way"
    catalog.quarantine()
    assert not catalog.drop(other.txid, "dropped", [CLEAN]), "nobody knows it"
    assert catalog.drop(one.txid, "dropped", [CLEAN])
    assert not catalog.drop(one.txid, "dropped", [CLEAN])
    assert catalog.quarantined() == []
    record = catalog.transaction(one.txid)
    assert record is not None
    assert (str(record.state), record.reason) == ("ABORTED", "dropped")
    assert [(entry.txid, entry.follow_up) for entry in catalog.outbox()] == [(one.txid, CLEAN)]
    (failed,) = flip(catalog, one)
    assert isinstance(failed, CommitFailed)


# -- arguments

ID = environment.uuid7()


@pytest.mark.parametrize(
    "call",
    [
        lambda catalog: catalog.register_owner("me", "host", "boot"),
        lambda catalog: catalog.register_owner(ID, None, "boot"),
        lambda catalog: catalog.register_owner(ID, "host", "\ud800"),
        lambda catalog: catalog.renew_lease(5),
        lambda catalog: catalog.prepare([], "me", 1.0),
        lambda catalog: catalog.prepare([], ID, -1),
        lambda catalog: catalog.prepare([], ID, float("nan")),
        lambda catalog: catalog.prepare([], ID, True),
        lambda catalog: catalog.prepare([], ID, "1"),
        lambda catalog: catalog.take_over(str(ID), ID, 0),
        lambda catalog: catalog.take_over(ID, str(ID), 0),
        lambda catalog: catalog.take_over(ID, ID, None),
        lambda catalog: catalog.reopen(ID, ID, -1),
        lambda catalog: catalog.abort(ID, 0, None),
        lambda catalog: catalog.abort(ID, 0, "a\0b"),
        lambda catalog: catalog.abort(ID, 2**63, "user"),
        lambda catalog: catalog.reap(None, 0),
        lambda catalog: catalog.drop("x", "dropped"),
        lambda catalog: catalog.drop(ID, None),
        lambda catalog: catalog.transaction("x"),
        lambda catalog: catalog.outcome("x"),
        lambda catalog: catalog.flip([make_transaction(CALEXP, [visit(1)])], "me"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(
    sqlite_catalog: SqlCatalog, call: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidInputError):
        call(sqlite_catalog)
