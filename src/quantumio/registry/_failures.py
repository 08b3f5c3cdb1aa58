"""What a failure of the database means."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import StatementError

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, QuantumioError

__all__ = ["VALUE_ERRORS", "CommitLost", "registry_error"]

VALUE_ERRORS: Final = (UnicodeError, OverflowError)
"""What drivers raise, besides their own errors, for values that no database takes."""


class CommitLost(Exception):
    """The database raised out of COMMIT: whether it committed is not known."""


def registry_error(error: BaseException, doing: str, place: str) -> QuantumioError:
    """Return what a failure of the database means to a caller; the driver's error is its cause."""
    cause = getattr(error, "orig", None) or error
    made: QuantumioError
    if _is_about_values(error, cause):
        made = InvalidInputError(
            f"the registry cannot take a value while {doing}: {cause}",
            hint="give texts of valid Unicode without NUL, and integers of 64 bits",
            kind=ErrorKind.VALUE,
        )
    else:
        made = DestinationError(
            f"the registry at {place} failed while {doing}: {cause}",
            hint="nothing was stored; look after the database (disk, permissions, server), then repeat",
            kind=ErrorKind.REGISTRY,
        )
    made.__cause__ = error
    return made


def _is_about_values(error: BaseException, cause: BaseException) -> bool:
    if isinstance(cause, VALUE_ERRORS):
        return True
    if any(kind.__name__ == "DataError" for kind in type(cause).__mro__):  # PEP 249's, of whichever driver
        return True
    # SQLAlchemy could not even bind it: no database was asked.
    return type(error) is StatementError
