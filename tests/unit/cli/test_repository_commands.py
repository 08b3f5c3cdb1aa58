"""Commands that make a repository, say what it knows, and tell how it is."""

import json
import sqlite3

import pytest

from tests.compat.older import put_sqlite


def test_create_makes_a_repository_that_other_commands_find(command, tmp_path, monkeypatch):
    root = tmp_path / "night2"
    document = command("create", root, "--json").document
    assert set(document) == {"repository", "config", "dimensions"}
    assert document["config"] == str(root / "butler.toml")
    assert "visit" in document["dimensions"]
    monkeypatch.chdir(root)
    assert command("ls", "--json").document == {"collections": []}


def test_create_takes_settings_and_dimensions(command, tmp_path):
    settings = tmp_path / "survey.toml"
    settings.write_text('[destinations.second]\nkind = "files"\nroot = "second"\n')
    dimensions = tmp_path / "dimensions.toml"
    dimensions.write_text('[dimensions.pointing]\nkey = "int"\nrequires = ["instrument"]\n')
    root = tmp_path / "night2"
    command("create", root, "--config", settings, "--dimensions", dimensions)
    listed = command("destinations", "-r", root, "--json").document["destinations"]
    assert [one["name"] for one in listed] == ["local", "second"]
    assert listed[1] == {"name": "second", "kind": "files", "options": {"root": "second"}}
    known = command("ls", "dimensions", "-r", root, "--json").document["dimensions"]
    assert known[-1]["name"] == "pointing" or "pointing" in [one["name"] for one in known]


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        ("a = ", 2, "dimension"),
        ("[other]\n", 2, "dimension"),
        ('[dimensions.x]\nkey = "float"\n', 2, "dimension"),
    ],
)
def test_create_refuses_wrong_dimensions_and_makes_nothing(command, tmp_path, text, code, kind):
    path = tmp_path / "dimensions.toml"
    path.write_text(text)
    done = command("create", tmp_path / "x", "--dimensions", path, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)
    assert not (tmp_path / "x" / "butler.toml").exists()


def test_create_again_is_a_conflict(command, repository):
    done = command("create", repository, "--json", fails=True)
    assert done.exit_code == 4
    assert done.stdout == ""
    assert (done.error["class"], done.error["kind"]) == ("ConflictError", "exists")


def test_create_without_a_directory_is_refused(command):
    assert "quantumio create PATH" in command("create", fails=True).stderr


def test_register_is_repeatable_and_completes_dimensions(quantumio):
    first = quantumio("register", "dark", "-d", "detector", "-s", "CCDData", "--json").document
    definition = {"name": "dark", "dimensions": ["instrument", "detector"], "storage_class": "CCDData"}
    assert first == {"dataset_type": definition, "new": True}
    again = quantumio("register", "dark", "-d", "instrument,detector", "-s", "CCDData", "--json").document
    assert again == {"dataset_type": definition, "new": False}
    assert definition in quantumio("ls", "dataset-types", "--json").document["dataset_types"]


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["calexp", "-d", "visit", "-s", "CCDData"], 4, "exists"),
        (["new", "-d", "vist", "-s", "CCDData"], 2, "dimension"),
        (["new", "-d", "visit", "-s", "Image"], 2, "argument"),
        (["two words", "-d", "visit", "-s", "CCDData"], 2, "name"),
        (["new", "-d", "visit"], 2, "argument"),
    ],
)
def test_register_refuses_what_cannot_be(quantumio, arguments, code, kind):
    done = quantumio("register", *arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)
    assert done.error["hint"]


RECORDS = {
    "visits.csv": """\
instrument,visit,exposure_time_s,name,timespan_begin,timespan_end,region
ST8,33,300,UB17-033,2025-06-24T05:59:00,2025-06-24T06:04:00,CIRCLE 250 36 0.5
ST8,34,300.5,,2025-06-24T06:59:00,,
""",
    "visits.jsonl": """\
{"instrument": "ST8", "visit": 33, "exposure_time_s": 300, "name": "UB17-033", \
"region": "CIRCLE 250 36 0.5", "timespan": ["2025-06-24T05:59:00", "2025-06-24T06:04:00"]}

{"instrument": "ST8", "visit": 34, "exposure_time_s": 300.5, "timespan": ["2025-06-24T06:59:37/tai", null]}
""",
    "visits.yaml": """\
- {instrument: ST8, visit: 33, exposure_time_s: 300, name: UB17-033, region: CIRCLE 250 36 0.5,
   timespan: [2025-06-24T05:59:00, 2025-06-24T06:04:00Z]}
- {instrument: ST8, visit: 34, exposure_time_s: 300.5, timespan: [2025-06-24 06:59:00, null]}
""",
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_the_same_from_every_kind_of_file(quantumio, tmp_path, name):
    path = tmp_path / name
    path.write_text(RECORDS[name])
    assert quantumio("insert-dimension", "visit", path, "--json").document == {
        "element": "visit",
        "new": 2,
        "known": 0,
    }
    first, second = quantumio("ls", "records", "visit", "--json").document["records"]
    assert (first["visit"], first["exposure_time_s"], first["name"]) == (33, 300.0, "UB17-033")
    assert first["timespan"] == ["2025-06-24T05:59:37.000/tai", "2025-06-24T06:04:37.000/tai"]
    assert first["region"] == "CIRCLE 250.0 36.0 0.5"
    assert (second["visit"], second["name"], second["timespan"][1]) == (34, None, None)


def test_records_that_were_listed_can_be_inserted_elsewhere(command, quantumio, tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text(RECORDS["visits.csv"])
    quantumio("insert-dimension", "visit", path)
    listed = quantumio("ls", "records", "visit", "--json").document["records"]
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(listed))
    command("create", tmp_path / "other")
    command("insert-dimension", "visit", copy, "-r", tmp_path / "other")
    again = command("ls", "records", "visit", "-r", tmp_path / "other", "--json").document["records"]
    assert again == listed
    assert quantumio("insert-dimension", "visit", copy, "--json").document["new"] == 0


def test_record_comes_from_arguments_or_standard_input(quantumio):
    quantumio(
        "insert-dimension", "visit", "instrument=ST8", "visit=7", "seq_num=3", "timespan_begin=2025-06-24"
    )
    quantumio("insert-dimension", "visit", "-", stdin=b'{"instrument": "ST8", "visit": 8}')
    listed = quantumio("ls", "records", "visit", "visit=7").stdout
    assert listed.split()[-3:] == ["2025-06-24T00:00:37.000/tai", "1", "record"]
    assert listed.endswith("1 record\n")
    assert (
        quantumio("ls", "records", "visit", "--where", "visit > 7", "--json").document["records"][0]["visit"]
        == 8
    )


@pytest.mark.parametrize(
    ("name", "text", "code", "named"),
    [
        ("a.csv", "instrument,visit\nST8,x\n", 2, "visit='x'"),
        ("a.csv", 'instrument,visit\n"ST8', 7, "a.csv"),
        ("a.json", "[1]", 7, "list of records"),
        ("a.json", "{", 7, "a.json is no JSON"),
        ("a.yaml", "!!python/object:os.system {}", 7, "a.yaml is no YAML"),
        ("a.yaml", "- {visit: 3, instrument: ST8, timespan: 4}", 2, "timespan = 4"),
        ("a.json", '[{"instrument": "ST8", "visit": 1, "colour": 3}]', 2, "colour"),
        ("a.txt", "", 2, "a.txt"),
        (
            "a.json",
            '[{"instrument": "ST8", "visit": 33}, {"instrument": "ST8", "visit": 33, "seq_num": 1}]',
            4,
            "33",
        ),
    ],
)
def test_wrong_records_are_refused_by_name_and_none_is_inserted(quantumio, tmp_path, name, text, code, named):
    path = tmp_path / name
    path.write_text(text)
    done = quantumio("insert-dimension", "visit", path, "--json", fails=True)
    assert done.exit_code == code
    assert named in done.error["message"]
    assert quantumio("ls", "records", "visit", "--json").document["records"] == []


def test_status_counts(quantumio, put_stats):
    put_stats()
    put_stats()
    (found,) = quantumio("status", "--json").document["repositories"]
    assert (found["datasets"], found["versions"], found["dataset_types"]) == (1, 2, 11)
    assert found["collections"] == {"RUN": 1, "TAGGED": 0, "CHAINED": 0, "CALIBRATION": 0}
    assert (found["pending"], found["errors"]) == ([], [])
    assert "1 (2 versions)" in quantumio("status").stdout


def test_several_repositories_are_told_one_by_one(command, repository, tmp_path):
    other = tmp_path / "other"
    command("create", other)
    found = command("status", "-r", repository, "-r", other, "--json").document["repositories"]
    assert [one["repository"] for one in found] == [str(repository), str(other)]
    assert [one["dataset_types"] for one in found] == [11, 0]


def test_missing_repository_says_how_to_name_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("status", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (3, "no_repository")
    assert "--repository" in done.error["hint"]
    named = command("status", "-r", tmp_path / "nowhere", "--json", fails=True)
    assert (named.exit_code, named.error["kind"]) == (3, "no_repository")
    assert "nowhere" in named.error["message"]


@pytest.mark.parametrize("older", ["0001", "0002"])
def test_repository_of_an_older_schema_is_upgraded(command, tmp_path, older):
    root = tmp_path / "old"
    command("create", root)
    (registry,) = root.rglob("*.sqlite3")
    put_sqlite(registry, older)
    done = command("ls", "-r", root, "--json", fails=True)
    assert "quantumio upgrade" in done.error["hint"]
    assert command("upgrade", "-r", root, "--json").document["repositories"] == [str(root)]
    assert command("upgrade", "-r", root).exit_code == 0
    listed = command("ls", "-r", root, "--json").document["collections"]
    assert "u/ada/isr" in [one["name"] for one in listed]
    assert (
        command("upgrade", "-r", tmp_path / "nowhere", "--json", fails=True).error["kind"] == "no_repository"
    )


def test_upgrade_says_who_works_with_the_repository_and_may_be_forced(command, tmp_path):
    root = tmp_path / "old"
    command("create", root)
    put_sqlite(root / "registry.sqlite3", "0006")
    connection = sqlite3.connect(root / "registry.sqlite3", isolation_level=None)
    connection.execute("UPDATE owner SET heartbeat_at = unixepoch() * 1000000000")
    connection.close()
    refused = command("upgrade", "-r", root, "--json", fails=True)
    assert refused.error["kind"] == "in_use"
    assert "one on host, heard of" in refused.error["message"]
    assert command("ls", "-r", root, "--json", fails=True).error["kind"] != "newer_schema"
    assert command("upgrade", "-r", root, "--force").exit_code == 0
    assert command("ls", "-r", root).exit_code == 0
