"""Collections: their names, kinds and chains."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.model import check_run
from quantumio.ports import ChainEdit, CollectionKind, CollectionRecord
from quantumio.registry._arguments import check_name, check_names
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._lives import insert_collection
from quantumio.registry._names import Collection, Edit, Names, NamesCache
from quantumio.registry._schema import CHAIN

__all__ = ["Collections", "check_kind", "replace_children"]


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

    def set_chain(self, name: str, children: Sequence[str], edit: str = ChainEdit.SET) -> None:
        """Define a chain, new or anew, or edit the one that is there: read and written under the clock."""
        check_run(name, "collection")
        how = _check_edit(edit)
        wanted = _children(name, children)
        with self._database.edit(f"defining the chain {name}") as connection:
            step = self._clock.advance(connection, names=True)
            names = self._names.load(connection)
            given = [names.collection(child) for child in wanted]
            if how is ChainEdit.REMOVE:
                chain = check_kind(names.collection(name), CollectionKind.CHAINED)
            elif (known := names.collections.get(name)) is None:
                chain = insert_collection(connection, names, step, name, CollectionKind.CHAINED)
            else:
                chain = check_kind(known, CollectionKind.CHAINED)
                _check_cycle(names, chain, given)
            replace_children(connection, chain, _edited(chain, [one.id for one in given], how), step)


def replace_children(
    connection: sa.Connection, chain: Collection, children: Sequence[int], edit: Edit
) -> None:
    """Give a chain these children."""
    connection.execute(
        sa.update(CHAIN)
        .where(CHAIN.c.collection_id == chain.id, CHAIN.c.removed_seq.is_(None))
        .values(removed_seq=edit.seq)
    )
    rows = [
        {"collection_id": chain.id, "added_seq": edit.seq, "position": position, "child_id": child}
        for position, child in enumerate(children)
    ]
    if rows:
        connection.execute(sa.insert(CHAIN), rows)


def _check_edit(edit: str) -> ChainEdit:
    try:
        return ChainEdit(edit)
    except ValueError:
        raise InvalidInputError(
            f"{edit!r:.80} is no edit of a chain",
            hint=f"give one of {', '.join(ChainEdit)}",
            kind=ErrorKind.COLLECTION,
        ) from None


def _edited(chain: Collection, given: list[int], edit: ChainEdit) -> list[int]:
    others = [child for child in chain.children if child not in given]
    match edit:
        case ChainEdit.PREPEND:
            return given + others
        case ChainEdit.APPEND:
            return others + given
        case ChainEdit.REMOVE:
            return others
        case _:
            return given


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
