"""Names of dataset types and collections as they were at an earlier moment."""

from __future__ import annotations

import json
from typing import Any, Final

import sqlalchemy as sa

from quantumio.model import DatasetType
from quantumio.ports import CollectionKind
from quantumio.registry._names import Collection, Names, TypeEntry
from quantumio.registry._schema import CHAIN, CLOCK, COLLECTION, COLLECTION_LIFE, DATASET_TYPE
from quantumio.registry._universe_schema import Tables

__all__ = ["PastNames", "there_at"]

_KEPT: Final = 64


def there_at(
    table: sa.FromClause, seq: int | sa.BindParameter[int] | None, since: str = "added_seq"
) -> list[sa.ColumnElement[bool]]:
    """Return conditions that a row was there after the edit or commit ``seq``; None: that it is there now."""
    if seq is None:
        return [table.c.removed_seq.is_(None)]
    return [table.c[since] <= seq, sa.or_(table.c.removed_seq.is_(None), table.c.removed_seq > seq)]


class PastNames:
    """The names at earlier moments; what is past never changes, so that the last ones asked for are kept."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._kept: dict[int, Names] = {}

    def load(self, connection: sa.Connection, seq: int) -> Names:
        """Return all names as they were after the edit or commit ``seq``, which is over."""
        names = self._kept.get(seq)
        if names is None:
            names = self._read(connection, seq)
            # A new dictionary: other threads may look into the old one.
            self._kept = {**dict(list(self._kept.items())[1 - _KEPT :]), seq: names}
        return names

    def _read(self, connection: sa.Connection, seq: int) -> Names:
        edits = connection.execute(sa.select(CLOCK.c.edits).where(CLOCK.c.id == 1)).scalar_one()
        types = {}
        columns = DATASET_TYPE.c
        for number, name, dimensions, storage_class in connection.execute(
            sa.select(columns.id, columns.name, columns.dimensions, columns.storage_class).where(
                columns.added_seq <= seq
            )
        ):
            dataset_type = DatasetType(name, dimensions=json.loads(dimensions), storage_class=storage_class)
            types[name] = TypeEntry(number, dataset_type, self._tables.group(dataset_type.dimensions))
        children: dict[int, list[int]] = {}
        for parent, child in connection.execute(
            sa.select(CHAIN.c.collection_id, CHAIN.c.child_id)
            .where(*there_at(CHAIN, seq))
            .order_by(CHAIN.c.collection_id, CHAIN.c.position)
        ):
            children.setdefault(parent, []).append(child)
        collections: dict[str, Collection] = {}
        by_id: dict[int, Collection] = {}
        for number, name, kind, lives in self._lives(connection, seq):
            entry = Collection(number, name, CollectionKind(kind), tuple(children.get(number, ())))
            if lives:
                collections[name] = by_id[number] = entry
            else:
                by_id.setdefault(number, entry)
        return Names(edits, types, {entry.id: entry for entry in types.values()}, collections, by_id)

    def _lives(self, connection: sa.Connection, seq: int) -> list[Any]:
        """Return each life of each name, with whether it was going on."""
        now = sa.select(
            COLLECTION.c.id, COLLECTION.c.name, COLLECTION.c.kind, sa.and_(*there_at(COLLECTION, seq))
        )
        before = sa.select(
            COLLECTION.c.id,
            COLLECTION.c.name,
            COLLECTION_LIFE.c.kind,
            sa.and_(*there_at(COLLECTION_LIFE, seq)),
        ).join(COLLECTION_LIFE, COLLECTION_LIFE.c.collection_id == COLLECTION.c.id)
        return [*connection.execute(now), *connection.execute(before)]
