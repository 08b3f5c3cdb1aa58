"""Matches of a query as columns (Arrow), without an object for each of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import DATASET_COLUMNS, DatasetQuery
from quantumio.registry._arguments import check_names
from quantumio.registry._artifact_values import ARTIFACT_VALUES, OneEach, artifacts_text
from quantumio.registry._column_values import columns_of, schema_of
from quantumio.registry._dialect import TEXT, Rules
from quantumio.registry._engine import Database
from quantumio.registry._observed import OBSERVED, observed_columns
from quantumio.registry._pages import OrderKey, Paged, gathered_pages, ordered, pages
from quantumio.registry._planning import Plan, Planner
from quantumio.registry._query_order import order_of
from quantumio.registry._schema import TXN
from quantumio.registry._sources import Source
from quantumio.registry._universe_schema import Tables

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnReader"]

_FIRST_PAGE: Final = 4096
_LARGEST_PAGE: Final = 65_536
_MERGED: Final = 16_384
_COMMIT: Final = {"seq": "int"}
_Fetch = Callable[[sa.Select[Any], Mapping[str, Any]], "list[Any]"]


class _Reading:
    """How the columns of one source are read.

    Names of what the row of a dataset itself says, but for dimensions, begin with ``row.``.
    """

    def __init__(
        self,
        tables: Tables,
        rules: Rules,
        plan: Plan,
        source: Source,
        wanted: Sequence[str],
    ) -> None:
        self.source = source
        self._rules = rules
        asked = set(wanted)
        self.has_artifacts = bool(asked & ARTIFACT_VALUES)
        needs_id = self.has_artifacts or bool(asked & {"id", "access_url"})
        self._head = [
            *(["id"] if needs_id else []),
            *(["run_id"] if "run" in asked and source.run is None else []),
            "v",
            *(["commit_seq"] if "committed" in asked else []),
        ]
        group = source.entry.group
        self._observed = observed_columns(tables, group, plan.at, asked)
        self._dimensions = [
            name
            for name in group.columns
            if self._observed.names or (name in asked and name not in source.given)
        ]
        self._names = [
            *(f"row.{name}" for name in self._head),
            *self._dimensions,
            *(["row.artifacts"] if self.has_artifacts else []),
            *self._observed.names,
        ]
        self._one_each = OneEach(rules)
        self._is_one_each = self.has_artifacts
        self._has_one_version = source.finds_latest
        self._statement, self._places = source.select(self._head, self._dimensions)

    @property
    def is_gathered(self) -> bool:
        """Whether a page can come as one row: no value is NULL, or a number that a text would round."""
        floats = (isinstance(key.column.type, sa.types.Float) for key in self.source.keys)
        return not self._observed.names and not any(floats)

    @cached_property
    def paged(self) -> Paged:
        """Rows with the keys of the source behind what its own row says, and what others say behind these."""
        return Paged(self._statement, self.source.keys, shown=self._shown)

    @cached_property
    def gathered(self) -> Paged:
        """A row for each page: how many rows it has, and the values of each column."""
        return Paged(self._statement, self.source.keys, self._places, self._gathered)

    @cached_property
    def _joined(self) -> Paged:
        """The same for pages whose datasets have one artifact each, all at one place."""
        return Paged(self._statement, self.source.keys, self._places, self._with_artifact)

    @cached_property
    def _any_version(self) -> Paged:
        """The same, or with one artifact each, for pages whose keys have one version each."""
        statement, places = self.source.select(self._head, self._dimensions, every_version=True)
        return Paged(statement, self.source.keys, places, self._with_versions)

    def read(self, fetch: _Fetch, values: Mapping[str, Any]) -> tuple[int, list[Any]]:
        """Return how many rows a page has that comes as one row, and the values of its columns."""
        types = self.gathered.types
        if (page := self._of_one_version(fetch, values)) is not None:
            return page
        if self._is_one_each:
            (row,) = fetch(self._joined.statement(values), values)
            if (page := self._of_one_each(row, types)) is not None:
                return page
        if self.has_artifacts:
            types = [*types, TEXT]
        (row,) = fetch(self.gathered.statement(values), values)
        return self._spread(row, types)

    def _of_one_version(self, fetch: _Fetch, values: Mapping[str, Any]) -> tuple[int, list[Any]] | None:
        """Return a page without a search for the latest versions, where its rows show that none is needed.

        All are of the same version, and so is the row behind them: it is not another one of the last key.
        """
        if not self._has_one_version or (self.has_artifacts and not self._is_one_each):
            return None
        size = values["page_size"]
        ((*row, least, greatest),) = fetch(
            self._any_version.statement(values), {**values, "page_size": size + 1}
        )
        if least != greatest:
            self._has_one_version = False  # so it will be when the same is asked of other data IDs
            return None
        version = self._head.index("v")
        types = [kind for place, kind in enumerate(self.gathered.types) if place != version]
        page = self._of_one_each(row, types) if self.has_artifacts else self._spread(row, types)
        if page is None or not page[0]:
            return page
        number, columns = page
        columns.insert(version, _repeated(least, number))
        if number <= size:
            return page
        return size, [column[: 32 * size if isinstance(column, str) else size] for column in columns]

    def _of_one_each(self, row: Sequence[Any], types: Sequence[Any]) -> tuple[int, list[Any]] | None:
        page = self._one_each.columns(row, types)
        self._is_one_each = page is not None  # so it will be with other pages
        return page

    def _spread(self, row: Sequence[Any], types: Sequence[Any]) -> tuple[int, list[Any]]:
        number, *gathered = row
        if not number:
            return 0, []
        spread = self._rules.spread
        return number, [spread(value, kind) for value, kind in zip(gathered, types, strict=True)]

    def _shown(self, page: sa.Select[Any]) -> sa.Select[Any]:
        """Return a page of the statement, its keys added, with what other tables say of its rows behind."""
        found = list(page.subquery("page").c)
        size, keys = len(self._head) + len(self._dimensions), len(self.source.keys)
        joined: sa.FromClause = found[0].table
        dimensions = dict(zip(self._dimensions, found[len(self._head) : size], strict=True))
        for table, condition in self._observed.joins(dimensions):
            joined = joined.outerjoin(table, condition)
        order = [
            OrderKey(column, key.descending)
            for column, key in zip(found[-keys:], self.source.keys, strict=True)
        ]
        further = [*self._told(found), *self._observed.columns]
        return ordered(sa.select(*found, *further).select_from(joined), order)

    def _gathered(self, page: sa.Select[Any]) -> sa.Select[Any]:
        found = list(page.subquery("page").c)
        columns = [*found, *self._told(found)]
        return sa.select(sa.func.count(), *map(self._rules.gathered, columns))

    def _with_versions(self, page: sa.Select[Any]) -> sa.Select[Any]:
        """Return a page as one row without its versions, the least and the greatest of them behind."""
        columns = list(self._of_artifact(page) if self.has_artifacts else page.subquery("page").c)
        version = columns.pop(self._head.index("v"))
        if self.has_artifacts:
            gathered = self._one_each.gathered(columns)
        else:
            gathered = sa.select(sa.func.count(), *map(self._rules.gathered, columns))
        return gathered.add_columns(sa.func.min(version), sa.func.max(version))

    def _with_artifact(self, page: sa.Select[Any]) -> sa.Select[Any]:
        return self._one_each.gathered(self._of_artifact(page))

    def _of_artifact(self, page: sa.Select[Any]) -> Sequence[sa.ColumnElement[Any]]:
        found = list(page.subquery("page").c)
        order = [
            OrderKey(found[place], key.descending)
            for place, key in zip(self.gathered.of_keys, self.source.keys, strict=True)
        ]
        joined = self._one_each.joined(found)
        return self._rules.in_page_order(joined, lambda one: ordered(one, order))

    def _told(self, found: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
        return [artifacts_text(self._rules, found[0])] if self.has_artifacts else []

    def values(self, columns: Iterable[Any], keys: int) -> dict[str, Any]:
        """Return columns of a page by their names; so many keys are between the own ones and further ones."""
        columns = list(columns)
        own = len(self._head) + len(self._dimensions)
        return dict(zip(self._names, [*columns[:own], *columns[own + keys :]], strict=True))


def _repeated(value: int, number: int) -> pa.Array:
    import pyarrow as pa

    return pa.repeat(pa.scalar(value, pa.int64()), number)


class ColumnReader:
    """Reads the columns of the matches of queries."""

    def __init__(self, database: Database, tables: Tables, planner: Planner) -> None:
        self._database = database
        self._tables = tables
        self._planner = planner
        self._decided = database.prepare(_decided_statement, database.rules)

    def batches(
        self, query: DatasetQuery, columns: Sequence[str] | None, label: str
    ) -> Iterator[pa.RecordBatch]:
        """Check the query now, and return its matches as batches of columns, lazily; at least one batch.

        Raises
        ------
        InvalidInputError
            The query is wrong, or there is no such column.
        """
        plan = self._planner.plan(query)
        names = self._checked(plan, columns)
        return self._batches(plan, names, label)

    def _checked(self, plan: Plan, columns: Sequence[str] | None) -> tuple[str, ...]:
        dimensions = self._tables.universe.sort(
            {name for source in plan.sources for name in source.entry.group.dimensions}
        )
        if columns is None:
            return ("dataset_type", *dimensions, *DATASET_COLUMNS)
        known = ("dataset_type", *dimensions, *DATASET_COLUMNS, *OBSERVED)
        names = tuple(dict.fromkeys(check_names(columns, "column", ErrorKind.COMPONENT)))
        if not names:  # an Arrow table without columns has no rows
            raise InvalidInputError(
                f"columns = {columns!r} names no column",
                hint=f"name some of {', '.join(known)}, or give None for those that are usual",
                kind=ErrorKind.COMPONENT,
            )
        for name in names:
            # A dimension that none of these dataset types has is a column without values.
            if name not in known and name not in self._tables.universe.names:
                raise InvalidInputError(
                    f"reference tables have no column {name!r:.80}",
                    hint=f"they have {', '.join(known)}",
                    kind=ErrorKind.COMPONENT,
                )
        return names

    def _batches(self, plan: Plan, names: tuple[str, ...], label: str) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        schema = schema_of(self._tables.universe, names)

        def made(reading: _Reading, size: int, values: dict[str, Any]) -> pa.RecordBatch:
            if "row.commit_seq" in values:
                values["row.decided_at"] = self._times(values["row.commit_seq"])
            source = reading.source
            given = {name: plan.value_of(value) for name, value in source.given.items()}
            arrays = columns_of(
                plan.names, source.entry, source.run, given, values, size, names, schema, label
            )
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        def batch(reading: _Reading, rows: Sequence[Any]) -> pa.RecordBatch:
            return made(reading, len(rows), reading.values(zip(*rows, strict=True), len(reading.source.keys)))

        rules = self._database.rules
        readings = [
            source.once(names, partial(_Reading, self._tables, rules, plan, source, names))
            for source in plan.sources
        ]
        came = False
        if plan.order_by and len(readings) > 1:
            streams = [self._numbered(plan, number, one) for number, one in enumerate(readings)]
            merged = islice(heapq.merge(*streams, key=lambda match: match[0]), plan.limit)
            while part := list(islice(merged, _MERGED)):
                came = True
                yield _interleaved([match[1:] for match in part], lambda n, rows: batch(readings[n], rows))
        else:
            left = plan.limit
            for reading in readings:
                if left == 0:
                    break
                for size, values in self._pages(plan, reading, left):
                    came = True
                    yield made(reading, size, values)
                    left = None if left is None else left - size
        if not came:
            yield pa.RecordBatch.from_pylist([], schema=schema)

    def _times(self, commits: Any) -> pa.Array:
        """Return when each of these commits was decided, ns; null where nobody knows."""
        import pyarrow as pa

        numbers, index = np.unique(np.asarray(commits, np.int64), return_inverse=True)
        wanted = self._database.rules.rows_value([[number] for number in numbers.tolist()], _COMMIT)
        decided = dict(self._database.fetch(self._decided, {"commits": wanted}))
        times = pa.array([decided.get(number) for number in numbers.tolist()], pa.int64())
        return times.take(pa.array(index))

    def _pages(
        self, plan: Plan, reading: _Reading, limit: int | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield how many rows come, and their columns by name."""
        if reading.is_gathered:
            paged, rules = reading.gathered, self._database.rules
            read = partial(reading.read, partial(self._fetch, plan))
            for size, columns in gathered_pages(paged, limit, rules, read, _FIRST_PAGE, _LARGEST_PAGE):
                yield size, reading.values(columns, paged.added)
            return
        for rows in self._rows(plan, reading, limit):
            yield len(rows), reading.values(zip(*rows, strict=True), len(reading.source.keys))

    def _numbered(
        self, plan: Plan, number: int, reading: _Reading
    ) -> Iterator[tuple[tuple[Any, ...], int, Any]]:
        """Yield rows with their place in the order, and the number of their source."""
        begin = reading.paged.own
        for rows in self._rows(plan, reading, plan.limit):
            for row in rows:
                yield order_of(row[begin:], plan.order_by), number, row

    def _rows(self, plan: Plan, reading: _Reading, limit: int | None) -> Iterator[list[Any]]:
        fetch = partial(self._fetch, plan)
        return pages(reading.paged, limit, fetch, _FIRST_PAGE, _LARGEST_PAGE)

    def _fetch(self, plan: Plan, statement: sa.Select[Any], values: Mapping[str, Any]) -> list[Any]:
        return self._database.rows(statement, {**plan.values, **values}, is_kept=plan.is_kept)


def _decided_statement(rules: Rules) -> sa.Select[Any]:
    commits = rules.rows("commits", _COMMIT)
    return sa.select(TXN.c.commit_seq, TXN.c.decided_at).join(commits, commits.c.seq == TXN.c.commit_seq)


def _interleaved(
    rows: Sequence[tuple[int, Any]], batch: Callable[[int, Sequence[Any]], pa.RecordBatch]
) -> pa.RecordBatch:
    """Return rows of several sources, given by number, as one batch in the same order."""
    import pyarrow as pa

    numbers = np.array([number for number, _ in rows])
    there = np.unique(numbers)
    parts = [batch(int(number), [row for other, row in rows if other == number]) for number in there]
    places = np.concatenate([np.flatnonzero(numbers == number) for number in there])
    return pa.concat_batches(parts).take(pa.array(np.argsort(places)))
