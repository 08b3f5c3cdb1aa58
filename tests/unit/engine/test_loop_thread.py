"""The loop's thread: a job is run or refused, exactly once, whatever comes between."""

import _thread
import errno
import threading

import anyio
import pytest

from quantumio.engine import _loop_thread
from quantumio.engine._loop_thread import Job, LoopThread
from quantumio.errors import ErrorKind, InternalError, StateError


class Counting:
    """Jobs that tell what became of them."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.refused: list[int] = []

    def job(self, number: int) -> Job:
        async def run() -> None:
            self.ran.append(number)

        return Job(run, lambda: self.refused.append(number), owner=number)


async def plain(serve):
    await serve()


def test_jobs_run_in_order_and_stop_waits_for_them():
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    for number in range(100):
        loop.hand_over(counting.job(number))
    assert loop.stop(20)
    assert counting.ran == list(range(100))
    assert counting.refused == []
    assert "quantumio-test" not in {thread.name for thread in threading.enumerate()}


def test_what_is_handed_over_after_the_end_is_refused_at_once():
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    loop.hand_over(counting.job(0))
    assert loop.stop(20)
    loop.hand_over(counting.job(1))
    assert (counting.ran, counting.refused) == ([0], [1])
    assert loop.stop(20), "stopping again does nothing"


@pytest.mark.parametrize("round_number", range(20))
def test_every_job_beside_the_end_is_run_or_refused_once(round_number):
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    loop.hand_over(counting.job(-1))
    begin = threading.Barrier(5)

    def hand_over(first):
        begin.wait()
        for number in range(first, first + 50):
            loop.hand_over(counting.job(number))

    threads = [threading.Thread(target=hand_over, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    begin.wait()
    assert loop.stop(20)
    for thread in threads:
        thread.join(20)
    done = sorted(counting.ran + counting.refused)
    assert done == sorted([-1, *(100 * n + k for n in range(4) for k in range(50))])


def test_start_that_an_interrupt_broke_off_is_made_by_the_next(monkeypatch):
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    real = _thread.start_new_thread
    interrupts = iter([KeyboardInterrupt])

    def start(*arguments):
        for error in interrupts:
            raise error
        return real(*arguments)

    monkeypatch.setattr(_thread, "start_new_thread", start)
    with pytest.raises(KeyboardInterrupt):
        loop.hand_over(counting.job(0))
    loop.hand_over(counting.job(1))
    assert loop.stop(20)
    assert counting.ran == [1]


def test_many_first_jobs_start_one_thread():
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    begin = threading.Barrier(8)

    def first(number):
        begin.wait()
        loop.hand_over(counting.job(number))

    threads = [threading.Thread(target=first, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [thread.name for thread in threading.enumerate()].count("quantumio-test") == 1
    assert loop.stop(20)
    assert sorted(counting.ran) == list(range(8))


def test_who_comes_second_begins_nothing():
    """In this thread, so that it counts: `start` begins in a thread of its own."""
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    loop._begin()
    loop._begin()
    loop.hand_over(counting.job(0))
    assert [thread.name for thread in threading.enumerate()].count("quantumio-test") == 1
    assert loop.stop(20)
    assert counting.ran == [0]


def test_event_loop_that_cannot_be_made_is_told_and_made_by_the_next(monkeypatch):
    """`tests/space` runs out of descriptors."""
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    real, errors = anyio.run, [OSError(errno.EMFILE, "Too many open files")]

    def run(main):
        if errors:
            raise errors.pop()
        real(main)

    monkeypatch.setattr(_loop_thread.anyio, "run", run)
    with pytest.raises(InternalError, match="could not be started.*Too many open files"):
        loop.hand_over(counting.job(0))
    loop.hand_over(counting.job(1))
    assert loop.stop(20)
    assert (counting.ran, counting.refused) == ([1], [])


def test_thread_that_cannot_be_started_is_told_and_started_by_the_next(monkeypatch):
    counting = Counting()
    loop = LoopThread("quantumio-test", plain)
    refused = StateError("no thread", kind=ErrorKind.THREADS)

    def start(thread):
        raise refused

    waiting = loop._started
    with monkeypatch.context() as patched:
        patched.setattr(_loop_thread.threads, "start", start)
        loop._begin()
    with pytest.raises(StateError) as caught:
        waiting.result()
    assert caught.value.kind is ErrorKind.THREADS
    loop.hand_over(counting.job(1))
    assert loop.stop(20)
    assert counting.ran == [1]


def test_loop_that_ends_by_a_bug_refuses_what_waits_and_does_not_hide_the_bug():
    counting = Counting()

    async def broken(serve):
        loop._jobs.append(counting.job(0))
        raise KeyError("a bug")

    loop = LoopThread("quantumio-test", broken)
    with pytest.raises(KeyError):
        loop._run_loop(loop._main)
    assert counting.refused == [0]
    assert loop._ended.is_given
