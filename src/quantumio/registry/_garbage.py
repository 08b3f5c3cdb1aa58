"""What garbage collection asks, and what it remembers from run to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa

from quantumio.model import TransactionState
from quantumio.ports import GarbageCandidate, ObjectRecord
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._schema import ARTIFACT, GC_CANDIDATE, OBJECT, OWNER, TRASH, TXN

__all__ = ["Garbage"]

_T = TypeVar("_T")
_CHUNK: Final = 500
_PLACES: Final = {"store": "str", "path": "str"}


class Garbage:
    """Tells which objects of a store are dead, and remembers since when."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._now = database.rules.now()

    # -- asking
    def known_owners(self, ids: Sequence[UUID]) -> dict[UUID, float]:
        """Return which owners are known, and how long each is silent."""
        silence = (self._now - OWNER.c.heartbeat_at).label("silence")

        def read(connection: sa.Connection) -> dict[UUID, float]:
            found: dict[UUID, float] = {}
            for part in _parts(ids):
                rows = connection.execute(sa.select(OWNER.c.id, silence).where(OWNER.c.id.in_(part)))
                found.update({row.id: _seconds(row.silence) for row in rows})
            return found

        return self._database.read(read)

    def object_stores(self) -> list[str]:
        """Return the names of all destinations that an object was ever recorded for."""

        def read(connection: sa.Connection) -> list[str]:
            # From one to the next by the index: DISTINCT would read all of it.
            found: list[str] = []
            statement = sa.select(sa.func.min(OBJECT.c.store))
            while (
                name := connection.execute(statement.where(OBJECT.c.store > (found or [""])[-1])).scalar()
            ) is not None:
                found.append(name)
            return found

        return self._database.read(read)

    def object_records(self, stores: Sequence[str], objects: Mapping[str, UUID]) -> dict[str, ObjectRecord]:
        """Return what is known of objects, all of it at one moment."""
        return self._database.read(lambda connection: self._records(connection, stores, objects))

    def _records(
        self, connection: sa.Connection, stores: Sequence[str], objects: Mapping[str, UUID]
    ) -> dict[str, ObjectRecord]:
        referenced = self._referenced(connection, stores, objects)
        trashed = self._trashed(connection, stores, objects)
        transactions = self._transactions(connection, list(dict.fromkeys(objects.values())))
        records = {}
        for path, txid in objects.items():
            state, run, generation = transactions.get(txid, (None, None, None))
            records[path] = ObjectRecord(
                is_referenced=path in referenced,
                trashed_s=trashed.get(path),
                state=state,
                run=run,
                generation=generation,
            )
        return records

    def _referenced(self, connection: sa.Connection, stores: Sequence[str], paths: Iterable[str]) -> set[str]:
        wanted = self._wanted(stores, paths)
        at = sa.and_(OBJECT.c.store == wanted.c.store, OBJECT.c.path == wanted.c.path)
        rows = connection.execute(sa.select(OBJECT.c.id, OBJECT.c.path).select_from(wanted.join(OBJECT, at)))
        by_id = {row.id: row.path for row in rows}
        # Most are referenced, and artifacts have no index by object: one pass over them tells of all.
        types = {"id": "int"}
        ids = self._database.rules.rows(
            "ids", types, self._database.rules.rows_value([(id_,) for id_ in by_id], types)
        )
        statement = sa.select(ARTIFACT.c.object_id.distinct()).where(
            ARTIFACT.c.object_id.in_(sa.select(ids.c.id))
        )
        return {by_id[id_] for id_ in connection.execute(statement).scalars()} if by_id else set()

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
        connection: sa.Connection, txids: Sequence[UUID]
    ) -> dict[UUID, tuple[TransactionState, str, int]]:
        found = {}
        for part in _parts(txids):
            statement = sa.select(TXN.c.txid, TXN.c.state, TXN.c.run, TXN.c.gen).where(TXN.c.txid.in_(part))
            for row in connection.execute(statement):
                found[row.txid] = (TransactionState(row.state), row.run, row.gen)
        return found

    # -- remembering
    def note_candidates(
        self, destination: str, dead: Mapping[str, str], alive: Sequence[str]
    ) -> dict[str, float]:
        """Remember what is dead since when, and forget what is not."""
        known = self._database.read(lambda connection: self._known(connection, destination, alive))
        if not dead and not known:  # the usual case needs no turn among the writers
            return {}
        for part in _parts(sorted(known)):
            forget = partial(self._forget, destination=destination, paths=part)
            self._write("forgetting what is no garbage", forget)
        ages: dict[str, float] = {}
        for names in _parts(sorted(dead)):
            marks = {path: dead[path] for path in names}
            note = partial(self._note, destination=destination, marks=marks)
            ages |= self._write("noting garbage", note)
        return ages

    def _write(self, doing: str, work: Callable[[sa.Connection], _T]) -> _T:
        with self._database.edit(doing) as connection:
            self._clock.advance(connection, steps=0)  # two of us would wait for each other's rows
            return work(connection)

    def _note(
        self, connection: sa.Connection, destination: str, marks: Mapping[str, str]
    ) -> dict[str, float]:
        insert = self._database.rules.insert(GC_CANDIDATE).values(
            store=destination, path=sa.bindparam("path"), mark=sa.bindparam("mark"), first_seen=self._now
        )
        changed = {"mark": insert.excluded.mark, "first_seen": insert.excluded.first_seen}
        insert = insert.on_conflict_do_update(
            index_elements=["store", "path"], set_=changed, where=GC_CANDIDATE.c.mark != insert.excluded.mark
        )
        connection.execute(insert, [{"path": path, "mark": mark} for path, mark in marks.items()])
        return self._known(connection, destination, list(marks))

    def _known(self, connection: sa.Connection, destination: str, paths: Iterable[str]) -> dict[str, float]:
        wanted = self._wanted([destination], paths)
        at = sa.and_(GC_CANDIDATE.c.store == wanted.c.store, GC_CANDIDATE.c.path == wanted.c.path)
        age = (self._now - GC_CANDIDATE.c.first_seen).label("age")
        statement = sa.select(GC_CANDIDATE.c.path, age).select_from(wanted.join(GC_CANDIDATE, at))
        return {row.path: _seconds(row.age) for row in connection.execute(statement)}

    @staticmethod
    def _forget(connection: sa.Connection, destination: str, paths: Sequence[str]) -> None:
        connection.execute(
            sa.delete(GC_CANDIDATE).where(GC_CANDIDATE.c.store == destination, GC_CANDIDATE.c.path.in_(paths))
        )

    def forget_all(self, destination: str) -> None:
        """Forget all candidates of a destination: their patience begins anew."""
        statement = sa.delete(GC_CANDIDATE).where(GC_CANDIDATE.c.store == destination)
        self._write("forgetting garbage", lambda connection: connection.execute(statement))

    def candidates(self, destination: str, after: str, limit: int) -> list[GarbageCandidate]:
        """Return what is remembered of a destination, in the order of the paths."""
        age = (self._now - GC_CANDIDATE.c.first_seen).label("age")
        statement = (
            sa.select(GC_CANDIDATE.c.path, GC_CANDIDATE.c.mark, age)
            .where(GC_CANDIDATE.c.store == destination, GC_CANDIDATE.c.path > after)
            .order_by(GC_CANDIDATE.c.path)
            .limit(limit)
        )

        def read(connection: sa.Connection) -> Sequence[Any]:
            return connection.execute(statement).all()

        return [
            GarbageCandidate(path=row.path, mark=row.mark, age_s=_seconds(row.age))
            for row in self._database.read(read)
        ]


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _seconds(nanoseconds: int) -> float:
    return int(nanoseconds) / 1e9
