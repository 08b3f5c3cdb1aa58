"""What a failure of the database means."""

from __future__ import annotations

from quantumio.errors import DestinationError, ErrorKind

__all__ = ["CommitLost", "registry_error"]


class CommitLost(Exception):
    """The database raised out of COMMIT: whether it committed is not known."""


def registry_error(error: BaseException, doing: str, place: str) -> DestinationError:
    """Return what a failure of the database means to a caller; the driver's error is its cause."""
    cause = getattr(error, "orig", None) or error
    made = DestinationError(
        f"the registry at {place} failed while {doing}: {cause}",
        hint="nothing was stored; look after the database (disk, permissions, server), then repeat",
        kind=ErrorKind.REGISTRY,
    )
    made.__cause__ = error
    return made
