"""Threads of a destination: all is written when the call returns, whatever threads there are."""

import threading

import pytest

from quantumio.destinations._writers import Writers

REFUSED = RuntimeError("can't start new thread")


@pytest.fixture
def writers():
    writers = Writers("test", 4)
    yield writers
    writers.close()


def refuse(thread):
    raise REFUSED


def test_without_a_thread_the_caller_writes_all(writers, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert writers.each(lambda item: (item, threading.current_thread()), range(5)) == [
        (item, threading.current_thread()) for item in range(5)
    ]


def test_with_fewer_threads_all_is_written_before_it_returns(writers, monkeypatch):
    real, started = threading.Thread.start, []

    def start(thread):
        if started:
            raise REFUSED
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    busy, goes_on, written = threading.Event(), threading.Event(), []

    def hold(item):
        busy.set()
        assert goes_on.wait(60)
        return item

    other = threading.Thread(target=writers.each, args=(hold, range(2)))
    real(other)
    assert busy.wait(60)
    # The one thread is busy for another caller: nothing of this call may be done after its return.
    result = []
    mine = threading.Thread(target=lambda: result.append(writers.each(written.append, range(9))))
    real(mine)
    goes_on.set()
    mine.join(60)
    assert result == [[None] * 9]
    assert sorted(written) == list(range(9))
    other.join(60)


def test_what_fails_is_raised_after_all_have_ended(writers):
    with pytest.raises(ZeroDivisionError):
        writers.each(lambda item: 1 // item, [1, 0, 2])
