"""Collections that are there no more."""

from __future__ import annotations

from fnmatch import fnmatchcase

import sqlalchemy as sa

from quantumio.errors import ErrorKind
from quantumio.ports import CollectionKind, RemovedCollection
from quantumio.registry._arguments import check_name
from quantumio.registry._engine import Database
from quantumio.registry._schema import CHAIN, COLLECTION, COLLECTION_LIFE, MOMENT

__all__ = ["PastCollections"]


class PastCollections:
    """Tells of removed collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def removed(self, pattern: str) -> list[RemovedCollection]:
        """Return those whose name matches the glob, by name and time."""
        check_name(pattern, "glob of collections", ErrorKind.COLLECTION)
        return self._database.read(lambda connection: _removed(connection, pattern))


def _removed(connection: sa.Connection, pattern: str) -> list[RemovedCollection]:
    lives = sa.union_all(
        sa.select(COLLECTION.c.id, COLLECTION.c.name, COLLECTION.c.kind, COLLECTION.c.removed_seq).where(
            COLLECTION.c.removed_seq.is_not(None)
        ),
        sa.select(COLLECTION.c.id, COLLECTION.c.name, COLLECTION_LIFE.c.kind, COLLECTION_LIFE.c.removed_seq)
        .select_from(COLLECTION)
        .join(COLLECTION_LIFE, COLLECTION_LIFE.c.collection_id == COLLECTION.c.id),
    ).subquery("lives")
    # Of edits that took several numbers the last one has the time.
    later = MOMENT.alias("later")
    when = sa.select(sa.func.min(later.c.seq)).where(later.c.seq >= lives.c.removed_seq).scalar_subquery()
    statement = sa.select(lives, MOMENT.c.decided_ns).select_from(lives).join(MOMENT, MOMENT.c.seq == when)
    found = [row for row in connection.execute(statement) if fnmatchcase(row.name, pattern)]
    children = _children(connection, lives)
    return [
        RemovedCollection(
            name=row.name,
            kind=CollectionKind(row.kind),
            removed_seq=row.removed_seq,
            removed_ns=row.decided_ns,
            children=tuple(children.get((row.id, row.removed_seq), ())),
        )
        for row in sorted(found, key=lambda row: (row.name, row.removed_seq))
    ]


def _children(connection: sa.Connection, lives: sa.Subquery) -> dict[tuple[int, int], list[str]]:
    """Return what chains searched until they were removed, by chain and edit."""
    child = COLLECTION.alias("child")
    children: dict[tuple[int, int], list[str]] = {}
    for chain, seq, name in connection.execute(
        sa.select(CHAIN.c.collection_id, CHAIN.c.removed_seq, child.c.name)
        .select_from(CHAIN)
        .join(child, child.c.id == CHAIN.c.child_id)
        .join(lives, sa.and_(lives.c.id == CHAIN.c.collection_id, lives.c.removed_seq == CHAIN.c.removed_seq))
        .order_by(CHAIN.c.collection_id, CHAIN.c.position)
    ):
        children.setdefault((chain, seq), []).append(name)
    return children
