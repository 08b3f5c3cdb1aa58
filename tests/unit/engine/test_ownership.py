"""What a put does with the object it is given."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from quantumio.engine import _ownership
from quantumio.engine._ownership import choose_ownership, freeze, take_snapshot
from quantumio.engine._pool import BufferPool
from quantumio.errors import ErrorKind, InvalidInputError, MutatedAfterPut
from quantumio.formats import InstalledFormats
from quantumio.model import DataId, DatasetRef, DatasetType, Ownership
from quantumio.system import environment

FORMATS = InstalledFormats()
NDARRAY = FORMATS.delegate("NDArray")
REF = DatasetRef(
    environment.uuid7(),
    DatasetType("pixels", dimensions=["visit"], storage_class="NDArray"),
    DataId({"visit": 7}),
    "r",
)


def take(value, ownership, *, delegate=NDARRAY, verify_borrowed=True, pool=None):
    snapshot = take_snapshot(
        value, delegate, ownership, pool or BufferPool(1 << 30), verify_borrowed=verify_borrowed
    )
    snapshot.watch()
    return snapshot


@pytest.mark.parametrize(
    ("storage_class", "value", "asked", "chosen"),
    [
        ("NDArray", np.zeros(3), None, Ownership.COPY),
        ("NDArray", np.zeros(3), Ownership.FREEZE, Ownership.FREEZE),
        ("NDArray", np.zeros(3), Ownership.ENCODE, Ownership.ENCODE),
        ("Bytes", b"abc", None, Ownership.BORROW),
        ("Bytes", b"abc", Ownership.COPY, Ownership.BORROW),  # nothing can change it: never copied
        ("Text", "abc", Ownership.ENCODE, Ownership.BORROW),
        ("ArrowTable", pa.table({"x": [1]}), Ownership.FREEZE, Ownership.BORROW),
        ("Mapping", {"a": [1]}, None, Ownership.COPY),
    ],
    ids=lambda value: str(value)[:20],
)
def test_object_is_taken_as_asked_or_by_its_type(storage_class, value, asked, chosen):
    assert choose_ownership(value, FORMATS.delegate(storage_class), asked) is chosen


@given(st.sampled_from(["<f4", ">i2", "u1"]), st.integers(0, 200_000))
def test_copy_is_apart_from_the_source(dtype, size):
    array = np.arange(size).astype(dtype)
    before = array.copy()
    snapshot = take(array, Ownership.COPY)
    array[...] = 1
    assert np.array_equal(snapshot.value, before)
    snapshot.verify(REF)  # nothing of the caller's is left that could change
    assert array.flags.writeable


def test_frozen_array_and_what_it_is_a_view_of_refuse_writing():
    base = np.arange(100.0)
    view = base[10:20]
    snapshot = take(view, Ownership.FREEZE)
    for array in (base, view):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert np.may_share_memory(snapshot.value, base)
    snapshot.verify(REF)


def test_memory_of_somebody_else_cannot_be_frozen():
    for buffer in (bytearray(80), memoryview(bytearray(80))):
        array = np.frombuffer(buffer, dtype="f8")
        with pytest.raises(InvalidInputError, match="own='copy'") as caught:
            freeze(array)
        assert caught.value.kind is ErrorKind.VALUE
    freeze(np.frombuffer(bytes(80), dtype="f8"))  # bytes never change


def test_array_that_could_not_be_frozen_stays_writeable():
    """A put that is refused leaves the caller's object as it was."""
    array = np.frombuffer(bytearray(80), dtype="f8")
    with pytest.raises(InvalidInputError):
        take(array, Ownership.FREEZE)
    array[0] = 1


@pytest.mark.parametrize("ownership", [Ownership.FREEZE, Ownership.BORROW])
def test_change_of_the_callers_memory_is_noticed(ownership):
    array = np.arange(100.0)
    older = array[:]
    snapshot = take(array, ownership)
    snapshot.verify(REF)
    older[99] += 1
    with pytest.raises(MutatedAfterPut, match=rf"pixels\(visit=7\).*own='{ownership}'") as caught:
        snapshot.verify(REF)
    assert caught.value.kind is ErrorKind.MUTATED_AFTER_PUT
    older[99] -= 1
    snapshot.verify(REF)


@pytest.mark.parametrize("ownership", [Ownership.FREEZE, Ownership.BORROW])
def test_change_of_any_byte_of_a_large_array_is_noticed(ownership):
    array = np.random.default_rng(0).integers(0, 255, (3, 1 << 20), dtype=np.uint8)
    older = array.reshape(-1)
    snapshot = take(array, ownership)
    edges = [edge + step for edge in range(0, older.size, 1 << 18) for step in (-1, 0, 1)]
    for at in (*edges[1:], older.size - 1):
        older[at] ^= 1
        with pytest.raises(MutatedAfterPut):
            snapshot.verify(REF)
        older[at] ^= 1
    snapshot.verify(REF)


def test_array_is_read_only_before_its_digest_is_taken(monkeypatch):
    """A write that freezing should have stopped must not become part of the digest."""
    array = np.arange(10)
    writeable = []

    def digest(kept):
        writeable.append(array.flags.writeable)
        return b""

    monkeypatch.setattr(_ownership, "_digest", digest)
    take(array, Ownership.FREEZE)
    assert writeable == [False]


@pytest.mark.parametrize(
    "array",
    [
        np.array(7.0),
        np.arange(12.0).reshape(3, 4),
        np.arange("2020-01", "2020-09", dtype="datetime64[M]"),
        np.array([("a", 1), ("b", 2)], dtype=[("name", "U3"), ("number", "i4")]),
        np.array(["one", "two"]),
        np.zeros((0, 5)),
    ],
    ids=lambda array: f"{array.dtype.kind}{array.shape}",
)
def test_digest_is_that_of_the_bytes(array):
    assert _ownership._digest(array) == xxhash.xxh3_128_digest(array.tobytes())


def test_snapshot_that_was_never_completed_shows_nothing():
    """Without digests to compare with, it must not pass for unchanged."""
    snapshot = take_snapshot(
        np.zeros(3), NDARRAY, Ownership.FREEZE, BufferPool(1 << 30), verify_borrowed=True
    )
    with pytest.raises(ValueError, match="zip"):
        snapshot.verify(REF)


def test_kept_array_is_another_object_than_the_callers():
    """Its shape and dtype, which no digest covers, can be changed in place."""
    array = np.arange(12.0)
    snapshot = take(array, Ownership.BORROW)
    assert snapshot.value is not array
    assert np.may_share_memory(snapshot.value, array)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(20.0)[::2],
        lambda: np.arange(20.0).reshape(4, 5).T,
        lambda: np.arange(20.0)[::-1],
        lambda: np.arange(20, dtype=">f8"),
    ],
    ids=["strided", "transposed", "reversed", "big-endian"],
)
def test_array_that_had_to_be_converted_is_a_copy(make):
    """Its canonical form is memory of our own: later changes are neither saved nor noticed."""
    array = make()
    before = array.copy()
    snapshot = take(array, Ownership.BORROW)
    array[...] = -1
    snapshot.verify(REF)
    assert np.array_equal(snapshot.value, before)


def test_borrowing_unverified_costs_no_digest():
    array = np.arange(100.0)
    snapshot = take(array, Ownership.BORROW, verify_borrowed=False)
    array[0] = 5
    snapshot.verify(REF)
    assert np.may_share_memory(snapshot.value, array)
    frozen = take(array, Ownership.FREEZE, verify_borrowed=False)
    array.flags.writeable = True
    array[0] = 6
    with pytest.raises(MutatedAfterPut):  # only borrowing can go unverified
        frozen.verify(REF)


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (3, 0, 2), (1,)])
@pytest.mark.parametrize("ownership", list(Ownership))
def test_arrays_of_any_shape_are_taken(shape, ownership):
    array = np.ones(shape)
    snapshot = take(array, ownership)
    snapshot.verify(REF)
    assert snapshot.value.shape == shape


def test_released_snapshot_gives_its_memory_back_and_a_shared_one_keeps_it():
    pool = BufferPool(1 << 30)
    snapshot = take(np.zeros(100_000), Ownership.COPY, pool=pool)
    snapshot.release()
    assert snapshot.value is None
    assert pool._idle_bytes > 0
    snapshot.release()
    shared = take(np.arange(100_000), Ownership.COPY, pool=pool)
    value = shared.share()
    shared.release()
    other = take(np.zeros(100_000, dtype=int), Ownership.COPY, pool=pool)
    assert (value == np.arange(100_000)).all()
    assert not np.may_share_memory(value, other.value)


def test_failed_snapshot_gives_its_memory_back():
    pool = BufferPool(1 << 30)

    class Half:
        """A storage class whose second part has no canonical form."""

        is_immutable = staticmethod(lambda value: False)

        @staticmethod
        def canonical(value, copy_array):
            copy_array(np.zeros(100_000))
            raise InvalidInputError("the second part has no canonical form")

    with pytest.raises(InvalidInputError):
        take(object(), Ownership.COPY, delegate=Half, pool=pool)
    assert pool._idle_bytes > 0


def test_structure_is_copied_where_arrays_are_borrowed():
    mapping = {"a": [1, {"b": 2}]}
    snapshot = take(mapping, Ownership.COPY, delegate=FORMATS.delegate("Mapping"))
    mapping["a"][1]["b"] = 3
    assert snapshot.value == {"a": [1, {"b": 2}]}


def test_what_nobody_can_copy_is_encoded_at_once_and_taken_in_no_other_way():
    value, delegate = [("star", 1)], FORMATS.delegate("AstropyTable")
    assert not delegate.has_snapshot(value)
    assert choose_ownership(value, delegate, None) is Ownership.ENCODE
    assert choose_ownership(value, delegate, Ownership.ENCODE) is Ownership.ENCODE
    for asked in (Ownership.COPY, Ownership.FREEZE, Ownership.BORROW):
        with pytest.raises(InvalidInputError, match="list has no snapshotter"):
            choose_ownership(value, delegate, asked)
