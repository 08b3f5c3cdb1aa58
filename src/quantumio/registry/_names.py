"""Names of dataset types and collections, cached until somebody edits them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from quantumio.errors import ErrorKind, NotFoundError
from quantumio.model import DatasetType
from quantumio.ports import CollectionKind
from quantumio.registry._engine import Database
from quantumio.registry._schema import CHAIN, CLOCK, COLLECTION, DATASET_TYPE
from quantumio.registry._universe_schema import GroupTables, Tables

__all__ = ["Collection", "Edit", "Names", "NamesCache", "TypeEntry", "is_glob"]


@frozen(eq=False)
class TypeEntry:
    """A registered dataset type, its number, and the tables of its dimensions."""

    id: int
    type: DatasetType
    group: GroupTables


@frozen
class Collection:
    """A collection, its number, and those in it where it is a chain (numbers, in order)."""

    id: int
    name: str
    kind: CollectionKind
    children: tuple[int, ...] = ()


def is_glob(pattern: str) -> bool:
    """Whether a text is a pattern and no name (names have none of these characters)."""
    return any(character in pattern for character in "*?[")


@frozen(eq=False)
class Names:
    """All names at one moment; it never changes, so that threads share it."""

    edits: int
    types: Mapping[str, TypeEntry]
    types_by_id: Mapping[int, TypeEntry]
    collections: Mapping[str, Collection]
    collections_by_id: Mapping[int, Collection]
    _resolved: dict[tuple[str, ...], tuple[Collection, ...]] = field(factory=dict)

    def with_collections(self, made: Iterable[Collection], edits: int) -> Names:
        """Return these names with further collections."""
        new = list(made)
        return Names(
            edits,
            self.types,
            self.types_by_id,
            {**self.collections, **{entry.name: entry for entry in new}},
            {**self.collections_by_id, **{entry.id: entry for entry in new}},
        )

    def type(self, name: str) -> TypeEntry:
        """Return a dataset type.

        Raises
        ------
        NotFoundError
            ``kind="no_dataset_type"``; suggests close names.
        """
        try:
            return self.types[name]
        except KeyError:
            raise NotFoundError(
                f"there is no dataset type {name!r}",
                hint=_suggestion(name, self.types, "register it first; no dataset type is registered yet"),
                kind=ErrorKind.NO_DATASET_TYPE,
            ) from None

    def collection(self, name: str) -> Collection:
        """Return a collection.

        Raises
        ------
        NotFoundError
            ``kind="no_collection"``; suggests close names.
        """
        try:
            return self.collections[name]
        except KeyError:
            raise NotFoundError(
                f"there is no collection {name!r}",
                hint=_suggestion(name, self.collections, "there are no collections yet"),
                kind=ErrorKind.NO_COLLECTION,
            ) from None

    def once(self, name: str) -> Collection | None:
        """Return what had a name that is not in use: its number stays, for when it lives again."""
        return next((entry for entry in self.collections_by_id.values() if entry.name == name), None)

    def types_like(self, patterns: Iterable[str]) -> list[TypeEntry]:
        """Return dataset types by names and globs, by name; all where there is no pattern.

        Raises
        ------
        NotFoundError
            A name (no glob) is unknown.
        """
        patterns = tuple(patterns) or ("*",)
        plain = {name for name in patterns if not is_glob(name)}
        found = {self.type(name).type.name for name in plain}
        globs = [pattern for pattern in patterns if is_glob(pattern)]
        found.update(name for name in self.types if any(fnmatchcase(name, glob) for glob in globs))
        return [self.types[name] for name in sorted(found)]

    def search(self, names: Sequence[str]) -> tuple[Collection, ...]:
        """Return the collections to look into, in order, chains expanded, each once.

        Raises
        ------
        NotFoundError
            A name is unknown.
        """
        key = tuple(names)
        if (known := self._resolved.get(key)) is None:
            known = self._expand([self.collection(name) for name in key])
            self._resolved[key] = known
        return known

    def search_like(self, patterns: Sequence[str] | None) -> tuple[tuple[Collection, ...], bool]:
        """Return the collections of names and globs, and whether their order means anything (no glob)."""
        if patterns is not None and not any(map(is_glob, patterns)):
            return self.search(patterns), True
        if patterns is None:
            runs = (entry for entry in self.collections.values() if entry.kind is CollectionKind.RUN)
            return tuple(sorted(runs, key=lambda entry: entry.name)), False
        found: list[Collection] = []
        for pattern in patterns:
            if is_glob(pattern):
                found.extend(
                    self.collections[name] for name in sorted(self.collections) if fnmatchcase(name, pattern)
                )
            else:
                found.append(self.collection(pattern))
        return self._expand(found), False

    def searches_calibrations(self, names: Sequence[str]) -> bool:
        """Tell whether any of these collections, or any in their chains, is of calibrations."""
        known = [self.collections[name] for name in names if name in self.collections]
        return any(entry.kind is CollectionKind.CALIBRATION for entry in self._expand(known))

    def _expand(self, collections: Iterable[Collection]) -> tuple[Collection, ...]:
        out: dict[int, Collection] = {}
        seen: set[int] = set()
        todo = list(collections)[::-1]
        while todo:
            entry = todo.pop()
            if entry.kind is not CollectionKind.CHAINED:
                out.setdefault(entry.id, entry)
            elif entry.id not in seen:  # a cycle cannot be made; should one be there it ends here
                seen.add(entry.id)
                todo.extend(self.collections_by_id[child] for child in reversed(entry.children))
        return tuple(out.values())


def _suggestion(name: str, known: Iterable[str], none: str) -> str:
    names = sorted(known)
    if not names:
        return none
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(names[:10])
    return f"there are {shown}{', ...' if len(names) > 10 else ''}"


@frozen
class Edit:
    """The place of one write in the order of all, and when it happened."""

    seq: int
    edits: int
    decided_ns: int


def _edits_statement() -> sa.Select[Any]:
    return sa.select(CLOCK.c.edits).where(CLOCK.c.id == 1)


class NamesCache:
    """The current names, read again when the clock says that they were edited.

    An upgrade counts as an edit: reading them again finds out that the schema is another one.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._edits_now = database.prepare(_edits_statement)
        self.last = Names(-1, {}, {}, {}, {})

    def current(self) -> Names:
        """Return the names as they are now."""
        ((edits,),) = self._database.fetch(self._edits_now, {})
        return self.at(edits)

    def at(self, edits: int) -> Names:
        """Return the names as they are now, given the counter that was just read."""
        if self.last.edits < edits:
            self.last = self._database.read(self.load)
        return self.last

    def learn(self, names: Names) -> None:
        """Remember names that this process just committed."""
        if names.edits > self.last.edits:
            self.last = names

    def within(self, connection: sa.Connection, edit: Edit) -> Names:
        """Return the names as a write transaction sees them that has edited none of them."""
        if self.last.edits != edit.edits:
            self.last = self.load(connection)
        return self.last

    def load(self, connection: sa.Connection) -> Names:
        """Read all names in the transaction of the connection."""
        edits = connection.execute(_edits_statement()).scalar_one()
        if edits == self.last.edits:
            return self.last
        types = {}
        for number, name, dimensions, storage_class in connection.execute(
            sa.select(
                DATASET_TYPE.c.id,
                DATASET_TYPE.c.name,
                DATASET_TYPE.c.dimensions,
                DATASET_TYPE.c.storage_class,
            )
        ):
            dataset_type = DatasetType(name, dimensions=json.loads(dimensions), storage_class=storage_class)
            types[name] = TypeEntry(number, dataset_type, self._tables.group(dataset_type.dimensions))
        children: dict[int, list[int]] = {}
        for parent, child in connection.execute(
            sa.select(CHAIN.c.collection_id, CHAIN.c.child_id)
            .where(CHAIN.c.removed_seq.is_(None))
            .order_by(CHAIN.c.collection_id, CHAIN.c.position)
        ):
            children.setdefault(parent, []).append(child)
        collections: dict[str, Collection] = {}
        by_id: dict[int, Collection] = {}
        for number, name, kind, removed in connection.execute(
            sa.select(COLLECTION.c.id, COLLECTION.c.name, COLLECTION.c.kind, COLLECTION.c.removed_seq)
        ):
            by_id[number] = Collection(number, name, CollectionKind(kind), tuple(children.get(number, ())))
            if removed is None:
                collections[name] = by_id[number]
        return Names(
            edits,
            types,
            {entry.id: entry for entry in types.values()},
            collections,
            by_id,
        )
