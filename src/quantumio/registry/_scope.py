"""What names mean in one statement: dimensions and fields of their records, joined where they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.registry._dataset_fields import DATASET_FIELDS, dataset_field
from quantumio.registry._past_names import there_at
from quantumio.registry._universe_schema import Tables

__all__ = ["Scope", "Unknown"]


class Unknown(Exception):
    """A name means nothing in this scope."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Scope:
    """Resolves names for one statement.

    Parameters
    ----------
    tables
        Of the repository's universe.
    columns
        Dimensions that the statement has, with their columns.
    records
        Record tables that the statement has joined already, by element.
    datasets
        Rows of datasets that the statement has, by dataset type.
    what
        What the statement is about, for messages.
    as_of
        The moment whose records are meant; None is now.
    """

    def __init__(
        self,
        tables: Tables,
        columns: dict[str, sa.ColumnElement[Any]],
        *,
        records: dict[str, sa.FromClause] | None = None,
        datasets: Mapping[str, sa.FromClause] | None = None,
        what: str,
        as_of: int | sa.BindParameter[int] | None = None,
    ) -> None:
        self._tables = tables
        self._columns = dict(columns)
        self._records = dict(records or {})
        self._datasets = dict(datasets or {})
        self._what = what
        self._as_of = as_of
        self._aliases = 0
        self._joins: list[tuple[sa.FromClause, sa.ColumnElement[bool]]] = []

    def joined(self, source: sa.FromClause) -> sa.FromClause:
        """Return the source with the record tables that names needed.

        A record that is not there leaves NULL, which no comparison matches: whoever asks for a property of a
        dimension without a record gets no match for it.
        """
        for table, condition in self._joins:
            source = source.outerjoin(table, condition)
        return source

    def column(self, name: str) -> tuple[sa.ColumnElement[Any], str]:
        """Return the column of a name and its kind (``int``, ``str``, ``float``, ``bool``, ``time``).

        Raises
        ------
        Unknown
            It means nothing here.
        """
        first, *rest = name.split(".")
        element = self._tables.universe.get(first)
        if element is None:
            return self._of_dataset(first, rest)
        if not rest:
            if element.is_relation:
                raise Unknown(
                    f"{first!r} relates dimensions and has no value", f"use {', '.join(element.requires)}"
                )
            return self.dimension(first), str(element.key)
        return self._field(first, rest)

    def dimension(self, name: str) -> sa.ColumnElement[Any]:
        """Return the column of a dimension: its own, or one of the record that implies it.

        Raises
        ------
        Unknown
            The statement neither has nor implies it.
        """
        if name in self._columns:
            return self._columns[name]
        for element in self._tables.universe.values():
            if name in element.implies and self._has(element.record_keys):
                column = self._record(element.name).c[self._tables.record(element.name).fields[name]]
                self._columns[name] = column
                return column
        raise Unknown(f"{self._what} has no dimension {name!r}", f"it has {', '.join(self._reachable())}")

    def record(self, element: str) -> sa.FromClause:
        """Return the records of a dimension or relation, joined once."""
        return self._record(element)

    def area(self, name: str) -> sa.FromClause:
        """Return the records that ``element.region`` or ``element.timespan`` is of.

        Raises
        ------
        Unknown
            It is neither here.
        """
        element, _, field = name.partition(".")
        if element not in self._tables.universe or not field:
            self.column(name)  # which says what is wrong, unless it is a dimension
            raise Unknown(f"{name} is a value", f"write {name}.region or {name}.timespan")
        definition = self._tables.universe[element]
        areas = [*(["region"] if definition.spatial else []), *(["timespan"] if definition.temporal else [])]
        if field not in areas:
            raise Unknown(
                f"{name} is no region and no timespan",
                f"{element} has {' and '.join(areas) or 'neither'}",
            )
        if not self._has(definition.record_keys):
            raise Unknown(f"{self._what} has no {element}", f"it has {', '.join(self._reachable())}")
        return self._record(element)

    def _of_dataset(self, first: str, rest: list[str]) -> tuple[sa.ColumnElement[Any], str]:
        """Return a field of the dataset: by itself where there is but one, else of its dataset type."""
        known, fields = ", ".join(self._reachable()), ", ".join(DATASET_FIELDS)
        field = ".".join(rest) if first in self._datasets else ".".join((first, *rest))
        if field in DATASET_FIELDS:
            if first in self._datasets:
                return dataset_field(field, self._datasets[first], first), DATASET_FIELDS[field]
            if len(self._datasets) == 1:
                ((dataset_type, rows),) = self._datasets.items()
                return dataset_field(field, rows, dataset_type), DATASET_FIELDS[field]
            if self._datasets:
                which = " or ".join(f"{name}.{field}" for name in self._datasets)
                raise Unknown(f"{field!r} may be of any of {', '.join(self._datasets)}", f"write {which}")
            raise Unknown(f"{field!r} is a field of datasets, and {self._what} is none", f"it has {known}")
        if first in self._datasets:
            raise Unknown(f"a dataset has no field {field!r}", f"its fields are {fields}")
        hint = f"{self._what} has {known}; their fields are dimension.field"
        if not self._datasets:
            raise Unknown(f"{first!r} is no dimension", hint)
        raise Unknown(f"{first!r} is no dimension and no field of datasets", f"{hint}; of datasets: {fields}")

    def _field(self, name: str, path: list[str]) -> tuple[sa.ColumnElement[Any], str]:
        table = self._tables.record(name)
        if not self._has(table.element.record_keys):
            raise Unknown(f"{self._what} has no {name}", f"it has {', '.join(self._reachable())}")
        if table.element.temporal and path in (["timespan", "begin"], ["timespan", "end"]):
            return self._record(name).c[f"{path[1]}_ns"], "time"
        field = ".".join(path)
        if field not in table.fields:
            fields = [*table.fields, *(("timespan.begin", "timespan.end") if table.element.temporal else ())]
            raise Unknown(f"{name} has no field {field!r}", f"its fields are {', '.join(fields)}")
        return self._record(name).c[table.fields[field]], table.kinds[field]

    def _has(self, names: tuple[str, ...]) -> bool:
        reachable = self._reachable()
        return all(name in reachable for name in names)

    def _reachable(self) -> tuple[str, ...]:
        universe = self._tables.universe
        return universe.sort({*self._columns, *universe.implied(self._columns)})

    def _record(self, element: str) -> sa.FromClause:
        """Return the record table of an element, joined once."""
        if element not in self._records:
            table = self._tables.record(element)
            self._aliases += 1  # counted before the keys, which may need further joins
            alias = table.table.alias(f"about_{self._aliases}")
            keys = [alias.c[table.fields[key]] == self.dimension(key) for key in table.element.record_keys]
            self._records[element] = alias
            self._joins.append((alias, sa.and_(*keys, *there_at(alias, self._as_of))))
        return self._records[element]
