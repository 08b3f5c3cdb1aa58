"""What is on its way is told as what it is: in memory alone, or set aside after a restore."""

import threading

import numpy as np
import pytest

from quantumio import Butler, CommitParked, CommitParkedError, DatasetType
from quantumio.engine._committer import Committer

pytestmark = pytest.mark.on_disk


@pytest.fixture
def repo(tmp_path):
    rules = [{"datasets": "image", "mode": "immediate", "to": "local"}]
    with Butler.create(tmp_path / "repo", {"rules": rules}) as butler:
        butler.register_dataset_type(DatasetType("image", dimensions=["visit"], storage_class="NDArray"))
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    return tmp_path / "repo"


def test_a_context_in_memory_alone_is_told(repo, monkeypatch):
    may_go_on = threading.Event()
    prepare = Committer._prepare

    def wait(self, group):
        may_go_on.wait()
        return prepare(self, group)

    monkeypatch.setattr(Committer, "_prepare", wait)
    with Butler(repo, run="u/a", instrument="ST8") as butler:
        try:
            context = butler.context(ack="buffered")
            context.put({"a": 1}, "stats", visit=1)
            ticket = context.commit()
            for items in (butler.flush(timeout=0), butler.unfinished()):
                assert [(item.what, item.txid, item.action) for item in items] == [
                    ("context", ticket.txid, "carried")
                ]
        finally:
            may_go_on.set()
        butler.drain()
        assert butler.flush() == butler.unfinished() == []


def test_what_a_restore_sets_aside_is_told(repo):
    with Butler(repo, run="u/a", instrument="ST8") as butler:
        context = butler.context()
        context.put(np.ones(4), "image", visit=1)
        report = butler.recover(restored=True)
        left = butler.unfinished()
        assert [(item.action, item.txid) for item in report.items] == [("quarantined", context.txid)]
        assert report.items == left
        assert "put back from a backup" in left[0].detail
        assert butler.recover(restored=True).items == [], "it was told once"
        assert butler.flush() == []
        with pytest.raises(CommitParkedError, match="put back from a backup"):
            context.commit()
        butler.errors(acknowledge=True)
    with Butler(repo, run="u/a", instrument="ST8") as butler:
        assert isinstance(known := butler.ticket(context.txid), CommitParked)
        assert "put back from a backup" in known.reason
        assert ("quarantined", context.txid) in [(item.action, item.txid) for item in butler.unfinished()]
