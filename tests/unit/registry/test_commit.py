"""The flip: versions, expectations, keys, groups, and what goes wrong."""

import sqlite3
import threading
from collections import Counter
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import (
    CommitUnknownError,
    DestinationError,
    ErrorKind,
    InternalError,
    NotFoundError,
)
from quantumio.model import (
    ArtifactState,
    CommitConflict,
    CommitFailed,
    Committed,
    CommitUnknown,
    DataId,
    DatasetRef,
    DatasetType,
    OutputRecord,
    Transaction,
)
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import (
    CALEXP,
    NOTE,
    RAW,
    Commit,
    Place,
    artifact,
    exposure,
    make_transaction,
    visit,
)


def versions(outcomes: list[object]) -> list[object]:
    return [
        [ref.version for ref in outcome.refs] if isinstance(outcome, Committed) else type(outcome).__name__
        for outcome in outcomes
    ]


def test_versions_are_consecutive_per_run_type_and_data_id(catalog: SqlCatalog) -> None:
    for expected in (1, 2, 3):
        assert versions(catalog.flip([make_transaction(CALEXP, [visit(1), visit(2)])])) == [[expected] * 2]
    assert versions(catalog.flip([make_transaction(CALEXP, [visit(1)], run="other")])) == [[1]]
    assert versions(catalog.flip([make_transaction(CALEXP, [visit(3)])])) == [[1]]
    assert versions(catalog.flip([make_transaction(RAW, [exposure(1)])])) == [[1]]


def test_committed_outcome_is_what_can_be_read(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(2), visit(1)], inputs=(environment.uuid7(),))
    (outcome,) = catalog.flip([transaction])
    assert isinstance(outcome, Committed)
    assert [ref.id for ref in outcome.refs] == [output.ref.id for output in transaction.outputs]
    assert catalog.outcome(transaction.txid) == outcome
    stored = catalog.stored([ref.id for ref in outcome.refs])
    for output, ref in zip(transaction.outputs, outcome.refs, strict=True):
        found = stored[ref.id]
        assert (found.ref, found.ref.version, found.ref.run) == (ref, 1, "u/ada/isr")
        assert found.ref.data_id == ref.data_id
        assert found.artifacts == output.artifacts
        assert (found.txid, found.commit_seq) == (transaction.txid, outcome.commit_seq)
        assert abs(found.committed_ns - environment.now_ns()) < 60 * 10**9


def test_commit_sequence_grows_and_time_never_goes_back(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = catalog.flip([make_transaction(CALEXP, [visit(number)]) for number in range(3)])
    monkeypatch.setattr(environment, "now_ns", lambda: 5)
    outcomes += catalog.flip([make_transaction(CALEXP, [visit(9)])])
    sequence = [outcome.commit_seq for outcome in outcomes if isinstance(outcome, Committed)]
    assert sequence == sorted(set(sequence))
    times = [catalog.stored([outcome.refs[0].id])[outcome.refs[0].id].committed_ns for outcome in outcomes]
    assert times == sorted(times)
    assert times[-1] > 5


def test_members_of_a_group_get_consecutive_versions_and_see_those_before_them(catalog: SqlCatalog) -> None:
    group = [
        make_transaction(CALEXP, [visit(1)], expect=0),
        make_transaction(CALEXP, [visit(1)]),
        make_transaction(CALEXP, [visit(1)], expect=2),
        make_transaction(CALEXP, [visit(1)], expect=2),
        make_transaction(CALEXP, [visit(1)]),
    ]
    outcomes = catalog.flip(group)
    assert versions(outcomes) == [[1], [2], [3], "CommitConflict", [4]]
    conflict = outcomes[3]
    assert isinstance(conflict, CommitConflict)
    assert (conflict.winner_version, conflict.winner_txid) == (3, group[2].txid)
    assert conflict.kind is ErrorKind.VERSION
    assert catalog.outcome(group[3].txid) is None
    assert catalog.stored([group[3].outputs[0].ref.id]) == {}


def test_conflict_of_one_output_drops_its_member_alone(catalog: SqlCatalog) -> None:
    (first,) = catalog.flip([make_transaction(CALEXP, [visit(1)])])
    bad = make_transaction(CALEXP, [visit(5), visit(1)], expect=0, run="u/ada/isr")
    outcomes = catalog.flip([make_transaction(CALEXP, [visit(2)]), bad, make_transaction(CALEXP, [visit(5)])])
    assert versions(outcomes) == [[1], "CommitConflict", [1]]
    conflict = outcomes[1]
    assert isinstance(conflict, CommitConflict)
    assert conflict.ref == bad.outputs[1].ref
    assert conflict.winner_txid == first.txid
    assert "none was expected" in conflict.message


def test_run_of_a_member_that_conflicts_is_not_made(catalog: SqlCatalog) -> None:
    outcomes = catalog.flip([make_transaction(CALEXP, [visit(1)], expect=7, run="never")])
    assert versions(outcomes) == ["CommitConflict"]
    assert catalog.collections() == []


def test_what_was_read_must_be_the_latest_still(catalog: SqlCatalog, commit: Commit) -> None:
    (old,) = commit(CALEXP, [visit(1)])
    (new,) = commit(CALEXP, [visit(1)])
    outcomes = catalog.flip(
        [
            make_transaction(CALEXP, [visit(2)], unchanged=(old,)),
            make_transaction(CALEXP, [visit(3)], unchanged=(new,)),
            make_transaction(CALEXP, [visit(1)], unchanged=(new,)),
            make_transaction(CALEXP, [visit(4)], unchanged=(new,)),
        ]
    )
    assert versions(outcomes) == ["CommitConflict", [1], [3], "CommitConflict"]
    assert isinstance(outcomes[0], CommitConflict)
    assert outcomes[0].kind is ErrorKind.INPUT_CHANGED
    assert (outcomes[0].winner_version, outcomes[0].ref) == (2, old)


def test_key_commits_once_per_run(catalog: SqlCatalog) -> None:
    first = make_transaction(CALEXP, [visit(2), visit(1)], key="night 1")
    (winner,) = catalog.flip([first])
    again = make_transaction(CALEXP, [visit(1)], key="night 1")  # with other bytes, and fewer outputs
    (reused,) = catalog.flip([again])
    assert isinstance(reused, Committed)
    assert reused == attrs.evolve(winner, txid=again.txid, reused=True)
    assert [(ref.id, ref.version) for ref in reused.refs] == [(ref.id, ref.version) for ref in winner.refs]
    assert catalog.count(DatasetQuery()) == 2
    other = catalog.flip([make_transaction(CALEXP, [visit(9)], key="night 1", run="other")])
    assert versions(other) == [[1]]


def test_what_stands_for_an_earlier_attempt_has_its_outcome(catalog: SqlCatalog, owner: UUID) -> None:
    """Asked by another process, it was told to have failed, though it had been told to be committed."""
    first, again, third = (make_transaction(CALEXP, [visit(1)], key="k") for _ in range(3))
    (winner,) = catalog.flip([first])
    catalog.prepare([again], owner, 60.0)
    (reused,) = catalog.flip([again])
    assert reused == attrs.evolve(winner, txid=again.txid, reused=True)
    assert catalog.outcome(again.txid) == reused
    assert isinstance(winner, Committed)
    by_hand = make_transaction(CALEXP, [visit(1)], key="k")
    catalog.prepare([by_hand], owner, 60.0)
    assert catalog.abort(by_hand.txid, 0, "by hand")
    assert catalog.outcome(by_hand.txid) is None
    catalog.delete([winner.refs[0].id], dry_run=False)
    assert catalog.outcome(again.txid) is None
    assert versions(catalog.flip([third])) == [[2]]  # the key is free again: it stands for that one no more
    assert catalog.outcome(again.txid) is None


def test_output_that_the_earlier_attempt_does_not_have_is_a_conflict_not_lost(
    catalog: SqlCatalog, owner: UUID
) -> None:
    first = make_transaction(CALEXP, [visit(1)], key="k")
    (winner,) = catalog.flip([first])
    more = make_transaction(CALEXP, [visit(1), visit(2)], key="k")
    elsewhere = make_transaction(CALEXP, [visit(1)], key="k")
    (output,) = elsewhere.outputs
    elsewhere = attrs.evolve(
        elsewhere, outputs=(attrs.evolve(output, ref=attrs.evolve(output.ref, run="other")),)
    )
    another = make_transaction(NOTE, [{}], key="k")
    catalog.prepare([more], owner, 60.0)
    for transaction, ref in (
        (more, more.outputs[1].ref),
        (elsewhere, elsewhere.outputs[0].ref),
        (another, another.outputs[0].ref),
    ):
        (outcome,) = catalog.flip([transaction])
        assert isinstance(outcome, CommitConflict)
        assert (outcome.kind, outcome.ref) == (ErrorKind.OTHER_OUTPUTS, ref)
        assert outcome.winner_txid == winner.txid
        assert "under the key 'k'" in outcome.message
    assert catalog.count(DatasetQuery()) == 1
    record = catalog.transaction(more.txid)
    assert record is not None
    assert record.reason == "conflict"
    group = [make_transaction(NOTE, [{}], key="l"), make_transaction(CALEXP, [visit(1)], key="l")]
    assert versions(catalog.flip(group)) == [[1], "CommitConflict"]


def test_key_within_a_group_goes_to_the_first_that_can_commit(catalog: SqlCatalog) -> None:
    group = [
        make_transaction(CALEXP, [visit(1)], key="k", expect=5),
        make_transaction(CALEXP, [visit(1)], key="k"),
        make_transaction(CALEXP, [visit(1)], key="k"),
    ]
    outcomes = catalog.flip(group)
    assert versions(outcomes) == ["CommitConflict", [1], [1]]
    assert [getattr(outcome, "reused", None) for outcome in outcomes] == [None, False, True]


def test_transaction_without_outputs_takes_its_key(catalog: SqlCatalog) -> None:
    empty = Transaction(txid=environment.uuid7(), run="u/ada/isr", key="k", outputs=())
    (outcome,) = catalog.flip([empty])
    assert outcome == Committed(txid=empty.txid, refs=(), commit_seq=None)
    assert catalog.outcome(empty.txid) == outcome
    (reused,) = catalog.flip([attrs.evolve(empty, txid=environment.uuid7())])
    assert isinstance(reused, Committed)
    assert (reused.reused, reused.refs) == (True, ())


def test_repeated_flip_of_a_transaction_gives_its_outcome_again(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1), visit(2)])
    (outcome,) = catalog.flip([transaction])
    new = make_transaction(CALEXP, [visit(1)])
    assert catalog.flip([new, transaction])[1] == outcome
    assert catalog.count(DatasetQuery(versions="all")) == 3
    twice = make_transaction(NOTE, [{}])
    assert len({outcome.commit_seq for outcome in catalog.flip([twice, twice])}) == 1  # type: ignore[union-attr]


def test_ref_that_is_committed_already_is_a_conflict(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    catalog.flip([transaction])
    rerun = attrs.evolve(transaction, txid=environment.uuid7())
    other = make_transaction(CALEXP, [visit(1)])
    outcomes = catalog.flip([rerun, other])
    assert versions(outcomes) == ["CommitConflict", [2]]
    assert isinstance(outcomes[0], CommitConflict)
    assert outcomes[0].kind is ErrorKind.EXISTS


def test_ref_that_two_members_of_a_group_bring_goes_to_the_first(catalog: SqlCatalog) -> None:
    first = make_transaction(CALEXP, [visit(1)])
    second = attrs.evolve(first, txid=environment.uuid7())
    outcomes = catalog.flip([first, second, make_transaction(CALEXP, [visit(2)])])
    assert versions(outcomes) == [[1], "CommitConflict", [1]]


def test_run_is_made_with_the_first_commit_and_kept_apart_from_other_kinds(catalog: SqlCatalog) -> None:
    catalog.register_collection("tagged", CollectionKind.TAGGED)
    outcomes = catalog.flip(
        [
            make_transaction(CALEXP, [visit(1)], run="new"),
            make_transaction(CALEXP, [visit(1)], run="tagged"),
            make_transaction(CALEXP, [visit(1)], run="new"),
        ]
    )
    assert versions(outcomes) == [[1], "CommitFailed", [2]]
    assert isinstance(outcomes[1], CommitFailed)
    assert outcomes[1].kind is ErrorKind.COLLECTION
    assert "'tagged' is a TAGGED collection" in outcomes[1].message
    assert [(found.name, found.kind) for found in catalog.collections("new")] == [("new", CollectionKind.RUN)]


def test_outputs_that_fit_no_dataset_type_fail_alone(catalog: SqlCatalog) -> None:
    unknown = DatasetType("nobody", dimensions=("instrument",), storage_class="Text")
    altered = DatasetType("calexp", dimensions=("instrument",), storage_class="CCDData")
    outcomes = catalog.flip(
        [
            make_transaction(unknown, [{"instrument": "ST8"}]),
            make_transaction(altered, [{"instrument": "ST8"}]),
            make_transaction(CALEXP, [{"instrument": "ST8"}]),
            make_transaction(CALEXP, [visit(1)]),
        ]
    )
    assert versions(outcomes) == ["CommitFailed", "CommitFailed", "CommitFailed", [1]]
    kinds = [outcome.kind for outcome in outcomes if isinstance(outcome, CommitFailed)]
    assert kinds == [ErrorKind.DATASET_TYPE, ErrorKind.DATASET_TYPE, ErrorKind.DATA_ID]


def test_empty_group_is_nothing(catalog: SqlCatalog) -> None:
    assert catalog.flip([]) == []
    assert catalog.outcome(environment.uuid7()) is None


def test_types_of_several_dimension_groups_commit_together(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    others = (*make_transaction(NOTE, [{}]).outputs, *make_transaction(RAW, [exposure(1)]).outputs)
    mixed = attrs.evolve(transaction, outputs=(others[0], *transaction.outputs, others[1]))
    (outcome,) = catalog.flip([mixed])
    assert [ref.dataset_type.name for ref in outcome.refs] == ["note", "calexp", "raw"]
    assert catalog.outcome(mixed.txid) == outcome
    assert list(catalog.stored(ref.id for ref in outcome.refs)) == [ref.id for ref in outcome.refs]


def test_large_transaction_is_one_commit(catalog: SqlCatalog) -> None:
    transaction = make_transaction(
        CALEXP, [visit(number, detector) for number in range(200) for detector in range(10)]
    )
    (outcome,) = catalog.flip([transaction])
    assert len(catalog.stored([ref.id for ref in outcome.refs])) == 2000
    again = make_transaction(CALEXP, [visit(number, 3) for number in range(200)])
    assert {ref.version for ref in catalog.flip([again])[0].refs} == {2}


# -- artifacts


def test_same_file_of_two_datasets_is_one_object(catalog: SqlCatalog) -> None:
    shared = artifact("file:///archive/one.fits", store="direct")
    outcomes = []
    for dataset_type, data_id in ((CALEXP, visit(1)), (NOTE, {})):
        ref = DatasetRef(environment.uuid7(), dataset_type, DataId(data_id), "r")
        output = OutputRecord(ref=ref, expect=None, artifacts=(shared, artifact(f"{dataset_type.name}.fits")))
        txid = environment.uuid7()
        outcomes += catalog.flip([Transaction(txid=txid, run="r", key=None, outputs=(output,))])
    for outcome in outcomes:
        assert catalog.stored([outcome.refs[0].id])[outcome.refs[0].id].artifacts[0] == shared


def test_artifacts_are_added_and_updated_and_keep_their_order(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(1), visit(2)])
    first = catalog.stored([refs[0].id])[refs[0].id].artifacts[0]
    pending = artifact("a.fits", store="archive", state=ArtifactState.PENDING)
    rows = artifact("calexp_rows", store="level3", load_id=environment.uuid7())
    catalog.record_artifacts({refs[0].id: [pending, rows]})
    assert catalog.stored([refs[0].id])[refs[0].id].artifacts == (first, pending, rows)
    placed = attrs.evolve(pending, state=ArtifactState.OK, digest="cd" * 32, nbytes=99)
    catalog.record_artifacts(
        {refs[0].id: [placed], refs[1].id: [attrs.evolve(rows, load_id=environment.uuid7())]}
    )
    catalog.record_artifacts({refs[0].id: [placed]})
    assert catalog.stored([refs[0].id])[refs[0].id].artifacts == (first, placed, rows)
    found = catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"])
    assert found is not None
    assert found.artifacts == (first, placed, rows)
    with pytest.raises(NotFoundError):
        catalog.record_artifacts({refs[0].id: [placed], environment.uuid7(): [placed]})


def test_artifact_is_amended_only_while_it_is_as_it_was(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    catalog.record_artifacts({ref.id: [artifact("second.fits", store="archive")]})
    before, other = catalog.stored([ref.id])[ref.id].artifacts
    moved = attrs.evolve(before, path="calexp/elsewhere.fits")
    lost = attrs.evolve(before, state=ArtifactState.MISSING)
    assert catalog.amend_artifact(ref.id, before, moved)
    assert not catalog.amend_artifact(ref.id, before, lost)
    assert catalog.stored([ref.id])[ref.id].artifacts == (moved, other)
    assert not catalog.amend_artifact(ref.id, *[attrs.evolve(before, destination="nowhere")] * 2)
    with pytest.raises(NotFoundError):
        catalog.amend_artifact(environment.uuid7(), before, moved)
    with pytest.raises(InternalError, match="cannot move from local to archive"):
        catalog.amend_artifact(ref.id, before, attrs.evolve(before, destination="archive"))
    assert catalog.stored([ref.id])[ref.id].artifacts == (moved, other)


def test_rows_are_amended_too(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    rows = artifact("calexp", store="level3", load_id=environment.uuid7())
    catalog.record_artifacts({ref.id: [rows]})
    corrupt = attrs.evolve(rows, state=ArtifactState.CORRUPT)
    assert catalog.amend_artifact(ref.id, rows, corrupt)
    assert catalog.stored([ref.id])[ref.id].artifacts[-1] == corrupt


def test_numbers_of_versions_tell_of_removed_ones_too(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [commit(CALEXP, [visit(1)])[0] for _ in range(3)]
    table = catalog._tables.group(CALEXP.dimensions).dataset
    with catalog._database.edit("removing") as connection:
        connection.execute(sa.update(table).where(table.c.v == 2).values(removed_seq=3))
    data_id, run = refs[0].data_id, refs[0].run
    assert [one.ref.version for one in catalog.versions(CALEXP, data_id, run)] == [1, 3]
    assert catalog.version_numbers(CALEXP, data_id, run) == [1, 2, 3]
    assert catalog.version_numbers(CALEXP, data_id, "u/nobody") == []


def test_number_of_a_removed_version_is_not_given_again(catalog: SqlCatalog, commit: Commit) -> None:
    (first, _) = [commit(CALEXP, [visit(1)])[0] for _ in range(2)]
    table = catalog._tables.group(CALEXP.dimensions).dataset
    for removed, live, version in (([2], 1, 3), ([1, 3], 0, 4)):
        with catalog._database.edit("removing") as connection:
            connection.execute(sa.update(table).where(table.c.v.in_(removed)).values(removed_seq=9))
        wrong = make_transaction(CALEXP, [visit(1)], expect=live + 5)
        (conflict,) = catalog.flip([wrong])
        assert isinstance(conflict, CommitConflict)
        assert conflict.winner_version == (live or None)
        (ref,) = commit(CALEXP, [visit(1)], expect=live)
        assert (ref.version, ref.data_id) == (version, first.data_id)


# -- failures


def deny(catalog: SqlCatalog, action: int, name: str | None) -> None:
    """Let the database itself refuse one kind of statement, as it would on a broken disk."""
    with catalog._database.edit("looking") as connection:
        driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)

    def decide(asked: int, one: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if asked == action and name in (None, one) else sqlite3.SQLITE_OK

    driver.set_authorizer(decide)


def allow(catalog: SqlCatalog) -> None:
    connection = catalog._database._connection
    if connection is not None:
        connection.connection.driver_connection.set_authorizer(None)  # type: ignore[union-attr]


@pytest.mark.parametrize("table", ["txn", "dataset", "object", "artifact", "collection"])
def test_error_before_commit_is_definite_and_changes_nothing(sqlite_catalog: SqlCatalog, table: str) -> None:
    group = [make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)], run="new")]
    deny(sqlite_catalog, sqlite3.SQLITE_INSERT, table)
    with pytest.raises(DestinationError) as error:
        sqlite_catalog.flip(group)
    assert error.value.kind is ErrorKind.REGISTRY
    assert sqlite_catalog.collections() == []
    assert sqlite_catalog.outcome(group[0].txid) is None
    allow(sqlite_catalog)
    assert versions(sqlite_catalog.flip(group)) == [[1], [1]]


def test_error_out_of_commit_is_unknown_and_then_known(sqlite_catalog: SqlCatalog) -> None:
    group = [make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])]
    deny(sqlite_catalog, sqlite3.SQLITE_TRANSACTION, "COMMIT")
    with pytest.raises(CommitUnknownError) as error:
        sqlite_catalog.flip(group)
    assert isinstance(error.value.outcome, CommitUnknown)
    assert error.value.outcome.txid == group[0].txid
    assert sqlite_catalog.outcome(group[0].txid) is None
    assert versions(sqlite_catalog.flip(group)) == [[1], [1]]


def test_commit_whose_answer_was_lost_is_found_committed(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = sa.RootTransaction.commit

    def lose(transaction: sa.RootTransaction) -> None:
        commit(transaction)
        raise sa.exc.OperationalError("COMMIT", None, OSError("connection reset"))

    transaction = make_transaction(CALEXP, [visit(1)])
    with monkeypatch.context() as patch, pytest.raises(CommitUnknownError):
        patch.setattr(sa.RootTransaction, "commit", lose)
        catalog.flip([transaction])
    outcome = catalog.outcome(transaction.txid)
    assert isinstance(outcome, Committed)
    assert catalog.flip([transaction]) == [outcome]
    assert versions(catalog.flip([make_transaction(CALEXP, [visit(1)])])) == [[2]]


def test_after_a_lost_commit_nothing_is_told_before_the_disk_has_it(
    sqlite_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    deny(sqlite_catalog, sqlite3.SQLITE_TRANSACTION, "COMMIT")
    with pytest.raises(CommitUnknownError):
        sqlite_catalog.flip([transaction])
    database = sqlite_catalog._database
    with monkeypatch.context() as patch:
        patch.setattr(database, "_checkpoint", lambda _: False)
        for call in (
            lambda: sqlite_catalog.outcome(transaction.txid),
            lambda: sqlite_catalog.flip([transaction]),
        ):
            with pytest.raises(DestinationError) as error:
                call()
            assert error.value.kind is ErrorKind.REGISTRY
    assert versions(sqlite_catalog.flip([transaction])) == [[1]]


def test_lost_commit_of_an_edit_says_to_look(sqlite_catalog: SqlCatalog) -> None:
    deny(sqlite_catalog, sqlite3.SQLITE_TRANSACTION, "COMMIT")
    with pytest.raises(DestinationError, match="may or may not"):
        sqlite_catalog.register_collection("a", CollectionKind.RUN)
    assert sqlite_catalog.register_collection("a", CollectionKind.RUN) is True


# -- concurrency


def test_contexts_of_many_threads_get_every_version_once(place: Place) -> None:
    catalogs = [place.open(), place.open()]
    outcomes: list[object] = []

    def work(catalog: SqlCatalog) -> None:
        for _ in range(8):
            outcomes.extend(
                catalog.flip([make_transaction(CALEXP, [visit(1)]), make_transaction(CALEXP, [visit(2)])])
            )
            found = catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"])
            other = catalog.find(CALEXP, DataId(visit(2)), ["u/ada/isr"])
            assert found is not None
            assert other is not None

    threads = [threading.Thread(target=work, args=(catalogs[number % 2],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given_versions = Counter(
        (outcome.refs[0].data_id["visit"], outcome.refs[0].version)
        for outcome in outcomes
        if isinstance(outcome, Committed)
    )
    assert given_versions == Counter((number, version) for number in (1, 2) for version in range(1, 49))
    for catalog in catalogs:
        catalog.close()


def test_create_only_commits_of_many_threads_have_one_winner(catalog: SqlCatalog) -> None:
    outcomes: list[object] = []

    def work() -> None:
        outcomes.extend(catalog.flip([make_transaction(CALEXP, [visit(1)], expect=0)]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CommitConflict"] * 7 + ["Committed"]


Members = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=2, unique=True),
        st.sampled_from([None, None, 0, 1, 2]),
        st.sampled_from([None, None, "k", "l"]),
    ),
    min_size=1,
    max_size=6,
)


def test_any_groups_are_decided_as_a_model_decides(sqlite_catalog: SqlCatalog) -> None:
    names = iter(range(10_000))

    @given(st.lists(Members, min_size=1, max_size=3))
    def check(groups: list[list[tuple[list[tuple[int, int]], int | None, str | None]]]) -> None:
        run = f"run{next(names)}"
        latest: dict[tuple[int, int], int] = {}
        keys: dict[str, set[tuple[int, int]]] = {}
        for group in groups:
            expected: list[object] = []
            for outputs, expect, key in group:
                if key in keys:
                    expected.append("reused" if keys[key] >= set(outputs) else "conflict")
                elif expect is not None and any(latest.get(output, 0) != expect for output in outputs):
                    expected.append("conflict")
                else:
                    if key is not None:
                        keys[key] = set(outputs)
                    for output in outputs:
                        latest[output] = latest.get(output, 0) + 1
                    expected.append([latest[output] for output in outputs])
            outcomes = sqlite_catalog.flip(
                [
                    make_transaction(
                        CALEXP, [visit(*output) for output in outputs], run=run, expect=expect, key=key
                    )
                    for outputs, expect, key in group
                ]
            )
            found: list[object] = []
            for outcome in outcomes:
                if isinstance(outcome, Committed):
                    found.append("reused" if outcome.reused else [ref.version for ref in outcome.refs])
                else:
                    found.append("conflict")
            assert found == expected

    check()
