"""What the one way to a registry's database says when locks, connections or files are not to be had."""

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quantumio.errors import DestinationError, ErrorKind, MissingExtraError, NotFoundError, StateError
from quantumio.registry._engine import Database
from quantumio.registry._failures import CommitLost
from quantumio.registry._file_systems import check_local
from quantumio.registry._migrations import check_revision
from quantumio.registry._reader_pool import ReaderPool
from quantumio.registry._sqlite import checkpoint, connect_writer
from quantumio.system import environment, failpoints, locks
from tests.unit.registry.conftest import Place

BROKEN = sqlite3.OperationalError("disk I/O error")
Open = Callable[..., Database]


@pytest.fixture
def open_database() -> Iterator[Open]:
    """Open the database of a registry; by default its writers do not wait for each other."""
    opened = []

    def open_one(place: Place, **options: Any) -> Database:
        settings = {"readonly": False, "lock_timeout_s": 0.0, **options}
        opened.append(Database(place.url, place.lock_path, **settings))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def database(place: Place, open_database: Open) -> Database:
    """One on SQLite and one on PostgreSQL."""
    return open_database(place)


@pytest.fixture
def embedded(sqlite_place: Place, open_database: Open) -> Database:
    """One on SQLite, for what only SQLite has."""
    sqlite_place.create().close()
    return open_database(sqlite_place)


def note(database: Database, name: str) -> None:
    with database.write("noting") as connection:
        connection.execute(
            sa.text("INSERT INTO workspace (store, user_name) VALUES ('s', :name)"), {"name": name}
        )


def names(database: Database) -> list[str]:
    statement = sa.text("SELECT user_name FROM workspace ORDER BY user_name")
    return database.read(lambda connection: list(connection.execute(statement).scalars()))


def one() -> sa.Select[Any]:
    return sa.select(sa.literal_column("1"))


def happening(point: str, action: Callable[[], object] | BaseException) -> Any:
    """Do something, or raise an error, when a point is reached for the first time."""
    times: list[str] = []

    def hook(name: str) -> None:
        if name == point and not times:
            times.append(name)
            if isinstance(action, BaseException):
                raise action
            action()

    return failpoints.watched(hook)


# -- locks


def test_writer_that_does_not_get_its_turn_has_stored_nothing(database: Database) -> None:
    with database.write("being slow"):
        with pytest.raises(DestinationError, match="was not to be had for noting") as error:
            note(database, "ada")
        assert error.value.kind is ErrorKind.LOCKED
    assert names(database) == []
    note(database, "ada")
    assert names(database) == ["ada"]


def test_process_that_holds_the_lock_is_named(embedded: Database, sqlite_place: Place) -> None:
    with locks.FileLock(sqlite_place.lock_path), pytest.raises(DestinationError) as error:
        note(embedded, "ada")
    assert f"process {os.getpid()} (this one) has held the lock" in str(error.value)
    assert error.value.kind is ErrorKind.LOCKED


def test_lock_that_cannot_be_asked_for_is_the_registrys_error(embedded: Database) -> None:
    broken = OSError(errno.EIO, os.strerror(errno.EIO))
    with (
        happening("files.lock.before", broken),
        pytest.raises(DestinationError, match="failed while noting") as error,
    ):
        note(embedded, "ada")
    assert error.value.kind is ErrorKind.REGISTRY
    note(embedded, "ada")


# -- connections


def test_writing_connection_that_cannot_be_made_is_told_each_time(
    embedded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("quantumio.registry._sqlite._WRITER", (("journal_mode", "WAL", "never"),))
        for _ in range(2):
            with pytest.raises(StateError, match="did not take journal_mode"):
                note(embedded, "ada")
    note(embedded, "ada")
    assert names(embedded) == ["ada"]


def test_transaction_that_cannot_be_rolled_back_is_given_up_with_its_connection(database: Database) -> None:
    note(database, "ada")
    with pytest.raises(KeyError), database.write("failing") as connection:
        connection.exec_driver_sql("DELETE FROM workspace")
        database._driver.close()
        raise KeyError
    assert names(database) == ["ada"]
    note(database, "grace")
    assert names(database) == ["ada", "grace"]


def test_interrupt_while_rolling_back_is_not_lost(database: Database) -> None:
    def interrupt(_: sa.Connection) -> None:
        raise KeyboardInterrupt

    note(database, "ada")
    sa.event.listen(database._writer, "rollback", interrupt)
    with pytest.raises(KeyboardInterrupt), database.write("failing") as connection:
        connection.exec_driver_sql("DELETE FROM workspace")
        raise KeyError
    sa.event.remove(database._writer, "rollback", interrupt)
    assert names(database) == ["ada"]
    note(database, "grace")


def test_reader_that_cannot_connect_is_told(embedded: Database, sqlite_place: Place) -> None:
    sqlite_place.lock_path.with_name("registry.sqlite3").rename(sqlite_place.lock_path.with_name("away"))
    with pytest.raises(DestinationError, match="failed while connecting") as error:
        embedded.fetch(embedded.prepare(one), {})
    assert error.value.kind is ErrorKind.REGISTRY
    with pytest.raises(DestinationError, match="failed while noting") as error:
        note(embedded, "ada")
    assert error.value.kind is ErrorKind.REGISTRY
    sqlite_place.lock_path.with_name("away").rename(sqlite_place.lock_path.with_name("registry.sqlite3"))
    assert [tuple(row) for row in embedded.fetch(embedded.prepare(one), {})] == [(1,)]


def test_error_of_who_reads_comes_out_as_it_is(database: Database) -> None:
    for error in (KeyError("mine"), KeyboardInterrupt()):

        def work(fetch: Any, error: BaseException = error) -> None:
            fetch(database.prepare(one), {})
            raise error

        with pytest.raises(type(error)):
            database.snapshot(work)
        note(database, repr(error))
    assert len(names(database)) == 2


def test_no_more_idle_readers_are_kept_than_wanted() -> None:
    closed = []

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            closed.append(self)
            super().close()

    pool = ReaderPool(lambda: sqlite3.connect(":memory:", factory=Connection), keep=1)
    connections = [pool.connect() for _ in range(3)]
    for connection in connections:
        connection.close()
    assert len(closed) == 2
    assert pool.status() == "1 idle connections"
    pool.dispose()
    assert len(closed) == 3


# -- COMMIT


def test_commit_without_an_answer_is_looked_into_before_the_next_one(
    database: Database, place: Place
) -> None:
    with pytest.raises(CommitLost), database.write("failing"):
        database._driver.close()
    if database.rules.name == "sqlite":
        with happening("registry.checkpoint.before", BROKEN), pytest.raises(DestinationError) as error:
            note(database, "ada")
        assert error.value.kind is ErrorKind.REGISTRY
    assert names(database) == []
    note(database, "ada")
    assert names(database) == ["ada"]


# -- closing


def test_closing_does_not_wait_for_ever_for_its_turn(
    embedded: Database, open_database: Open, sqlite_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    note(embedded, "ada")
    with locks.FileLock(sqlite_place.lock_path), caplog.at_level(logging.WARNING):
        embedded.close()
    assert "was left out" in caplog.text
    assert names(open_database(sqlite_place)) == ["ada"]
    embedded._drop_connection()


def test_last_checkpoint_that_fails_loses_nothing(
    embedded: Database, open_database: Open, sqlite_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    note(embedded, "ada")
    with happening("registry.checkpoint.before", BROKEN), caplog.at_level(logging.WARNING):
        embedded.close()
    assert "the last checkpoint" in caplog.text
    assert names(open_database(sqlite_place)) == ["ada"]


def test_connection_that_another_thread_gives_up_meanwhile_is_not_closed_twice(
    embedded: Database, open_database: Open, sqlite_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    note(embedded, "ada")
    with happening("files.lock.after", embedded._drop_connection), caplog.at_level(logging.WARNING):
        embedded.close()
    assert not caplog.records
    assert names(open_database(sqlite_place)) == ["ada"]


def test_forked_process_leaves_connections_to_its_parent(
    embedded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(embedded, "ada")
    with monkeypatch.context() as patch:
        patch.setattr(environment, "pid", lambda: os.getpid() + 1)
        with pytest.raises(StateError) as error:
            note(embedded, "grace")
        assert error.value.kind is ErrorKind.FORKED
        embedded.close()
    assert embedded._driver.execute("SELECT user_name FROM workspace").fetchall() == [("ada",)]
    embedded._drop_connection()


# -- reading without leaving files behind


def test_reader_of_an_immutable_file_reads_again_what_was_written_meanwhile(
    sqlite_place: Place, open_database: Open
) -> None:
    sqlite_place.create().close()
    reader = open_database(sqlite_place, readonly=True)
    seen: list[list[str]] = []

    def write(name: str) -> None:
        writer = open_database(sqlite_place)
        note(writer, name)
        writer.close()

    def work(connection: sa.Connection) -> list[str]:
        seen.append(list(connection.exec_driver_sql("SELECT user_name FROM workspace").scalars()))
        if len(seen) == 1:
            write("ada")
            raise StateError("what was read does not fit together")
        if len(seen) == 2:
            write("grace")
            names(reader)  # another thread was faster to see it
        return seen[-1]

    assert sorted(reader.read(work)) == ["ada", "grace"]
    assert len(seen) == 3
    with pytest.raises(StateError, match="it never fits"):
        reader.read(lambda connection: (_ for _ in ()).throw(StateError("it never fits")))


# -- what it needs


def test_sqlite_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StateError, match="too old for a registry"):
        connect_writer(tmp_path / "registry.sqlite3", create=True)
    assert not list(tmp_path.iterdir())


def test_database_that_left_write_ahead_logging_is_noticed(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "registry.sqlite3")
    connection.execute("CREATE TABLE a (b)")
    with pytest.raises(sqlite3.OperationalError, match="not in WAL mode"):
        checkpoint(connection.cursor())
    connection.close()


def test_driver_that_is_not_installed_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"quantumio\[postgresql\]"):
        Database("postgresql://host/registry", place.lock_path, readonly=False)


def test_system_that_does_not_tell_its_file_systems_is_taken_at_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantumio.system.file_systems._MOUNTS", tmp_path / "none")
    check_local(tmp_path)


def test_database_without_a_registry_is_told_as_that(tmp_path: Path) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(NotFoundError, match="no registry at here") as error:
        check_revision(connection, "here")
    assert error.value.kind is ErrorKind.NO_REPOSITORY
    engine.dispose()


@pytest.mark.parametrize("how", ["moved", "replaced"])
def test_nothing_is_written_into_a_file_that_has_lost_its_name(
    how: str, sqlite_place: Place, embedded: Database
) -> None:
    """It was acknowledged, and nobody ever found it again."""
    note(embedded, "before")
    path = sqlite_place.lock_path.with_name("registry.sqlite3")
    backup = path.with_name("backup")
    backup.write_bytes(path.read_bytes())
    path.rename(path.with_name("elsewhere"))
    if how == "replaced":
        backup.rename(path)
    for _ in range(2):  # nor with another connection
        with pytest.raises(DestinationError, match="since it was opened its file was moved away") as raised:
            note(embedded, "into nowhere")
        assert raised.value.kind is ErrorKind.REGISTRY
    path.with_name("elsewhere").replace(path)
    note(embedded, "after")
    assert names(embedded) == ["after", "before"]
