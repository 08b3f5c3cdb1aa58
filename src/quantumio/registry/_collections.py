"""Collections: their names, kinds and chains."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.model import check_run
from quantumio.ports import CollectionKind, CollectionRecord
from quantumio.registry._arguments import check_name, check_names
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._names import Collection, Edit, Names, NamesCache
from quantumio.registry._schema import CHAIN, COLLECTION

__all__ = ["Collections", "check_kind", "insert_collection"]


def check_kind(collection: Collection, kind: CollectionKind) -> Collection:
    """Refuse a collection of another kind.

    Raises
    ------
    ConflictError
        It is of another kind.
    """
    if collection.kind is not kind:
        raise ConflictError(
            f"collection {collection.name!r} is a {collection.kind} collection, no {kind} one",
            hint="use another name",
        )
    return collection


def insert_collection(
    connection: sa.Connection, names: Names, edit: Edit, name: str, kind: CollectionKind
) -> Collection:
    """Make a collection in a write transaction whose edit counts as one of names."""
    made = Collection(max(names.collections_by_id, default=0) + 1, name, kind)
    connection.execute(
        sa.insert(COLLECTION), {"id": made.id, "name": name, "kind": str(kind), "added_seq": edit.seq}
    )
    return made


class Collections:
    """Registration, listing and chains."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock

    def register(self, name: str, kind: CollectionKind) -> bool:
        """Register a collection; False if it was there as this kind."""
        check_run(name, "collection")
        self._database.check_writable()
        if (known := self._names.current().collections.get(name)) is not None:
            check_kind(known, kind)
            return False
        with self._database.edit(f"registering {name}") as connection:
            edit = self._clock.advance(connection, names=True)
            names = self._names.load(connection)
            if (known := names.collections.get(name)) is not None:
                check_kind(known, kind)
                return False
            insert_collection(connection, names, edit, name, kind)
        return True

    def records(self, pattern: str) -> list[CollectionRecord]:
        """Return those whose name matches the glob, by name."""
        check_name(pattern, "glob of collections", ErrorKind.COLLECTION)
        names = self._names.current()
        return [
            CollectionRecord(
                name=name,
                kind=entry.kind,
                children=tuple(names.collections_by_id[child].name for child in entry.children),
            )
            for name, entry in sorted(names.collections.items())
            if fnmatchcase(name, pattern)
        ]

    def set_chain(self, name: str, children: Sequence[str]) -> None:
        """Define a chain, new or anew."""
        check_run(name, "collection")
        wanted = _children(name, children)
        with self._database.edit(f"defining the chain {name}") as connection:
            edit = self._clock.advance(connection, names=True)
            names = self._names.load(connection)
            members = [names.collection(child) for child in wanted]
            chain = names.collections.get(name)
            if chain is None:
                chain = insert_collection(connection, names, edit, name, CollectionKind.CHAINED)
            else:
                check_kind(chain, CollectionKind.CHAINED)
                _check_cycle(names, chain, members)
            connection.execute(
                sa.update(CHAIN)
                .where(CHAIN.c.collection_id == chain.id, CHAIN.c.removed_seq.is_(None))
                .values(removed_seq=edit.seq)
            )
            rows = [
                {
                    "collection_id": chain.id,
                    "added_seq": edit.seq,
                    "position": position,
                    "child_id": member.id,
                }
                for position, member in enumerate(members)
            ]
            if rows:
                connection.execute(sa.insert(CHAIN), rows)


def _children(name: str, children: Sequence[str]) -> tuple[str, ...]:
    if isinstance(children, str):
        raise InvalidInputError(
            f"the children of {name!r} are the text {children!r}",
            hint=f"write [{children!r}]",
            kind=ErrorKind.COLLECTION,
        )
    wanted = check_names(children, "collection", ErrorKind.COLLECTION)
    if len(set(wanted)) < len(wanted):
        twice = sorted({child for child in wanted if wanted.count(child) > 1})
        raise InvalidInputError(
            f"the chain {name!r} names {', '.join(map(repr, twice))} twice",
            hint="name each once, where it is to be searched first",
            kind=ErrorKind.COLLECTION,
        )
    return wanted


def _check_cycle(names: Names, chain: Collection, members: list[Collection]) -> None:
    for member in members:
        todo, seen = [member], set()
        while todo:
            entry = todo.pop()
            if entry.id == chain.id:
                raise ConflictError(
                    f"the chain {chain.name!r} would contain itself through {member.name!r}",
                    hint=f"take {member.name!r} out of the list, or {chain.name!r} out of it",
                    kind=ErrorKind.CYCLE,
                )
            if entry.id not in seen:
                seen.add(entry.id)
                todo.extend(names.collections_by_id[child] for child in entry.children)
