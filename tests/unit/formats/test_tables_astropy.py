"""Storage class AstropyTable: its canonical form, its bridge to Arrow, its formats."""

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.data_info import serialize_context_as
from astropy.utils.masked import Masked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats._plain_table import take_apart
from quantumio.formats.arrow import ArrowTableDelegate
from quantumio.formats.astropy_tables import AstropyTableDelegate
from quantumio.formats.ecsv import EcsvFormat
from quantumio.formats.parquet import ParquetFormat
from tests.unit.formats.tables import assert_same_table, astropy_tables

DELEGATE = AstropyTableDelegate()
PARQUET = ParquetFormat()
ECSV = EcsvFormat()
NAME = "AstropyTable"

slow = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)


def copy(array):
    return np.ascontiguousarray(np.array(array, dtype=array.dtype.newbyteorder("=")))


def same(array):
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)).reshape(array.shape)


def canonical(table):
    return DELEGATE.canonical(table, copy)


@pytest.fixture
def catalogue():
    time = Time([60000.1, 60000.2, 60000.3], [1e-12, 2e-12, 3e-12], format="mjd", scale="tai")
    time[1] = np.ma.masked
    table = QTable(
        {
            "id": Column([1, 2, 3], dtype="u8", description="number"),
            "flux": [1.0, np.nan, -0.0] * u.Jy,
            "count": u.Quantity([1, 2, 2**62 + 1], u.adu, dtype="i8"),
            "flag": MaskedColumn([1, 2, 3], mask=[False, True, False], dtype="i2"),
            "time": time,
            "sky": SkyCoord([1, 2, 3] * u.deg, [4, 5, 6] * u.deg, frame="fk5"),
            "label": ["a", "", "ccc"],
            "stamp": np.arange(12.0).reshape(3, 2, 2),
        }
    )
    table.meta = {
        "z": {"second": 1, "first": (1, 2)},
        "exposure": 30 * u.s,
        "begin": Time(60000.0, 1e-13, format="mjd"),
    }
    return canonical(table)


# ---------------------------------------------------------------------------- canonical form


@slow
@given(astropy_tables())
def test_canonical_of_canonical_is_the_same(table):
    once = canonical(table)
    assert_same_table(canonical(once), once)


@slow
@given(astropy_tables())
def test_copying_canonical_shares_no_memory_with_the_source(table):
    before = canonical(table)
    once = canonical(table)
    for array in DELEGATE.arrays(once):
        if not array.flags.writeable:  # astropy makes some attributes of coordinates so
            continue
        if array.dtype.kind != "U":  # not every bit pattern is a text
            array.reshape(-1).view(np.uint8)[...] ^= 1
        else:
            array[...] = "?"
    assert_same_table(canonical(table), before)


def test_identity_copies_nothing_large_and_never_writes_into_the_source():
    values = np.arange(10.0)
    masked = MaskedColumn(np.arange(10), mask=[True] * 5 + [False] * 5)
    table = QTable({"x": values * u.m, "y": Column(values), "m": masked})
    shared = DELEGATE.canonical(table, same)
    assert np.shares_memory(shared["x"], table["x"])
    assert np.shares_memory(shared["y"], table["y"])
    assert list(np.asarray(table["m"].data.data)) == list(range(10))
    assert list(np.asarray(shared["m"].data.data)) == [0] * 5 + [5, 6, 7, 8, 9]


def test_each_array_is_copied_once():
    seen = []

    def count(array):
        seen.append(array.nbytes)
        return copy(array)

    table = QTable({"x": np.zeros(1000) * u.m, "y": np.zeros(1000, "f4")})
    DELEGATE.canonical(table, count)
    assert sorted(seen) == [4000, 8000]


def test_table_becomes_qtable_and_integers_stay_integers():
    table = Table({"n": Column([1, 2**62 + 1], unit="adu", dtype="i8")})
    result = canonical(table)
    assert type(result) is QTable
    assert result["n"].unit == u.adu
    assert result["n"].dtype == np.int64
    assert result["n"].value[1] == 2**62 + 1


def test_source_is_as_it_was(catalogue):
    catalogue["flux"].info.meta = {"a": [1]}
    again = canonical(catalogue)
    again["flux"].info.meta["a"].append(2)
    again.meta["z"]["new"] = 1
    assert catalogue["flux"].info.meta == {"a": [1]}
    assert "new" not in catalogue.meta["z"]


@pytest.mark.parametrize(
    ("column", "part"),
    [
        (np.array([1j, 2j]), "complex"),
        (np.array([object(), None]), "object"),
        (np.array(["2020", "2021"], "M8[D]"), "Time"),
        (np.zeros((2, 0)), "empty"),
        (Column(["a", "b"], unit="m"), "unit"),
    ],
)
def test_column_without_canonical_form_is_refused_by_name(column, part):
    table = Table({"good": [1, 2], "bad": column})
    with pytest.raises(InvalidInputError, match="bad") as caught:
        canonical(table)
    assert part in str(caught.value)
    assert caught.value.kind is ErrorKind.VALUE


@pytest.mark.parametrize("value", [object(), {"deep": [lambda: 1]}, {1.5: 2}])
def test_metadata_without_canonical_form_is_refused_by_key(value):
    table = QTable({"x": [1]}, meta={"key": value})
    with pytest.raises(InvalidInputError, match=r"meta\['key'\]"):
        canonical(table)


def test_astropys_own_key_in_metadata_is_refused():
    with pytest.raises(InvalidInputError, match="__serialized_columns__"):
        canonical(QTable({"x": [1]}, meta={"__serialized_columns__": {}}))


def test_column_named_like_the_mask_of_another_is_refused():
    table = QTable({"a": MaskedColumn([1, 2], mask=[True, False]), "a.mask": [1, 2]})
    with pytest.raises(InvalidInputError, match="column 'a'"):
        canonical(table)


def test_other_types_are_refused():
    with pytest.raises(InvalidInputError, match="dict") as caught:
        DELEGATE.check({"x": [1]})
    assert caught.value.kind is ErrorKind.PYTHON_TYPE


@pytest.mark.parametrize("context", ["ecsv", "fits", "hdf5", "parquet"])
def test_what_another_thread_writes_does_not_matter(context, catalogue):
    # astropy's context is one global variable of all threads
    expected = [(column.name, column.mask is None) for column in take_apart(catalogue).columns]
    with serialize_context_as(context):
        found = take_apart(catalogue)
        arrow = DELEGATE.convert(catalogue, "arrow")
    assert [(column.name, column.mask is None) for column in found.columns] == expected
    again = DELEGATE.convert(catalogue, "arrow")
    assert arrow.schema.equals(again.schema, check_metadata=True)
    assert repr(arrow.to_pydict()) == repr(again.to_pydict())


def test_sixteen_bit_masked_columns_raise_no_warning():
    with np.errstate(over="ignore"):  # astropy does
        table = QTable(
            {
                "x": Masked(np.zeros(2, "f2"), mask=[True, False]) * u.m,
                "y": MaskedColumn(np.zeros(2, "f2"), mask=[1, 0]),
            }
        )
        expected = [str(table[name]) for name in table.colnames]
    once = canonical(table)
    with np.errstate(over="ignore"):
        assert [str(once[name]) for name in once.colnames] == expected


# ---------------------------------------------------------------------------- formats


@slow
@given(astropy_tables())
def test_parquet_gives_back_the_canonical_table(table):
    once = canonical(table)
    PARQUET.check(once, NAME, {})
    (data,) = PARQUET.encode(once, NAME, {})
    assert_same_table(PARQUET.decode(data, NAME), once)
    assert bytes(PARQUET.encode(canonical(table), NAME, {})[0]) == bytes(data)


@slow
@given(astropy_tables(ecsv=True))
def test_ecsv_gives_back_the_canonical_table(table):
    once = canonical(table)
    ECSV.check(once, NAME, {})
    (data,) = ECSV.encode(once, NAME, {})
    assert_same_table(ECSV.decode(data, NAME), once)
    assert ECSV.encode(once, NAME, {}) == [data]


@slow
@given(astropy_tables())
def test_ecsv_gives_back_the_table_or_refuses_it(table):
    once = canonical(table)
    try:
        ECSV.check(once, NAME, {})
        (data,) = ECSV.encode(once, NAME, {})
    except FormatError:
        return
    assert_same_table(ECSV.decode(data, NAME), once)


@pytest.mark.parametrize("format", [PARQUET, ECSV])
def test_decoded_table_belongs_to_the_caller(format, catalogue):
    (data,) = format.encode(catalogue, NAME, {})
    result = format.decode(data, NAME)
    for name in ("id", "flux", "flag", "label", "stamp"):
        result[name][0] = result[name][1]
    result.meta["z"]["new"] = 1
    assert_same_table(format.decode(data, NAME), catalogue)


@pytest.mark.parametrize("format", [PARQUET, ECSV])
def test_columns_are_read_in_the_order_asked_for(format, catalogue):
    (data,) = format.encode(catalogue, NAME, {})
    result = format.decode(data, NAME, columns=["sky", "flag", "time", "id"])
    assert_same_table(result, DELEGATE.select(catalogue, ["sky", "flag", "time", "id"]))
    with pytest.raises(InvalidInputError, match=r"'sky\.ra'"):
        format.decode(data, NAME, columns=["sky.ra"])


def test_column_whose_name_begins_another_is_read_alone():
    table = canonical(QTable({"a": [1], "a.b": [2], "a.b.c": [3]}))
    (data,) = PARQUET.encode(table, NAME, {})
    assert PARQUET.decode(data, NAME, columns=["a"]).colnames == ["a"]
    assert PARQUET.decode(data, NAME, columns=["a.b"])["a.b"][0] == 2


def test_ecsv_refuses_bytes_at_put_and_odd_texts_in_encode():
    with pytest.raises(FormatError, match="'b'"):
        ECSV.check(canonical(QTable({"b": [b"x"]})), NAME, {})
    table = canonical(QTable({"good": ["a", "b"], "odd": [" x", "z"]}))
    ECSV.check(table, NAME, {})
    with pytest.raises(FormatError, match="odd") as caught:
        ECSV.encode(table, NAME, {})
    assert caught.value.kind is ErrorKind.VALUE


def test_text_that_is_no_unicode_is_refused_by_encode():
    table = canonical(QTable({"odd": np.array(["\ud800"])}))
    for each in (PARQUET, ECSV):
        with pytest.raises(FormatError, match="odd") as caught:
            each.encode(table, NAME, {})
        assert caught.value.kind is ErrorKind.VALUE


# ---------------------------------------------------------------------------- astropy and this project


def test_astropy_reads_our_parquet(catalogue, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(PARQUET.encode(catalogue, NAME, {})[0])
    del catalogue["stamp"]  # astropy's reader leaves cells flat
    found = QTable.read(path, format="parquet")
    found.remove_column("stamp")
    assert_same_table(canonical(found), catalogue)


def test_we_read_astropys_parquet(catalogue, tmp_path):
    path = tmp_path / "table.parquet"
    catalogue.remove_column("count")  # astropy makes floats of it
    catalogue.meta["z"] = {"first": 1, "second": 2}  # and sorts keys
    catalogue.write(path, format="parquet")
    assert_same_table(canonical(PARQUET.decode(path.read_bytes(), NAME)), catalogue)


def test_astropy_reads_our_ecsv(catalogue, tmp_path):
    path = tmp_path / "table.ecsv"
    path.write_bytes(ECSV.encode(catalogue, NAME, {})[0])
    found = QTable.read(path)
    assert type(found["time"]) is Time
    assert np.array_equal(found["time"].jd2, catalogue["time"].jd2)
    assert found["count"].dtype == np.int64
    assert found["sky"].frame.name == "fk5"
    assert found.meta["exposure"] == 30 * u.s


def test_we_read_astropys_ecsv(catalogue, tmp_path):
    path = tmp_path / "table.ecsv"
    catalogue.write(path, format="ascii.ecsv", delimiter=",")
    found = ECSV.decode(path.read_bytes(), NAME)
    assert list(found["flag"].mask) == [False, True, False]
    assert found["flux"].unit == u.Jy
    assert found["stamp"].shape == (3, 2, 2)
    assert found["sky"].frame.name == "fk5"


# ---------------------------------------------------------------------------- forms


@slow
@given(astropy_tables())
def test_arrow_form_gives_the_table_back(table):
    once = canonical(table)
    arrow = DELEGATE.convert(once, "arrow")
    assert_same_table(DELEGATE.from_arrow(arrow), once)


@slow
@given(astropy_tables())
def test_table_put_as_arrow_is_the_table_when_had_as_astropy(table):
    once = canonical(table)
    arrow = ArrowTableDelegate().canonical(DELEGATE.convert(once, "arrow"), copy)
    PARQUET.check(arrow, "ArrowTable", {})
    back = PARQUET.decode(PARQUET.encode(arrow, "ArrowTable", {})[0], "ArrowTable")
    assert_same_table(ArrowTableDelegate().convert(back, "astropy"), once)


def test_masks_are_nulls_in_arrow(catalogue):
    arrow = DELEGATE.convert(catalogue, "arrow")
    assert arrow["flag"].to_pylist() == [1, None, 3]
    assert "flag.mask" not in arrow.column_names
    assert arrow["time.jd1"].null_count == 1


def test_rows_in_another_order_and_with_a_part_of_the_columns_come_back(catalogue):
    arrow = DELEGATE.convert(catalogue, "arrow").take(pa.array([2, 0]))
    result = DELEGATE.from_arrow(arrow.select(["flag", "sky.ra", "sky.dec", "label"]))
    assert result.colnames == ["flag", "sky", "label"]
    assert list(result["flag"]) == [3, 1]
    assert list(result["sky"].ra.deg) == [3.0, 1.0]


def test_pandas_form_has_timestamps_and_nulls(catalogue):
    frame = DELEGATE.convert(catalogue, "pandas")
    assert frame["flux"].dtype == np.float64
    assert frame["id"].dtype == np.uint64
    assert frame["flag"].isna().tolist() == [False, True, False]
    assert str(frame["time"].dtype) == "timestamp[ns][pyarrow]"
    assert frame["time"][0].isoformat().startswith("2023-02-25T02:23:2")


def test_polars_form_has_the_same_columns(catalogue):
    frame = DELEGATE.convert(catalogue, "polars")
    assert frame["flag"].to_list() == [1, None, 3]
    assert frame["label"].to_list() == ["a", "", "ccc"]
    assert frame["sky.ra"].to_list() == [1.0, 2.0, 3.0]


def test_numpy_form_is_a_structured_array_masked_where_the_table_is(catalogue):
    masked = DELEGATE.convert(catalogue, "numpy")
    assert isinstance(masked, np.ma.MaskedArray)
    assert masked["flag"].tolist() == [1, None, 3]
    assert masked.dtype["stamp"].shape == (2, 2)
    plain = DELEGATE.convert(DELEGATE.select(catalogue, ["id", "flux"]), "numpy")
    assert type(plain) is np.ndarray
    assert plain.dtype == np.dtype([("id", "u8"), ("flux", "f8")])


def test_unknown_form_is_refused_with_those_there_are():
    with pytest.raises(InvalidInputError, match="votable") as caught:
        DELEGATE.check_form("votable")
    assert caught.value.kind is ErrorKind.FORM
    assert "'polars'" in str(caught.value)


def test_tables_have_no_components(catalogue):
    with pytest.raises(InvalidInputError, match="'wcs'") as caught:
        DELEGATE.component(catalogue, "wcs")
    assert caught.value.kind is ErrorKind.COMPONENT


def test_selecting_an_unknown_column_lists_those_there_are(catalogue):
    with pytest.raises(InvalidInputError, match="'decl'.*'flux'"):
        DELEGATE.select(catalogue, ["id", "decl"])


@given(st.data())
@settings(max_examples=20)
def test_damaged_ecsv_is_an_error_of_this_project_or_a_table(catalogue_bytes, data):
    position = data.draw(st.integers(0, len(catalogue_bytes) - 1))
    damaged = bytearray(catalogue_bytes)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    for broken in (bytes(damaged), catalogue_bytes[:position]):
        found = decoded(broken)
        assert isinstance(found, QTable) or found.kind is ErrorKind.DECODE


def decoded(data):
    """Return the table, or the error that it is."""
    try:
        return ECSV.decode(data, NAME)
    except FormatError as error:
        return error


@pytest.fixture(scope="module")
def catalogue_bytes():
    table = canonical(
        QTable({"a": MaskedColumn([1, 2], mask=[0, 1]), "t": Time([1.0, 2.0], format="mjd"), "s": ["x", "y"]})
    )
    return ECSV.encode(table, NAME, {})[0]


@pytest.mark.parametrize("name", ["\n", "a\nb", "\r", "\0", "\t", " x", "x ", "#c", "\x85", "\u2028"])
def test_names_that_ecsv_does_not_give_back_are_refused_by_it_alone(name):
    table = DELEGATE.canonical(QTable([[1.0], [2]], names=["a", name]), copy)
    with pytest.raises(FormatError, match="name of column") as caught:
        ECSV.check(table, NAME, {})
    assert repr(name) in str(caught.value)
    PARQUET.check(table, NAME, {})
    assert PARQUET.decode(b"".join(PARQUET.encode(table, NAME, {})), NAME).colnames == ["a", name]


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True))
def test_names_of_columns_are_given_back_or_refused(names):
    given = QTable([[1.0, 2.0]] * len(names), names=names)
    try:
        table = DELEGATE.canonical(given, copy)
    except InvalidInputError:
        assert any("\ud800" <= letter <= "\udfff" for name in names for letter in name)
        return
    assert table.colnames == names
    for format_ in (PARQUET, ECSV):
        try:
            format_.check(table, NAME, {})
        except FormatError as error:
            assert format_ is ECSV
            assert "name of column" in str(error)  # noqa: PT017
        else:
            assert format_.decode(b"".join(format_.encode(table, NAME, {})), NAME).colnames == names


def test_names_that_no_format_holds_are_refused_at_put():
    nameless = QTable({"a": [1]})
    nameless.rename_column("a", "")
    for table in (nameless, QTable({"\ud800": [1]})):
        with pytest.raises(InvalidInputError, match="name") as caught:
            DELEGATE.check(table)
        assert caught.value.kind is ErrorKind.NAME
