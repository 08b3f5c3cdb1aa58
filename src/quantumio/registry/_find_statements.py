"""The statements of look-ups, by dimension group: compiled once, only values change."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quantumio.ports import CollectionKind
from quantumio.registry._any_ids import any_of
from quantumio.registry._dialect import BIG_INTEGER, raw
from quantumio.registry._schema import ARTIFACT, CLOCK, DATASET, OBJECT, TXN
from quantumio.registry._universe_schema import GroupTables

__all__ = [
    "ARTIFACT_COLUMNS",
    "artifact_statement",
    "find_statement",
    "rows_statement",
    "type_statement",
    "version_numbers_statement",
    "versions_statement",
]

ARTIFACT_COLUMNS: Final = (
    ARTIFACT.c.position,
    ARTIFACT.c.store,
    sa.func.coalesce(OBJECT.c.path, ARTIFACT.c.table_name),
    ARTIFACT.c.format,
    ARTIFACT.c.digest,
    ARTIFACT.c.nbytes,
    ARTIFACT.c.load_id,
    ARTIFACT.c.state,
    ARTIFACT.c.member,
    ARTIFACT.c.offset,
)
_HEAD: Final = ("id", "run_id", "type_id", "v", "txid", "commit_seq")


def _same_data_id(group: GroupTables, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    return [table.c[column] == sa.bindparam(column) for column in group.columns.values()]


def _with_artifacts(rows: sa.FromClause, group: GroupTables) -> tuple[list[Any], sa.FromClause]:
    """Return the columns that `Finder` reads, and the joins that bring them to rows of a dataset table."""
    columns = [
        *(rows.c[name] for name in _HEAD),
        TXN.c.decided_at,
        *ARTIFACT_COLUMNS,
        *(rows.c[column] for column in group.columns.values()),
    ]
    joined = (
        rows.outerjoin(TXN, TXN.c.txid == rows.c.txid)
        .outerjoin(ARTIFACT, ARTIFACT.c.dataset_id == rows.c.id)
        .outerjoin(OBJECT, OBJECT.c.id == ARTIFACT.c.object_id)
    )
    return columns, joined


def _there(table: sa.FromClause, since: str, past: bool) -> list[sa.ColumnElement[bool]]:
    """Return conditions that a row is there: now, or in the ``past`` after the edit ``as_of``."""
    if not past:
        return [table.c.removed_seq.is_(None)]
    as_of = sa.bindparam("as_of", type_=BIG_INTEGER)
    return [table.c[since] <= as_of, sa.or_(table.c.removed_seq.is_(None), table.c.removed_seq > as_of)]


def find_statement(
    group: GroupTables, kind: CollectionKind, versioned: bool, past: bool = False
) -> sa.Select[Any]:
    """Return the statement that always gives a row: the counter of edits, and the dataset if there is one."""
    dataset = group.dataset
    wanted = sa.select(dataset).where(*_there(dataset, "commit_seq", past))
    if versioned:
        wanted = wanted.where(dataset.c.v == sa.bindparam("version"))
    if kind is CollectionKind.RUN:
        wanted = (
            wanted.where(
                dataset.c.run_id == sa.bindparam("collection_id"),
                dataset.c.type_id == sa.bindparam("type_id"),
            )
            .where(*_same_data_id(group, dataset))
            .order_by(dataset.c.v.desc())
            .limit(sa.literal_column("1"))
        )
    else:
        member = group.tag if kind is CollectionKind.TAGGED else group.calibration
        ids = sa.select(member.c.dataset_id).where(
            member.c.collection_id == sa.bindparam("collection_id"),
            member.c.type_id == sa.bindparam("type_id"),
            *_same_data_id(group, member),
            *_there(member, "added_seq", past),
        )
        if kind is CollectionKind.CALIBRATION:
            ids = ids.where(member.c.begin_ns < sa.bindparam("end"), member.c.end_ns > sa.bindparam("begin"))
        wanted = wanted.where(dataset.c.id.in_(ids))
    rows = wanted.subquery("found")
    columns, joined = _with_artifacts(rows, group)
    return (
        sa.select(CLOCK.c.edits, *columns)
        .select_from(CLOCK.outerjoin(joined, sa.true()))
        .where(CLOCK.c.id == sa.literal_column("1"))
    )


def versions_statement(group: GroupTables, past: bool = False) -> sa.Select[Any]:
    dataset = group.dataset
    columns, joined = _with_artifacts(dataset, group)
    return (
        sa.select(*columns)
        .select_from(joined)
        .where(
            dataset.c.run_id == sa.bindparam("collection_id"),
            dataset.c.type_id == sa.bindparam("type_id"),
            *_same_data_id(group, dataset),
            *_there(dataset, "commit_seq", past),
        )
    )


def version_numbers_statement(group: GroupTables) -> sa.Select[Any]:
    dataset = group.dataset
    return (
        sa.select(dataset.c.v)
        .where(
            dataset.c.run_id == sa.bindparam("collection_id"),
            dataset.c.type_id == sa.bindparam("type_id"),
            *_same_data_id(group, dataset),
        )
        .order_by(dataset.c.v)
    )


def artifact_statement(dataset_id: Any, store: str) -> sa.Select[Any]:
    """Return the statement that reads one artifact, as the driver gives it."""
    return (
        sa.select(*map(raw, ARTIFACT_COLUMNS))
        .select_from(ARTIFACT.outerjoin(OBJECT, OBJECT.c.id == ARTIFACT.c.object_id))
        .where(raw(ARTIFACT.c.dataset_id) == dataset_id, ARTIFACT.c.store == store)
    )


def type_statement(size: int) -> sa.Select[Any]:
    return sa.select(DATASET.c.id, DATASET.c.type_id).where(any_of(DATASET.c.id, size))


def rows_statement(group: GroupTables, size: int, past: bool = False) -> sa.Select[Any]:
    columns, joined = _with_artifacts(group.dataset, group)
    return (
        sa.select(*columns)
        .select_from(joined)
        .where(any_of(group.dataset.c.id, size), *_there(group.dataset, "commit_seq", past))
    )
