"""What was there at an earlier moment is what was found then."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from astropy.time import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, Timespan
from quantumio.ports import CollectionKind, DatasetQuery, MemberQuery
from quantumio.registry import SqlCatalog
from quantumio.registry._schema import COLLECTION, COLLECTION_LIFE, SNAPSHOT
from tests.unit.registry.conftest import FLAT, Commit

COLLECTIONS = ("u/a", "u/b", "good", "calib", "chain")
RANGES = st.tuples(st.integers(0, 3), st.integers(1, 3)).map(lambda pair: Timespan(pair[0], sum(pair)))
NUMBERS = st.integers(0, 1)
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(("u/a", "u/b")), NUMBERS),
    st.tuples(st.just("associate"), NUMBERS),
    st.tuples(st.just("disassociate"), NUMBERS),
    st.tuples(st.just("certify"), NUMBERS, RANGES),
    st.tuples(st.just("decertify"), RANGES),
    st.tuples(st.just("chain"), st.lists(st.sampled_from(COLLECTIONS[:4]), max_size=3)),
    st.tuples(st.just("remove"), NUMBERS),
)


def flat(detector: int) -> dict[str, int | str]:
    return {"instrument": "ST8", "physical_filter": "R", "detector": detector}


def seq_now(catalog: SqlCatalog) -> int:
    return catalog.moment((1 << 63) - 1)


def state(catalog: SqlCatalog, as_of: int | None) -> list[Any]:
    """Return all that a registry can be asked for."""
    answers: list[Any] = []
    for collection in COLLECTIONS:
        for detector in (0, 1):
            data_id = DataId(flat(detector))
            try:
                found: Any = catalog.find(FLAT, data_id, [collection], timespan=Timespan(1, 3), as_of=as_of)
                answers.append(None if found is None else found.ref)
            except (ConflictError, NotFoundError) as error:
                answers.append(error.kind)
            answers.append([one.ref for one in catalog.versions(FLAT, data_id, collection, as_of=as_of)])
    for names in (("good",), ("chain",), None):
        query = DatasetQuery(dataset_types=("flat",), collections=names, as_of=as_of)
        try:
            answers.append([stored.ref for stored in catalog.query(query)])
        except NotFoundError as error:
            answers.append(error.kind)
        else:
            assert catalog.count(query) == len(answers[-1])
            assert catalog.any(query) is bool(answers[-1])
    if as_of is not None:
        answers.append(sorted(catalog.collection_names(as_of)))
    else:
        answers.append(sorted(record.name for record in catalog.collections()))
    return answers


def remove(catalog: SqlCatalog, ref: DatasetRef) -> None:
    """Let a dataset be removed, its row stays."""
    table = catalog._tables.group(FLAT.normalised(catalog.universe).dimensions).dataset
    with catalog._database.edit("removing") as connection:
        edit = catalog._clock.advance(connection)
        connection.execute(sa.update(table).where(table.c.id == ref.id).values(removed_seq=edit.seq))


def apply(catalog: SqlCatalog, commit: Commit, operation: Any, refs: dict[int, DatasetRef]) -> None:
    match operation:
        case ("put", run, detector):
            (refs[detector],) = commit(FLAT, [flat(detector)], run=run)
        case ("associate", detector) if detector in refs:
            catalog.associate("good", [refs[detector]])
        case ("disassociate", detector) if detector in refs:
            catalog.disassociate("good", [refs[detector]])
        case ("certify", detector, span) if detector in refs:
            catalog.certify("calib", [refs[detector]], span)
        case ("decertify", span):
            catalog.decertify("calib", "flat", span)
        case ("chain", children):
            catalog.set_chain("chain", children)
        case ("remove", detector) if detector in refs:
            remove(catalog, refs.pop(detector))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=6))
def test_every_earlier_moment_answers_as_it_did_then(
    catalog: SqlCatalog, commit: Commit, operations: list[Any]
) -> None:
    refs: dict[int, DatasetRef] = {}
    then = {seq_now(catalog): state(catalog, None)}
    for operation in operations:
        with contextlib.suppress(ConflictError, NotFoundError):  # then it changed nothing
            apply(catalog, commit, operation, refs)
        then[seq_now(catalog)] = state(catalog, None)
    for seq, answers in then.items():
        assert state(catalog, seq) == answers, seq


def test_lives_of_a_name_are_told_apart(catalog: SqlCatalog, commit: Commit) -> None:
    before = seq_now(catalog)
    catalog.register_collection("u/x", CollectionKind.TAGGED)
    first = seq_now(catalog)
    with catalog._database.edit("removing") as connection:
        edit = catalog._clock.advance(connection, names=True)
        row = connection.execute(sa.select(COLLECTION).where(COLLECTION.c.name == "u/x")).one()
        connection.execute(
            sa.insert(COLLECTION_LIFE).values(
                collection_id=row.id, kind=row.kind, added_seq=row.added_seq, removed_seq=edit.seq
            )
        )
        again = catalog._clock.advance(connection, names=True)
        connection.execute(
            sa.update(COLLECTION)
            .where(COLLECTION.c.id == row.id)
            .values(kind="CHAINED", added_seq=again.seq, removed_seq=None)
        )
    assert "u/x" not in catalog.collection_names(before)
    assert "u/x" in catalog.collection_names(first)
    assert "u/x" not in catalog.collection_names(edit.seq)
    assert "u/x" in catalog.collection_names(again.seq)
    names = catalog._moments.names
    assert names(first).collections["u/x"].kind is CollectionKind.TAGGED
    assert names(again.seq).collections["u/x"].kind is CollectionKind.CHAINED
    assert names(edit.seq).collections_by_id[row.id].name == "u/x"


def test_moments_are_numbers_times_and_snapshots(catalog: SqlCatalog, commit: Commit) -> None:
    commit(FLAT, [flat(0)])
    seq = seq_now(catalog)
    soon = datetime.now(UTC) + timedelta(days=1)
    for moment in (seq, soon, Time(soon), Time(soon).tai):
        assert catalog.seq_of(moment) == seq
    for early in (0, datetime(1990, 1, 1, tzinfo=UTC), Time("1990-01-01")):
        assert catalog.seq_of(early) == 0
    with catalog._database.edit("naming") as connection:
        values = {"name": "dr1", "seq": seq - 1, "note": "", "created_ns": 0, "added_seq": seq}
        connection.execute(sa.insert(SNAPSHOT).values(values))
    assert catalog.seq_of("dr1") == seq - 1
    for name in ("dr2", "'; DROP TABLE txn; --", "a\0b", "\ud800", ""):
        with pytest.raises(NotFoundError, match="no snapshot") as missing:
            catalog.seq_of(name)
        assert missing.value.kind is ErrorKind.MOMENT
    wrong: list[Any] = [
        -1,
        seq + 100,
        1 << 70,
        True,
        1.5,
        None,
        b"x",
        [],
        Time(["2020-01-01"]),
        datetime(2020, 1, 1),
    ]
    for value in wrong:
        with pytest.raises(InvalidInputError) as error:
            catalog.seq_of(value)
        assert error.value.kind is ErrorKind.MOMENT
    ref = next(catalog.refs(DatasetQuery()))
    for value in (*wrong[:5], float(seq), seq + 100):
        for ask in (
            lambda query: catalog.count(query),
            lambda query: catalog.refs(query),
            lambda query: catalog.columns(query),
            lambda query: catalog.page(query, 5),
            lambda query: catalog.stored([ref.id], as_of=query.as_of),
            lambda query: catalog.versions(FLAT, ref.data_id, ref.run, as_of=query.as_of),
            lambda query: catalog.find(FLAT, ref.data_id, [ref.run], as_of=query.as_of),
            lambda query: catalog.members(
                MemberQuery(kind=CollectionKind.TAGGED, collections=("*",), as_of=query.as_of)
            ),
        ):
            with pytest.raises(InvalidInputError) as error:
                ask(DatasetQuery(as_of=value))
            assert error.value.kind is ErrorKind.MOMENT
    with pytest.raises(InvalidInputError):
        catalog.find(FLAT, DataId(flat(0)), [], as_of=seq + 100)


def test_calibrations_of_then_decide_what_is_searched(catalog: SqlCatalog, commit: Commit) -> None:
    before = seq_now(catalog)
    refs = commit(FLAT, [flat(0)])
    catalog.certify("calib", refs, Timespan())
    assert catalog.searches_calibrations(["calib", "nothing"])
    assert not catalog.searches_calibrations(["calib", "nothing"], before)
