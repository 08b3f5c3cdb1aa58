"""Queries over datasets: one statement per dataset type, read in pages that all show one moment."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import total_ordering
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import StoredDataset, check_data_id_value
from quantumio.ports import DatasetQuery
from quantumio.registry._arguments import check_bind, check_limit, check_names
from quantumio.registry._dialect import raw
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._find import NO_ARTIFACT, stored_dataset
from quantumio.registry._find_statements import ARTIFACT_COLUMNS
from quantumio.registry._names import Names, NamesCache
from quantumio.registry._pages import pages
from quantumio.registry._schema import ARTIFACT, CLOCK, OBJECT
from quantumio.registry._sky_datasets import SkyDatasets
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._sources import Moment, Source
from quantumio.registry._universe_schema import Tables

__all__ = ["Queries"]

_CHUNK: Final = 500
_HEAD_SIZE: Final = 7
_WORDS: Final = ("run", "version", "commit_seq", "dataset_type")


@frozen(eq=False)
class _Plan:
    """A query at one moment: what to read for each dataset type."""

    names: Names
    sources: tuple[Source, ...]
    order_by: tuple[tuple[str, bool], ...]
    limit: int | None


@total_ordering
class _Descending:
    """A value whose order is turned round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.value == other.value)

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


class Queries:
    """Runs `DatasetQuery`."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache) -> None:
        self._database = database
        self._tables = tables
        self._names = names
        self._sky = SkySearch(database, tables)
        self._sky_datasets = SkyDatasets(database, tables, self._sky)

    def query(self, query: DatasetQuery) -> Iterator[StoredDataset]:
        """Check the query now, and return its matches lazily."""
        plan = self._plan(query)
        streams = [self._stream(plan, source) for source in plan.sources]
        if len(streams) > 1 and plan.order_by:
            merged = heapq.merge(*streams, key=lambda found: found[0])
        else:
            merged = (found for stream in streams for found in stream)
        return islice((stored for _, stored in merged), plan.limit)

    def count(self, query: DatasetQuery) -> int:
        """Return the number of matches."""
        plan = self._plan(query, counting=True)

        def count(connection: sa.Connection) -> int:
            return sum(connection.execute(source.number()).scalar_one() for source in plan.sources)

        total = self._database.read(count)
        return total if plan.limit is None else min(total, plan.limit)

    # -- planning
    def _plan(self, query: DatasetQuery, *, counting: bool = False) -> _Plan:
        query = _with_lists(query)
        order_by = self._checked(query)
        universe = self._tables.universe
        data_id = {name: check_data_id_value(universe, name, value) for name, value in query.data_id.items()}
        query = evolve(query, data_id=data_id)
        where = query.where
        terms = () if where is None else self._sky.resolve(parse(where), where, query.bind)
        seq, names = self._database.read(self._moment)
        collections, in_order = names.search_like(query.collections)
        moment = Moment(collections, in_order and query.find_first, seq)
        sources: list[Source] = []
        refused: InvalidInputError | None = None
        # An order runs across collections; without one they come one after the other.
        if counting:
            order_by = ()
        moments = [moment] if order_by else moment.apart()
        for entry in names.types_like(query.dataset_types):
            try:
                narrow, expression = self._sky_datasets.narrowed(query, terms, entry.type.dimensions)
                found = [
                    Source(self._tables, self._database.rules, narrow, expression, entry, one, order_by)
                    for one in moments
                ]
            except InvalidInputError as error:
                # A dataset type that only a glob names, and that has no such dimension, has no match.
                if entry.type.name in query.dataset_types:
                    raise
                refused = refused or error
            else:
                sources += found
        if refused is not None and not sources:
            raise refused
        return _Plan(names, tuple(sources), order_by, query.limit)

    def _checked(self, query: DatasetQuery) -> tuple[tuple[str, bool], ...]:
        """Check what does not depend on the registry, and return the order with its directions."""
        if query.versions not in ("latest", "all"):
            raise InvalidInputError(f"versions = {query.versions!r}", hint="use 'latest' or 'all'")
        order_by = tuple((word.removeprefix("-"), word.startswith("-")) for word in query.order_by)
        for word, _ in order_by:
            if word not in _WORDS and word not in self._tables.universe.names:
                raise InvalidInputError(
                    f"order_by {word!r} is neither a dimension nor one of {', '.join(_WORDS)}",
                    hint=f"dimensions are {', '.join(self._tables.universe.names)}",
                    kind=ErrorKind.DIMENSION,
                )
        return order_by

    def _moment(self, connection: sa.Connection) -> tuple[int, Names]:
        seq = connection.execute(sa.select(CLOCK.c.seq).where(CLOCK.c.id == 1)).scalar_one()
        names = self._names.load(connection)
        self._names.learn(names)
        return seq, names

    # -- reading
    def _stream(self, plan: _Plan, source: Source) -> Iterator[tuple[tuple[Any, ...], StoredDataset]]:
        keys = source.keys

        def fetch(statement: sa.Select[Any]) -> list[Any]:
            page = source.with_times(statement)
            return self._database.read(lambda connection: self._page(connection, plan.names, page, len(keys)))

        for page in pages(source.statement(), keys, plan.limit, fetch):
            for stored, *values in page:
                ordered = zip(values, plan.order_by, strict=False)  # the tail of the keys has no part in it
                yield (
                    tuple(_Descending(value) if descending else value for value, (_, descending) in ordered),
                    stored,
                )

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


def _with_lists(query: DatasetQuery) -> DatasetQuery:
    """Return the query with its lists and numbers checked."""
    return evolve(
        query,
        dataset_types=check_names(query.dataset_types, "dataset type", ErrorKind.DATASET_TYPE),
        collections=None
        if query.collections is None
        else check_names(query.collections, "collection", ErrorKind.COLLECTION),
        order_by=check_names(query.order_by, "dimension to order by", ErrorKind.DIMENSION),
        limit=None if query.limit is None else check_limit(query.limit),
        bind=check_bind(query.bind),
    )


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
