"""What the standing of a transaction in the registry allows: decisions that look at nothing else.

The specification (``tests/specification``) calls the same functions in every order that may happen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum, auto
from uuid import UUID

from attrs import evolve

from quantumio.errors import ErrorKind
from quantumio.model import (
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    TransactionRecord,
    TransactionState,
)
from quantumio.ports import LEASE_OVER, REUSED

__all__ = [
    "Ending",
    "Owning",
    "Resolution",
    "how_to_end",
    "how_to_own",
    "is_abandoned",
    "is_carried_by",
    "is_taken_in",
    "last_retry",
    "may_be_cleaned",
    "may_place",
    "may_reopen",
    "outcome_of_another",
    "resolve",
    "retry_of",
    "set_aside",
]


def is_carried_by(record: TransactionRecord, owner: UUID) -> bool:
    """Whether a transaction is on its way under an owner."""
    return record.state is TransactionState.PREPARING and record.owner == owner


def may_place(record: TransactionRecord, owner: UUID, epoch: int) -> bool:
    """Whether the registry took an intent of an owner at an epoch: the bytes may be placed."""
    return is_carried_by(record, owner) and record.epoch == epoch


def may_reopen(record: TransactionRecord | None) -> bool:
    """Whether a transaction was ended over the silence of its owner alone."""
    return record is not None and record.state is TransactionState.ABORTED and record.reason == LEASE_OVER


def may_be_cleaned(record: TransactionRecord | None) -> bool:
    """Whether what a transaction has placed may be removed by somebody who knows nothing else of it."""
    return record is not None and record.state is TransactionState.ABORTED


def set_aside(record: TransactionRecord) -> str | None:
    """Say what holds of a transaction in quarantine; None of any other."""
    if record.state is not TransactionState.QUARANTINED:
        return None
    return f"it was set aside: {record.reason}; it goes on no more, and nothing of it is removed"


def retry_of(txid: UUID, number: int) -> UUID:
    """Return under which transaction something that was set aside is tried again for the n-th time.

    It follows from the first: whoever tries again after a death finds what became of the attempt before. It
    is a UUIDv7 as every transaction's is, of the same millisecond.
    """
    digest = int.from_bytes(hashlib.sha256(b"%b retry %d" % (txid.bytes, number)).digest()[:10])
    version_and_variant = 0xF << 76 | 0b11 << 62
    made = digest & ~version_and_variant | 7 << 76 | 0b10 << 62
    return UUID(int=txid.int >> 80 << 80 | made)


def last_retry(
    txid: UUID, transaction: Callable[[UUID], TransactionRecord | None]
) -> tuple[UUID, TransactionRecord | None]:
    """Return the last retry of what was set aside, unless that ended without a commit: then the next one.

    Parameters
    ----------
    transaction
        Tells what the registry knows of one.

    Returns
    -------
    tuple
        Its id, and what is known of it: that it is committed, or on its way; None where it was never begun.
    """
    number = 0
    while True:
        number += 1
        record = transaction(retry := retry_of(txid, number))
        if record is None or record.state in (TransactionState.COMMITTED, TransactionState.PREPARING):
            return retry, record


def is_taken_in(outcome: CommitOutcome) -> bool:
    """Whether the retry of something that was set aside is visible: only then may its bytes go.

    An earlier attempt under its key that has committed is not it: nothing of these outputs is visible.
    """
    return isinstance(outcome, Committed) and not outcome.reused


class Ending(Enum):
    """How an owner ends a transaction that it does not want to become visible."""

    REMOVE = auto()
    """It is over, or nobody has heard of it: what was placed is removed."""
    ABORT = auto()
    """It is carried by this owner, which ends it first."""
    LEAVE = auto()
    """It is committed, or somebody else's: nothing is removed."""


def how_to_end(record: TransactionRecord | None, owner: UUID) -> Ending:
    """Tell what an owner does to end a transaction."""
    if record is None or record.state is TransactionState.ABORTED:
        return Ending.REMOVE
    return Ending.ABORT if is_carried_by(record, owner) else Ending.LEAVE


class Resolution(Enum):
    """What became of a flip that gave no answer, once its transaction was taken over."""

    KNOWN = auto()
    """The registry has its outcome, or never heard of it."""
    ENDED = auto()
    """It was ended before: asked again, the registry says how."""
    FENCED = auto()
    """It did not commit, and never will: it may be tried again at the new epoch."""
    TAKEN = auto()
    """Somebody else was first."""


def resolve(record: TransactionRecord | None, owner: UUID, epoch: int) -> Resolution:
    """Read what taking over a transaction, from the epoch of its flip, has returned."""
    if record is None or record.state is TransactionState.COMMITTED:
        return Resolution.KNOWN
    if record.state is TransactionState.ABORTED:
        return Resolution.ENDED
    is_fenced = record.owner == owner and record.epoch == epoch + 1
    return Resolution.FENCED if is_fenced else Resolution.TAKEN


def _counts_as_committed(record: TransactionRecord) -> bool:
    """Whether it is committed, or was ended because an earlier attempt under its key is."""
    return record.state is TransactionState.COMMITTED or (
        record.state is TransactionState.ABORTED and record.reason == REUSED
    )


class Owning(Enum):
    """How recovery makes the transaction of a journal entry its own."""

    NEW = auto()
    """The registry has not heard of it: it is begun."""
    TAKE_OVER = auto()
    """Whoever holds the entry's lock carries it: a living owner has parked it."""
    REOPEN = auto()
    """It was ended over silence alone: it goes on under other names."""
    FINISHED = auto()
    """It is committed, or stands for an earlier attempt under its key that is."""
    OVER = auto()
    """It will never be visible."""


def how_to_own(record: TransactionRecord | None) -> Owning:
    """Tell how a transaction is made one's own by who holds its journal entry."""
    if record is None:
        return Owning.NEW
    if record.state is TransactionState.PREPARING:
        return Owning.TAKE_OVER
    if may_reopen(record):
        return Owning.REOPEN
    return Owning.FINISHED if _counts_as_committed(record) else Owning.OVER


def is_abandoned(
    record: TransactionRecord, owner: UUID, is_dead_here: Callable[[TransactionRecord], bool]
) -> bool:
    """Whether nobody will ever go on with a transaction that is on its way.

    Parameters
    ----------
    owner
        Who asks.
    is_dead_here
        Whether the owner of a record is known for certain to be dead, since it ran on this machine.
    """
    if record.owner is None or record.owner == owner:
        return False
    if record.lease_over:
        return True
    is_journaled = record.transaction is not None and record.transaction.journaled
    return not is_journaled and is_dead_here(record)


def outcome_of_another(
    record: TransactionRecord, outcome: Callable[[UUID], CommitOutcome | None]
) -> CommitOutcome:
    """Return the outcome of a context whose transaction is not carried by its process (any more).

    Parameters
    ----------
    outcome
        Tells that of a transaction which is committed, or stands for one that is.
    """
    if _counts_as_committed(record) and isinstance(committed := outcome(record.txid), Committed):
        return evolve(committed, reused=True)
    if record.state is TransactionState.ABORTED and record.reason != LEASE_OVER:
        return CommitFailed(
            txid=record.txid, kind=ErrorKind.ABORTED, message=f"it was ended before: {record.reason}"
        )
    if (reason := set_aside(record)) is not None:
        return CommitParked(txid=record.txid, reason=reason)
    reason = (
        "it was ended because its process was silent for too long"
        if record.state is TransactionState.ABORTED
        else f"another process carries it ({record.owner_host or 'unknown'}, state {record.state})"
    )
    return CommitParked(txid=record.txid, reason=reason)
