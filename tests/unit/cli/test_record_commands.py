"""Commands that look for dimension records and data IDs."""

import json

import pytest

RECORDS = """instrument,visit,seq_num,target_name,timespan_begin,timespan_end,region
ST8,1,10,M 13,2025-06-24T03:16:00.123456789/tai,,CIRCLE 10 2 0.5
ST8,2,,"a, 'b'",,2025-06-24,"POLYGON 10 2 11 2 11 3"
ST8,3,12,,,,
"""


@pytest.fixture
def visits(quantumio, tmp_path):
    """Insert three visits."""
    path = tmp_path / "given.csv"
    path.write_text(RECORDS)
    quantumio("insert-dimension", "visit", path)


@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_what_is_listed_can_be_inserted_elsewhere_to_the_last_digit(command, quantumio, tmp_path, ending):
    path, other = tmp_path / f"visits.{ending}", tmp_path / "other"
    quantumio("ls", "records", "visit", "-o", path)
    if ending == "json":
        path.write_text(json.dumps(json.loads(path.read_text())["records"]))
    command("create", other)
    command("insert-dimension", "visit", path, "-r", other)
    again = command("ls", "records", "visit", "--format", "csv", "-r", other).stdout
    assert again == quantumio("ls", "records", "visit", "--format", "csv").stdout
    assert "2025-06-24T03:16:00.123456789/tai" in again
    listed = command("ls", "records", "visit", "--json", "-r", other).document
    assert listed == quantumio("ls", "records", "visit", "--json").document
    assert [one["timespan"] is None for one in listed["records"]] == [False, False, True]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_texts_that_look_like_the_ends_of_lines_can_be_inserted_elsewhere(
    command, quantumio, tmp_path, ending
):
    """Python takes U+2028 and U+0085 for the end of a line, and CSV a carriage return."""
    path, other = tmp_path / f"visits.{ending}", tmp_path / "other"
    names = ["a\rb", "c\r\nd", "e\nf", "g\u2028h", "i\x85j", "\x0b\x0c\x1c", 'k"\r"l']
    records = [
        {"instrument": "ST8", "visit": number, "target_name": name} for number, name in enumerate(names)
    ]
    given = tmp_path / "given.json"
    given.write_text(json.dumps(records))
    quantumio("insert-dimension", "visit", given)
    quantumio("ls", "records", "visit", "-o", path)
    if ending == "json":
        path.write_text(json.dumps(json.loads(path.read_text())["records"]))
    command("create", other)
    command("insert-dimension", "visit", path, "-r", other)
    again = command("ls", "records", "visit", "--json", "-r", other).document["records"]
    assert [one["target_name"] for one in again] == names


@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [1, 2, 3]),
        (["--order-by", "-visit"], [3, 2, 1]),
        (["--order-by", "seq_num"], [1, 3, 2]),
        (["--order-by", "-seq_num"], [3, 1, 2]),
        (["--order-by=-timespan_begin,-visit", "--limit", "2"], [1, 3]),
        (["--limit", "0"], []),
        (["--where", "visit > :least", "--bind", "least=1"], [2, 3]),
        (["visit=2"], [2]),
    ],
)
def test_records_are_ordered_and_limited(quantumio, arguments, expected):
    document = quantumio("ls", "records", "visit", *arguments, "--json").document
    assert [one["visit"] for one in document["records"]] == expected


@pytest.mark.usefixtures("visits")
def test_columns_of_records_are_chosen(quantumio):
    asked = ("ls", "records", "visit", "--columns", "target_name,visit")
    assert quantumio(*asked, "--format", "csv").lines[:2] == ["target_name,visit", "M 13,1"]
    assert quantumio(*asked, "--json").document["records"][0] == {"target_name": "M 13", "visit": 1}


@pytest.mark.usefixtures("visits")
def test_data_ids_are_listed(quantumio):
    assert quantumio("ls", "data-ids", "visit", "visit=2", "--json").document == {
        "dimensions": ["instrument", "visit"],
        "data_ids": [{"instrument": "ST8", "visit": 2}],
        "count": 1,
    }
    ordered = quantumio("ls", "data-ids", "visit", "--order-by", "-visit", "--limit", "2", "--format", "csv")
    assert ordered.lines == ["instrument,visit", "ST8,3", "ST8,2"]
    shown = quantumio("ls", "data-ids", "visit", "--where", "visit > 2").lines
    assert shown == ["instrument  visit", "ST8             3", "1 data ID"]


@pytest.mark.usefixtures("visits")
@pytest.mark.parametrize(
    ("arguments", "kind", "named"),
    [
        (["records", "visit", "--order-by", "colour"], "dimension", "'colour'"),
        (["records", "visit", "--columns", "colour"], "dimension", "'colour'"),
        (["records", "vist"], "dimension", "vist"),
        (["data-ids", "vist"], "dimension", "vist"),
        (["data-ids", "visit=1"], "dimension", "no dimension"),
        (["data-ids", "visit", "--order-by", "colour"], "dimension", "'colour'"),
        (["data-ids", "visit", "--where", "visit >"], "expression", "visit >"),
        (["data-ids", "visit", "--limit", "-1"], "argument", "-1"),
    ],
)
def test_wrong_questions_are_refused(quantumio, arguments, kind, named):
    done = quantumio("ls", *arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (2, kind)
    assert named in done.error["message"]
