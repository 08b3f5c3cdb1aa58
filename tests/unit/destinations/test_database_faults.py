"""What a database of rows says when it is locked, changed, misconfigured or not there."""

import logging
import mmap
import sqlite3
import sys

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from quantumio.destinations._sql_columns import stored_columns
from quantumio.destinations._sql_engine import _kind
from quantumio.destinations._sql_values import check_values, decode, encode
from quantumio.errors import (
    DestinationError,
    ErrorKind,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    StateError,
)
from quantumio.model import DataId, DatasetRef, DatasetType
from quantumio.system import environment, failpoints, locks

STARS = DatasetType("stars", dimensions=("instrument", "visit"), storage_class="ArrowTable")


def stars(rows):
    return pa.table({"star": np.arange(rows), "flux": np.arange(rows) / 7})


def ref(version=1):
    return DatasetRef(environment.uuid7(), STARS, DataId({"instrument": "ST8", "visit": 7}), "run", version)


def happening(point, action):
    """Do something each time that a point is reached, though not while it is done."""
    busy = []

    def hook(name):
        if name == point and not busy:
            busy.append(name)
            action()
            busy.clear()

    return failpoints.watched(hook)


def sql(path, statement):
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


# -- SQLite


def test_log_is_brought_into_the_database_when_it_is_large(opened, tmp_path, monkeypatch):
    destination = opened()
    destination.load("stars", stars(10), environment.uuid7())
    assert (tmp_path / "level3.db-wal").stat().st_size > 0
    monkeypatch.setattr("quantumio.destinations._sql_engine._LARGEST_WAL", 0)
    destination.load("stars", stars(10), environment.uuid7())
    assert (tmp_path / "level3.db-wal").stat().st_size == 0


def test_reader_of_an_old_moment_holds_up_no_load(opened, tmp_path, monkeypatch):
    destination = opened()
    destination.load("stars", stars(10), environment.uuid7())
    old = sqlite3.connect(tmp_path / "level3.db", isolation_level=None)
    old.execute("BEGIN")
    old.execute("SELECT * FROM stars_rows").fetchall()
    monkeypatch.setattr("quantumio.destinations._sql_engine._LARGEST_WAL", 0)
    load_id, waited = environment.uuid7(), []
    trace = waited.append
    sa.event.listen(destination._database.engine, "checkout", lambda raw, *_: raw.set_trace_callback(trace))
    destination.load("stars", stars(10), load_id)
    order = [line for line in waited if "busy_timeout" in line or "wal_checkpoint" in line]
    assert order[:4] == [
        "PRAGMA busy_timeout",
        "PRAGMA busy_timeout = 0",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA busy_timeout = 30000",
    ]
    old.close()
    assert destination.read("stars", load_id).equals(stars(10))


def test_checkpoint_that_fails_does_not_fail_the_load_before_it(opened, monkeypatch, caplog):
    def refuse(action, what, *_):
        is_checkpoint = action == sqlite3.SQLITE_PRAGMA and what == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_checkpoint else sqlite3.SQLITE_OK

    destination, load_id = opened(), environment.uuid7()
    sa.event.listen(destination._database.engine, "checkout", lambda raw, *_: raw.set_authorizer(refuse))
    monkeypatch.setattr("quantumio.destinations._sql_engine._LARGEST_WAL", 0)
    with caplog.at_level(logging.WARNING):
        destination.load("stars", stars(10), load_id)
    assert "the checkpoint of destination 'level3' failed: not authorized" in caplog.text
    assert destination.read("stars", load_id).equals(stars(10))


def test_closing_does_not_wait_for_ever_for_its_turn(opened, tmp_path, monkeypatch, caplog):
    destination, load_id = opened(), environment.uuid7()
    destination.load("stars", stars(10), load_id)
    clock = iter(range(0, 10**6, 100))
    with locks.FileLock(tmp_path / "level3.db.lock"), monkeypatch.context() as patch:
        patch.setattr(environment, "monotonic", lambda: next(clock))
        with caplog.at_level(logging.WARNING):
            destination.close()
    assert "'level3' was not closed" in caplog.text
    destination.close()
    assert opened().read("stars", load_id).equals(stars(10))


def test_lock_that_somebody_holds_is_told_with_what_to_do_about_it(opened, tmp_path, monkeypatch):
    """The hint was to look after the device."""
    destination, load_id = opened(), environment.uuid7()
    destination.load("stars", stars(1), load_id)
    clock = iter(range(0, 10**6, 100))
    with locks.FileLock(tmp_path / "level3.db.lock"), monkeypatch.context() as patch:
        patch.setattr(environment, "monotonic", lambda: next(clock))
        with pytest.raises(
            DestinationError, match=r"has held the lock .*somebody else holds a lock"
        ) as raised:
            destination.remove_load("stars", load_id)
    assert raised.value.kind is ErrorKind.TIMEOUT


def test_setting_that_sqlite_does_not_take_is_refused(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("quantumio.destinations._sql_engine._WRITER", {"journal_mode": "never"})
    with pytest.raises(DestinationError, match="PRAGMA journal_mode is .*, not never"):
        opened().load("stars", stars(1), environment.uuid7())


def test_directory_that_cannot_be_made_is_told(opened, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DestinationError, match="making table stars"):
        opened("sqlite:///file/level3.db").load("stars", stars(1), environment.uuid7())


def test_error_of_who_uses_a_connection_comes_out_as_it_is(opened):
    with pytest.raises(KeyError), opened()._database.write("testing"):
        raise KeyError


def test_database_that_nobody_has_written_to_has_no_rows(opened, tmp_path):
    destination = opened()
    assert list(destination.hidden_loads()) == []
    with pytest.raises(NotFoundError):
        destination.reveal("stars", environment.uuid7(), ref())
    destination.remove_load("stars", environment.uuid7())
    assert list(tmp_path.iterdir()) == []
    sql(tmp_path / "level3.db", "CREATE TABLE of_others (a)")
    assert list(opened().hidden_loads()) == []


def test_rows_that_nobody_sees_are_listed_until_they_are_revealed(opened):
    destination = opened()
    first, second = environment.uuid7(), environment.uuid7()
    for load_id in (first, second):
        destination.load("stars", stars(2), load_id)
    destination.reveal("stars", second, ref())
    assert list(destination.hidden_loads()) == [("stars", first)]


def test_every_change_of_a_database_that_is_open_for_reading_is_refused(opened):
    load_id = environment.uuid7()
    opened().load("stars", stars(2), load_id)
    reader = opened(readonly=True)
    for change in (
        lambda: reader.load("stars", stars(2), environment.uuid7()),
        lambda: reader.reveal("stars", load_id, ref()),
        lambda: reader.remove_load("stars", load_id),
        lambda: reader.make_ready("stars", ref().data_id),
        lambda: reader.reveal_in(None, [("stars", load_id, ref())]),
    ):
        with pytest.raises(StateError) as caught:
            change()
        assert caught.value.kind is ErrorKind.READ_ONLY
    assert reader.read("stars", load_id).equals(stars(2))


def test_rows_that_somebody_changes_while_they_are_loaded_are_noticed(opened, tmp_path):
    destination, load_id = opened(), environment.uuid7()
    destination.load("stars", stars(1), environment.uuid7())

    def change():
        sql(tmp_path / "level3.db", "UPDATE stars_rows SET flux = flux + 1")

    with happening("rows.commit.after", change), pytest.raises(DestinationError) as caught:
        destination.load("stars", stars(5), load_id)
    assert caught.value.kind is ErrorKind.CORRUPT
    with pytest.raises(NotFoundError):
        destination.read("stars", load_id)


def test_rows_that_are_there_without_their_chunk_are_the_destinations_error(
    opened, tmp_path, postgresql_database
):
    def on_postgresql(statement):
        with psycopg.connect(postgresql_database.replace("+psycopg", "")) as connection:
            connection.execute(statement)

    for destination, run in (
        (opened(), lambda statement: sql(tmp_path / "level3.db", statement)),
        (opened(postgresql_database), on_postgresql),
    ):
        load_id = environment.uuid7()
        destination.load("stars", stars(5), load_id)
        run("UPDATE qio_loads SET state = 'loading'")
        run("DELETE FROM qio_chunks")
        with pytest.raises(DestinationError, match="loading stars failed") as caught:
            destination.load("stars", stars(5), load_id)
        assert caught.value.kind is ErrorKind.UNSPECIFIED


@pytest.mark.parametrize("at", [1, 2, 3])
def test_load_that_another_attempt_finishes_meanwhile_is_there_once(opened, tmp_path, at):
    one, other, load_id = opened(), opened(), environment.uuid7()
    one.load("stars", stars(1), environment.uuid7())
    turns = []

    def meanwhile(point):
        if point == "files.lock.before":  # 1: the load is noted  2: its rows are written  3: it is complete
            turns.append(point)
            if len(turns) == at:
                other.load("stars", stars(5), load_id)

    with failpoints.watched(meanwhile):
        one.load("stars", stars(5), load_id)
    assert len(turns) >= at
    assert one.read("stars", load_id).equals(stars(5))
    assert sql(tmp_path / "level3.db", "SELECT count(*) FROM stars_rows") == [(6,)]


def test_dimensions_that_another_process_adds_meanwhile_are_added_once(opened):
    one, other, first, second = opened(), opened(), environment.uuid7(), environment.uuid7()
    one.load("stars", stars(1), first)
    one.load("galaxies", stars(1), second)
    data_id = ref().data_id
    with happening("files.lock.before", lambda: other.make_ready("galaxies", data_id)):
        one.make_ready("stars", data_id)
    one.reveal("stars", first, ref())
    other.reveal("galaxies", second, ref())
    assert list(one.hidden_loads()) == []


# -- PostgreSQL


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", ErrorKind.UNREACHABLE),
        ("28000", ErrorKind.PERMISSION),
        ("40001", ErrorKind.TIMEOUT),
        ("42501", ErrorKind.PERMISSION),
        ("53100", ErrorKind.DISK_FULL),
        ("57014", ErrorKind.TIMEOUT),
        ("57P01", ErrorKind.UNREACHABLE),
        ("XX001", ErrorKind.CORRUPT),
        ("23505", ErrorKind.UNSPECIFIED),
    ],
)
def test_states_of_postgresql_have_their_kind(state, kind):
    assert _kind(psycopg.errors.lookup(state)("it said so")) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_FULL", ErrorKind.DISK_FULL),
        ("SQLITE_BUSY_SNAPSHOT", ErrorKind.TIMEOUT),
        ("SQLITE_IOERR_WRITE", ErrorKind.UNREACHABLE),
        ("SQLITE_CONSTRAINT", ErrorKind.UNSPECIFIED),
    ],
)
def test_errors_of_sqlite_have_their_kind(name, kind):
    error = sqlite3.OperationalError("it said so")
    error.sqlite_errorname = name
    assert _kind(error) is kind


def test_user_that_the_server_does_not_know_may_not_write(opened, postgresql_database, monkeypatch):
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_LEVEL3_KEY", "nobody")
    destination = opened(postgresql_database, credentials="level3", insecure=True)
    with pytest.raises(DestinationError, match="role .* does not exist") as caught:
        destination.load("stars", stars(1), environment.uuid7())
    assert caught.value.kind is ErrorKind.PERMISSION


def test_driver_that_is_not_installed_is_named(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"quantumio\[postgresql\]"):
        opened("postgresql:///level3")


# -- values


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "ä" * 20], pa.string_view()),
        pa.array([b"a", None, b"\0" * 20], pa.binary_view()),
        pa.chunked_array([pa.array(["a"]), pa.array([None, "b"])]),
        pa.chunked_array([pa.array([b"a"]), pa.array([None, b"b"])]),
        pa.chunked_array([], pa.string()),
        pa.array([[[1, 2], [3, 4]], None], pa.list_(pa.list_(pa.int16(), 2), 2)),
    ],
    ids=lambda array: str(array.type),
)
def test_values_survive_their_encoding(array):
    rows = pa.table({"x": array})
    (column,) = stored_columns("t", rows.schema)
    check_values("t", rows, [column])
    (values,) = encode(rows, [column])
    assert decode(values, column, array.type).to_pylist() == rows.column("x").to_pylist()


@pytest.mark.parametrize("data_type", [pa.string(), pa.large_string()])
def test_column_that_is_larger_than_an_array_of_its_type_is_checked(data_type):
    nbytes = 1_200_000_000  # twice as much is beyond the offsets of 32 bits; untouched memory is not there
    text = pa.py_buffer(mmap.mmap(-1, nbytes))
    offsets = np.array([0, nbytes], np.int32 if data_type == pa.string() else np.int64)
    array = pa.Array.from_buffers(data_type, 1, [None, pa.py_buffer(offsets), text])
    rows = pa.table({"x": pa.chunked_array([array, array])})
    with pytest.raises(InvalidInputError, match="NUL"):
        check_values("t", rows, stored_columns("t", rows.schema))


def test_null_in_place_of_an_inner_list_is_refused():
    nested = pa.list_(pa.list_(pa.list_(pa.float32(), 1), 2), 2)
    for value in ([[[1.0], [2.0]], None], [[[1.0], None], [[3.0], [4.0]]]):
        rows = pa.table({"x": pa.array([value], nested)})
        with pytest.raises(InvalidInputError, match="'x'.*inner list"):
            check_values("t", rows, stored_columns("t", rows.schema))


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (pa.table({}), "no columns"),
        (pa.table({"x": [[{"a": b"1"}]]}), "'x'"),
        (pa.table({"x": pa.array([{"a": 1}], pa.struct([("a", pa.int8()), ("a", pa.int8())]))}), "'x'"),
    ],
)
def test_tables_that_no_database_keeps_are_refused(opened, rows, match):
    with pytest.raises(InvalidInputError, match=match):
        opened().check("stars", rows)
