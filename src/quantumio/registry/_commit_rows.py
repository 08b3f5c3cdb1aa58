"""The rows of a flip: one executemany per table, values in the order of the statement."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from quantumio.errors import InternalError
from quantumio.model import Artifact
from quantumio.ports import CollectionKind
from quantumio.registry._engine import Database
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

__all__ = ["ArtifactWriter", "Inserts", "insert_statement"]

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
_PREPARED_COLUMNS: Final = ("state", "owner", "key", "manifest", "commit_seq", "decided_at")
_ENDED_COLUMNS: Final = ("state", "reason", "owner", "decided_at")
_OBJECT_COLUMNS: Final = ("store", "path", "txid", "gen", "sha256", "nbytes")
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


def insert_statement(database: Database, table: sa.Table, columns: tuple[str, ...]) -> Prepared:
    """Return an INSERT whose values come in the order of ``columns``."""
    statement = database.prepare(sa.insert(table).values({name: sa.bindparam(name) for name in columns}))
    return in_order(statement, columns)


def update_statement(database: Database, table: sa.Table, columns: tuple[str, ...], key: str) -> Prepared:
    """Return an UPDATE of the row of a key, whose values come in the order of ``columns``, the key last."""
    statement = (
        sa.update(table)
        .where(table.c[key] == sa.bindparam(f"where_{key}"))
        .values({name: sa.bindparam(name) for name in columns})
    )
    prepared = database.prepare(statement)
    return in_order(prepared, (*sorted(columns, key=list(table.c.keys()).index), f"where_{key}"))


def in_order(statement: Prepared, columns: tuple[str, ...]) -> Prepared:
    """Assure that a statement takes its values in this order."""
    if statement.order != columns:
        raise InternalError(f"a statement takes {statement.order}, not {columns}")
    return statement


class ArtifactWriter:
    """Writes artifacts, and the objects that hold them.

    Objects are unique by store and path: those that are there (a file ingested where it is, a second time)
    are shared; one that was pending until now gets its digest and size.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uuid_in = database.rules.uuid_in
        held = database.rules.insert(OBJECT).values({name: sa.bindparam(name) for name in _OBJECT_COLUMNS})
        held = held.on_conflict_do_update(
            index_elements=["store", "path"],
            set_={"sha256": held.excluded.sha256, "nbytes": held.excluded.nbytes},
            where=OBJECT.c.sha256 == sa.literal_column("''"),
        )
        self._object = in_order(database.prepare(held), _OBJECT_COLUMNS)
        self._insert = {update: self._statement(update=update) for update in (False, True)}

    def _statement(self, *, update: bool) -> Prepared:
        held_by = (
            sa.select(OBJECT.c.id)
            .where(
                OBJECT.c.store == sa.bindparam("object_store"), OBJECT.c.path == sa.bindparam("object_path")
            )
            .scalar_subquery()
        )
        values: dict[str, Any] = {name: sa.bindparam(name) for name in _ARTIFACT_COLUMNS}
        insert = self._database.rules.insert(ARTIFACT).values({**values, "object_id": held_by})
        if update:
            changed = (*_ARTIFACT_COLUMNS, "object_id")
            insert = insert.on_conflict_do_update(
                index_elements=_ARTIFACT_KEYS,
                set_={
                    name: insert.excluded[name]
                    for name in changed
                    if name not in (*_ARTIFACT_KEYS, "position")
                },
            )
        order = (*_ARTIFACT_COLUMNS[:3], "object_store", "object_path", *_ARTIFACT_COLUMNS[3:])
        return in_order(self._database.prepare(insert), order)

    def rows(
        self, dataset_id: Any, txid: Any, position: int, artifact: Artifact, generation: int = 0
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
                generation,
                artifact.digest if is_whole else _OF_MEMBERS,
                artifact.nbytes if is_whole else 0,
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


class Inserts:
    """Writes what the verdicts accepted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._txn = insert_statement(database, TXN, _TXN_COLUMNS)
        self._prepared = update_statement(database, TXN, _PREPARED_COLUMNS, "txid")
        self._ended = update_statement(database, TXN, _ENDED_COLUMNS, "txid")
        self._required = insert_statement(database, TXN_REQUIRES, ("txid", "upstream"))
        self._input = insert_statement(database, TXN_INPUT, ("txid", "dataset_id"))
        self._collection = insert_statement(database, COLLECTION, ("id", "name", "kind", "added_seq"))
        self._dataset = insert_statement(database, DATASET, ("id", "type_id"))
        self._groups: dict[tuple[str, ...], Prepared] = {}
        self._artifacts = ArtifactWriter(database)

    def write(self, connection: sa.Connection, verdicts: Verdicts) -> None:
        """Write all of it, tables in the order of their references."""
        many = self._database.execute_many
        uuid_in = self._database.rules.uuid_in
        runs = [
            (run.id, run.name, str(CollectionKind.RUN), verdicts.edit.seq)
            for run in verdicts.new_runs.values()
        ]
        many(connection, self._collection, runs)
        decided = verdicts.edit.decided_ns
        new = [(txn, seq) for txn, seq in verdicts.transactions if txn.txid not in verdicts.known]
        prepared = [(txn, seq) for txn, seq in verdicts.transactions if txn.txid in verdicts.known]
        many(
            connection,
            self._txn,
            [
                (
                    uuid_in(txn.txid),
                    txn.run,
                    "COMMITTED",
                    txn.epoch,
                    txn.generation,
                    txn.key,
                    seq,
                    decided,
                    decided,
                )
                for txn, seq in new
            ],
        )
        many(
            connection,
            self._prepared,
            [("COMMITTED", None, txn.key, None, seq, decided, uuid_in(txn.txid)) for txn, seq in prepared],
        )
        many(
            connection,
            self._ended,
            [
                ("ABORTED", reason, None, decided, uuid_in(txn.txid))
                for txn, reason in verdicts.ended
                if txn.txid in verdicts.known
            ],
        )
        many(
            connection,
            self._required,
            [
                (uuid_in(txn.txid), uuid_in(upstream))
                for txn, _ in verdicts.transactions
                for upstream in dict.fromkeys(txn.requires)
            ],
        )
        many(
            connection,
            self._input,
            [
                (uuid_in(txn.txid), uuid_in(dataset_id))
                for txn, _ in verdicts.transactions
                for dataset_id in dict.fromkeys(txn.inputs)
            ],
        )
        self._write_datasets(connection, verdicts, uuid_in)

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
        if (known := self._groups.get(group.dimensions)) is None:
            columns = ("id", "run_id", "type_id", *group.columns.values(), "v", "txid", "n", "commit_seq")
            known = self._groups[group.dimensions] = insert_statement(self._database, group.dataset, columns)
        return known
