"""Collections begin, end and live again: a name keeps its number for ever."""

from __future__ import annotations

import sqlalchemy as sa

from quantumio.ports import CollectionKind
from quantumio.registry._names import Collection, Edit, Names
from quantumio.registry._schema import COLLECTION, COLLECTION_LIFE

__all__ = ["insert_collection", "revive"]


def insert_collection(
    connection: sa.Connection, names: Names, edit: Edit, name: str, kind: CollectionKind
) -> Collection:
    """Make a collection in a write transaction whose edit counts as one of names."""
    if (before := names.once(name)) is not None:
        made = Collection(before.id, name, kind)
        revive(connection, made, edit)
        return made
    made = Collection(max(names.collections_by_id, default=0) + 1, name, kind)
    connection.execute(
        sa.insert(COLLECTION), {"id": made.id, "name": name, "kind": str(kind), "added_seq": edit.seq}
    )
    return made


def revive(connection: sa.Connection, collection: Collection, edit: Edit) -> None:
    """Begin another life of a collection that was removed; the one before is kept for history."""
    row = COLLECTION.c.id == collection.id
    life = ("kind", "added_seq", "removed_seq")
    connection.execute(
        sa.insert(COLLECTION_LIFE).from_select(
            ["collection_id", *life],
            sa.select(COLLECTION.c.id, *(COLLECTION.c[name] for name in life)).where(row),
        )
    )
    connection.execute(
        sa.update(COLLECTION)
        .where(row)
        .values(kind=str(collection.kind), added_seq=edit.seq, removed_seq=None)
    )
