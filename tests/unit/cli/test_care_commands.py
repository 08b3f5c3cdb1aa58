"""`quantumio fsck`."""

from pathlib import Path

import pytest


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
