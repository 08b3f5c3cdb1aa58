"""What is known of a transaction that this process does not carry."""

from __future__ import annotations

from uuid import UUID

from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.engine._standing import set_aside
from quantumio.errors import ErrorKind
from quantumio.model import CommitFailed, CommitOutcome, CommitParked, TransactionState
from quantumio.ports import LEASE_OVER, Catalog

__all__ = ["known_outcome"]


def known_outcome(txid: UUID, catalog: Catalog, journal: Journal) -> CommitOutcome | None:
    """Return what the registry and the journal say of a transaction; None if they know nothing of it.

    Raises
    ------
    QuantumioError
        The registry or the journal cannot be read.
    """
    if committed := catalog.outcome(txid):
        return committed
    record = catalog.transaction(txid)
    if record is not None and (reason := set_aside(record)) is not None:
        return CommitParked(txid=txid, reason=reason)
    if record is not None and record.state is TransactionState.ABORTED and record.reason != LEASE_OVER:
        return CommitFailed(txid=txid, kind=ErrorKind.ABORTED, message=f"it was ended: {record.reason}")
    if any(entry.txid == txid and entry.state is JournalState.READY for entry in journal.entries()):
        return CommitParked(txid=txid, reason="it is in the journal, for `recover` to go on")
    if record is None:
        return None
    if record.state is TransactionState.ABORTED:
        return CommitFailed(
            txid=txid,
            kind=ErrorKind.ABORTED,
            message="it was ended: its process was not heard of for longer than its lease",
        )
    reason = f"it is on its way in process {record.owner} on {record.owner_host or 'some machine'}"
    if record.lease_over:
        reason += ", which was not heard of for longer than its lease: `recover` decides"
    return CommitParked(txid=txid, reason=reason)
