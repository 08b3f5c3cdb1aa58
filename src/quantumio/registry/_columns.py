"""Matches of a query as columns (Arrow), without an object for each of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import DATASET_COLUMNS, DatasetQuery
from quantumio.registry._arguments import check_names
from quantumio.registry._column_values import ARTIFACT_VALUES, columns_of, schema_of
from quantumio.registry._dataset_fields import STATES
from quantumio.registry._engine import Database
from quantumio.registry._observed import OBSERVED, observed_columns
from quantumio.registry._pages import OrderKey, gathered_pages, ordered, pages
from quantumio.registry._planning import Plan, Planner
from quantumio.registry._query_order import order_of
from quantumio.registry._schema import ARTIFACT, TXN
from quantumio.registry._sources import Source
from quantumio.registry._universe_schema import Tables

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnReader"]

_ARTIFACT: Final = (
    sa.case((ARTIFACT.c.state == "pending", 0), else_=ARTIFACT.c.nbytes),
    ARTIFACT.c.digest,
    ARTIFACT.c.store,
    ARTIFACT.c.state,
)
_FIRST_PAGE: Final = 4096
_LARGEST_PAGE: Final = 65_536
_MERGED: Final = 16_384


class _Reading:
    """How the columns of one source are read: rows of ``names``, with the keys of the source behind them."""

    def __init__(self, tables: Tables, plan: Plan, source: Source, wanted: Sequence[str]) -> None:
        self.source = source
        self.names: list[str] = []
        asked = set(wanted)
        self._has_artifacts = bool(asked & ARTIFACT_VALUES.keys())
        self._has_times = "committed" in asked
        needs_id = self._has_artifacts or bool(asked & {"id", "access_url"})
        self._head = [
            *(["id"] if needs_id else []),
            *(["run_id"] if "run" in asked else []),
            "v",
            *(["txid"] if self._has_times else []),
        ]
        self._group = source.entry.group
        self._observed = observed_columns(tables, self._group, plan.seq, asked)
        self._keys = len(source.keys)
        own = [*self._head, *self._group.columns]
        self.names = [
            *own,
            *(["decided_at"] if self._has_times else []),
            *(ARTIFACT_VALUES.values() if self._has_artifacts else []),
            *self._observed.names,
        ]

    @property
    def is_plain(self) -> bool:
        """Whether its rows are told by no other table, and no text would round a number of their keys."""
        if any(isinstance(key.column.type, sa.types.Float) for key in self.source.keys):
            return False
        return not (self._has_times or self._has_artifacts or self._observed.names)

    def statement(self) -> sa.Select[Any]:
        return self.source.statement(self._head)

    def page(self, page: sa.Select[Any]) -> sa.Select[Any]:
        """Return a page of the statement, its keys added, with what other tables say of its rows."""
        if not (self._has_times or self._has_artifacts or self._observed.names):
            return page
        found = page.subquery("page")
        columns = list(found.c)
        own, keys = columns[: -self._keys], columns[-self._keys :]
        joined: sa.FromClause = found
        extra: list[Any] = []
        if self._has_times:
            joined = joined.outerjoin(TXN, TXN.c.txid == own[self._head.index("txid")])
            extra.append(TXN.c.decided_at)
        if self._has_artifacts:
            joined = joined.outerjoin(ARTIFACT, ARTIFACT.c.dataset_id == own[self._head.index("id")])
            extra += _ARTIFACT
        dimensions = dict(zip(self._group.columns, own[len(self._head) :], strict=True))
        for table, condition in self._observed.joins(dimensions):
            joined = joined.outerjoin(table, condition)
        extra += self._observed.columns
        order = [OrderKey(column, key.descending) for column, key in zip(keys, self.source.keys, strict=True)]
        statement = ordered(sa.select(*own, *extra, *keys).select_from(joined), order)
        return statement.order_by(ARTIFACT.c.position) if self._has_artifacts else statement

    def whole(self, rows: list[Any]) -> list[Any]:
        """Return one row for each dataset, whose artifacts are in rows one behind the other."""
        if not self._has_artifacts or len({row[0] for row in rows}) == len(rows):
            return rows
        begin = self.names.index(next(iter(ARTIFACT_VALUES.values())))
        out = []
        for _, same in groupby(rows, key=lambda row: row[0]):
            parts = list(same)
            first = parts[0]
            size = next((part[begin] for part in parts if part[begin + 3] != "pending"), 0)
            stores = ",".join(part[begin + 2] for part in parts if part[begin + 2] is not None)
            state = min((part[begin + 3] for part in parts), key=STATES.index) if stores else None
            out.append((*first[:begin], size, first[begin + 1], stores, state, *first[begin + 4 :]))
        return out


class ColumnReader:
    """Reads the columns of the matches of queries."""

    def __init__(self, database: Database, tables: Tables, planner: Planner) -> None:
        self._database = database
        self._tables = tables
        self._planner = planner

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

        def made(reading: _Reading, size: int, columns: Iterable[Any]) -> pa.RecordBatch:
            values = dict(zip(reading.names, columns, strict=False))
            arrays = columns_of(plan.names, reading.source.entry, values, size, names, schema, label)
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        def batch(reading: _Reading, rows: Sequence[Any]) -> pa.RecordBatch:
            return made(reading, len(rows), zip(*rows, strict=True))

        readings = [_Reading(self._tables, plan, source, names) for source in plan.sources]
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
                for size, columns in self._pages(reading, left):
                    came = True
                    yield made(reading, size, columns)
                    left = None if left is None else left - size
        if not came:
            yield pa.RecordBatch.from_pylist([], schema=schema)

    def _pages(self, reading: _Reading, limit: int | None) -> Iterator[tuple[int, Iterable[Any]]]:
        """Yield how many rows come, and their columns."""
        if reading.is_plain:
            rules, keys = self._database.rules, reading.source.keys

            def fetch(statement: sa.Select[Any]) -> Sequence[Any]:
                return self._database.read(lambda connection: connection.execute(statement).one())

            yield from gathered_pages(
                reading.statement(), keys, limit, rules, fetch, _FIRST_PAGE, _LARGEST_PAGE
            )
            return
        for rows in self._rows(reading, limit):
            yield len(rows), zip(*rows, strict=True)

    def _numbered(
        self, plan: Plan, number: int, reading: _Reading
    ) -> Iterator[tuple[tuple[Any, ...], int, Any]]:
        """Yield rows with their place in the order, and the number of their source."""
        begin = -len(reading.source.keys)
        for rows in self._rows(reading, plan.limit):
            for row in rows:
                yield order_of(row[begin:], plan.order_by), number, row

    def _rows(self, reading: _Reading, limit: int | None) -> Iterator[list[Any]]:
        def fetch(page: sa.Select[Any]) -> list[Any]:
            statement = reading.page(page)

            def rows(connection: sa.Connection) -> list[Any]:
                # The driver's own rows: SQLAlchemy's cost more than all the rest.
                return list(connection.execute(statement).cursor.fetchall())

            return reading.whole(self._database.read(rows))

        return pages(reading.statement(), reading.source.keys, limit, fetch, _FIRST_PAGE, _LARGEST_PAGE)


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
