"""The lock excludes threads and processes alike, and dies with its holder."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from quantumio.system import failpoints, locks
from quantumio.system.locks import FileLock

HOLDER = """
    import sys
    from pathlib import Path
    from quantumio.system.locks import FileLock
    with FileLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
"""


def start_holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_trial_that_fails_takes_nothing(tmp_path):
    lock = FileLock(tmp_path / "lock")

    def fail(name):
        if name == "files.lock.after":
            raise OSError(5, "Input/output error")

    with failpoints.watched(fail), pytest.raises(OSError, match="Input/output"):
        lock.try_acquire()
    assert not lock.is_held
    assert FileLock(tmp_path / "lock").try_acquire()


def test_refusal_says_that_it_is_this_process_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "holder", lambda self: os.getpid())
    with (
        FileLock(tmp_path / "lock"),
        pytest.raises(TimeoutError, match=rf"{os.getpid()} \(this one\) has held"),
    ):
        FileLock(tmp_path / "lock").acquire(0.0)


def start_waiter(lock):
    got = threading.Event()

    def wait():
        with lock:
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, got


@pytest.mark.parametrize("shared", [True, False], ids=["one object", "an object each"])
def test_threads_exclude_each_other(tmp_path, shared):
    path = tmp_path / "lock"
    one = FileLock(path)
    inside, most, turns = 0, 0, 0
    barrier = threading.Barrier(6)

    def work():
        nonlocal inside, most, turns
        lock = one if shared else FileLock(path)
        barrier.wait()
        for _ in range(10):
            with lock:
                inside += 1
                most = max(most, inside)
                os.sched_yield()  # let the others come in, if they can
                threading.Event().wait(0.0005)
                most = max(most, inside)
                inside -= 1
                turns += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 60)


def test_waits_for_another_process_until_it_is_done(tmp_path):
    with start_holder(tmp_path / "lock") as holder:
        thread, got = start_waiter(FileLock(tmp_path / "lock"))
        assert not got.wait(0.2)
        holder.stdin.write("\n")
        holder.stdin.close()
        assert got.wait(10)
        thread.join()


def test_who_waits_gives_up_in_time_and_names_the_holder(tmp_path):
    lock = FileLock(tmp_path / "lock", timeout_s=0.05)
    with start_holder(tmp_path / "lock") as holder:
        with pytest.raises(TimeoutError, match=f"process {holder.pid} has held .* more than 0.05 s"):
            lock.acquire()
        with pytest.raises(TimeoutError, match="for more than 0 s"):
            lock.acquire(timeout_s=0)
        assert not lock.is_held
        assert lock.holder() == holder.pid
        holder.communicate("\n")
    with lock:
        assert lock.holder() == os.getpid()
    assert lock.holder() is None


def test_holder_is_not_known_where_the_system_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_LOCKS", tmp_path / "no such file")
    with FileLock(tmp_path / "lock"), pytest.raises(TimeoutError, match="some process has held the lock"):
        FileLock(tmp_path / "lock").acquire(timeout_s=0)


def test_killed_process_frees_it(tmp_path):
    with start_holder(tmp_path / "lock") as holder:
        thread, got = start_waiter(FileLock(tmp_path / "lock"))
        assert not got.wait(0.2)
        holder.send_signal(signal.SIGKILL)
        assert got.wait(10)
        thread.join()


def test_exception_in_the_block_frees_it(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(KeyError), lock:
        raise KeyError
    thread, got = start_waiter(lock)
    assert got.wait(10)
    thread.join()


def test_child_process_does_not_inherit_it(tmp_path):
    """A program that is started while the lock is held must not keep it after the release."""
    lock = FileLock(tmp_path / "lock")
    with lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    with child:
        thread, got = start_waiter(lock)
        assert got.wait(10)
        thread.join()
        child.stdin.close()


def test_lock_that_is_held_is_not_waited_for(tmp_path):
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_acquire()
    assert one.is_held
    assert not other.try_acquire()
    assert not other.is_held
    one.release()
    assert not one.is_held
    assert other.try_acquire()
    other.release()


def test_file_that_was_put_in_its_place_is_another(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with lock:
        assert lock.is_in_place()
        (tmp_path / "lock").rename(tmp_path / "moved")
        assert not lock.is_in_place()
        (tmp_path / "lock").touch()
        assert not lock.is_in_place()


def test_symbolic_link_is_followed_unless_it_is_not_wanted(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    with FileLock(tmp_path / "link"):
        assert not FileLock(tmp_path / "lock").try_acquire()
    with pytest.raises(OSError, match="symbolic"):
        FileLock(tmp_path / "link", follow_symlinks=False).acquire()


FORKING = """
    import os, sys
    from pathlib import Path
    from quantumio.system.locks import FileLock
    path = Path(sys.argv[1])
    lock = FileLock(path)
    lock.acquire()
    reading, writing = os.pipe()
    if os.fork():
        told = os.read(reading, 1)
        print("held", flush=True)
        print(told.decode(), FileLock(path).try_acquire(), lock.is_held, flush=True)
        os._exit(0)
    got = lock.is_held or lock.try_acquire()
    lock.release()
    os.write(writing, b"y" if got else b"n")
    sys.stdin.read()
    os._exit(0)
"""


def test_forked_child_neither_keeps_it_nor_frees_it(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FORKING), str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert [child.stdout.readline() for _ in range(2)] == ["held\n", "n False True\n"]
        child.wait()  # the parent; its child waits for the end of its input
        assert FileLock(tmp_path / "lock").try_acquire()
        child.stdin.close()
