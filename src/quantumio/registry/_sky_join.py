"""Data IDs over dimensions of two spatial families: exactly those whose regions overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Dimension, DimensionUniverse
from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._record_join import DatasetRows, RecordJoin
from quantumio.registry._scope import Scope
from quantumio.registry._sky_search import SkySearch, pairs_of
from quantumio.registry._sky_vectors import Ints
from quantumio.registry._tree import Expression, Name, NearPairs, names_of
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where import Where, data_id_condition

__all__ = ["Asked", "Part", "SkyJoin", "families"]

Values: TypeAlias = npt.NDArray[np.object_]

_FEWER: Final = 10
"""It pays to find the cells of one side where the other has so many times more records."""


def families(universe: DimensionUniverse, names: Sequence[str]) -> dict[str, Dimension]:
    """Return of each spatial family that has dimensions here the most specific element."""
    here = [element for element in universe.values() if set(element.record_keys) <= set(names)]
    here.sort(key=lambda element: len(element.record_keys))
    return {element.spatial: element for element in here if element.spatial is not None}


@frozen(eq=False)
class Part:
    """Records joined over some dimensions, with the conditions on them."""

    columns: Mapping[str, sa.ColumnElement[Any]]
    scope: Scope
    source: sa.FromClause
    conditions: list[sa.ColumnElement[bool]]

    def select(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        """Return a SELECT of these columns."""
        return sa.select(*columns).select_from(self.scope.joined(self.source)).where(*self.conditions)


@frozen(eq=False)
class Asked:
    """What is asked of data IDs."""

    tables: Tables
    rules: Rules
    has_records: Mapping[str, bool]
    data_id: Mapping[str, Any]
    where: str
    bind: Mapping[str, object]
    datasets: Sequence[DatasetRows] = ()
    as_of: int | None = None

    def part(self, names: tuple[str, ...], data_id: Mapping[str, Any], terms: Sequence[Expression]) -> Part:
        """Return the join over some dimensions, with conditions.

        Raises
        ------
        InvalidInputError
            A dimension has no records, or a condition does not fit.
        """
        datasets = [one for one in self.datasets if set(one.columns) <= set(names)]
        joined = RecordJoin(self.tables, names, self.has_records, datasets, self.as_of)
        scope = Scope(
            self.tables,
            joined.columns,
            records=joined.records,
            datasets={one.dataset_type: one.rows for one in datasets},
            what=f"a data ID over {', '.join(names)}",
            as_of=self.as_of,
        )
        test = Where(self.where, self.bind, self.rules, scope)
        conditions = [*data_id_condition(self.tables, scope, data_id), *map(test.condition, terms)]
        return Part(joined.columns, scope, joined.source, [*joined.conditions, *conditions])


@frozen(eq=False)
class _Plan:
    """What the database is asked for one of the families."""

    element: Dimension
    names: tuple[str, ...]
    data_id: Mapping[str, Any]
    terms: Sequence[Expression]


@frozen(eq=False)
class _Side:
    """The data IDs of one family, with the regions that they have."""

    columns: Mapping[str, Values]
    regions: Sequence[bytes]


class SkyJoin:
    """Joins two families by overlap: each by itself in the database, their pairs by arithmetic.

    Parameters
    ----------
    database, sky, asked
        Where, and what.
    over, terms
        The dimensions of the join, and the conditions on them.

    Raises
    ------
    InvalidInputError
        There are more than two families, or an element with regions has no records.
    """

    def __init__(
        self,
        database: Database,
        sky: SkySearch,
        asked: Asked,
        over: tuple[str, ...],
        terms: Sequence[Expression],
    ) -> None:
        self._database = database
        self._sky = sky
        self._asked = asked
        self._over = over
        self._terms = terms
        self._universe = asked.tables.universe
        elements = list(families(self._universe, over).values())
        if len(elements) > 2:
            raise InvalidInputError(
                f"{', '.join(element.name for element in elements)} are of {len(elements)} spatial families",
                hint="ask for two of them at a time",
                kind=ErrorKind.DIMENSION,
            )
        for element in elements:
            if not asked.has_records[element.name]:
                raise InvalidInputError(
                    f"no records of {element.name!r} were inserted, so overlaps on the sky are not known",
                    hint=f"insert_dimension({element.name!r}, [...]) with their regions",
                    kind=ErrorKind.DIMENSION,
                )
        self._one, self._other = elements

    def columns(self, wanted: tuple[str, ...]) -> list[list[Any]]:
        """Return the values of each dimension, in order of the data IDs, each of which is there once."""
        plans = self._plans()
        if plans is None:
            return self._in_database(wanted)
        one, other = self._sides(*plans)
        i, j = pairs_of(one.regions, other.regions)
        for name in set(one.columns) & set(other.columns):
            same = one.columns[name][i] == other.columns[name][j]
            i, j = i[same], j[same]
        return _in_order(
            [(one.columns[name], i) if name in one.columns else (other.columns[name], j) for name in wanted]
        )

    def _in_database(self, wanted: tuple[str, ...]) -> list[list[Any]]:
        """Join what belongs to both families in more than one way: the database is told all pairs."""
        one, other = self._one.name, self._other.name
        pairs = NearPairs(Name(f"{one}.region", 0), Name(f"{other}.region", 0), self._sky.pairs(one, other))
        part = self._asked.part(self._over, self._asked.data_id, (*self._terms, pairs))
        columns = [part.columns[name] for name in wanted]
        statement = part.select(columns).distinct().order_by(*columns)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in wanted]

    # -- each family by itself
    def _plans(self) -> tuple[_Plan, _Plan] | None:
        """Return what to ask for each family; None if something belongs to both."""
        universe, over = self._universe, self._over
        only_one = set(self._one.record_keys) - set(self._other.record_keys)
        only_other = set(self._other.record_keys) - set(self._one.record_keys)
        related = [
            element.record_keys for element in universe.values() if self._asked.has_records.get(element.name)
        ]
        related += [tuple(one.columns) for one in self._asked.datasets]
        if any(only_one & set(keys) and only_other & set(keys) for keys in related):
            return None
        of_other = universe.required(name for name in over if only_other & set(universe.required([name])))
        of_other = universe.sort({*of_other, *(set(universe.implied(of_other)) & set(over))})
        of_one = tuple(name for name in over if not only_other & set(universe.required([name])))
        known_one, known_other = (self._known(names) for names in (of_one, of_other))
        if known_one & only_other or known_other & only_one:
            return None
        for one in self._asked.datasets:
            if not (set(one.columns) <= set(of_one) or set(one.columns) <= set(of_other)):
                return None
        data_id = self._asked.data_id
        ids_one = {name: value for name, value in data_id.items() if name in known_one}
        ids_other = {name: value for name, value in data_id.items() if name not in known_one}
        terms_one, terms_other = [], []
        for term in self._terms:
            keys = {key for name in names_of(term) for key in self._keys(name)}
            if keys <= known_one:
                terms_one.append(term)
            elif keys <= known_other:
                terms_other.append(term)
            else:
                return None
        return (
            _Plan(self._one, of_one, ids_one, terms_one),
            _Plan(self._other, of_other, ids_other, terms_other),
        )

    def _known(self, names: Sequence[str]) -> set[str]:
        return {*names, *self._universe.implied(names)}

    def _keys(self, name: str) -> tuple[str, ...]:
        """Return the dimensions that tell what a name asks for; that of a dataset may be of several."""
        first = name.partition(".")[0]
        if first in self._universe:
            return self._universe[first].record_keys
        known = self._asked.datasets
        named = [one for one in known if first == one.dataset_type] or known
        return tuple(key for one in named for key in one.columns)

    def _sides(self, one: _Plan, other: _Plan) -> tuple[_Side, _Side]:
        """Return both; of the second one only what may be near the first, if that is little."""
        if one.data_id or one.terms:
            first = self._side(one, None)
            return first, self._side(other, first)
        first = self._side(other, None)
        return self._side(one, first), first

    def _side(self, plan: _Plan, first: _Side | None) -> _Side:
        part = self._asked.part(plan.names, plan.data_id, plan.terms)
        record = part.scope.record(plan.element.name)
        columns = [part.columns[name] for name in plan.names]
        statement = part.select([*columns, record.c.geometry]).where(record.c.geometry.is_not(None))
        if first is not None and len(first.regions) * _FEWER < self._most(plan.element):
            near = self._sky.near(plan.element.name, first.regions)
            statement = statement.where(sa.false() if near is None else record.c.record_id.in_(near))
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        *values, regions = zip(*rows, strict=True) if rows else [()] * (len(columns) + 1)
        return _Side(
            {name: np.array(of, object) for name, of in zip(plan.names, values, strict=True)},
            list(map(bytes, regions)),
        )

    def _most(self, element: Dimension) -> int:
        """Return the number of records that there ever were."""
        table = self._asked.tables.record(element.name).table
        statement = sa.select(sa.func.max(table.c.record_id))
        return int(self._database.read(lambda connection: connection.execute(statement).scalar()) or 0)


def _in_order(columns: Sequence[tuple[Values, Ints]]) -> list[list[Any]]:
    """Return columns of chosen values, their rows in order and each once."""
    distinct = [np.unique(values, return_inverse=True) for values, _ in columns]
    codes = [code[chosen] for (_, code), (_, chosen) in zip(distinct, columns, strict=True)]
    order = np.lexsort(codes[::-1])
    rows = np.stack(codes)[:, order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (rows[:, 1:] != rows[:, :-1]).any(0)
    return [values[row].tolist() for (values, _), row in zip(distinct, rows[:, new], strict=True)]
