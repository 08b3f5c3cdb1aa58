"""From errors of the operating system to those of quantumio."""

from __future__ import annotations

from quantumio.errors import DestinationError, ErrorKind, StateError
from quantumio.system.os_errors import HINTS, os_error_kind

__all__ = ["local_failure", "read_only", "vanished"]


def local_failure(name: str, doing: str, error: OSError) -> DestinationError:
    """Make the error of a destination from one of the operating system.

    Parameters
    ----------
    name
        The destination's.
    doing
        What failed, with the object, e.g. ``"writing a/b.fits"``.
    error
        What the operating system said.
    """
    kind = os_error_kind(error)
    return DestinationError(
        f"destination {name!r}: {doing} failed: {error.strerror or error}", hint=HINTS[kind], kind=kind
    )


def read_only(name: str, doing: str) -> StateError:
    """Make the error of a change on a destination that was opened read-only."""
    return StateError(
        f"destination {name!r} is open read-only: {doing} is refused",
        hint="open the repository without readonly=True",
        kind=ErrorKind.READ_ONLY,
    )


def vanished(name: str, path: object) -> DestinationError:
    """Make the error of what was there, written by us, and is there no more."""
    return DestinationError(
        f"destination {name!r}: {path} vanished after it was written",
        hint="do it again if this process stood still for longer than its lease, as others have ended it; "
        "else find out who removes files there",
        kind=ErrorKind.CORRUPT,
    )
