"""From errors of the operating system to those of quantumio."""

from __future__ import annotations

import errno
from typing import Final

from quantumio.errors import DestinationError, ErrorKind, StateError
from quantumio.system import files

__all__ = ["local_failure", "read_only"]

_KINDS: Final = {
    errno.ENOSPC: ErrorKind.DISK_FULL,
    errno.EDQUOT: ErrorKind.DISK_FULL,
    errno.EACCES: ErrorKind.PERMISSION,
    errno.EPERM: ErrorKind.PERMISSION,
    errno.EROFS: ErrorKind.PERMISSION,
    errno.ELOOP: ErrorKind.PERMISSION,
    errno.ETIMEDOUT: ErrorKind.TIMEOUT,
}
HINTS: Final = {
    ErrorKind.DISK_FULL: "free space there, or send outputs to another destination",
    ErrorKind.PERMISSION: "look at its owner and permissions, and that it is no symbolic link",
    ErrorKind.UNREACHABLE: "look after the device, then retry",
    ErrorKind.TIMEOUT: "look after the device, then retry",
    ErrorKind.CORRUPT: "something else is in its place: remove that, then put the file back from a copy",
}


def os_error_kind(error: OSError) -> ErrorKind:
    """Tell which kind an error of the operating system is."""
    if isinstance(error, files.IrregularFileError):
        return ErrorKind.CORRUPT
    return _KINDS.get(error.errno or 0, ErrorKind.UNREACHABLE)


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
