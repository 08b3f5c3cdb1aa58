"""The byte budget: never exceeded by two, never given away, never waited for in vain."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.engine._budget import ByteBudget
from quantumio.errors import BufferFull, ErrorKind, StateError


@given(st.lists(st.tuples(st.sampled_from(["charge", "release"]), st.integers(0, 150)), max_size=40))
def test_fits_if_it_fits_or_is_alone(steps):
    budget, charged = ByteBudget(100), []
    for what, nbytes in steps:
        if what == "charge":
            used = sum(size for _, size in charged)
            charge = budget.charge_now(nbytes)
            assert (charge is not None) is (not used or used + nbytes <= 100)
            if charge is not None:
                charged.append((charge, nbytes))
        elif charged:
            budget.release(charged.pop(nbytes % len(charged))[0])
        assert budget.used_bytes == sum(size for _, size in charged)


def test_full_budget_charges_nothing_and_says_what_and_how_much():
    budget = ByteBudget(100)
    first = budget.charge(60, 0, "first")
    with pytest.raises(BufferFull, match=r"second: 50 bytes.*60 of 100 bytes.*max_buffer_bytes") as caught:
        budget.charge(50, 0.01, "second")
    assert caught.value.kind is ErrorKind.BUFFER_FULL
    assert budget.used_bytes == 60
    assert budget.waited_s >= 0.01
    third = budget.charge(40, 0, "third")
    assert budget.used_bytes == 100
    budget.release(first)
    budget.release(third)
    budget.release(third)
    assert budget.used_bytes == 0


def test_larger_than_everything_is_admitted_alone_and_keeps_the_others_out():
    budget = ByteBudget(100)
    large = budget.charge(1000, 0, "large")
    assert not budget.charge_now(1)
    with pytest.raises(BufferFull):
        budget.charge(1000, 0, "another large one")
    budget.release(large)
    assert budget.charge_now(1)


def test_waiting_put_wakes_when_there_is_room():
    budget = ByteBudget(100)
    small, large = budget.charge(10, 0, "small"), budget.charge(90, 0, "large")
    waiting, got = threading.Event(), threading.Event()
    held = []

    def wait():
        waiting.set()
        held.append(budget.charge(80, 30, "second"))
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    budget.release(small)  # not enough yet
    assert not got.wait(0.05)
    budget.release(large)
    assert got.wait(10)
    thread.join()
    assert budget.used_bytes == 80


def test_charge_that_nobody_has_any_more_is_given_back_and_wakes_who_waits():
    budget = ByteBudget(100)
    lost = budget.charge(100, 0, "lost by an interrupt")
    held = []
    thread = threading.Thread(target=lambda: held.append(budget.charge(100, 30, "next")))
    thread.start()
    del lost
    thread.join(20)
    assert len(held) == 1
    assert budget.used_bytes == 100


def test_sum_that_an_interrupt_left_wrong_mends_itself():
    budget = ByteBudget(100)
    budget._used = 70
    assert budget.used_bytes == 0
    assert budget.charge_now(90) is not None


def test_closed_budget_lets_nobody_wait():
    budget = ByteBudget(100)
    first = budget.charge(100, 0, "first")
    errors = []

    def wait():
        with pytest.raises(StateError, match=r"second: the Butler was closed") as caught:
            budget.charge(1, 30, "second")
        errors.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    budget.close()
    thread.join(20)
    assert errors[0].kind is ErrorKind.CLOSED
    budget.release(first)


def test_encoded_form_of_what_was_admitted_is_charged_beyond_the_limit():
    budget = ByteBudget(100)
    first = budget.charge(100, 0, "first")
    budget.charge_more(first, 50)
    assert budget.used_bytes == 150
    assert not budget.charge_now(1)
    budget.release(first)
    assert budget.used_bytes == 0


def test_many_threads_never_exceed_it_together_and_all_get_through():
    budget = ByteBudget(100)
    held, most, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal held, most
        for step in range(40):
            nbytes = 1 + (number * 7 + step * 13) % 60
            charge = budget.charge(nbytes, 30, "put")
            with lock:
                held += nbytes
                most = max(most, held)
            with lock:
                held -= nbytes
            budget.release(charge)

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
