"""Memory or threads that the system refuses: nothing promised is lost, the rest is told, nothing hangs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.on_disk, pytest.mark.timeout(900)]  # long, and longer beside other work

PROJECT = Path(__file__).resolve().parents[2]


def run(mode, repository, *arguments):
    """Run the child; returns what it has told, by step."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.space.child", mode, repository, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = {}
    for line in map(json.loads, done.stdout.splitlines()):
        told.setdefault(line.pop("step"), []).append(line)
    assert "end" in told, done.stdout[-2000:]
    return told


@pytest.mark.parametrize("ack", ["buffered", "journaled", "committed"])
@pytest.mark.parametrize(("type_", "room"), [("array", 2), ("array", 10), ("tree", 4)])
def test_memory_that_runs_out_is_told_and_what_was_acknowledged_is_there(tmp_path, type_, room, ack):
    told = run("memory", tmp_path / "repository", type_, ack, room)
    for step in ("put", "commit", "drain"):
        for refused in told.get(step, []):
            assert refused["kind"] is not None, f"no error of quantumio: {refused}"
    (under,), (after,), (on,) = told["under the limit"], told["after"], told["goes on"]
    assert set(under["outcomes"].values()) <= {"Committed", "CommitFailed", "CommitParked"}, told
    for visit, outcome in under["outcomes"].items():
        seen = int(visit) in after["visible"]
        if outcome == "CommitParked":  # it was kept, and has come since
            assert seen, told
        else:
            assert seen == (outcome == "Committed"), told
    assert after["visible"][0] == 0
    assert on["visible"] == [*after["visible"], 100]
    assert len(told.get("put", [])) + len(under["outcomes"]) == 11


@pytest.mark.parametrize("ack", ["committed", "journaled", "settled"])
def test_threads_that_there_are_must_do(tmp_path, ack):
    told = run("threads_later", tmp_path / "repository", ack)
    assert told["under the limit"] == [{"outcomes": ["Committed"] * 6}]
    assert told["after"] == [{"visible": [*range(25)], "errors": []}]
    (fsck,) = told["fsck"]
    assert fsck.get("whole") or fsck["kind"] == "threads"


@pytest.mark.parametrize("ack", ["committed", "journaled"])
def test_commit_that_finds_no_thread_has_not_begun_and_may_be_made_again(tmp_path, ack):
    told = run("threads_first", tmp_path / "repository", ack)
    (refused,) = told["commit"]
    assert (refused["error"], refused["kind"]) == ("StateError", "threads")
    assert "ulimit -u" in refused["said"]
    assert told["under the limit"] == [{"is_open": True}]
    assert told["after"] == [{"visible": [1]}]


def test_event_loop_that_finds_no_thread_says_so(tmp_path):
    told = run("threads_of_a_loop", tmp_path / "repository", "committed")
    (refused,) = told["commit"]
    assert (refused["error"], refused["kind"]) == ("StateError", "threads")
    put = {one["visit"] for one in told["put"] if "visit" in one}
    assert {one["kind"] for one in told["put"] if "visit" not in one} <= {"threads"}
    assert told["after"] == [{"visible": sorted({1} | put)}]
