"""What the system's room does where a machine, a disk or a server is not as usual."""

import errno
import os
from pathlib import Path

import pytest

from quantumio.errors import ErrorKind
from quantumio.system import environment, files, locks
from quantumio.system.deadlines import ending_connection
from quantumio.system.files import IrregularFileError
from quantumio.system.locks import FileLock
from quantumio.system.os_errors import os_error_kind


def test_what_was_spilled_is_read_back_and_has_no_name(tmp_path):
    data = files.map_unnamed(tmp_path, [b"pixels", memoryview(b""), bytearray(b" of a night")])
    assert bytes(data) == b"pixels of a night"
    assert data.readonly
    assert list(tmp_path.iterdir()) == []


def test_nothing_may_be_spilled_too(tmp_path):
    assert files.map_unnamed(tmp_path, [b""]) == b""


def test_bytes_of_somebody_else_are_made_durable(tmp_path, monkeypatch):
    path, synced = tmp_path / "image.fits", []
    path.write_bytes(b"by somebody else")
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor)), real(descriptor))
    )
    files.fsync_file(path)
    (of,) = synced
    assert os.path.samestat(of, path.stat())


def test_failed_fsync_of_somebody_elses_file_is_told_and_leaves_no_descriptor(tmp_path, monkeypatch):
    path = tmp_path / "image.fits"
    path.write_bytes(b"by somebody else")
    opened = []

    def fail(descriptor):
        opened.append(descriptor)
        raise OSError(errno.EIO, "the device is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the device is broken"):
        files.fsync_file(path)
    (descriptor,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_lock_of_a_parent_is_neither_kept_nor_freed_by_what_a_child_does_first(tmp_path, monkeypatch):
    """The steps of a forked child, beside a copy of the descriptor that stands for its parent."""
    monkeypatch.setattr(locks, "_lock_files", set())
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    parents = os.dup(lock._held[0].descriptor)
    locks._forking.acquire()
    locks._close_in_child()
    assert not lock.is_held
    lock.release()
    assert not FileLock(tmp_path / "lock").try_acquire(), "the child has freed the lock of its parent"
    os.close(parents)
    again = FileLock(tmp_path / "lock")
    assert again.try_acquire(), "the child has kept the lock of its parent"
    again.release()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (IrregularFileError(errno.EINVAL, "a pipe"), ErrorKind.CORRUPT),
        (OSError(errno.ENOSPC, "full"), ErrorKind.DISK_FULL),
        (OSError(errno.EROFS, "read-only"), ErrorKind.PERMISSION),
        (OSError(errno.ETIMEDOUT, "no answer"), ErrorKind.TIMEOUT),
        (OSError(errno.EIO, "broken"), ErrorKind.UNREACHABLE),
        (OSError("no number"), ErrorKind.UNREACHABLE),
    ],
)
def test_errors_of_the_system_have_kinds(error, kind):
    assert os_error_kind(error) is kind


MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(("text", "limit"), [("4096\n", 4096), ("max\n", MACHINE), (None, MACHINE)])
def test_control_group_limits_the_memory_where_there_is_one(monkeypatch, text, limit):
    def read(path, **options):
        if text is None:
            raise FileNotFoundError(errno.ENOENT, "no control groups here", str(path))
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert environment.memory_limit_bytes() == limit


def test_machine_without_an_identity_is_not_known(monkeypatch):
    def read(path, **options):
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))

    monkeypatch.setattr(Path, "read_text", read)
    assert environment.boot_id() == ":"


def test_names_of_user_and_machine(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    assert environment.user() == "ada"
    assert environment.host() == os.uname().nodename


# ---------------------------------------------------------------------------- a server that gives no answer


class Connection:
    """Drives what it waits for as psycopg does, with the readiness that the test gives."""

    def __init__(self):
        self.ready, self.is_closed = [], False

    def wait(self, gen, *arguments, **options):
        try:
            next(gen)
            while True:
                gen.send(self.ready.pop(0) if self.ready else 0)
        except StopIteration as end:
            return end.value

    def close(self):
        self.is_closed = True


class NoAnswer(Exception):
    pass


def statement(turns):
    for _ in range(turns):
        yield "readable"
    return "rows"


@pytest.fixture
def connection(monkeypatch):
    """A connection with a deadline of ten seconds, on a clock of one second a look."""
    seconds = iter(range(1000))
    monkeypatch.setattr(environment, "monotonic", lambda: float(next(seconds)))
    return ending_connection(Connection, NoAnswer, 10.0)()


def test_server_that_answers_nothing_is_given_up_and_its_connection_closed(connection):
    with pytest.raises(NoAnswer, match="gave no answer within 10 s"):
        connection.wait(statement(100))
    assert connection.is_closed


def test_answer_in_time_is_the_answer(connection):
    assert connection.wait(statement(5)) == "rows"
    assert not connection.is_closed


def test_answer_that_is_there_at_the_deadline_is_taken(connection):
    connection.ready = [0] * 9 + [1] * 100
    assert connection.wait(statement(50)) == "rows"
    assert not connection.is_closed


def test_statement_without_waiting_has_its_result(connection):
    assert connection.wait(statement(0)) == "rows"
