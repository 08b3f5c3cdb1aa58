"""Storage class DataFrame."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats.pandas import DataFrameDelegate
from quantumio.formats.parquet import ParquetFormat

DELEGATE = DataFrameDelegate()
PARQUET = ParquetFormat()
NAME = "DataFrame"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
optional = st.none() | texts


def copy(array):
    return np.array(array, dtype=array.dtype.newbyteorder("="))


def canonical(frame):
    return DELEGATE.canonical(frame, copy)


@st.composite
def cells(draw, rows):
    def listed(strategy):
        return draw(st.lists(strategy, min_size=rows, max_size=rows))

    match draw(
        st.sampled_from(["number", "object", "text", "nullable", "arrow", "category", "zone", "time"])
    ):
        case "number":
            dtype = np.dtype(
                draw(st.sampled_from(["i1", "i8", "u2", "u8", "f2", "f4", "f8", "?", ">f8", ">i4"]))
            )
            return draw(hnp.arrays(dtype, rows))
        case "time":
            dtype = np.dtype(
                draw(st.sampled_from(["M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[s]", "m8[ms]", "m8[ns]"]))
            )
            return draw(hnp.arrays("i8", rows, elements=st.integers(0, 2**31))).astype(dtype)
        case "object":
            return pd.Series(listed(optional), dtype=object)
        case "text":
            dtype = draw(st.sampled_from(["str", "string", pd.StringDtype("python")]))
            return pd.Series(listed(optional), dtype=dtype)
        case "nullable":
            dtype = draw(st.sampled_from(["Int8", "Int64", "UInt16", "boolean", "Float32"]))
            return pd.Series(listed(st.none() | st.integers(0, 1)), dtype=dtype)
        case "arrow":
            dtype, strategy = draw(
                st.sampled_from(
                    [
                        (pa.int32(), st.integers(0, 9)),
                        (pa.string(), texts),
                        (pa.float64(), st.floats()),
                        (pa.list_(pa.int64()), st.lists(st.integers(0, 5), max_size=2)),
                        (pa.timestamp("us", "UTC"), st.integers(0, 2**40)),
                    ]
                )
            )
            return pd.Series(
                pd.arrays.ArrowExtensionArray(
                    pa.chunked_array([pa.array(listed(st.none() | strategy), dtype)])
                )
            )
        case "category":
            ordered = draw(st.booleans())
            return pd.Categorical(
                listed(st.sampled_from(["a", "b", None])), categories=["z", "b", "a"], ordered=ordered
            )
        case _:
            stamps = pd.to_datetime(listed(st.none() | st.integers(0, 2**40)), unit="ns", utc=True)
            return pd.Series(stamps).dt.tz_convert(draw(st.sampled_from(["UTC", "Europe/Paris"])))


@st.composite
def indices(draw, rows):
    match draw(st.sampled_from(["range", "named range", "int", "text", "multi", "time"])):
        case "range":
            return pd.RangeIndex(rows)
        case "named range":
            return pd.RangeIndex(5, 5 + 2 * rows, 2, name="r")
        case "int":
            return pd.Index(draw(hnp.arrays("i8", rows)), name=draw(st.sampled_from([None, "id"])))
        case "text":
            return pd.Index([f"t{number}" for number in range(rows)], name="s", dtype="str")
        case "multi":
            return pd.MultiIndex.from_arrays(
                [np.arange(rows), [f"t{n}" for n in range(rows)]], names=["p", None]
            )
        case _:
            return pd.date_range("2020", periods=rows, freq="D", tz="UTC", name="when")


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(st.sampled_from(["a", "b", "c d", "é"]), min_size=1, unique=True))
    frame = pd.DataFrame({name: draw(cells(rows)) for name in names})
    frame.index = draw(indices(rows))
    frame.columns.name = draw(st.sampled_from([None, "axis"]))
    frame.attrs = draw(st.sampled_from([{}, {"unit": {"a": "m"}, "n": (1, 2)}]))
    return frame


def assert_same(left, right) -> None:
    pd.testing.assert_frame_equal(
        left, right, check_exact=True, check_index_type="exact", check_column_type="exact"
    )
    assert left.attrs == right.attrs
    assert [str(dtype) for dtype in left.dtypes] == [str(dtype) for dtype in right.dtypes]
    assert type(left.index) is type(right.index)
    for name in left.columns:
        if left[name].dtype.kind == "f" and isinstance(left[name].dtype, np.dtype):
            kept = ~np.isnan(left[name])
            assert np.array_equal(np.signbit(left[name][kept]), np.signbit(right[name][kept]))


slow = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=100)


@slow
@given(frames())
def test_parquet_gives_back_the_canonical_frame(frame):
    once = canonical(frame)
    PARQUET.check(once, NAME, {})
    (data,) = PARQUET.encode(once, NAME, {})
    assert_same(PARQUET.decode(data, NAME), once)
    assert bytes(PARQUET.encode(canonical(frame), NAME, {})[0]) == bytes(data)


@slow
@given(frames())
def test_canonical_of_canonical_is_the_same_and_the_source_is_as_it_was(frame):
    before = frame.copy(deep=True)
    once = canonical(frame)
    assert_same(canonical(once), once)
    pd.testing.assert_frame_equal(frame, before)


@slow
@given(frames())
def test_arrow_form_gives_the_frame_back(frame):
    once = canonical(frame)
    assert_same(DELEGATE.from_arrow(DELEGATE.convert(once, "arrow")), once)


def test_numbers_are_copied_once_and_share_nothing():
    seen = []

    def count(array):
        seen.append(array.nbytes)
        return copy(array)

    frame = pd.DataFrame({"x": np.arange(1000.0), "y": np.arange(1000, dtype="i4")})
    once = DELEGATE.canonical(frame, count)
    assert sorted(seen) == [4000, 8000]
    assert not np.shares_memory(once["x"].to_numpy(), frame["x"].to_numpy())


def test_identity_copies_no_numbers():
    frame = pd.DataFrame({"x": np.arange(1000.0), "y": np.arange(1000, dtype="i4")})
    once = DELEGATE.canonical(frame, np.ascontiguousarray)
    assert np.shares_memory(once["x"].to_numpy(), frame["x"].to_numpy())
    assert np.shares_memory(once["y"].to_numpy(), frame["y"].to_numpy())


def test_decoded_frame_belongs_to_the_caller():
    (data,) = PARQUET.encode(canonical(pd.DataFrame({"x": np.arange(3.0), "s": list("abc")})), NAME, {})
    frame = PARQUET.decode(data, NAME)
    frame.loc[0, "x"] = 7.0
    frame.loc[0, "s"] = "z"
    assert frame["x"].tolist() == [7.0, 1.0, 2.0]
    assert PARQUET.decode(data, NAME)["x"][0] == 0.0


@pytest.mark.parametrize(
    ("column", "mend"),
    [
        ([object(), 1], "astype(str)"),
        ([["a"], ["b"]], "astype(str)"),
        ([b"a", b"b"], "astype(str)"),
        (np.array([1j, 2]), "numbers"),
        (pd.arrays.SparseArray([0, 1]), "numbers"),
    ],
)
def test_columns_without_canonical_form_are_refused_by_name(column, mend):
    frame = pd.DataFrame({"good": [1, 2], "bad": column})
    with pytest.raises(InvalidInputError, match="'bad'") as caught:
        canonical(frame)
    assert mend in str(caught.value)
    assert caught.value.kind is ErrorKind.VALUE


def test_categories_that_parquet_changes_are_refused():
    once = canonical(pd.DataFrame({"good": [1], "bad": pd.Categorical([1], categories=[1, 2])}))
    with pytest.raises(FormatError, match="'bad'"):
        PARQUET.check(once, NAME, {})


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        (pd.DataFrame({1: [1]}), "column 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a'"),
        (pd.DataFrame(index=pd.RangeIndex(3)), "no column"),
    ],
)
def test_names_and_shapes_without_canonical_form_are_refused(frame, part):
    with pytest.raises(InvalidInputError, match=part):
        DELEGATE.check(frame)


def test_attrs_that_no_json_holds_are_refused_by_key():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["odd"] = object()
    with pytest.raises(InvalidInputError, match=r"attrs\['odd'\]"):
        DELEGATE.check(frame)


def test_other_types_are_refused():
    with pytest.raises(InvalidInputError) as caught:
        DELEGATE.check(pd.Series([1]))
    assert caught.value.kind is ErrorKind.PYTHON_TYPE


def test_columns_are_read_with_the_index():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.5, 2.5]}, index=pd.Index([7, 8], name="id"))
    (data,) = PARQUET.encode(canonical(frame), NAME, {})
    assert_same(PARQUET.decode(data, NAME, columns=["c", "a"]), canonical(frame[["c", "a"]]))
    with pytest.raises(InvalidInputError, match="'id'"):
        PARQUET.decode(data, NAME, columns=["id"])


def test_other_forms():
    frame = canonical(pd.DataFrame({"x": [1.0, np.nan], "s": ["a", None]}, index=pd.Index([7, 8], name="id")))
    assert DELEGATE.convert(frame, "pandas") is frame
    table = DELEGATE.convert(frame, "astropy")
    assert table.colnames == ["x", "s", "id"]
    assert list(table["s"].mask) == [False, True]
    assert DELEGATE.convert(frame, "polars")["id"].to_list() == [7, 8]
    assert DELEGATE.convert(frame, "numpy")["id"].tolist() == [7, 8]
    plain = DELEGATE.convert(canonical(pd.DataFrame({"x": [1.0, np.nan]})), "numpy")
    assert type(plain) is np.ndarray
    assert np.isnan(plain["x"][1])


def test_damaged_pandas_metadata_are_an_error():
    table = DELEGATE.convert(canonical(pd.DataFrame({"x": [1]})), "arrow")
    for text in (b"{", b'{"columns": [{"field_name": "x"}]}', b'{"columns": 3}'):
        with pytest.raises(FormatError) as caught:
            DELEGATE.from_arrow(table.replace_schema_metadata({"pandas": text}))
        assert caught.value.kind is ErrorKind.DECODE


def test_seconds_stay_seconds():
    times = np.array(["2025-06-24T00:00:00", "NaT"], "M8[s]")
    zone = pd.Series(times).dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"plain": times, "zone": zone, "ms": times.astype("M8[ms]")})
    frame.index = pd.DatetimeIndex(np.array(["2025", "2026"], "M8[s]"), name="when")
    once = canonical(frame)
    PARQUET.check(once, NAME, {})
    back = PARQUET.decode(b"".join(PARQUET.encode(once, NAME, {})), NAME)
    for found in (
        once,
        back,
        PARQUET.decode(b"".join(PARQUET.encode(once, NAME, {})), NAME, columns=["plain"]),
    ):
        pd.testing.assert_frame_equal(found, frame[list(found.columns)])


def test_seconds_that_parquet_cannot_count_are_refused():
    frame = pd.DataFrame({"far": np.array([2**60], "M8[s]")})
    with pytest.raises(InvalidInputError, match="'far'.*range"):
        DELEGATE.check(frame)


def test_a_name_that_is_no_text_is_refused():
    frame = pd.DataFrame({"a": [1]})
    frame.columns = pd.Index(["\ud800"], dtype=object)
    with pytest.raises(InvalidInputError, match="surrogate"):
        DELEGATE.check(frame)
