"""What recovery tells of what it found."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from attrs import define, field, frozen

from quantumio.engine._standing import set_aside
from quantumio.model import CommitOutcome, Committed, TransactionRecord

__all__ = ["RecoveryItem", "RecoveryReport", "told", "told_set_aside"]

_NOT_DONE: Final = frozenset({"parked", "left", "conflict", "failed", "unknown"})


@frozen(kw_only=True)
class RecoveryItem:
    """One thing that recovery found, and what became of it.

    Attributes
    ----------
    what
        ``journal``, ``transaction`` or ``follow_up``; or ``context``, which this process has in memory alone.
    txid
        The transaction; None for something foreign, and for a journal as a whole.
    action
        ``committed``, ``conflict``, ``failed``, ``parked``, ``ended``, ``done``, ``removed``, ``left``,
        ``dropped``, ``nothing`` (there was nothing to be dropped), ``quarantined`` (set aside: nobody goes
        on with it, and nothing of it is removed until somebody drops it); or, in a dry run, what would be
        tried: ``carry``, ``end``, ``do``, ``remove``, ``retry``, ``drop``, ``held`` of what a living
        process works on, or ``left`` and ``conflict`` as it would be; or, of what is unfinished, where it
        stands: the state of a journal entry, ``preparing``, ``quarantined``, ``due``, ``claimed``,
        ``postponed``, ``carried``; ``unreadable`` of a journal that this user may not
        look into.
    detail
        More for people.
    """

    what: str
    txid: UUID | None
    action: str
    detail: str = ""


@define(kw_only=True)
class RecoveryReport:
    """What recovery did, in order."""

    items: list[RecoveryItem] = field(factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left that needs somebody: nothing parked, left or in conflict."""
        return not any(item.action in _NOT_DONE for item in self.items)


def told_set_aside(record: TransactionRecord, action: str = "quarantined") -> RecoveryItem:
    """Tell of a transaction in quarantine."""
    return RecoveryItem(what="transaction", txid=record.txid, action=action, detail=set_aside(record) or "")


def told(outcome: CommitOutcome) -> RecoveryItem:
    """Tell what became of a journal entry."""
    action = "committed" if isinstance(outcome, Committed) else type(outcome).__name__.removeprefix("Commit")
    detail = str(getattr(outcome, "message", None) or getattr(outcome, "reason", ""))
    return RecoveryItem(what="journal", txid=outcome.txid, action=action.lower(), detail=detail)
