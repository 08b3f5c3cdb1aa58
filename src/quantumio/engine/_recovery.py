"""What a death left behind is finished or ended: journal entries, transactions of dead owners, follow-ups.

Recovery may run at any time, beside others who work on the repository and beside other recoveries: an entry
of the journal belongs to who holds its lock, a transaction to who holds its epoch, a follow-up to who has
claimed it. Every step may be done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from quantumio.engine._abandoned import end_abandoned
from quantumio.engine._entry_fate import look_at_entries, over, still_needs
from quantumio.engine._follow_ups import FollowUps
from quantumio.engine._journal import Journal, upstream_first
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._journal_manifest import JournalManifest
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._owner import Owner, is_dead_here
from quantumio.engine._recovery_report import RecoveryItem, RecoveryReport, told, told_set_aside
from quantumio.engine._sessions import KnownStores
from quantumio.engine._standing import Owning, how_to_own, is_abandoned, is_carried_by
from quantumio.engine._way_back import Carry, WayBack
from quantumio.errors import DestinationError, ErrorKind, QuantumioError
from quantumio.model import Committed, OutboxEntry, TransactionRecord, TransactionState
from quantumio.ports import Catalog
from quantumio.system import environment, threads
from quantumio.system.failpoints import reach

__all__ = ["Recovery"]

_CLAIM_S: Final = 300.0
"""How long a follow-up belongs to who does it, in seconds."""

_CLAIMED_AT_ONCE: Final = 16

_WAITED_IN_VAIN_S: Final = 1.0
"""A destination that fails after so many seconds is not asked again in the same round: a lock that somebody
holds there, or a server that is silent, would be waited for as often as there are follow-ups."""


class Recovery:
    """Recovers one repository.

    Parameters
    ----------
    owners
        Directory of the locks of the owners.
    carry
        How a context of the journal is brought to its end.

    Attributes
    ----------
    way_back
        For what was set aside.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        journal: Journal,
        owner: Owner,
        owners: Path,
        follow_ups: FollowUps,
        ledger: ErrorLedger,
        carry: Carry,
    ) -> None:
        self._catalog = catalog
        self._journal = journal
        self._owner = owner
        self._owners = owners
        self._follow_ups = follow_ups
        self._ledger = ledger
        self._carry = carry
        self.way_back = WayBack(
            catalog=catalog, journal=journal, owner=owner, follow_ups=follow_ups, ledger=ledger, carry=carry
        )

    def is_needed(self) -> bool:
        """Whether there is anything that recovery does without being asked. Blocks; cheap."""
        if any(entry.state is not JournalState.CONFLICT for entry in self._told_entries()):
            return True
        return any(self._may_do(entry) for entry in self._catalog.outbox())

    def look(self) -> RecoveryReport:
        """Tell what recovery would do, and do nothing. Blocks; reads what the journal holds."""
        report = RecoveryReport()
        found = self._told_entries(report)
        entries = [entry for entry in found if entry.state is not JournalState.CONFLICT]
        report.items += look_at_entries(entries, self._catalog)
        report.items += self.way_back.look_at_all([one for one in found if one not in entries])
        journaled = {entry.txid for entry in entries}
        report.items += [
            RecoveryItem(
                what="transaction",
                txid=record.txid,
                action="left" if record.damage else "end",
                detail=record.damage or "",
            )
            for record in self._catalog.preparing()
            if record.txid not in journaled and self._is_dead(record)
        ]
        report.items += [
            RecoveryItem(
                what="follow_up",
                txid=entry.txid,
                action="do",
                detail=f"{entry.follow_up.kind} at {entry.follow_up.destination}",
            )
            for entry in self._catalog.outbox()
            if self._may_do(entry) or entry.claimed_by is None  # what was postponed is hastened for who asks
        ]
        return report

    def _told_entries(self, report: RecoveryReport | None = None) -> list[JournalEntry]:
        """Return what is in the journal; it is told where this user may not look into it.

        A journal of somebody else is to this user what that of another machine is.
        """
        try:
            return self._journal.entries()
        except DestinationError as error:
            if error.kind is not ErrorKind.PERMISSION:
                raise
            detail = f"{error.message}; only who wrote it sees what is in it"
            if report is not None:
                report.items.append(
                    RecoveryItem(what="journal", txid=None, action="unreadable", detail=detail)
                )
            return []

    def unfinished(self) -> RecoveryReport:
        """Tell all that is on its way, here and elsewhere, also what recovery leaves alone. Blocks."""
        report = RecoveryReport()
        for entry in self._told_entries(report):
            detail = entry.held_by() or (_why(entry) if entry.state is JournalState.CONFLICT else "")
            report.items.append(
                RecoveryItem(what="journal", txid=entry.txid, action=str(entry.state), detail=detail)
            )
        for record in self._catalog.preparing():
            detail = record.damage or f"on {record.owner_host or 'an unknown machine'}"
            report.items.append(
                RecoveryItem(what="transaction", txid=record.txid, action="preparing", detail=detail)
            )
        report.items += [told_set_aside(record) for record in self._catalog.quarantined()]
        for one in self._catalog.outbox():
            detail = (
                f"{one.follow_up.kind} at {one.follow_up.destination}, waiting {one.age_s:.0f} s, "
                f"{one.attempts} failed attempts"
            )
            action = "due" if one.is_due else "claimed" if one.claimed_by else "postponed"
            report.items.append(RecoveryItem(what="follow_up", txid=one.txid, action=action, detail=detail))
        return report

    def quarantine(self) -> RecoveryReport:
        """Set aside what is on its way in a registry that was put back from a backup. Blocks."""
        before = {record.txid for record in self._catalog.quarantined()}
        self._catalog.quarantine()
        after = self._catalog.quarantined()
        return RecoveryReport(items=[told_set_aside(one) for one in after if one.txid not in before])

    async def run(self, *, end_dead: bool) -> RecoveryReport:
        """Recover; what cannot be done now is left for the next time, and told.

        Parameters
        ----------
        end_dead
            Whether transactions that dead processes have left without a journal entry are ended, and what
            they have placed is removed. Only where somebody asks for it: of a registry that was put back from
            a backup nobody knows whether they were committed since.
        """
        report = RecoveryReport()
        ready = await threads.run(self._lock_entries, report)
        try:
            for entry, manifest in upstream_first(ready):
                report.items.append(await self._recover_entry(entry, manifest))
        finally:
            for entry, _ in ready:
                entry.release()
        report.items += await threads.run(self._close_taken_in)
        known = KnownStores(self._catalog)
        if end_dead:
            await threads.run(self._end_dead, report, known)
        await threads.run(self._do_follow_ups, report, known)
        return report

    # -- the journal
    def _lock_entries(self, report: RecoveryReport) -> list[tuple[JournalEntry, JournalManifest]]:
        """Take what nobody else works on; what was never promised, or is done, is removed."""
        ready: list[tuple[JournalEntry, JournalManifest]] = []
        for entry in self._told_entries(report):
            if entry.state is JournalState.CONFLICT:
                continue
            try:
                if not entry.lock():
                    continue
                if entry.state is JournalState.READY:
                    ready.append((entry, entry.manifest()))
                else:
                    entry.discard()
                    report.items.append(RecoveryItem(what="journal", txid=entry.txid, action="removed"))
            except (QuantumioError, OSError) as error:  # it stays as it is, and stops nobody
                entry.release()
                report.items.append(self._left(entry, error))
        return ready

    def _left(self, entry: JournalEntry, error: QuantumioError | OSError) -> RecoveryItem:
        kind = error.kind if isinstance(error, QuantumioError) else ErrorKind.UNREACHABLE
        self._ledger.add(kind, str(error), txid=entry.txid)
        return RecoveryItem(what="journal", txid=entry.txid, action="left", detail=str(error))

    def _in_journal(self, txids: Sequence[UUID]) -> list[UUID]:
        """Return those that are in the journal, and may still become visible."""
        if not txids:
            return []
        kept = {one.txid for one in self._journal.entries() if one.state is JournalState.READY}
        return [txid for txid in txids if txid in kept]

    async def _recover_entry(self, entry: JournalEntry, manifest: JournalManifest) -> RecoveryItem:
        txid = manifest.transaction.txid
        try:
            if upstream := await threads.run(self._in_journal, manifest.transaction.requires):
                return RecoveryItem(what="journal", txid=txid, action="left", detail=still_needs(upstream[0]))
            owned = await threads.run(self._own, manifest)
            if isinstance(owned, TransactionRecord):
                return told(await self._carry(manifest, entry, owned.epoch, owned.generation))
            if isinstance(owned, Committed):
                # The entry last: who dies in between leaves one that the next recovery takes up again.
                await threads.run(self._ledger.withdraw, txid)
                await threads.run(entry.finish)
                return told(owned)
            await threads.run(entry.keep_as_conflict, owned)
        except (QuantumioError, OSError) as error:
            return self._left(entry, error)
        return RecoveryItem(what="journal", txid=txid, action="conflict", detail=owned)

    def _own(self, manifest: JournalManifest) -> TransactionRecord | Committed | str:
        """Make the transaction of an entry ours; else its outcome, or why it will never be visible."""
        transaction = manifest.transaction
        self._owner.register(self._catalog)
        while True:
            record = self._catalog.transaction(transaction.txid)
            if record is None:
                return TransactionRecord(
                    txid=transaction.txid,
                    state=TransactionState.PREPARING,
                    epoch=transaction.epoch,
                    generation=transaction.generation,
                    transaction=transaction,
                )
            if (ended := over(record, self._catalog)) is not None:
                return ended
            reopens = how_to_own(record) is Owning.REOPEN
            take = self._catalog.reopen if reopens else self._catalog.take_over
            record = take(record.txid, self._owner.id, record.epoch)
            if record is not None and is_carried_by(record, self._owner.id):
                return record
            # Somebody has ended or taken it over since it was looked at. A promise is not set aside for that.

    def _close_taken_in(self) -> list[RecoveryItem]:
        kept = [entry for entry in self._told_entries() if entry.state is JournalState.CONFLICT]
        return self.way_back.close_taken_in(kept)

    # -- transactions of the dead
    def _is_dead(self, record: TransactionRecord) -> bool:
        """Whether nobody will ever go on with a transaction that is on its way."""
        return is_abandoned(record, self._owner.id, self._is_dead_here)

    def _is_dead_here(self, record: TransactionRecord) -> bool:
        return record.owner is not None and is_dead_here(
            self._owners, record.owner, record.owner_host, record.owner_boot_id
        )

    def _end_dead(self, report: RecoveryReport, known: KnownStores) -> None:
        kept = {e.txid for e in self._told_entries() if e.state is not JournalState.CONFLICT}
        for record in self._catalog.preparing():
            if record.txid in kept or not self._is_dead(record):
                continue
            try:
                if record.damage:  # nobody knows what it has placed: it stays, and stops nobody
                    raise DestinationError(record.damage, kind=ErrorKind.CORRUPT)
                reach("recovery.end.before")
                is_ended = end_abandoned(
                    record, known, catalog=self._catalog, owner=self._owner, follow_ups=self._follow_ups
                )
                reach("recovery.end.after")
                if is_ended:
                    report.items.append(RecoveryItem(what="transaction", txid=record.txid, action="ended"))
            except QuantumioError as error:
                self._ledger.add(error.kind, str(error), txid=record.txid)
                report.items.append(
                    RecoveryItem(what="transaction", txid=record.txid, action="left", detail=str(error))
                )

    # -- follow-ups
    def _do_follow_ups(self, report: RecoveryReport, known: KnownStores) -> None:
        away: dict[str, QuantumioError] = {}
        while entries := self._claim():
            for entry in entries:
                error = self._do_follow_up(entry, known, away)
                if error is not None:
                    self._ledger.add(
                        error.kind, str(error), txid=entry.txid, destination=entry.follow_up.destination
                    )
                report.items.append(
                    RecoveryItem(
                        what="follow_up",
                        txid=entry.txid,
                        action="done" if error is None else "left",
                        detail=f"{entry.follow_up.kind} at {entry.follow_up.destination}"
                        + (f": {error}" if error else ""),
                    )
                )

    def _do_follow_up(
        self, entry: OutboxEntry, known: KnownStores, away: dict[str, QuantumioError]
    ) -> QuantumioError | None:
        """Do one, unless its destination has kept another one waiting in vain; return why it is left."""
        name = entry.follow_up.destination
        if (error := away.get(name)) is not None:
            self._follow_ups.postpone(entry)
            return error
        begun = environment.monotonic()
        error = self._follow_ups.do(entry, known)
        if error is not None and environment.monotonic() - begun > _WAITED_IN_VAIN_S:
            away[name] = error
        return error

    def _may_do(self, entry: OutboxEntry) -> bool:
        """Whether a follow-up is nobody's, or a dead owner's."""
        if entry.is_due or entry.claimed_by is None or entry.claimed_by == self._owner.id:
            return entry.is_due
        return is_dead_here(self._owners, entry.claimed_by, entry.owner_host, entry.owner_boot_id)

    def _claim(self) -> Sequence[OutboxEntry]:
        entries = [entry for entry in self._catalog.outbox() if self._may_do(entry)]
        if not entries:
            return []
        dead = {entry.claimed_by for entry in entries if entry.claimed_by is not None and not entry.is_due}
        for owner in dead:
            self._catalog.release_claims(owner)
        self._owner.register(self._catalog)
        return self._catalog.claim(self._owner.id, _CLAIMED_AT_ONCE, _CLAIM_S)


def _why(entry: JournalEntry) -> str:
    try:
        return entry.note().reason
    except QuantumioError as error:
        return str(error)
