"""The main job, as a user starts it: on a simulated night and on the real one."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from matplotlib import image as matplotlib_image

from examples.reduction import run
from examples.reduction.frames import find_frames
from examples.reduction.night import CALIBRATIONS, MASTER_RUN
from examples.reduction.simulate import simulate_night
from quantumio import Butler, NotFoundError

from .conftest import REAL_NIGHT


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QTable, str]:
    """Simulate a small night and run the main job on it: its output directory, the truth, its words."""
    output = tmp_path_factory.mktemp("demo")
    truth = simulate_night(output / "raw", 7, n_science=2, shape=(256, 256), n_stars=60)
    script = Path(run.__file__)
    done = subprocess.run(
        [
            sys.executable,
            script,
            "--data",
            output / "raw",
            "--output",
            output,
            "--rounds",
            "1",
            "--jobs",
            "2",
        ],
        check=False,
        cwd=output,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return output, truth, done.stdout


def test_main_job_tells_what_it_did_without_control_characters(reduced):
    output, _, words = reduced
    assert "\x1b" not in words
    for part in ("Isr", "Detect", "Summary", "deferred", "immediate", "local, level3", "local, temporary"):
        assert part in words
    assert str(output / "quick-look.png") in words
    assert "8 of 8 stored outputs have the same bytes in both" in words


def test_main_job_leaves_a_picture_a_table_and_a_report(reduced):
    output, _, _ = reduced
    assert matplotlib_image.imread(output / "quick-look.png").shape[1] == 1500
    night = QTable.read(output / "night.ecsv")
    assert len(night) == 2
    assert night["background"].unit == u.adu
    report = json.loads((output / "report.json").read_text())
    assert report["deferred"]["states"] == {"succeeded": 5}
    assert [task["task"] for task in report["immediate"]["tasks"]] == ["Isr", "Detect", "Summary"]


def test_catalogue_is_a_parquet_file_and_rows_of_a_level3_table(reduced):
    output, truth, _ = reduced
    with Butler(output / "repository", collections="demo/deferred", readonly=True) as butler:
        refs = list(butler.query("source"))
        assert len(refs) == 2
        assert {one.destination: one.format for one in butler.where_is(refs[0])} == {
            "local": "parquet",
            "level3": "rows",
        }
        catalogues = {ref.data_id["visit"]: butler.get(ref) for ref in refs}
    assert catalogues.keys() == set(truth["exposure"])
    assert all(catalogue["flux"].unit == u.adu for catalogue in catalogues.values())
    with sqlite3.connect(output / "repository" / "level3.sqlite") as database:
        rows = dict(
            database.execute("SELECT visit, count(*) FROM source WHERE run = 'demo/deferred' GROUP BY visit")
        )
    database.close()
    assert rows == {visit: len(catalogue) for visit, catalogue in catalogues.items()}


def test_debug_outputs_are_temporary_and_masters_are_certified(reduced):
    output, truth, _ = reduced
    visit = int(truth["exposure"][0])
    with Butler(
        output / "repository", collections="demo/deferred", readonly=True, instrument="SIM1"
    ) as butler:
        assert butler.query("isr_debug", collections="*").count() == 0
        with pytest.raises(NotFoundError):
            butler.get("isr_debug", visit=visit, detector=0)
        # Detect read it all the same: the bias level was removed.
        assert butler.get("frame_statistics", visit=visit, detector=0)["removed_adu"] > 900
        flat = butler.find("flat", exposure=visit, detector=0, collections=CALIBRATIONS)
    assert flat.run == MASTER_RUN
    assert flat.data_id["physical_filter"] == "V"


def test_main_job_reduces_the_real_night(test_data, tmp_path, capsys):
    code = run.main(
        ["--data", str(test_data / REAL_NIGHT), "--output", str(tmp_path), "--rounds", "1", "--jobs", "2"]
    )
    assert code == 0, capsys.readouterr().err
    assert len(find_frames(test_data / REAL_NIGHT)) == 8
    with Butler(tmp_path / "repository", instrument="ST8", readonly=True) as butler:
        bias = butler.get("bias", detector=0, collections=MASTER_RUN)
        flat = butler.get("flat", detector=0, physical_filter="clear", collections=MASTER_RUN)
        sources = [len(butler.get(ref)) for ref in butler.query("source", collections="demo/deferred")]
    assert bias.data.mean(dtype=float) == pytest.approx(899.8, abs=0.5)
    assert bias.meta["RDNOISE"] == pytest.approx(6.3, abs=0.3)
    low, high = np.percentile(flat.data, [1, 99])
    assert (low, high) == (pytest.approx(0.911, abs=0.01), pytest.approx(1.056, abs=0.01))
    assert len(sources) == 2
    assert all(75 <= number <= 110 for number in sources), sources


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "there is no directory nowhere"),
        (["--data", "."], "no bias, dark, flat or science frame"),
    ],
)
def test_main_job_refuses_what_it_cannot_reduce(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_main_job_makes_no_repository_over_another(reduced, capsys):
    output, _, _ = reduced
    code = run.main(["--data", str(output / "raw"), "--output", str(output)])
    assert code == 4
    assert "repository" in capsys.readouterr().err
