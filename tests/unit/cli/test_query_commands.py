"""The command that looks for datasets, and those that list."""

import csv
import io
import json

import pyarrow.ipc
import pytest
from astropy.io.votable import parse_single_table

DATASET_KEYS = {
    "id", "dataset_type", "data_id", "run", "version",
    "size", "digest", "destinations", "status", "committed", "access_url",
}  # fmt: skip


@pytest.fixture
def three(put_stats):
    """Put three datasets in two runs, one of them twice."""
    for visit, run in ((33, "u/ada"), (34, "u/ada"), (33, "u/bob"), (33, "u/ada")):
        put_stats(visit, run)


def found(done) -> list[tuple[int, str, int]]:
    """Visit, run and version of the datasets of a JSON document."""
    return [(one["data_id"]["visit"], one["run"], one["version"]) for one in done.document["datasets"]]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["visit=33"], {(33, "u/ada", 2), (33, "u/bob", 1)}),
        (["sta*", "visit=34"], {(34, "u/ada", 1)}),
        (["calexp", "stats", "-c", "u/bob"], {(33, "u/bob", 1)}),
        (["-c", "u/bob,u/ada"], {(33, "u/bob", 1), (34, "u/ada", 1)}),
        (["-c", "u/*"], {(33, "u/ada", 2), (34, "u/ada", 1), (33, "u/bob", 1)}),
        (["--versions", "all", "-c", "u/ada"], {(33, "u/ada", 1), (33, "u/ada", 2), (34, "u/ada", 1)}),
        (["--where", "visit > 33"], {(34, "u/ada", 1)}),
        (["--where", "visit > :least", "--bind", "least=33"], {(34, "u/ada", 1)}),
        (["source"], set()),
    ],
)
def test_query_finds(quantumio, arguments, expected):
    done = quantumio("query", *arguments, "--json")
    assert set(found(done)) == expected
    assert done.document["count"] == len(expected)


@pytest.mark.usefixtures("three")
def test_order_and_limit(quantumio):
    ordered = found(quantumio("query", "-c", "u/*", "--order-by", "-visit,run", "--json"))
    assert ordered == [(34, "u/ada", 1), (33, "u/ada", 2), (33, "u/bob", 1)]
    assert found(quantumio("query", "--order-by=-visit", "--limit", "1", "--json")) == ordered[:1]


@pytest.mark.usefixtures("three")
def test_every_format_tells_the_same(quantumio, tmp_path):
    arguments = ("query", "stats", "-c", "u/ada", "--order-by", "visit")
    document = quantumio(*arguments, "--json").document
    assert set(document["datasets"][0]) == DATASET_KEYS
    assert document["datasets"][0]["destinations"] == ["local"]
    assert quantumio(*arguments, "--format", "json").document == document
    ids = [one["id"] for one in document["datasets"]]
    rows = list(csv.DictReader(io.StringIO(quantumio(*arguments, "--format", "csv").stdout)))
    assert [row["id"] for row in rows] == ids
    assert [row["visit"] for row in rows] == ["33", "34"]
    for name in ("matches.arrows", "matches.xml", "matches.json", "matches.csv"):
        quantumio(*arguments, "-o", tmp_path / name)
    with pyarrow.ipc.open_stream(tmp_path / "matches.arrows") as stream:
        table = stream.read_all()
    assert table.column("id").to_pylist() == ids
    assert [str(one) for one in parse_single_table(tmp_path / "matches.xml").array["id"]] == ids
    assert json.loads((tmp_path / "matches.json").read_text()) == document


@pytest.mark.usefixtures("three")
def test_table_has_a_row_for_each(quantumio):
    lines = quantumio("query", "stats", "-c", "u/ada", "--order-by", "visit").lines
    assert lines[0].split() == ["dataset", "type", "data", "ID", "run", "version", "size", "destinations"]
    assert lines[1].split()[:5] == ["stats", "instrument=ST8", "visit=33", "u/ada", "2"]
    assert lines[-1] == "2 datasets"
    assert "digest" in quantumio("query", "stats", "-l").lines[0]


@pytest.mark.parametrize(
    ("arguments", "kind", "named"),
    [
        (["--where", "visit >"], "expression", "visit >"),
        (["--where", "colour = 3"], "expression", "colour"),
        (["visit=x"], "data_id", "visit=x"),
        (["--limit", "-1"], "argument", "-1"),
        (["--format", "xls"], "argument", "xls"),
        (["-o", "x.xls"], "argument", "x.xls"),
        (["--order-by", "colour"], "dimension", "colour"),
    ],
)
def test_wrong_queries_are_refused(quantumio, arguments, kind, named):
    done = quantumio("query", *arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (2, kind)
    assert named in done.error["message"]


def test_unknown_collection_is_not_found(quantumio):
    done = quantumio("query", "-c", "u/nobody", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (3, "no_collection")


def test_nothing_found_is_no_error(quantumio):
    assert quantumio("query").lines[-1] == "0 datasets"
    assert quantumio("query", "--json").document == {"count": 0, "datasets": []}


@pytest.mark.usefixtures("three")
def test_collections_are_listed_by_glob_and_by_default(quantumio):
    quantumio("chain", "best", "u/bob", "u/ada")
    everything = [
        {"name": "best", "kind": "CHAINED", "children": ["u/bob", "u/ada"]},
        {"name": "u/ada", "kind": "RUN", "children": []},
        {"name": "u/bob", "kind": "RUN", "children": []},
    ]
    assert quantumio("ls", "--json").document == {"collections": everything}
    assert quantumio("ls", "collections", "u/*", "--json").document == {"collections": everything[1:]}
    assert quantumio("ls").lines[1].split() == ["best", "CHAINED", "u/bob,", "u/ada"]


def test_lists_of_what_is_not_there(quantumio):
    assert quantumio("ls", "records", "visit").lines[-1] == "0 records"
    done = quantumio("ls", "records", "vist", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (2, "dimension")
    assert quantumio("ls", "nonsense", fails=True).exit_code == 2


def test_destinations_are_listed_under_both_names(quantumio):
    expected = {"destinations": [{"name": "local", "kind": "files", "options": {"root": "data"}}]}
    assert quantumio("destinations", "--json").document == expected
    assert quantumio("ls", "destinations", "--json").document == expected
