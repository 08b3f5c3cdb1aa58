"""Registries of schemas that are not kept: what revisions added is taken away from one that is, or given."""

import lzma
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.compat.contents import name_of

KEPT = ("0004", "0006", "0007")
UNPROVEN = "0006"
"""The last schema whose transactions do not prove it (decision 26)."""

_ADDED = {"0005": ["ALTER TABLE object ADD COLUMN user_name TEXT"]}
_UNDONE = {  # by revision, the newest first; plain SQL for both databases
    "0004": ["DROP TABLE workspace"],
    "0003": [
        "DROP INDEX artifact_object",
        "CREATE TABLE session (id TEXT PRIMARY KEY, store TEXT NOT NULL, created_at INTEGER NOT NULL)",
    ],
    "0002": [
        "DROP INDEX txn_preparing",
        "ALTER TABLE txn ADD COLUMN lease_until INTEGER",
        "ALTER TABLE txn DROP COLUMN lease_ns",
        "DROP TABLE outbox",
        "CREATE TABLE outbox (id INTEGER PRIMARY KEY, txid TEXT NOT NULL, payload TEXT NOT NULL)",
    ],
}


def kept_for(revision: str) -> str:
    """Return the kept schema of which one is made: the same, or the oldest."""
    return revision if revision in KEPT else KEPT[0]


def change(execute: Callable[[str], object], revision: str) -> None:
    """Make of the registry that is kept one of another schema."""
    if revision in KEPT:
        return
    for undone, statements in _UNDONE.items():
        if undone > revision:
            for statement in statements:
                execute(statement)
    for added, statements in _ADDED.items():
        if added <= revision:
            for statement in statements:
                execute(statement)
    execute(f"UPDATE alembic_version SET version_num = '{revision}'")


def put_sqlite(path: Path, revision: str) -> None:
    """Write a registry of a schema, with all that the kept one has; of the first no outbox."""
    path.write_bytes(lzma.decompress(name_of(kept_for(revision), "sqlite").read_bytes()))
    connection = sqlite3.connect(path, isolation_level=None)
    change(connection.execute, revision)
    connection.close()
