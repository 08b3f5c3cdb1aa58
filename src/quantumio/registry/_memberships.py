"""Which datasets are in TAGGED and CALIBRATION collections, and when calibrations are valid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DatasetRef, Timespan
from quantumio.ports import CollectionKind, MemberColumns, MemberQuery, MemberRecord
from quantumio.registry._arguments import check_names
from quantumio.registry._dialect import BIG_INTEGER
from quantumio.registry._engine import Database
from quantumio.registry._names import Collection, Names, TypeEntry, is_glob
from quantumio.registry._pages import OrderKey, Paged, pages
from quantumio.registry._past_names import there_at
from quantumio.registry._planning import Planner
from quantumio.registry._scope import Scope
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where import data_id_condition

__all__ = ["Memberships"]


@frozen(eq=False)
class _Members:
    """The members of one collection that are of one dataset type."""

    collection: Collection
    entry: TypeEntry
    statement: sa.Select[Any]
    keys: list[OrderKey]

    @property
    def is_calibration(self) -> bool:
        return self.collection.kind is CollectionKind.CALIBRATION


class Memberships:
    """Lists members of collections."""

    def __init__(self, database: Database, tables: Tables, planner: Planner) -> None:
        self._database = database
        self._tables = tables
        self._planner = planner

    def members(self, query: MemberQuery) -> Iterator[MemberRecord]:
        """Check the query now; yield lazily the members, all of one moment."""
        names, sources = self._sources(query)
        uuid_out = self._database.rules.uuid_out
        return (
            _record(names, source, row, uuid_out) for source, page in self._pages(sources) for row in page
        )

    def columns(self, query: MemberQuery) -> Iterator[MemberColumns]:
        """Check the query now; yield lazily the members by columns, all of one moment."""
        names, sources = self._sources(query)
        uuid_out = self._database.rules.uuid_out
        return (_columns(names, source, page, uuid_out) for source, page in self._pages(sources))

    def count(self, query: MemberQuery) -> int:
        """Return how many there are."""
        _, sources = self._sources(query)
        numbers = [
            sa.select(sa.func.count()).select_from(source.statement.subquery("members")) for source in sources
        ]
        return self._database.read(
            lambda connection: sum(connection.execute(number).scalar_one() for number in numbers)
        )

    def _pages(self, sources: Iterable[_Members]) -> Iterator[tuple[_Members, list[Any]]]:
        for source in sources:
            for page in pages(Paged(source.statement, source.keys), None, self._fetch):
                yield source, page

    def _fetch(self, page: sa.Select[Any], values: Mapping[str, Any]) -> list[Any]:
        return self._database.rows(page, values, is_kept=False)

    def _sources(self, query: MemberQuery) -> tuple[Names, list[_Members]]:
        wanted = check_names(query.collections, "collection", ErrorKind.COLLECTION)
        given = check_names(query.dataset_types, "dataset type", ErrorKind.DATASET_TYPE)
        seq, names = self._planner.at(query.as_of)
        for name in wanted:
            if not is_glob(name):
                _check_kind(names.collection(name), query.kind)
        collections, _ = names.search_like(wanted)
        types = self._of_types(names, query, given, seq)
        return names, [
            self._source(query, collection, entry, conditions, seq)
            for collection in collections
            if collection.kind is query.kind
            for entry, conditions in types
        ]

    def _of_types(
        self, names: Names, query: MemberQuery, given: tuple[str, ...], seq: int
    ) -> list[tuple[TypeEntry, tuple[sa.FromClause, list[sa.ColumnElement[bool]]]]]:
        """Return the dataset types, each with the members of which and the conditions for them."""
        found = []
        refused: InvalidInputError | None = None
        for entry in names.types_like(given):
            table = _table(entry, query.kind)
            columns: dict[str, sa.ColumnElement[Any]] = {
                name: table.c[column] for name, column in entry.group.columns.items()
            }
            scope = Scope(self._tables, columns, what=f"dataset type {entry.type.name}", as_of=seq)
            try:
                conditions = data_id_condition(self._tables, scope, query.data_id)
            except InvalidInputError as error:
                # A dataset type that only a glob names, and that has no such dimension, has no match.
                if entry.type.name in given:
                    raise
                refused = refused or error
            else:
                dataset = entry.group.dataset
                source = scope.joined(table.join(dataset, dataset.c.id == table.c.dataset_id))
                found.append((entry, (source, conditions)))
        if refused is not None and not found:
            raise refused
        return found

    def _source(
        self,
        query: MemberQuery,
        collection: Collection,
        entry: TypeEntry,
        joined: tuple[sa.FromClause, list[sa.ColumnElement[bool]]],
        seq: int,
    ) -> _Members:
        table, dataset = _table(entry, query.kind), entry.group.dataset
        source, conditions = joined
        span = [] if query.kind is CollectionKind.TAGGED else [table.c.begin_ns, table.c.end_ns]
        keys = [table.c[column] for column in entry.group.columns.values()]
        statement = (
            sa.select(dataset.c.id, dataset.c.run_id, dataset.c.v, *keys, *span)
            .select_from(source)
            .where(
                table.c.collection_id == sa.literal(collection.id, BIG_INTEGER),
                table.c.type_id == sa.literal(entry.id, BIG_INTEGER),
                *there_at(table, seq),
                *conditions,
            )
        )
        if span and query.timespan is not None:
            statement = statement.where(
                table.c.begin_ns < sa.literal(query.timespan.end_ns, BIG_INTEGER),
                table.c.end_ns > sa.literal(query.timespan.begin_ns, BIG_INTEGER),
            )
        # In the order of the primary key: each page is a range of it.
        order = [*(table.c[column] for column in entry.group.key), *span[:1], table.c.added_seq]
        return _Members(collection, entry, statement, [OrderKey(column) for column in order])


def _table(entry: TypeEntry, kind: CollectionKind) -> sa.Table:
    return entry.group.tag if kind is CollectionKind.TAGGED else entry.group.calibration


def _check_kind(collection: Collection, kind: CollectionKind) -> None:
    if collection.kind not in (kind, CollectionKind.CHAINED):
        raise InvalidInputError(
            f"collection {collection.name!r} is a {collection.kind} collection, no {kind} one",
            hint=f"name a {kind} collection, or a chain; the datasets of any other are found by a query",
            kind=ErrorKind.COLLECTION,
        )


def _record(names: Names, source: _Members, row: Any, uuid_out: Callable[[Any], UUID]) -> MemberRecord:
    id_, run_id, version, *rest = row
    entry, dimensions = source.entry, source.entry.type.dimensions
    data_id = DataId(dict(zip(dimensions, rest, strict=False)))
    span = rest[len(dimensions) : len(dimensions) + 2]  # with the keys of the page behind it
    return MemberRecord(
        collection=source.collection.name,
        ref=DatasetRef(uuid_out(id_), entry.type, data_id, names.collections_by_id[run_id].name, version),
        timespan=Timespan(*span) if source.is_calibration else None,
    )


def _columns(
    names: Names, source: _Members, page: list[Any], uuid_out: Callable[[Any], UUID]
) -> MemberColumns:
    ids, run_ids, versions, *rest = zip(*page, strict=True)
    dimensions = source.entry.type.dimensions
    span = rest[len(dimensions) : len(dimensions) + 2] if source.is_calibration else [(), ()]
    runs = {run_id: names.collections_by_id[run_id].name for run_id in set(run_ids)}
    return MemberColumns(
        collection=source.collection.name,
        dataset_type=source.entry.type,
        data_ids=dict(zip(dimensions, rest, strict=False)),
        runs=[runs[run_id] for run_id in run_ids],
        versions=versions,
        ids=[uuid_out(id_) for id_ in ids],
        begin_ns=span[0],
        end_ns=span[1],
    )
