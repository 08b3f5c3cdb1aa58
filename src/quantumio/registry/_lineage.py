"""Lineage: from what a dataset was made, and what was made from it, as commits have recorded it."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa

from quantumio.errors import InvalidInputError, NotFoundError, shown
from quantumio.ports import LineageEntry
from quantumio.registry._arguments import check_number, check_uuid
from quantumio.registry._engine import Database
from quantumio.registry._known_rows import KnownRow, known_rows, parts_of
from quantumio.registry._names import Names, NamesCache
from quantumio.registry._schema import TXN_INPUT, TXN_REQUIRES

__all__ = ["Lineages"]

_UP, _DOWN = "up", "down"


class Lineages:
    """Follows inputs and outputs, level by level; each look-up is by an index, and all see one moment."""

    def __init__(self, database: Database, names: NamesCache) -> None:
        self._database = database
        self._names = names

    def lineage(self, dataset_id: UUID, direction: str, depth: int | None) -> list[LineageEntry]:
        """Return all datasets up or down to a depth, the nearest first."""
        check_uuid(dataset_id, "dataset")
        if direction not in (_UP, _DOWN):
            raise InvalidInputError(f"direction={shown(direction)}", hint="use 'up' or 'down'")
        if depth is not None:
            depth = check_number(depth, "depth")
        return self._database.read(
            lambda connection: _Walk(connection, self._names.load(connection)).run(
                dataset_id, is_up=direction == _UP, depth=depth
            )
        )


class _Walk:
    """One walk; a transaction and a dataset are met once, where they are nearest."""

    def __init__(self, connection: sa.Connection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._entries: dict[UUID, LineageEntry] = {}
        self._transactions: set[UUID] = set()

    def run(self, start: UUID, *, is_up: bool, depth: int | None) -> list[LineageEntry]:
        made = self._rows("id", [start])
        readers = self._pairs(TXN_INPUT.c.dataset_id, TXN_INPUT.c.txid, [start])
        if not made and not readers:
            raise NotFoundError(f"there is no dataset {start}", hint="lineage is known of what was committed")
        frontier = {row.txid for row in made} if is_up else {txid for _, txid in readers}
        level = 1
        while frontier and (depth is None or level <= depth):
            self._transactions |= frontier
            ahead = self._up(frontier, level) if is_up else self._down(frontier, level)
            frontier = ahead - self._transactions
            level += 1
        self._entries.pop(start, None)
        return sorted(self._entries.values(), key=lambda entry: (entry.level, entry.id))

    def _up(self, frontier: set[UUID], level: int) -> set[UUID]:
        """Note what transactions have read; return those that made it, temporaries included."""
        read = self._pairs(TXN_INPUT.c.txid, TXN_INPUT.c.dataset_id, frontier)
        rows = {row.ref.id: row for row in self._rows("id", {id_ for _, id_ in read})}
        for via, id_ in read:
            self._note(id_, rows.get(id_), via, level)
        required = self._pairs(TXN_REQUIRES.c.txid, TXN_REQUIRES.c.upstream, frontier)
        return {row.txid for row in rows.values()} | {upstream for _, upstream in required}

    def _down(self, frontier: set[UUID], level: int) -> set[UUID]:
        """Note what transactions have made; return those that have read it, temporaries included."""
        rows = self._rows("txid", frontier)
        for row in rows:
            self._note(row.ref.id, row, row.txid, level)
        readers = self._pairs(TXN_INPUT.c.dataset_id, TXN_INPUT.c.txid, [row.ref.id for row in rows])
        requiring = self._pairs(TXN_REQUIRES.c.upstream, TXN_REQUIRES.c.txid, frontier)
        return {txid for _, txid in (*readers, *requiring)}

    def _note(self, id_: UUID, row: KnownRow | None, via: UUID, level: int) -> None:
        entry = LineageEntry(
            level=level,
            id=id_,
            via=via,
            ref=None if row is None else row.ref,
            txid=None if row is None else row.txid,
            is_removed=row is not None and row.removed_seq is not None,
        )
        self._entries.setdefault(id_, entry)

    def _rows(self, column: str, values: Collection[UUID]) -> list[KnownRow]:
        return list(known_rows(self._connection, self._names, column, values))

    def _pairs(
        self, key: sa.Column[UUID], value: sa.Column[UUID], wanted: Collection[UUID]
    ) -> list[tuple[UUID, UUID]]:
        found: list[tuple[UUID, UUID]] = []
        for part in parts_of(wanted):
            rows = self._connection.execute(sa.select(key, value).where(key.in_(part)))
            found += [(one, other) for one, other in rows]
        return found
