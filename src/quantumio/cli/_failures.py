"""Background failures that remain: no command that writes ends well while there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantumio.errors import DestinationError
from quantumio.model import LedgerEntry

if TYPE_CHECKING:
    from quantumio.butler import Butler

__all__ = ["check_failures", "failures_of", "settle"]


def failures_of(entries: Sequence[LedgerEntry]) -> list[Exception]:
    """Return entries of the error ledger as the errors that they are."""
    failures: list[Exception] = []
    for entry in entries:
        where = f" at destination {entry.destination!r}" if entry.destination else ""
        error = DestinationError(entry.message, kind=entry.kind)
        error.add_note(f"{entry.ref or f'transaction {entry.txid}'}{where}")
        failures.append(error)
    return failures


def check_failures(failures: Sequence[Exception]) -> None:
    """Raise failures, if there are any.

    Raises
    ------
    ExceptionGroup
        Of all of them.
    """
    if failures:
        raise ExceptionGroup(f"{len(failures)} background failures", list(failures))


def settle(butler: Butler) -> list[Exception]:
    """Wait until everything committed is settled, and return what failed, to be raised after the results.

    Raises
    ------
    StateError
        It was closed meanwhile.
    """
    try:
        butler.drain()
    except ExceptionGroup as group:
        return list(group.exceptions)
    return []
