"""Records by their regions: near a place, or near each other; candidates by cells, decided exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Region
from quantumio.registry._engine import Database
from quantumio.registry._expression import bound, expression_error
from quantumio.registry._schema import COVER_LEVEL
from quantumio.registry._sky_cells import cell_range, cover, levels_of, near
from quantumio.registry._sky_cover import ANYWHERE
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from quantumio.registry._sky_vectors import Ints
from quantumio.registry._tree import (
    And,
    Area,
    Bind,
    Expression,
    Literal,
    Name,
    Near,
    NearPairs,
    Not,
    Or,
    Overlap,
    Shape,
    terms_of,
)
from quantumio.registry._universe_schema import Tables

__all__ = ["SkySearch", "pairs_of"]

_ALL_PAIRS: Final = 1 << 20
"""So many pairs are told apart by the caps about them sooner than by cells that must be found first."""

_FINER: Final = 2  # levels: a place is searched by some hundred cells, so that little beside it is looked at


def pairs_of(encoded: Sequence[bytes], others: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Return the positions of the regions that overlap, each pair once, in their order."""
    a, b = Regions.decode(encoded), Regions.decode(others)
    if len(a) * len(b) <= _ALL_PAIRS:
        i, j = np.divmod(np.arange(len(a) * len(b)), max(len(b), 1))
    else:
        i, j = near(cover(a, levels_of(a)), cover(b, levels_of(b)))
    found = overlaps(a, b, i, j)
    return i[found], j[found]


class SkySearch:
    """Finds records by the cells that are kept of them."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    def near(self, element: str, encoded: Sequence[bytes], finer: int = 0) -> sa.Select[Any] | None:
        """Return a SELECT of the numbers of records whose cells meet some regions; None if there are none."""
        level = self._database.read(
            lambda connection: connection.execute(
                sa.select(COVER_LEVEL.c.level).where(COVER_LEVEL.c.element == element)
            ).scalar()
        )
        if level is None:
            return None
        regions = Regions.decode(encoded)
        cells = np.unique(cover(regions, np.minimum(levels_of(regions) + finer, level))[1])
        first, last = cell_range(cells, level)
        types = {"first": "int", "last": "int"}
        ranges = [(ANYWHERE, ANYWHERE), *zip(first.tolist(), last.tolist(), strict=True)]
        sought = self._database.rules.rows("cells", types, self._database.rules.rows_value(ranges, types))
        listed = self._tables.record(element).cover
        assert listed is not None
        return sa.select(listed.c.record_id).select_from(
            sought.join(listed, listed.c.cell.between(sought.c.first, sought.c.last))
        )

    def records(self, element: str, encoded: Sequence[bytes], finer: int = 0) -> tuple[int, ...] | None:
        """Return the numbers of the records that overlap one of some regions; None if none has a region."""
        candidates = self.near(element, encoded, finer)
        if candidates is None:
            return None
        numbers, regions = self._regions(element, candidates)
        found, _ = pairs_of(regions, encoded)
        return tuple(numbers[position] for position in np.unique(found).tolist())

    def pairs(self, element: str, other: str) -> tuple[tuple[int, int], ...]:
        """Return the numbers of all records of two elements whose regions overlap."""
        (ones, regions), (others, other_regions) = self._regions(element), self._regions(other)
        found = pairs_of(regions, other_regions)
        return tuple((ones[i], others[j]) for i, j in zip(*(part.tolist() for part in found), strict=True))

    def _regions(
        self, element: str, candidates: sa.Select[Any] | None = None
    ) -> tuple[Sequence[int], Sequence[bytes]]:
        table = self._tables.record(element).table
        # Of all moments: the statement that is told their numbers knows which of them is meant.
        statement = sa.select(table.c.record_id, table.c.geometry).where(table.c.geometry.is_not(None))
        if candidates is not None:
            statement = statement.where(table.c.record_id.in_(candidates))
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        return [row[0] for row in rows], [bytes(row[1]) for row in rows]

    # -- expressions
    def resolve(
        self, expression: Expression, text: str, bind: Mapping[str, object]
    ) -> tuple[Expression, ...]:
        """Return the terms of an expression, with the records that overlap in place of regions.

        Raises
        ------
        InvalidInputError
            What is given is no region (``kind="expression"``); the message points at it.
        """
        resolved = _Resolved(self, text, bind)
        return tuple(map(resolved.of, terms_of(expression)))

    def has_regions(self, element: str) -> bool:
        """Tell whether a name is an element whose records have regions."""
        found = self._tables.universe.get(element)
        return found is not None and found.spatial is not None


@frozen(eq=False)
class _Resolved:
    search: SkySearch
    text: str
    bind: Mapping[str, object]

    def of(self, expression: Expression) -> Expression:
        match expression:
            case And(parts):
                return And(tuple(map(self.of, parts)))
            case Or(parts):
                return Or(tuple(map(self.of, parts)))
            case Not(of):
                return Not(self.of(of))
            case Overlap(left, right):
                return self._overlap(expression, left, right)
            case _:
                return expression

    def _overlap(self, test: Overlap, left: Area, right: Area) -> Expression:
        ours, others = self._element(left), self._element(right)
        if ours and others and isinstance(left, Name) and isinstance(right, Name):
            return NearPairs(left, right, self.search.pairs(ours, others))
        for element, name, area in ((ours, left, right), (others, right, left)):
            if element and isinstance(name, Name):
                if isinstance(area, Name):
                    raise self._error(area.at, f"{area.text} is no region", f"{name.text} is one")
                place = [self._region(area).encode()]
                return Near(name, self.search.records(element, place, _FINER) or ())
        return test  # of timespans

    def _element(self, area: Area) -> str | None:
        """Return the element whose region a name is."""
        if isinstance(area, Name):
            element, _, field = area.text.partition(".")
            if field == "region" and self.search.has_regions(element):
                return element
        return None

    def _error(self, at: int, what: str, hint: str | None = None) -> InvalidInputError:
        return expression_error(self.text, at, what, hint)

    def _region(self, area: Area) -> Region:
        if not isinstance(area, (Shape, Bind, Literal)):
            raise self._error(area.at, "this is a timespan, the other side is a region")
        try:
            if isinstance(area, Shape):
                return self._shape(area)
            return Region.make(area.value if isinstance(area, Literal) else bound(area, self.bind, self.text))
        except InvalidInputError as error:
            if error.kind is ErrorKind.EXPRESSION:
                raise
            raise self._error(area.at, error.message, error.hint) from error

    def _shape(self, shape: Shape) -> Region:
        if shape.kind == "REGION":
            (text,) = shape.values
            return Region.make(text.value if isinstance(text, Literal) else bound(text, self.bind, self.text))
        numbers = tuple(map(self._number, shape.values))
        if shape.kind != "BOX":
            return _region(shape.kind, numbers)
        ra, dec, width, height = numbers
        if not (width >= 0 and height >= 0):
            raise self._error(shape.at, "a box has no negative width or height")
        return _region("RANGE", (ra - width / 2, ra + width / 2, dec - height / 2, dec + height / 2))

    def _number(self, value: Literal | Bind) -> float:
        given = value.value if isinstance(value, Literal) else bound(value, self.bind, self.text)
        if isinstance(given, (bool, str, bytes)) or not hasattr(given, "__float__"):
            raise self._error(value.at, f"{given!r:.60} is no number", "write degrees of ICRS")
        return float(given)


def _region(shape: str, degrees: tuple[float, ...]) -> Region:
    return Region.make(f"{shape} {' '.join(map(repr, degrees))}")
