"""The first schema."""

import sqlalchemy as sa
from alembic import op

from quantumio.registry._dialect import BIG_INTEGER as INTEGER
from quantumio.registry._dialect import BINARY_UUID as UUID
from quantumio.registry._dialect import TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY_LIVE = sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL")


def upgrade() -> None:
    """Make all tables that depend on no dimension and no dataset type."""
    op.create_table(
        "clock",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("seq", INTEGER, nullable=False),
        sa.Column("edits", INTEGER, nullable=False),
        sa.Column("decided_ns", INTEGER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "collection",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("added_seq", INTEGER, nullable=False),
        sa.CheckConstraint("kind IN ('RUN','TAGGED','CHAINED','CALIBRATION')", name="collection_kind"),
        sa.UniqueConstraint("name", name="collection_name"),
        sqlite_strict=True,
    )
    op.create_table(
        "dataset_type",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("dimensions", TEXT, nullable=False),
        sa.Column("storage_class", TEXT, nullable=False),
        sa.Column("added_seq", INTEGER, nullable=False),
        sa.UniqueConstraint("name", name="dataset_type_name"),
        sqlite_strict=True,
    )
    op.create_table(
        "gc_candidate",
        sa.Column("store", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("mark", TEXT, nullable=False),
        sa.Column("first_seen", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("store", "path"),
        sqlite_strict=True,
    )
    op.create_table(
        "owner",
        sa.Column("id", UUID, primary_key=True, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("boot_id", TEXT, nullable=False),
        sa.Column("heartbeat_at", INTEGER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "repository",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("repository_id", UUID, nullable=False),
        sa.Column("universe", TEXT, nullable=False),
        sa.Column("created_ns", INTEGER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "session",
        sa.Column("id", UUID, primary_key=True, nullable=False),
        sa.Column("store", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "trash",
        sa.Column("store", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("removed_seq", INTEGER, nullable=False),
        sa.Column("removed_at", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("store", "path"),
        sqlite_strict=True,
    )
    op.create_table(
        "txn",
        sa.Column("txid", UUID, primary_key=True, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason", TEXT),
        sa.Column("epoch", INTEGER, nullable=False),
        sa.Column("gen", INTEGER, nullable=False),
        sa.Column("owner", UUID),
        sa.Column("lease_until", INTEGER),
        sa.Column("key", TEXT),
        sa.Column("content_digest", TEXT),
        sa.Column("manifest", TEXT),
        sa.Column("commit_seq", INTEGER),
        sa.Column("removed_seq", INTEGER),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("decided_at", INTEGER),
        sa.UniqueConstraint("commit_seq", name="txn_commit_seq"),
        sa.CheckConstraint("state IN ('PREPARING','COMMITTED','ABORTED','QUARANTINED')", name="txn_state"),
        sqlite_strict=True,
    )
    op.create_index(
        "txn_key", "txn", ["run", "key"], unique=True, sqlite_where=_KEY_LIVE, postgresql_where=_KEY_LIVE
    )
    op.create_table(
        "chain",
        sa.Column("collection_id", INTEGER, sa.ForeignKey("collection.id"), nullable=False),
        sa.Column("added_seq", INTEGER, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("child_id", INTEGER, sa.ForeignKey("collection.id"), nullable=False),
        sa.Column("removed_seq", INTEGER),
        sa.PrimaryKeyConstraint("collection_id", "added_seq", "position"),
        sqlite_strict=True,
    )
    op.create_table(
        "dataset",
        sa.Column("id", UUID, primary_key=True, nullable=False),
        sa.Column("type_id", INTEGER, sa.ForeignKey("dataset_type.id"), nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "object",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("store", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
        sa.Column("gen", INTEGER, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("nbytes", INTEGER, nullable=False),
        sa.UniqueConstraint("store", "path", name="object_path"),
        sqlite_strict=True,
    )
    op.create_table(
        "outbox",
        sa.Column("id", INTEGER, primary_key=True, autoincrement=True, nullable=False),
        sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("payload", TEXT, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("not_before", INTEGER, nullable=False),
        sa.Column("claimed_by", UUID),
        sa.Column("claimed_until", INTEGER),
        sa.Column("done_at", INTEGER),
        sa.CheckConstraint(
            "kind IN ('replicate','export','flip_table','notify','clean')", name="outbox_kind"
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "txn_input",
        sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
        sa.Column("dataset_id", UUID, nullable=False),
        sa.PrimaryKeyConstraint("txid", "dataset_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("txn_input_dataset", "txn_input", ["dataset_id"])
    op.create_table(
        "txn_requires",
        sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
        sa.Column("upstream", UUID, nullable=False),
        sa.PrimaryKeyConstraint("txid", "upstream"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "artifact",
        sa.Column("dataset_id", UUID, sa.ForeignKey("dataset.id"), nullable=False),
        sa.Column("store", TEXT, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("object_id", INTEGER, sa.ForeignKey("object.id")),
        sa.Column("table_name", TEXT),
        sa.Column("member", TEXT),
        sa.Column("offset", INTEGER),
        sa.Column("length", INTEGER),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("nbytes", INTEGER, nullable=False),
        sa.Column("load_id", UUID),
        sa.Column("state", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "store"),
        sa.CheckConstraint("(object_id IS NULL) <> (table_name IS NULL)", name="artifact_place"),
        # one after the other: SQLite makes a table of an IN list, for each row anew
        sa.CheckConstraint(
            "state = 'ok' OR state = 'pending' OR state = 'missing' OR state = 'corrupt'",
            name="artifact_state",
        ),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
