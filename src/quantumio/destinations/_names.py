"""The check of paths below the root of a store."""

from __future__ import annotations

import re
from typing import Final

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["RESERVED", "check_path"]

MAX_PATH_BYTES: Final = 900
_MAX_FILE_NAME_BYTES: Final = 255

_COMPONENT: Final = re.compile(r"[A-Za-z0-9_%@=+][A-Za-z0-9._%@=+-]*")
RESERVED: Final = "_qio"
"""First component of paths that hold the identity of a store, not objects."""


def check_path(path: object, *, reserved: bool = False) -> str:
    """Return ``path`` if it is a relative path that stays below its root on every store.

    Parameters
    ----------
    path
        Components of letters, digits and ``._=+-%@`` (not beginning with ``.`` or ``-``) joined by ``/``.
    reserved
        Whether it may lie below ``_qio``.

    Raises
    ------
    InvalidInputError
        It is absolute, climbs (``..``), is too long, or has characters that a component may not have.
    """
    if isinstance(path, str) and len(path) <= MAX_PATH_BYTES:
        components = path.split("/")
        legal = all(
            len(component) <= _MAX_FILE_NAME_BYTES and _COMPONENT.fullmatch(component)
            for component in components
        )
        if legal and (reserved or components[0] != RESERVED):
            return path
    raise InvalidInputError(
        f"{path!r} is no path of an object",
        hint="a path is relative; its components have letters, digits and '._=+-%@' only and do not begin "
        f"with '.' or '-'; {RESERVED!r} is reserved",
        kind=ErrorKind.NAME,
    )
