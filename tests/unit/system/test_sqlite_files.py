"""The steps of a forked child, in one process; `tests/acceptance/test_fork.py` has real forks."""

import contextlib
import ctypes
import os
import sqlite3
import sys
import weakref

import pytest

from quantumio.errors import ErrorKind, StateError
from quantumio.system import files, forks, sqlite_files


@pytest.fixture
def connect(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_files, "_open", weakref.WeakSet())
    monkeypatch.setattr(sqlite_files, "_inherited", set())

    def connect(name="one"):
        file = tmp_path / name
        return sqlite3.connect(file, isolation_level=None, factory=sqlite_files.connection_to(file))

    return connect


def test_what_was_open_is_refused_and_left_alone(connect, tmp_path):
    connection = connect()
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1)")
    assert list(sqlite_files._leave_to_parent()) == [connection]
    connection.rollback()
    connection.close()
    connection.execute("COMMIT")
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    os.link(tmp_path / "one", tmp_path / "linked")
    for name in ("one", "linked"):
        with pytest.raises(StateError, match="spawn") as caught:
            connect(name)
        assert caught.value.kind is ErrorKind.FORKED
    with contextlib.closing(connect("two")) as other:
        other.execute("CREATE TABLE t (x)")
    assert list(sqlite_files._leave_to_parent()) == []
    sqlite_files._inherited.clear()
    connection.close()


def test_what_was_closed_or_is_gone_is_not_refused(connect):
    connection = connect()
    connection.execute("BEGIN")
    connection.rollback()
    connection.close()
    assert list(sqlite_files._leave_to_parent()) == []
    connect().close()


def test_a_thing_that_is_never_ended_outlives_its_names():
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    before = sys.getrefcount(thing)
    forks.never_end([thing])
    assert sys.getrefcount(thing) == before + 1
    del thing
    assert gone() is not None
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(gone()))
    assert gone() is None


def test_paths_to_one_file(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert files.is_same(tmp_path / "link", tmp_path / "file")
    assert files.is_same(tmp_path / "none", tmp_path / "." / "none")
    assert not files.is_same(tmp_path / "none", tmp_path / "file")
