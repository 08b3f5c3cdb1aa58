"""What a failure of the database means."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.exc import StatementError

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, QuantumioError

__all__ = ["VALUE_ERRORS", "CommitLost", "registry_error"]

VALUE_ERRORS: Final = (UnicodeError, OverflowError)
"""What drivers raise, besides their own errors, for values that no database takes."""


_NOT_IN_SCHEMA: Final = re.compile(r"no such (table|column)|table \S+ has no column")


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
    elif (kind := _lasting(cause)) is not None:
        made = DestinationError(
            f"the registry at {place} refused while {doing}: {cause}",
            hint="nothing was stored, and to repeat it will not help: look at the schema of the registry, "
            "and at who may write it",
            kind=kind,
        )
    else:
        made = DestinationError(
            f"the registry at {place} failed while {doing}: {cause}",
            hint="nothing was stored; look after the database (disk, permissions, server), then repeat",
            kind=ErrorKind.REGISTRY,
        )
    made.__cause__ = error
    return made


def _lasting(cause: BaseException) -> ErrorKind | None:
    """Tell which refusal it is that repeating cannot overcome; None if it may pass, or nobody knows."""
    if isinstance(cause, PermissionError):  # of the lock that writers take
        return ErrorKind.PERMISSION
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):  # https://www.postgresql.org/docs/current/errcodes-appendix.html
        if state == "42501":
            return ErrorKind.PERMISSION
        return ErrorKind.REFUSED if state[:2] in ("23", "42") else None
    name = getattr(cause, "sqlite_errorname", None) or ""
    if name == "SQLITE_READONLY":  # others of its family tell of files that are in the way for a moment
        return ErrorKind.PERMISSION
    is_without_table = name == "SQLITE_ERROR" and _NOT_IN_SCHEMA.match(str(cause))
    return ErrorKind.REFUSED if is_without_table or name.startswith("SQLITE_CONSTRAINT") else None


def _is_about_values(error: BaseException, cause: BaseException) -> bool:
    if isinstance(cause, VALUE_ERRORS):
        return True
    if any(kind.__name__ == "DataError" for kind in type(cause).__mro__):  # PEP 249's, of whichever driver
        return True
    # SQLAlchemy could not even bind it: no database was asked.
    return type(error) is StatementError
