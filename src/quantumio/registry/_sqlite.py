"""Connections to SQLite: their settings, each one checked, and opening for reading alone."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from quantumio.errors import ErrorKind, StateError
from quantumio.system import files, sqlite_files

__all__ = ["WalFiles", "checkpoint", "connect_reader", "connect_writer", "sqlite_engine"]

_OLDEST = (3, 38, 0)  # STRICT tables, RETURNING, JSON functions
_BUSY_TIMEOUT_MS = 30_000
_CACHE_KIB = 32_768
_COMMON: tuple[tuple[str, str, object], ...] = (
    ("busy_timeout", str(_BUSY_TIMEOUT_MS), _BUSY_TIMEOUT_MS),
    ("foreign_keys", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("cache_size", f"-{_CACHE_KIB}", -_CACHE_KIB),
)
_WRITER: tuple[tuple[str, str, object], ...] = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("wal_autocheckpoint", "0", 0),
    ("temp_store", "MEMORY", 2),  # what a statement needs to undo itself, without a file for it
)
_READER: tuple[tuple[str, str, object], ...] = (("query_only", "ON", 1),)


_compiled: sa.util.LRUCache[Any, Any] = sa.util.LRUCache(2000)
"""What SQLAlchemy has compiled, for all registries of the process: compiling takes longer than running."""


@functools.cache
def _dialect() -> sa.Dialect:
    """Return the one dialect of all registries: what SQLAlchemy has compiled is of one dialect."""
    engine = sa.create_engine("sqlite://")
    engine.connect().close()  # the dialect learns which SQLite this is
    engine.dispose()
    return engine.dialect


def sqlite_engine(
    pool: Callable[..., sa.Pool], connect: Callable[[], sqlite3.Connection], **options: Any
) -> sa.Engine:
    """Return an engine with a pool of its own, which shares what was compiled with all others."""
    return sa.Engine(
        pool(connect, dialect=_dialect(), **options),
        _dialect(),
        sa.make_url("sqlite://"),
        execution_options={"compiled_cache": _compiled},
    )


def _set(connection: sqlite3.Connection, settings: tuple[tuple[str, str, object], ...]) -> None:
    for name, value, expected in settings:
        connection.execute(f"PRAGMA {name}={value}").fetchall()
        row = connection.execute(f"PRAGMA {name}").fetchone()
        if row is None or row[0] != expected:
            raise StateError(
                f"SQLite {sqlite3.sqlite_version} did not take {name}={value}: it says {row and row[0]!r}",
                hint="the registry's guarantees need it; is the file on a local disk, and may it be written?",
            )


def _connect(path: Path, query: str) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StateError(
            f"SQLite {sqlite3.sqlite_version} is too old for a registry",
            hint=f"use a Python with SQLite {'.'.join(map(str, _OLDEST))} or newer",
            kind=ErrorKind.UNSPECIFIED,
        )
    return sqlite3.connect(
        f"file:{quote(str(path))}?{query}",
        uri=True,
        isolation_level=None,  # transactions begin and end where this room says so
        check_same_thread=False,  # the pool gives a connection to one thread at a time
        cached_statements=512,
        factory=sqlite_files.connection_to(path),
    )


def connect_writer(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open for writing, with all that durability needs; call it under the file lock."""
    connection = _connect(path, "mode=rwc" if create else "mode=rw")
    try:
        _set(connection, (*_COMMON, *_WRITER))
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, immutable: bool) -> sqlite3.Connection:
    """Open for reading; ``immutable`` leaves no files behind but is blind to other processes' writes."""
    connection = _connect(path, "immutable=1" if immutable else "mode=ro")
    try:
        _set(connection, (*_COMMON, *_READER))
    except BaseException:
        connection.close()
        raise
    return connection


def checkpoint(cursor: Any) -> bool:
    """Bring the WAL into the database without waiting for readers; True if all of it. Under the lock."""
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        busy, frames, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    if frames < 0:
        raise sqlite3.OperationalError("the database is not in WAL mode")
    return not busy


class WalFiles:
    """What the files of a registry say about writers, for a registry that is opened for reading alone.

    A reader of a database in WAL mode makes the files ``-wal`` and ``-shm`` where there are none, so it
    cannot be opened plainly in a directory that may not be written, and should not be in any other. While
    there is no ``-wal`` nobody has the database open for writing and it is complete in itself: it is read as
    immutable. A look at the files before and after each read tells whether that still held.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(f"{path.name}-wal")

    def size(self) -> int:
        """Bytes of the WAL."""
        return files.file_size(self._wal) or 0

    @property
    def immutable(self) -> bool:
        """Whether nobody has it open for writing."""
        return not files.exists(self._wal)

    def stamp(self) -> tuple[bool, tuple[int, int] | None]:
        """Return what changes when somebody opens it for writing, or has done so meanwhile."""
        return self.immutable, files.status(self._path)
