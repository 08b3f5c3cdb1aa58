"""Files that a person names: what is wrong with them is told in the words of the error tree."""

from __future__ import annotations

from pathlib import Path

from quantumio.errors import DestinationError, ErrorKind, NotFoundError
from quantumio.system import files

__all__ = ["read_given_file"]


def read_given_file(path: Path) -> bytes:
    """Return the bytes of a regular file, which symbolic links may lead to.

    Raises
    ------
    NotFoundError
        There is none (``kind="no_file"``).
    DestinationError
        It cannot be read.
    """
    try:
        return files.read_bytes(files.real_path(path))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"there is no file {path}", hint="check the path", kind=ErrorKind.NO_FILE
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path with NUL
        what = error.strerror if isinstance(error, OSError) else error
        raise DestinationError(
            f"{path} cannot be read: {what}", hint="check what it is", kind=ErrorKind.PERMISSION
        ) from error
