"""From errors of the operating system, and want of memory, to kinds of ours."""

from __future__ import annotations

import errno
from typing import Final

from quantumio.errors import ErrorKind, StateError
from quantumio.system.files import IrregularFileError

__all__ = ["HINTS", "os_error_kind", "out_of_memory"]

_KINDS: Final = {
    errno.ENOSPC: ErrorKind.DISK_FULL,
    errno.EDQUOT: ErrorKind.DISK_FULL,
    errno.EACCES: ErrorKind.PERMISSION,
    errno.EPERM: ErrorKind.PERMISSION,
    errno.EROFS: ErrorKind.PERMISSION,
    errno.ELOOP: ErrorKind.PERMISSION,
    errno.ETIMEDOUT: ErrorKind.TIMEOUT,
    errno.ENOMEM: ErrorKind.MEMORY,
}
HINTS: Final = {
    ErrorKind.DISK_FULL: "free space there, or send outputs to another destination",
    ErrorKind.PERMISSION: "look at its owner and permissions, and that it is no symbolic link",
    ErrorKind.UNREACHABLE: "look after the device, then retry",
    ErrorKind.TIMEOUT: "look after the device, then retry",
    ErrorKind.MEMORY: "give the process or the machine more memory, then retry",
    ErrorKind.CORRUPT: "something else is in its place: remove that, then put the file back from a copy",
}
"""What to do about each kind that `os_error_kind` gives."""


def os_error_kind(error: OSError) -> ErrorKind:
    """Tell which kind an error of the operating system is."""
    if isinstance(error, IrregularFileError):
        return ErrorKind.CORRUPT
    return _KINDS.get(error.errno or 0, ErrorKind.UNREACHABLE)


def out_of_memory(what: str) -> StateError:
    """Make the error of what could not be done for want of memory."""
    return StateError(
        f"memory ran out {what}",
        hint="lower max_buffer_bytes or the number of threads, or give the process more memory",
        kind=ErrorKind.MEMORY,
    )
