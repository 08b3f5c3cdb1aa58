"""The tables of the registry: the fixed ones, and those made for dimension groups and dimensions.

The fixed tables are those of the current schema; the migrations make them (a test compares the two).
``clock``, ``outbox`` and ``owner`` were names of tables until schema 0006: in an upgraded registry they are
views, which stop processes that still write by it.
Rows that people edit (tags, chains, calibrations, dimension records) are never deleted: ``added_seq`` and
``removed_seq`` say in which commits they came and went, so that every earlier moment can be asked for.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from quantumio.registry._dialect import (
    BIG_INTEGER,
    BINARY_UUID,
    STRICT,
    TEXT,
)

__all__ = [
    "ARTIFACT",
    "CHAIN",
    "CLOCK",
    "COLLECTION",
    "COLLECTION_LIFE",
    "COVER_LEVEL",
    "DATASET",
    "DATASET_TYPE",
    "FIXED",
    "GC_CANDIDATE",
    "MOMENT",
    "OBJECT",
    "OUTBOX",
    "OWNER",
    "REPOSITORY",
    "SNAPSHOT",
    "TRASH",
    "TXN",
    "TXN_INPUT",
    "TXN_REQUIRES",
    "new_column",
    "reference",
]

FIXED = sa.MetaData()
"""Tables that every registry has."""


def new_column(
    name: str, kind: sa.types.TypeEngine[Any], *constraints: sa.ForeignKey, **options: bool
) -> sa.Column[object]:
    """Return a column that is NOT NULL unless ``nullable=True`` says otherwise."""
    options.setdefault("nullable", False)
    return sa.Column(name, kind, *constraints, **options)  # type: ignore[arg-type]


def reference(column: str, target: sa.Column[Any]) -> sa.ForeignKeyConstraint:
    """Return a reference of rows that are written by the hundred thousand.

    It is to what was read or written in the same transaction, once for all of them, and is never deleted.
    SQLite checks it with each row. PostgreSQL would take 4 us for each, which were half of an insert: there
    `PostgresqlRules.broken_references` checks it, when somebody asks.
    """
    constraint = sa.ForeignKeyConstraint([column], [target], info={"is_checked_by_fsck": True})
    return constraint.ddl_if(dialect="sqlite")


REPOSITORY = sa.Table(
    "repository",
    FIXED,
    new_column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("repository_id", BINARY_UUID),
    new_column("universe", TEXT),  # its wire form (JSON)
    new_column("created_ns", BIG_INTEGER),
    **STRICT,
)
CLOCK = sa.Table(
    "registry_clock",
    FIXED,
    new_column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("seq", BIG_INTEGER),  # of the last commit or edit; every write takes this row first
    new_column(
        "edits", BIG_INTEGER
    ),  # grows whenever names (types, collections, chains) change: caches watch it
    new_column("decided_ns", BIG_INTEGER),
    **STRICT,
)
MOMENT = sa.Table(  # when each commit and edit happened: those of one transaction under the last of them
    "moment",
    FIXED,
    new_column("seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("decided_ns", BIG_INTEGER),  # never less than those before, so that it needs no index
    **STRICT,
)
SNAPSHOT = sa.Table(  # a name for a moment
    "snapshot",
    FIXED,
    new_column("name", TEXT, primary_key=True),
    new_column("seq", BIG_INTEGER),
    new_column("note", TEXT),
    new_column("created_ns", BIG_INTEGER),
    new_column("added_seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("removed_seq", BIG_INTEGER, nullable=True),
    **STRICT,
)
sa.Index(
    "snapshot_live",
    SNAPSHOT.c.name,
    unique=True,
    sqlite_where=sa.text("removed_seq IS NULL"),
    postgresql_where=sa.text("removed_seq IS NULL"),
)
TXN = sa.Table(
    "txn",
    FIXED,
    new_column("txid", BINARY_UUID, primary_key=True),
    new_column("run", TEXT),
    new_column("state", TEXT),
    new_column("reason", TEXT, nullable=True),
    new_column("epoch", BIG_INTEGER),
    new_column("gen", BIG_INTEGER),
    new_column("owner", BINARY_UUID, nullable=True),
    new_column("key", TEXT, nullable=True),
    new_column("content_digest", TEXT, nullable=True),
    new_column("manifest", TEXT, nullable=True),
    new_column("commit_seq", BIG_INTEGER, nullable=True),
    new_column("removed_seq", BIG_INTEGER, nullable=True),
    new_column("created_at", BIG_INTEGER),
    new_column("decided_at", BIG_INTEGER, nullable=True),
    new_column("lease_ns", BIG_INTEGER, nullable=True),  # how long its owner may be silent
    sa.CheckConstraint("state IN ('PREPARING','COMMITTED','ABORTED','QUARANTINED')", name="txn_state"),
    sa.UniqueConstraint("commit_seq", name="txn_commit_seq"),
    **STRICT,
)
sa.Index(
    "txn_key",
    TXN.c.run,
    TXN.c.key,
    unique=True,
    sqlite_where=sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL"),
    postgresql_where=sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL"),
)
sa.Index(
    "txn_preparing",
    TXN.c.created_at,
    sqlite_where=sa.text("state = 'PREPARING'"),
    postgresql_where=sa.text("state = 'PREPARING'"),
)
TXN_REQUIRES = sa.Table(
    "txn_requires",
    FIXED,
    new_column("txid", BINARY_UUID, sa.ForeignKey("txn.txid"), primary_key=True),
    new_column("upstream", BINARY_UUID, primary_key=True),
    sqlite_with_rowid=False,
    **STRICT,
)
TXN_INPUT = sa.Table(
    "txn_input",
    FIXED,
    new_column("txid", BINARY_UUID, sa.ForeignKey("txn.txid"), primary_key=True),
    new_column("dataset_id", BINARY_UUID, primary_key=True),  # temporaries included: no foreign key
    sqlite_with_rowid=False,
    **STRICT,
)
sa.Index("txn_input_dataset", TXN_INPUT.c.dataset_id)
DATASET_TYPE = sa.Table(
    "dataset_type",
    FIXED,
    new_column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("name", TEXT),
    new_column("dimensions", TEXT),  # JSON list, complete and in universe order
    new_column("storage_class", TEXT),
    new_column("added_seq", BIG_INTEGER),
    sa.UniqueConstraint("name", name="dataset_type_name"),
    **STRICT,
)
COLLECTION = sa.Table(
    "collection",
    FIXED,
    new_column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("name", TEXT),
    new_column("kind", TEXT),
    new_column("added_seq", BIG_INTEGER),
    new_column("removed_seq", BIG_INTEGER, nullable=True),
    sa.CheckConstraint("kind IN ('RUN','TAGGED','CHAINED','CALIBRATION')", name="collection_kind"),
    sa.UniqueConstraint("name", name="collection_name"),
    **STRICT,
)
# A name keeps its id, so that versions of a run go on where they ended. When it lives again its row is that
# of the new life, and the life before moves here.
COLLECTION_LIFE = sa.Table(
    "collection_life",
    FIXED,
    new_column("collection_id", BIG_INTEGER, sa.ForeignKey("collection.id"), primary_key=True),
    new_column("kind", TEXT),
    new_column("added_seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("removed_seq", BIG_INTEGER),
    **STRICT,
)
CHAIN = sa.Table(
    "chain",
    FIXED,
    new_column("collection_id", BIG_INTEGER, sa.ForeignKey("collection.id"), primary_key=True),
    new_column("added_seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("position", BIG_INTEGER, primary_key=True, autoincrement=False),
    new_column("child_id", BIG_INTEGER, sa.ForeignKey("collection.id")),
    new_column("removed_seq", BIG_INTEGER, nullable=True),
    **STRICT,
)
DATASET = sa.Table(  # lean: which dimension group holds the row of an id
    "dataset",
    FIXED,
    new_column("id", BINARY_UUID, primary_key=True),
    new_column("type_id", BIG_INTEGER),
    reference("type_id", DATASET_TYPE.c.id),
    sqlite_with_rowid=False,
    **STRICT,
)
OBJECT = sa.Table(
    "object",
    FIXED,
    sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    new_column("store", TEXT),
    new_column("path", TEXT),
    new_column("txid", BINARY_UUID),
    new_column("gen", BIG_INTEGER),
    new_column("sha256", TEXT),
    new_column("nbytes", BIG_INTEGER),
    new_column("user_name", TEXT, nullable=True),  # whose store it is in, where each user has one
    reference("txid", TXN.c.txid),
    sa.UniqueConstraint("store", "path", name="object_path"),
    **STRICT,
)
ARTIFACT = sa.Table(
    "artifact",
    FIXED,
    new_column("dataset_id", BINARY_UUID, sa.ForeignKey("dataset.id"), primary_key=True),
    new_column("store", TEXT, primary_key=True),
    new_column("position", BIG_INTEGER),  # in the order in which they were planned
    new_column("object_id", BIG_INTEGER, sa.ForeignKey("object.id"), nullable=True),
    new_column("table_name", TEXT, nullable=True),  # rows in a database are no object
    new_column("member", TEXT, nullable=True),
    new_column("offset", BIG_INTEGER, nullable=True),
    new_column("length", BIG_INTEGER, nullable=True),
    new_column("format", TEXT),
    new_column("digest", TEXT),
    new_column("nbytes", BIG_INTEGER),
    new_column("load_id", BINARY_UUID, nullable=True),
    new_column("state", TEXT),
    # one after the other: SQLite makes a table of an IN list, for each row anew
    sa.CheckConstraint(
        "state = 'ok' OR state = 'pending' OR state = 'missing' OR state = 'corrupt'", name="artifact_state"
    ),
    sa.CheckConstraint("(object_id IS NULL) <> (table_name IS NULL)", name="artifact_place"),
    sqlite_with_rowid=False,
    **STRICT,
)
sa.Index("artifact_object", ARTIFACT.c.object_id)
OUTBOX = sa.Table(
    "registry_outbox",
    FIXED,
    sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    new_column("txid", BINARY_UUID, sa.ForeignKey("txn.txid")),
    new_column("kind", TEXT),
    new_column("destination", TEXT),
    new_column("attempts", BIG_INTEGER),
    new_column("created_at", BIG_INTEGER),
    new_column("not_before", BIG_INTEGER),  # due from then on: a claim and a failure put it off
    new_column("claimed_by", BINARY_UUID, nullable=True),
    sa.CheckConstraint("kind IN ('replicate','export','flip_table','notify','clean')", name="outbox_kind"),
    sa.UniqueConstraint("txid", "kind", "destination", name="outbox_follow_up"),
    **STRICT,
)
sa.Index("outbox_due", OUTBOX.c.not_before)
TRASH = sa.Table(
    "trash",
    FIXED,
    new_column("store", TEXT, primary_key=True),
    new_column("path", TEXT, primary_key=True),
    new_column("removed_seq", BIG_INTEGER),
    new_column("removed_at", BIG_INTEGER),
    **STRICT,
)
GC_CANDIDATE = sa.Table(
    "gc_candidate",
    FIXED,
    new_column("store", TEXT, primary_key=True),
    new_column("path", TEXT, primary_key=True),
    new_column("mark", TEXT),  # etag or modification time
    new_column("first_seen", BIG_INTEGER),
    **STRICT,
)
WORKSPACE = sa.Table(  # a store of a user's own
    "workspace",
    FIXED,
    new_column("store", TEXT, primary_key=True),
    new_column("user_name", TEXT, primary_key=True),
    **STRICT,
)
# The index cells of an element's regions are of this level; without a row they are not indexed.
COVER_LEVEL = sa.Table(
    "cover_level",
    FIXED,
    new_column("element", TEXT, primary_key=True),
    new_column("level", BIG_INTEGER),
    **STRICT,
)
OWNER = sa.Table(
    "registry_owner",
    FIXED,
    new_column("id", BINARY_UUID, primary_key=True),
    new_column("host", TEXT),
    new_column("boot_id", TEXT),
    new_column("heartbeat_at", BIG_INTEGER),
    **STRICT,
)
