"""When and where datasets were observed, as ObsCore (IVOA) has it, from the records of their dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from quantumio.model import Dimension, Region, Timespan
from quantumio.registry._past_names import there_at
from quantumio.registry._universe_schema import GroupTables, RecordTable, Tables

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OBSERVED", "ObservedColumns", "observed_columns", "observed_values"]

OBSERVED: Final = ("s_region", "t_min", "t_max", "t_exptime")
_EXPOSURE_TIME: Final = "exposure_time_s"
_DAY_NS: Final = 86_400 * 10**9
_UNBOUNDED: Final = (Timespan().begin_ns, Timespan().end_ns)


class ObservedColumns:
    """Columns of records, with the joins that bring them to rows of datasets."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.columns: list[sa.ColumnElement[Any]] = []
        self._records: list[tuple[RecordTable, sa.FromClause, list[sa.ColumnElement[bool]]]] = []

    def join(self, record: RecordTable, seq: int | sa.BindParameter[int]) -> sa.FromClause:
        """Return a record table that is joined, as it was at a moment."""
        alias = record.table.alias(f"observed_{len(self._records)}")
        self._records.append((record, alias, there_at(alias, seq)))
        return alias

    def add(self, columns: Mapping[str, sa.ColumnElement[Any]]) -> None:
        """Add columns by the names that they are to have."""
        self.names += columns
        self.columns += columns.values()

    def joins(
        self, dimensions: Mapping[str, sa.ColumnElement[Any]]
    ) -> list[tuple[sa.FromClause, sa.ColumnElement[bool]]]:
        """Return the tables to join to rows that have these columns of dimensions, and on what."""
        return [
            (
                alias,
                sa.and_(
                    *(alias.c[record.fields[key]] == dimensions[key] for key in record.element.record_keys),
                    *there,
                ),
            )
            for record, alias, there in self._records
        ]


def observed_columns(
    tables: Tables, group: GroupTables, seq: int | sa.BindParameter[int], asked: set[str]
) -> ObservedColumns:
    """Return what is to be read for the ObsCore columns that are asked for."""
    found = ObservedColumns()
    there = [
        element for element in tables.universe.values() if set(element.record_keys) <= group.columns.keys()
    ]
    temporal = [element for element in there if element.temporal]
    if temporal and asked & {"t_min", "t_max", "t_exptime"}:
        record = tables.record(temporal[-1].name)  # as for look-ups of calibrations
        joined = found.join(record, seq)
        found.add({"observed.begin": joined.c.begin_ns, "observed.end": joined.c.end_ns})
        if record.kinds.get(_EXPOSURE_TIME) == "float":
            found.add({"observed.exposure": joined.c[record.fields[_EXPOSURE_TIME]]})
    spatial = sorted((element for element in there if element.spatial), key=_keys, reverse=True)
    if spatial and "s_region" in asked:
        # The region of the detector, or of all of the visit where that of the detector is not known.
        family = [element for element in spatial if element.spatial == spatial[0].spatial]
        regions = [found.join(tables.record(element.name), seq).c.region for element in family]
        region = sa.func.coalesce(*regions) if len(regions) > 1 else regions[0]
        found.add({"observed.region": region})
    return found


def _keys(element: Dimension) -> int:
    return len(element.record_keys)


def observed_values(name: str, values: Mapping[str, Sequence[Any]], size: int) -> pa.Array:
    """Return one ObsCore column; without values where the dataset type has none such."""
    import pyarrow as pa

    if name == "s_region":
        texts = values.get("observed.region", [None] * size)
        return pa.array([None if text is None else _stc(text) for text in texts], pa.string())
    begin = values.get("observed.begin", [None] * size)
    end = values.get("observed.end", [None] * size)
    if name == "t_min":
        return pa.array(_mjd(begin), from_pandas=True)
    if name == "t_max":
        return pa.array(_mjd(end), from_pandas=True)
    given = values.get("observed.exposure", [None] * size)
    seconds = [
        exposure if exposure is not None or _is_open(first) or _is_open(last) else (last - first) / 1e9
        for exposure, first, last in zip(given, begin, end, strict=True)
    ]
    return pa.array(seconds, pa.float64())


def _is_open(end_ns: int | None) -> bool:
    return end_ns is None or end_ns in _UNBOUNDED


def _mjd(ends_ns: Sequence[int | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return Modified Julian Dates (UTC) of TAI nanoseconds; NaN for an end that is open or not known."""
    from erfa import ufunc  # the routines without warnings for years to come

    is_open = np.array([_is_open(end) for end in ends_ns], bool)
    tai = np.array([0 if _is_open(end) else end for end in ends_ns], np.int64)
    days, rest = np.divmod(tai, _DAY_NS)
    day, fraction, _ = ufunc.taiutc(2440587.5 + days, rest / _DAY_NS)
    mjd: np.ndarray[Any, np.dtype[np.float64]] = np.where(is_open, np.nan, (day - 2400000.5) + fraction)
    return mjd


@lru_cache(maxsize=4096)
def _stc(text: str) -> str | None:
    """Return a region in STC-S, as ObsCore has it; STC-S in TAP has nothing like RANGE."""
    region = Region.make(text)
    if region.shape == "RANGE":
        return None
    return f"{region.shape} ICRS {' '.join(map(repr, region.coordinates))}"
