"""Queries over datasets: one statement per dataset type, read in pages that all show one moment."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from quantumio.model import StoredDataset
from quantumio.ports import DatasetQuery
from quantumio.registry._arguments import check_limit
from quantumio.registry._columns import ColumnReader
from quantumio.registry._dialect import raw
from quantumio.registry._engine import Database
from quantumio.registry._find import NO_ARTIFACT, stored_dataset
from quantumio.registry._find_statements import ARTIFACT_COLUMNS
from quantumio.registry._names import Names, NamesCache
from quantumio.registry._page_tokens import PageToken, bad_token, key_values, read_token, write_token
from quantumio.registry._pages import beyond, pages
from quantumio.registry._planning import Plan, Planner
from quantumio.registry._query_order import order_of
from quantumio.registry._schema import ARTIFACT, OBJECT
from quantumio.registry._sources import Source
from quantumio.registry._universe_schema import Tables

__all__ = ["Queries"]

_CHUNK: Final = 500
_HEAD_SIZE: Final = 7
_LARGEST_FIRST_PAGE: Final = 16_384


@frozen(eq=False)
class _Match:
    """A dataset, with what tells its place among all matches."""

    order: tuple[Any, ...]
    source: int
    keys: tuple[Any, ...]
    stored: StoredDataset


class Queries:
    """Runs `DatasetQuery`."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache) -> None:
        self._database = database
        self._planner = Planner(database, tables, names)
        self._columns = ColumnReader(database, tables, self._planner)

    def query(self, query: DatasetQuery) -> Iterator[StoredDataset]:
        """Check the query now, and return its matches lazily."""
        plan = self._planner.plan(query)
        return (match.stored for match in islice(self._matches(plan), plan.limit))

    def count(self, query: DatasetQuery) -> int:
        """Return the number of matches."""
        plan = self._planner.plan(query, in_order=False)

        def count(connection: sa.Connection) -> int:
            return sum(connection.execute(source.number()).scalar_one() for source in plan.sources)

        total = self._database.read(count)
        return total if plan.limit is None else min(total, plan.limit)

    def exists(self, query: DatasetQuery) -> bool:
        """Tell whether there is a match."""
        plan = self._planner.plan(query, in_order=False)

        def exists(connection: sa.Connection) -> bool:
            return any(connection.execute(source.any()).first() is not None for source in plan.sources)

        return plan.limit != 0 and self._database.read(exists)

    def page(
        self, query: DatasetQuery, size: int, after: str | None
    ) -> tuple[list[StoredDataset], str | None]:
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
        matches = list(islice(self._matches(plan, token, wanted + 1), wanted + 1))
        more = len(matches) > wanted and wanted != left
        found = matches[:wanted]
        if not more or not found:
            return [match.stored for match in found], None
        last = found[-1]
        rest = None if left is None else left - wanted
        following = PageToken(plan.seq, rest, last.source, last.keys)
        return [match.stored for match in found], write_token(following, query, self._database.rules)

    def columns(self, query: DatasetQuery, columns: Sequence[str] | None, label: str) -> Iterator[Any]:
        """Return the matches as columns; see `ColumnReader`."""
        return self._columns.batches(query, columns, label)

    # -- reading
    def _matches(self, plan: Plan, token: PageToken | None = None, first: int = 256) -> Iterator[_Match]:
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
            streams.append(self._stream(plan, source, number, condition, first))
        if len(streams) > 1 and plan.order_by:
            return heapq.merge(*streams, key=lambda match: match.order)
        return (match for stream in streams for match in stream)

    def _stream(
        self, plan: Plan, source: Source, number: int, rest: sa.ColumnElement[bool] | None, first: int
    ) -> Iterator[_Match]:
        size = len(source.keys)
        statement = source.statement() if rest is None else source.statement().where(rest)

        def fetch(page: sa.Select[Any]) -> list[Any]:
            page = source.with_times(page)
            return self._database.read(lambda connection: self._page(connection, plan.names, page, size))

        for page in pages(statement, source.keys, plan.limit, fetch, first):
            for stored, *values in page:
                yield _Match(order_of(values, plan.order_by), number, tuple(values), stored)

    def _page(
        self, connection: sa.Connection, names: Names, statement: sa.Select[Any], keys: int
    ) -> list[tuple[Any, ...]]:
        """Return datasets with the values of their keys behind them."""
        uuid_out = self._database.rules.uuid_out
        rows = connection.execute(statement).all()
        artifacts = _artifacts(connection, [row[0] for row in rows])
        found = []
        for row in rows:
            head, dimensions = row[:_HEAD_SIZE], row[_HEAD_SIZE:-keys]
            parts = [(*head, *artifact, *dimensions) for artifact in artifacts.get(row[0], NO_ARTIFACT)]
            found.append((stored_dataset(names, parts, uuid_out), *row[-keys:]))
        return found


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
