"""Removal of collections: their names end, what was in them stays, and history tells of both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind
from quantumio.ports import CollectionKind, CollectionRemoval
from quantumio.registry._arguments import check_name
from quantumio.registry._clock import Clock
from quantumio.registry._collections import replace_children
from quantumio.registry._engine import Database
from quantumio.registry._names import Collection, Edit, Names, NamesCache
from quantumio.registry._schema import COLLECTION
from quantumio.registry._universe_schema import GroupTables

__all__ = ["Removals", "groups_of"]


def groups_of(names: Names) -> Iterator[GroupTables]:
    """Yield the tables of each dimension group that any dataset type has."""
    yield from {entry.group.dimensions: entry.group for entry in names.types.values()}.values()


class Removals:
    """Removes collections."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock

    def remove(self, name: str, *, unlink: bool, dry_run: bool) -> CollectionRemoval:
        """End a collection, or tell what that would change."""
        check_name(name, "collection", ErrorKind.COLLECTION)
        if dry_run:
            return self._database.read(partial(self._plan, name=name, unlink=unlink))
        with self._database.edit(f"removing the collection {name}") as connection:
            edit = self._clock.advance(connection, names=True)
            plan = self._plan(connection, name=name, unlink=unlink, dry_run=False)
            names = self._names.load(connection)
            collection = names.collection(name)
            for parent in plan.chains:
                chain = names.collection(parent)
                others = [child for child in chain.children if child != collection.id]
                replace_children(connection, chain, others, edit)
            _end_members(connection, names, collection, edit)
            connection.execute(
                sa.update(COLLECTION).where(COLLECTION.c.id == collection.id).values(removed_seq=edit.seq)
            )
        return plan

    def _plan(
        self, connection: sa.Connection, *, name: str, unlink: bool, dry_run: bool = True
    ) -> CollectionRemoval:
        names = self._names.load(connection)
        collection = names.collection(name)
        chains = sorted(one.name for one in names.collections.values() if collection.id in one.children)
        if chains and not unlink:
            raise ConflictError(
                f"collection {name!r} is in the chain{'s' if chains[1:] else ''} "
                f"{', '.join(map(repr, chains))}; nothing was changed",
                hint="take it out of them first, or let it be unlinked",
                kind=ErrorKind.IN_USE,
            )
        members = _members(connection, names, collection)
        if collection.kind is CollectionKind.RUN and members:
            raise ConflictError(
                f"run {name!r} has {members} dataset{'s' if members > 1 else ''}; nothing was changed",
                hint="delete them first",
                kind=ErrorKind.IN_USE,
            )
        return CollectionRemoval(
            dry_run=dry_run, name=name, kind=collection.kind, members=members, chains=tuple(chains)
        )


def _tables(names: Names, collection: Collection) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Yield the tables that live members of a collection, no chain, are in, with the condition for them."""
    for group in groups_of(names):
        if collection.kind is CollectionKind.RUN:
            yield group.dataset, _live(group.dataset, group.dataset.c.run_id == collection.id)
        else:
            table = group.tag if collection.kind is CollectionKind.TAGGED else group.calibration
            yield table, _live(table, table.c.collection_id == collection.id)


def _live(table: sa.Table, of: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.and_(of, table.c.removed_seq.is_(None))


def _members(connection: sa.Connection, names: Names, collection: Collection) -> int:
    if collection.kind is CollectionKind.CHAINED:
        return len(collection.children)
    return sum(
        connection.execute(sa.select(sa.func.count()).select_from(table).where(which)).scalar_one()
        for table, which in _tables(names, collection)
    )


def _end_members(connection: sa.Connection, names: Names, collection: Collection, edit: Edit) -> None:
    if collection.kind is CollectionKind.CHAINED:
        replace_children(connection, collection, (), edit)
        return
    for table, which in _tables(names, collection):
        connection.execute(sa.update(table).where(which).values(removed_seq=edit.seq))
