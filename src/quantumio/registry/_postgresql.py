"""Connections to PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from quantumio.errors import MissingExtraError

__all__ = ["postgresql_engine"]


def postgresql_engine(
    url: sa.URL, *, pool_size: int, isolation: sa.engine.interfaces.IsolationLevel
) -> sa.Engine:
    """Return an engine whose connections have this isolation.

    Raises
    ------
    MissingExtraError
        The driver is not installed.
    """
    try:
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            paramstyle="format",  # positional, as SQLite's: one way to fill prepared statements
            pool_size=pool_size,
            max_overflow=-1,
            pool_use_lifo=True,
            isolation_level=isolation,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("psycopg", "postgresql", purpose="a registry on PostgreSQL") from error
