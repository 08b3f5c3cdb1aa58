"""Statements that are compiled once in a process, and how they are run on a connection of the driver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

__all__ = ["Fetch", "Prepared", "prepared", "run_prepared"]

Fetch = Callable[["Prepared", Mapping[str, Any]], "list[Any]"]
"""Runs a prepared statement and returns its rows."""


class Prepared:
    """A statement compiled once, for paths where compiling or looking it up would cost more than running it.

    Only values are bound when it runs; they are those that the driver takes (`Rules.uuid_in`).
    """

    __slots__ = ("_defaults", "order", "sql")

    def __init__(self, statement: sa.Executable, dialect: sa.Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.sql: str = compiled.string
        self.order: tuple[str, ...] = tuple(compiled.positiontup)
        self._defaults: dict[str, Any] = {
            name: value for name, value in compiled.params.items() if value is not None
        }

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values in the order of their places."""
        defaults = self._defaults
        return tuple([given[name] if name in given else defaults[name] for name in self.order])


@functools.lru_cache(maxsize=1024)
def prepared(dialect: sa.Dialect, make: Callable[..., sa.Executable], *arguments: Any) -> Prepared:
    """Return a statement that a function makes, compiled: once for all registries of a dialect."""
    return Prepared(make(*arguments), dialect)


def run_prepared(cursor: Any, statement: Prepared, values: Mapping[str, Any]) -> list[Any]:
    """Run a statement and return its rows; the cursor is closed."""
    try:
        cursor.execute(statement.sql, statement.values(values))
        return cursor.fetchall()  # type: ignore[no-any-return]
    finally:
        cursor.close()
