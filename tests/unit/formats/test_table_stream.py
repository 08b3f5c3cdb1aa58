"""Tables as the bytes of files."""

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.ipc
import pytest
from astropy.io.votable import parse_single_table

from quantumio import ErrorKind, InvalidInputError
from quantumio.formats import TABLE_FORMATS, batch_rows, column_batch, table_batches, table_chunks

HOSTILE = ["a,b", 'say "x"', "two\nlines", "\x1b[31m", "=1+1", "é☃", "", None]


def batch(*numbers: int) -> pa.RecordBatch:
    return column_batch({"n": ("int", numbers), "text": ("str", [f"row {number}" for number in numbers])})


def written(batches, name) -> bytes:
    return b"".join(table_chunks(batches, name))


@pytest.mark.parametrize("name", TABLE_FORMATS)
def test_all_batches_are_written_in_every_format(name):
    data = written([batch(1, 2), batch(3)], name)
    match name:
        case "csv":
            numbers = [int(row["n"]) for row in csv.DictReader(io.StringIO(data.decode()))]
        case "jsonl":
            numbers = [json.loads(line)["n"] for line in data.splitlines()]
        case "arrow":
            numbers = pa.ipc.open_stream(data).read_all().column("n").to_pylist()
        case "votable":
            numbers = list(parse_single_table(io.BytesIO(data)).array["n"])
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("name", TABLE_FORMATS)
def test_table_without_rows_keeps_its_columns(name):
    data = written([batch()], name)
    match name:
        case "csv":
            assert data == b"n,text\n"
        case "jsonl":
            assert data == b""
        case "arrow":
            assert pa.ipc.open_stream(data).read_all().schema == batch().schema
        case "votable":
            assert [field.name for field in parse_single_table(io.BytesIO(data)).fields] == ["n", "text"]


def test_texts_stay_what_they_are():
    texts = [*HOSTILE, "c\rr", "cr\r\nlf", "ends\r", "\r\n", "u\u2028\x85"]
    given = column_batch({"text": ("str", texts)})
    rows = list(csv.reader(io.StringIO(written([given], "csv").decode(), newline="")))
    assert [row[0] if row else "" for row in rows[1:]] == [text or "" for text in texts]
    lines = written([given], "jsonl").decode().split("\n")[:-1]
    assert [json.loads(line)["text"] for line in lines] == texts


def test_votable_is_xml_whatever_texts_hold():
    given = column_batch({"text": ("str", [*HOSTILE, "<&>]]>", "\x00\uffff"])})
    rows = [one.text for one in ET.fromstring(written([given], "votable")).findall(".//{*}TD")]
    assert rows[:6] == ["a,b", 'say "x"', "two\nlines", "\ufffd[31m", "=1+1", "é☃"]
    assert rows[-2:] == ["<&>]]>", "\ufffd\ufffd"]


def test_rows_of_every_length_are_written_inside_their_memory():
    """A row of exactly 256 bytes once cost a NUL beyond its buffer (astropy #20419)."""
    code = """
from quantumio.formats import column_batch, table_chunks
for width in range(1, 300):
    for chunk in table_chunks([column_batch({"text": ("str", ["x" * width])})], "votable"):
        pass
"""
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_kind_of_column_has_its_text():
    moment = datetime(2025, 6, 24, 3, 16, 0, 1500, tzinfo=UTC)
    given = column_batch(
        {
            "moment": ("time", [moment, None]),
            "real": ("float", [1.5, float("nan")]),
            "whole": ("int", [3, None]),
            "flag": ("bool", [True, None]),
        }
    )
    assert written([given], "csv").decode().splitlines()[1:] == [
        "2025-06-24T03:16:00.001500Z,1.5,3,True",
        ",nan,,",
    ]
    first, second = map(json.loads, written([given], "jsonl").splitlines())
    assert first == {"moment": "2025-06-24T03:16:00.001500Z", "real": 1.5, "whole": 3, "flag": True}
    assert second == {"moment": None, "real": "nan", "whole": None, "flag": None}


@pytest.mark.parametrize("name", ["csv", "jsonl", "arrow"])
def test_a_batch_is_written_before_the_next_one_is_asked_for(name):
    asked = []

    def batches():
        for number in range(3):
            asked.append(number)
            yield batch(number)

    chunks = table_chunks(batches(), name)
    next(chunks)
    assert asked == [0]


def test_large_batches_are_written_whole_and_in_order():
    data = written([batch(*range(10_000))], "csv")
    assert [int(line.partition(b",")[0]) for line in data.splitlines()[1:]] == list(range(10_000))
    assert list(batch_rows(batch(*range(10_000))))[-1] == (9_999, "row 9999")


def test_table_gives_a_batch_where_it_has_no_rows():
    (only,) = table_batches(pa.Table.from_batches([batch()]))
    assert (only.num_rows, only.schema.names) == (0, ["n", "text"])


def test_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(InvalidInputError, match="'xls'") as caught:
        written([batch(1)], "xls")
    assert caught.value.kind is ErrorKind.FORM
    assert all(name in caught.value.hint for name in TABLE_FORMATS)
