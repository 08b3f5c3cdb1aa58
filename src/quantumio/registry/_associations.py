"""Members of TAGGED and of CALIBRATION collections: sets in, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DataIdValue, DatasetRef, Timespan, check_run
from quantumio.ports import CollectionKind
from quantumio.registry._arguments import check_name, check_refs
from quantumio.registry._certify_each import RangesToCertify, Wanted
from quantumio.registry._clock import Clock
from quantumio.registry._collections import check_kind
from quantumio.registry._engine import Database
from quantumio.registry._lives import insert_collection
from quantumio.registry._members import Member, members_of, present, without_conflicts
from quantumio.registry._names import Collection, Edit, Names, NamesCache, TypeEntry
from quantumio.registry._universe_schema import GroupTables

__all__ = ["Associations"]

_CHUNK = 500


class Associations:
    """Associate, disassociate, certify, decertify."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock
        self._rules = database.rules
        self._ranges = RangesToCertify(database, names)

    # -- TAGGED
    def associate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Add refs to a TAGGED collection."""
        check_run(name, "collection")
        refs = check_refs(refs)
        with self._database.edit(f"associating with {name}") as connection:
            collection, edit, names = self._collection(connection, name, CollectionKind.TAGGED)
            for group, members in members_of(connection, names, refs):
                there = present(connection, self._rules, group, group.tag, collection, members)
                new = list(without_conflicts(name, members, there, None))
                _insert(connection, group, group.tag, collection, edit, new, [{}] * len(new))

    def disassociate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Take refs out of a TAGGED collection."""
        check_run(name, "collection")
        refs = check_refs(refs)
        with self._database.edit(f"disassociating from {name}") as connection:
            edit = self._clock.advance(connection)
            names = self._names.within(connection, edit)
            collection = check_kind(names.collection(name), CollectionKind.TAGGED)
            for group, members in members_of(connection, names, refs, missing_is_fine=True):
                for start in range(0, len(members), _CHUNK):
                    ids = [member.id for member in members[start : start + _CHUNK]]
                    connection.execute(
                        sa.update(group.tag)
                        .where(
                            group.tag.c.dataset_id.in_(ids),
                            group.tag.c.collection_id == collection.id,
                            group.tag.c.removed_seq.is_(None),
                        )
                        .values(removed_seq=edit.seq)
                    )

    # -- CALIBRATION
    def certify(self, name: str, refs: Sequence[DatasetRef], timespan: Timespan) -> None:
        """Add refs to a CALIBRATION collection as valid in the timespan."""
        check_run(name, "collection")
        _check_timespan(timespan)
        refs = check_refs(refs)
        span = {"begin_ns": timespan.begin_ns, "end_ns": timespan.end_ns}
        with self._database.edit(f"certifying in {name}") as connection:
            collection, edit, names = self._collection(connection, name, CollectionKind.CALIBRATION)
            for group, members in members_of(connection, names, refs):
                there = present(
                    connection, self._rules, group, group.calibration, collection, members, timespan
                )
                new = list(without_conflicts(name, members, there, timespan))
                _insert(connection, group, group.calibration, collection, edit, new, [span] * len(new))

    def certify_each(
        self, name: str, ids: Sequence[UUID], begin_ns: Sequence[int], end_ns: Sequence[int]
    ) -> int:
        """Add datasets to a CALIBRATION collection, each as valid in its own timespan; how many are new."""
        check_run(name, "collection")
        if not len(ids) == len(begin_ns) == len(end_ns):
            raise InvalidInputError(
                f"{len(ids)} datasets, {len(begin_ns)} begins and {len(end_ns)} ends were given",
                hint="give a begin and an end for each dataset",
                kind=ErrorKind.TIMESPAN,
            )
        for row, (begin, end) in enumerate(zip(begin_ns, end_ns, strict=True)):
            if begin >= end:
                raise InvalidInputError(
                    f"row {row}: dataset {ids[row]} is to be valid from {_tai(begin)} to {_tai(end)}: "
                    "in no time",
                    hint="give an end after the begin",
                    kind=ErrorKind.TIMESPAN,
                )
        wanted = Wanted(collection=name, ids=ids, begin_ns=begin_ns, end_ns=end_ns)
        ranges = self._ranges.read(wanted)
        with self._database.edit(f"certifying in {name}") as connection:
            collection, edit, names = self._collection(connection, name, CollectionKind.CALIBRATION)
            if not self._ranges.still_holds(connection, ranges, collection, edit):
                ranges = self._ranges.find(connection, names, collection, wanted, edit.seq)
            return self._ranges.write(connection, ranges, collection, edit)

    def decertify(
        self, name: str, dataset_type: str, timespan: Timespan, data_ids: Sequence[DataId] | None
    ) -> None:
        """End validity within the timespan."""
        check_run(name, "collection")
        check_name(dataset_type, "dataset type", ErrorKind.DATASET_TYPE)
        _check_timespan(timespan)
        with self._database.edit(f"decertifying in {name}") as connection:
            edit = self._clock.advance(connection)
            names = self._names.within(connection, edit)
            collection = check_kind(names.collection(name), CollectionKind.CALIBRATION)
            entry = names.type(dataset_type)
            wanted = None if data_ids is None else [_known_keys(entry, data_id) for data_id in data_ids]
            _cut(connection, entry.group, (collection.id, entry.id), timespan, edit, wanted)

    # -- inside of the transaction
    def _collection(
        self, connection: sa.Connection, name: str, kind: CollectionKind
    ) -> tuple[Collection, Edit, Names]:
        """Take the clock and return the collection, made where there is none."""
        edit = self._clock.advance(connection)
        names = self._names.within(connection, edit)
        known = names.collections.get(name)
        if known is not None:
            return check_kind(known, kind), edit, names
        self._clock.advance(connection, steps=0, names=True)
        return insert_collection(connection, names, edit, name, kind), edit, names


def _known_keys(entry: TypeEntry, data_id: DataId) -> Mapping[str, DataIdValue]:
    if not isinstance(data_id, Mapping):
        raise InvalidInputError(
            f"{data_id!r:.80} ({type(data_id).__name__}) is no data ID",
            hint="give a list of mappings such as {'detector': 5}",
            kind=ErrorKind.DATA_ID,
        )
    if unknown := [name for name in data_id if name not in entry.group.columns]:
        raise InvalidInputError(
            f"{entry.type.name} has no dimension {', '.join(map(repr, unknown))}",
            hint=f"its data IDs have {', '.join(entry.type.dimensions) or 'no keys'}",
            kind=ErrorKind.DATA_ID,
        )
    return data_id


def _check_timespan(timespan: Timespan) -> None:
    if not isinstance(timespan, Timespan):
        raise InvalidInputError(f"{timespan!r} is no Timespan", kind=ErrorKind.TIMESPAN)
    if timespan.is_empty:
        raise InvalidInputError(
            f"the timespan {timespan} TAI is empty: nothing is valid in it",
            hint="give an end after the begin",
            kind=ErrorKind.TIMESPAN,
        )


def _tai(ns: int) -> str:
    time = Timespan(ns, ns).begin
    return "unbounded" if time is None else f"{time.isot} TAI"


def _insert(
    connection: sa.Connection,
    group: GroupTables,
    table: sa.Table,
    collection: Collection,
    edit: Edit,
    members: Sequence[Member],
    spans: Sequence[Mapping[str, int]],
) -> None:
    rows = [
        {
            "collection_id": collection.id,
            "type_id": member.type_id,
            **dict(zip(group.columns.values(), member.values, strict=True)),
            **span,
            "dataset_id": member.id,
            "added_seq": edit.seq,
        }
        for member, span in zip(members, spans, strict=True)
    ]
    if rows:
        connection.execute(sa.insert(table), rows)


def _cut(
    connection: sa.Connection,
    group: GroupTables,
    of: tuple[int, int],
    timespan: Timespan,
    edit: Edit,
    wanted: Sequence[Mapping[str, DataIdValue]] | None,
) -> None:
    """Replace each range that overlaps by what is left of it on both sides."""
    table = group.calibration
    here = [table.c.collection_id == of[0], table.c.type_id == of[1], table.c.removed_seq.is_(None)]
    overlap = [table.c.begin_ns < timespan.end_ns, table.c.end_ns > timespan.begin_ns]
    rows = [
        row
        for row in connection.execute(sa.select(table).where(*here, *overlap)).mappings()
        if wanted is None or _matches(group, row, wanted)
    ]
    left = [
        {**row, "begin_ns": begin, "end_ns": end, "added_seq": edit.seq}
        for row in rows
        for begin, end in ((row["begin_ns"], timespan.begin_ns), (timespan.end_ns, row["end_ns"]))
        if begin < end
    ]
    keys = ("collection_id", "type_id", *group.columns.values(), "begin_ns", "added_seq")
    if rows:
        connection.execute(
            sa.update(table)
            .where(*(table.c[key] == sa.bindparam(f"old_{key}") for key in keys))
            .values(removed_seq=edit.seq),
            [{f"old_{key}": row[key] for key in keys} for row in rows],
        )
    if left:
        connection.execute(sa.insert(table), left)


def _matches(group: GroupTables, row: Mapping[Any, Any], wanted: Sequence[Mapping[str, DataIdValue]]) -> bool:
    return any(all(row[group.columns[name]] == value for name, value in one.items()) for one in wanted)
