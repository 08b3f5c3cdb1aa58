"""What the registry refuses for good fails; what may pass, or nobody knows, is kept and goes on."""

import sqlite3

import pytest

from quantumio import CommitFailedError, CommitParkedError, ErrorKind
from quantumio.registry import _engine

pytestmark = pytest.mark.on_disk


@pytest.fixture
def night(make_butler):
    butler = make_butler(run="r")
    put(butler, 0).wait("committed", 60)
    yield butler
    butler.errors(acknowledge=True)


def put(butler, visit):
    ctx = butler.context()
    ctx.put({"visit": visit}, "stats", visit=visit)
    return ctx.commit("buffered")


def change(tmp_path, statement):
    with sqlite3.connect(tmp_path / "night" / "registry.sqlite3", timeout=60) as connection:
        connection.execute(statement)
    connection.close()


def without_a_table(butler, tmp_path, monkeypatch):
    change(tmp_path, "ALTER TABLE artifact RENAME TO elsewhere")
    return lambda: change(tmp_path, "ALTER TABLE elsewhere RENAME TO artifact")


def with_a_constraint(butler, tmp_path, monkeypatch):
    change(tmp_path, "CREATE TRIGGER never BEFORE INSERT ON dataset BEGIN SELECT RAISE(ABORT, 'never'); END")
    return lambda: change(tmp_path, "DROP TRIGGER never")


def database_of(butler):
    return butler._session.repositories[0].catalog._database


def read_only(butler, tmp_path, monkeypatch):
    real = _engine.connect_writer

    def connect(path, *, create):
        connection = real(path, create=create)
        connection.execute("PRAGMA query_only=1")
        return connection

    def connect_anew():
        with database_of(butler)._locked("connecting anew"):
            database_of(butler)._drop_connection()

    def mend():
        monkeypatch.setattr(_engine, "connect_writer", real)
        connect_anew()

    monkeypatch.setattr(_engine, "connect_writer", connect)
    connect_anew()
    return mend


def with_an_error_that_nobody_knows(butler):
    def deny(action, first, *_):
        wanted = (sqlite3.SQLITE_INSERT, "artifact")
        return sqlite3.SQLITE_DENY if (action, first) == wanted else sqlite3.SQLITE_OK

    driver = database_of(butler)._connection.connection.driver_connection
    driver.set_authorizer(deny)
    return lambda: driver.set_authorizer(None)


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (without_a_table, ErrorKind.REFUSED),
        (with_a_constraint, ErrorKind.REFUSED),
        (read_only, ErrorKind.PERMISSION),
    ],
)
def test_lasting_refusal_fails_the_commit(night, tmp_path, monkeypatch, break_it, kind):
    mend = break_it(night, tmp_path, monkeypatch)
    with pytest.raises(CommitFailedError, match="refused while") as raised:
        put(night, 1).wait("committed", 60)
    assert raised.value.kind is kind
    mend()
    assert night.query("stats").count() == 1
    assert not [one for one in night.unfinished() if one.what == "journal"]
    put(night, 1).wait("committed", 60)
    assert night.get("stats", visit=1) == {"visit": 1}


def test_error_that_nobody_knows_parks_the_commit_and_it_goes_on(night):
    mend = with_an_error_that_nobody_knows(night)
    with pytest.raises(CommitParkedError):
        put(night, 1).wait("committed", 60)
    mend()
    night.recover()
    assert night.get("stats", visit=1) == {"visit": 1}


def test_read_only_registry_keeps_what_was_promised(night, tmp_path, monkeypatch):
    mend = read_only(night, tmp_path, monkeypatch)
    ctx = night.context()
    ctx.put({"visit": 1}, "stats", visit=1)
    with pytest.raises(CommitParkedError):
        ctx.commit("journaled").wait("committed", 60)
    mend()
    night.recover()
    assert night.get("stats", visit=1) == {"visit": 1}
