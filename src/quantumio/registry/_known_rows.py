"""Rows of datasets with all that they say, removed ones too: what history and deletion work with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.model import DataId, DatasetRef
from quantumio.registry._names import Names
from quantumio.registry._removals import groups_of
from quantumio.registry._schema import DATASET
from quantumio.registry._universe_schema import GroupTables

__all__ = ["KnownRow", "known_rows", "parts_of", "removed_of", "rows_where"]

_CHUNK = 500


@frozen(eq=False)
class KnownRow:
    """One dataset that was committed at some time, and the tables of its dimensions."""

    ref: DatasetRef
    txid: UUID
    commit_seq: int
    removed_seq: int | None
    group: GroupTables

    def is_there_at(self, seq: int) -> bool:
        """Whether the dataset was there after a commit or edit."""
        return self.commit_seq <= seq and (self.removed_seq is None or seq < self.removed_seq)


def known_rows(
    connection: sa.Connection, names: Names, column: str, values: Collection[UUID]
) -> Iterator[KnownRow]:
    """Yield the datasets whose ``id`` or ``txid`` is one of the values."""
    for part in parts_of(values):
        groups = _groups_with(connection, names, part) if column == "id" else groups_of(names)
        for group in groups:
            yield from rows_where(connection, names, group, group.dataset.c[column].in_(part))


def _groups_with(connection: sa.Connection, names: Names, ids: list[UUID]) -> Iterator[GroupTables]:
    """Yield the tables of the dimension groups that datasets are in: most are in one of them."""
    statement = sa.select(DATASET.c.type_id).where(DATASET.c.id.in_(ids)).distinct()
    found = [names.types_by_id[type_id].group for type_id in connection.execute(statement).scalars()]
    yield from {group.dimensions: group for group in found}.values()


def rows_where(
    connection: sa.Connection, names: Names, group: GroupTables, condition: sa.ColumnElement[bool]
) -> Iterator[KnownRow]:
    """Yield the datasets of one dimension group that meet a condition."""
    table = group.dataset
    head = (table.c[name] for name in ("id", "type_id", "run_id", "v", "txid", "commit_seq", "removed_seq"))
    statement = sa.select(*head, *(table.c[name] for name in group.columns.values())).where(condition)
    for id_, type_id, run_id, version, txid, commit_seq, removed_seq, *keys in connection.execute(statement):
        ref = DatasetRef(
            id_,
            names.types_by_id[type_id].type,
            DataId(dict(zip(group.dimensions, keys, strict=True))),
            names.collections_by_id[run_id].name,
            version,
        )
        yield KnownRow(ref, txid, commit_seq, removed_seq, group)


def removed_of(connection: sa.Connection, names: Names, ids: Collection[UUID]) -> set[UUID]:
    """Return those of the datasets that were committed once, and are there no more."""
    return {row.ref.id for row in known_rows(connection, names, "id", ids) if row.removed_seq is not None}


def parts_of(values: Collection[UUID]) -> Iterator[list[UUID]]:
    """Yield values, as many at a time as a statement takes."""
    ordered = list(values)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
