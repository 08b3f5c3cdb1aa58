"""Record tables, and rows of datasets, joined on their shared keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, Dimension
from quantumio.registry._engine import Database
from quantumio.registry._past_names import there_at
from quantumio.registry._universe_schema import Tables

__all__ = ["DatasetRows", "RecordJoin", "has_records"]


def has_records(
    database: Database, tables: Tables, over: Sequence[str], as_of: int | None = None
) -> dict[str, bool]:
    """Tell of each dimension and relation over these dimensions whether it has (or had) records."""
    names = [element.name for element in tables.universe.values() if set(element.record_keys) <= set(over)]
    if not names:
        return {}
    exists = [
        sa.exists(sa.select(sa.literal_column("1")).select_from(table).where(*there_at(table, as_of)))
        for table in (tables.record(name).table for name in names)
    ]
    statement = sa.select(*(test.label(f"has_{index}") for index, test in enumerate(exists)))
    row = database.read(lambda connection: connection.execute(statement).one())
    return {name: bool(has) for name, has in zip(names, row, strict=True)}


@frozen(eq=False)
class DatasetRows:
    """Rows of datasets of one type, and their columns of dimensions."""

    type: DatasetType
    rows: sa.FromClause
    columns: Mapping[str, sa.ColumnElement[Any]]

    @property
    def dataset_type(self) -> str:
        """Name of the type."""
        return self.type.name


class RecordJoin:
    """Rows of datasets and record tables joined on their shared keys, until every dimension has a column.

    Parameters
    ----------
    tables
        Of the universe.
    wanted
        The dimensions; those of the datasets are among them.
    has_records
        Of each dimension and relation over them.
    datasets
        What they have needs no records.
    as_of
        The moment whose records are meant; None is now.
    """

    def __init__(
        self,
        tables: Tables,
        wanted: tuple[str, ...],
        has_records: Mapping[str, bool],
        datasets: Sequence[DatasetRows] = (),
        as_of: int | None = None,
    ) -> None:
        self._tables = tables
        self._has_records = has_records
        self._as_of = as_of
        self.columns: dict[str, sa.ColumnElement[Any]] = {}
        self.records: dict[str, sa.FromClause] = {}
        self.conditions: list[sa.ColumnElement[bool]] = []
        self._source: sa.FromClause | None = None
        for one in datasets:
            self._join(one.rows, self._shared(one.columns))
        told = [set(one.columns) for one in datasets]
        relations = [
            element
            for element in tables.universe.values()
            if self._relates(element, wanted) and not any(set(element.record_keys) <= one for one in told)
        ]
        required = {key for name in wanted for key in tables.universe[name].requires}
        implied = {name for other in wanted if has_records[other] for name in tables.universe[other].implies}
        # What another dimension's records carry needs no records of its own.
        leaves = [name for name in wanted if name not in required and name not in implied]
        twins = _twins(tables, relations, has_records)
        for name in sorted(leaves, key=lambda leaf: -len(tables.universe[leaf].requires)):
            if name in self.columns:
                continue  # datasets tell it
            if name in twins and not has_records[name]:
                continue  # its number is that of its twin
            self._add(tables.universe[name], wanted)
        self._follow(wanted, told)
        for relation in relations:
            if has_records[relation.name]:
                self._add(relation, wanted)
        for name, twin in twins.items():
            self._pair(name, twin)

    def _follow(self, wanted: tuple[str, ...], told: Sequence[set[str]]) -> None:
        """Join what follows from records to them, unless one dataset tells both.

        Of what a dataset has, one record at least must tell it: otherwise anything would go with anything.
        """
        universe = self._tables.universe
        implied = {name: {other for other in universe[name].implies if other in wanted} for name in wanted}
        left = [
            name
            for name, others in implied.items()
            if others and name not in self.records and not any({name, *others} <= one for one in told)
        ]
        for name in left:
            if self._has_records[name]:
                self._add(universe[name], wanted)
        follows = {other for name in self.records for other in implied.get(name, ())}
        for name in left:
            if any(name in one for one in told) and not implied[name] <= follows:
                self._add(universe[name], wanted)

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
        names = (*element.record_keys, *(implied for implied in element.implies if implied in wanted))
        shared = self._shared({name: alias.c[table.fields[name]] for name in names})
        self.records[element.name] = alias
        self._join(alias, [*there_at(alias, self._as_of), *shared])

    def _shared(self, columns: Mapping[str, sa.ColumnElement[Any]]) -> list[sa.ColumnElement[bool]]:
        """Return that columns are equal to those of the same dimensions, and keep those of new ones."""
        shared = []
        for name, column in columns.items():
            if name in self.columns:
                shared.append(column == self.columns[name])
            else:
                self.columns[name] = column
                self.conditions.append(column.is_not(None))
        return shared

    def _join(self, table: sa.FromClause, shared: list[sa.ColumnElement[bool]]) -> None:
        if self._source is None:
            self._source = table
            self.conditions += shared
        else:
            self._source = self._source.join(table, sa.and_(sa.true(), *shared))

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
