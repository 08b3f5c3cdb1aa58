"""Connections to SQLite and PostgreSQL: transactions, locks, deadlines, and what their errors mean."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from quantumio.destinations._failures import local_failure
from quantumio.destinations._secrets import Credentials, Secret, scrub
from quantumio.errors import DestinationError, ErrorKind, MissingExtraError
from quantumio.system import files, locks, sqlite_files
from quantumio.system.deadlines import ending_connection
from quantumio.system.failpoints import reach

__all__ = ["Database", "open_postgresql", "open_sqlite"]

_log = logging.getLogger(__name__)

_LOCK_TIMEOUT_S: Final = 30.0
_CONNECT_S: Final = 10
_POOL: Final = 8
_LARGEST_WAL: Final = 16 << 20
_WRITES: Final = "quantumio_writes"
_WRITER: Final[Mapping[str, object]] = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
_READER: Final[Mapping[str, object]] = {"query_only": 1}
_DDL_LOCK: Final = 0x71696F  # key of the advisory lock that serialises changes of tables on PostgreSQL

_SQLITE_KINDS: Final = {
    "SQLITE_FULL": ErrorKind.DISK_FULL,
    "SQLITE_READONLY": ErrorKind.PERMISSION,
    "SQLITE_PERM": ErrorKind.PERMISSION,
    "SQLITE_CANTOPEN": ErrorKind.PERMISSION,
    "SQLITE_CORRUPT": ErrorKind.CORRUPT,
    "SQLITE_NOTADB": ErrorKind.CORRUPT,
    "SQLITE_BUSY": ErrorKind.TIMEOUT,
    "SQLITE_LOCKED": ErrorKind.TIMEOUT,
}
_POSTGRESQL_KINDS: Final = {  # by SQLSTATE or its class, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": ErrorKind.UNREACHABLE,
    "28": ErrorKind.PERMISSION,
    "40": ErrorKind.TIMEOUT,
    "42501": ErrorKind.PERMISSION,
    "25006": ErrorKind.PERMISSION,
    "53100": ErrorKind.DISK_FULL,
    "55P03": ErrorKind.TIMEOUT,
    "57014": ErrorKind.TIMEOUT,
    "57P": ErrorKind.UNREACHABLE,
    "XX001": ErrorKind.CORRUPT,
    "XX002": ErrorKind.CORRUPT,
}
_HINTS: Final = {
    ErrorKind.UNREACHABLE: "look at the url of the destination and at the server, then retry",
    ErrorKind.PERMISSION: "look at the credentials, and at what the user may do in the database",
    ErrorKind.DISK_FULL: "free space on the disk of the database",
    ErrorKind.CORRUPT: "check the database with its own tools before writing again",
    ErrorKind.TIMEOUT: "somebody else holds a lock, or timeout_s of the destination is too short",
    ErrorKind.UNSPECIFIED: "look at the tables of the database",
}


class Database:
    """An engine, and how to write with it.

    Parameters
    ----------
    name
        Of the destination.
    engine
        Of SQLAlchemy.
    secrets
        Never to appear in a text.
    file
        Of an SQLite database, None for PostgreSQL.
    lock
        File whose lock serialises all who write that file; one beside it where None is given.
    readonly
        Whether the file may not be made or changed.
    """

    def __init__(
        self,
        name: str,
        engine: sa.Engine,
        *,
        secrets: Iterable[Secret] = (),
        file: Path | None = None,
        lock: Path | None = None,
        readonly: bool = False,
    ) -> None:
        self.name = name
        self.engine = engine
        self._secrets = tuple(secrets)
        self._file = file
        self._lock = lock
        self._readonly = readonly

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, PostgreSQL otherwise."""
        return self._file is not None

    def quote(self, identifier: str) -> str:
        """Return an identifier as the dialect quotes it."""
        return str(self.engine.dialect.identifier_preparer.quote_identifier(identifier))

    def url(self) -> str:
        """Return where it is, without user and secrets."""
        if self._file is not None:
            return f"sqlite:///{self._file}"
        url = self.engine.url
        host = url.host or str(url.query.get("host", ""))
        port = f":{url.port}" if url.port else ""
        if host.startswith("/"):
            return f"postgresql:///{url.database or ''}?host={host}"
        return f"postgresql://{host}{port}/{url.database or ''}"

    @contextmanager
    def read(self, doing: str) -> Iterator[sa.Connection]:
        """Give a connection for reading; errors become the destination's."""
        with self._told(doing), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, doing: str) -> Iterator[sa.Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back by an exception.

        On SQLite it begins immediate, under a lock of our own between threads and processes: SQLite's own
        waits are unfair, and no checkpoint may run beside a commit.
        """
        with self._told(doing), self._connect() as connection, self._exclusive():
            with connection.begin():
                if not self.is_sqlite:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
                yield connection
                reach("rows.commit.before")
            reach("rows.commit.after")
            self._checkpoint_if_large(connection)

    def lock_tables(self, connection: sa.Connection) -> None:
        """Let nobody else change tables before the transaction ends."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_DDL_LOCK)))

    def close(self) -> None:
        """Close all connections; idempotent."""
        with self._told("closing"):
            if self._file is None or self._readonly or not files.exists(self._file):
                self.engine.dispose()
                return
            try:
                with self._exclusive():  # closing the last connection checkpoints
                    self.engine.dispose()
            except TimeoutError as error:  # whoever closes it last does that
                _log.warning("destination %r was not closed: %s", self.name, error)

    def exists(self) -> bool:
        """Whether there is a database to read from (SQLite makes its file at the first write)."""
        return self._file is None or files.exists(self._file)

    # -- inside

    def _connect(self) -> sa.Connection:
        if self._file is not None:
            files.make_directories(self._file.parent)
        return self.engine.connect().execution_options(**{_WRITES: True})

    def _exclusive(self) -> AbstractContextManager[object]:
        if self._file is None:
            return nullcontext()
        return _file_lock(self._file, self._lock)

    def _checkpoint_if_large(self, connection: sa.Connection) -> None:
        """Bring SQLite's log into the database, without waiting for readers of an old moment."""
        if self._file is None:
            return
        if (files.file_size(self._file.with_name(f"{self._file.name}-wal")) or 0) <= _LARGEST_WAL:
            return
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        ((busy_ms,),) = raw.execute("PRAGMA busy_timeout").fetchall()
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:  # what was committed is durable in the log; the next one tries again
            _log.warning("the checkpoint of destination %r failed: %s", self.name, error)
        finally:
            raw.execute(f"PRAGMA busy_timeout = {busy_ms}")

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._failure(doing, getattr(error, "orig", None) or error) from None
        except TimeoutError as error:  # of the lock; the message names who holds it
            raise DestinationError(
                f"destination {self.name!r}: {doing} failed: {error.strerror}",
                hint=_HINTS[ErrorKind.TIMEOUT],
                kind=ErrorKind.TIMEOUT,
            ) from error
        except OSError as error:
            raise local_failure(self.name, doing, error) from error
        except Exception as error:  # rows are handed to the drivers themselves
            if type(error).__module__.partition(".")[0] not in ("sqlite3", "psycopg"):
                raise
            raise self._failure(doing, error) from None

    def _failure(self, doing: str, error: BaseException) -> DestinationError:
        kind = _kind(error)
        text = scrub(" ".join(str(error).split()), self._secrets)
        return DestinationError(
            f"destination {self.name!r}: {doing} failed: {text}", hint=_HINTS[kind], kind=kind
        )


def _file_lock(database: Path, lock: Path | None) -> locks.FileLock:
    return locks.FileLock(lock or database.with_name(f"{database.name}.lock"))


def _kind(error: BaseException) -> ErrorKind:
    name = getattr(error, "sqlite_errorname", None)
    if isinstance(name, str):
        for prefix, kind in _SQLITE_KINDS.items():
            if name.startswith(prefix):
                return kind
        return ErrorKind.UNREACHABLE if name.startswith("SQLITE_IOERR") else ErrorKind.UNSPECIFIED
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        for length in (5, 3, 2):
            if state[:length] in _POSTGRESQL_KINDS:
                return _POSTGRESQL_KINDS[state[:length]]
        return ErrorKind.UNSPECIFIED
    if "password authentication" in str(error) or "role" in str(error):
        return ErrorKind.PERMISSION  # libpq gives no SQLSTATE for a refused connection
    return ErrorKind.UNREACHABLE


def open_sqlite(
    name: str, path: Path, *, readonly: bool, timeout_s: float, lock: Path | None = None
) -> Database:
    """Prepare an SQLite database; its file is made at the first write.

    Parameters
    ----------
    lock
        That of all who write the file, where it has more users than this destination.
    """
    path = files.real_path(path)
    sqlite_files.check_not_inherited(path)
    busy_ms = round(min(timeout_s, _LOCK_TIMEOUT_S) * 1000)
    pragmas = {"trusted_schema": 0, "busy_timeout": busy_ms, **(_READER if readonly else _WRITER)}
    if readonly:
        url = sa.URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    else:
        url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=timeout_s,
        connect_args={"factory": sqlite_files.connection_to(path)},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _: object) -> None:
        raw.isolation_level = None  # the driver's own BEGIN is deferred and left out before DDL
        try:
            # the first change to write-ahead logging waits for nobody by itself
            with nullcontext() if readonly else _file_lock(path, lock):
                _set(raw, pragmas)
        except BaseException:
            raw.close()
            raise

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return Database(name, engine, file=path, lock=lock, readonly=readonly)


def _set(raw: sqlite3.Connection, pragmas: Mapping[str, object]) -> None:
    for pragma, value in pragmas.items():
        raw.execute(f"PRAGMA {pragma} = {value}").fetchall()
        actual = raw.execute(f"PRAGMA {pragma}").fetchall()
        if actual != [(value,)]:
            raise sqlite3.OperationalError(f"PRAGMA {pragma} is {actual}, not {value}")


def open_postgresql(
    name: str,
    url: str,
    *,
    credentials: Credentials | None,
    schema: str,
    sslmode: str | None,
    timeout_s: float,
) -> Database:
    """Prepare a PostgreSQL database; nothing is sent yet.

    Raises
    ------
    MissingExtraError
        psycopg is not installed.
    """
    try:
        import psycopg  # noqa: F401 - SQLAlchemy loads it by name, and says less where it is not there
    except ImportError:
        raise MissingExtraError("psycopg", "postgresql", purpose=f"destination {name!r}") from None
    # SQLAlchemy knows psycopg 3 by a name of its own
    address = sa.make_url(urlsplit(url)._replace(scheme="postgresql+psycopg").geturl())
    secrets: tuple[Secret, ...] = ()
    if credentials is not None:
        secrets = credentials.secrets()
        address = address.set(
            username=credentials.key.reveal() if credentials.key else address.username,
            password=credentials.secret.reveal() if credentials.secret else None,
        )
    milliseconds = round(timeout_s * 1000)
    arguments: dict[str, object] = {
        "connect_timeout": _CONNECT_S,
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": _CONNECT_S,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    if sslmode is not None:
        arguments["sslmode"] = sslmode
    engine = sa.create_engine(
        address,
        connect_args=arguments,
        isolation_level="READ COMMITTED",
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, _: object, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        driver = dialect.loaded_dbapi
        # the server's own limit comes first, where there still is a server
        kind = ending_connection(driver.Connection, driver.OperationalError, timeout_s + _CONNECT_S)
        return kind.connect(*given, **options)

    @sa.event.listens_for(engine, "connect")
    def prepare(raw: Any, _: object) -> None:
        with raw.cursor() as cursor:
            cursor.execute(
                f"SET search_path TO {engine.dialect.identifier_preparer.quote_identifier(schema)}"
            )
            # Waiting for a lock is part of the statement and has no limit of its own: those who make the same
            # table take turns, and the last one waits for the work of all others.
            cursor.execute(f"SET statement_timeout = {milliseconds}")
            cursor.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
        raw.commit()

    return Database(name, engine, secrets=secrets)
