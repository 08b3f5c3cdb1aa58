"""What garbage collection asks, and what it remembers from run to run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from quantumio.model import Artifact, ArtifactState, TransactionState
from quantumio.ports import ObjectRecord
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._known_rows import known_rows
from quantumio.registry._names import NamesCache
from quantumio.registry._schema import ARTIFACT, GC_CANDIDATE, OBJECT, OWNER, TRASH, TXN
from quantumio.registry._snapshots import live_snapshots

__all__ = ["Garbage"]

_CHUNK: Final = 500
_PLACES: Final = {"store": "str", "path": "str"}
_UNCOMMITTED: Final = ("PREPARING", "QUARANTINED", "ABORTED")


class Garbage:
    """Tells which objects of a store are dead, and remembers since when."""

    def __init__(self, database: Database, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._names = names
        self._clock = clock
        self._now = database.rules.now()

    # -- asking
    def known_owners(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the owners that were ever registered."""

        def read(connection: sa.Connection) -> set[UUID]:
            statements = (sa.select(OWNER.c.id).where(OWNER.c.id.in_(part)) for part in _parts(ids))
            return {id_ for statement in statements for id_ in connection.execute(statement).scalars()}

        return self._database.read(read)

    def object_stores(self) -> list[str]:
        """Return the names of all destinations that an object was ever recorded for."""
        return self._database.read(self._object_stores)

    @staticmethod
    def _object_stores(connection: sa.Connection) -> list[str]:
        # From one to the next by the index: DISTINCT would read all of it.
        found: list[str] = []
        statement = sa.select(sa.func.min(OBJECT.c.store))
        while (
            name := connection.execute(statement.where(OBJECT.c.store > (found or [""])[-1])).scalar()
        ) is not None:
            found.append(name)
        return found

    def has_objects(self, store: str) -> bool:
        """Return whether any dataset has a whole object at a destination."""
        statement = (
            sa.select(ARTIFACT.c.dataset_id)
            .join(OBJECT, OBJECT.c.id == ARTIFACT.c.object_id)
            .where(OBJECT.c.store == store, ARTIFACT.c.state == ArtifactState.OK)
            .limit(1)
        )
        return self._database.read(lambda connection: connection.execute(statement).first() is not None)

    def object_records(self, stores: Sequence[str], objects: Mapping[str, UUID]) -> dict[str, ObjectRecord]:
        """Return what is known of objects, all of it at one moment."""

        def read(connection: sa.Connection) -> dict[str, ObjectRecord]:
            transactions = self._transactions(connection, set(objects.values()))
            referenced = self._referenced(connection, stores, objects)
            others = [name for name in self._object_stores(connection) if name not in stores]
            elsewhere = self._referenced(connection, others, objects)
            trashed = self._trashed(connection, stores, objects)
            records = {}
            for path, txid in objects.items():
                state, generation, run = transactions.get(txid, (None, None, None))
                records[path] = ObjectRecord(
                    is_referenced=path in referenced,
                    is_named_elsewhere=path in elsewhere,
                    trashed_s=trashed.get(path),
                    state=state,
                    generation=generation,
                    run=run,
                )
            return records

        return self._database.read(read)

    def load_records(self, loads: Collection[UUID]) -> dict[UUID, ObjectRecord]:
        """Return what is known of the rows of loads, all of it at one moment."""

        def read(connection: sa.Connection) -> dict[UUID, ObjectRecord]:
            planned = {
                artifact.load_id: (state, generation)
                for state, generation, artifact in self._intents(connection)
            }
            referenced: set[UUID] = set()
            for part in _parts(loads):
                statement = sa.select(ARTIFACT.c.load_id).where(ARTIFACT.c.load_id.in_(part))
                referenced.update(connection.execute(statement).scalars())
            records = {}
            for load_id in loads:
                state, generation = planned.get(load_id, _NOT_KNOWN)
                records[load_id] = ObjectRecord(
                    is_referenced=load_id in referenced, state=state, generation=generation
                )
            return records

        return self._database.read(read)

    def _referenced(self, connection: sa.Connection, stores: Sequence[str], paths: Iterable[str]) -> set[str]:
        wanted = self._wanted(stores, paths)
        at = sa.and_(OBJECT.c.store == wanted.c.store, OBJECT.c.path == wanted.c.path)
        named = sa.select(ARTIFACT.c.object_id).where(ARTIFACT.c.object_id == OBJECT.c.id).exists()
        statement = sa.select(OBJECT.c.path).select_from(wanted.join(OBJECT, at)).where(named)
        found = set(connection.execute(statement).scalars())
        return found - self._of_removed(connection, stores, found)

    def _of_removed(self, connection: sa.Connection, stores: Sequence[str], named: Iterable[str]) -> set[str]:
        """Return those of the paths that are in the trash, and that only deleted datasets have.

        One that a snapshot shows has its object still, also where the snapshot was made after the deletion.
        """
        trashed = set(self._trashed(connection, stores, named))
        if not trashed:
            return trashed  # the usual case
        wanted = self._wanted(stores, trashed)
        at = sa.and_(OBJECT.c.store == wanted.c.store, OBJECT.c.path == wanted.c.path)
        statement = sa.select(OBJECT.c.path, ARTIFACT.c.dataset_id).select_from(
            wanted.join(OBJECT, at).join(ARTIFACT, ARTIFACT.c.object_id == OBJECT.c.id)
        )
        holders = [(path, id_) for path, id_ in connection.execute(statement)]
        moments = [seq for _, seq in live_snapshots(connection)]
        rows = known_rows(connection, self._names.load(connection), "id", {id_ for _, id_ in holders})
        removed = {
            row.ref.id
            for row in rows
            if row.removed_seq is not None and not any(map(row.is_there_at, moments))
        }
        return trashed - {path for path, id_ in holders if id_ not in removed}

    def _trashed(
        self, connection: sa.Connection, stores: Sequence[str], paths: Iterable[str]
    ) -> dict[str, float]:
        """Return for how long paths are in the trash: where under several names, the shortest of them."""
        wanted = self._wanted(stores, paths)
        at = sa.and_(TRASH.c.store == wanted.c.store, TRASH.c.path == wanted.c.path)
        age = (self._now - sa.func.max(TRASH.c.removed_at)).label("age")
        statement = sa.select(TRASH.c.path, age).select_from(wanted.join(TRASH, at)).group_by(TRASH.c.path)
        return {row.path: _seconds(row.age) for row in connection.execute(statement)}

    def _wanted(self, stores: Sequence[str], paths: Iterable[str]) -> sa.Subquery:
        rules = self._database.rules
        pairs = [(store, path) for path in paths for store in stores]
        return rules.rows("wanted", _PLACES, rules.rows_value(pairs, _PLACES))

    @staticmethod
    def _transactions(
        connection: sa.Connection, txids: Collection[UUID]
    ) -> dict[UUID, tuple[TransactionState, int, str]]:
        found = {}
        for part in _parts(txids):
            statement = sa.select(TXN.c.txid, TXN.c.state, TXN.c.gen, TXN.c.run).where(TXN.c.txid.in_(part))
            for row in connection.execute(statement):
                found[row.txid] = (TransactionState(row.state), row.gen, row.run)
        return found

    @staticmethod
    def _intents(connection: sa.Connection) -> Iterator[tuple[TransactionState, int, Artifact]]:
        statement = sa.select(TXN.c.state, TXN.c.gen, TXN.c.manifest).where(
            TXN.c.state.in_(_UNCOMMITTED), TXN.c.manifest.is_not(None)
        )
        for row in connection.execute(statement):
            for output in json.loads(row.manifest)["outputs"]:
                for artifact in output["artifacts"]:
                    yield TransactionState(row.state), row.gen, Artifact.from_wire(artifact)

    # -- remembering
    def candidate_ages(self, store: str, dead: Mapping[str, str]) -> dict[str, float]:
        """Return since when objects are remembered as dead under the same mark, in seconds."""
        known = self._database.read(lambda connection: self._known(connection, store))
        return {path: _seconds(known[path].age) for path in dead if _same(known, path, dead)}

    def note_candidates(self, store: str, dead: Mapping[str, str]) -> None:
        """Remember what is dead since when, and forget what is dead no more."""
        if not dead and not self._database.read(lambda connection: self._known(connection, store)):
            return  # the usual case needs no turn among the writers
        with self._database.edit("noting what is garbage") as connection:
            self._clock.advance(connection, steps=0)  # two of us would wait for each other's rows
            known = self._known(connection, store)
            self._forget(connection, store, [path for path in known if not _same(known, path, dead)])
            new = [
                {"path": path, "mark": mark} for path, mark in dead.items() if not _same(known, path, dead)
            ]
            if new:
                insert = sa.insert(GC_CANDIDATE).values(
                    store=store, path=sa.bindparam("path"), mark=sa.bindparam("mark"), first_seen=self._now
                )
                connection.execute(insert, new)

    def forget_candidates(self, store: str, paths: Collection[str]) -> None:
        """Forget what was removed."""
        with self._database.edit("forgetting garbage that was removed") as connection:
            self._clock.advance(connection, steps=0)
            self._forget(connection, store, paths)

    def _known(self, connection: sa.Connection, store: str) -> dict[str, sa.Row[Any]]:
        age = (self._now - GC_CANDIDATE.c.first_seen).label("age")
        statement = sa.select(GC_CANDIDATE.c.path, GC_CANDIDATE.c.mark, age)
        rows = connection.execute(statement.where(GC_CANDIDATE.c.store == store))
        return {row.path: row for row in rows}

    @staticmethod
    def _forget(connection: sa.Connection, store: str, paths: Collection[str]) -> None:
        for part in _parts(paths):
            where = (GC_CANDIDATE.c.store == store, GC_CANDIDATE.c.path.in_(part))
            connection.execute(sa.delete(GC_CANDIDATE).where(*where))


_NOT_KNOWN: Final = (None, None)


def _same(known: Mapping[str, sa.Row[Any]], path: str, dead: Mapping[str, str]) -> bool:
    return path in known and known[path].mark == dead.get(path)


def _parts(items: Collection[Any]) -> Iterator[list[Any]]:
    ordered = list(items)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def _seconds(nanoseconds: int) -> float:
    return int(nanoseconds) / 1e9
