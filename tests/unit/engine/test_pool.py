"""Pooled memory: used again, and never by two at a time."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantumio.engine._pool import BufferPool, PooledCopies, _size_class

LARGE = 300_000


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@given(st.integers(1, 1 << 34))
def test_size_class_is_enough_and_wastes_little(nbytes):
    size = _size_class(nbytes)
    assert nbytes <= size
    assert size - nbytes < max(4096, nbytes / 7)
    assert _size_class(size) == size


def test_buffer_comes_back_for_its_size_class_alone():
    pool = BufferPool(1 << 30)
    first = pool.take(LARGE)
    place = address(first)
    pool.give_back(first)
    assert address(larger := pool.take(2 * LARGE)) != place
    assert address(again := pool.take(LARGE - 100)) == place
    assert len(again) >= LARGE - 100
    assert len(larger) >= 2 * LARGE


def test_buffer_is_never_handed_out_twice():
    pool = BufferPool(1 << 30)
    pool.give_back(pool.take(LARGE))
    assert address(one := pool.take(LARGE)) != address(other := pool.take(LARGE))
    assert one.nbytes == other.nbytes


def test_more_idle_memory_than_allowed_is_given_up():
    size = _size_class(LARGE)
    pool = BufferPool(2 * size)
    taken = [pool.take(LARGE) for _ in range(4)]
    for buffer in taken:
        pool.give_back(buffer)
    assert pool._idle_bytes == 2 * size
    for _ in range(4):
        pool.take(LARGE)
    assert pool._idle_bytes == 0


def test_threads_never_hold_the_same_memory():
    pool, holders, lock = BufferPool(1 << 30), set(), threading.Lock()
    failures = []

    def work(number):
        for step in range(200):
            buffer = pool.take(LARGE + 1000 * ((number + step) % 3))
            with lock:
                if address(buffer) in holders:
                    failures.append(address(buffer))
                holders.add(address(buffer))
            buffer[:4] = number
            assert (buffer[:4] == number).all()
            with lock:
                holders.discard(address(buffer))
            pool.give_back(buffer)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


arrays = hnp.arrays(
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">i2", "u1", "?", ">c8", "U3", ">U2", "S4", "M8[ns]"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(arrays, st.booleans(), st.booleans())
def test_copy_has_the_same_values_contiguous_and_native(array, transposed, large):
    if large and array.size:
        array = np.broadcast_to(array, (LARGE // array.nbytes + 1, *array.shape))
    if transposed:
        array = array.T
    copies = PooledCopies(BufferPool(1 << 30))
    copy = copies.copy(array)
    assert copy.flags.c_contiguous
    assert copy.flags.writeable
    assert copy.dtype.isnative
    assert copy.dtype == array.dtype.newbyteorder("=")
    assert copy.shape == array.shape
    equal_nan = array.dtype.kind in "fcM"
    assert np.array_equal(copy, array, equal_nan=equal_nan)
    assert not np.may_share_memory(copy, array)


@pytest.mark.parametrize("subclass", [np.matrix, np.recarray])
def test_copy_is_a_plain_array(subclass):
    array = np.zeros((3, LARGE)).view(subclass)
    assert type(PooledCopies(BufferPool(1 << 30)).copy(array)) is np.ndarray


def test_released_copies_are_used_again_and_kept_ones_never():
    pool = BufferPool(1 << 30)
    released, kept = PooledCopies(pool), PooledCopies(pool)
    first, second = released.copy(np.zeros(LARGE)), kept.copy(np.ones(LARGE))
    places = address(first), address(second)
    kept.keep()
    released.release()
    kept.release()
    released.release()  # again: nothing is given back twice
    taken = [pool.take(first.nbytes) for _ in range(3)]
    assert [address(buffer) for buffer in taken].count(places[0]) == 1
    assert places[1] not in [address(buffer) for buffer in taken]
    assert (second == 1).all()
