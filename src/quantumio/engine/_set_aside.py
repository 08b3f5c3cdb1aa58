"""What was set aside: promised and lost to somebody who was first, or on its way when a backup was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from attrs import evolve, frozen

from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._standing import set_aside
from quantumio.errors import NotFoundError, QuantumioError
from quantumio.model import DatasetRef, Expectation, TransactionRecord
from quantumio.ports import Catalog

__all__ = ["SetAside", "SetAsideFile", "SetAsideOutput", "SetAsidePlace", "all_set_aside"]


@frozen(kw_only=True)
class SetAsideFile:
    """A file with the bytes of an output: the path, the format in which it is written, and its size."""

    path: Path
    format: str
    nbytes: int


@frozen(kw_only=True)
class SetAsidePlace:
    """Where something of an output may be: a destination, the path (or table) there, and the format."""

    destination: str
    path: str
    format: str


@frozen(kw_only=True)
class SetAsideOutput:
    """One output of a transaction that was set aside.

    Attributes
    ----------
    ref
        What it was to become; without version.
    expect
        Which version was to be the latest then (0: none), None for any.
    files
        Where its bytes are in the journal of this machine.
    places
        Where something of it may be at destinations, placed or not.
    """

    ref: DatasetRef
    expect: Expectation
    files: tuple[SetAsideFile, ...] = ()
    places: tuple[SetAsidePlace, ...] = ()


@frozen(kw_only=True)
class SetAside:
    """One transaction that nobody goes on with until somebody decides (`Butler.recover`).

    Attributes
    ----------
    txid
        Its identity.
    reason
        Why it was set aside.
    since_ns, host
        When (ns since 1970-01-01 UTC) and on which machine; None where that is not known.
    path
        Its directory in the journal; None where this machine's journal has nothing of it: it cannot be taken
        in, only dropped.
    nbytes
        What that takes.
    outputs
        Of the transaction; empty where they cannot be read.
    damage
        Why they cannot, or which of their files are not there with their size; None where nothing is wrong,
        as far as that is seen without reading the files.
    """

    txid: UUID
    reason: str
    since_ns: int | None = None
    host: str | None = None
    path: Path | None = None
    nbytes: int = 0
    outputs: tuple[SetAsideOutput, ...] = ()
    damage: str | None = None


def all_set_aside(catalog: Catalog, journal: Journal) -> list[SetAside]:
    """Return all that was set aside, the oldest first. Blocks.

    Raises
    ------
    QuantumioError
        The registry or the journal cannot be read.
    """
    rows = {record.txid: record for record in catalog.quarantined()}
    entries = [entry for entry in journal.entries() if entry.state is JournalState.CONFLICT]
    found = {txid: _of_row(record) for txid, record in rows.items()}
    for entry in entries:
        try:
            kept = _of_entry(entry)
        except NotFoundError:  # somebody has just decided what becomes of it
            continue
        if entry.txid in found:
            kept = evolve(kept, outputs=_with_places(kept.outputs, found[entry.txid].outputs))
        found[entry.txid] = kept
    return [found[txid] for txid in sorted(found)]


def _of_row(record: TransactionRecord) -> SetAside:
    outputs = () if record.transaction is None else record.transaction.outputs
    return SetAside(
        txid=record.txid,
        reason=set_aside(record) or "",
        outputs=tuple(
            SetAsideOutput(
                ref=one.ref,
                expect=one.expect,
                places=tuple(
                    SetAsidePlace(destination=place.destination, path=place.path, format=place.format)
                    for place in one.artifacts
                ),
            )
            for one in outputs
        ),
        damage=record.damage,
    )


def _of_entry(entry: JournalEntry) -> SetAside:
    damages = []
    reason, since_ns, host = "it is not known why", None, None
    outputs: tuple[SetAsideOutput, ...] = ()
    try:
        note = entry.note()
        reason, since_ns, host = note.reason, note.time_ns, note.host
    except NotFoundError:
        raise
    except QuantumioError as error:
        damages.append(str(error))
    try:
        manifest = entry.manifest()
        outputs = tuple(
            SetAsideOutput(
                ref=output.ref,
                expect=output.expect,
                files=tuple(
                    SetAsideFile(path=entry.blob_path(blob), format=blob.format.name, nbytes=blob.nbytes)
                    for blob in manifest.blobs
                    if blob.output == number
                ),
            )
            for number, output in enumerate(manifest.transaction.outputs)
        )
        damages += entry.damages(manifest)
    except NotFoundError:
        raise
    except QuantumioError as error:
        damages.append(str(error))
    return SetAside(
        txid=entry.txid,
        reason=reason,
        since_ns=since_ns,
        host=host,
        path=entry.path,
        nbytes=entry.nbytes(),
        outputs=outputs,
        damage="; ".join(damages) or None,
    )


def _with_places(
    outputs: Sequence[SetAsideOutput], planned: Sequence[SetAsideOutput]
) -> tuple[SetAsideOutput, ...]:
    """Say of outputs in the journal also where the registry has planned them."""
    places = {one.ref.id: one.places for one in planned}
    return tuple(evolve(one, places=places.get(one.ref.id, ())) for one in outputs)
