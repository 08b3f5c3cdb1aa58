"""The schema's history: made and migrated by alembic, checked at opening without it.

Every table of a registry that does not depend on its dimensions or dataset types is made by the revisions
in ``migrations/versions``. Opening never changes a schema; `upgrade` does.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from quantumio.errors import ErrorKind, NotFoundError, StateError

__all__ = ["REVISIONS", "check_revision", "check_schema", "migrate", "revision"]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All revisions, oldest first; the last is the schema of this quantumio (a test compares with alembic)."""

_VERSION = sa.table("alembic_version", sa.column("version_num"))


def migrate(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision inside of the caller's transaction."""
    if connection.dialect.name == "postgresql":  # silent for longer than who commits
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10min'")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "quantumio.registry:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of the schema; None where there is no registry."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: Any = connection.execute(sa.select(_VERSION.c.version_num)).scalar()
    return None if found is None else str(found)


def check_revision(connection: sa.Connection, place: str, *, older_is_fine: bool = False) -> None:
    """Refuse a registry whose schema is not that of this quantumio.

    Raises
    ------
    NotFoundError
        There is no registry (``kind="no_repository"``).
    StateError
        It was written by a newer quantumio (``kind="newer_schema"``) or by an older one (``older_schema``).
    """
    found = revision(connection)
    if found is None:
        raise NotFoundError(
            f"there is no registry at {place}",
            hint="create the repository first",
            kind=ErrorKind.NO_REPOSITORY,
        )
    if found not in REVISIONS or not older_is_fine:
        check_schema(found, REVISIONS[-1], place)


def check_schema(found: str, needed: str, place: str) -> None:
    """Refuse another schema than the one that is needed.

    Raises
    ------
    StateError
        It is of a newer quantumio (``kind="newer_schema"``) or of an older one (``kind="older_schema"``).
    """
    if found == needed:
        return
    if found not in REVISIONS:
        raise StateError(
            f"the registry at {place} has schema {found!r}; this quantumio knows up to {REVISIONS[-1]!r}",
            hint="upgrade quantumio (`pip install --upgrade quantumio`), and start again what has it open",
            kind=ErrorKind.NEWER_SCHEMA,
        )
    raise StateError(
        f"the registry at {place} has the older schema {found!r}; this quantumio needs {needed!r}",
        hint="make a backup, then run `quantumio upgrade`, or Butler.upgrade(root)",
        kind=ErrorKind.OLDER_SCHEMA,
    )
