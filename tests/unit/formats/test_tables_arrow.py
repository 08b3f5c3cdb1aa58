"""Storage class ArrowTable, and what Parquet does with Arrow's types."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import MaskedColumn, QTable
from astropy.time import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats.arrow import ArrowTableDelegate
from quantumio.formats.parquet import ParquetFormat

DELEGATE = ArrowTableDelegate()
PARQUET = ParquetFormat()
NAME = "ArrowTable"

integers = {
    name: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if name[0] == "i"
    else st.integers(0, 2**bits - 1)
    for bits in (8, 16, 32, 64)
    for name in (f"int{bits}", f"uint{bits}")
}
small = st.integers(0, 2**40)
values = {
    **{getattr(pa, name)(): strategy for name, strategy in integers.items()},
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.large_string(): st.text(max_size=5),
    pa.string_view(): st.text(max_size=20),
    pa.binary(): st.binary(max_size=5),
    pa.binary(2): st.binary(min_size=2, max_size=2),
    pa.timestamp("ms"): small,
    pa.timestamp("us", "UTC"): small,
    pa.timestamp("ns", "Europe/Paris"): small,
    pa.duration("s"): small,
    pa.duration("ns"): small,
    pa.time64("ns"): small,
    pa.date32(): st.dates(),
    pa.null(): st.none(),
    pa.list_(pa.int8()): st.lists(st.integers(0, 9), max_size=3),
    pa.large_list(pa.string()): st.lists(st.text(max_size=3), max_size=3),
    pa.list_(pa.float64(), 2): st.lists(st.floats(), min_size=2, max_size=2),
    pa.struct([("a", pa.int8()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.integers(0, 9), "b": st.text(max_size=3)}
    ),
    pa.decimal128(8, 2): st.decimals(-1000, 1000, places=2),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b", ""]),
    pa.dictionary(pa.int32(), pa.string(), ordered=True): st.sampled_from(["a", "b", "c"]),
}


@st.composite
def arrow_tables(draw):
    rows = draw(st.integers(0, 6))
    fields, arrays = [], []
    for number in range(draw(st.integers(1, 5))):
        kind, strategy = draw(st.sampled_from(list(values.items())))
        cells = draw(st.lists(st.none() | strategy, min_size=rows, max_size=rows))
        field = pa.field(f"c{number}", kind, metadata=draw(st.sampled_from([None, {"unit": "m"}])))
        if not (pa.types.is_null(kind) or any(cell is None for cell in cells)):
            field = field.with_nullable(draw(st.booleans()))
        fields.append(field)
        arrays.append(pa.array(cells, type=kind))
    table = pa.Table.from_arrays(
        arrays, schema=pa.schema(fields, metadata=draw(st.sampled_from([None, {"a": "b"}])))
    )
    return pa.concat_tables([table, table.slice(1)]) if draw(st.booleans()) else table


def assert_same(left: pa.Table, right: pa.Table) -> None:
    assert left.schema.equals(right.schema, check_metadata=True), f"{left.schema}\n{right.schema}"
    for one, two in zip(left.itercolumns(), right.itercolumns(), strict=True):
        # repr tells NaN from null and 0.0 from -0.0, where equals() would not
        assert repr(one.to_pylist()) == repr(two.to_pylist())


# ---------------------------------------------------------------------------- Parquet


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(arrow_tables(), st.sampled_from([{}, {"compression": "zstd"}, {"row_group_size": 2}]))
def test_parquet_gives_back_the_table_with_schema_and_metadata(table, options):
    PARQUET.check(table, NAME, options)
    (data,) = PARQUET.encode(table, NAME, options)
    assert_same(PARQUET.decode(data, NAME), table)
    assert bytes(PARQUET.encode(table, NAME, options)[0]) == bytes(data)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array([1], pa.timestamp("s")), "ms"),
        (pa.array([1], pa.time32("s")), "ms"),
        (pa.array([86_400_000], pa.date64()), "date32"),
        (pa.array([1, 1]).dictionary_encode(), "int64"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "no such type"),
        (pa.RunEndEncodedArray.from_arrays([1], [5]), "no such type"),
    ],
)
def test_types_that_parquet_changes_are_refused_by_name(array, found):
    table = pa.table({"good": pa.nulls(len(array)), "bad": array})
    with pytest.raises(FormatError, match="'bad'") as caught:
        PARQUET.check(table, NAME, {})
    assert found in str(caught.value)


def test_no_table_is_refused_for_having_no_rows():
    table = pa.table({"x": pa.array([], pa.int8()), "s": pa.array([], pa.string())})
    assert_same(PARQUET.decode(PARQUET.encode(table, NAME, {})[0], NAME), table)


def test_columns_are_read_in_the_order_asked_for():
    table = pa.table({"a": [1], "b": [2], "a.x": [3], "s": [{"x": 1}]})
    (data,) = PARQUET.encode(table, NAME, {})
    assert PARQUET.decode(data, NAME, columns=["s", "a"]).column_names == ["s", "a"]
    for columns in (["nope"], ["a", "a"], "a"):
        with pytest.raises(InvalidInputError):
            PARQUET.decode(data, NAME, columns=columns)


def test_columns_that_are_not_asked_for_are_not_read():
    table = pa.table({"a": np.arange(100_000.0), "b": np.arange(100_000.0)})
    (data,) = PARQUET.encode(table, NAME, {"compression": "none"})
    broken = bytearray(data)
    middle = len(broken) * 3 // 4  # in the pages of b
    broken[middle : middle + 100] = bytes(100)
    assert PARQUET.decode(broken, NAME, columns=["a"])["a"].equals(table["a"])
    with pytest.raises(FormatError):
        PARQUET.decode(broken, NAME, columns=["b"])


@pytest.mark.parametrize(
    "options", [{"level": 3}, {"compression": "gzip2"}, {"row_group_size": 0}, {"row_group_size": True}]
)
def test_unknown_options_are_refused(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        PARQUET.check(pa.table({"a": [1]}), NAME, options)


def test_random_floats_get_no_dictionary_and_repeated_texts_one():
    import pyarrow.parquet as pq

    rows = 20_000
    random = np.random.default_rng(1)
    table = pa.table(
        {"x": random.normal(size=rows), "band": random.choice(["g", "r"], rows), "n": np.arange(rows) // 100}
    )
    (data,) = PARQUET.encode(table, NAME, {})
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(3)}
    assert not any("DICTIONARY" in encoding for encoding in encodings["x"])
    assert any("DICTIONARY" in encoding for encoding in encodings["band"])
    assert group.column(0).compression == "UNCOMPRESSED"
    assert len(data) < 1.05 * table["x"].nbytes + 40_000


def decoded(data, columns=None):
    """Return the table, or the error that it is."""
    try:
        return PARQUET.decode(data, NAME, columns=columns)
    except (FormatError, InvalidInputError) as error:
        return error


@pytest.fixture(scope="module")
def file():
    random = np.random.default_rng(1)
    table = pa.table(
        {"x": random.normal(size=2000), "s": random.choice(["g", "r", "i"], 2000), "n": np.arange(2000)}
    )
    return bytes(PARQUET.encode(table, NAME, {})[0]), table


@given(st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_pages_are_errors(file, data):
    whole, table = file
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    # All pages are covered: everything behind the magic number and before the footer.
    position = data.draw(st.integers(4, len(whole) - footer - 1))
    damaged = bytearray(whole)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    found = decoded(bytes(damaged))
    if isinstance(found, FormatError):
        assert found.kind is ErrorKind.DECODE
    else:
        assert_same(found, table)


@given(st.data())
@settings(max_examples=100)
def test_cut_or_foreign_bytes_are_errors(file, data):
    whole, _ = file
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for broken in (cut, data.draw(st.binary(max_size=50)), cut + whole[-8:]):
        with pytest.raises(FormatError) as caught:
            PARQUET.decode(broken, NAME)
        assert caught.value.kind is ErrorKind.DECODE


@given(st.data())
@settings(max_examples=200)
def test_damaged_footer_raises_nothing_but_errors_of_this_project(file, data):
    whole, _ = file
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[len(whole) - data.draw(st.integers(1, footer))] ^= 1 << data.draw(st.integers(0, 7))
    found = decoded(bytes(damaged))
    assert isinstance(found, pa.Table) or found.kind is ErrorKind.DECODE
    found = decoded(bytes(damaged), columns=["x"])
    assert isinstance(found, (pa.Table, InvalidInputError)) or found.kind is ErrorKind.DECODE


def test_file_that_declares_too_much_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("quantumio.formats.parquet.MAX_DECODED_BYTES", 1 << 20)
    (data,) = PARQUET.encode(pa.table({"x": np.zeros(1 << 18)}), NAME, {})
    assert data.nbytes < 10_000
    with pytest.raises(FormatError, match="declare") as caught:
        PARQUET.decode(data, NAME)
    assert caught.value.kind is ErrorKind.DECODE


# ---------------------------------------------------------------------------- delegate


def test_arrow_is_immutable_and_never_copied():
    table = pa.table({"x": np.arange(10.0)})

    def copy(array):
        raise AssertionError("copied")

    assert DELEGATE.is_immutable(table)
    assert DELEGATE.canonical(table, copy) is table
    assert DELEGATE.from_arrow(table) is table
    batch = pa.record_batch({"x": [1]})
    assert DELEGATE.canonical(batch, copy).equals(pa.table({"x": [1]}))


def test_arrays_are_its_bytes():
    table = pa.table({"x": np.arange(10.0), "s": ["a"] * 10})
    assert sum(array.nbytes for array in DELEGATE.arrays(table)) >= 80 + 10
    assert all(array.dtype == np.uint8 for array in DELEGATE.arrays(table))


@pytest.mark.parametrize("value", [{"x": [1]}, 3, QTable({"x": [1]})])
def test_other_types_are_refused(value):
    with pytest.raises(InvalidInputError) as caught:
        DELEGATE.check(value)
    assert caught.value.kind is ErrorKind.PYTHON_TYPE


def test_two_columns_of_one_name_are_refused():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InvalidInputError, match="'a'"):
        DELEGATE.check(table)


def test_astropy_form_of_a_table_that_knows_nothing_of_astropy():
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.uint8()),
            "s": pa.array(["a", None, "ccc"]).dictionary_encode(),
            "t": pa.array([0, 1, None], pa.timestamp("ns")),
            "l": pa.array([[1.0, 2.0]] * 3),
            "b": [True, False, True],
            "d": [dt.date(2020, 1, 1)] * 3,
        }
    )
    result = DELEGATE.convert(table, "astropy")
    assert type(result) is QTable
    assert type(result["i"]) is MaskedColumn
    assert result["i"].dtype == np.uint8
    assert list(result["s"].mask) == [False, True, False]
    assert type(result["t"]) is Time
    time = result["t"].unmasked
    assert (time[1] - time[0]).to_value("s") == pytest.approx(1e-9, abs=1e-11)
    assert list(result["t"].mask) == [False, False, True]
    assert result["l"].shape == (3, 2)
    assert result["d"][0].isot == "2020-01-01T00:00:00.000"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_days_with_leap_seconds_are_exact(unit):
    moments = [f"{day}T{clock}" for day in ("2016-12-30", "2016-12-31", "2017-01-01", "1972-06-30")
               for clock in ("00:00:00", "12:00:00", "23:59:59")]  # fmt: skip
    stamps = np.array(moments, f"M8[{unit}]")
    times = DELEGATE.convert(pa.table({"t": pa.array(stamps)}), "astropy")["t"]
    assert times.isot.tolist() == [f"{moment}.000" for moment in moments]


@pytest.mark.parametrize("form", ["astropy", "numpy"])
@pytest.mark.parametrize("cells", [[{"a": 1}], [[1], [1, 2]], [decimal.Decimal("1.5")]])
def test_columns_without_a_form_are_refused_by_name(form, cells):
    table = pa.table({"good": [1] * len(cells), "bad": cells})
    with pytest.raises(InvalidInputError, match="'bad'") as caught:
        DELEGATE.convert(table, form)
    assert caught.value.kind is ErrorKind.FORM


def test_integers_with_nulls_stay_integers_in_pandas():
    table = pa.table({"n": pa.array([2**62 + 1, None], pa.int64())})
    frame = DELEGATE.convert(table, "pandas")
    assert str(frame["n"].dtype) == "int64[pyarrow]"
    assert frame["n"][0] == 2**62 + 1


def test_other_forms():
    table = pa.table({"n": [1, None], "s": ["a", "b"]})
    assert DELEGATE.convert(table, "native") is table
    assert DELEGATE.convert(table, "arrow") is table
    assert DELEGATE.convert(table, "polars")["n"].to_list() == [1, None]
    array = DELEGATE.convert(table, "numpy")
    assert array["n"].tolist() == [1, None]
    assert array["s"].tolist() == ["a", "b"]


@pytest.mark.parametrize("form", ["votable", "", "Arrow"])
def test_unknown_forms_are_refused(form):
    with pytest.raises(InvalidInputError) as caught:
        DELEGATE.check_form(form)
    assert caught.value.kind is ErrorKind.FORM


def test_select():
    table = pa.table({"a": [1], "b": [2]})
    assert DELEGATE.select(table, ["b"]).column_names == ["b"]
    with pytest.raises(InvalidInputError, match="'c'"):
        DELEGATE.select(table, ["c"])
