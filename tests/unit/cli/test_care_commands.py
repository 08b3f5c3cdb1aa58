"""`quantumio fsck`, `scrub`, `gc` and `flush`."""

import io
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from quantumio.cli import _check_commands
from quantumio.cli._call import Call
from quantumio.cli._garbage_command import _progress
from quantumio.engine import GarbageProgress
from quantumio.engine._fsck_report import FsckFinding, FsckTally, FsckTrouble


@pytest.fixture
def stored(put_stats, repository) -> Path:
    """Put a dataset, and return its file."""
    put_stats(33)
    put_stats(34)
    return min((repository / "data" / "stats").rglob("*.json"))


def test_fsck_says_how_much_it_looked_at(quantumio, stored):
    assert quantumio("fsck").lines == ["2 datasets, 2 copies at level 1: 2 ok"]
    assert quantumio("fsck", "--level", "3", "-c", "u/ada").lines == ["2 datasets, 2 copies at level 3: 2 ok"]


def test_fsck_of_nothing_is_well(quantumio):
    assert quantumio("fsck").lines == ["0 datasets, 0 copies at level 1: none"]


def test_fsck_lists_what_is_wrong_and_fails(quantumio, stored):
    stored.unlink()
    done = quantumio("fsck", fails=True)
    assert done.exit_code == 6
    assert done.lines[0].split() == ["trouble", "dataset", "destination", "action", "detail"]
    assert done.lines[1].startswith("missing")
    assert "stats(" in done.lines[1]
    assert done.lines[-1] == "2 datasets, 2 copies at level 1: 1 missing, 1 ok"
    assert "--repair" in done.stderr


def test_fsck_document_has_all_of_it(quantumio, stored):
    stored.chmod(0o644)
    stored.write_text("{}")
    done = quantumio("fsck", "--repair", "--json", fails=True)
    document = done.document
    assert (document["whole"], document["repair"], document["level"]) == (False, True, 1)
    assert document["counts"] == {"wrong_size": 1, "ok": 1}
    assert [(one["trouble"], one["action"]) for one in document["findings"]] == [
        ("wrong_size", "marked"),
        ("no_copy", "none"),
    ]
    assert document["findings"][0]["ref"]["dataset_type"] == "stats"
    assert (done.error["kind"], done.error["exit_code"]) == ("corrupt", 6)


def test_fsck_repairs_and_then_ends_well(quantumio, stored):
    data = stored.read_bytes()
    stored.unlink()
    quantumio("fsck", "--repair", fails=True)
    stored.write_bytes(data)
    quantumio("fsck", fails=True)
    assert quantumio("fsck", "--repair").lines[1].startswith("whole_again")
    assert len(quantumio("fsck").lines) == 1


def test_fsck_of_a_store_that_is_away_tells_it_apart(quantumio, stored, repository):
    (repository / "data").rename(repository / "unmounted")
    done = quantumio("fsck", "--json", fails=True)
    assert [(one["trouble"], one["ref"]) for one in done.document["findings"]] == [("unknown", None)]
    assert done.error["kind"] == "unreachable"


@pytest.mark.parametrize(
    "arguments", [("--level", "4"), ("--level", "x"), ("--level", "0", "--repair")], ids=" ".join
)
def test_fsck_refuses_levels_that_are_none(quantumio, arguments):
    assert quantumio("fsck", *arguments, fails=True).exit_code == 2


def test_fsck_tells_trouble_of_the_registry(quantumio, stored, repository):
    with sqlite3.connect(repository / "registry.sqlite3") as connection:
        connection.execute("DELETE FROM object")
    connection.close()
    done = quantumio("fsck", "--level", "0", fails=True)
    assert "broken_reference  (registry)" in done.stdout


def test_scrub_reads_a_part(quantumio, stored):
    assert quantumio("scrub", "--parts", "1").lines == ["2 datasets, 2 copies at level 2: 2 ok"]
    parts = [quantumio("scrub", "--parts", "2", "--part", part, "--json").document for part in (0, 1)]
    assert sum(one["datasets"] for one in parts) == 2
    assert quantumio("scrub", "--part", "30", fails=True).exit_code == 2
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[::-1])
    done = quantumio("scrub", "--parts", "1", "--repair", fails=True)
    assert (done.exit_code, "wrong_digest" in done.stdout) == (6, True)


@pytest.fixture
def dead(stored, repository, monkeypatch) -> Path:
    """Leave an object beside one of a committed context, that no dataset has."""
    monkeypatch.setattr("quantumio.engine._garbage.uuid_time_ns", lambda id_: 0)
    path = stored.with_name(stored.name.replace(".0.0.", ".0.9."))
    path.write_bytes(b"dead")
    os.utime(path, ns=(0, 0))
    return path


def remember(repository) -> None:
    with sqlite3.connect(repository / "registry.sqlite3") as connection:
        connection.execute("UPDATE gc_candidate SET first_seen = first_seen - 8 * 86400000000000")
    connection.close()


def test_gc_tells_and_removes_only_what_was_seen_before_and_is_allowed(quantumio, dead, repository):
    assert quantumio("gc").lines[-1] == "local: 3 objects: 2 named, 1 waiting"
    done = quantumio("gc", "--delete")
    assert done.lines[0].split() == ["kind", "destination", "path", "bytes", "detail"]
    assert done.lines[1].split()[:2] == ["waiting", "local"]
    remember(repository)
    assert quantumio("gc").lines[-1] == "local: 3 objects: 2 named, 1 removable"
    refused = quantumio("gc", "--delete", "--json", fails=True)
    assert (refused.error["kind"], refused.exit_code) == ("too_many_removals", 5)
    assert dead.exists()
    document = quantumio("gc", "--delete", "--yes-really", "1", "--json").document
    assert (document["dry_run"], document["complete"], document["left_off"]) == (False, True, 0)
    assert document["stores"] == [
        {
            "destination": "local",
            "objects": 3,
            "counts": {"named": 2, "removed": 1},
            "removable_bytes": 4,
        }
    ]
    (finding,) = document["findings"]
    assert (finding["kind"], finding["size"]) == ("removed", 4)
    assert not dead.exists()
    assert quantumio("gc").lines == ["local: 2 objects: 2 named"]


def test_gc_of_nothing_is_well(quantumio):
    assert quantumio("gc").lines == ["local: 0 objects: none"]


def test_gc_refuses_a_store_with_an_unknown_writer(quantumio, dead, repository):
    (repository / "data" / "_qio" / "session" / "01890000-0000-7000-8000-000000000000").write_text("{}")
    refused = quantumio("gc", "--json", fails=True)
    assert (refused.error["kind"], refused.exit_code) == ("unknown_session", 5)
    assert quantumio("gc", "--delete", "--adopt-sessions").exit_code == 0
    assert quantumio("gc").exit_code == 0


def test_gc_lists_what_is_left_off_and_fails_where_a_store_is_away(quantumio, dead, repository, monkeypatch):
    monkeypatch.setattr("quantumio.engine._garbage_report._MAX_FINDINGS", 1)
    (repository / "data" / "notes.txt").write_text("mine")
    assert "... and 1 more." in quantumio("gc").lines
    identity = repository / "data" / "_qio" / "store.json"
    identity.unlink()
    identity.write_text("{}")
    done = quantumio("gc", fails=True)
    assert (done.exit_code, "away" in done.stdout, "(all of it)" in done.stdout) == (6, True, True)


@pytest.mark.parametrize(
    "arguments",
    [("--grace", "0.5"), ("--grace", "nan"), ("--grace", "inf"), ("--yes-really", "-1")],
    ids=" ".join,
)
def test_gc_refuses_impatience(quantumio, arguments):
    assert quantumio("gc", *arguments, fails=True).exit_code == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_gc_shows_on_a_terminal_how_far_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with _progress(Call(as_json=True)) as told:
        assert told is None, "programs do not look"
    with _progress(Call()) as told:
        told(GarbageProgress(destination="local", looked_at=7, removed=2))
    assert "local: 7 looked at, 2 removed" in terminal.getvalue()


def test_flush_of_nothing_is_well(quantumio):
    assert quantumio("flush").lines == ["Nothing is left."]
    assert quantumio("flush", "--timeout", "5", "--json").document == {"items": []}


def test_repair_is_not_advised_where_it_puts_nothing_back():
    broken = FsckFinding(trouble=FsckTrouble.BROKEN_REFERENCE, ref=None, destination=None)
    missing = FsckFinding(trouble=FsckTrouble.MISSING, ref=None, destination="data")
    hints = []
    for findings in ([broken], [broken, missing]):
        tally = FsckTally(progress=None)
        for one in findings:
            tally.add(one)
        hints.append(_check_commands._failure(tally.report(1, repair=False)).hint)
    assert hints == [
        "restore the registry from a backup, and check again",
        "--repair puts back what another destination has",
    ]
