"""Where a registry is: URLs of SQLAlchemy, checked, with paths that may hold any character."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from quantumio.errors import InvalidInputError

__all__ = ["checked_url", "place_of", "sqlite_url"]


def sqlite_url(path: Path) -> str:
    """Return the URL of a registry in a file of SQLite; what means something in URLs is encoded."""
    return f"sqlite:///{quote(str(path))}"


def checked_url(url: str) -> sa.URL:
    """Return a URL that may name a registry; of SQLite its database is the plain path.

    Raises
    ------
    InvalidInputError
        It is no URL, or not that of a file of SQLite or of a database of PostgreSQL.
    """
    try:
        made = sa.make_url(url)
    except SQLAlchemyError as error:
        raise InvalidInputError(
            f"{url!r} is no database URL",
            hint="write sqlite:////directory/registry.sqlite3 or postgresql+psycopg://...",
        ) from error
    backend = made.get_backend_name()
    if backend == "postgresql":
        return made
    # Not every release of SQLAlchemy decodes the path: it is taken from the text.
    path = unquote(url.partition(":///")[2])
    if backend == "sqlite" and path and path != ":memory:" and not made.query:
        return made.set(database=path)
    raise InvalidInputError(
        f"{made.render_as_string(hide_password=True)!r} can be no registry",
        hint="use a file of SQLite (sqlite:////directory/registry.sqlite3, no options), "
        "or PostgreSQL (postgresql+psycopg://...)",
    )


def place_of(url: sa.URL) -> str:
    """Return the URL for people: a plain path, or without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)
