"""Rows of one table that are new: statements whose values come in a known order, and rows by the million."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import InternalError
from quantumio.registry._dialect import BIG_INTEGER, BINARY_UUID, TEXT
from quantumio.registry._engine import Database
from quantumio.registry._prepared import Prepared

__all__ = ["NewRows", "in_order", "insert_statement"]

_TOGETHER: Final = 256
_MOST_VALUES: Final = 32_000
"""SQLite takes 32,766 in a statement."""

_POSTGRESQL_TYPES: Final = {type(BIG_INTEGER): "int8", type(TEXT): "text", type(BINARY_UUID): "uuid"}


def insert_statement(database: Database, table: sa.Table, columns: tuple[str, ...]) -> Prepared:
    """Return an INSERT whose values come in the order of ``columns``."""
    return in_order(database.prepare(_insert, table, columns), columns)


def in_order(statement: Prepared, columns: tuple[str, ...]) -> Prepared:
    """Assure that a statement takes its values in this order."""
    if statement.order != columns:
        raise InternalError(f"a statement takes {statement.order}, not {columns}")
    return statement


def _insert(table: sa.Table, columns: tuple[str, ...]) -> sa.Insert:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    return sa.insert(table).values(values)


class NewRows:
    """Writes many rows that are given column by column.

    SQLite is given some hundred rows by one statement, whose values are numbered: what all of them share is
    bound once, and the database goes on where the last row is instead of looking for the place of each. No
    object is made for a row, in which the interpreter would look for garbage. PostgreSQL copies them: an
    INSERT of each takes the client nine times as long.

    Parameters
    ----------
    each
        Columns of which each row has a value of its own.
    same
        Columns that have one value in all rows that are written together.
    """

    def __init__(
        self, database: Database, table: sa.Table, each: tuple[str, ...], same: tuple[str, ...]
    ) -> None:
        self._copies = database.rules.copies
        self._each, self._same = len(each), len(same)
        where = database.dialect.identifier_preparer.format_table(table)
        names = ", ".join(map(database.dialect.identifier_preparer.quote, (*same, *each)))
        if self._copies:
            self._copy = f"COPY {where} ({names}) FROM STDIN (FORMAT BINARY)"
            self._types = [_POSTGRESQL_TYPES[type(table.c[name].type)] for name in (*same, *each)]
            return
        self._together = min(_TOGETHER, _MOST_VALUES // len(each))
        self._one = f"INSERT INTO {where} ({names}) VALUES {self._marks(0)}"  # noqa: S608  quoted names alone
        self._some = ", ".join([self._one, *map(self._marks, range(1, self._together))])

    def write(self, connection: sa.Connection, each: Sequence[Sequence[Any]], same: Sequence[Any]) -> None:
        """Write as many rows as the columns are long; errors are the driver's own.

        Parameters
        ----------
        each
            The columns of which each row has a value of its own, all of one length.
        same
            The values that all rows have in common.
        """
        cursor: Any = connection.connection.cursor()
        with contextlib.closing(cursor):
            if self._copies:
                common = tuple(same)
                with cursor.copy(self._copy) as copy:
                    copy.set_types(self._types)
                    for row in zip(*each, strict=True):
                        copy.write_row(common + row)
                return
            count = len(each[0])
            rest = count - count % self._together
            cursor.executemany(self._some, self._parts(each, same, range(0, rest, self._together)))
            cursor.executemany(self._one, self._parts(each, same, range(rest, count)))

    def _marks(self, row: int) -> str:
        same = range(1, self._same + 1)
        first = self._same + 1 + row * self._each
        return f"({', '.join(f'?{number}' for number in (*same, *range(first, first + self._each)))})"

    def _parts(
        self, each: Sequence[Sequence[Any]], same: Sequence[Any], starts: range
    ) -> Iterator[Sequence[Any]]:
        """Yield the values of one statement after the other, in the same list."""
        values = [*same, *([None] * (starts.step * self._each))]
        for start in starts:
            for place, column in enumerate(each, self._same):
                values[place :: self._each] = column[start : start + starts.step]
            yield values
