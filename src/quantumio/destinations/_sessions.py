"""Who has used a store: an object for each process that has placed something there.

A registry that does not know one of them was put back from a backup, or copied: it does not know either what
that process has committed.
"""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.system import environment

__all__ = [
    "CLOCK",
    "SESSIONS",
    "check_clock",
    "new_clock",
    "session_content",
    "session_named",
    "session_path",
]

SESSIONS: Final = "_qio/session"
CLOCK: Final = "_qio/clock"
"""Below it are the objects that a store gives its time to."""

_VERSION: Final = 1


def session_path(session: UUID) -> str:
    """Return the name of the object that tells of a session."""
    return f"{SESSIONS}/{session}"


def session_content(session: UUID) -> bytes:
    """Return what it holds: where the process runs, for people who look for a session nobody knows."""
    content = {
        "version": _VERSION,
        "session": str(session),
        "host": environment.host(),
        "pid": environment.pid(),
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def session_named(path: str) -> UUID | None:
    """Return the session that an object tells of; None if it is no such object."""
    name = path.rpartition("/")[2]
    try:
        session = UUID(name)
    except ValueError:
        return None
    return session if str(session) == name else None


def new_clock() -> str:
    """Return a new name of an object that a store gives its time to."""
    return f"{CLOCK}/{environment.random_token()}"


def check_clock(path: str) -> str:
    """Return a path if it is one of `new_clock`.

    Raises
    ------
    InvalidInputError
        It is none.
    """
    directory, _, name = path.rpartition("/")
    if directory != CLOCK or not name.isalnum():
        raise InvalidInputError(
            f"{path!r} is nothing that was left behind", hint="list them first", kind=ErrorKind.NAME
        )
    return path
