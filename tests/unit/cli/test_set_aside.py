"""`quantumio pending --show`, `recover --retry` and `--drop`, and what `status` says of them."""

import uuid

import pytest

from quantumio import Butler
from quantumio.system import files

pytestmark = pytest.mark.on_disk


@pytest.fixture
def aside(repository) -> str:
    """Set a context aside that another was quicker than; return its transaction."""
    with Butler(repository, run="u/ada", instrument="ST8") as butler:
        with butler.context() as winner:
            winner.put({"late": False}, "stats", visit=1)
        context = butler.context(ack="journaled")
        context.put({"late": True}, "stats", visit=1, expect="create")
        context.put("late", "log", visit=1)
        context.put({"late": True}, "stats", visit=2, expect=7)
        context.commit()
        with pytest.raises(ExceptionGroup):
            butler.drain()
        butler.errors(acknowledge=True)
    return str(context.txid)


def test_status_counts_what_it_takes(quantumio, aside, repository):
    (found,) = quantumio("status", "--json").document["repositories"]
    directory = repository / "journal" / f"{aside}.conflict"
    nbytes = sum(path.stat().st_size for path in directory.iterdir())
    assert found["set_aside"] == {"transactions": 1, "size": nbytes}
    assert found["pending"] == [], "it is not on its way"
    assert "set aside      1, " in quantumio("status").stdout
    quantumio("recover", "--drop", aside)
    assert "set aside      0" in quantumio("status").stdout


def test_it_is_shown_with_all_that_a_decision_needs(quantumio, aside, repository):
    shown = quantumio("pending", "--show", aside)
    assert f"transaction  {aside}" in shown.lines
    for text in ("none was expected", "no version", "any version", "version 7", "size", "since"):
        assert text in shown.stdout
    assert shown.lines[-2:] == [
        f"To commit it: quantumio recover --retry {aside} [--as-next]",
        f"To remove it: quantumio recover --drop {aside}",
    ]
    (found,) = quantumio("pending", "--show", aside, "--json").document["set_aside"]
    assert (found["transaction"], found["damage"]) == (aside, None)
    assert found["directory"] == str(repository / "journal" / f"{aside}.conflict")
    assert [(one["dataset_type"], one["expect"]) for one in found["outputs"]] == [
        ("stats", 0),
        ("log", None),
        ("stats", 7),
    ]
    (file,) = found["outputs"][1]["files"]
    with open(file["file"]) as text:
        assert text.read() == "late"


def test_it_is_taken_in_or_dropped(quantumio, aside):
    assert "retry" in quantumio("recover", "--retry", aside, "--dry-run").lines[1].split()
    refused = quantumio("recover", "--retry", aside, fails=True)
    assert (refused.exit_code, "--as-next" in refused.stderr) == (6, True)
    assert "it stays set aside" in refused.stdout
    document = quantumio("recover", "--retry", aside, "--as-next", "--json").document
    assert (document["clean"], document["dry_run"]) == (True, False)
    assert [(one["transaction"], one["action"]) for one in document["items"]] == [(aside, "committed")]
    assert quantumio("pending").lines == ["Nothing is on its way."]
    assert quantumio("query", "stats", "--json").document["count"] == 2


def test_recovery_that_sets_aside_says_what_to_do(quantumio, aside, repository):
    directory = repository / "journal" / f"{aside}.conflict"
    directory.rename(directory.with_suffix(".ready"))  # as who died before it was set aside has left it
    (found,) = quantumio("status", "--json").document["repositories"]
    assert (found["pending"], found["set_aside"]["transactions"]) == ([aside], 0)
    done = quantumio("recover", fails=True)
    assert "conflict" in done.lines[1].split()
    assert "quantumio pending --show" in done.stderr
    assert directory.is_dir()


def test_what_was_placed_of_a_backup_is_shown(quantumio, repository, aside):
    quantumio("recover", "--drop", aside)
    with Butler(repository, run="u/ada", instrument="ST8") as butler:
        context = butler.context()
        context._context._policies = butler._session.policies[str(repository)]
        context.put({"undecided": True}, "stats", visit=5)
        butler._session.repositories[0].runtime.prepare_now(context._context.intent())
        butler.recover(restored=True)
        context.abort()
        butler.errors(acknowledge=True)
    (found,) = quantumio("status", "--json").document["repositories"]
    assert (found["pending"], found["set_aside"]) == ([], {"transactions": 1, "size": 0})
    shown = quantumio("pending", "--show", context.txid)
    assert "perhaps at local" in shown.stdout
    assert "Its bytes are not in the journal of this machine." in shown.lines
    left = quantumio("recover", "--retry", context.txid, fails=True)
    assert "the journal of this machine has no bytes of it" in left.stdout
    assert "dropped" in quantumio("recover", "--drop", context.txid).stdout


def test_what_is_none_is_refused(quantumio, aside):
    assert quantumio("pending", "--show", "x", fails=True).exit_code == 2
    assert quantumio("pending", "--show", uuid.uuid4(), fails=True).exit_code == 3
    assert quantumio("recover", "--drop", uuid.uuid4(), fails=True).exit_code == 3
    assert quantumio("recover", "--as-next", fails=True).exit_code == 2


def test_damage_is_shown(quantumio, aside, repository):
    (repository / "journal" / f"{aside}.conflict" / "manifest.json").write_text("{")
    shown = quantumio("pending", "--show", aside)
    assert "damage" in shown.stdout
    assert quantumio("recover", "--drop", aside).exit_code == 0


def test_journal_of_somebody_else_is_told(quantumio, aside, repository, monkeypatch):
    real = files.list_directory

    def refuse(path):
        if path == repository / "journal":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(files, "list_directory", refuse)
    (found,) = quantumio("status", "--json").document["repositories"]
    assert (found["pending"], found["set_aside"]) == ([], None)
    assert "Permission denied" in found["unreadable"][0]
    shown = quantumio("status").stdout
    assert "pending        0, and what is in the journal" in shown
    assert "set aside      not known" in shown
    assert "unreadable" in quantumio("pending").stdout
    assert quantumio("pending", "--show", aside, fails=True).exit_code == 6
