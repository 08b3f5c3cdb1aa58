"""Very many certifications at once: what they need is read before other writers are kept out.

Who certifies a hundred thousand calibrations has to know what each is, and whether its range is free. That
takes seconds. It is read at one moment, and once the clock is taken it is made sure that nothing of it has
changed since; where it has, it is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.ports import CollectionKind
from quantumio.registry._collections import check_kind
from quantumio.registry._dialect import BIG_INTEGER
from quantumio.registry._engine import Database
from quantumio.registry._members import Certification, members_of, present, without_overlaps
from quantumio.registry._names import Collection, Edit, Names, NamesCache
from quantumio.registry._new_rows import insert_statement
from quantumio.registry._schema import CLOCK
from quantumio.registry._universe_schema import GroupTables

__all__ = ["NewRanges", "RangesToCertify", "Wanted"]

_CHUNK: Final = 500
_BATCH: Final = 5_000
"""Rows of one call of the driver: a session of PostgreSQL that is silent for seconds is ended."""


@frozen(kw_only=True)
class Wanted:
    """Datasets, and from when to when each is to be valid in a collection."""

    collection: str
    ids: Sequence[UUID]
    begin_ns: Sequence[int]
    end_ns: Sequence[int]


@frozen(kw_only=True)
class NewRanges:
    """The certifications that were new after a commit or edit.

    Attributes
    ----------
    seq
        Number of the commit or edit.
    members
        Of each dimension group the datasets, as the driver takes their ids.
    rows
        Of each its new rows but for the collection and the edit, as the driver takes them.
    """

    seq: int
    members: Sequence[tuple[GroupTables, Sequence[Any]]]
    rows: Sequence[tuple[GroupTables, Sequence[tuple[Any, ...]]]]


class RangesToCertify:
    """Finds what is new of many certifications, makes sure that it still is, and writes it."""

    def __init__(self, database: Database, names: NamesCache) -> None:
        self._database = database
        self._names = names

    def read(self, wanted: Wanted) -> NewRanges:
        """Find what is new, at a moment of its own.

        Raises
        ------
        NotFoundError
            A dataset is not committed, or was deleted.
        ConflictError
            A range is not free, or the collection is of another kind.
        """

        def work(connection: sa.Connection) -> NewRanges:
            names = self._names.load(connection)
            seq = connection.execute(sa.select(CLOCK.c.seq)).scalar_one()
            collection = names.collections.get(wanted.collection)
            if collection is not None:
                check_kind(collection, CollectionKind.CALIBRATION)
            return self.find(connection, names, collection, wanted, seq)

        return self._database.read(work)

    def find(
        self,
        connection: sa.Connection,
        names: Names,
        collection: Collection | None,
        wanted: Wanted,
        seq: int,
    ) -> NewRanges:
        """Find what is new in the transaction of somebody else; see `read`.

        Parameters
        ----------
        collection
            Where they are to go; None where there is none yet.
        seq
            Number of the moment that the transaction sees.
        """
        uuid_in = self._database.rules.uuid_in
        found = list(members_of(connection, names, wanted.ids))
        by_id = {member.id: member for _, members in found for member in members}
        by_type: dict[int, list[Certification]] = {}
        given = zip(wanted.ids, wanted.begin_ns, wanted.end_ns, strict=True)
        for row, (id_, begin, end) in enumerate(given):
            member = by_id[id_]
            by_type.setdefault(member.type_id, []).append(Certification(member, begin, end, row))
        rows = []
        for group, members in found:
            there = (
                present(connection, self._database.rules, group, group.calibration, collection, members)
                if collection is not None
                else ()
            )
            types = {member.type_id for member in members}
            new = without_overlaps(wanted.collection, (one for of in types for one in by_type[of]), there)
            rows.append(
                (
                    group,
                    [
                        (
                            one.member.type_id,
                            *one.member.values,
                            one.begin_ns,
                            one.end_ns,
                            uuid_in(one.member.id),
                        )
                        for one in new
                    ],
                )
            )
        ids = [(group, [uuid_in(member.id) for member in members]) for group, members in found]
        return NewRanges(seq=seq, members=ids, rows=rows)

    def still_holds(
        self, connection: sa.Connection, ranges: NewRanges, collection: Collection, edit: Edit
    ) -> bool:
        """Whether nothing of what was found has changed: datasets are there, no range has come or gone."""
        if edit.seq == ranges.seq + 1:
            return True
        database = self._database
        for group, ids in ranges.members:
            changed = database.prepare(_changed, group)
            values = {"collection_id": collection.id, "seq": ranges.seq}
            if database.ask(connection, changed, values):
                return False
            for start in range(0, len(ids), _CHUNK):
                part = ids[start : start + _CHUNK]
                there = database.prepare(_there, group, len(part))
                (row,) = database.ask(connection, there, {f"id{n}": one for n, one in enumerate(part)})
                if row[0] != len(part):
                    return False
        return True

    def write(self, connection: sa.Connection, ranges: NewRanges, collection: Collection, edit: Edit) -> int:
        """Write what is new; return how many that is."""
        for group, rows in ranges.rows:
            of, valid = ("collection_id", "type_id"), ("begin_ns", "end_ns", "dataset_id", "added_seq")
            columns = (*of, *group.columns.values(), *valid)
            insert = insert_statement(self._database, group.calibration, columns)
            for start in range(0, len(rows), _BATCH):
                part = [(collection.id, *row, edit.seq) for row in rows[start : start + _BATCH]]
                self._database.execute_many(connection, insert, part)
        return sum(len(rows) for _, rows in ranges.rows)


def _changed(group: GroupTables) -> sa.Select[Any]:
    columns = group.calibration.c
    seq = sa.bindparam("seq", type_=BIG_INTEGER)
    return (
        sa.select(columns.added_seq)
        .where(
            columns.collection_id == sa.bindparam("collection_id"),
            sa.or_(columns.added_seq > seq, columns.removed_seq > seq),
        )
        .limit(sa.literal_column("1"))
    )


def _there(group: GroupTables, number: int) -> sa.Select[Any]:
    dataset = group.dataset.c
    ids = [sa.bindparam(f"id{place}", type_=sa.types.NullType()) for place in range(number)]
    return sa.select(sa.func.count()).where(dataset.id.in_(ids), dataset.removed_seq.is_(None))
