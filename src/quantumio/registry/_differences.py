"""What is different between two moments: datasets, members of collections, chains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from quantumio.model import DatasetRef, Timespan
from quantumio.ports import ChangedChain, CollectionKind, Difference, MemberRecord
from quantumio.registry._engine import Database
from quantumio.registry._known_rows import known_rows, rows_where
from quantumio.registry._names import Names, NamesCache
from quantumio.registry._past_names import PastNames
from quantumio.registry._planning import check_past
from quantumio.registry._removals import groups_of
from quantumio.registry._schema import CLOCK
from quantumio.registry._universe_schema import Tables

__all__ = ["Differences"]


class Differences:
    """Compares moments."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache) -> None:
        self._database = database
        self._names = names
        self._past = PastNames(tables)

    def diff(self, before: int, after: int) -> Difference:
        """Return what there is at one moment and not at the other."""
        return self._database.read(lambda connection: self._read(connection, before, after))

    def _read(self, connection: sa.Connection, before: int, after: int) -> Difference:
        now = connection.execute(sa.select(CLOCK.c.seq).where(CLOCK.c.id == 1)).scalar_one()
        before, after = check_past(before, now, "before"), check_past(after, now, "after")
        names = self._names.load(connection)
        added = _in_order(_datasets(connection, names, before, after))
        removed = _in_order(_datasets(connection, names, after, before))
        came, went = (set(_members(connection, names, *one)) for one in ((before, after), (after, before)))
        # Ranges that were cut and certified again as they were are no difference.
        came, went = came - went, went - came
        refs = {
            row.ref.id: row.ref
            for row in known_rows(connection, names, "id", {member[1] for member in came | went})
        }
        return Difference(
            before=before,
            after=after,
            added=added,
            removed=removed,
            joined=_records(names, refs, came),
            left=_records(names, refs, went),
            chains=self._chains(connection, before, after),
        )

    def _chains(self, connection: sa.Connection, before: int, after: int) -> tuple[ChangedChain, ...]:
        ones, others = (_children(self._past.load(connection, seq)) for seq in (before, after))
        return tuple(
            ChangedChain(name=name, before=ones.get(name), after=others.get(name))
            for name in sorted(ones.keys() | others.keys())
            if ones.get(name) != others.get(name)
        )


def _children(names: Names) -> dict[str, tuple[str, ...]]:
    """Return the chains that there are, with the names of what they search."""
    return {
        name: tuple(names.collections_by_id[child].name for child in entry.children)
        for name, entry in names.collections.items()
        if entry.kind is CollectionKind.CHAINED
    }


def _datasets(connection: sa.Connection, names: Names, before: int, after: int) -> Iterator[DatasetRef]:
    """Yield the datasets that are there after and were not before."""
    for group in groups_of(names):
        since = group.dataset.c.commit_seq
        came = sa.and_(_is_there(group.dataset, since, after), ~_is_there(group.dataset, since, before))
        yield from (row.ref for row in rows_where(connection, names, group, came))


def _members(
    connection: sa.Connection, names: Names, before: int, after: int
) -> Iterator[tuple[int, Any, int | None, int | None]]:
    """Yield collection, dataset, begin and end of the members that are there after and were not before."""
    none = sa.null()
    for group in groups_of(names):
        for table, span in (
            (group.tag, (none, none)),
            (group.calibration, (group.calibration.c.begin_ns, group.calibration.c.end_ns)),
        ):
            came = sa.and_(
                _is_there(table, table.c.added_seq, after), ~_is_there(table, table.c.added_seq, before)
            )
            statement = sa.select(table.c.collection_id, table.c.dataset_id, *span).where(came)
            yield from (tuple(row) for row in connection.execute(statement))


def _records(
    names: Names, refs: dict[Any, DatasetRef], members: set[tuple[int, Any, int | None, int | None]]
) -> tuple[MemberRecord, ...]:
    records = [
        MemberRecord(
            collection=names.collections_by_id[collection].name,
            ref=refs[dataset],
            timespan=None if begin is None or end is None else Timespan(begin, end),
        )
        for collection, dataset, begin, end in members
    ]
    return tuple(sorted(records, key=_place))


def _place(member: MemberRecord) -> tuple[Any, ...]:
    begin = 0 if member.timespan is None else member.timespan.begin_ns
    return member.collection, *_dataset_place(member.ref), begin


def _is_there(table: sa.Table, since: sa.ColumnElement[int], seq: int) -> sa.ColumnElement[bool]:
    removed = sa.func.coalesce(table.c.removed_seq, sa.literal_column(str((1 << 63) - 1)))
    return sa.and_(since <= seq, removed > seq)


def _dataset_place(ref: DatasetRef) -> tuple[Any, ...]:
    return ref.dataset_type.name, ref.run, ref.id


def _in_order(refs: Iterator[DatasetRef]) -> tuple[DatasetRef, ...]:
    return tuple(sorted(refs, key=_dataset_place))
