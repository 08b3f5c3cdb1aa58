"""Commands that find a table write it in every format, to standard output and into files."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow.ipc
import pytest

VISIT = ("instrument=ST8", "visit=33")
TABLES = {
    "query": (["query", "stats", "-c", "u/*"], "datasets"),
    "query-columns": (["query", "stats", "-c", "u/*", "--columns", "visit,run,size,t_min"], "datasets"),
    "versions": (["versions", "stats", *VISIT], "versions"),
    "snapshot": (["snapshot"], "snapshots"),
    "diff": (["diff", "0"], "added"),
    "retention": (["retention", "-c", "u/*", "--keep-last", "0"], "spared"),
    "collections": (["collections"], "collections"),
    "counts": (["collections", "--counts"], "collections"),
    "removed": (["collections", "--removed"], "collections"),
    "dataset-types": (["ls", "dataset-types"], "dataset_types"),
    "dimensions": (["ls", "dimensions"], "dimensions"),
    "records": (["ls", "records", "visit"], "records"),
    "data-ids": (["ls", "data-ids", "visit"], "data_ids"),
    "destinations": (["destinations"], "destinations"),
}


@pytest.fixture
def night(quantumio, put_stats):
    """Put three versions in two runs, and name a moment and a chain."""
    for visit, run in ((33, "u/ada"), (34, "u/bob"), (33, "u/ada")):
        put_stats(visit, run)
    quantumio("insert-dimension", "visit", *VISIT, "timespan_begin=2025-06-24", "region=CIRCLE 10 2 0.5")
    quantumio("chain", "best", "u/bob", "u/ada")
    quantumio("chain", "worst", "u/ada")
    quantumio("remove-collection", "worst", "--delete")
    quantumio("snapshot", "paper/DR1")


def rows(path: Path, name: str) -> list[dict[str, str]]:
    """Rows of a file, all values as text."""
    match name:
        case "csv":
            found = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
        case "jsonl":
            found = [json.loads(line) for line in path.read_text().splitlines()]
        case "arrows":
            found = pyarrow.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
        case "vot":
            document = ET.parse(path)
            names = [one.attrib["name"] for one in document.findall(".//{*}FIELD")]
            found = [
                dict(zip(names, [cell.text for cell in one], strict=True))
                for one in document.findall(".//{*}TR")
            ]
    return [{key: "" if value is None else str(value) for key, value in row.items()} for row in found]


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_the_same_in_every_format(quantumio, tmp_path, name):
    arguments, key = TABLES[name]
    document = quantumio(*arguments, "--json").document
    assert quantumio(*arguments, "--format", "json").document == document
    found = {}
    for ending in ("csv", "jsonl", "arrows", "vot"):
        path = tmp_path / f"table.{ending}"
        told = quantumio(*arguments, "-o", path, "--json").document
        assert told == {"file": str(path), "format": told["format"], "size": path.stat().st_size}
        found[ending] = rows(path, ending)
        done = quantumio(*arguments, "--format", told["format"]) if ending != "arrows" else None
        assert done is None or done.stdout.encode() == path.read_bytes()
    count = len(found["csv"])
    assert count == len(document[key]) > 0
    assert [len(one) for one in found.values()] == [count] * 4
    keys = list(found["csv"][0])
    for ending in ("jsonl", "arrows", "vot"):
        assert list(found[ending][0]) == keys
    others = ("committed", "created", "removed", "t_min", "size", "datasets")
    texts = [name for name in keys if name not in others]
    for ending in ("jsonl", "arrows"):
        assert [[row[key] for key in texts] for row in found[ending]] == [
            [row[key] for key in texts] for row in found["csv"]
        ]


@pytest.mark.usefixtures("night")
def test_lineage_is_a_table_too(quantumio, tmp_path):
    path = tmp_path / "up.csv"
    quantumio("lineage", "stats", "visit=34", "-o", path)
    assert path.read_text().splitlines() == ["of,level,status,via,dataset_type,run,version,id"]
    assert "made from nothing" in quantumio("lineage", "stats", "visit=34").lines[-1]


def test_tables_without_rows_have_columns(quantumio):
    assert (
        quantumio("query", "stats", "--format", "csv").lines[0].startswith("dataset_type,instrument,visit,")
    )
    assert quantumio("query", "stats", "-c", "no/*", "--format", "csv").stdout.count("\n") == 1
    assert quantumio("query", "--format", "jsonl").stdout == ""
    assert quantumio("ls", "records", "visit", "--format", "csv").stdout.startswith("instrument,visit,")
    assert quantumio("snapshot", "--format", "csv").lines == ["name,moment,created,note"]


@pytest.mark.usefixtures("night")
def test_a_file_that_is_there_is_written_over_only_if_wanted(quantumio, tmp_path):
    path = tmp_path / "matches.csv"
    path.write_text("mine")
    done = quantumio("query", "-o", path, "--json", fails=True)
    assert (done.exit_code, done.error["kind"], path.read_text()) == (4, "exists", "mine")
    quantumio("query", "-o", path, "--overwrite", "--where", "colour = 3", fails=True)
    assert path.read_text() == "mine"
    quantumio("query", "-o", path, "--overwrite")
    assert path.read_text() == quantumio("query", "-o", "-", "--format", "csv").stdout
    link = tmp_path / "link.csv"
    link.symlink_to(path.name)
    path.write_text("mine")
    path.chmod(0o600)
    quantumio("query", "-o", link, "--overwrite")
    assert link.is_symlink()
    assert path.read_text() == quantumio("query", "-o", "-", "--format", "csv").stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--json", "--format", "csv"], "--format csv"),
        (["-o", "x.xls"], "x.xls"),
        (["-o", ".", "--format", "csv"], ". is no file"),
        (["-o", "/dev/null", "--format", "csv", "--overwrite"], "/dev/null is no file"),
        (["--columns", "visit,colour"], "'colour'"),
        (["--columns", ","], "no name"),
        (["--as-of", "2025-13-01"], "'2025-13-01'"),
        (["--as-of", "999"], "999"),
    ],
)
def test_what_cannot_be_written_is_refused(quantumio, arguments, named):
    done = quantumio("query", *arguments, fails=True)
    assert done.exit_code == 2
    assert named in done.stderr


def test_a_name_that_is_too_long_is_no_bug(quantumio):
    for more in ([], ["--overwrite"]):
        done = quantumio("query", "-o", f"{'x' * 300}.csv", *more, "--json", fails=True)
        assert (done.exit_code, done.error["kind"]) == (6, "permission")


@pytest.mark.usefixtures("night")
def test_columns_are_those_of_the_reference_table(quantumio):
    arguments = ("query", "stats", "visit=33", "--columns", "s_region,visit,committed,size")
    table = quantumio(*arguments).lines
    assert table[0].split() == ["s_region", "visit", "committed", "size"]
    assert table[1].startswith("CIRCLE ICRS 10.0 2.0 0.5     33  ")
    (only,) = quantumio(*arguments, "--json").document["datasets"]
    assert list(only) == ["s_region", "visit", "committed", "size"]


@pytest.mark.usefixtures("night")
def test_moments_are_numbers_times_and_snapshots(quantumio, put_stats):
    put_stats(33, "u/ada")
    asked = ("query", "stats", "visit=33", "-c", "u/ada", "--json")

    def version(*more: object) -> int:
        (only,) = quantumio(*asked, *more).document["datasets"]
        return only["version"]

    assert version() == 3
    assert version("--as-of", "paper/DR1") == 2
    first = quantumio("versions", "stats", *VISIT, "--json").document["versions"][0]
    assert version("--as-of", first["commit_seq"]) == 1
    assert version("--as-of", "2225-01-01") == 3
    listed = quantumio("versions", "stats", *VISIT, "--as-of", "paper/DR1", "--json").document["versions"]
    assert [one["version"] for one in listed] == [1, 2]
    got = quantumio("get", "stats", *VISIT, "-c", "u/ada", "--as-of", "paper/DR1", "--json").document
    assert got["version"] == 2
    done = quantumio(*asked, "--as-of", "paper/DR9", fails=True)
    assert (done.exit_code, done.error["kind"]) == (3, "moment")


@pytest.mark.usefixtures("night")
def test_a_dataset_that_was_deleted_is_got_as_of_a_moment_before(quantumio, put_stats):
    put_stats(35, "u/ada")
    where = ("stats", "instrument=ST8", "visit=35", "-c", "u/ada")
    now = quantumio("versions", *where[:3], "--json").document["versions"][-1]["commit_seq"]
    quantumio("delete", "stats", "visit=35", "--delete")
    assert quantumio("get", *where, fails=True).exit_code == 3
    assert quantumio("get", *where, "--as-of", now, "--json").document["version"] == 1


@pytest.mark.usefixtures("night")
def test_collections_are_counted(quantumio):
    counted = quantumio("collections", "--counts", "--json").document["collections"]
    assert {one["name"]: one["datasets"] for one in counted} == {"best": 2, "u/ada": 1, "u/bob": 1}
    assert quantumio("collections", "u/b*", "--counts").lines[1].split() == ["u/bob", "RUN", "1"]


def test_a_retention_shows_people_what_it_deletes_alone(quantumio, put_stats):
    for _ in range(3):
        put_stats(33)
    quantumio("snapshot", "paper")
    put_stats(33)
    put_stats(33)
    arguments = ("retention", "-c", "u/*", "--keep-last", "1")
    assert [line.split()[0] for line in quantumio(*arguments).lines] == ["what", "delete", "Would"]
    listed = list(csv.DictReader(io.StringIO(quantumio(*arguments, "--format", "csv").stdout)))
    assert {row["version"]: row["what"] for row in listed}["4"] == "delete"
    assert {row["what"] for row in listed} == {"delete", "spare"}
