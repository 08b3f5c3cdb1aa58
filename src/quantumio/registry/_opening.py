"""How a registry is made, opened, and brought to the schema of this version."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind
from quantumio.registry._arguments import check_seconds
from quantumio.registry._catalog import SqlCatalog
from quantumio.registry._engine import Database
from quantumio.registry._migrations import REVISIONS, check_revision, migrate, revision
from quantumio.registry._schema import CLOCK, OWNER, REPOSITORY
from quantumio.registry._uninterrupted import uninterrupted
from quantumio.registry._universe import make_universe, universe_from_wire, universe_to_wire
from quantumio.registry._universe_schema import Tables
from quantumio.system import environment, locks

__all__ = ["create_registry", "open_registry", "upgrade"]


def create_registry(
    url: str,
    *,
    universe_tables: Mapping[str, Mapping[str, object]] | None,
    lock_path: Path,
    repository_id: UUID | None = None,
) -> SqlCatalog:
    """Make a registry in an empty database and open it.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:////directory/registry.sqlite3`` (the directory exists), or PostgreSQL's.
    universe_tables
        Dimensions of this repository besides those that all have, as tables like those of ``butler.toml``.
    lock_path
        File for the lock that SQLite's writers take turns with; made where it is not there.
    repository_id
        Identity of the repository; a new one unless given.

    Raises
    ------
    ConflictError
        There is a registry already.
    InvalidInputError
        The URL or a dimension is wrong.
    StateError
        The place cannot hold a registry (a network file system).
    DestinationError
        The database cannot be written.
    """
    universe = universe_to_wire(make_universe(universe_tables))
    identity = repository_id or environment.uuid7()
    return uninterrupted(lambda: _create(url, universe, lock_path, identity))


def _create(url: str, universe: str, lock_path: Path, identity: UUID) -> SqlCatalog:
    database = Database(url, lock_path, readonly=False, create=True)
    try:
        with database.edit("creating the registry") as connection:
            _check_empty(connection, database.place)
            migrate(connection)
            _fill(connection, identity, universe)
        database.make_name_durable()
    except BaseException:
        database.close()
        raise
    return SqlCatalog(database, identity, _tables(universe))


@functools.lru_cache(maxsize=16)
def _tables(universe: str) -> Tables:
    """Return the tables of a universe in its wire form, shared by all registries that have it."""
    return Tables(universe_from_wire(universe))


def _check_empty(connection: sa.Connection, place: str) -> None:
    if revision(connection) is not None:
        raise ConflictError(f"there is a registry at {place}", hint="open it, or use another place")


def _fill(connection: sa.Connection, identity: UUID, universe: str) -> None:
    now = environment.now_ns()
    connection.execute(sa.insert(CLOCK), {"id": 1, "seq": 0, "edits": 0, "decided_ns": now})
    connection.execute(
        sa.insert(REPOSITORY),
        {"id": 1, "repository_id": identity, "universe": universe, "created_ns": now},
    )
    tables = _tables(universe)
    for name in tables.universe:
        record = tables.record(name)
        record.table.create(connection)
        if record.cover is not None:
            record.cover.create(connection)


def open_registry(
    url: str, *, lock_path: Path, readonly: bool = False, lock_timeout_s: float = locks.LOCK_TIMEOUT_S
) -> SqlCatalog:
    """Open a registry that is there.

    Parameters
    ----------
    url, lock_path
        As in `create_registry`.
    readonly
        Refuse every change. Of SQLite no file is written or made either: its directory may be read-only.
    lock_timeout_s
        How long a writer waits for another one before it is refused (``kind="locked"``), in seconds.

    Raises
    ------
    NotFoundError
        There is no registry (``kind="no_repository"``).
    StateError
        Its schema is a newer one (``kind="newer_schema"``), or an older one (``kind="older_schema"``): see
        `upgrade`.
    DestinationError
        The database cannot be reached.
    """
    return uninterrupted(lambda: _open(url, lock_path, readonly=readonly, lock_timeout_s=lock_timeout_s))


def _open(url: str, lock_path: Path, *, readonly: bool, lock_timeout_s: float) -> SqlCatalog:
    database = Database(url, lock_path, readonly=readonly, lock_timeout_s=lock_timeout_s)
    try:
        database.check_exists()
        if not readonly:
            database.open_writer()

        def read(connection: sa.Connection) -> tuple[UUID, str]:
            check_revision(connection, database.place)
            row = connection.execute(sa.select(REPOSITORY.c.repository_id, REPOSITORY.c.universe)).one()
            return row.repository_id, row.universe

        identity, universe = database.read(read)
        return SqlCatalog(database, identity, _tables(universe))
    except BaseException:
        database.close()
        raise


def upgrade(
    url: str,
    *,
    lock_path: Path,
    lease_s: float | None = None,
    is_dead: Callable[[UUID, str, str], bool] = lambda *_: False,
) -> None:
    """Bring the schema of a registry up to date, in one transaction. Make a backup first.

    Whoever has it open meanwhile can neither read nor write it from then on.

    Parameters
    ----------
    url, lock_path
        As in `create_registry`.
    lease_s
        It is refused where an owner was heard of within this time, in seconds. None: whoever lives.
    is_dead
        Tells of such an owner (its id, host and boot) whether it is dead all the same.

    Raises
    ------
    NotFoundError
        There is no registry (``kind="no_repository"``).
    StateError
        Its schema is newer than this quantumio (``kind="newer_schema"``).
    ConflictError
        A process works with it (``kind="in_use"``); nothing was changed.
    DestinationError
        The database cannot be written; nothing was changed.
    """
    uninterrupted(lambda: _upgrade(url, lock_path, lease_s, is_dead))


def _upgrade(
    url: str, lock_path: Path, lease_s: float | None, is_dead: Callable[[UUID, str, str], bool]
) -> None:
    database = Database(url, lock_path, readonly=False)
    try:
        database.check_exists()
        with database.edit("upgrading the registry") as connection:
            if database.rules.exclude and sa.inspect(connection).has_table("alembic_version"):
                connection.exec_driver_sql(database.rules.exclude)  # before it is read: two take turns
            check_revision(connection, database.place, older_is_fine=True)
            if (found := revision(connection)) == REVISIONS[-1]:
                return
            if lease_s is not None:
                owner = OWNER if str(found) >= "0007" else OWNER.to_metadata(sa.MetaData(), name="owner")
                _check_nobody_works(connection, database, owner, lease_s, is_dead)
            if database.rules.name == "sqlite":  # all datasets are sorted: memory may not hold them
                connection.exec_driver_sql("PRAGMA temp_store = FILE")
            migrate(connection)
            # Names are read again before anything else is read: that proves the schema (see `NamesCache`).
            connection.execute(sa.update(CLOCK).values(edits=CLOCK.c.edits + 1))
    finally:
        database.close()


def _check_nobody_works(
    connection: sa.Connection,
    database: Database,
    owner: sa.Table,
    lease_s: float,
    is_dead: Callable[[UUID, str, str], bool],
) -> None:
    """Refuse to upgrade while an owner lives. Who has only read, or written nothing yet, is none."""
    silence = database.rules.now() - owner.c.heartbeat_at
    heard = sa.select(owner.c.id, owner.c.host, owner.c.boot_id, silence.label("silence_ns")).where(
        silence < check_seconds(lease_s, "lease_s")
    )
    living = [
        f"one on {row.host}, heard of {max(0, row.silence_ns) // 10**9} s ago"
        for row in connection.execute(heard)
        if not is_dead(row.id, row.host, row.boot_id)
    ]
    if living:
        raise ConflictError(
            f"the registry at {database.place} cannot be upgraded while processes work with it: "
            f"{'; '.join(living)}",
            hint="end them, or force the upgrade: then they keep in the journal what they cannot commit",
            kind=ErrorKind.IN_USE,
        )
