"""Somebody puts a backup of the registry back while a process has the repository open."""

import sqlite3
from contextlib import closing

import pytest

from quantumio import Butler, CommitParkedError, DatasetType, QuantumioError

pytestmark = pytest.mark.on_disk


def test_what_is_committed_meanwhile_is_kept_for_the_registry_that_is_there_then(tmp_path):
    """It was committed into the file that had lost its name, and was gone with the process."""
    root = tmp_path / "night"
    with Butler.create(root) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    registry, backup = root / "registry.sqlite3", tmp_path / "backup.sqlite3"
    with closing(sqlite3.connect(registry)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    butler = Butler(root, run="r", instrument="ST8")
    for file in root.glob("registry.sqlite3*"):
        file.unlink()
    backup.rename(registry)
    with pytest.raises(CommitParkedError, match="replaced by another one"), butler.context() as context:
        context.put({"n": 1}, "stats", visit=1)
    butler.close()
    with Butler(root, run="r", instrument="ST8") as butler:
        assert butler.recover().is_clean
        assert butler.get("stats", visit=1) == {"n": 1}
        assert butler.ticket(context.txid).refs == butler.query("stats").page().refs


def test_nothing_is_acknowledged_where_a_repository_was_that_was_moved_away(tmp_path):
    """A journal that was made anew there would never be looked at."""
    root = tmp_path / "night"
    with Butler.create(root) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    butler = Butler(root, run="r", instrument="ST8")
    with butler.context() as context:
        context.put({"n": 1}, "stats", visit=1)
    root.rename(tmp_path / "moved")
    with pytest.raises(QuantumioError) as failure, butler.context(ack="journaled") as context:
        context.put({"n": 2}, "stats", visit=2)
    assert "moved away" in str(failure.value)
    butler.close()
    assert not root.exists()
    with Butler(tmp_path / "moved", run="r", instrument="ST8") as butler:
        assert butler.recover().is_clean
        assert [ref.data_id["visit"] for ref in butler.query("stats")] == [1]
