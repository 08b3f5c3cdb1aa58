"""The rows of a flip: one executemany per table, values in the order of the statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from attrs import evolve

from quantumio.errors import InternalError
from quantumio.model import DIRECT, Artifact, ArtifactState, DatasetRef, FollowUp, FollowUpKind, Transaction
from quantumio.ports import CollectionKind, Destinations, IngestRows, RegistryTables
from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._lives import revive
from quantumio.registry._new_rows import NewRows, in_order, insert_statement
from quantumio.registry._outbox import Outbox
from quantumio.registry._prepared import Prepared
from quantumio.registry._schema import (
    ARTIFACT,
    COLLECTION,
    DATASET,
    OBJECT,
    TXN,
    TXN_INPUT,
    TXN_REQUIRES,
)
from quantumio.registry._universe_schema import GroupTables
from quantumio.registry._verdict import Verdicts

__all__ = ["ArtifactWriter", "Inserts"]

_TXN_COLUMNS: Final = (
    "txid",
    "run",
    "state",
    "epoch",
    "gen",
    "key",
    "commit_seq",
    "created_at",
    "decided_at",
)
_OBJECT_COLUMNS: Final = ("store", "path", "txid", "sha256", "nbytes", "user_name")
_ARTIFACT_COLUMNS: Final = (
    "dataset_id",
    "store",
    "position",
    "table_name",
    "member",
    "offset",
    "length",
    "format",
    "digest",
    "nbytes",
    "load_id",
    "state",
)
_ARTIFACT_KEYS: Final = ("dataset_id", "store")
_OF_MEMBERS: Final = "-"
"""Stands for the digest of a pack: its members have theirs."""


class ArtifactWriter:
    """Writes artifacts, and the objects that hold them.

    Objects are unique by store and path: those that are there (a file ingested where it is, a second time)
    are shared; one that was pending until now gets its digest and size, and the user who has placed it.

    Attributes
    ----------
    destinations
        Know whose stores they are; None until the registry has been told of them.
    """

    def __init__(self, database: Database) -> None:
        self.destinations: Destinations | None = None
        self._database = database
        self._uuid_in = database.rules.uuid_in
        order = (*_OBJECT_COLUMNS[:3], "made_by", *_OBJECT_COLUMNS[3:])
        self._object = in_order(database.prepare(_insert_object, database.rules), order)
        with_object = (*_ARTIFACT_COLUMNS[:3], "object_store", "object_path", *_ARTIFACT_COLUMNS[3:])
        self._insert = {
            update: in_order(database.prepare(_insert_artifact, database.rules, update), with_object)
            for update in (False, True)
        }
        # Of whole files that stay where they are, of the first generation.
        self._new_objects = NewRows(
            database, OBJECT, ("id", "path", "sha256", "nbytes"), ("store", "txid", "gen")
        )
        self._new_artifacts = NewRows(
            database,
            ARTIFACT,
            ("dataset_id", "object_id", "format", "digest", "nbytes"),
            ("store", "position", "state"),
        )

    def rows(
        self, dataset_id: Any, txid: Any, position: int, artifact: Artifact
    ) -> tuple[tuple[Any, ...] | None, tuple[Any, ...]]:
        """Return the row of the object (None for rows in a table) and that of the artifact."""
        store, path = artifact.destination, artifact.path
        load_id = artifact.load_id
        state = str(artifact.state)
        if load_id is None:
            is_whole = artifact.member is None
            held = (
                store,
                path,
                txid,
                txid,
                artifact.digest if is_whole else _OF_MEMBERS,
                artifact.nbytes if is_whole else 0,
                self.destinations and self.destinations.user_of(store),
            )
            return held, (
                dataset_id,
                store,
                position,
                store,
                path,
                None,
                artifact.member,
                artifact.offset,
                None if is_whole else artifact.nbytes,
                artifact.format,
                artifact.digest,
                artifact.nbytes,
                None,
                state,
            )
        return None, (
            dataset_id,
            store,
            position,
            None,
            None,
            path,
            None,
            None,
            None,
            artifact.format,
            artifact.digest,
            artifact.nbytes,
            self._uuid_in(load_id),
            state,
        )

    def write_direct(
        self, connection: sa.Connection, txid: Any, dataset_ids: Sequence[Any], rows: IngestRows, *, new: bool
    ) -> None:
        """Write the artifacts of files that stay where they are.

        Parameters
        ----------
        new
            Whether none of the files is an object yet, which is quicker; the database refuses those that are.
        """
        if new:
            object_ids = self._database.rules.new_ids(connection, OBJECT.c.id, len(rows))
            objects = [object_ids, rows.paths, rows.digests, rows.sizes]
            self._new_objects.write(connection, objects, [DIRECT, txid, 0])
            artifacts = [dataset_ids, object_ids, rows.formats, rows.digests, rows.sizes]
            self._new_artifacts.write(connection, artifacts, [DIRECT, 0, str(ArtifactState.OK)])
            return
        # what is the same in all rows has no end, so that lengths differ
        held_by, direct, none = repeat(txid), repeat(DIRECT), repeat(None)
        shared = zip(
            *(direct, rows.paths, held_by, held_by, rows.digests, rows.sizes, none),
            strict=False,
        )
        self._database.execute_each(connection, self._object, shared)
        placed = zip(
            *(dataset_ids, direct, repeat(0), direct, rows.paths, none, none, none, none),
            *(rows.formats, rows.digests, rows.sizes, none, repeat(str(ArtifactState.OK))),
            strict=False,
        )
        self._database.execute_each(connection, self._insert[False], placed)

    def write(
        self,
        connection: sa.Connection,
        rows: list[tuple[tuple[Any, ...] | None, tuple[Any, ...]]],
        *,
        update: bool = False,
    ) -> None:
        """Write what `rows` returned."""
        objects = dict.fromkeys(held for held, _ in rows if held is not None)  # a pack is one
        self._database.execute_many(connection, self._object, list(objects))
        self._database.execute_many(connection, self._insert[update], [row for _, row in rows])


def _insert_object(rules: Rules) -> sa.Insert:
    made_by = sa.bindparam("made_by", type_=TXN.c.txid.type)
    generation = sa.select(TXN.c.gen).where(TXN.c.txid == made_by).scalar_subquery()
    values: dict[str, Any] = {name: sa.bindparam(name) for name in _OBJECT_COLUMNS}
    insert: Any = rules.insert(OBJECT).values({**values, "gen": generation})
    return insert.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["store", "path"],
        set_={name: insert.excluded[name] for name in _OBJECT_COLUMNS[3:]},
        where=OBJECT.c.sha256 == sa.literal_column("''"),
    )


def _insert_artifact(rules: Rules, update: bool) -> sa.Insert:
    held_by = (
        sa.select(OBJECT.c.id)
        .where(OBJECT.c.store == sa.bindparam("object_store"), OBJECT.c.path == sa.bindparam("object_path"))
        .scalar_subquery()
    )
    values: dict[str, Any] = {name: sa.bindparam(name) for name in _ARTIFACT_COLUMNS}
    insert: Any = rules.insert(ARTIFACT).values({**values, "object_id": held_by})
    if update:
        changed = (*_ARTIFACT_COLUMNS, "object_id")
        insert = insert.on_conflict_do_update(
            index_elements=_ARTIFACT_KEYS,
            set_={
                name: insert.excluded[name] for name in changed if name not in (*_ARTIFACT_KEYS, "position")
            },
        )
    return insert  # type: ignore[no-any-return]


def transition_statement(
    database: Database, columns: tuple[str, ...], state: str, cleared: tuple[str, ...] = ()
) -> Prepared:
    """Return an UPDATE of what is PREPARING at an epoch, whose values come as columns, txid, epoch."""
    return in_order(database.prepare(_update, columns, state, cleared), (*columns, "of_txid", "at_epoch"))


def _update(columns: tuple[str, ...], state: str, cleared: tuple[str, ...]) -> sa.Update:
    return (
        sa.update(TXN)
        .where(
            TXN.c.txid == sa.bindparam("of_txid", type_=TXN.c.txid.type),
            TXN.c.epoch == sa.bindparam("at_epoch", type_=TXN.c.epoch.type),
            TXN.c.state == sa.literal_column("'PREPARING'"),
        )
        .values({name: sa.bindparam(name) for name in columns})
        .values({name: sa.null() for name in ("owner", *cleared)})
        .values(state=sa.literal_column(f"'{state}'"))
    )


class Inserts:
    """Writes what the verdicts accepted, and what they ended."""

    def __init__(self, database: Database, outbox: Outbox, artifacts: ArtifactWriter) -> None:
        self._database = database
        self._outbox = outbox
        self._artifacts = artifacts
        self._txn = insert_statement(database, TXN, _TXN_COLUMNS)
        self._committed = transition_statement(
            database, ("run", "key", "commit_seq", "decided_at"), "COMMITTED", ("lease_ns", "manifest")
        )
        self._ended = transition_statement(database, ("reason", "decided_at"), "ABORTED")
        self._required = insert_statement(database, TXN_REQUIRES, ("txid", "upstream"))
        self._input = insert_statement(database, TXN_INPUT, ("txid", "dataset_id"))
        self._collection = insert_statement(database, COLLECTION, ("id", "name", "kind", "added_seq"))
        self._dataset = insert_statement(database, DATASET, ("id", "type_id"))

    def write(self, connection: sa.Connection, verdicts: Verdicts, owner: UUID | None) -> None:
        """Write all of it, tables in the order of their references."""
        self._write_runs(connection, verdicts)
        self._write_transactions(connection, verdicts)
        self._write_origins(connection, verdicts)
        self._write_datasets(connection, verdicts, self._database.rules.uuid_in)
        self._reveal_rows(connection, verdicts)
        self._write_follow_ups(connection, verdicts, owner)

    def _write_runs(self, connection: sa.Connection, verdicts: Verdicts) -> None:
        new = []
        for run in verdicts.new_runs.values():
            if verdicts.has_lived(run):
                revive(connection, run, verdicts.edit)
            else:
                new.append((run.id, run.name, str(CollectionKind.RUN), verdicts.edit.seq))
        self._database.execute_many(connection, self._collection, new)

    def _write_transactions(self, connection: sa.Connection, verdicts: Verdicts) -> None:
        uuid_in = self._database.rules.uuid_in
        now = verdicts.edit.decided_ns
        new: list[tuple[Any, ...]] = []
        prepared: list[tuple[Any, ...]] = []
        for txn, seq in verdicts.transactions:
            txid = uuid_in(txn.txid)
            if txn.txid in verdicts.standings:
                prepared.append((txn.run, txn.key, seq, now, txid, txn.epoch))
            else:
                new.append((txid, txn.run, "COMMITTED", txn.epoch, txn.generation, txn.key, seq, now, now))
        ended = [(reason, now, uuid_in(txn.txid), txn.epoch) for txn, reason in verdicts.ended]
        self._database.execute_many(connection, self._txn, new)
        for statement, rows in ((self._committed, prepared), (self._ended, ended)):
            if self._database.execute_many(connection, statement, rows) != len(rows):
                raise InternalError("a transaction changed its state under the clock")

    def _write_origins(self, connection: sa.Connection, verdicts: Verdicts) -> None:
        uuid_in = self._database.rules.uuid_in
        requires: list[tuple[Any, Any]] = []
        inputs: list[tuple[Any, Any]] = []
        for txn, _ in verdicts.transactions:
            txid = uuid_in(txn.txid)
            requires += [(txid, uuid_in(upstream)) for upstream in dict.fromkeys(txn.requires)]
            inputs += [(txid, uuid_in(dataset_id)) for dataset_id in dict.fromkeys(txn.inputs)]
        self._database.execute_many(connection, self._required, requires)
        self._database.execute_many(connection, self._input, inputs)

    def _reveal_rows(self, connection: sa.Connection, verdicts: Verdicts) -> None:
        """Show the rows of tables in this database to plain SQL, with the very COMMIT of their datasets."""
        destinations = self._artifacts.destinations
        if destinations is None:
            return
        loads: dict[str, list[tuple[str, UUID, DatasetRef]]] = {}
        for one in verdicts.accepted:
            for artifact in one.output.artifacts:
                if artifact.load_id is None or artifact.state is not ArtifactState.OK:
                    continue
                if destinations.is_in_registry(artifact.destination):
                    ref = evolve(one.output.ref, version=one.version)
                    loads.setdefault(artifact.destination, []).append((artifact.path, artifact.load_id, ref))
        for name, revealed in loads.items():
            tables = destinations.get(name)
            assert isinstance(tables, RegistryTables)
            tables.reveal_in(connection, revealed)

    def _write_follow_ups(self, connection: sa.Connection, verdicts: Verdicts, owner: UUID | None) -> None:
        follow_ups = {txn.txid: txn.follow_ups for txn, _ in verdicts.transactions}
        follow_ups |= {txn.txid: _clean_up(txn) for txn, _ in verdicts.ended}
        self._outbox.add(connection, follow_ups, owner)

    def _write_datasets(self, connection: sa.Connection, verdicts: Verdicts, uuid_in: Any) -> None:
        datasets: list[tuple[Any, ...]] = []
        groups: dict[tuple[str, ...], GroupTables] = {}
        artifacts: list[tuple[tuple[Any, ...] | None, tuple[Any, ...]]] = []
        txids: dict[UUID, Any] = {txn.txid: uuid_in(txn.txid) for txn, _ in verdicts.transactions}
        grouped: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for one in verdicts.accepted:
            run, type_id, values = one.key
            id_, txid = uuid_in(one.output.ref.id), txids[one.txid]
            datasets.append((id_, type_id))
            groups.setdefault(one.entry.group.dimensions, one.entry.group)
            grouped.setdefault(one.entry.group.dimensions, []).append(
                (id_, verdicts.run_id(run), type_id, *values, one.version, txid, one.place, one.seq)
            )
            for position, artifact in enumerate(one.output.artifacts):
                artifacts.append(self._artifacts.rows(id_, txid, position, artifact))
        self._database.execute_many(connection, self._dataset, datasets)
        for dimensions, group_rows in grouped.items():
            self._database.execute_many(connection, self._group(groups[dimensions]), group_rows)
        self._artifacts.write(connection, artifacts)

    def _group(self, group: GroupTables) -> Prepared:
        columns = ("id", "run_id", "type_id", *group.columns.values(), "v", "txid", "n", "commit_seq")
        return insert_statement(self._database, group.dataset, columns)


def _clean_up(transaction: Transaction) -> tuple[FollowUp, ...]:
    """Return what is to be removed of a transaction that will not become visible."""
    names = dict.fromkeys(one.destination for output in transaction.outputs for one in output.artifacts)
    names.pop(DIRECT, None)  # files that stay where they were: nobody has placed them
    return tuple(FollowUp(kind=FollowUpKind.CLEAN, destination=name) for name in names)
