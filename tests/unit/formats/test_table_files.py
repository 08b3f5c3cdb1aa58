"""Tables that people have in files."""

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from astropy.table import Table

from quantumio import ErrorKind, FormatError, InvalidInputError
from quantumio.formats import read_table

KINDS = {"instrument": "str", "visit": "int", "uri": "str", "size": "int"}
COLUMNS = {"instrument": ["007", "NA"], "visit": [1, 2], "uri": ["a.npy", "b.npy"], "size": [10, None]}


@pytest.fixture
def file(tmp_path):
    """Write the table into a file of an ending."""

    def write(ending: str) -> bytes:
        table, path = pa.table(COLUMNS), tmp_path / f"files{ending}"
        match ending:
            case ".parquet":
                pa.parquet.write_table(table, path)
            case ".arrow":
                pa.feather.write_feather(table, path, compression="uncompressed")
            case ".arrows":
                with pa.ipc.new_stream(path, table.schema) as writer:
                    writer.write_table(table)
            case ".csv":
                path.write_text("instrument,visit,uri,size\n007,1,a.npy,10\nNA,2,b.npy,\n")
            case ".ecsv":
                Table({name: COLUMNS[name] for name in ("instrument", "visit", "uri")}).write(path)
        return path.read_bytes()

    return write


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".arrows", ".csv"])
def test_every_kind_of_file_gives_the_same_columns(file, ending):
    table = read_table(f"files{ending.upper()}", file(ending), KINDS)
    assert table.to_pydict() == COLUMNS


def test_ecsv_gives_a_table_of_astropy(file):
    table = read_table("files.ecsv", file(".ecsv"), KINDS)
    assert {name: list(table[name]) for name in table.colnames} == {
        name: COLUMNS[name] for name in ("instrument", "visit", "uri")
    }


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".arrows", ".csv", ".ecsv"])
def test_what_is_damaged_is_told(ending):
    with pytest.raises(FormatError) as caught:
        read_table(f"files{ending}", b"visit,uri\n1,a,2\n\x80\n", KINDS)
    assert caught.value.kind is ErrorKind.DECODE


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".arrows"])
def test_files_that_are_cut_off_are_refused_at_every_length(file, ending):
    data = file(ending)
    for length in range(0, len(data) - 8, 37):
        with pytest.raises(FormatError):
            read_table(f"files{ending}", data[:length], KINDS)


def test_a_number_that_is_none_is_refused():
    with pytest.raises(FormatError, match="visit|int64|x"):
        read_table("files.csv", b"visit,uri\nx,a.npy\n", KINDS)


def test_unknown_ending_is_refused_with_those_there_are():
    with pytest.raises(InvalidInputError) as caught:
        read_table("files.xls", b"", KINDS)
    assert ".parquet" in caught.value.hint
