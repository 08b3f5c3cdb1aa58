"""Interrupts: whatever is broken off, the registry stays whole and free for others."""

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quantumio.errors import StateError
from quantumio.model import Committed, DataId
from quantumio.ports import CollectionKind
from quantumio.registry import SqlCatalog, _uninterrupted
from quantumio.registry._uninterrupted import after_abandoned, uninterrupted
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, Place, make_transaction, until, visit

_PROGRAM = """
import random, signal, sys
from pathlib import Path
from quantumio.errors import QuantumioError
from quantumio.model import CommitFailed, Committed
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import open_registry
from tests.unit.registry.conftest import CALEXP, make_transaction, visit

def interrupt(*_):
    raise KeyboardInterrupt

catalog = open_registry(sys.argv[1], lock_path=Path(sys.argv[2]))
signal.signal(signal.SIGALRM, interrupt)
broken_off = told = 0
for number in range(250):
    transaction = make_transaction(CALEXP, [visit(number)], run=f"run{number % 7}")
    outcome = None
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.004))
            catalog.register_collection(f"tag{number}", CollectionKind.TAGGED)
            catalog.count(DatasetQuery())
            (outcome,) = catalog.flip([transaction])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        broken_off += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    known = catalog.outcome(transaction.txid)
    if outcome is not None:
        assert known == outcome, (known, outcome)
    assert catalog.outcome(transaction.txid) == known, "an outcome that was told changed"
    told += known is not None
    assert catalog.count(DatasetQuery()) == told
catalog.register_collection("still/alive", CollectionKind.RUN)
print(broken_off, told, flush=True)
import os
os._exit(0)  # as a kill: nothing is closed
"""


def test_interrupts_at_any_moment_leave_the_registry_whole_and_free(sqlite_place: Place) -> None:
    catalog = sqlite_place.create()
    catalog.register_dataset_type(CALEXP)
    catalog.close()
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, sqlite_place.url, str(sqlite_place.lock_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    broken_off, told = map(int, done.stdout.split())
    assert broken_off > 20
    other = sqlite_place.open()
    try:
        assert isinstance(other.flip([make_transaction(CALEXP, [visit(1000)])])[0], Committed)
        assert sum(len(other.versions(CALEXP, DataId(visit(n)), f"run{n % 7}")) for n in range(250)) == told
        assert "still/alive" in {record.name for record in other.collections()}
    finally:
        other.close()
    path = sqlite_place.lock_path.with_name("registry.sqlite3")
    driver = sqlite3.connect(path)
    try:
        assert driver.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        driver.close()


def test_interrupt_ends_the_waiting_and_not_the_write(sqlite_catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    database = sqlite_catalog._database
    waiting = threading.Event()

    def interrupt(*_: object) -> None:
        waiting.set()
        raise KeyboardInterrupt

    def hold() -> None:
        with database._thread_lock:  # the write waits until its caller no longer does
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            waiting.wait(30)

    before = signal.signal(signal.SIGALRM, interrupt)
    holder = threading.Thread(target=hold)
    try:
        with pytest.raises(KeyboardInterrupt):
            holder.start()
            sqlite_catalog.flip([transaction])
            waiting.wait(30)
    finally:
        signal.signal(signal.SIGALRM, before)
        holder.join()
    first = sqlite_catalog.outcome(transaction.txid)
    assert sqlite_catalog.outcome(transaction.txid) == first


class _Interrupt(BaseException):
    pass


@pytest.mark.parametrize("where", ["_writing_connection", "_commit", "_roll_back", "body", "_begin"])
def test_exception_that_is_no_error_gives_the_registry_free(
    sqlite_catalog: SqlCatalog, sqlite_place: Place, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import sqlalchemy as sa

    database = sqlite_catalog._database

    def write() -> None:
        with database.edit("a test") as connection:
            connection.execute(sa.text("UPDATE registry_clock SET seq = seq + 100"))
            if where == "body":
                raise _Interrupt
            if where == "_roll_back":
                raise ValueError

    def interrupt(*_: object) -> None:
        raise _Interrupt

    with monkeypatch.context() as patch, pytest.raises(_Interrupt):
        if where == "_commit":
            patch.setattr(sa.RootTransaction, "commit", interrupt)
        elif where == "_roll_back":
            patch.setattr(sa.RootTransaction, "rollback", interrupt)
        elif where != "body":
            patch.setattr(sa.Connection, "begin", interrupt)
        write()
    other = sqlite_place.open()
    try:
        assert other.register_collection("other", CollectionKind.RUN)
    finally:
        other.close()
    (outcome,) = sqlite_catalog.flip([make_transaction(CALEXP, [visit(1)])])
    assert isinstance(outcome, Committed)
    assert outcome.commit_seq is not None
    assert outcome.commit_seq < 100


def test_interrupted_read_leaves_no_old_moment_behind(
    sqlite_catalog: SqlCatalog, sqlite_place: Place
) -> None:
    database = sqlite_catalog._database

    def interrupt(*_: object) -> None:
        raise _Interrupt

    for read in (database.snapshot, database.read, database._reading):
        with pytest.raises(_Interrupt):
            read(interrupt)  # type: ignore[arg-type]
    (outcome,) = sqlite_catalog.flip([make_transaction(CALEXP, [visit(1)])])
    assert isinstance(outcome, Committed)
    assert sqlite_catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"]) is not None


def test_writes_of_other_threads_stay_on_them() -> None:
    seen: list[threading.Thread] = []
    thread = threading.Thread(
        target=lambda: seen.append(uninterrupted(threading.current_thread)), name="a thread of one's own"
    )
    thread.start()
    thread.join()
    assert seen == [thread]
    assert uninterrupted(threading.current_thread) is not threading.current_thread()


def test_question_comes_after_the_write_that_its_caller_no_longer_waits_for() -> None:
    begun, interrupted, goes_on = (threading.Event() for _ in range(3))
    written: list[str] = []

    def write() -> None:
        begun.set()
        assert goes_on.wait(120)
        written.append("it")

    def interrupt(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def break_off() -> None:
        assert begun.wait(120)
        while not interrupted.wait(0.01):  # a signal that comes just before the waiting does not end it
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def let_go_on() -> None:
        until(lambda: len(_uninterrupted._workers[environment.pid()].unfinished) == 2)
        goes_on.set()

    before = signal.signal(signal.SIGALRM, interrupt)
    helpers = [threading.Thread(target=break_off), threading.Thread(target=let_go_on)]
    try:
        helpers[0].start()
        with pytest.raises(KeyboardInterrupt):
            uninterrupted(write)
        assert written == []
        helpers[1].start()
        assert after_abandoned(lambda: list(written)) == ["it"]
    finally:
        goes_on.set()
        for helper in helpers:
            if helper.ident:
                helper.join()
        signal.signal(signal.SIGALRM, before)


def test_interpreter_that_ends_and_starts_no_thread_writes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_uninterrupted, "_workers", {})
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert uninterrupted(threading.current_thread) is threading.current_thread()


def test_error_of_a_write_comes_back_to_its_caller(sqlite_catalog: SqlCatalog) -> None:
    sqlite_catalog.close()
    with pytest.raises(StateError, match="closed"):
        sqlite_catalog.register_collection("a", CollectionKind.RUN)


def test_copy_in_a_forked_child_is_refused(
    sqlite_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment.pid()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "pid", lambda: here + 1)
        for call in (
            lambda: sqlite_catalog.register_collection("a", CollectionKind.RUN),
            sqlite_catalog.collections,
        ):
            with pytest.raises(StateError, match="fork"):
                call()
    assert sqlite_catalog.register_collection("a", CollectionKind.RUN)
