"""The flip of what was prepared: what commits, what ends, and what waits for others."""

from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from quantumio.errors import ErrorKind, InternalError
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitParked,
    Committed,
    DatasetType,
    FollowUp,
    FollowUpKind,
    Transaction,
    TransactionRecord,
    TransactionState,
)
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.registry._new_rows import insert_statement
from quantumio.registry._schema import TXN, TXN_REQUIRES
from quantumio.registry._verdict import Standing
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, artifact, make_transaction, visit
from tests.unit.registry.intents import (
    CLEAN,
    LONG_S,
    end_by_lease,
    flip,
    follow_ups,
    generations,
    known,
    new_owner,
    prepare,
    standing,
)

# -- the flip of what was prepared


def test_flip_commits_what_was_prepared_and_forgets_its_manifest(catalog: SqlCatalog, owner: UUID) -> None:
    group = [make_transaction(CALEXP, [visit(number)], key=f"k{number}") for number in range(70)]
    catalog.prepare(group[::2], owner, LONG_S)
    outcomes = flip(catalog, *group)
    assert {type(outcome) for outcome in outcomes} == {Committed}
    assert catalog.preparing() == []
    record = known(catalog, group[0].txid)
    assert record == TransactionRecord(
        txid=group[0].txid, state=TransactionState.COMMITTED, epoch=0, generation=0, transaction=None
    )
    assert [catalog.outcome(one.txid) for one in group] == outcomes
    assert flip(catalog, *group) == outcomes


def test_transaction_without_intent_keeps_its_epoch_and_generation(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)], epoch=3, generation=2)  # of a registry put back
    flip(catalog, transaction)
    assert standing(catalog, transaction.txid) == ("COMMITTED", None, 3, 2)
    assert generations(catalog) == [2]


def two_places(dataset_type: DatasetType, data_id: dict[str, Any], **options: Any) -> Transaction:
    """A transaction with artifacts at two destinations, and with a file that stays where it is."""
    made = make_transaction(dataset_type, [data_id], **options)
    (output,) = made.outputs
    others = (artifact("x", store="archive"), artifact("file:///raw.fits", store="direct"))
    return attrs.evolve(
        made, outputs=(attrs.evolve(output, artifacts=(*output.artifacts, *others)),), follow_ups=(EXPORT,)
    )


EXPORT = FollowUp(kind=FollowUpKind.EXPORT, destination="tree")
CLEAN_BOTH = [CLEAN, FollowUp(kind=FollowUpKind.CLEAN, destination="archive")]


def test_prepared_members_that_cannot_commit_end_and_are_cleaned(catalog: SqlCatalog, owner: UUID) -> None:
    flip(catalog, make_transaction(CALEXP, [visit(1), visit(2)], key="k"))
    conflict = two_places(CALEXP, visit(1), expect=0)
    failed = two_places(DatasetType("other", dimensions=(), storage_class="Text"), {})
    reused = two_places(CALEXP, visit(2), key="k")
    good = make_transaction(CALEXP, [visit(3)])
    group = [conflict, failed, reused, good]
    catalog.prepare(group, owner, LONG_S)
    outcomes = catalog.flip(group, owner)
    assert [type(one) for one in outcomes] == [CommitConflict, CommitFailed, Committed, Committed]
    for one, reason in ((conflict, "conflict"), (failed, "failed"), (reused, "reused")):
        record = known(catalog, one.txid)
        assert (str(record.state), record.reason, record.owner) == ("ABORTED", reason, None)
        assert follow_ups(catalog, one.txid) == CLEAN_BOTH
    assert follow_ups(catalog, good.txid) == []
    assert catalog.claim(new_owner(catalog), 10, 60.0) == []  # who decided has them
    assert catalog.preparing() == []


def test_members_that_were_not_prepared_leave_nothing(catalog: SqlCatalog) -> None:
    transaction = two_places(CALEXP, visit(1), expect=3)
    assert isinstance(flip(catalog, transaction)[0], CommitConflict)
    assert catalog.transaction(transaction.txid) is None
    assert catalog.outbox() == []
    assert isinstance(flip(catalog, attrs.evolve(transaction, requires=()))[0], CommitConflict)


def test_repeated_flip_of_what_ended_tells_how(catalog: SqlCatalog, owner: UUID) -> None:
    (winner,) = flip(catalog, make_transaction(CALEXP, [visit(1), visit(2)], key="k"))
    reused = make_transaction(CALEXP, [visit(2)], key="k")
    conflict = make_transaction(CALEXP, [visit(1)], expect=0)
    catalog.prepare([reused, conflict], owner, LONG_S)
    first = flip(catalog, reused, conflict, conflict)
    assert first[0] == attrs.evolve(winner, txid=reused.txid, reused=True)
    assert first[1] == first[2]
    again = flip(catalog, reused, conflict)
    assert again[0] == first[0]
    assert (type(again[1]), again[1].kind) == (CommitFailed, ErrorKind.ABORTED)
    assert "conflict" in again[1].message
    assert len(catalog.outbox()) == 2


def test_dataset_that_another_transaction_committed_ends_a_prepared_one(
    catalog: SqlCatalog, owner: UUID
) -> None:
    first = make_transaction(CALEXP, [visit(1)])
    flip(catalog, first)
    rerun, other = attrs.evolve(first, txid=environment.uuid7()), make_transaction(CALEXP, [visit(2)])
    catalog.prepare([rerun, other], owner, LONG_S)
    conflict, committed = flip(catalog, rerun, other)
    assert (type(conflict), conflict.kind) == (CommitConflict, ErrorKind.EXISTS)
    assert isinstance(committed, Committed)
    assert standing(catalog, rerun.txid) == ("ABORTED", "conflict", 0, 0)


def test_removed_transaction_is_not_committed_again(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    flip(catalog, transaction)
    with catalog._database.edit("removing") as connection:
        connection.execute(sa.update(TXN).values(removed_seq=9))
    (failed,) = flip(catalog, transaction)
    assert (type(failed), failed.kind) == (CommitFailed, ErrorKind.EXISTS)


def test_flip_that_refuses_a_member_ends_it_and_says_what_is_to_be_removed(catalog, owner):
    first = make_transaction(CALEXP, [visit(1)], key="quantum", follow_ups=(EXPORT,))
    loser = make_transaction(CALEXP, [visit(1)], expect=0)
    again = make_transaction(CALEXP, [visit(1)], key="quantum")
    group = [first, loser, again]
    catalog.prepare(group, owner, LONG_S)
    outcomes = catalog.flip(group, owner)
    assert [type(outcome) for outcome in outcomes] == [Committed, CommitConflict, Committed]
    assert outcomes[2].reused
    reasons = [catalog.transaction(one.txid).reason for one in group]
    assert reasons == [None, "conflict", "reused"]
    left = {(one.txid, one.follow_up, one.is_due) for one in catalog.outbox()}
    assert left == {(first.txid, EXPORT, False), (loser.txid, CLEAN, False), (again.txid, CLEAN, False)}


def test_row_that_is_not_as_it_was_read_undoes_the_whole_flip(
    catalog: SqlCatalog, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never by what quantumio does; but if it ever was, no dataset of a fenced owner may become visible."""
    transaction, other = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    catalog.prepare([transaction, other], owner, LONG_S)
    assert catalog.take_over(transaction.txid, new_owner(catalog), 0) is not None
    stale = {one.txid: Standing("PREPARING", 0, None) for one in (transaction, other)}
    with monkeypatch.context() as patch, pytest.raises(InternalError, match="changed its state"):
        patch.setattr("quantumio.registry._commit.Commits._standings", lambda *_: stale)
        flip(catalog, other, transaction)
    assert catalog.count(DatasetQuery()) == 0
    assert isinstance(flip(catalog, other)[0], Committed)


def test_statement_that_takes_its_values_in_another_order_is_refused(catalog: SqlCatalog) -> None:
    with pytest.raises(InternalError, match="takes"):
        insert_statement(catalog._database, TXN, ("run", "txid"))


# -- upstreams


def dependent(*upstreams: Transaction, number: int = 9) -> Transaction:
    return make_transaction(CALEXP, [visit(number)], requires=tuple(one.txid for one in upstreams))


def test_upstreams_may_be_committed_before_or_earlier_in_the_group(catalog: SqlCatalog) -> None:
    before, within = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    flip(catalog, before)
    after = dependent(before, within, before)
    outcomes = flip(catalog, within, after)
    assert [type(one) for one in outcomes] == [Committed, Committed]
    rows = catalog._database.read(lambda connection: connection.execute(sa.select(TXN_REQUIRES)).all())
    assert {(row.txid, row.upstream) for row in rows} == {
        (after.txid, before.txid),
        (after.txid, within.txid),
    }
    assert len(rows) == 2


def test_undecided_upstream_parks_who_requires_it(catalog: SqlCatalog, owner: UUID) -> None:
    upstream = make_transaction(CALEXP, [visit(1)])
    after = dependent(upstream)
    catalog.prepare([upstream, after], owner, LONG_S)
    (parked,) = flip(catalog, after)
    assert isinstance(parked, CommitParked)
    assert "is not committed yet" in parked.reason
    assert standing(catalog, after.txid) == ("PREPARING", None, 0, 0)
    assert [type(one) for one in flip(catalog, after, upstream, after)] == [
        CommitParked,
        Committed,
        Committed,
    ]


def test_upstream_that_comes_later_in_the_group_is_waited_for(catalog: SqlCatalog) -> None:
    upstream = make_transaction(CALEXP, [visit(1)])
    after = dependent(upstream)
    assert [type(one) for one in flip(catalog, after, upstream)] == [CommitParked, Committed]
    assert isinstance(flip(catalog, after)[0], Committed)


def test_upstream_in_quarantine_parks_who_requires_it(catalog: SqlCatalog, owner: UUID) -> None:
    upstream = make_transaction(CALEXP, [visit(1)])
    prepare(catalog, upstream, owner)
    catalog.quarantine()
    assert isinstance(flip(catalog, dependent(upstream))[0], CommitParked)


def test_aborted_or_unknown_upstream_fails_who_requires_it(catalog: SqlCatalog, owner: UUID) -> None:
    upstream, unknown = make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])
    prepare(catalog, upstream, owner)
    assert catalog.abort(upstream.txid, 0, "user")
    after, lost, last = dependent(upstream), dependent(unknown), dependent(number=8)
    catalog.prepare([after, lost, last], owner, LONG_S)
    outcomes = flip(catalog, after, lost, last)
    assert [type(one) for one in outcomes] == [CommitFailed, CommitFailed, Committed]
    assert [one.kind for one in outcomes[:2]] == [ErrorKind.UPSTREAM] * 2
    assert "was not committed" in outcomes[0].message
    assert "is not known" in outcomes[1].message
    for one in (after, lost):
        assert standing(catalog, one.txid) == ("ABORTED", "upstream", 0, 0)
        assert follow_ups(catalog, one.txid) == [CLEAN]
        assert flip(catalog, one)[0].kind is ErrorKind.UPSTREAM


def test_conflict_of_an_upstream_in_the_group_fails_who_requires_it(catalog: SqlCatalog) -> None:
    upstream = make_transaction(CALEXP, [visit(1)], expect=7)
    after = dependent(upstream)
    last = dependent(after, number=8)
    outcomes = flip(catalog, upstream, after, last)
    assert [type(one) for one in outcomes] == [CommitConflict, CommitFailed, CommitFailed]
    assert catalog.count(DatasetQuery()) == 0


@pytest.mark.parametrize("together", [False, True])
def test_upstream_that_stands_for_an_earlier_attempt_counts_as_committed(
    catalog: SqlCatalog, owner: UUID, together: bool
) -> None:
    flip(catalog, make_transaction(CALEXP, [visit(1)], key="k"))
    upstream = make_transaction(CALEXP, [visit(1)], key="k")
    after = dependent(upstream)
    catalog.prepare([upstream, after], owner, LONG_S)
    outcomes = (
        flip(catalog, upstream, after) if together else [*flip(catalog, upstream), *flip(catalog, after)]
    )
    assert outcomes[0].reused
    assert isinstance(outcomes[1], Committed)


def test_upstream_that_may_be_opened_again_is_waited_for(catalog: SqlCatalog, owner: UUID) -> None:
    upstream = make_transaction(CALEXP, [visit(1)])
    end_by_lease(catalog, upstream)
    after = dependent(upstream)
    prepare(catalog, after, owner)
    assert isinstance(flip(catalog, after)[0], CommitParked)
    record = catalog.reopen(upstream.txid, owner, 0)
    assert record is not None
    assert record.transaction is not None
    outcomes = flip(catalog, record.transaction, after)
    assert [type(one) for one in outcomes] == [Committed, Committed]
