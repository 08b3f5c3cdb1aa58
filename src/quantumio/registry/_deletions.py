"""Deletion: the pointer first. Rows say since when they are gone, objects go to the trash, in one edit.

The data goes last: garbage collection removes an object that is in the trash for long enough, and that no
dataset has which is still there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from uuid import UUID

import sqlalchemy as sa
from attrs import field, frozen

from quantumio.errors import ConflictError, ErrorKind, NotFoundError
from quantumio.model import DIRECT
from quantumio.ports import Deletion, is_ingest_key
from quantumio.registry._arguments import check_number, check_uuid
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._known_rows import KnownRow, known_rows, parts_of, removed_of
from quantumio.registry._names import Edit, Names, NamesCache
from quantumio.registry._schema import ARTIFACT, OBJECT, TRASH, TXN
from quantumio.registry._snapshots import live_snapshots

__all__ = ["Deletions"]

_SHOWN = 5


@frozen(eq=False)
class _Object:
    """An object that goes to the trash."""

    store: str
    path: str
    nbytes: int


@frozen(eq=False)
class _Plan:
    rows: Sequence[KnownRow]
    spared: Sequence[KnownRow]
    collections: Collection[str]
    objects: Sequence[_Object] = field(factory=list)

    def told(self, *, dry_run: bool) -> Deletion:
        return Deletion(
            dry_run=dry_run,
            refs=tuple(row.ref for row in self.rows),
            spared=tuple(row.ref for row in self.spared),
            collections=tuple(sorted(self.collections)),
            objects=len(self.objects),
            nbytes=sum(one.nbytes for one in self.objects),
        )


class Deletions:
    """Deletes datasets."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock

    def delete(
        self, ids: Iterable[UUID], *, unlink: bool, spare: bool, keep_last: int, dry_run: bool
    ) -> Deletion:
        """Delete datasets, all or none, or tell what that would change."""
        wanted = list(dict.fromkeys(check_uuid(id_, "dataset") for id_ in ids))
        keep_last = check_number(keep_last, "keep_last")
        plan = partial(self._plan, ids=wanted, unlink=unlink, spare=spare, keep_last=keep_last)
        if dry_run:
            return self._database.read(plan).told(dry_run=True)
        with self._database.edit(f"deleting {len(wanted)} datasets") as connection:
            edit = self._clock.advance(connection)
            found = plan(connection)
            self._end(connection, found, edit)
        return found.told(dry_run=False)

    def removed(self, connection: sa.Connection, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the datasets that are there no more, as a transaction sees it."""
        return removed_of(connection, self._names.load(connection), ids)

    # -- what is to be done
    def _plan(
        self, connection: sa.Connection, ids: Sequence[UUID], *, unlink: bool, spare: bool, keep_last: int
    ) -> _Plan:
        names = self._names.load(connection)
        rows = list(known_rows(connection, names, "id", ids))
        known = {row.ref.id for row in rows}
        if unknown := [id_ for id_ in ids if id_ not in known]:
            more = f", nor {len(unknown) - 1} others" if unknown[1:] else ""
            raise NotFoundError(
                f"dataset {unknown[0]} was never committed{more}; nothing was changed",
                hint="give refs as find and query return them",
            )
        last = _among_last(connection, rows, keep_last)
        live = {row.ref.id: row for row in rows if row.removed_seq is None and row.ref.id not in last}
        collections = _memberships(connection, names, live.values())
        held = _held(connection, live.values())
        if not unlink:
            for id_, of in collections.items():
                held.setdefault(id_, []).extend(f"collection {name!r}" for name in sorted(of))
        if held and not spare:
            raise _in_use({live[id_]: why for id_, why in held.items()})
        going = [row for id_, row in live.items() if id_ not in held]
        return _Plan(
            rows=going,
            spared=[live[id_] for id_ in held],
            collections={name for row in going for name in collections.get(row.ref.id, ())},
            objects=_objects(connection, names, {row.ref.id for row in going}),
        )

    # -- doing it
    def _end(self, connection: sa.Connection, plan: _Plan, edit: Edit) -> None:
        by_group: dict[tuple[str, ...], list[KnownRow]] = {}
        for row in plan.rows:
            by_group.setdefault(row.group.dimensions, []).append(row)
        for rows in by_group.values():
            group = rows[0].group
            for part in parts_of([row.ref.id for row in rows]):
                members = ((table, table.c.dataset_id) for table in (group.tag, group.calibration))
                for table, column in ((group.dataset, group.dataset.c.id), *members):
                    connection.execute(
                        sa.update(table)
                        .where(column.in_(part), table.c.removed_seq.is_(None))
                        .values(removed_seq=edit.seq)
                    )
        self._throw_away(connection, plan.objects, edit)
        self._release(connection, {row.txid for row in plan.rows}, edit)

    def _throw_away(self, connection: sa.Connection, objects: Sequence[_Object], edit: Edit) -> None:
        rows = [{"at_store": one.store, "at_path": one.path} for one in objects]
        if not rows:
            return
        store = sa.bindparam("at_store", type_=TRASH.c.store.type)
        path = sa.bindparam("at_path", type_=TRASH.c.path.type)
        connection.execute(  # one that was thrown away before, and had been of use again since
            sa.delete(TRASH).where(TRASH.c.store == store, TRASH.c.path == path), rows
        )
        connection.execute(
            sa.insert(TRASH).values(
                store=store, path=path, removed_seq=edit.seq, removed_at=self._database.rules.now()
            ),
            rows,
        )

    def _release(self, connection: sa.Connection, txids: set[UUID], edit: Edit) -> None:
        """Let keys be used again, and note transactions of which nothing is left.

        Not those of chunks of an ingest: how far it is must stay known, or the same call would make all of a
        chunk anew.
        """
        names = self._names.load(connection)
        for some in parts_of(txids):
            keys = sa.select(TXN.c.txid, TXN.c.key).where(TXN.c.txid.in_(some), TXN.c.key.is_not(None))
            chunks = {txid for txid, key in connection.execute(keys) if is_ingest_key(key)}
            part = [txid for txid in some if txid not in chunks]
            connection.execute(sa.update(TXN).where(TXN.c.txid.in_(part)).values(key=None))
            left = {
                row.txid for row in known_rows(connection, names, "txid", part) if row.removed_seq is None
            }
            gone = [txid for txid in part if txid not in left]
            connection.execute(sa.update(TXN).where(TXN.c.txid.in_(gone)).values(removed_seq=edit.seq))


def _among_last(connection: sa.Connection, rows: Iterable[KnownRow], keep_last: int) -> set[UUID]:
    """Return which datasets have fewer than so many later versions that are there."""
    found: set[UUID] = set()
    groups = {row.group.dimensions: row.group for row in rows} if keep_last else {}
    for group in groups.values():
        table, later = group.dataset, group.dataset.alias("later")
        key = ("run_id", "type_id", *group.columns.values())
        number = (
            sa.select(sa.func.count())
            .where(*(later.c[name] == table.c[name] for name in key))
            .where(later.c.v > table.c.v, later.c.removed_seq.is_(None))
            .scalar_subquery()
        )
        for part in parts_of([row.ref.id for row in rows]):
            statement = sa.select(table.c.id).where(table.c.id.in_(part), number < keep_last)
            found.update(connection.execute(statement).scalars())
    return found


def _memberships(connection: sa.Connection, names: Names, rows: Iterable[KnownRow]) -> dict[UUID, set[str]]:
    """Return in which TAGGED and CALIBRATION collections datasets are."""
    found: dict[UUID, set[str]] = {}
    groups = {row.group.dimensions: row.group for row in rows}
    ids = [row.ref.id for row in rows]
    for group in groups.values():
        for table in (group.tag, group.calibration):
            for part in parts_of(ids):
                statement = sa.select(table.c.dataset_id, table.c.collection_id).where(
                    table.c.dataset_id.in_(part), table.c.removed_seq.is_(None)
                )
                for id_, collection in connection.execute(statement):
                    found.setdefault(id_, set()).add(names.collections_by_id[collection].name)
    return found


def _held(connection: sa.Connection, rows: Collection[KnownRow]) -> dict[UUID, list[str]]:
    """Return what no unlinking gets datasets out of: snapshots that show them, and rows in databases."""
    held: dict[UUID, list[str]] = {}
    snapshots = live_snapshots(connection)
    for row in rows:
        for name, seq in snapshots:
            if row.is_there_at(seq):
                held.setdefault(row.ref.id, []).append(f"snapshot {name!r}")
    for part in parts_of([row.ref.id for row in rows]):
        loads = sa.select(ARTIFACT.c.dataset_id, ARTIFACT.c.store).where(
            ARTIFACT.c.dataset_id.in_(part), ARTIFACT.c.load_id.is_not(None)
        )
        for id_, store in connection.execute(loads):
            held.setdefault(id_, []).append(f"rows at destination {store!r}, which people may be reading")
    return held


def _objects(connection: sa.Connection, names: Names, ids: set[UUID]) -> list[_Object]:
    """Return the objects that nothing is left in once these datasets are gone; no file of a user's own."""
    objects: dict[int, tuple[str, str]] = {}
    for part in parts_of(ids):
        statement = (
            sa.select(OBJECT.c.id, OBJECT.c.store, OBJECT.c.path)
            .join(ARTIFACT, ARTIFACT.c.object_id == OBJECT.c.id)
            .where(ARTIFACT.c.dataset_id.in_(part), OBJECT.c.store != DIRECT)
        )
        objects |= {id_: (store, path) for id_, store, path in connection.execute(statement)}
    holders: dict[int, dict[UUID, int]] = {id_: {} for id_ in objects}
    for numbers in _numbers(objects):
        of = sa.select(ARTIFACT.c.object_id, ARTIFACT.c.dataset_id, ARTIFACT.c.nbytes)
        for id_, dataset_id, nbytes in connection.execute(of.where(ARTIFACT.c.object_id.in_(numbers))):
            holders[id_][dataset_id] = nbytes
    others = {dataset_id for of in holders.values() for dataset_id in of} - ids
    gone = ids | removed_of(connection, names, others)
    return [_Object(*objects[id_], sum(of.values())) for id_, of in holders.items() if of.keys() <= gone]


def _numbers(objects: Iterable[int]) -> Iterator[list[int]]:
    ordered = list(objects)
    for start in range(0, len(ordered), 500):
        yield ordered[start : start + 500]


def _in_use(held: dict[KnownRow, list[str]]) -> ConflictError:
    shown = [f"{row.ref} ({', '.join(why)})" for row, why in list(held.items())[:_SHOWN]]
    more = f", and {len(held) - _SHOWN} others" if len(held) > _SHOWN else ""
    return ConflictError(
        f"in use: {'; '.join(shown)}{more}; nothing was changed",
        hint="take them out of their collections first, or let them be unlinked; remove the snapshots",
        kind=ErrorKind.IN_USE,
    )
