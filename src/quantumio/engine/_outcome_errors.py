"""The errors that say why a context has not come as far as somebody waited for."""

from __future__ import annotations

from uuid import UUID

from quantumio.errors import (
    CommitConflictError,
    CommitFailedError,
    CommitParkedError,
    CommitUnknownError,
    ErrorKind,
    QuantumioError,
)
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    CommitUnknown,
    Moment,
)

__all__ = ["outcome_error"]


def outcome_error(outcome: CommitOutcome | None, txid: UUID, moment: Moment) -> QuantumioError:
    """Return the error that says why a moment did not come."""
    match outcome:
        case CommitConflict():
            return CommitConflictError(
                outcome.message,
                outcome=outcome,
                hint="take another key, or put what the earlier attempt has put"
                if outcome.kind is ErrorKind.OTHER_OUTPUTS
                else "read the latest version, decide, and commit again",
                kind=outcome.kind,
            )
        case CommitFailed():
            named = outcome.ref is None or str(outcome.ref) in outcome.message
            what = "" if named else f"{outcome.ref}: "
            return CommitFailedError(f"{what}{outcome.message}", outcome=outcome, kind=outcome.kind)
        case CommitUnknown() | None:
            unknown = outcome or CommitUnknown(txid=txid, reason="the runtime ended before it was decided")
            return CommitUnknownError(
                f"transaction {txid} may or may not be visible: {unknown.reason}",
                outcome=unknown,
                hint=f"look it up with Butler.ticket('{txid}') before writing again",
            )
        case CommitParked():
            parked = outcome
        case _:
            parked = CommitParked(txid=txid, reason=f"committed, but not {moment}: a copy is still missing")
    return CommitParkedError(f"transaction {txid}: {parked.reason}", outcome=parked)
