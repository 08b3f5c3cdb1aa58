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
from quantumio.registry._clock import Clock
from quantumio.registry._collections import check_kind
from quantumio.registry._engine import Database
from quantumio.registry._lives import insert_collection
from quantumio.registry._members import (
    Certification,
    Member,
    Present,
    members_of,
    without_conflicts,
    without_overlaps,
)
from quantumio.registry._names import Collection, Edit, Names, NamesCache, TypeEntry
from quantumio.registry._universe_schema import GroupTables

__all__ = ["Associations"]

_CHUNK = 500
_BATCH = 5_000


class Associations:
    """Associate, disassociate, certify, decertify."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock

    # -- TAGGED
    def associate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Add refs to a TAGGED collection."""
        check_run(name, "collection")
        refs = check_refs(refs)
        with self._database.edit(f"associating with {name}") as connection:
            collection, edit, names = self._collection(connection, name, CollectionKind.TAGGED)
            for group, members in members_of(connection, names, refs):
                there = self._live(connection, group, group.tag, collection, members)
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
                there = self._live(connection, group, group.calibration, collection, members, timespan)
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
                    f"row {row}: dataset {ids[row]} is to be valid from {begin} to {end} ns: in no time",
                    hint="give an end after the begin",
                    kind=ErrorKind.TIMESPAN,
                )
        number = 0
        with self._database.edit(f"certifying in {name}") as connection:
            collection, edit, names = self._collection(connection, name, CollectionKind.CALIBRATION)
            found = list(members_of(connection, names, ids))
            by_id = {member.id: member for _, members in found for member in members}
            wanted: dict[int, list[Certification]] = {}
            for row, (id_, begin, end) in enumerate(zip(ids, begin_ns, end_ns, strict=True)):
                member = by_id[id_]
                wanted.setdefault(member.type_id, []).append(Certification(member, begin, end, row))
            for group, members in found:
                there = self._live(connection, group, group.calibration, collection, members, Timespan())
                types = {member.type_id for member in members}
                new = without_overlaps(name, (one for of in types for one in wanted[of]), there)
                # In parts: a session of PostgreSQL that is silent for seconds is ended.
                for start in range(0, len(new), _BATCH):
                    part = new[start : start + _BATCH]
                    spans = [{"begin_ns": one.begin_ns, "end_ns": one.end_ns} for one in part]
                    members = [one.member for one in part]
                    _insert(connection, group, group.calibration, collection, edit, members, spans)
                number += len(new)
        return number

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

    def _live(
        self,
        connection: sa.Connection,
        group: GroupTables,
        table: sa.Table,
        collection: Collection,
        members: Sequence[Member],
        timespan: Timespan | None = None,
    ) -> list[Present]:
        """Return what is there under the keys of these members."""
        types = {"type_id": "int"} | {group.columns[name]: kind for name, kind in group.types.items()}
        wanted = self._database.rules.rows("wanted", types)
        same = [table.c[column] == wanted.c[column] for column in types]
        span = [table.c.begin_ns, table.c.end_ns] if timespan is not None else []
        keys = [table.c[column] for column in types]
        statement = (
            sa.select(table.c.dataset_id, *keys, *span)
            .select_from(wanted.join(table, sa.and_(*same)))
            .where(table.c.collection_id == collection.id, table.c.removed_seq.is_(None))
        )
        if timespan is not None:
            statement = statement.where(
                table.c.begin_ns < timespan.end_ns, table.c.end_ns > timespan.begin_ns
            )
        value = self._database.rules.rows_value({member.key for member in members}, types)
        size = len(keys)
        return [
            Present(tuple(rest[:size]), id_, *rest[size:])
            for id_, *rest in connection.execute(statement, {"wanted": value})
        ]


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
            f"the timespan {timespan} is empty: nothing is valid in it",
            hint="give an end after the begin",
            kind=ErrorKind.TIMESPAN,
        )


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
