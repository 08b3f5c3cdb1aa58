"""The records of dimensions and relations, as they were inserted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.registry._arguments import check_bind
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._pages import OrderKey, Paged, pages
from quantumio.registry._past_names import there_at
from quantumio.registry._record_values import from_row
from quantumio.registry._scope import Scope
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where import Where, data_id_condition

__all__ = ["RecordQueries"]


class RecordQueries:
    """Queries over the records of one dimension or relation."""

    def __init__(self, database: Database, tables: Tables, sky: SkySearch) -> None:
        self._database = database
        self._tables = tables
        self._sky = sky

    def records(
        self,
        element: str,
        data_id: Mapping[str, Any],
        where: str | None,
        bind: Mapping[str, object],
        as_of: int | None = None,
    ) -> Iterator[dict[str, object]]:
        """Return the records of a dimension or relation, ordered by key, page by page."""
        definition = self._tables.universe.element(element)
        table = self._tables.record(element)
        columns: dict[str, sa.ColumnElement[Any]] = {
            name: table.table.c[table.fields[name]] for name in (*definition.record_keys, *definition.implies)
        }
        scope = Scope(
            self._tables, columns, records={element: table.table}, what=f"a record of {element}", as_of=as_of
        )
        conditions = data_id_condition(self._tables, scope, data_id)
        if where is not None:
            bind = check_bind(bind)
            test = Where(where, bind, self._database.rules, scope)
            conditions += map(test.condition, self._sky.resolve(parse(where), where, bind))
        statement = (
            sa.select(*table.table.c)
            .select_from(scope.joined(table.table))
            .where(*there_at(table.table, as_of), *conditions)
        )
        keys = [OrderKey(table.table.c[table.fields[key]]) for key in definition.record_keys]

        def fetch(page: sa.Select[Any], values: Mapping[str, Any]) -> list[Any]:
            return self._database.read(lambda connection: list(connection.execute(page, values)))

        names = [column.name for column in table.table.c]
        return (
            from_row(table, dict(zip(names, row, strict=False)))
            for page in pages(Paged(statement, keys), None, fetch)
            for row in page
        )
