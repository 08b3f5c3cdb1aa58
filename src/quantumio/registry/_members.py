"""Datasets on their way into a TAGGED or CALIBRATION collection, and what keeps them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ConflictError, ErrorKind, NotFoundError
from quantumio.model import DataIdValue, DatasetRef, Timespan
from quantumio.registry._dialect import Rules
from quantumio.registry._names import Collection, Names
from quantumio.registry._schema import DATASET
from quantumio.registry._universe_schema import GroupTables

__all__ = [
    "Certification",
    "Member",
    "Present",
    "members_of",
    "present",
    "without_conflicts",
    "without_overlaps",
]

_CHUNK = 500


@frozen(eq=False)
class Member:
    """A committed dataset on its way into a collection."""

    id: UUID
    type_id: int
    values: tuple[DataIdValue, ...]
    ref: DatasetRef | UUID

    @property
    def key(self) -> tuple[Any, ...]:
        """What may be there only once (at one moment)."""
        return (self.type_id, *self.values)


@frozen
class Present:
    """A member that is in the collection, and when it is valid."""

    key: tuple[Any, ...]
    id: UUID
    begin_ns: int = 0
    end_ns: int = 0

    def is_for(self, timespan: Timespan | None) -> bool:
        """Whether it is there for this very timespan: a repeated call is no conflict."""
        return timespan is None or (self.begin_ns, self.end_ns) == (timespan.begin_ns, timespan.end_ns)


def members_of(
    connection: sa.Connection,
    names: Names,
    refs: Sequence[DatasetRef | UUID],
    *,
    missing_is_fine: bool = False,
) -> Iterator[tuple[GroupTables, list[Member]]]:
    """Yield what is committed of the refs, by dimension group; what the registry says of them holds."""
    by_id = {ref.id if isinstance(ref, DatasetRef) else ref: ref for ref in refs}
    types = _types_of(connection, list(by_id))
    groups: dict[tuple[str, ...], tuple[GroupTables, list[UUID]]] = {}
    for id_, type_id in types.items():
        group = names.types_by_id[type_id].group
        groups.setdefault(group.dimensions, (group, []))[1].append(id_)
    found = [(group, list(_rows_of(connection, group, ids, by_id))) for group, ids in groups.values()]
    there = {member.id for _, members in found for member in members}
    if not missing_is_fine and (missing := [ref for id_, ref in by_id.items() if id_ not in there]):
        raise NotFoundError(
            f"{missing[0]} is not committed{f', nor are {len(missing) - 1} others' if missing[1:] else ''}",
            hint="commit it, and wait for the commit, before it goes into a collection",
        )
    yield from found


def _types_of(connection: sa.Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    found: dict[UUID, int] = {}
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        rows = connection.execute(sa.select(DATASET.c.id, DATASET.c.type_id).where(DATASET.c.id.in_(part)))
        found |= {row.id: row.type_id for row in rows}
    return found


def _rows_of(
    connection: sa.Connection,
    group: GroupTables,
    ids: Sequence[UUID],
    by_id: Mapping[UUID, DatasetRef | UUID],
) -> Iterator[Member]:
    table = group.dataset
    columns = [table.c[column] for column in group.columns.values()]
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        for id_, type_id, *values in connection.execute(
            sa.select(table.c.id, table.c.type_id, *columns).where(
                table.c.id.in_(part), table.c.removed_seq.is_(None)
            )
        ):
            yield Member(id_, type_id, tuple(values), by_id[id_])


def present(
    connection: sa.Connection,
    rules: Rules,
    group: GroupTables,
    table: sa.Table,
    collection: Collection,
    members: Iterable[Member],
    timespan: Timespan | None = None,
) -> list[Present]:
    """Return what is in a TAGGED or CALIBRATION collection under the keys of these members.

    Parameters
    ----------
    table
        That of members of collections of its kind, in the group.
    timespan
        When what is in a CALIBRATION collection is to be valid; None: at any time.
    """
    types = {"type_id": "int"} | {group.columns[name]: kind for name, kind in group.types.items()}
    wanted = rules.rows("wanted", types)
    same = [table.c[column] == wanted.c[column] for column in types]
    span = [table.c.begin_ns, table.c.end_ns] if table is group.calibration else []
    keys = [table.c[column] for column in types]
    statement = (
        sa.select(table.c.dataset_id, *keys, *span)
        .select_from(wanted.join(table, sa.and_(*same)))
        .where(table.c.collection_id == collection.id, table.c.removed_seq.is_(None))
    )
    if timespan is not None:
        statement = statement.where(table.c.begin_ns < timespan.end_ns, table.c.end_ns > timespan.begin_ns)
    value = rules.rows_value({member.key for member in members}, types)
    size = len(keys)
    return [
        Present(tuple(rest[:size]), id_, *rest[size:])
        for id_, *rest in connection.execute(statement, {"wanted": value})
    ]


def without_conflicts(
    name: str, members: Iterable[Member], there: Iterable[Present], same_span: Timespan | None
) -> Iterator[Member]:
    """Yield the members that are new; refuse them all where one cannot be."""
    taken = {row.key: row for row in there}  # of several none is there for the same span: they would overlap
    for member in members:
        known = taken.get(member.key)
        if known is None:
            span = same_span or Timespan()
            taken[member.key] = Present(member.key, member.id, span.begin_ns, span.end_ns)
            yield member
        elif known.id != member.id or not known.is_for(same_span):
            raise _conflict(name, member, known, same_span)


@frozen(eq=False)
class Certification:
    """A dataset that is to be valid in a timespan, and the number of its row among those that were given."""

    member: Member
    begin_ns: int
    end_ns: int
    row: int


def without_overlaps(
    name: str, wanted: Iterable[Certification], there: Iterable[Present]
) -> list[Certification]:
    """Return the certifications that are new; refuse them all where two ranges of a data ID overlap.

    The very same one again is no overlap.
    """
    by_key: dict[tuple[Any, ...], list[_Range]] = {}
    for known in there:
        by_key.setdefault(known.key, []).append((known.begin_ns, known.end_ns, -1, known.id, None))
    for one in wanted:
        ranges = by_key.setdefault(one.member.key, [])
        ranges.append((one.begin_ns, one.end_ns, one.row, one.member.id, one))
    new = []
    for ranges in by_key.values():
        ranges.sort(key=itemgetter(0, 1, 2))  # what is there comes before what is the same
        last: _Range | None = None
        for current in ranges:
            begin, end, _, id_, certification = current
            if last is not None and begin < last[1]:
                if (begin, end, id_) != (last[0], last[1], last[3]):
                    raise _overlap(name, *sorted((last, current), key=itemgetter(2)))
                continue
            last = current
            if certification is not None:
                new.append(certification)
    return sorted(new, key=attrgetter("row"))


_Range: TypeAlias = "tuple[int, int, int, UUID, Certification | None]"


def _overlap(name: str, other: _Range, refused: _Range) -> ConflictError:
    where = "is valid in" if other[2] < 0 else f"is to be valid (row {other[2]}) in"
    what = "it" if other[3] == refused[3] else f"dataset {other[3]} of the same data ID"
    return ConflictError(
        f"row {refused[2]}: dataset {refused[3]} cannot be valid in {Timespan(refused[0], refused[1])} TAI "
        f"in {name!r}: {what} {where} {Timespan(other[0], other[1])} TAI; nothing was changed",
        hint="decertify that one first, or give another timespan",
        kind=ErrorKind.VALIDITY_OVERLAP,
    )


def _conflict(name: str, member: Member, row: Present, span: Timespan | None) -> ConflictError:
    what = "it" if row.id == member.id else f"dataset {row.id} of the same data ID"
    valid = "" if span is None else f", valid in {Timespan(row.begin_ns, row.end_ns)} TAI"
    return ConflictError(
        f"{member.ref} cannot go into {name!r}: {what} is in it{valid}; nothing was changed",
        hint="disassociate that one first"
        if span is None
        else "decertify that one first, or give another timespan",
        kind=ErrorKind.EXISTS if span is None else ErrorKind.VALIDITY_OVERLAP,
    )
