"""The command that makes existing files datasets."""

import json
import shutil

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import Table


@pytest.fixture
def frames(image, tmp_path):
    """Write three frames, numbered in their names."""
    directory = tmp_path / "frames"
    directory.mkdir()
    paths = [directory / f"ST8-{number:03d}-c.fits" for number in (1, 2, 33)]
    for path in paths:
        shutil.copy(image, path)
    return paths


def exposures(quantumio) -> list[int]:
    """Exposures of the raws, in order."""
    found = quantumio("query", "raw", "--order-by", "exposure", "--json").document["datasets"]
    return [one["data_id"]["exposure"] for one in found]


def test_data_ids_come_from_names(quantumio, frames):
    arguments = (
        "ingest",
        *frames,
        "raw",
        "detector=0",
        "--pattern",
        "{instrument}-{exposure}-*",
        "--run",
        "raw/n1",
    )
    done = quantumio(*arguments)
    assert done.lines[-1] == "Ingested 3 files into raw/n1."
    assert str(frames[0]) in done.lines[1]
    assert exposures(quantumio) == [1, 2, 33]
    get = ("get", "raw", "instrument=ST8", "detector=0", "exposure=33", "-c", "raw/n1", "--json")
    assert quantumio(*get).document["summary"]["shape"] == [3, 4]
    assert all(path.exists() for path in frames)


@pytest.mark.parametrize("name", ["list.json", "list.csv"])
def test_data_ids_come_from_a_list(quantumio, frames, tmp_path, name):
    path = tmp_path / name
    if name.endswith("json"):
        path.write_text(json.dumps([{"path": str(one), "exposure": 10 + n} for n, one in enumerate(frames)]))
    else:
        path.write_text("path,exposure\n" + "".join(f"{one},{10 + n}\n" for n, one in enumerate(frames)))
    done = quantumio(
        "ingest", "raw", "instrument=ST8", "detector=0", "--list", path, "--run", "raw/n1", "--json"
    )
    assert set(done.document) == {"run", "transfer", "datasets"}
    assert [one["data_id"]["exposure"] for one in done.document["datasets"]] == [10, 11, 12]


@pytest.mark.parametrize("transfer", ["copy", "link", "move", "direct"])
def test_transfers_leave_the_bytes_as_they_are(quantumio, frames, transfer, tmp_path):
    before = frames[0].read_bytes()
    quantumio(
        "ingest", frames[0], "raw", "instrument=ST8", "detector=0", "exposure=1",
        "--run", "raw/n1", "--transfer", transfer,
    )  # fmt: skip
    assert frames[0].exists() is (transfer != "move")
    show = quantumio(
        "show", "raw", "instrument=ST8", "detector=0", "exposure=1", "-c", "raw/n1", "--json"
    ).document
    (location,) = show["locations"]
    assert location["size"] == len(before)
    assert (location["destination"] == "direct") is (transfer == "direct")
    copy = tmp_path / "copy.fits"
    quantumio("get", show["ref"]["id"], "-o", copy)
    assert fits.getval(copy, "OBJECT") == "M 13"


ONE, OTHER = "frames/ST8-001-c.fits", "frames/ST8-002-c.fits"
DATA_ID = ("instrument=ST8", "detector=0", "exposure=1")


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "named"),
    [
        ([ONE, "raw", *DATA_ID[:2]], 2, "data_id", "exposure"),
        ([ONE, "raw", "--pattern", "x{exposure}"], 2, "data_id", ONE),
        ([ONE, "nope", "detector=0"], 3, "no_dataset_type", "nope"),
        (["frames/nothing.fits", "raw", *DATA_ID], 3, "no_file", "nothing.fits"),
        ([ONE, "raw", *DATA_ID, "--transfer", "teleport"], 2, "argument", "teleport"),
        (["truncated.fits", "raw", *DATA_ID], 7, "decode", "truncated.fits"),
        (["raw", "instrument=ST8"], 2, "argument", "no file"),
        ([ONE, OTHER, "raw", *DATA_ID], 4, "duplicate_output", "twice"),
    ],
)
def test_bad_input_is_refused_and_nothing_ingested(
    quantumio, frames, image, tmp_path, monkeypatch, arguments, code, kind, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truncated.fits").write_bytes(image.read_bytes()[:2900])
    done = quantumio("ingest", *arguments, "--run", "raw/n1", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)
    assert named in done.error["message"]
    assert exposures(quantumio) == []


def test_one_bad_file_keeps_all_out(quantumio, frames):
    frames[1].write_bytes(b"no image")
    done = quantumio(
        "ingest",
        *frames,
        "raw",
        "detector=0",
        "--pattern",
        "{instrument}-{exposure}-*",
        "--run",
        "raw/n1",
        fails=True,
    )
    assert done.exit_code == 7
    assert frames[1].name in done.stderr
    assert exposures(quantumio) == []


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "ecsv"])
def test_table_of_files_is_ingested_and_does_nothing_again(quantumio, frames, tmp_path, ending):
    path = tmp_path / f"files.{ending}"
    columns = {"exposure": [1, 2, 33], "uri": [str(one) for one in frames]}
    match ending:
        case "csv":
            path.write_text(
                "exposure,uri\n" + "".join(f"{n},{one}\n" for n, one in zip(*columns.values(), strict=True))
            )
        case "parquet":
            pa.parquet.write_table(pa.table(columns), path)
        case "arrow":
            pa.feather.write_feather(pa.table(columns), path, compression="uncompressed")
        case "ecsv":
            Table(columns).write(path)
    arguments = ("ingest", "raw", "instrument=ST8", "detector=0", "--table", path, "--run", "raw/n1")
    done = quantumio(*arguments, "--json").document
    assert (done["run"], done["rows"], done["resumed"]) == ("raw/n1", 3, 0)
    assert exposures(quantumio) == [1, 2, 33]
    assert "3 were there already, from an ingest of the same table." in quantumio(*arguments).lines
    quantumio("delete", "raw", "exposure=1", "instrument=ST8", "detector=0", "-c", "raw/n1", "--delete")
    assert (
        "3 were there already, from an ingest of the same table; "
        "1 of these was deleted since: give --token to ingest the table anew."
    ) in " ".join(quantumio(*arguments).lines)
    quantumio(*arguments, "--token", "again")
    found = quantumio("query", "raw", "--json").document["datasets"]
    assert [one["version"] for one in found] == [2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["raw", "--table", "nothing.csv"], 3, "nothing.csv"),
        (["raw", "--table", "files.xls"], 2, "files.xls"),
        (["raw", "--table", "damaged.parquet"], 7, "damaged.parquet"),
        (["raw", "detector=0", "--table", "files.csv"], 2, "instrument"),
        (["raw", "instrument=ST8", "detector=0", "--table", "files.csv"], 3, "nothing.fits"),
        (["one.fits", "raw", "--table", "files.csv"], 2, "names all files itself"),
        (["raw", "--pattern", "{exposure}", "--table", "files.csv"], 2, "names all files itself"),
        (["raw", "--token", "again"], 2, "--token"),
        (["nope", "--table", "files.csv"], 3, "nope"),
    ],
)
def test_tables_that_cannot_be_ingested_are_refused(quantumio, tmp_path, monkeypatch, arguments, code, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files.csv").write_text("exposure,uri\n1,nothing.fits\n")
    (tmp_path / "files.xls").write_text("exposure,uri\n1,nothing.fits\n")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    done = quantumio("ingest", *arguments, "--run", "raw/n1", "--json", fails=True)
    assert done.exit_code == code
    assert named in done.error["message"]
    assert exposures(quantumio) == []
