"""Rows of one table that are new: statements whose values come in a known order, and rows by the million."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.errors import InternalError
from quantumio.registry._engine import Database
from quantumio.registry._prepared import Prepared

__all__ = ["NewRows", "in_order", "insert_statement"]

_Same = tuple[tuple[str, str | int], ...]


def insert_statement(
    database: Database, table: sa.Table, columns: tuple[str, ...], same: _Same = ()
) -> Prepared:
    """Return an INSERT whose values come in the order of ``columns``; ``same`` are constants of ours."""
    return in_order(database.prepare(_insert, table, columns, same), columns)


def in_order(statement: Prepared, columns: tuple[str, ...]) -> Prepared:
    """Assure that a statement takes its values in this order."""
    if statement.order != columns:
        raise InternalError(f"a statement takes {statement.order}, not {columns}")
    return statement


def _insert(table: sa.Table, columns: tuple[str, ...], same: _Same) -> sa.Insert:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    constants: dict[str, Any] = {name: sa.literal_column(repr(value)) for name, value in same}
    return sa.insert(table).values({**values, **constants})


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
        self._database = database
        self._same = tuple(same.values())
        self._insert = insert_statement(database, table, columns, tuple(same.items()))
        names = map(database.dialect.identifier_preparer.quote, (*columns, *same))
        where = database.dialect.identifier_preparer.format_table(table)
        self._copy = f"COPY {where} ({', '.join(names)}) FROM STDIN"

    def write(self, connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows; errors are the driver's own."""
        if not self._database.rules.copies:
            self._database.execute_each(connection, self._insert, rows)
            return
        cursor: Any = connection.connection.cursor()
        with contextlib.closing(cursor), cursor.copy(self._copy) as copy:
            for row in rows:
                copy.write_row(row + self._same)
