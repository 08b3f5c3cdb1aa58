"""Very many rows of one table that are all new."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.registry._engine import Database

__all__ = ["NewRows"]


class NewRows:
    """Writes rows as they are made: none is kept, so that the interpreter does not look for garbage in them.

    On PostgreSQL they are copied: an INSERT of each takes the client nine times as long.

    Parameters
    ----------
    columns
        Of which each row has a value, in this order.
    same
        Columns that have the same value in all rows: constants of ours.
    """

    def __init__(
        self,
        database: Database,
        table: sa.Table,
        columns: tuple[str, ...],
        same: Mapping[str, str | int] | None = None,
    ) -> None:
        same = same or {}
        self._same = tuple(same.values())
        self._copies = database.rules.copies
        if self._copies:
            names = map(database.dialect.identifier_preparer.quote, (*columns, *same))
            where = database.dialect.identifier_preparer.format_table(table)
            self._sql = f"COPY {where} ({', '.join(names)}) FROM STDIN"
        else:
            self._sql = database.prepare(_insert, table, columns, tuple(same.items())).sql

    def write(self, connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows; errors are the driver's own."""
        cursor: Any = connection.connection.cursor()
        with contextlib.closing(cursor):
            if not self._copies:
                cursor.executemany(self._sql, rows)
                return
            with cursor.copy(self._sql) as copy:
                for row in rows:
                    copy.write_row(row + self._same)


def _insert(table: sa.Table, columns: tuple[str, ...], same: tuple[tuple[str, str | int], ...]) -> sa.Insert:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    constants: dict[str, Any] = {name: sa.literal_column(repr(value)) for name, value in same}
    return sa.insert(table).values({**values, **constants})
