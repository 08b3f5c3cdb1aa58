"""Connections to PostgreSQL."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import MissingExtraError
from quantumio.system.deadlines import ending_connection

__all__ = ["postgresql_engine"]

_ANSWER_S: Final = 45.0
"""For one statement or COMMIT: longer than the server itself waits for a lock."""
_CONNECTION: Final = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # ms
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""What ends the waiting for a machine that is gone; what the URL says of them comes first."""


def postgresql_engine(
    url: sa.URL, *, pool_size: int, isolation: sa.engine.interfaces.IsolationLevel
) -> sa.Engine:
    """Return an engine whose connections have this isolation, and wait for no answer for ever.

    Raises
    ------
    MissingExtraError
        The driver is not installed.
    """
    try:
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            paramstyle="format",  # positional, as SQLite's: one way to fill prepared statements
            pool_size=pool_size,
            max_overflow=-1,
            pool_use_lifo=True,
            isolation_level=isolation,
            connect_args={key: value for key, value in _CONNECTION.items() if key not in url.query},
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("psycopg", "postgresql", purpose="a registry on PostgreSQL") from error

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, _: object, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        driver = dialect.loaded_dbapi
        kind = ending_connection(driver.Connection, driver.OperationalError, _ANSWER_S)
        return kind.connect(*arguments, **options)

    return engine
