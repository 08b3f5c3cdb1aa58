"""A transaction to be journaled, and what a process does with it until it dies at any point."""

import hashlib
from pathlib import Path
from uuid import UUID

from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.engine._journal_manifest import JournalTarget
from quantumio.engine._output import Encoded
from quantumio.engine._policy import ROWS
from quantumio.model import (
    Artifact,
    ArtifactState,
    DataId,
    DatasetRef,
    DatasetType,
    FollowUp,
    FollowUpKind,
    FormatChoice,
    OutputRecord,
    Transaction,
)

TXID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OTHER = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
NPY, RICE, PARQUET = (
    FormatChoice("npy"),
    FormatChoice("fits", {"compression": "rice"}),
    FormatChoice("parquet"),
)
REASON = "version 2 of stats(visit=1) was committed by somebody else: é\n"

# of each output: the bytes in each format, and the destinations
CONTENT = {
    (0, NPY): b"pixels" * 30,
    (0, RICE): b"",
    (1, PARQUET): bytes(range(256)) * 9000,  # several pieces
}
TARGETS = (
    (
        JournalTarget(destination="local", required=True, format=NPY),
        JournalTarget(destination="archive", required=True, format=RICE),
        JournalTarget(destination="mirror", required=False, format=FormatChoice("asdf")),
    ),
    (JournalTarget(destination="level3", required=True, format=ROWS),),
    (JournalTarget(destination="local", required=True, format=NPY),),
)


def encode(data):
    """Encode bytes in pieces, some of them empty, some no bytes but views."""
    chunks = (data[:5], memoryview(data[5:70]), b"", bytearray(data[70:]))
    return Encoded(chunks=chunks, nbytes=len(data), digest=hashlib.sha256(data).hexdigest())


def artifact(destination, state):
    return Artifact(
        destination=destination,
        path=f"pixels/r/{TXID}.0.0.npy",
        format="npy",
        digest="0" * 64,
        nbytes=1,
        load_id=OTHER if destination == "level3" else None,
        state=state,
    )


def output(number, *artifacts):
    dataset_type = DatasetType("pixels", dimensions=["instrument", "visit"], storage_class="NDArray")
    data_id = DataId({"instrument": "ST8", "visit": number})
    ref = DatasetRef(UUID(int=TXID.int + number), dataset_type, data_id, "u/ada/night")
    return OutputRecord(ref=ref, expect="latest", artifacts=artifacts)


def transaction(txid=TXID, **changes):
    values = {
        "txid": txid,
        "run": "u/ada/night",
        "key": "visit=1 ünï",
        "outputs": (
            output(1, artifact("local", ArtifactState.PENDING)),
            output(2, artifact("level3", ArtifactState.PENDING)),
            output(3, artifact("local", ArtifactState.OK)),  # it is there already, and has left memory
        ),
        "inputs": (OTHER,),
        "requires": (OTHER,),
        "follow_ups": (FollowUp(kind=FollowUpKind.REPLICATE, destination="mirror"),),
        "generation": 2,
        "journaled": True,
    }
    return Transaction(**{**values, **changes})


def encodings(content=CONTENT):
    return [(number, choice, encode(data)) for (number, choice), data in content.items()]


def journal(root, **options):
    Path(root).parent.mkdir(parents=True, exist_ok=True)  # the repository
    return Journal(Path(root), **{"min_free_bytes": 0, "allow_volatile": True, **options})


def write(journal, txid=TXID):
    return journal.write(transaction=transaction(txid), targets=TARGETS, encodings=encodings())


def verify(entry):
    """Hold an entry to be whole, to the last byte."""
    manifest = entry.manifest()
    assert manifest.transaction == transaction(entry.txid)
    assert manifest.targets == TARGETS
    assert {(blob.output, blob.format) for blob in manifest.blobs} == {
        (number, FormatChoice(choice.name, dict(choice.options))) for number, choice in CONTENT
    }
    for blob in manifest.blobs:
        encoded = entry.read(blob)
        data = b"".join(encoded.chunks)
        assert data == CONTENT[blob.output, blob.format]
        assert (encoded.nbytes, encoded.digest) == (len(data), hashlib.sha256(data).hexdigest())


# ---------------------------------------------------------------------------- deaths


def nothing_yet(repository):
    repository.mkdir()


def ready(repository):
    repository.mkdir()
    write(journal(repository / "journal")).release()


def unfinished(repository):
    ready(repository)
    root = repository / "journal"
    (root / f"{TXID}.ready").rename(root / f"{TXID}.tmp")


def only(repository):
    (entry,) = journal(repository / "journal").entries()
    assert entry.lock()
    return entry


def writes(repository, acknowledge):
    entry = write(journal(repository / "journal"))
    acknowledge("written")
    assert entry.is_locked


def finishes(repository, acknowledge):
    only(repository).finish()
    acknowledge("finished")


def keeps(repository, acknowledge):
    only(repository).keep_as_conflict(REASON)
    acknowledge("kept")


def discards(repository, acknowledge):
    only(repository).discard()
    acknowledge("finished")


def check(repository, crash):
    """Settle what a dead process has left, as a recovery does."""
    found = journal(repository / "journal")
    assert found.foreign() == []
    states = [entry.state for entry in found.entries()]
    assert len(states) <= 1
    if "written" in crash.acknowledged:
        assert states == [JournalState.READY]
    if "kept" in crash.acknowledged:
        assert states == [JournalState.CONFLICT]
    if "finished" in crash.acknowledged:
        assert states == []
    for entry in found.entries():
        settle(entry)
    assert [path.name for path in (repository / "journal").glob("*")] in ([], ["LOCK"])
    verify(write(found))


def settle(entry):
    assert entry.lock()
    if entry.state in (JournalState.TMP, JournalState.DONE):
        entry.discard()
        return
    verify(entry)
    if entry.state is JournalState.READY:
        entry.keep_as_conflict(REASON)
    assert entry.note().reason == REASON
    verify(entry)
    assert entry.lock()
    entry.finish()
