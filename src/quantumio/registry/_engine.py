"""Connections, transactions and locks: the one way of this room to its database."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from attrs import define
from sqlalchemy.exc import SQLAlchemyError

from quantumio.errors import (
    DestinationError,
    ErrorKind,
    NotFoundError,
    QuantumioError,
    StateError,
)
from quantumio.registry._dialect import Rules, rules_for
from quantumio.registry._failures import VALUE_ERRORS, CommitLost, registry_error
from quantumio.registry._file_systems import check_local
from quantumio.registry._migrations import check_schema
from quantumio.registry._postgresql import postgresql_engine
from quantumio.registry._prepared import Fetch, Prepared, prepared, run_prepared
from quantumio.registry._reader_pool import ReaderPool
from quantumio.registry._sqlite import WalFiles, checkpoint, connect_reader, connect_writer, sqlite_engine
from quantumio.registry._uninterrupted import uninterrupted
from quantumio.registry._url import checked_url, place_of
from quantumio.system import environment, files, locks, sqlite_files
from quantumio.system.failpoints import reach
from quantumio.system.locks import FileLock

__all__ = ["Database"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_WAL_LIMIT_BYTES = 4 << 20
_IDLE_READERS = 16
_OPENING_S = 1.0
"""How long opening waits for its turn, at most: writing can connect later."""

_CLOSING_S = 5.0
"""How long the last checkpoint waits for its turn, at most: it can be left out."""


def _itself(statement: sa.Executable) -> sa.Executable:
    return statement


@define
class _Pools:
    reader: sa.Engine
    stamp: object = None


class Database:
    """One registry database: readers that never wait for a writer, and one writer at a time.

    Parameters
    ----------
    url
        SQLAlchemy URL of SQLite (a file) or PostgreSQL.
    lock_path
        File whose ``flock`` serialises writers, checkpoints and closes of SQLite; unused on PostgreSQL.
    readonly
        Whether nothing may be written, not even files beside the database.
    create
        Whether the database file may be made.
    lock_timeout_s
        How long a writer waits for the one before it, in seconds.
    """

    def __init__(
        self,
        url: str,
        lock_path: Path,
        *,
        readonly: bool,
        create: bool = False,
        lock_timeout_s: float = locks.LOCK_TIMEOUT_S,
    ) -> None:
        self._url = checked_url(url)
        self.readonly = readonly
        self.place = place_of(self._url)
        self.rules: Rules = rules_for(self._url.get_backend_name())
        self._thread_lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._closed = False
        self._wal: WalFiles | None = None
        self._lock_timeout_s = lock_timeout_s
        self._file_lock: FileLock | None = None
        self._checkpoint_at = _WAL_LIMIT_BYTES
        self._suspect = False
        self._file: tuple[int, int] | None = None  # of SQLite: which file it writes
        self._schema: str | None = None
        self._pid = environment.pid()
        if self.rules.name == "sqlite":
            self._open_sqlite(lock_path, create)
        else:
            self._writer = postgresql_engine(self._url, pool_size=1, isolation="READ COMMITTED")
            self._pools = _Pools(
                postgresql_engine(self._url, pool_size=_IDLE_READERS, isolation="AUTOCOMMIT")
            )
        self.dialect = self._pools.reader.dialect
        self._connection: sa.Connection | None = None
        self._driver: Any = None  # of that connection, so that it ends whatever state SQLAlchemy is in
        self._database_error: type[Exception] = self.dialect.loaded_dbapi.Error
        self._failures = (SQLAlchemyError, self._database_error, *VALUE_ERRORS)

    # -- opening and closing
    def _open_sqlite(self, lock_path: Path, create: bool) -> None:
        self._path = path = Path(str(self._url.database)).absolute()
        sqlite_files.check_not_inherited(path)
        check_local(path.parent)
        self._wal = WalFiles(path)
        if not self.readonly:
            self._file_lock = FileLock(lock_path)
        # One connection, kept: while it is open the files that readers need are there.
        self._writer = sqlite_engine(sa.pool.NullPool, lambda: connect_writer(path, create=create))
        sa.event.listen(
            self._writer, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
        self._pools = self._sqlite_readers()

    def _sqlite_readers(self) -> _Pools:
        path, wal = self._path, self._wal
        assert wal is not None
        stamp = wal.stamp()
        immutable = self.readonly and stamp[0]
        # A reader never waits for a connection; it is opened read-only, so its closing writes nothing.
        reader = sqlite_engine(
            ReaderPool,
            lambda: connect_reader(path, immutable=immutable),
            keep=_IDLE_READERS,
            reset_on_return=None,
        )
        return _Pools(reader, stamp if immutable else None)

    def close(self) -> None:
        """Give up connections; of SQLite with a checkpoint, under the lock. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._pid != environment.pid():
            return  # connections and locks are the parent's
        self._pools.reader.dispose()
        if self._connection is None:
            return  # nothing was written
        try:
            with self._locked("closing", min(self._lock_timeout_s, _CLOSING_S)):
                self._close_writer()
        except DestinationError as error:
            # What was committed is durable in the WAL. The connection ends with the process: SQLite's own
            # checkpoint at the end of a connection touches nothing while anybody else has the database open.
            _log.warning("the last checkpoint of the registry at %s was left out: %s", self.place, error)

    def _close_writer(self) -> None:
        if self._connection is not None:
            try:
                if self._wal is not None:
                    self._checkpoint(self._connection)
                self._connection.close()
            except self._failures:
                # What was committed is durable in the WAL; whoever opens it next tries again.
                _log.warning("the last checkpoint of the registry at %s failed", self.place, exc_info=True)
                self._drop_connection()
        self._writer.dispose()

    @contextlib.contextmanager
    def _locked(self, doing: str, timeout_s: float | None = None) -> Iterator[None]:
        """Keep other writers out, of this process and of others.

        Raises
        ------
        DestinationError
            The lock could not be had; in time (``kind="locked"``), or at all.
        """
        timeout_s = self._lock_timeout_s if timeout_s is None else timeout_s
        begun = environment.monotonic()
        if not self._thread_lock.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX)):
            raise self._lock_refused(doing, timeout_s)
        try:
            if self._file_lock is None:
                yield
                return
            try:
                self._file_lock.acquire(max(0.0, timeout_s - (environment.monotonic() - begun)))
            except TimeoutError as error:
                raise self._lock_refused(doing, timeout_s) from error
            except OSError as error:
                raise registry_error(error, doing, self.place) from error
            try:
                yield
            finally:
                self._file_lock.release()
        finally:
            self._thread_lock.release()

    def _lock_refused(self, doing: str, waited_s: float) -> DestinationError:
        lock = self._file_lock
        who = "another thread has been writing" if lock is None else lock.refusal(waited_s)
        return DestinationError(
            f"the registry at {self.place} was not to be had for {doing}: {who}",
            hint="nothing was stored; see whether that process is stopped or hangs: let it go on, or end it",
            kind=ErrorKind.LOCKED,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StateError(f"the registry at {self.place} is closed", hint="open the repository again")
        if self._pid != environment.pid():
            raise StateError(
                f"the registry at {self.place} was opened before the process forked",
                hint=sqlite_files.START_ANEW,
                kind=ErrorKind.FORKED,
            )

    def check_writable(self) -> None:
        """Refuse changes on a registry that was opened for reading alone.

        Raises
        ------
        StateError
            It was (``kind="read_only"``).
        """
        self._check_open()
        if self.readonly:
            raise StateError(
                f"the registry at {self.place} is open for reading alone",
                hint="open the repository without readonly=True",
                kind=ErrorKind.READ_ONLY,
            )

    # -- the schema
    def hold(self, schema: str) -> None:
        """Have every transaction from now on prove that the schema is this one: an upgrade may come between.

        A prepared statement that runs alone (`fetch`) proves nothing; see `NamesCache`.
        """
        self._schema = schema

    def _start(self, connection: Any, begin: str) -> None:
        """Begin a transaction of a connection of the driver.

        Raises
        ------
        StateError
            The schema is not the one that is held.
        """
        with contextlib.closing(connection.cursor()) as cursor:
            if self._schema is None:
                if begin:
                    cursor.execute(begin)
                return
            found = self.rules.schema(cursor, begin)
            if found != self._schema:
                cursor.execute("ROLLBACK")
                check_schema(found, self._schema, self.place)

    # -- reading
    def prepare(self, make: Callable[..., sa.Executable], *arguments: Any) -> Prepared:
        """Return a statement for `fetch` and for executemany of the driver.

        It is compiled when it is asked for the first time with equal arguments, in this process.

        Parameters
        ----------
        make
            Makes the statement; a function of a module.
        arguments
            Its arguments; they say all that it depends on.
        """
        return prepared(self.dialect, make, *arguments)

    def fetch(self, statement: Prepared, values: Mapping[str, Any]) -> list[Any]:
        """Run one prepared statement as a transaction of its own."""
        cursor = self.rules.cursor
        return self._reading(lambda connection: run_prepared(cursor(connection), statement, values))

    @staticmethod
    def ask(connection: sa.Connection, statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run a prepared statement within a transaction; return its rows as the driver gives them."""
        return connection.exec_driver_sql(statement.sql, statement.values(values)).all()

    @staticmethod
    def execute_many(connection: sa.Connection, statement: Prepared, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a prepared statement for rows whose values are in its order already; return how many it hit."""
        return connection.exec_driver_sql(statement.sql, list(rows)).rowcount if rows else 0

    @staticmethod
    def execute_each(connection: sa.Connection, statement: Prepared, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a prepared statement for very many rows, each made when its turn has come: none is kept.

        A list of so many has the interpreter look for garbage again and again. Errors are the driver's own.
        """
        cursor: Any = connection.connection.cursor()
        with contextlib.closing(cursor):
            cursor.executemany(statement.sql, rows)

    def is_refused(self, error: DestinationError) -> bool:
        """Whether a constraint of the database is why something could not be written."""
        cause = error.__cause__
        return isinstance(getattr(cause, "orig", cause), self.dialect.loaded_dbapi.IntegrityError)

    def rows(self, statement: sa.Select[Any], values: Mapping[str, Any], *, is_kept: bool) -> list[Any]:
        """Run one statement as a transaction of its own; return rows as the driver gives them.

        Parameters
        ----------
        statement, values
            What to run, and values of its parameters, as the driver takes them.
        is_kept
            Whether the very same statement is run again and again: then it is compiled once.
        """
        if is_kept:
            return self.fetch(self.prepare(_itself, statement), values)
        # SQLAlchemy's own rows cost more than all the rest
        return self.read(lambda connection: list(connection.execute(statement, values).cursor.fetchall()))

    def snapshot(self, work: Callable[[Fetch], _T]) -> _T:
        """Run prepared statements that all see the same moment."""

        def run(connection: Any) -> _T:
            cursor_of = self.rules.cursor
            self._start(connection, self.rules.begin_snapshot)
            try:
                return work(lambda statement, values: run_prepared(cursor_of(connection), statement, values))
            finally:
                with contextlib.closing(connection.cursor()) as cursor:
                    cursor.execute("ROLLBACK")

        return self._reading(run)

    def _reading(self, work: Callable[[Any], _T]) -> _T:
        return self._steady(lambda reader: self._with_driver(reader, work))

    def _with_driver(self, reader: sa.Engine, work: Callable[[Any], _T]) -> _T:
        try:
            pooled = reader.raw_connection()
        except (SQLAlchemyError, self._database_error) as error:
            raise registry_error(error, "connecting", self.place) from error
        try:
            return work(pooled.driver_connection)
        except (self._database_error, *VALUE_ERRORS) as error:
            pooled.invalidate()
            raise registry_error(error, "reading", self.place) from error
        except BaseException as error:
            if not isinstance(error, Exception):
                pooled.invalidate()  # an interrupt may have left a transaction open: an old moment for ever
            raise
        finally:
            pooled.close()

    def read(self, work: Callable[[sa.Connection], _T]) -> _T:
        """Run statements of SQLAlchemy that all see the same moment."""

        def run(reader: sa.Engine) -> _T:
            try:
                with reader.connect() as connection:
                    return self._at_one_moment(connection, work)
            except self._failures as error:
                raise registry_error(error, "reading", self.place) from error

        # An interrupt within SQLAlchemy's own closing would come out as an error of another kind.
        return uninterrupted(lambda: self._steady(run))

    def _at_one_moment(self, connection: sa.Connection, work: Callable[[sa.Connection], _T]) -> _T:
        try:
            self._start(connection.connection, self.rules.begin_snapshot)
            result = work(connection)
            connection.exec_driver_sql("ROLLBACK")
        except BaseException:
            connection.invalidate()  # rare; whatever state it is in, nobody meets it again
            raise
        return result

    def _steady(self, work: Callable[[sa.Engine], _T]) -> _T:
        """Run a read; of an immutable file again where somebody wrote it meanwhile (see `WalFiles`)."""
        self._check_open()
        while True:
            pools = self._pools
            if pools.stamp is None:
                return work(pools.reader)
            assert self._wal is not None
            try:
                result = work(pools.reader)
            except QuantumioError:
                if self._wal.stamp() == pools.stamp:
                    raise
            else:
                if self._wal.stamp() == pools.stamp:
                    return result
            with self._reader_lock:
                if self._pools is pools:
                    self._pools = self._sqlite_readers()
                    pools.reader.dispose()

    # -- writing
    @contextlib.contextmanager
    def write(self, doing: str) -> Iterator[sa.Connection]:
        """Run one write transaction, alone.

        Raises
        ------
        DestinationError
            The database failed before COMMIT: nothing was changed (``kind="registry"``; ``"refused"`` or
            ``"permission"`` where to repeat it will not help; ``"locked"`` where another one had the lock).
        CommitLost
            It failed in COMMIT.
        StateError
            The registry is open for reading alone, or closed; or it was upgraded (``kind="newer_schema"``).
        """
        self.check_writable()
        self.prove_durable()
        with self._locked(doing):
            self._check_open()
            reach("registry.begin.before")
            connection, transaction = self._begin(doing)
            reach("registry.begin.after")
            try:
                yield connection
            except self._failures as error:
                self._roll_back(transaction)
                raise registry_error(error, doing, self.place) from error
            except Exception:
                self._roll_back(transaction)
                raise
            except BaseException:  # an interrupt: nobody knows how far a statement came
                self._drop_connection()
                raise
            reach("registry.commit.before")
            self._commit(transaction)
            reach("registry.commit.after")
            self._checkpoint_if_large(connection)

    def _begin(self, doing: str) -> tuple[sa.Connection, sa.RootTransaction]:
        self._check_in_place(doing)
        try:
            connection = self._writing_connection()
            transaction = connection.begin()
            self._start(connection.connection, self.rules.begin_write)
        except BaseException as error:
            self._drop_connection()
            if isinstance(error, self._failures):
                raise registry_error(error, doing, self.place) from error
            raise
        return connection, transaction

    def _commit(self, transaction: sa.RootTransaction) -> None:
        try:
            transaction.commit()
        except BaseException as error:
            self._suspect = True
            self._drop_connection()
            if isinstance(error, Exception):
                raise CommitLost(str(getattr(error, "orig", None) or error)) from error
            raise  # an interrupt is no answer either: `prove_durable` comes before the next one

    @contextlib.contextmanager
    def edit(self, doing: str) -> Iterator[sa.Connection]:
        """Run one write transaction whose COMMIT needs no story of its own: an unknown end is an error too.

        Raises
        ------
        DestinationError
            As `write`; also where COMMIT failed: look before repeating.
        StateError
            As `write`.
        """
        try:
            with self.write(doing) as connection:
                yield connection
        except CommitLost as lost:
            raise DestinationError(
                f"the registry at {self.place} failed in the commit of {doing}: {lost}",
                hint="it may or may not have been stored: look, then repeat",
                kind=ErrorKind.REGISTRY,
            ) from lost

    def _writing_connection(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._writer.connect()
            self._driver = self._connection.connection.driver_connection
            if self._wal is not None and self._file is None:
                self._file = files.identity(self._path)
        return self._connection

    def _check_in_place(self, doing: str) -> None:
        """Refuse to write into a file that has lost its name: nobody would ever read it there."""
        if self._file is not None and files.identity(self._path) != self._file:
            raise DestinationError(
                f"the registry at {self.place} cannot be had for {doing}: since it was opened its file was "
                "moved away, removed, or replaced by another one",
                hint="nothing was stored; close the repository here, see that the right file is there, "
                "and open it again",
                kind=ErrorKind.REGISTRY,
            )

    def check_exists(self) -> None:
        """Refuse a database file that is not there: SQLite would make it.

        Raises
        ------
        NotFoundError
            There is no such file (``kind="no_repository"``).
        """
        if self.rules.name == "sqlite" and files.file_size(self._path) is None:
            raise NotFoundError(
                f"there is no registry at {self.place}",
                hint="create the repository first",
                kind=ErrorKind.NO_REPOSITORY,
            )

    def make_name_durable(self) -> None:
        """Make a new database file survive a crash of the machine, its name included."""
        if self.rules.name == "sqlite":
            files.fsync_directories([self._path.parent])

    def open_writer(self) -> None:
        """Connect for writing now, so that what is wrong shows when the registry is opened.

        Where somebody else writes for longer than a moment, as one that was stopped does, the first write
        connects: who reads need not wait for that.

        Raises
        ------
        DestinationError
            It cannot be written.
        """
        try:
            with self._locked("opening", min(self._lock_timeout_s, _OPENING_S)):
                self._writing_connection()
        except DestinationError as error:
            if error.kind is not ErrorKind.LOCKED:
                raise
            _log.warning("the registry at %s was opened beside somebody: %s", self.place, error.message)
        except (SQLAlchemyError, self._database_error) as error:
            raise registry_error(error, "opening", self.place) from error

    def _roll_back(self, transaction: sa.RootTransaction) -> None:
        try:
            transaction.rollback()
        except BaseException as error:
            self._drop_connection()
            if not isinstance(error, self._failures):
                raise

    def _drop_connection(self) -> None:
        """Give the writing connection up, and with it any transaction: the database rolls it back."""
        connection, self._connection = self._connection, None
        driver, self._driver = self._driver, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()
        if driver is not None:
            with contextlib.suppress(Exception):
                driver.close()

    # -- checkpoints of SQLite
    def _checkpoint_if_large(self, connection: sa.Connection) -> None:
        if self._wal is None or (size := self._wal.size()) < self._checkpoint_at:
            return
        try:
            complete = self._checkpoint(connection)
        except (SQLAlchemyError, self._database_error):
            # What was committed is durable in the WAL; the next write tries again.
            _log.warning("the checkpoint of the registry at %s failed", self.place, exc_info=True)
            complete = False
        # A reader of an old moment may hold it up: do not pay for an attempt at every commit.
        self._checkpoint_at = _WAL_LIMIT_BYTES if complete else size + _WAL_LIMIT_BYTES

    def _checkpoint(self, connection: sa.Connection) -> bool:
        """Bring the WAL into the database without waiting for readers; True if all of it."""
        with contextlib.closing(connection.connection.cursor()) as cursor:
            reach("registry.checkpoint.before")
            complete = checkpoint(cursor)
            reach("registry.checkpoint.after")
            return complete

    def prove_durable(self) -> None:
        """After a COMMIT that raised: show that what can be read is on the disk, not in the page cache alone.

        Raises
        ------
        DestinationError
            It could not be shown; the registry takes no writes until it can.
        """
        if not self._suspect:
            return
        self.check_writable()
        with self._locked("checking"):
            self._check_in_place("checking")
            try:
                if self._wal is not None and not self._checkpoint(self._writing_connection()):
                    raise registry_error(
                        TimeoutError("a reader held the checkpoint up"), "checking", self.place
                    )
            except (SQLAlchemyError, self._database_error) as error:
                self._drop_connection()
                raise registry_error(error, "checking", self.place) from error
            self._suspect = False
