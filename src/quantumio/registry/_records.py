"""What dimension records say: the records themselves, and the data IDs that exist because of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, Dimension
from quantumio.registry._arguments import check_bind, check_names
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._pages import OrderKey, pages
from quantumio.registry._record_values import from_row
from quantumio.registry._scope import Scope
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where import Where, data_id_condition

__all__ = ["RecordQueries"]


class RecordQueries:
    """Queries over dimension records alone."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    def _fetch(self, statement: sa.Select[*tuple[Any, ...]]) -> list[Any]:
        return self._database.read(lambda connection: list(connection.execute(statement)))

    def _conditions(
        self, scope: Scope, data_id: Mapping[str, Any], where: str | None, bind: Mapping[str, object]
    ) -> list[sa.ColumnElement[bool]]:
        conditions = data_id_condition(self._tables, scope, data_id)
        if where is not None:
            conditions.append(
                Where(where, check_bind(bind), self._database.rules, scope).condition(parse(where))
            )
        return conditions

    # -- records
    def records(
        self, element: str, data_id: Mapping[str, Any], where: str | None, bind: Mapping[str, object]
    ) -> Iterator[dict[str, object]]:
        """Return the records of a dimension or relation, ordered by key, page by page."""
        definition = self._tables.universe.element(element)
        table = self._tables.record(element)
        columns: dict[str, sa.ColumnElement[Any]] = {
            name: table.table.c[table.fields[name]] for name in (*definition.record_keys, *definition.implies)
        }
        scope = Scope(self._tables, columns, records={element: table.table}, what=f"a record of {element}")
        conditions = self._conditions(scope, data_id, where, bind)
        statement = (
            sa.select(*table.table.c)
            .select_from(scope.joined(table.table))
            .where(table.table.c.removed_seq.is_(None), *conditions)
        )
        keys = [OrderKey(table.table.c[table.fields[key]]) for key in definition.record_keys]
        found = pages(statement, keys, None, self._fetch)
        names = [column.name for column in table.table.c]
        return (from_row(table, dict(zip(names, row, strict=False))) for page in found for row in page)

    # -- data IDs
    def data_ids(
        self,
        dimensions: Sequence[str],
        data_id: Mapping[str, Any],
        where: str | None,
        bind: Mapping[str, object],
    ) -> list[DataId]:
        """Return the data IDs over the dimensions that exist as records, in order."""
        wanted = self._tables.universe.required(check_names(dimensions, "dimension", ErrorKind.DIMENSION))
        self._check_families(wanted)
        if not wanted:
            return [DataId({})]
        joined = _Join(self._tables, wanted, self._counts(wanted))
        scope = Scope(
            self._tables, joined.columns, records=joined.records, what=f"a data ID over {', '.join(wanted)}"
        )
        conditions = self._conditions(scope, data_id, where, bind)
        columns = [joined.columns[name] for name in wanted]
        statement = (
            sa.select(*columns)
            .select_from(scope.joined(joined.source))
            .where(*joined.conditions, *conditions)
        )
        rows = self._fetch(statement.distinct().order_by(*columns))
        return [DataId(dict(zip(wanted, row, strict=True))) for row in rows]

    def _check_families(self, wanted: Sequence[str]) -> None:
        families = {family: name for name in wanted if (family := self._tables.universe[name].spatial)}
        if len(families) > 1:
            raise InvalidInputError(
                f"{' and '.join(families.values())} are related by overlap on the sky, "
                "which this version of quantumio cannot join",
                hint="ask for each of them alone",
                kind=ErrorKind.DIMENSION,
            )

    def _counts(self, wanted: Sequence[str]) -> dict[str, bool]:
        """Tell of each dimension and relation over these dimensions whether it has records."""
        names = [
            element.name
            for element in self._tables.universe.values()
            if set(element.record_keys) <= set(wanted)
        ]
        exists = [
            sa.exists(
                sa.select(sa.literal_column("1")).select_from(table).where(table.c.removed_seq.is_(None))
            )
            for table in (self._tables.record(name).table for name in names)
        ]
        (row,) = self._fetch(sa.select(*(test.label(f"has_{index}") for index, test in enumerate(exists))))
        return {name: bool(has) for name, has in zip(names, row, strict=True)}


class _Join:
    """Record tables joined on their shared keys, until every dimension has a column."""

    def __init__(self, tables: Tables, wanted: tuple[str, ...], has_records: Mapping[str, bool]) -> None:
        self._tables = tables
        self._has_records = has_records
        self.columns: dict[str, sa.ColumnElement[Any]] = {}
        self.records: dict[str, sa.FromClause] = {}
        self.conditions: list[sa.ColumnElement[bool]] = []
        self._source: sa.FromClause | None = None
        relations = [element for element in tables.universe.values() if self._relates(element, wanted)]
        required = {key for name in wanted for key in tables.universe[name].requires}
        implied = {name for other in wanted if has_records[other] for name in tables.universe[other].implies}
        # What another dimension's records carry needs no records of its own.
        leaves = [name for name in wanted if name not in required and name not in implied]
        twins = _twins(tables, relations, has_records)
        for name in sorted(leaves, key=lambda leaf: -len(tables.universe[leaf].requires)):
            if name in twins and not has_records[name]:
                continue  # its number is that of its twin
            self._add(tables.universe[name], wanted)
        for relation in relations:
            if has_records[relation.name]:
                self._add(relation, wanted)
        for name, twin in twins.items():
            self._pair(name, twin)

    @property
    def source(self) -> sa.FromClause:
        """The joined tables."""
        assert self._source is not None
        return self._source

    def _relates(self, element: Dimension, wanted: Sequence[str]) -> bool:
        return element.is_relation and set(element.record_keys) <= set(wanted)

    def _add(self, element: Dimension, wanted: Sequence[str]) -> None:
        if not self._has_records[element.name]:
            raise InvalidInputError(
                f"no records of dimension {element.name!r} were inserted, so its data IDs are not known",
                hint=f"insert_dimension({element.name!r}, [...])",
                kind=ErrorKind.DIMENSION,
            )
        table = self._tables.record(element.name)
        alias = table.table.alias(f"of_{len(self.records)}")
        shared: list[sa.ColumnElement[bool]] = [alias.c.removed_seq.is_(None)]
        for name in (*element.record_keys, *(implied for implied in element.implies if implied in wanted)):
            column = alias.c[table.fields[name]]
            if name in self.columns:
                shared.append(column == self.columns[name])
            else:
                self.columns[name] = column
                self.conditions.append(column.is_not(None))
        self.records[element.name] = alias
        if self._source is None:
            self._source = alias
            self.conditions += shared
        else:
            self._source = self._source.join(alias, sa.and_(*shared))

    def _pair(self, name: str, twin: str) -> None:
        if name in self.columns and twin in self.columns:
            self.conditions.append(self.columns[name] == self.columns[twin])
        else:  # it was left out for its twin
            self.columns[name] = self.columns[twin]


def _twins(tables: Tables, relations: Sequence[Dimension], has_records: Mapping[str, bool]) -> dict[str, str]:
    """Return pairs of dimensions that a relation without records relates one to one by their values.

    Exposure and visit are such a pair (`visit_definition`). The one that may lack records comes first.
    """
    twins = {}
    for relation in relations:
        if has_records[relation.name] or relation.spatial:
            continue
        needed = {key for name in relation.requires for key in tables.universe[name].requires}
        first, second = (name for name in relation.requires if name not in needed)
        if not has_records[second]:
            first, second = second, first
        twins[first] = second
    return twins
