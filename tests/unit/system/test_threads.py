"""Threads that the system refuses: work that has not begun is known not to have, and waits for a thread."""

import _thread
import threading
import time

import anyio
import pytest
from anyio._backends import _asyncio
from polars.exceptions import PanicException

from quantumio.errors import ErrorKind, InternalError, StateError
from quantumio.system import threads

REFUSED = RuntimeError("can't start new thread")


@pytest.fixture
def refuse(monkeypatch):
    """Return a function that has so many of the next threads refused, all of them by default."""
    real = threading.Thread.start

    def begin(count=None, error=REFUSED):
        left = [None] * (count or 0)

        def start(thread):
            if count is None or left:
                del left[-1:]
                raise error
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    return begin


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(threads, "_PATIENCE_S", 0.05)


@pytest.mark.parametrize("error", [REFUSED, MemoryError()])
@pytest.mark.asyncio
async def test_thread_that_is_refused_now_is_asked_for_again(refuse, error):
    refuse(4, error)
    assert await threads.run(divmod, 7, 2) == (3, 1)


@pytest.mark.asyncio
async def test_who_cannot_wait_is_told_and_nothing_has_begun(refuse, impatient):
    refuse()
    called = []
    with pytest.raises(StateError, match=r"no thread could be started.*ulimit -u") as caught:
        await threads.run(called.append, 1)
    assert caught.value.kind is ErrorKind.THREADS
    assert called == []


@pytest.mark.parametrize("error", [REFUSED, MemoryError(), RuntimeError("a bug")])
@pytest.mark.anyio
async def test_what_the_work_itself_raises_is_never_tried_again(error):
    calls = []

    def work():
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        await threads.run(work)
    assert caught.value is error
    assert calls == [1]


@pytest.mark.asyncio
async def test_end_of_the_interpreter_is_no_refusal(refuse):
    refuse(error=RuntimeError("can't create new thread at interpreter shutdown"))
    with pytest.raises(RuntimeError, match="shutdown"):
        await threads.run(int)


@pytest.mark.anyio
async def test_cancelled_while_it_waits_for_a_thread_nothing_has_begun(monkeypatch):
    async def refused(*arguments, **keywords):
        raise REFUSED

    monkeypatch.setattr(anyio.to_thread, "run_sync", refused)
    called = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, called.append, 1)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert called == []


@pytest.mark.asyncio
async def test_loop_that_keeps_a_worker_needs_no_other_and_waits_for_it(refuse, impatient, monkeypatch):
    monkeypatch.setattr(_asyncio.WorkerThread, "MAX_IDLE_TIME", 0)  # all that are idle are ended, but one
    await threads.keep_worker()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(threads.run, time.sleep, 0.01)
    refuse()
    done = []

    def work(number):
        time.sleep(0.05)  # longer than the patience of who has no worker
        done.append((number, threading.get_ident()))

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(threads.run, work, number)
    assert sorted(number for number, _ in done) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_worker_that_cannot_be_had_is_told(refuse, impatient):
    refuse()
    with pytest.raises(StateError, match="no thread"):
        await threads.keep_worker()


def test_thread_is_started_as_soon_as_there_is_one(refuse):
    refuse(3)
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    threads.start(thread)
    thread.join()
    assert ran.is_set()


def test_thread_that_never_comes_is_told(refuse, impatient):
    refuse()
    with pytest.raises(StateError, match="no thread"):
        threads.start(threading.Thread(target=int))


def test_thread_is_started_once(refuse):
    thread = threading.Thread(target=int)
    threads.start(thread)
    with pytest.raises(RuntimeError, match="once"):
        threads.start(thread)
    thread.join()


def test_thread_of_one_call_is_asked_for_again(monkeypatch):
    real, refusals, ran = _thread.start_new_thread, [REFUSED, MemoryError()], threading.Event()

    def start(function, arguments):
        if refusals:
            raise refusals.pop()
        return real(function, arguments)

    monkeypatch.setattr(_thread, "start_new_thread", start)
    threads.start_uninterrupted(ran.set)
    assert ran.wait(60)


# -- pools
def test_pool_makes_do_with_the_threads_that_it_has(refuse):
    pool, first = threads.Pool(4, "pool"), threading.Event()
    try:
        begun = pool.submit(first.wait, 60)
        refuse()
        rest = [pool.submit(divmod, number, 2) for number in range(5)]
        first.set()
        assert begun.result(60)
        assert [one.result(60) for one in rest] == [divmod(number, 2) for number in range(5)]
    finally:
        pool.close()


def test_pool_without_a_thread_says_so_and_does_nothing_later(refuse, monkeypatch):
    pool, called = threads.Pool(4, "pool"), []
    try:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(REFUSED))
            with pytest.raises(StateError, match="no thread"):
                pool.submit(called.append, 1)
        pool.submit(called.append, 2).result(60)
        assert called == [2]
    finally:
        pool.close()


def test_pool_tells_what_its_work_has_raised():
    pool = threads.Pool(1, "pool")
    try:
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result(60)
    finally:
        pool.close()


def test_closed_pool_takes_nothing():
    pool = threads.Pool(1, "pool")
    pool.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


@pytest.mark.anyio
@pytest.mark.parametrize("error", [SystemExit(3), PanicException("called unwrap on None")], ids=repr)
async def test_library_that_wants_to_end_the_thread_ends_no_loop(error):
    with pytest.raises(InternalError, match=type(error).__name__) as caught:
        await threads.run(raises(error))
    assert caught.value.__cause__ is error


@pytest.mark.anyio
async def test_what_is_no_exception_and_no_exit_goes_through():
    """Interrupts, that is, and deaths of the simulation."""

    class Killed(BaseException):
        pass

    with pytest.raises(Killed):
        await threads.run(raises(Killed()))


def raises(error):
    def work():
        raise error

    return work


def test_who_waits_long_for_a_thread_is_told_why_once(caplog):
    pauses = list(threads._pauses(3.0))
    assert pauses[0] == 0
    assert pauses[1:] == sorted(pauses[1:])
    assert [record.getMessage()[:25] for record in caplog.records] == ["no thread can be started "]
