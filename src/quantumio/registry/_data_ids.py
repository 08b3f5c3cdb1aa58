"""The data IDs that exist because of dimension records: joined on shared keys, and by overlap on the sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quantumio.errors import ErrorKind
from quantumio.model import DataId
from quantumio.registry._arguments import check_bind, check_names
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._record_join import has_records
from quantumio.registry._sky_join import Asked, SkyJoin, families
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._tree import Expression, names_of
from quantumio.registry._universe_schema import Tables

__all__ = ["DataIdQueries"]


class DataIdQueries:
    """Queries over data IDs alone."""

    def __init__(self, database: Database, tables: Tables, sky: SkySearch) -> None:
        self._database = database
        self._tables = tables
        self._sky = sky

    def data_ids(
        self,
        dimensions: Sequence[str],
        data_id: Mapping[str, Any],
        where: str | None,
        bind: Mapping[str, object],
    ) -> list[DataId]:
        """Return the data IDs over the dimensions that exist as records, in order."""
        wanted = self._tables.universe.required(check_names(dimensions, "dimension", ErrorKind.DIMENSION))
        if not wanted:
            return [DataId({})]
        bind = check_bind(bind)
        expression = None if where is None else parse(where)
        over = self._over(wanted, data_id, expression)
        asked = Asked(
            self._tables,
            self._database.rules,
            has_records(self._database, self._tables, over),
            data_id,
            where or "",
            bind,
        )
        terms = () if expression is None else self._sky.resolve(expression, asked.where, bind)
        whole = asked.part(over, data_id, terms)
        if len(families(self._tables.universe, over)) > 1:
            columns = SkyJoin(self._database, self._sky, asked, over, terms).columns(wanted)
            return [DataId(dict(zip(wanted, row, strict=True))) for row in zip(*columns, strict=True)]
        statement = whole.select([whole.columns[name] for name in wanted])
        ordered = statement.distinct().order_by(*(whole.columns[name] for name in wanted))
        rows = self._database.read(lambda connection: connection.execute(ordered).all())
        return [DataId(dict(zip(wanted, row, strict=True))) for row in rows]

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
