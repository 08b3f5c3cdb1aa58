"""What one record says of the dimensions that it implies, by a prepared statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.registry._engine import Database
from quantumio.registry._universe_schema import RecordTable, Tables

__all__ = ["ImpliedValues"]


class ImpliedValues:
    """Looks up the values of implied dimensions."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    def of(self, element: str, keys: Mapping[str, int | str]) -> dict[str, int | str]:
        """Return the values that the record with these keys has; none where there is no record."""
        record = self._tables.record(element)
        statement = self._database.prepare(_statement, record)
        rows = self._database.fetch(statement, {record.fields[name]: value for name, value in keys.items()})
        names = record.element.implies
        return {
            name: value for row in rows for name, value in zip(names, row, strict=True) if value is not None
        }


def _statement(record: RecordTable) -> sa.Select[Any]:
    columns = record.table.c
    keys = [record.fields[key] for key in record.element.record_keys]
    return sa.select(*(columns[record.fields[name]] for name in record.element.implies)).where(
        *(columns[key] == sa.bindparam(key) for key in keys), columns.removed_seq.is_(None)
    )
