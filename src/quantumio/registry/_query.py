"""Queries over datasets: one statement per dataset type, read in pages that all show one moment."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from quantumio.model import DataId, DatasetRef, StoredDataset, trusted_ref
from quantumio.ports import DatasetQuery
from quantumio.registry._arguments import check_limit
from quantumio.registry._columns import ColumnReader
from quantumio.registry._dialect import raw
from quantumio.registry._engine import Database
from quantumio.registry._find import NO_ARTIFACT, stored_dataset
from quantumio.registry._find_statements import ARTIFACT_COLUMNS
from quantumio.registry._names import NamesCache
from quantumio.registry._page_tokens import PageToken, bad_token, key_values, read_token, write_token
from quantumio.registry._pages import Paged, beyond, pages
from quantumio.registry._planning import Plan, Planner
from quantumio.registry._query_order import order_of
from quantumio.registry._schema import ARTIFACT, OBJECT
from quantumio.registry._sources import Source
from quantumio.registry._universe_schema import Tables

__all__ = ["Queries"]

_CHUNK: Final = 500
_HEAD_SIZE: Final = 6
_OF_REF: Final = ("id", "run_id", "v")
_LARGEST_FIRST_PAGE: Final = 16_384


@frozen(eq=False)
class _Match:
    """What was found, with what tells its place among all matches."""

    order: tuple[Any, ...]
    source: int
    keys: tuple[Any, ...]
    found: Any


class _Stored:
    """Reads datasets with their artifacts."""

    def __init__(self, source: Source, rest: sa.ColumnElement[bool] | None) -> None:
        statement = source.statement()
        statement = statement if rest is None else statement.where(rest)
        self.paged = Paged(statement, source.keys, shown=source.with_times)

    def fetch(
        self, database: Database, plan: Plan, page: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[Any]:
        """Return rows of the driver, each with those of its artifacts behind it."""

        def read(connection: sa.Connection) -> list[Any]:
            rows = list(connection.execute(page, {**plan.values, **values}).cursor.fetchall())
            artifacts = _artifacts(connection, [row[0] for row in rows])
            return [(*row, artifacts.get(row[0], NO_ARTIFACT)) for row in rows]

        return database.read(read)

    def found(self, database: Database, plan: Plan, rows: Sequence[Any]) -> list[StoredDataset]:
        """Return the datasets of rows."""
        uuid_out, own = database.rules.uuid_out, self.paged.own
        return [
            stored_dataset(
                plan.names,
                [(*row[:_HEAD_SIZE], row[-2], *artifact, *row[_HEAD_SIZE:own]) for artifact in row[-1]],
                uuid_out,
            )
            for row in rows
        ]


class _Refs:
    """Reads refs alone."""

    def __init__(self, source: Source, rest: sa.ColumnElement[bool] | None) -> None:
        self._entry = source.entry
        self._is_same = rest is None  # whenever it comes of the same source
        statement, places = source.select(_OF_REF, self._entry.group.dimensions)
        self.paged = Paged(statement if rest is None else statement.where(rest), source.keys, places)

    def fetch(
        self, database: Database, plan: Plan, page: sa.Select[Any], values: Mapping[str, Any]
    ) -> list[Any]:
        """Return rows of the driver."""
        return database.rows(page, {**plan.values, **values}, is_kept=plan.is_kept and self._is_same)

    def found(self, database: Database, plan: Plan, rows: Sequence[Any]) -> list[DatasetRef]:
        """Return the refs of rows."""
        uuid_out, own, runs = database.rules.uuid_out, self.paged.own, plan.names.collections_by_id
        dataset_type, dimensions = self._entry.type, self._entry.group.dimensions
        of_row = DataId.of_row
        return [
            trusted_ref(
                uuid_out(row[0]), dataset_type, of_row(dimensions, row[3:own]), runs[row[1]].name, row[2]
            )
            for row in rows
        ]


_Reader = type[_Stored] | type[_Refs]


class Queries:
    """Runs `DatasetQuery`."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache) -> None:
        self._database = database
        self._planner = Planner(database, tables, names)
        self._columns = ColumnReader(database, tables, self._planner)

    def query(self, query: DatasetQuery) -> Iterator[StoredDataset]:
        """Check the query now, and return its matches lazily."""
        return self._found(query, _Stored)

    def refs(self, query: DatasetQuery) -> Iterator[DatasetRef]:
        """Check the query now, and return the refs of its matches lazily."""
        return self._found(query, _Refs)

    def _found(self, query: DatasetQuery, reader: _Reader) -> Iterator[Any]:
        plan = self._planner.plan(query)
        if plan.order_by and len(plan.sources) > 1:
            return (match.found for match in islice(self._matches(plan, reader), plan.limit))
        return self._in_turn(plan, reader)

    def _in_turn(self, plan: Plan, reader: _Reader) -> Iterator[Any]:
        """Yield what was found, one source after the other."""
        left = plan.limit
        for source in plan.sources:
            if left == 0:
                return
            make: Callable[[], _Stored | _Refs] = partial(reader, source, None)
            reading = source.once(reader, make)
            fetch = partial(reading.fetch, self._database, plan)
            for rows in pages(reading.paged, left, fetch):
                yield from reading.found(self._database, plan, rows)
                left = None if left is None else left - len(rows)

    def count(self, query: DatasetQuery) -> int:
        """Return the number of matches."""
        plan = self._planner.plan(query, in_order=False)

        def count(connection: sa.Connection) -> int:
            return sum(
                connection.execute(source.number(), plan.values).scalar_one() for source in plan.sources
            )

        total = self._database.read(count)
        return total if plan.limit is None else min(total, plan.limit)

    def exists(self, query: DatasetQuery) -> bool:
        """Tell whether there is a match."""
        plan = self._planner.plan(query, in_order=False)

        def exists(connection: sa.Connection) -> bool:
            found = (connection.execute(source.any(), plan.values).first() for source in plan.sources)
            return any(row is not None for row in found)

        return plan.limit != 0 and self._database.read(exists)

    def page(self, query: DatasetQuery, size: int, after: str | None) -> tuple[list[DatasetRef], str | None]:
        """Return so many matches behind those of a page before, and the token of the next page."""
        size = check_limit(size)
        token = None if after is None else read_token(after, query)
        left = query.limit if token is None else token.left
        if token is not None:
            query_then = evolve(query, as_of=token.seq, limit=None)
            plan = self._planner.plan(query_then)
        else:
            plan = self._planner.plan(query)
        wanted = size if left is None else min(size, left)
        matches = list(islice(self._matches(plan, _Refs, token, wanted + 1), wanted + 1))
        more = len(matches) > wanted and wanted != left
        found = matches[:wanted]
        if not more or not found:
            return [match.found for match in found], None
        last = found[-1]
        rest = None if left is None else left - wanted
        following = PageToken(plan.seq, rest, last.source, last.keys)
        return [match.found for match in found], write_token(following, query, self._database.rules)

    def columns(self, query: DatasetQuery, columns: Sequence[str] | None, label: str) -> Iterator[Any]:
        """Return the matches as columns; see `ColumnReader`."""
        return self._columns.batches(query, columns, label)

    # -- reading
    def _matches(
        self, plan: Plan, reader: _Reader, token: PageToken | None = None, first: int = 256
    ) -> Iterator[_Match]:
        """Yield the matches in order, from the beginning or from where a page ended."""
        first = min(first, _LARGEST_FIRST_PAGE)
        values: tuple[Any, ...] = ()
        if token is not None:
            if token.source >= len(plan.sources):
                raise bad_token("it is none")
            values = key_values(token, plan.sources[token.source].keys, self._database.rules)
        streams = []
        for number, source in enumerate(plan.sources):
            condition = None
            if token is not None:
                condition = _rest(plan, source, number, token.source, values)
                if condition is None and number < token.source:
                    continue
            make: Callable[[], _Stored | _Refs] = partial(reader, source, condition)
            reading = source.once(reader, make) if condition is None else make()
            streams.append(self._stream(plan, reading, source, number, first))
        if len(streams) > 1 and plan.order_by:
            return heapq.merge(*streams, key=lambda match: match.order)
        return (match for stream in streams for match in stream)

    def _stream(
        self, plan: Plan, reading: _Stored | _Refs, source: Source, number: int, first: int
    ) -> Iterator[_Match]:
        of_keys = reading.paged.of_keys
        for rows in pages(reading.paged, plan.limit, partial(reading.fetch, self._database, plan), first):
            for row, found in zip(rows, reading.found(self._database, plan, rows), strict=True):
                keys = tuple([row[place] for place in of_keys])
                yield _Match(order_of(keys, plan.order_by), number, keys, found)


def _rest(
    plan: Plan, source: Source, number: int, last: int, values: Sequence[Any]
) -> sa.ColumnElement[bool] | None:
    """Return the condition of what a source still has behind the last match; None where it has no part in it.

    Matches that are equal in the order come in the order of their sources.
    """
    if number == last:
        return beyond(source.keys, values)
    words = len(plan.order_by)
    if not words:
        return None  # all of an earlier source came, and none of a later one
    return beyond(source.keys[:words], values[:words], equal_too=number > last)


def _artifacts(connection: sa.Connection, ids: Sequence[Any]) -> dict[Any, list[tuple[Any, ...]]]:
    found: dict[Any, list[tuple[Any, ...]]] = {}
    source = ARTIFACT.outerjoin(OBJECT, OBJECT.c.id == ARTIFACT.c.object_id)
    dataset_id = raw(ARTIFACT.c.dataset_id)
    statement = sa.select(dataset_id, *map(raw, ARTIFACT_COLUMNS)).select_from(source)
    for start in range(0, len(ids), _CHUNK):
        part = statement.where(dataset_id.in_(ids[start : start + _CHUNK]))
        for id_, *artifact in connection.execute(part):
            found.setdefault(id_, []).append(tuple(artifact))
    return found
