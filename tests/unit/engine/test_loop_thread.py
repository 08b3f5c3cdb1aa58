"""The loop's thread: a job is run or refused, exactly once, whatever comes between."""

import _thread
import threading

import pytest

from quantumio.engine._loop_thread import Job, LoopThread


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
