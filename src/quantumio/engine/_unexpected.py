"""What errors mean that no step has foreseen: bugs, and memory that runs out anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantumio.errors import InternalError, QuantumioError
from quantumio.model import CommitFailed, CommitOutcome, CommitParked, CommitUnknown
from quantumio.system.os_errors import out_of_memory

if TYPE_CHECKING:
    from quantumio.engine._context import Context

__all__ = ["outcome_after", "unexpected"]


def unexpected(error: BaseException) -> QuantumioError:
    """Return the error of ours that tells of one that was not foreseen."""
    if isinstance(error, QuantumioError):
        return error
    if isinstance(error, MemoryError):
        return out_of_memory("while an output was carried")
    return InternalError(f"a bug in quantumio: {error!r}", hint="please report this")


def outcome_after(context: Context, error: QuantumioError) -> CommitOutcome:
    """Return what is known of a context that an error has kept from going on."""
    if context.asked_flip:
        return CommitUnknown(txid=context.txid, reason=str(error))
    if context.entry is not None:
        return CommitParked(txid=context.txid, reason=str(error))
    return CommitFailed(txid=context.txid, kind=error.kind, message=str(error))
