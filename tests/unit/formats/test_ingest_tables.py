"""Tables of files: what is taken, and what is refused with the row and how to mend it."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import MaskedColumn, Table

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.formats import IngestColumns, ingest_rows

DIGEST = "0123456789abcdef" * 4
EXPECTED = IngestColumns(
    dimensions={"instrument": "str", "visit": "int"},
    constants={},
    formats=("bin", "raw"),
    endings={".bin": "bin", ".bin.gz": "raw"},
)


def columns(**changed):
    given = {"instrument": ["A", "A"], "visit": [1, 2], "uri": ["/1.bin", "/2.BIN.gz"]} | changed
    return {name: column for name, column in given.items() if column is not None}


def test_what_is_left_out_is_unknown_and_the_ending_says_the_format():
    rows = ingest_rows(pa.table(columns()), EXPECTED)
    assert rows.values == [["A", "A"], [1, 2]]
    assert rows.paths == ["/1.bin", "/2.BIN.gz"]
    assert (rows.formats, rows.digests, rows.sizes) == (["bin", "raw"], ["", ""], [None, None])
    assert len(rows) == 2


def test_what_is_given_is_taken():
    table = pa.table(columns(size=[None, 0], digest=[DIGEST.upper(), None], format=[None, "bin"]))
    rows = ingest_rows(table, EXPECTED)
    assert (rows.formats, rows.digests, rows.sizes) == (["bin", "bin"], [DIGEST, ""], [None, 0])


def test_columns_of_nulls_alone_say_nothing():
    table = pa.table(columns(size=[None] * 2, digest=[None] * 2, format=[None] * 2))
    rows = ingest_rows(table, EXPECTED)
    assert (rows.formats, rows.digests, rows.sizes) == (["bin", "raw"], ["", ""], [None, None])


@pytest.mark.parametrize(
    "make",
    [
        pa.table,
        pa.RecordBatch.from_pydict,
        pd.DataFrame,
        Table,
        lambda given: pa.table(
            {name: pa.chunked_array([[value] for value in column]) for name, column in given.items()}
        ),
        lambda given: pa.table(
            {
                "instrument": pa.array(given["instrument"]).dictionary_encode(),
                "visit": pa.array(given["visit"], pa.uint64()),
                "uri": pa.array(given["uri"], pa.large_string()),
                "size": pa.array(given["size"], pa.uint64()),
            }
        ),
        lambda given: pd.DataFrame({**given, "visit": np.array(given["visit"], np.int8)}),
    ],
    ids=["table", "batch", "pandas", "astropy", "chunked", "other types", "small integers"],
)
def test_every_kind_of_table_says_the_same(make):
    rows = ingest_rows(make(columns(size=[10, 20])), EXPECTED)
    assert rows.values == [["A", "A"], [1, 2]]
    assert [type(value) for value in rows.values[1]] == [int, int]
    assert rows.paths == ["/1.bin", "/2.BIN.gz"]
    assert rows.sizes == [10, 20]


def test_masked_values_are_null():
    table = Table(columns(digest=MaskedColumn([DIGEST, "x"], mask=[False, True])))
    assert ingest_rows(table, EXPECTED).digests == [DIGEST, ""]


def test_constants_stand_in_all_rows():
    expected = IngestColumns(
        dimensions=EXPECTED.dimensions,
        constants={"instrument": "B"},
        formats=EXPECTED.formats,
        endings=EXPECTED.endings,
        format_name="raw",
    )
    rows = ingest_rows(pa.table(columns(instrument=None)), expected)
    assert rows.values == [["B", "B"], [1, 2]]
    assert rows.formats == ["raw", "raw"]


def test_part_of_the_rows():
    part = ingest_rows(pa.table(columns(size=[1, 2])), EXPECTED).part(1, 2)
    assert (part.values, part.paths, part.sizes, len(part)) == ([["A"], [2]], ["/2.BIN.gz"], [2], 1)


def test_pandas_has_an_unknown_size_as_nan():
    table = pd.DataFrame(columns(size=[20, np.nan]))
    assert ingest_rows(table, EXPECTED).sizes == [20, None]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"uri": None}, "no column 'uri'"),
        ({"visit": None}, "no column 'visit'"),
        ({"exposure": [1, 2]}, "a column 'exposure'"),
        ({"visit": ["1", "2"]}, "row 0: column 'visit' is of type string"),
        ({"visit": [1.0, 2.0]}, "row 0: column 'visit' is of type double"),
        ({"visit": [True, False]}, "row 0: column 'visit' is of type bool"),
        ({"visit": [None, None]}, "row 0: column 'visit' is of type null"),
        ({"visit": [1, None]}, "row 1: visit is null"),
        ({"visit": pa.array([1, 1 << 63], pa.uint64())}, "row 1: visit = 9223372036854775808"),
        ({"instrument": [1, 2]}, "row 0: column 'instrument' is of type int64"),
        ({"instrument": ["A", None]}, "row 1: instrument is null"),
        ({"instrument": ["A", ""]}, "row 1: instrument = ''"),
        ({"instrument": ["A", "a\0b"]}, "row 1: instrument"),
        ({"instrument": ["A", "ü" * 513]}, "row 1: instrument"),
        ({"instrument": [b"A", b"B"]}, "row 0: column 'instrument' is of type binary"),
        (
            {"instrument": pa.array([b"A", b"\xff"], pa.binary()).view(pa.string())},
            "column 'instrument'.*UTF",
        ),
        ({"uri": ["/1.bin", None]}, "row 1: uri is null"),
        ({"uri": ["/1.bin", ""]}, "row 1: uri = ''"),
        ({"uri": ["/1.bin", "/\0.bin"]}, "row 1: uri"),
        ({"uri": ["/1.bin", "/2.exe"]}, "row 1: the ending of '/2.exe'"),
        ({"uri": [1, 2]}, "row 0: column 'uri'"),
        ({"format": ["bin", "exe"]}, "row 1: format = 'exe'"),
        ({"format": [1, 2]}, "row 0: column 'format'"),
        ({"size": [1, -1]}, "row 1: size = -1"),
        ({"size": [1.0, 2.0]}, "row 0: size = 1.0"),
        ({"size": [None, 2.5]}, "row 1: size = 2.5"),
        ({"size": [None, float("nan")]}, "row 1: size = nan"),
        ({"size": [None, float("-inf")]}, "row 1: size = -inf"),
        ({"size": [None, -2.0]}, "row 1: size = -2"),
        ({"size": pa.array([1, 1 << 63], pa.uint64())}, "row 1: size"),
        ({"digest": [DIGEST, DIGEST[1:]]}, "row 1: digest"),
        ({"digest": [DIGEST, ""]}, "row 1: digest"),
        ({"digest": [DIGEST, DIGEST + "\n"]}, "row 1: digest"),
        ({"digest": [1, 2]}, "row 0: digest"),
        ({"visit": [dt.date(2026, 1, 1)] * 2}, "row 0: column 'visit'"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_row(changed, said):
    with pytest.raises(InvalidInputError, match=said) as caught:
        ingest_rows(pa.table(columns(**changed)), EXPECTED)
    assert caught.value.hint


def test_two_columns_of_one_name_are_refused():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([1])], names=["visit", "visit"])
    with pytest.raises(InvalidInputError, match="two columns 'visit'"):
        ingest_rows(table, EXPECTED)


def test_frame_that_arrow_cannot_hold_is_refused():
    frame = pd.DataFrame(columns(visit=[1, object()]))
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        ingest_rows(frame, EXPECTED)
    assert caught.value.kind is ErrorKind.VALUE


def test_data_id_that_is_there_twice_is_refused_with_both_rows():
    table = pa.table(
        {"instrument": list("AABA"), "visit": [1, 2, 1, 2], "uri": [f"/{n}.bin" for n in range(4)]}
    )
    with pytest.raises(ConflictError, match=r"rows 1 and 3 .* instrument='A', visit=2") as caught:
        ingest_rows(table, EXPECTED)
    assert caught.value.kind is ErrorKind.DUPLICATE_OUTPUT


def test_more_than_one_row_without_a_dimension_of_its_own_is_refused():
    expected = IngestColumns(
        dimensions={"visit": "int"}, constants={"visit": 1}, formats=("bin",), endings={".bin": "bin"}
    )
    assert len(ingest_rows(pa.table({"uri": ["/1.bin"]}), expected)) == 1
    with pytest.raises(ConflictError, match="same data ID"):
        ingest_rows(pa.table({"uri": ["/1.bin", "/2.bin"]}), expected)


def test_table_without_rows():
    table = pa.table(
        {
            "instrument": pa.array([], pa.string()),
            "visit": pa.array([], pa.int64()),
            "uri": pa.array([], pa.string()),
        }
    )
    assert len(ingest_rows(table, EXPECTED)) == 0
