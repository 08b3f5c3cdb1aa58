"""The way back for what was set aside: it is taken in again, or dropped for good, as somebody says.

The bytes of a conflict stay in its journal entry until the registry says that another transaction, a retry,
has made them visible. The retry's identity follows from the first one's (`retry_of`), and the entry is locked
meanwhile: so whoever comes after a death finds what became of it, and nothing is committed twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

import anyio
from attrs import evolve

from quantumio.engine._abandoned import end_abandoned
from quantumio.engine._entry_fate import read_all
from quantumio.engine._follow_ups import FollowUps, clean_up
from quantumio.engine._journal import Journal, upstream_first
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._journal_manifest import JournalManifest
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._owner import Owner
from quantumio.engine._recovery_report import RecoveryItem, told, told_set_aside
from quantumio.engine._sessions import KnownStores
from quantumio.engine._standing import is_taken_in, last_retry
from quantumio.errors import ErrorKind, QuantumioError
from quantumio.model import CommitOutcome, Committed, Transaction, TransactionRecord, TransactionState
from quantumio.ports import Catalog
from quantumio.system import threads
from quantumio.system.failpoints import reach

__all__ = ["Carry", "WayBack"]

Carry = Callable[[JournalManifest, JournalEntry, int, int], Awaitable[CommitOutcome]]
"""Brings a context of the journal to its outcome, at an epoch and a generation."""

_DROPPED: Final = "dropped"
"""Reason of a transaction that was in quarantine until somebody decided what becomes of it."""

_NAMED: Final = 3
"""Of so many outputs a report tells the names."""


class WayBack:
    """Takes in again, or drops, what was set aside in one repository. Every step may be done again."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        journal: Journal,
        owner: Owner,
        follow_ups: FollowUps,
        ledger: ErrorLedger,
        carry: Carry,
    ) -> None:
        self._catalog = catalog
        self._journal = journal
        self._owner = owner
        self._follow_ups = follow_ups
        self._ledger = ledger
        self._carry = carry
        self._alone: anyio.Lock | None = None

    # -- looking
    def knows(self, txid: UUID) -> bool:
        """Whether a transaction is set aside here, or was and somebody has decided about it. Blocks."""
        if self._entry(txid) is not None or self._in_quarantine(txid) is not None:
            return True
        record = self._catalog.transaction(txid)
        return (record is not None and record.state is TransactionState.ABORTED) or self._last(txid)[1]

    def look(self, txid: UUID, action: str) -> RecoveryItem:
        """Tell what would be tried (``retry`` or ``drop``) of one, and do nothing. Blocks."""
        last, is_committed = self._last(txid)
        if is_committed:
            return self._told_taken_in(txid, last)
        if (entry := self._entry(txid)) is None:
            return self._look_without_bytes(txid, action)
        if held := entry.held_by():
            return _item(txid, "held", held)
        if action == "retry" and (damage := self._damage(entry)):
            return _item(txid, "left", damage)
        return _item(txid, action, f"{entry.nbytes()} bytes in {entry.path}")

    @staticmethod
    def _damage(entry: JournalEntry) -> str:
        """Tell why one cannot be taken in: it is read to its end."""
        try:
            read_all(entry, entry.manifest())
        except (QuantumioError, OSError) as error:
            return str(error)
        return ""

    def look_at_all(self, kept: Iterable[JournalEntry]) -> list[RecoveryItem]:
        """Tell what recovery would do with what is set aside, and do nothing. Blocks."""
        items = []
        for entry in kept:
            _, is_committed = self._last(entry.txid)
            action, detail = ("remove", "it was taken in") if is_committed else ("left", _HOW)
            items.append(_item(entry.txid, action, detail))
        return items

    def _look_without_bytes(self, txid: UUID, action: str) -> RecoveryItem:
        record = self._in_quarantine(txid)
        if record is None:
            return self._nothing_kept(txid, action)
        return told_set_aside(record, action) if action == "drop" else _elsewhere(txid)

    def _kept(self) -> Iterator[JournalEntry]:
        return (entry for entry in self._journal.entries() if entry.state is JournalState.CONFLICT)

    def _entry(self, txid: UUID) -> JournalEntry | None:
        return next((entry for entry in self._kept() if entry.txid == txid), None)

    def _in_quarantine(self, txid: UUID) -> TransactionRecord | None:
        return next((record for record in self._catalog.quarantined() if record.txid == txid), None)

    def _last(self, txid: UUID) -> tuple[UUID, bool]:
        """Return the last retry, or the next one, and whether it is committed."""
        last, record = last_retry(txid, self._catalog.transaction)
        return last, record is not None and record.state is TransactionState.COMMITTED

    # -- taking in again
    async def retry(self, txids: Sequence[UUID], *, as_next: bool) -> list[RecoveryItem]:
        """Commit the outputs under a transaction of their own; first what others of them need.

        Parameters
        ----------
        as_next
            Whether that is done whatever was committed meanwhile.
        """
        items: list[RecoveryItem] = []
        if self._alone is None:  # made on the loop that it belongs to
            self._alone = anyio.Lock()
        async with self._alone:  # who asks again while one goes on whose waiting was broken off waits for it
            ready = await threads.run(self._lock, txids, items)
            try:
                for entry, manifest in upstream_first(ready):
                    items += await self._retry(entry, manifest, as_next=as_next)
            finally:
                for entry, _ in ready:
                    entry.release()
        return items

    def _lock(
        self, txids: Sequence[UUID], items: list[RecoveryItem]
    ) -> list[tuple[JournalEntry, JournalManifest]]:
        """Take the entries that nobody else works on; of the others it is told why they are left."""
        ready = []
        for txid in dict.fromkeys(txids):
            entry = self._entry(txid)
            try:
                if entry is None:
                    items.append(self._without_bytes(txid, "retry"))
                elif entry.lock():
                    ready.append((entry, entry.manifest()))
                else:
                    items.append(_held(entry))
            except (QuantumioError, OSError) as error:
                if entry is not None:
                    entry.release()
                items.append(self._left(txid, error))
        return ready

    async def _retry(
        self, entry: JournalEntry, manifest: JournalManifest, *, as_next: bool
    ) -> list[RecoveryItem]:
        try:
            again, is_committed = await threads.run(self._settle, entry.txid)
            if is_committed:
                return await threads.run(self._close, entry, again)
            transaction = await threads.run(self._again, manifest.transaction, again, as_next)
            reach("retry.before")
            outcome = await self._carry(evolve(manifest, transaction=transaction), entry, 0, 0)
            reach("retry.after")
            if not is_taken_in(outcome):
                # Nobody carries it on, or nobody knows: asked again, the registry may have an answer.
                again, is_committed = await threads.run(self._settle, entry.txid)
                if not is_committed:
                    return [_not_taken_in(entry.txid, outcome)]
            return await threads.run(self._close, entry, again)
        except (QuantumioError, OSError) as error:
            return [self._left(entry.txid, error)]

    def _again(self, transaction: Transaction, txid: UUID, as_next: bool) -> Transaction:
        """Return the transaction that takes the outputs of one in, which it requires to be taken in first."""
        requires = tuple(self._stands_for(upstream) for upstream in transaction.requires)
        again = evolve(transaction, txid=txid, requires=requires, epoch=0, generation=0, journaled=False)
        if not as_next:
            return again
        outputs = tuple(evolve(output, expect=None) for output in transaction.outputs)
        return evolve(again, outputs=outputs, unchanged=())

    def _stands_for(self, upstream: UUID) -> UUID:
        """Return the transaction in which an input is visible, if it was set aside and taken in."""
        record = self._catalog.transaction(upstream)
        if record is None or record.state in (TransactionState.COMMITTED, TransactionState.PREPARING):
            return upstream
        last, is_committed = self._last(upstream)
        return last if is_committed else upstream

    def _settle(self, txid: UUID) -> tuple[UUID, bool]:
        """End what an earlier retry has left undecided; return the one that is committed, or the next.

        Whoever calls it holds the lock of the entry: nobody carries a retry but those who died or gave up.
        """
        known = KnownStores(self._catalog)
        while True:
            last, record = last_retry(txid, self._catalog.transaction)
            if record is None or record.state is TransactionState.COMMITTED:
                return last, record is not None
            reach("retry.end.before")
            end_abandoned(
                record, known, catalog=self._catalog, owner=self._owner, follow_ups=self._follow_ups
            )
            reach("retry.end.after")

    # -- the end of what was set aside
    def drop(self, txid: UUID) -> list[RecoveryItem]:
        """Give one up for good: its bytes and what the registry knows of it as undecided. Blocks."""
        entry = self._entry(txid)
        try:
            if entry is None:
                return [self._without_bytes(txid, "drop")]
            if not entry.lock():
                return [_held(entry)]
            last, is_committed = self._settle(txid)
            if is_committed:
                return self._close(entry, last)
            return self._drop(entry)
        except (QuantumioError, OSError) as error:
            return [self._left(txid, error)]
        finally:
            if entry is not None:
                entry.release()

    def close_taken_in(self, kept: Iterable[JournalEntry]) -> list[RecoveryItem]:
        """Remove what a process left that died when a retry of its had just committed. Blocks."""
        items: list[RecoveryItem] = []
        for entry in kept:
            try:
                if self._last(entry.txid)[1] and entry.lock():
                    items += self._close(entry, self._last(entry.txid)[0])
            except (QuantumioError, OSError) as error:
                items.append(self._left(entry.txid, error))
            finally:
                entry.release()
        return items

    def _without_bytes(self, txid: UUID, action: str) -> RecoveryItem:
        """Do what is to be done with one that has no entry in this journal."""
        last, is_committed = self._last(txid)
        if not is_committed and action == "retry":
            return self._look_without_bytes(txid, action)
        left = self._drop_row(txid)
        if is_committed:
            return self._told_taken_in(txid, last)
        return self._nothing_kept(txid, action) if left is None else _item(txid, _DROPPED, left)

    def _nothing_kept(self, txid: UUID, action: str) -> RecoveryItem:
        """Tell of one of which there is nothing to decide about: why not, as far as that is known."""
        record = self._catalog.transaction(txid)
        reason = record.reason if record is not None else None
        if action == "retry":
            return _item(txid, "left", f"nothing is kept of it ({reason or 'nobody knows it any more'})")
        if reason == _DROPPED:
            return _item(txid, _DROPPED, "nothing is kept of it any more")
        return _item(txid, "nothing", f"nothing was set aside, or it is gone ({reason or 'nobody knows it'})")

    def _drop(self, entry: JournalEntry) -> list[RecoveryItem]:
        left = self._drop_row(entry.txid)
        nbytes = entry.nbytes()
        try:
            entry.finish()
        except (QuantumioError, OSError) as error:
            is_gone = entry.state is not JournalState.CONFLICT  # renamed, it comes back no more
            dropped = [_item(entry.txid, _DROPPED, left or "")] if is_gone else []
            return [*dropped, self._left(entry.txid, error)]
        return [_item(entry.txid, _DROPPED, left or f"{nbytes} bytes are free")]

    def _close(self, entry: JournalEntry, again: UUID) -> list[RecoveryItem]:
        """Remove the entry of one whose retry is committed; where that fails, both are told."""
        try:
            self._drop_row(entry.txid)
            entry.finish()
            return [self._told_taken_in(entry.txid, again)]
        except (QuantumioError, OSError) as error:
            committed = _item(entry.txid, "committed", f"as transaction {again}")
            return [committed, self._left(entry.txid, error)]

    def _drop_row(self, txid: UUID) -> str | None:
        """End it where it is in quarantine, and remove what it has placed.

        Returns
        -------
        str or None
            What could not be removed yet; None where it was not in quarantine.
        """
        if (record := self._in_quarantine(txid)) is None:
            return None
        planned = record.transaction.outputs if record.transaction is not None else ()
        clean = clean_up(artifact.destination for output in planned for artifact in output.artifacts)
        self._follow_ups.check(clean, KnownStores(self._catalog))
        reach("drop.before")
        self._catalog.drop(txid, _DROPPED, clean)
        reach("drop.after")
        failures = self._follow_ups.do_all_of(txid)
        for destination, error in failures:
            self._ledger.add(error.kind, str(error), txid=txid, destination=destination)
        return "; ".join(f"to be removed at {destination} still: {error}" for destination, error in failures)

    # -- telling
    def _told_taken_in(self, txid: UUID, again: UUID) -> RecoveryItem:
        outcome = self._catalog.outcome(again)
        refs = outcome.refs if isinstance(outcome, Committed) else ()
        names = [str(ref) for ref in refs[:_NAMED]] + ["..."] * (len(refs) > _NAMED)
        return _item(txid, "committed", f"as transaction {again}: {', '.join(names) or 'removed since'}")

    def _left(self, txid: UUID, error: QuantumioError | OSError) -> RecoveryItem:
        kind = error.kind if isinstance(error, QuantumioError) else ErrorKind.UNREACHABLE
        self._ledger.add(kind, str(error), txid=txid)
        return _item(txid, "left", str(error))


_HOW: Final = "look at it: `quantumio pending --show`; then `quantumio recover --retry` or `--drop` it"
_STILL: Final = "it stays set aside"


def _item(txid: UUID, action: str, detail: str) -> RecoveryItem:
    return RecoveryItem(what="journal", txid=txid, action=action, detail=detail)


def _held(entry: JournalEntry) -> RecoveryItem:
    return _item(entry.txid, "left", entry.held_by() or "somebody else has just decided about it")


def _elsewhere(txid: UUID) -> RecoveryItem:
    return _item(txid, "left", f"the journal of this machine has no bytes of it; {_STILL}")


def _not_taken_in(txid: UUID, outcome: CommitOutcome) -> RecoveryItem:
    """Tell why a retry has not made it visible."""
    if isinstance(outcome, Committed):
        refs = ", ".join(str(ref) for ref in outcome.refs[:_NAMED])
        return _item(txid, "left", f"another attempt under its key has committed ({refs}); {_STILL}")
    item = told(outcome)
    return evolve(item, txid=txid, detail=f"{item.detail}; {_STILL}")
