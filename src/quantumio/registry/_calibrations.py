"""Calibrations for many data IDs at once: what is valid at the time of each."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import field, frozen

from quantumio.errors import ErrorKind
from quantumio.model import DataId, DataIdValue, DatasetType, Timespan
from quantumio.ports import CollectionKind
from quantumio.registry._arguments import check_names
from quantumio.registry._dialect import BIG_INTEGER
from quantumio.registry._engine import Database
from quantumio.registry._find import Finder
from quantumio.registry._moments import Moments
from quantumio.registry._names import Collection, NamesCache, TypeEntry
from quantumio.registry._universe_schema import GroupTables

__all__ = ["Calibrations"]

_Key = tuple[DataIdValue, ...]


@frozen(eq=False)
class _Ranges:
    """The ranges of one data ID in one collection: they do not overlap, and come in the order of time."""

    begins: list[int] = field(factory=list)
    ends: list[int] = field(factory=list)
    ids: list[UUID] = field(factory=list)


class Calibrations:
    """Looks calibrations up for many data IDs."""

    def __init__(self, database: Database, names: NamesCache, finder: Finder, moments: Moments) -> None:
        self._database = database
        self._names = names
        self._finder = finder
        self._moments = moments

    def find_each(
        self,
        dataset_type: DatasetType,
        values: Mapping[str, Sequence[DataIdValue]],
        timespans: Sequence[Timespan | None],
        collections: Sequence[str],
        as_of: int | None = None,
    ) -> tuple[list[UUID | None], list[int]]:
        """Return of each data ID, at its time, the match if there is one, and how many there are.

        The first collection that has any decides, as for one look-up. ``values`` are columns of complete data
        IDs. With ``as_of`` what there was after this commit or edit.
        """
        names = self._names.current() if as_of is None else self._moments.names(as_of)
        entry = names.type(dataset_type.name)
        found: list[UUID | None] = [None] * len(timespans)
        numbers = [0] * len(timespans)
        times = [timespan for timespan in timespans if timespan is not None]
        left: Sequence[int] = range(len(timespans))
        columns = [values[name] for name in entry.group.dimensions]
        keys: list[_Key] = list(zip(*columns, strict=True)) or [()] * len(timespans)
        for collection in names.search(check_names(collections, "collection", ErrorKind.COLLECTION)):
            if not left:
                break
            if collection.kind is CollectionKind.CALIBRATION:
                ranges = self._ranges(entry, collection, times, as_of)
                for index in left:
                    timespan, there = timespans[index], ranges.get(keys[index])
                    if timespan is None or there is None:
                        continue
                    first = bisect_right(there.ends, timespan.begin_ns)
                    behind = bisect_left(there.begins, timespan.end_ns)
                    if behind - first == 1:
                        found[index], numbers[index] = there.ids[first], 1
                    elif valid := list(dict.fromkeys(there.ids[first:behind])):  # each once
                        found[index], numbers[index] = (valid[0] if len(valid) == 1 else None), len(valid)
            else:
                for index in left:
                    data_id = DataId(dict(zip(entry.group.dimensions, keys[index], strict=True)))
                    stored = self._finder.find(entry.type, data_id, [collection.name], None, None, as_of)
                    if stored is not None:
                        found[index], numbers[index] = stored.ref.id, 1
            left = [index for index in left if not numbers[index]]
        return found, numbers

    def _ranges(
        self, entry: TypeEntry, collection: Collection, timespans: Sequence[Timespan], as_of: int | None
    ) -> dict[_Key, _Ranges]:
        """Return all ranges that overlap any of the timespans, and some that lie between these."""
        found: dict[_Key, _Ranges] = {}
        if not timespans:
            return found
        statement = self._database.prepare(_ranges_statement, entry.group, as_of is None)
        values = {
            "collection_id": collection.id,
            "type_id": entry.id,
            "first_ns": min([one.begin_ns for one in timespans]),
            "last_ns": max([one.end_ns for one in timespans]),
            "as_of": as_of,
        }
        uuid_out = self._database.rules.uuid_out
        ids: dict[Any, UUID] = {}
        for raw_id, begin, end, *key in self._database.fetch(statement, values):
            if (ranges := found.get(tuple(key))) is None:
                ranges = found[tuple(key)] = _Ranges()
            if raw_id not in ids:
                ids[raw_id] = uuid_out(raw_id)
            ranges.begins.append(begin)
            ranges.ends.append(end)
            ranges.ids.append(ids[raw_id])
        return found


def _ranges_statement(group: GroupTables, now: bool) -> sa.Select[Any]:
    columns, dataset = group.calibration.c, group.dataset.c
    there: list[sa.ColumnElement[bool]] = [columns.removed_seq.is_(None), dataset.removed_seq.is_(None)]
    if not now:
        as_of = sa.bindparam("as_of", type_=BIG_INTEGER)
        there = [
            condition
            for row, since in ((columns, columns.added_seq), (dataset, dataset.commit_seq))
            for condition in (since <= as_of, sa.or_(row.removed_seq.is_(None), row.removed_seq > as_of))
        ]
    return (
        sa.select(
            columns.dataset_id,
            columns.begin_ns,
            columns.end_ns,
            *(columns[column] for column in group.columns.values()),
        )
        .join(group.dataset, dataset.id == columns.dataset_id)
        .where(
            columns.collection_id == sa.bindparam("collection_id"),
            columns.type_id == sa.bindparam("type_id"),
            columns.begin_ns < sa.bindparam("last_ns", type_=BIG_INTEGER),
            columns.end_ns > sa.bindparam("first_ns", type_=BIG_INTEGER),
            *there,
        )
        .order_by(columns.begin_ns)
    )
