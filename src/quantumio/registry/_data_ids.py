"""The data IDs that exist because of dimension records: joined on shared keys, and by overlap on the sky."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, product
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DatasetRef
from quantumio.ports import DatasetQuery
from quantumio.registry._arguments import check_bind, check_limit, check_names
from quantumio.registry._dialect import Rules, raw
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._names import Names, is_glob
from quantumio.registry._pages import OrderKey, Paged, pages
from quantumio.registry._planning import Planner
from quantumio.registry._record_join import DatasetRows, has_records
from quantumio.registry._sky_join import Asked, Part, SkyJoin, families
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._tree import Expression, names_of
from quantumio.registry._universe_schema import Tables

__all__ = ["DataIdQueries"]


class DataIdQueries:
    """Queries over data IDs alone."""

    def __init__(self, database: Database, tables: Tables, sky: SkySearch, planner: Planner) -> None:
        self._database = database
        self._tables = tables
        self._sky = sky
        self._planner = planner

    def data_ids(
        self,
        dimensions: Sequence[str],
        data_id: Mapping[str, Any],
        where: str | None,
        bind: Mapping[str, object],
        *,
        datasets: Sequence[str] = (),
        collections: Sequence[str] | None = None,
        as_of: int | None = None,
    ) -> list[DataId]:
        """Return the data IDs over the dimensions that exist as records, or as datasets, in order."""
        universe = self._tables.universe
        wanted = universe.required(check_names(dimensions, "dimension", ErrorKind.DIMENSION))
        _, rows = self._planner.rows_of(datasets, collections, as_of)
        if not wanted and not rows:
            return [DataId({})]
        told = universe.required([*wanted, *(name for one in rows for name in one.columns)])
        whole, sky = self._planned(told, data_id, where, check_bind(bind), rows, as_of)
        if sky is not None:
            columns = sky.columns(wanted or told)
            if not wanted:
                return [DataId({})] if columns[0] else []
            return [DataId(dict(zip(wanted, row, strict=True))) for row in zip(*columns, strict=True)]
        if not wanted:
            any_ = whole.select([sa.literal_column("1")]).limit(1)
            return [DataId({})] if _all(self._database, any_) else []
        statement = whole.select([whole.columns[name] for name in wanted])
        ordered = statement.distinct().order_by(*(whole.columns[name] for name in wanted))
        rows_found = _all(self._database, ordered)
        return [DataId(dict(zip(wanted, row, strict=True))) for row in rows_found]

    def joined(self, query: DatasetQuery) -> Iterator[tuple[DatasetRef, ...]]:
        """Check the query now; yield lazily one dataset of each type, for all that belong together.

        They come in the order of their dimensions.
        """
        join = self._joined(query)
        if join.sky is not None:
            return islice(_by_data_ids(self._database, join), query.limit)
        ids = [raw(one.rows.c.id) for one in join.rows]
        columns = [join.part.columns[name] for name in join.told]
        versions = [column for one in join.rows for column in (one.rows.c.run_id, one.rows.c.v)]
        statement = join.part.select([*columns, *versions])
        keys = [OrderKey(column) for column in (*columns, *ids)]

        return (
            join.refs(row, self._database.rules)
            for page in pages(Paged(statement, keys), query.limit, partial(_all, self._database))
            for row in page
        )

    def count_joined(self, query: DatasetQuery) -> int:
        """Return how many there are."""
        join = self._joined(query)
        if join.sky is not None:
            return sum(1 for _ in islice(_by_data_ids(self._database, join), query.limit))
        matches = join.part.select([sa.literal_column("1").label("one")]).subquery("matches")
        number = sa.select(sa.func.count()).select_from(matches)
        total = int(self._database.read(lambda connection: connection.execute(number).scalar_one()))
        return total if query.limit is None else min(total, query.limit)

    def _joined(self, query: DatasetQuery) -> _Join:
        if not query.dataset_types:
            raise InvalidInputError("no dataset types were named", hint="give their names")
        if query.limit is not None:
            check_limit(query.limit)
        names, rows = self._planner.rows_of(
            query.dataset_types, query.collections, query.as_of, calibrations=False
        )
        told = self._tables.universe.required({name for one in rows for name in one.columns})
        part, sky = self._planned(told, query.data_id, query.where, check_bind(query.bind), rows, query.as_of)
        if sky is not None and (query.collections is None or any(map(is_glob, query.collections))):
            raise InvalidInputError(
                f"{', '.join(query.dataset_types)} are joined on the sky, in collections without an order",
                hint="name the collections, without globs: of each dataset the first match counts",
                kind=ErrorKind.COLLECTION,
            )
        return _Join(names, rows, told, part, sky)

    def _planned(
        self,
        told: tuple[str, ...],
        data_id: Mapping[str, Any],
        where: str | None,
        bind: Mapping[str, object],
        rows: tuple[DatasetRows, ...],
        as_of: int | None,
    ) -> tuple[Part, SkyJoin | None]:
        """Return the join over the dimensions that are told, and that of two families if there are two."""
        expression = None if where is None else parse(where)
        over = self._over(told, data_id, expression)
        asked = Asked(
            self._tables,
            self._database.rules,
            has_records(self._database, self._tables, over, as_of),
            data_id,
            where or "",
            bind,
            rows,
            as_of,
        )
        terms = () if expression is None else self._sky.resolve(expression, asked.where, bind)
        part = asked.part(over, data_id, terms)
        if len(families(self._tables.universe, over)) < 2:
            return part, None
        return part, SkyJoin(self._database, self._sky, asked, over, terms)

    def _over(
        self, wanted: tuple[str, ...], data_id: Mapping[str, Any], expression: Expression | None
    ) -> tuple[str, ...]:
        """Return the dimensions to join: those that are wanted, and those of another family that are named.

        The patches of a visit are those that overlap it: to ask for patches and name a visit joins both.
        """
        universe = self._tables.universe
        if len(families(universe, wanted)) != 1:
            return wanted
        named = {*data_id, *(() if expression is None else names_of(expression))}
        elements = [universe[first] for name in named if (first := name.partition(".")[0]) in universe]
        keys = {key for element in elements for key in element.record_keys}
        beyond = keys - {*wanted, *universe.implied(wanted)}
        over = universe.required((*wanted, *beyond))
        return over if len(families(universe, over)) > 1 else wanted


@frozen(eq=False)
class _Join:
    """Datasets that are joined: of which names and types, over which dimensions, and how."""

    names: Names
    rows: tuple[DatasetRows, ...]
    told: tuple[str, ...]
    part: Part
    sky: SkyJoin | None

    def refs(self, row: Sequence[Any], rules: Rules) -> tuple[DatasetRef, ...]:
        """Return the datasets of a row: dimensions, run and version of each; its id is among the last."""
        size, number = len(self.told), len(self.rows)
        values = dict(zip(self.told, row[:size], strict=True))
        ids = row[-number:]
        return tuple(
            self.ref(one, values, rules.uuid_out(ids[at]), *row[size + 2 * at : size + 2 * at + 2])
            for at, one in enumerate(self.rows)
        )

    def ref(
        self, of: DatasetRows, values: Mapping[str, Any], id_: UUID, run_id: int, version: int
    ) -> DatasetRef:
        """Return a dataset of a type."""
        data_id = DataId({name: values[name] for name in of.type.dimensions})
        return DatasetRef(id_, of.type, data_id, self.names.collections_by_id[run_id].name, version)


def _all(database: Database, statement: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[Any]:
    return database.read(lambda connection: list(connection.execute(statement, values)))


def _by_data_ids(database: Database, join: _Join) -> Iterator[tuple[DatasetRef, ...]]:
    """Yield the datasets of the data IDs that regions tell, all of which are in memory."""
    assert join.sky is not None
    columns = join.sky.columns(join.told)
    known: list[dict[tuple[Any, ...], list[DatasetRef]]] = []
    for one in join.rows:
        of_key: dict[tuple[Any, ...], list[DatasetRef]] = {}
        head = (raw(one.rows.c.id), one.rows.c.run_id, one.rows.c.v)
        statement = sa.select(*head, *(one.columns[name] for name in one.type.dimensions))
        for id_, run_id, version, *key in _all(database, statement):
            values = dict(zip(one.type.dimensions, key, strict=True))
            ref = join.ref(one, values, database.rules.uuid_out(id_), run_id, version)
            of_key.setdefault(tuple(key), []).append(ref)
        known.append(of_key)
    places = [[join.told.index(name) for name in one.type.dimensions] for one in join.rows]
    for row in zip(*columns, strict=True):
        found = [
            of_key[tuple([row[at] for at in place])] for of_key, place in zip(known, places, strict=True)
        ]
        yield from product(*found)
