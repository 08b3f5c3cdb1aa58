"""Rows are whole or invisible, whatever dies between; SQLite keeps its promises between processes."""

import sqlite3
import subprocess
import sys
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.destinations._row_checksum import RowChecksum
from quantumio.destinations._sql_columns import check_width, stored_columns
from quantumio.destinations._sql_destination import DatabaseDestination
from quantumio.destinations._sql_values import decode, encode
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.system import environment

CANARY = "c4n4ry-s3cret"


def stars(rows):
    return pa.table({"star": np.arange(rows), "flux": np.arange(rows) / 7})


class Died(BaseException):
    """As if the process had died here."""


def test_a_load_that_died_at_any_chunk_is_completed(opened, monkeypatch):
    destination = opened(url="sqlite:///level3.db")
    monkeypatch.setattr("quantumio.destinations._sql_destination._CHUNK_ROWS", 10)
    rows, original = stars(35), DatabaseDestination._load_chunk
    for dies_at in range(4):
        load_id, calls = environment.uuid7(), []

        def load_chunk(self, *arguments, calls=calls, dies_at=dies_at):
            calls.append(arguments)
            if len(calls) > dies_at:
                raise Died
            original(self, *arguments)

        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(DatabaseDestination, "_load_chunk", load_chunk)
            destination.load("stars", rows, load_id)
        with pytest.raises(NotFoundError):
            destination.read("stars", load_id)
        destination.load("stars", rows, load_id)
        assert destination.read("stars", load_id).equals(rows)


def test_an_unfinished_load_can_be_removed(opened, monkeypatch, tmp_path):
    destination, load_id = opened(url="sqlite:///level3.db"), environment.uuid7()

    def verify(*_):
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(DatabaseDestination, "_verify", verify)
        destination.load("stars", stars(5), load_id)
    destination.remove_load("stars", load_id)
    connection = sqlite3.connect(tmp_path / "level3.db")
    counts = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("stars_rows", "qio_loads", "qio_chunks")
    ]
    connection.close()
    assert counts == [0, 0, 0]


def test_processes_load_at_the_same_time(opened, tmp_path):
    code = """
import sys, uuid
from pathlib import Path
import pyarrow as pa
from quantumio.destinations import OpenedDestinations
from quantumio.model import DestinationSettings
settings = {"level3": DestinationSettings(name="level3", kind="database", options={"url": "sqlite:///level3.db"})}
opened = OpenedDestinations(settings, repository_root=Path(sys.argv[1]), repository_id=uuid.UUID(int=1))
for number in range(5):
    rows = pa.table({"star": [number], f"c{sys.argv[2]}": [number]})
    opened.get("level3").load("stars", rows, uuid.uuid4())
opened.close()
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    connection = sqlite3.connect(tmp_path / "level3.db")
    assert connection.execute(
        "SELECT count(*), count(c0), count(c1), count(c2) FROM stars_rows"
    ).fetchone() == (15, 5, 5, 5)
    connection.close()


def test_sqlite_is_durable_and_distrustful(opened):
    destination = opened(url="sqlite:///level3.db")
    destination.load("stars", stars(1), environment.uuid7())
    with destination._database.read("test") as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "trusted_schema")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "trusted_schema": 0}


def test_read_only_reads_what_is_there(opened, tmp_path):
    load_id = environment.uuid7()
    opened(url="sqlite:///level3.db").load("stars", stars(3), load_id)
    reader = opened(url="sqlite:///level3.db", readonly=True)
    assert reader.read("stars", load_id).equals(stars(3))


def test_what_is_no_database_is_corrupt(opened, tmp_path):
    (tmp_path / "level3.db").write_bytes(b"no database at all" * 100)
    destination = opened(url="sqlite:///level3.db")
    with pytest.raises(DestinationError) as caught:
        destination.load("stars", stars(1), environment.uuid7())
    assert caught.value.kind is ErrorKind.CORRUPT
    destination.check("stars", stars(1))


def test_a_server_that_is_down_is_unreachable_and_shows_no_secret(opened, monkeypatch):
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_LEVEL3_KEY", "ada")
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_LEVEL3_SECRET", CANARY)
    destination = opened(url="postgresql://127.0.0.1:9/level3", credentials="level3", insecure=True)
    destination.check("stars", stars(1))  # no reason to refuse a put
    with pytest.raises(DestinationError) as caught:
        destination.load("stars", stars(1), environment.uuid7())
    assert caught.value.kind is ErrorKind.UNREACHABLE
    texts = f"{caught.value} {caught.value!r} {destination!r} {vars(destination)} {destination.url('stars')}"
    assert CANARY not in texts
    assert destination._database.engine.url.password == CANARY


@pytest.mark.parametrize(
    ("options", "sslmode"), [({}, "verify-full"), ({"insecure": True}, None)], ids=["verified", "insecure"]
)
def test_postgresql_verifies_who_answers_unless_told_otherwise(opened, monkeypatch, options, sslmode):
    import psycopg

    connected = {}

    def connect(*_, **given):
        connected.update(given)
        raise psycopg.OperationalError("enough")

    monkeypatch.setattr(psycopg.Connection, "connect", connect)
    monkeypatch.setattr(psycopg, "connect", connect)
    destination = opened(url="postgresql://db.example/level3", **options)
    with pytest.raises(DestinationError, match="enough"):
        destination.read("stars", uuid.uuid4())
    assert connected["host"] == "db.example"
    assert connected.get("sslmode") == sslmode


def test_postgresql_rows_go_to_the_named_schema(opened, postgresql_database):
    import psycopg

    plain = postgresql_database.replace("+psycopg", "")
    with psycopg.connect(plain) as connection:
        connection.execute("CREATE SCHEMA survey")
    load_id = environment.uuid7()
    destination = opened(url=postgresql_database, schema="survey")
    destination.load("stars", stars(2), load_id)
    with psycopg.connect(plain) as connection:
        assert connection.execute("SELECT count(*) FROM survey.stars_rows").fetchone() == (2,)


def test_postgresql_schema_that_is_not_there_is_told_before_anything_is_written(opened, postgresql_database):
    import psycopg

    destination = opened(url=postgresql_database, schema="Survey")
    for call in (
        lambda: destination.check("stars", stars(2)),
        lambda: destination.load("stars", stars(2), environment.uuid7()),
    ):
        with pytest.raises(InvalidInputError, match='no schema "Survey" in postgresql:') as caught:
            call()
        assert caught.value.kind is ErrorKind.POLICY
        assert caught.value.hint.startswith('CREATE SCHEMA "Survey"')
    destination.remove_load("stars", environment.uuid7())  # who cleans up after it finds nothing
    with psycopg.connect(postgresql_database.replace("+psycopg", "")) as connection:
        connection.execute('CREATE SCHEMA "Survey"')
    load_id = environment.uuid7()
    destination.check("stars", stars(2))
    destination.load("stars", stars(2), load_id)
    assert destination.read("stars", load_id).equals(stars(2))


arrays = st.one_of(
    st.lists(st.none() | st.floats(width=64), min_size=1).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | st.floats(width=32), min_size=1).map(lambda v: pa.array(v, pa.float32())),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.none() | st.text().filter(lambda t: "\0" not in t), min_size=1).map(
        lambda v: pa.array(v, pa.string())
    ),
    st.lists(st.none() | st.binary(), min_size=1).map(lambda v: pa.array(v, pa.binary())),
    st.lists(st.none() | st.dates(), min_size=1).map(lambda v: pa.array(v, pa.date32())),
    st.lists(st.none() | st.lists(st.none() | st.floats(), min_size=3, max_size=3), min_size=1).map(
        lambda v: pa.array(v, pa.list_(pa.float64(), 3))
    ),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 255), max_size=4), min_size=1).map(
        lambda v: pa.array(v, pa.list_(pa.uint8()))
    ),
)


@given(arrays, st.data())
def test_values_survive_their_encoding(array, data):
    first = data.draw(st.integers(0, len(array) - 1))
    rows = pa.table({"x": array}).slice(first)
    (column,) = stored_columns("t", rows.schema)
    ((values,)) = encode(rows, [column])
    assert repr(decode(values, column, array.type).to_pylist()) == repr(rows.column("x").to_pylist())


@given(st.lists(st.floats() | st.none(), min_size=2, max_size=30), st.data())
def test_checksum_adds_up_and_sees_each_value(values, data):
    (column,) = stored_columns("t", pa.schema({"x": pa.float64()}))

    def checksum(*parts):
        total = RowChecksum()
        for part in parts:
            total.add([column], [part])
        return total.hexadecimal()

    cut = data.draw(st.integers(1, len(values) - 1))
    shuffled = data.draw(st.permutations(values))
    assert checksum(values) == checksum(values[:cut], values[cut:]) == checksum(shuffled)
    changed = [*values[1:], None if values[0] is not None else 0.0]
    assert checksum(values) != checksum(changed)
    assert checksum(values) != checksum([*values, values[0]])


def wide(count, value):
    return pa.table({f"c{number}": [value] for number in range(count)})


def test_too_many_columns_are_refused_before_the_commit(opened):
    destination = opened(url="sqlite:///level3.db")
    destination.check("t", wide(1900, 1.0))
    with pytest.raises(InvalidInputError, match=r"1,901 columns.*1,900"):
        destination.check("t", wide(1901, 1.0))
    destination.load("t", wide(1900, 1.0), environment.uuid7())
    with pytest.raises(InvalidInputError, match=r"1,901 columns"):  # with those of earlier loads
        destination.check("t", pa.table({"another": [1]}))


@pytest.mark.parametrize(("count", "value"), [(976, 1.0), (326, "x" * 100)])
def test_rows_wider_than_a_page_of_postgresql_are_refused(count, value):
    columns = stored_columns("t", wide(count, value).schema)
    check_width("t", columns[1:], count - 1, is_sqlite=False)
    check_width("t", columns, count, is_sqlite=True)
    with pytest.raises(InvalidInputError, match="row of table 't'.*7,800"):
        check_width("t", columns, count, is_sqlite=False)


@pytest.mark.parametrize(("count", "value"), [(975, 1.0), (325, "x" * 100), (325, b"x" * 9000)])
def test_the_widest_rows_that_are_accepted_fit_into_postgresql(opened, postgresql_database, count, value):
    destination = opened(url=postgresql_database.replace("+psycopg", ""), insecure=True)
    rows, load_id = wide(count, value), environment.uuid7()
    destination.check("t", rows)
    destination.load("t", rows, load_id)
    assert destination.read("t", load_id).equals(rows)
