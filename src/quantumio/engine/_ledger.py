"""The error ledger: no background failure is ever lost."""

from __future__ import annotations

import threading
from uuid import UUID

from quantumio.errors import DestinationError, ErrorKind, QuantumioError
from quantumio.model import DatasetRef, LedgerEntry
from quantumio.system import environment

__all__ = ["ErrorLedger"]


class ErrorLedger:
    """Background failures, each once, until acknowledged.

    A failure that was raised to a caller who waited for it is *delivered*: it stays listed until
    acknowledged, but `raise_undelivered` does not raise it again.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # an abandoned context may be collected under it
        self._entries: dict[int, LedgerEntry] = {}
        self._undelivered: set[int] = set()
        self._next = 1

    def add(
        self,
        kind: ErrorKind,
        message: str,
        *,
        txid: UUID | None = None,
        ref: DatasetRef | None = None,
        destination: str | None = None,
    ) -> None:
        """Record one failure."""
        with self._lock:
            entry = LedgerEntry(
                number=self._next,
                time_ns=environment.now_ns(),
                txid=txid,
                ref=ref,
                destination=destination,
                kind=kind,
                message=message,
            )
            self._entries[entry.number] = entry
            self._undelivered.add(entry.number)
            self._next += 1

    def entries(self) -> list[LedgerEntry]:
        """Failures that nobody has acknowledged yet, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def acknowledge(self) -> list[LedgerEntry]:
        """Return the failures and forget them."""
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
            self._undelivered.clear()
            return entries

    def deliver(self, txid: UUID) -> None:
        """Note that the failures of a transaction were raised to a caller."""
        with self._lock:
            self._undelivered -= {entry.number for entry in self._entries.values() if entry.txid == txid}

    def raise_undelivered(self) -> None:
        """Raise what nobody was told yet, as one group with a note per dataset.

        Raises
        ------
        ExceptionGroup
            Of `QuantumioError`.
        """
        with self._lock:
            entries = [self._entries[number] for number in sorted(self._undelivered)]
            self._undelivered.clear()
        if entries:
            raise ExceptionGroup(
                f"{len(entries)} background failures", [_as_error(entry) for entry in entries]
            )


def _as_error(entry: LedgerEntry) -> QuantumioError:
    error = DestinationError(entry.message, kind=entry.kind)
    where = f" at destination {entry.destination!r}" if entry.destination else ""
    error.add_note(f"{entry.ref or f'transaction {entry.txid}'}{where}")
    return error
