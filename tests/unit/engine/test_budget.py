"""The byte budget: never exceeded by two, never given away, never waited for in vain."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.engine._budget import ByteBudget
from quantumio.errors import BufferFull, ErrorKind


@given(st.lists(st.tuples(st.sampled_from(["charge", "release"]), st.integers(0, 150)), max_size=40))
def test_fits_if_it_fits_or_is_alone(steps):
    budget, charged = ByteBudget(100), []
    for what, nbytes in steps:
        if what == "charge":
            expected = not sum(charged) or sum(charged) + nbytes <= 100
            assert budget.charge_now(nbytes) is expected
            if expected:
                charged.append(nbytes)
        elif charged:
            budget.release(charged.pop(nbytes % len(charged)))
        assert budget.used_bytes == sum(charged)


def test_full_budget_charges_nothing_and_says_what_and_how_much():
    budget = ByteBudget(100)
    budget.charge(60, 0, "first")
    with pytest.raises(BufferFull, match=r"second: 50 bytes.*60 of 100 bytes.*max_buffer_bytes") as caught:
        budget.charge(50, 0.01, "second")
    assert caught.value.kind is ErrorKind.BUFFER_FULL
    assert budget.used_bytes == 60
    assert budget.waited_s >= 0.01
    budget.charge(40, 0, "third")
    assert budget.used_bytes == 100


def test_larger_than_everything_is_admitted_alone_and_keeps_the_others_out():
    budget = ByteBudget(100)
    budget.charge(1000, 0, "large")
    assert not budget.charge_now(1)
    with pytest.raises(BufferFull):
        budget.charge(1000, 0, "another large one")
    budget.release(1000)
    assert budget.charge_now(1)


def test_waiting_put_wakes_when_there_is_room():
    budget = ByteBudget(100)
    budget.charge(100, 0, "first")
    waiting, got = threading.Event(), threading.Event()

    def wait():
        waiting.set()
        budget.charge(80, 30, "second")
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    budget.release(10)  # not enough yet
    assert not got.wait(0.05)
    budget.release(70)
    assert got.wait(10)
    thread.join()
    assert budget.used_bytes == 100


def test_encoded_form_of_what_was_admitted_is_charged_beyond_the_limit():
    budget = ByteBudget(100)
    budget.charge(100, 0, "first")
    budget.charge_more(50)
    assert budget.used_bytes == 150
    assert not budget.charge_now(1)
    budget.release(150)
    assert budget.used_bytes == 0


def test_many_threads_never_exceed_it_together_and_all_get_through():
    budget = ByteBudget(100)
    held, most, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal held, most
        for step in range(40):
            nbytes = 1 + (number * 7 + step * 13) % 60
            budget.charge(nbytes, 30, "put")
            with lock:
                held += nbytes
                most = max(most, held)
            with lock:
                held -= nbytes
            budget.release(nbytes)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert budget.used_bytes == 0
    assert most <= 100


def test_time_that_is_not_waited_is_not_counted():
    budget = ByteBudget(100)
    for _ in range(100):
        budget.charge(1, 10, "put")
    assert budget.waited_s < 1
