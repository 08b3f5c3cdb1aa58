"""Datasets by where they are: the images of a patch, the coadds that a visit lies on."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import DatasetQuery
from quantumio.registry._engine import Database
from quantumio.registry._record_join import has_records
from quantumio.registry._sky_join import Asked, families
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._tree import And, Expression, Name, Near, names_of
from quantumio.registry._universe_schema import Tables

__all__ = ["SkyDatasets"]


class SkyDatasets:
    """Takes conditions on the other spatial family for conditions on the regions of a dataset type."""

    def __init__(self, database: Database, tables: Tables, sky: SkySearch) -> None:
        self._database = database
        self._tables = tables
        self._sky = sky

    def narrowed(
        self, query: DatasetQuery, terms: Sequence[Expression], dimensions: tuple[str, ...]
    ) -> tuple[DatasetQuery, Expression | None]:
        """Return a query for a dataset type, and its expression, that name its own dimensions alone.

        What cannot be told by overlaps stays as it is: that a name is not known is said elsewhere.

        Raises
        ------
        InvalidInputError
            There are no regions to tell overlaps by, or a condition on the other family does not fit.
        """
        universe = self._tables.universe
        known = {*dimensions, *universe.implied(dimensions)}
        data_id = {name: value for name, value in query.data_id.items() if name not in known}
        beyond = [term for term in terms if not self._keys(term) <= known]
        keys = {*data_id, *(key for term in beyond for key in self._keys(term) - known)}
        own = families(universe, dimensions)
        over = universe.required(keys)
        other = {family: element for family, element in families(universe, over).items() if family not in own}
        if not keys or len(own) != 1 or len(other) != 1 or known & set(over):
            return query, And(tuple(terms)) if terms else None
        (element,), (others,) = own.values(), other.values()
        counts = has_records(self._database, self._tables, over, query.as_of)
        asked = Asked(
            self._tables,
            self._database.rules,
            counts,
            data_id,
            query.where or "",
            query.bind,
            as_of=query.as_of,
        )
        part = asked.part(over, data_id, beyond)
        record = part.scope.record(others.name)
        statement = part.select([record.c.geometry]).where(record.c.geometry.is_not(None)).distinct()
        regions = self._database.read(lambda connection: connection.execute(statement).scalars().all())
        numbers = self._sky.records(element.name, list(map(bytes, regions)))
        if numbers is None:
            raise InvalidInputError(
                f"no {element.name} has a region, so which lie on {', '.join(sorted(keys))} is not known",
                hint=f"insert_dimension({element.name!r}, [...]) with their regions",
                kind=ErrorKind.DIMENSION,
            )
        near = Near(Name(f"{element.name}.region", 0), numbers)
        own_terms = [term for term in terms if term not in beyond]
        own_id = {name: value for name, value in query.data_id.items() if name in known}
        return evolve(query, data_id=own_id), And((*own_terms, near))

    def are_own(self, terms: Sequence[Expression], dimensions: tuple[str, ...]) -> bool:
        """Whether terms name dimensions of a dataset type alone, or those that they imply."""
        known = {*dimensions, *self._tables.universe.implied(dimensions)}
        return all(self._keys(term) <= known for term in terms)

    def _keys(self, term: Expression) -> set[str]:
        """Return the dimensions that tell the records which a condition asks for."""
        universe = self._tables.universe
        elements = [universe.get(name.partition(".")[0]) for name in names_of(term)]
        return {key for element in elements if element is not None for key in element.record_keys}
