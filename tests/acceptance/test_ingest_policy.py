"""Ingest goes where the policy says: every required destination before it returns, copies after."""

import numpy as np
import pytest
from astropy.table import Table

from quantumio import Butler, CommitUnknownError, DatasetType, InvalidInputError
from quantumio.destinations.files import FilesDestination
from quantumio.engine._committer import Committer
from quantumio.errors import DestinationError, ErrorKind
from quantumio.model import ArtifactState, CommitUnknown
from quantumio.registry import SqlCatalog
from quantumio.system import files

DESTINATIONS = {
    "archive": {"kind": "files", "root": "archive"},
    "volatile": {"kind": "memory"},
    "level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"},
}


@pytest.fixture
def open_with(tmp_path):
    opened = []

    def open_(to):
        rules = [{"storage_class": name, "to": to} for name in ("AstropyTable", "NDArray")]
        types = [
            DatasetType("image", dimensions=["visit", "detector"], storage_class="NDArray"),
            DatasetType("source", dimensions=["visit"], storage_class="AstropyTable"),
        ]
        with Butler.create(tmp_path / "repo", {"destinations": DESTINATIONS, "rules": rules}) as butler:
            for dataset_type in types if "level3" not in str(to) else types[1:]:
                butler.register_dataset_type(dataset_type)
        opened.append(Butler(tmp_path / "repo", run="u/a", instrument="ST8"))
        return opened[-1]

    yield open_
    for butler in opened:
        butler.close()


@pytest.fixture
def image(tmp_path):
    np.save(tmp_path / "image.npy", np.arange(12.0))
    return tmp_path / "image.npy"


@pytest.fixture
def source(tmp_path):
    Table({"x": [1, 2, 3]}).write(tmp_path / "source.ecsv")
    return tmp_path / "source.ecsv"


def states(butler, ref):
    return {place.destination: place.state for place in butler.where_is(ref)}


@pytest.mark.parametrize("transfer", ["copy", "link", "move", "direct"])
def test_every_required_destination_holds_the_bytes_when_it_returns(open_with, image, transfer, tmp_path):
    butler = open_with(["local", "archive"])
    (ref,) = butler.ingest(image, "image", visit=1, detector=0, transfer=transfer)
    first = "direct" if transfer == "direct" else "local"
    assert states(butler, ref) == {first: ArtifactState.OK, "archive": ArtifactState.OK}
    assert butler.fsck(2).counts == {"ok": 2}
    assert image.exists() == (transfer != "move")
    archived = list((tmp_path / "repo").glob("archive/**/*.npy"))
    assert len(archived) == 1
    assert archived[0].stat().st_nlink == 1, "a second link is no second copy"


@pytest.mark.parametrize("to", [["local", "archive?"], ["archive?", "local"]])
@pytest.mark.parametrize("transfer", ["copy", "direct"])
def test_best_effort_copies_follow(open_with, image, to, transfer):
    butler = open_with(to)
    (ref,) = butler.ingest(image, "image", visit=1, detector=0, transfer=transfer)
    butler.drain()
    first = "direct" if transfer == "direct" else "local"
    assert states(butler, ref) == {first: ArtifactState.OK, "archive": ArtifactState.OK}
    assert butler.unfinished() == []


def test_best_effort_rows_follow(open_with, source):
    butler = open_with(["local", "level3?"])
    (ref,) = butler.ingest(source, "source", visit=1)
    butler.drain()
    assert states(butler, ref) == {"local": ArtifactState.OK, "level3": ArtifactState.OK}
    assert butler.fsck(2).counts == {"ok": 2}


@pytest.mark.parametrize("transfer", ["copy", "direct"])
def test_a_required_table_is_refused_and_nothing_is_stored(open_with, source, transfer, tmp_path):
    butler = open_with(["local", "level3"])
    with pytest.raises(InvalidInputError, match=r"'source' to 'level3'.*put the value"):
        butler.ingest(source, "source", visit=1, transfer=transfer)
    assert butler.exists("source", visit=1) is False
    assert list((tmp_path / "repo").glob("data/**/*.ecsv")) == []
    assert butler.unfinished() == []


def test_a_required_destination_that_fails_leaves_nothing(open_with, image, tmp_path):
    butler = open_with(["local", "archive"])
    (tmp_path / "repo" / "archive").write_text("no directory")
    with pytest.raises(DestinationError, match="archive"):
        butler.ingest(image, "image", visit=1, detector=0, transfer="move")
    assert butler.exists("image", visit=1, detector=0) is False
    assert image.exists()
    assert list((tmp_path / "repo").glob("data/**/*.npy")) == []


@pytest.mark.parametrize("transfer", ["move", "direct"])
def test_a_commit_without_an_answer_is_read_back(open_with, image, monkeypatch, transfer):
    butler = open_with("local")
    flip = Committer.flip

    async def lose_the_answer(self, transaction):
        await flip(self, transaction)
        return CommitUnknown(txid=transaction.txid, reason="no answer")

    monkeypatch.setattr(Committer, "flip", lose_the_answer)
    (ref,) = butler.ingest(image, "image", visit=1, detector=0, transfer=transfer)
    assert ref.version == 1
    assert butler.get(ref).shape == (12,)


def test_on_unknown_nothing_is_removed(open_with, image, monkeypatch):
    butler = open_with("local")
    flip = Committer.flip

    async def lose_the_answer(self, transaction):
        await flip(self, transaction)
        return CommitUnknown(txid=transaction.txid, reason="no answer")

    def out_of_reach(self, txid):
        raise DestinationError("the registry is out of reach")

    with monkeypatch.context() as lost:
        lost.setattr(Committer, "flip", lose_the_answer)
        lost.setattr(SqlCatalog, "outcome", out_of_reach)
        with pytest.raises(CommitUnknownError, match="may or may not be visible") as raised:
            butler.ingest(image, "image", visit=1, detector=0, transfer="move")
    assert image.exists()
    assert butler.get("image", visit=1, detector=0).shape == (12,)
    (ref,) = butler.ticket(raised.value.outcome.txid).refs
    assert ref.version == 1


@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
def test_url_can_only_stay_where_it_is(open_with, image, transfer, tmp_path, monkeypatch):
    butler = open_with(["local"])
    monkeypatch.chdir(tmp_path)
    url = image.as_uri()
    lookalike = tmp_path / "file:" / url.removeprefix("file:///")
    lookalike.parent.mkdir(parents=True)
    lookalike.write_bytes(b"somebody else's")
    with pytest.raises(InvalidInputError, match="is a URL"):
        butler.ingest(url, "image", visit=1, detector=0, transfer=transfer)
    assert image.exists()
    assert lookalike.exists()
    assert list(butler.query("image")) == []


@pytest.mark.parametrize("to", [["volatile"], ["volatile", "local?"]])
def test_nothing_is_moved_to_where_it_would_end_with_the_process(open_with, image, to):
    butler = open_with(to)
    with pytest.raises(InvalidInputError, match="in memory alone"):
        butler.ingest(image, "image", visit=1, detector=0, transfer="move")
    assert image.exists()
    butler.ingest(image, "image", visit=1, detector=0)
    assert image.exists()


def test_source_that_cannot_be_removed_is_told_and_stops_no_other(open_with, image, tmp_path, monkeypatch):
    """What is committed is committed: a caller who was told of a failure would ingest it once more."""
    other = tmp_path / "other.npy"
    np.save(other, np.zeros(3))
    butler = open_with(["local"])
    real = files.remove

    def refuse(path):
        if path == image:
            raise PermissionError(13, "Permission denied", str(path))
        real(path)

    monkeypatch.setattr(files, "remove", refuse)
    found = []
    for visit, path in enumerate([image, other]):
        found += butler.ingest(path, "image", visit=visit, detector=0, transfer="move")
    assert [ref.version for ref in found] == [1, 1]
    assert image.exists()
    assert not other.exists()
    with pytest.raises(ExceptionGroup) as told:
        butler.drain()
    (error,) = told.value.exceptions
    assert error.kind is ErrorKind.PERMISSION
    assert "could not be removed from its old place" in str(error)
    butler.errors(acknowledge=True)


def test_first_failure_is_told_where_the_transaction_cannot_be_ended_either(open_with, image, monkeypatch):
    butler = open_with(["local"])

    def away(self, *arguments, **options):
        raise DestinationError("the registry does not answer", kind=ErrorKind.REGISTRY)

    def refuse(self, source, path, transfer):
        raise DestinationError("the disk is full", kind=ErrorKind.DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "abort_here", away)
        patch.setattr(FilesDestination, "adopt", refuse)
        with pytest.raises(DestinationError, match="the disk is full") as caught:
            butler.ingest(image, "image", visit=1, detector=0, transfer="move")
    assert "does not answer" in caught.value.__notes__[0]
    assert image.exists()
    assert list(butler.query("image")) == []
