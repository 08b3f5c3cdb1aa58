"""Names: what may be called what, checked in one place."""

from __future__ import annotations

import functools
import re

from quantumio.errors import ErrorKind, InvalidInputError, shown

__all__ = ["check_identifier", "check_run"]

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_RUN_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]*")
_RUN_LENGTH = 200


def check_identifier(name: object, what: str) -> str:
    """Return ``name`` if it is an identifier (a letter, then letters, digits and ``_``; at most 63).

    Parameters
    ----------
    name
        Of a dataset type, dimension, destination, policy.
    what
        What it names, for the message.

    Raises
    ------
    InvalidInputError
        It is no identifier.
    """
    if isinstance(name, str) and _IDENTIFIER.fullmatch(name):
        return name
    raise InvalidInputError(
        f"{shown(name)} is no name for a {what}",
        hint="use a letter followed by letters, digits and '_', at most 63 characters",
        kind=ErrorKind.NAME,
    )


@functools.lru_cache(maxsize=256)  # every ref checks its run
def _is_run(name: str) -> bool:
    return len(name) <= _RUN_LENGTH and all(map(_RUN_WORD.fullmatch, name.split("/")))


def check_run(name: object, what: str = "run") -> str:
    """Return ``name`` if it is a collection name: words joined by slashes, such as ``u/ada/isr``.

    Raises
    ------
    InvalidInputError
        It is no collection name.
    """
    if isinstance(name, str) and _is_run(name):
        return name
    raise InvalidInputError(
        f"{shown(name)} is no name for a {what}",
        hint="use words of letters, digits and '_.+=@-' (not beginning with '.', '-', '+', '=' or '@') "
        f"joined by '/', at most {_RUN_LENGTH} characters, such as 'u/ada/isr'",
        kind=ErrorKind.NAME,
    )
