"""What becomes of an entry of the journal when it is recovered; nothing is changed by looking."""

from __future__ import annotations

from collections.abc import Sequence, Set
from uuid import UUID

from quantumio.engine._journal import upstream_first
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._journal_manifest import JournalManifest
from quantumio.engine._recovery_report import RecoveryItem
from quantumio.engine._standing import Owning, how_to_own, set_aside
from quantumio.errors import NotFoundError, QuantumioError
from quantumio.model import Committed, TransactionRecord
from quantumio.ports import Catalog

__all__ = ["look_at_entries", "over", "read_all", "still_needs"]


def over(record: TransactionRecord | None, catalog: Catalog) -> Committed | str | None:
    """Return how a transaction has ended, or why it will never be visible; None where it may go on."""
    owning = how_to_own(record)
    if record is None or owning not in (Owning.FINISHED, Owning.OVER):
        return None
    if owning is Owning.OVER:
        return set_aside(record) or f"it was ended: {record.reason or record.state}"
    if isinstance(outcome := catalog.outcome(record.txid), Committed):
        return outcome
    return "an earlier attempt under its key had committed, and was deleted since"


def read_all(entry: JournalEntry, manifest: JournalManifest) -> None:
    """Read the bytes of an entry, as who carries it does first.

    Raises
    ------
    DestinationError
        They are damaged (``kind="corrupt"``), or cannot be read now.
    NotFoundError
        The entry is gone: somebody has finished it.
    """
    for blob in manifest.blobs:
        entry.read(blob)


def still_needs(upstream: UUID) -> str:
    """Say why an entry waits for another one.

    Somebody else carries that just now, or it has to be mended first: it is not for ever.
    """
    return f"it needs transaction {upstream}, which is in the journal still"


def look_at_entries(entries: Sequence[JournalEntry], catalog: Catalog) -> list[RecoveryItem]:
    """Tell what recovery would do with entries that nobody has set aside. Blocks; reads them."""
    told: dict[UUID, tuple[str, str]] = {}
    ready: list[tuple[JournalEntry, JournalManifest]] = []
    staying: set[UUID] = set()
    for entry in entries:
        if held := entry.held_by():
            told[entry.txid] = "held", held
            staying.add(entry.txid)
        elif entry.state is not JournalState.READY:
            told[entry.txid] = "remove", ""
        else:
            try:
                ready.append((entry, entry.manifest()))
            except NotFoundError:  # somebody has finished it meanwhile
                continue
            except (QuantumioError, OSError) as error:
                told[entry.txid] = "left", str(error)
                staying.add(entry.txid)
    for entry, manifest in upstream_first(ready):
        try:
            told[entry.txid] = action, _ = _look(entry, manifest, staying, catalog)
        except NotFoundError:
            continue
        if action == "left":
            staying.add(entry.txid)
    return [
        RecoveryItem(what="journal", txid=one.txid, action=told[one.txid][0], detail=told[one.txid][1])
        for one in entries
        if one.txid in told
    ]


def _look(
    entry: JournalEntry, manifest: JournalManifest, staying: Set[UUID], catalog: Catalog
) -> tuple[str, str]:
    """Return what recovery would do with an entry, and why, where some others stay in the journal."""
    if upstream := [txid for txid in manifest.transaction.requires if txid in staying]:
        return "left", still_needs(upstream[0])
    ended = over(catalog.transaction(entry.txid), catalog)
    if ended is not None:
        return ("remove", "it is committed") if isinstance(ended, Committed) else ("conflict", ended)
    try:
        read_all(entry, manifest)
    except NotFoundError:
        raise
    except (QuantumioError, OSError) as error:
        return "left", str(error)
    return "carry", ""
