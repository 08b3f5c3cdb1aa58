"""Commands that put and get datasets, and tell what is known of one."""

import json
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

pytestmark = pytest.mark.on_disk

DATA_ID = ("instrument=ST8", "visit=33")
REF_KEYS = {"id", "dataset_type", "data_id", "run", "version"}


def test_put_tells_the_version_and_where_it_is(quantumio, image, repository):
    arguments = ("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada/isr")
    document = quantumio(*arguments, "--json").document
    assert set(document) == REF_KEYS | {"txid", "reused", "locations"}
    assert document["version"] == 1
    assert document["data_id"] == {"instrument": "ST8", "detector": 0, "visit": 33}
    (location,) = document["locations"]
    assert (location["destination"], location["format"], location["state"]) == ("local", "fits", "ok")
    assert location["size"] > 0
    second = quantumio(*arguments)
    assert second.lines[0].startswith(
        "Put: calexp instrument=ST8 detector=0 visit=33 in u/ada/isr, version 2"
    )


def test_what_was_put_is_read_back_into_the_same_file(quantumio, image, tmp_path):
    quantumio("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada")
    copy = tmp_path / "copy.fits"
    done = quantumio("get", "calexp", *DATA_ID, "detector=0", "-c", "u/ada", "-o", copy)
    assert done.stdout.startswith("Wrote calexp instrument=ST8 detector=0 visit=33 in u/ada, version 1 to ")
    with fits.open(image) as before, fits.open(copy) as after:
        assert np.array_equal(before[0].data, after[0].data)
        assert after[0].header["OBJECT"] == "M 13"
        assert after[0].header["BUNIT"] == "adu"


@pytest.mark.parametrize(("ending", "form"), [(".npy", None), (".npy", "numpy"), (".asdf", None)])
def test_image_is_had_in_another_form(quantumio, image, tmp_path, ending, form):
    quantumio("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada")
    target = tmp_path / f"copy{ending}"
    more = () if form is None else ("--as", form)
    document = quantumio(
        "get", "calexp", *DATA_ID, "detector=0", "-c", "u/ada", "-o", target, *more, "--json"
    ).document
    assert document["format"] == ending[1:]
    assert document["size"] == target.stat().st_size
    if ending == ".npy":
        assert np.load(target).tolist() == np.arange(12.0).reshape(3, 4).tolist()


@pytest.mark.parametrize("dataset_type", ["source", "matches", "forced"])
@pytest.mark.parametrize("ending", [".parquet", ".ecsv"])
def test_table_is_had_in_another_format(quantumio, catalog, tmp_path, dataset_type, ending):
    parquet = tmp_path / "catalog.parquet"
    quantumio("put", catalog, "source", *DATA_ID, "--run", "u/ada")
    quantumio("get", "source", *DATA_ID, "-c", "u/ada", "-o", parquet)
    quantumio("put", parquet, dataset_type, *DATA_ID, "--run", "u/bob")
    target = tmp_path / f"copy{ending}"
    quantumio("get", dataset_type, *DATA_ID, "-c", "u/bob", "-o", target, "--columns", "flux,number")
    table = QTable.read(target)
    assert table.colnames == ["flux", "number"]
    assert table["number"].tolist() == list(range(7))


def test_mask_and_other_parts_are_written_on_their_own(quantumio, image, tmp_path):
    quantumio("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada")
    arguments = ("get", "calexp", *DATA_ID, "detector=0", "-c", "u/ada")
    quantumio(*arguments, "--component", "data", "-o", tmp_path / "pixels.npy")
    assert np.load(tmp_path / "pixels.npy").shape == (3, 4)
    done = quantumio(*arguments, "--component", "wcs", "-o", tmp_path / "x.fits", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (2, "component")
    assert "adu" in quantumio(*arguments, "--component", "unit").stdout


def test_get_writes_over_a_file_only_if_told(quantumio, put_stats, tmp_path):
    put_stats()
    target = tmp_path / "copy.json"
    target.write_text("mine")
    arguments = ("get", "stats", *DATA_ID, "-c", "u/ada", "-o", target)
    done = quantumio(*arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "exists")
    assert target.read_text() == "mine"
    quantumio(*arguments, "--overwrite")
    assert json.loads(target.read_text()) == {"seeing": 1.5, "name": "M 13"}


def test_get_writes_to_standard_output_and_put_reads_standard_input(quantumio, put_stats):
    put_stats()
    written = quantumio("get", "stats", *DATA_ID, "-c", "u/ada", "-o", "-", "--format", "json")
    assert json.loads(written.stdout) == {"seeing": 1.5, "name": "M 13"}
    quantumio(
        "put",
        "-",
        "stats",
        "instrument=ST8",
        "visit=34",
        "--run",
        "u/ada",
        "--format",
        "json",
        stdin=b'{"a": 1}',
    )
    assert quantumio("get", "stats", "instrument=ST8", "visit=34", "-c", "u/ada", "--json").document[
        "summary"
    ] == {
        "kind": "mapping",
        "value": {"a": 1},
    }


def test_get_by_id_and_by_version(quantumio, put_stats, stats):
    first = put_stats()
    stats.write_text('{"seeing": 9}')
    put_stats()
    arguments = ("get", "stats", *DATA_ID, "-c", "u/ada", "--json")
    assert quantumio(*arguments).document["summary"]["value"] == {"seeing": 9}
    assert quantumio(*arguments, "--version", 1).document["summary"]["value"]["seeing"] == 1.5
    assert quantumio("get", first["id"], "--json").document["summary"]["value"]["seeing"] == 1.5
    assert quantumio("get", first["id"], "visit=33", fails=True).exit_code == 2


def test_summaries_show_what_is_there(quantumio, image, catalog, stats, tmp_path):
    note, blob, pixels = tmp_path / "night.log", tmp_path / "thing.dat", tmp_path / "psf.npy"
    note.write_text("clear\x1b[2J\nwindy\n")
    blob.write_bytes(b"\0\1\2")
    np.save(pixels, np.array([1.0, np.nan, 3.0]))
    files = {"frames": image, "source": catalog, "stats": stats, "log": note, "blob": blob, "psf": pixels}
    for dataset_type, path in files.items():
        quantumio("put", path, dataset_type, *DATA_ID, "--run", "u/ada")
    quantumio("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada")

    def get(name: str, *more: str):
        shown = quantumio("get", name, *DATA_ID, *more, "-c", "u/ada")
        return shown.stdout, quantumio("get", name, *DATA_ID, *more, "-c", "u/ada", "--json").document[
            "summary"
        ]

    text, summary = get("calexp", "detector=0")
    assert (summary["shape"], summary["unit"], summary["min"], summary["median"], summary["max"]) == (
        [3, 4], "adu", 0, 5.5, 11,
    )  # fmt: skip
    assert "3 x 4" in text
    text, summary = get("source")
    assert (summary["rows"], len(summary["first_rows"])) == (7, 5)
    assert summary["columns"][1]["unit"] == "Jy"
    assert "flux [Jy]" in text
    assert "... 2 more rows" in text
    assert get("stats")[1] == {"kind": "mapping", "value": {"seeing": 1.5, "name": "M 13"}}
    text, summary = get("log")
    assert summary == {"kind": "text", "characters": 16, "begin": "clear\x1b[2J\nwindy\n"}
    assert "\x1b" not in text
    assert get("blob")[1] == {"kind": "bytes", "bytes": 3, "begin": "000102"}
    assert get("psf")[1] | {"dtype": ""} == {
        "kind": "array", "shape": [3], "dtype": "", "min": 1.0, "median": 2.0, "max": 3.0,
    }  # fmt: skip
    assert get("frames")[1]["hdus"][0]["shape"] == [3, 4]


@pytest.mark.parametrize("form", ["astropy", "pandas", "arrow", "polars", "numpy"])
def test_table_is_summed_up_in_every_form(quantumio, catalog, form):
    quantumio("put", catalog, "source", *DATA_ID, "--run", "u/ada")
    summary = quantumio("get", "source", *DATA_ID, "-c", "u/ada", "--as", form, "--json").document["summary"]
    assert (summary["kind"], summary["rows"]) == ("table", 7)
    assert [column["name"] for column in summary["columns"]] == ["number", "flux"]
    assert summary["first_rows"][0] == [0, 1.0]


def test_show_tells_versions_places_contents_and_header(quantumio, image):
    for _ in range(2):
        quantumio("put", image, "calexp", *DATA_ID, "detector=0", "--run", "u/ada")
    arguments = ("show", "calexp", *DATA_ID, "detector=0", "-c", "u/ada", "--header")
    document = quantumio(*arguments, "--json").document
    assert set(document) == {"ref", "storage_class", "versions", "locations", "summary", "header"}
    assert [one["version"] for one in document["versions"]] == [1, 2]
    assert document["ref"]["version"] == 2
    assert {"keyword": "OBJECT", "value": "M 13", "comment": "what it shows"} in document["header"]
    text = quantumio(*arguments).stdout
    for part in ("2 (the latest)", "u/ada", "local", "3 x 4", "what it shows"):
        assert part in text
    lines = quantumio("show", document["versions"][0]["id"]).lines
    assert lines[3].split(maxsplit=1) == ["version", "1 (the latest is 2)"]


def test_versions_lists_them_in_order(quantumio, put_stats):
    for run in ("u/ada", "u/ada", "u/bob"):
        put_stats(run=run)
    found = quantumio("versions", "stats", *DATA_ID, "--json").document["versions"]
    assert [(one["run"], one["version"]) for one in found] == [("u/ada", 1), ("u/ada", 2), ("u/bob", 1)]
    assert set(found[0]) == REF_KEYS | {"committed", "txid", "commit_seq", "size", "digest", "destinations"}
    assert len(quantumio("versions", "stats", *DATA_ID, "--run", "u/ada").lines) == 3
    assert quantumio("versions", "stats", "instrument=ST8", "visit=99").stdout == "There is no version.\n"


def test_expectations_and_keys_are_kept(quantumio, put_stats):
    first = put_stats(33, "u/ada", "--expect", "create", "--key", "a")
    again = put_stats(33, "u/ada", "--key", "a")
    assert (again["id"], again["reused"], first["reused"]) == (first["id"], True, False)
    arguments = ("put", "-", "stats", *DATA_ID, "--run", "u/ada", "--format", "json", "--json")
    done = quantumio(*arguments, "--expect", "create", stdin=b"{}", fails=True)
    assert (done.exit_code, done.error["class"]) == (4, "CommitConflictError")
    assert quantumio(*arguments, "--expect", "1", stdin=b"{}").document["version"] == 2
    assert quantumio(*arguments, "--expect", "x", stdin=b"{}", fails=True).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "named"),
    [
        (["stats.json", "nope", *DATA_ID], 3, "no_dataset_type", "nope"),
        (["stats.json", "stats", "instrument=ST8"], 2, "data_id", "visit"),
        (["stats.json", "stats", "instrument=ST8", "visit=x"], 2, "data_id", "visit=x"),
        (["stats.json", "stats", *DATA_ID, "tract=3"], 2, "data_id", "tract"),
        (["stats.json", "stats", *DATA_ID, "--to", "nowhere"], 2, "policy", "nowhere"),
        (["stats.json", "stats", *DATA_ID, "--to", "temporary"], 2, "policy", "temporary"),
        (["stats.json", "calexp", *DATA_ID, "detector=0"], 2, "argument", "stats.json"),
        (["stats.json", "stats", *DATA_ID, "--format", "fits"], 2, "argument", "fits"),
        (["nothing.json", "stats", *DATA_ID], 3, "no_file", "nothing.json"),
        ([".", "stats", *DATA_ID, "--format", "json"], 6, "permission", "cannot be read"),
        (["broken.json", "stats", *DATA_ID], 7, "decode", "broken.json"),
        (["truncated.fits", "calexp", *DATA_ID, "detector=0"], 7, "decode", "truncated.fits"),
        (["stats.json", "stats", *DATA_ID, "--run", "u//ada"], 2, "name", "u//ada"),
    ],
)
def test_put_refuses_bad_input_and_stores_nothing(
    quantumio, stats, image, tmp_path, monkeypatch, arguments, code, kind, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"a": ')
    (tmp_path / "truncated.fits").write_bytes(image.read_bytes()[:2900])
    run = () if "--run" in arguments else ("--run", "u/ada")
    done = quantumio("put", *arguments, *run, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)
    assert named in done.error["message"]
    assert done.error["hint"]
    assert done.stdout == ""
    assert quantumio("query", "--json").document["count"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["stats", "instrument=ST8", "visit=99", "-c", "u/ada"], 3, "no_dataset"),
        (["stats", *DATA_ID, "-c", "u/nobody"], 3, "no_collection"),
        (["stats", *DATA_ID], 2, "collection"),
        (["stats", *DATA_ID, "-c", "u/ada", "--version", "9"], 3, "no_dataset"),
        (["stats", *DATA_ID, "-c", "u/ada", "--as", "numpy"], 2, "form"),
        (["stats", *DATA_ID, "-c", "u/ada", "-o", "x.fits"], 2, "form"),
        (["stats", *DATA_ID, "-c", "u/ada", "--component", "wcs"], 2, "component"),
        (["01971f5e-7c3a-7d2a-9d2c-0a1b2c3d4e5f"], 3, "no_dataset"),
    ],
)
def test_get_refuses_bad_input(quantumio, put_stats, arguments, code, kind):
    put_stats()
    done = quantumio("get", *arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)
    assert done.error["hint"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_target_that_cannot_be_written_is_told(quantumio, put_stats, tmp_path):
    put_stats()
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o500)
    done = quantumio(
        "get", "stats", *DATA_ID, "-c", "u/ada", "-o", directory / "x.json", "--json", fails=True
    )
    assert (done.exit_code, done.error["kind"]) == (6, "permission")


def test_target_in_no_directory_is_told(quantumio, put_stats, tmp_path):
    put_stats()
    done = quantumio(
        "get", "stats", *DATA_ID, "-c", "u/ada", "-o", tmp_path / "no" / "x.json", "--json", fails=True
    )
    assert done.exit_code == 6
    assert "x.json" in done.error["message"]


def test_damaged_file_is_told_with_its_place(quantumio, put_stats, repository):
    location = put_stats()["locations"][0]
    (stored,) = [
        path for path in (repository / "data").rglob("*.json") if path.stat().st_size == location["size"]
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"x" * location["size"])
    done = quantumio("get", "stats", *DATA_ID, "-c", "u/ada", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (6, "corrupt")


@pytest.fixture
def blocked(command, tmp_path):
    """Make a repository whose destination ``archive`` cannot be written: a file is in the way."""
    (tmp_path / "archive").write_text("in the way")
    settings = tmp_path / "survey.toml"
    settings.write_text(
        f'[destinations.archive]\nkind = "files"\nroot = "{tmp_path / "archive" / "below"}"\n'
    )
    root = tmp_path / "blocked"
    command("create", root, "--config", settings)
    command("register", "stats", "-d", "visit", "-s", "Mapping", "-r", root)
    return root


def test_failure_in_the_background_is_told_after_the_result(command, blocked, stats):
    arguments = ("put", stats, "stats", *DATA_ID, "--run", "u/ada", "-r", blocked, "--json")
    done = command(*arguments, "--to", "local,archive?", fails=True)
    assert done.exit_code == 6
    assert (done.document["version"], done.document["locations"][0]["state"]) == (1, "ok")
    assert "archive" in done.stderr
    assert command("query", "-r", blocked, "--json").document["count"] == 1


def test_what_a_required_destination_cannot_take_now_is_parked_and_recovered(
    command, blocked, stats, tmp_path
):
    arguments = ("put", stats, "stats", *DATA_ID, "--run", "u/ada", "-r", blocked, "--json")
    done = command(*arguments, "--to", "local,archive", fails=True)
    assert (done.exit_code, done.error["class"], done.stdout) == (11, "CommitParkedError", "")
    assert command("query", "-r", blocked, "--json").document["count"] == 0
    whats = {
        item["what"]: item["action"] for item in command("pending", "-r", blocked, "--json").document["items"]
    }
    assert whats == {"journal": "ready", "transaction": "preparing"}
    (item,) = command("recover", "--dry-run", "-r", blocked, "--json").document["items"]
    assert (item["what"], item["action"]) == ("journal", "carry")
    assert command("recover", "-r", blocked, "--json", fails=True).exit_code == 6
    left = command("flush", "-r", blocked, "--json", fails=True)
    assert (left.exit_code, {item["what"] for item in left.document["items"]}) == (
        6,
        {"journal", "transaction"},
    )
    told = command("errors", "-r", blocked, "--json").document["errors"]
    assert {entry["destination"] for entry in told} == {"archive"}
    (tmp_path / "archive").unlink()
    done = command("recover", "-r", blocked, "--json").document
    assert ([item["action"] for item in done["items"]], done["clean"]) == (["committed"], True)
    assert command("query", "-r", blocked, "--json").document["count"] == 1
    assert command("recover", "-r", blocked, "--json").document["items"] == []
    assert "Nothing" in command("pending", "-r", blocked).stdout
    (status,) = command("status", "-r", blocked, "--json").document["repositories"]
    assert (status["pending"], status["errors"]) == ([], [])  # why it was parked is over
    assert "No failures" in command("errors", "-r", blocked).stdout
    assert command("status", "-r", blocked).exit_code == 0
