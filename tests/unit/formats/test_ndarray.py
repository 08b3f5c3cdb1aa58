"""Plain arrays in npy, fits and asdf."""

import io

import numpy as np
import pytest
from astropy import units
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantumio.errors import ErrorKind, FormatError, InvalidInputError

NUMBERS = [*"?bBhHiIqQefdFD"]
FITS_NUMBERS = [*"bBhHiIqQfd"]

numbers = st.sampled_from(NUMBERS).map(np.dtype)
plain = (
    numbers
    | hnp.byte_string_dtypes(max_len=5)
    | hnp.unicode_string_dtypes(max_len=5)
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
)


def has_plain_names(dtype):
    if dtype.subdtype:
        return has_plain_names(dtype.subdtype[0])
    return all(
        name.isascii() and name.isprintable() and has_plain_names(dtype[name]) for name in dtype.names or ()
    )


dtypes = plain | hnp.array_dtypes(plain, max_size=3) | hnp.nested_dtypes(plain, max_leaves=4)
dtypes = dtypes.filter(has_plain_names)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def identical(one, other):
    assert type(other) is np.ndarray
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert other.dtype.isnative
    assert other.flags.c_contiguous
    assert one.tobytes() == other.tobytes()


@given(st.data())
def test_npy_gives_every_array_back_bit_for_bit(round_trip, data):
    array = data.draw(hnp.arrays(data.draw(dtypes), data.draw(shapes)))
    canonical, back = round_trip(array, "NDArray", "npy")
    identical(canonical, back)
    assert back.flags.writeable
    assert canonical.shape == array.shape


@given(st.data())
def test_asdf_gives_numbers_and_texts_back(round_trip, data):
    pytest.importorskip("asdf")
    kinds = numbers | hnp.byte_string_dtypes(max_len=5) | hnp.unicode_string_dtypes(max_len=5)
    array = data.draw(hnp.arrays(data.draw(kinds), data.draw(shapes)))
    identical(*round_trip(array, "NDArray", "asdf"))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@given(st.data())
def test_fits_gives_its_number_types_back(round_trip, compression, data):
    dtype = np.dtype(data.draw(st.sampled_from(FITS_NUMBERS)))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
    array = data.draw(hnp.arrays(dtype, shape))
    canonical, back = round_trip(array, "NDArray", "fits", {"compression": compression})
    if compression == "gzip" and dtype.kind == "f":
        np.testing.assert_array_equal(canonical, back)  # NaNs keep being NaN
        assert canonical.dtype == back.dtype
    else:
        identical(canonical, back)


@given(st.data())
def test_rice_keeps_every_bit_of_integers(round_trip, data):
    dtype = np.dtype(data.draw(st.sampled_from([*"bBhHiI"])))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5))
    identical(*round_trip(data.draw(hnp.arrays(dtype, shape)), "NDArray", "fits", {"compression": "rice"}))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[::2, ::-1],
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(5, dtype=">f4"),
        np.array(7, dtype=">i2"),
        np.broadcast_to(np.arange(3), (4, 3)),
        np.frombuffer(b"abcdefghi", np.uint8)[1:],
        np.zeros(2, [("a", ">U1", (1,)), ("b", [("c", ">i2")])]),
    ],
    ids=["strided", "fortran", "big-endian", "0-d", "broadcast", "read-only", "structured"],
)
def test_every_layout_becomes_canonical(formats, round_trip, array):
    for copy in (lambda a: np.array(a, dtype=a.dtype.newbyteorder("="), order="C"), lambda a: a):
        canonical, back = round_trip(array, "NDArray", "npy", copy=copy)
        identical(canonical, back)
        assert np.array_equal(canonical, array)
    assert formats.delegate("NDArray").nbytes(array) == array.nbytes


def test_each_array_is_copied_once_and_shared_with_the_identity(formats):
    delegate = formats.delegate("NDArray")
    array, calls = np.arange(6.0), []

    def copy(given):
        calls.append(given)
        return given.copy()

    assert not np.shares_memory(delegate.canonical(array, copy), array)
    assert len(calls) == 1
    assert np.shares_memory(delegate.canonical(array, lambda given: given), array)
    assert [a is array for a in delegate.arrays(array)] == [True]


def test_memory_maps_are_taken_as_arrays(tmp_path, round_trip):
    array = np.memmap(tmp_path / "x", dtype="f4", shape=(3, 4), mode="w+")
    array[...] = 2
    canonical, back = round_trip(array, "NDArray", "npy")
    assert type(canonical) is np.ndarray
    identical(canonical, back)


def test_padding_of_structures_is_no_part_of_the_value(round_trip):
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    one = np.frombuffer(b"\x01" + b"\xaa" * 7 + b"\0" * 8, dtype)
    two = np.frombuffer(b"\x01" + b"\xbb" * 7 + b"\0" * 8, dtype)
    assert round_trip(one, "NDArray", "npy")[0].tobytes() == round_trip(two, "NDArray", "npy")[0].tobytes()


class Lazy:
    def compute(self):
        return np.zeros(3)


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (np.ma.masked_array([1, 2], mask=[True, False]), "filled"),
        (np.arange(3) * units.m, "AstropyTable"),
        (np.rec.array([(1, 2.0)]), "view"),
        (Lazy(), r"compute\(\)"),
        ([1, 2], "asarray"),
        (np.float64(3.0), "asarray"),
        (np.array([object()]), "astype"),
        (np.zeros(2, [("a", "i4"), ("o", object)]), "field 'o'"),
        (np.zeros(2, np.longdouble), "float64"),
        (np.zeros(2, [("é", "i4")]), "rename"),
        (np.array(["a"], dtype=np.dtypes.StringDType()), "astype"),
    ],
)
def test_what_is_no_plain_array_is_refused(formats, value, mend):
    with pytest.raises(InvalidInputError, match=mend) as caught:
        formats.delegate("NDArray").check(value)
    assert caught.value.kind in (ErrorKind.PYTHON_TYPE, ErrorKind.VALUE)


@pytest.mark.parametrize(
    ("array", "format_name"),
    [
        (np.array(1.0), "fits"),
        (np.zeros(2, bool), "fits"),
        (np.zeros(2, complex), "fits"),
        (np.zeros(2, "f2"), "fits"),
        (np.zeros(2, "M8[s]"), "fits"),
        (np.zeros(2, [("a", "i4")]), "fits"),
        (np.zeros(2, "M8[s]"), "asdf"),
        (np.zeros(2, [("a", "i4")]), "asdf"),
        (np.zeros(2, object), "npy"),
    ],
)
def test_formats_refuse_arrays_that_they_cannot_hold(formats, array, format_name):
    with pytest.raises(FormatError):
        formats.format(format_name).check(array, "NDArray", {})


def test_npy_of_numpy_is_read_and_ours_by_numpy(formats):
    array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    file = io.BytesIO()
    np.save(file, array)
    back = formats.format("npy").decode(file.getvalue(), "NDArray")
    np.testing.assert_array_equal(back, array)
    assert back.flags.c_contiguous
    ours = b"".join(formats.format("npy").encode(back, "NDArray", {}))
    np.testing.assert_array_equal(np.load(io.BytesIO(ours)), array)


def _npy(header):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"\x80\x04.",
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }") + b"\0" * 9,
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 80),
        _npy("__import__('os').system('echo')"),
        b"\x93NUMPY\x09\x00" + b"\0" * 100,
    ],
)
def test_hostile_npy_is_refused_before_anything_is_allocated(formats, data):
    with pytest.raises(FormatError) as caught:
        formats.format("npy").decode(data, "NDArray")
    assert caught.value.kind is ErrorKind.DECODE


def test_pickles_in_npy_are_refused(formats):
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="pickled"):
        formats.format("npy").decode(file.getvalue(), "NDArray")
