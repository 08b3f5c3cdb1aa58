"""Record tables joined on their shared keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Dimension
from quantumio.registry._engine import Database
from quantumio.registry._universe_schema import Tables

__all__ = ["RecordJoin", "has_records"]


def has_records(database: Database, tables: Tables, over: Sequence[str]) -> dict[str, bool]:
    """Tell of each dimension and relation over these dimensions whether it has records."""
    names = [element.name for element in tables.universe.values() if set(element.record_keys) <= set(over)]
    exists = [
        sa.exists(sa.select(sa.literal_column("1")).select_from(table).where(table.c.removed_seq.is_(None)))
        for table in (tables.record(name).table for name in names)
    ]
    statement = sa.select(*(test.label(f"has_{index}") for index, test in enumerate(exists)))
    row = database.read(lambda connection: connection.execute(statement).one())
    return {name: bool(has) for name, has in zip(names, row, strict=True)}


class RecordJoin:
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
