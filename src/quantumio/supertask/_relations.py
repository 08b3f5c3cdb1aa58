"""What dimension records say of how data IDs over different dimensions belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from quantumio.butler import Butler
from quantumio.model import DataIdValue

__all__ = ["Relations", "Row", "join", "project", "uniform"]

Row = Mapping[str, DataIdValue]
"""Values of some dimensions."""

_DEFINITION: Final = "visit_definition"


class Relations:
    """Extends data IDs by what follows from dimension records; each table is read once.

    Parameters
    ----------
    butler
        Has the records.
    """

    def __init__(self, butler: Butler) -> None:
        self._butler = butler
        self.universe = butler.dimensions
        self._records: dict[tuple[str, Row | object], dict[tuple[object, ...], dict[str, object]]] = {}
        self._visits: dict[tuple[object, str], dict[int, list[int]]] = {}

    def extend(self, row: Row, wanted: Iterable[str]) -> list[Row]:
        """Return all that a row says about the wanted dimensions; several rows where it belongs to several.

        Implied dimensions follow from records, exposure and visit from each other. What cannot be told is
        left out. A row that contradicts the records gives none.
        """
        wanted = tuple(wanted)
        rows = self._implied([dict(row)])
        if any(name not in row for row in rows for name in wanted):
            rows = self._implied([related for row in rows for related in self._related(row)])
        return project(rows, wanted)

    # -- implied dimensions
    def _implied(self, rows: list[dict[str, DataIdValue]]) -> list[dict[str, DataIdValue]]:
        return [row for row in rows if self._imply(row)]

    def _imply(self, row: dict[str, DataIdValue]) -> bool:
        """Add what the records of a row's dimensions imply; False if they contradict the row."""
        todo = [name for name in row if self.universe[name].implies]
        while todo:
            element = self.universe[todo.pop()]
            record = self._record(element.name, row)
            for name in element.implies:
                value = record.get(name)
                if not isinstance(value, (int, str)):
                    continue
                if row.setdefault(name, value) != value:
                    return False
                if self.universe[name].implies and name not in todo:
                    todo.append(name)
        return True

    def _record(self, element: str, row: Row) -> Mapping[str, object]:
        dimension = self.universe[element]
        if any(name not in row for name in dimension.record_keys):
            return {}
        common: dict[str, Any] = {name: row[name] for name in dimension.requires}
        known = element, tuple(common.items())
        if known not in self._records:
            self._records[known] = {
                tuple(record[name] for name in dimension.record_keys): record
                for record in self._butler.query_dimension_records(element, **common)
            }
        return self._records[known].get(tuple(row[name] for name in dimension.record_keys), {})

    # -- exposures and visits
    def _related(self, row: dict[str, DataIdValue]) -> list[dict[str, DataIdValue]]:
        if ("exposure" in row) == ("visit" in row) or "instrument" not in row:
            return [row]
        have, other = ("exposure", "visit") if "exposure" in row else ("visit", "exposure")
        table = self._definitions(row["instrument"], have)
        value = row[have]
        assert isinstance(value, int)
        return [{**row, other: number} for number in (table.get(value, []) if table else [value])]

    def _definitions(self, instrument: DataIdValue, have: str) -> dict[int, list[int]]:
        """Return which visits an exposure belongs to, or the other way round; empty where nobody said."""
        if (instrument, have) not in self._visits:
            tables: dict[str, dict[int, list[int]]] = {
                "exposure": defaultdict(list),
                "visit": defaultdict(list),
            }
            for record in self._butler.query_dimension_records(_DEFINITION, instrument=instrument):
                exposure, visit = record["exposure"], record["visit"]
                assert isinstance(exposure, int)
                assert isinstance(visit, int)
                tables["exposure"][exposure].append(visit)
                tables["visit"][visit].append(exposure)
            for name, table in tables.items():
                self._visits[instrument, name] = dict(table)
        return self._visits[instrument, have]

    # -- everything else
    def complete(
        self, rows: Sequence[Row], wanted: Sequence[str], where: str | None, bind: Mapping[str, object]
    ) -> list[Row]:
        """Join rows with dimension records for the wanted dimensions that they lack (also by space and time).

        Raises
        ------
        InvalidInputError
            A dimension has no records.
        """
        have = set(rows[0]) if rows else set()
        if not rows or have.issuperset(wanted):
            return list(rows)
        missing = self.universe.required([name for name in wanted if name not in have])
        # Only dimensions that join the missing ones are asked for: others may have no records at all.
        shared = [name for name in rows[0] if self.universe[name].temporal or self.universe[name].spatial]
        names = self.universe.required({*missing, *shared})
        found = self._butler.query_data_ids(names, where=where, bind=bind)
        return project(join(rows, [dict(one) for one in found]), wanted)


def project(rows: Iterable[Row], names: Iterable[str]) -> list[Row]:
    """Return the rows over these dimensions, as far as they have them; each once, in order."""
    kept = tuple(names)
    found = (tuple((name, row[name]) for name in kept if name in row) for row in rows)
    return [dict(one) for one in dict.fromkeys(found)]


def uniform(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have every dimension that any of them has."""
    names = {name for row in rows for name in row}
    return [row for row in rows if len(row) == len(names)]


def join(left: Sequence[Row], right: Sequence[Row]) -> list[Row]:
    """Return the natural join: every pair that agrees in the dimensions which both have."""
    left, right = uniform(left), uniform(right)
    if not left or not right:
        return []
    shared = [name for name in left[0] if name in right[0]]
    index: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in right:
        index[tuple(row[name] for name in shared)].append(row)
    return [{**row, **other} for row in left for other in index.get(tuple(row[name] for name in shared), ())]
