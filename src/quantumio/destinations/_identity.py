"""Whose store it is: a create-only file in every managed root, so that no two repositories share one."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError
from quantumio.system import environment

__all__ = [
    "IDENTITY_PATH",
    "check_identity",
    "new_identity",
    "other_store",
    "store_gone",
    "was_begun_anew",
]

IDENTITY_PATH: Final = "_qio/store.json"
_VERSION: Final = 1


def new_identity(repository_id: UUID, *, anew: bool = False) -> bytes:
    """Return the content of ``_qio/store.json`` for a new store of a repository.

    Parameters
    ----------
    repository_id
        Whose it is.
    anew
        Whether somebody has said that the former one is lost: whoever used that one goes on with this one.
    """
    identity: dict[str, object] = {
        "version": _VERSION,
        "store": str(environment.uuid7()),
        "registry": str(repository_id),
    }
    if anew:
        identity["begun_anew"] = True
    return (json.dumps(identity, indent=1) + "\n").encode()


def store_gone(name: str, where: str) -> DestinationError:
    """Return what is raised where a store that was in use is not."""
    return DestinationError(
        f"destination {name!r}: its store is not at {where}: there is no {IDENTITY_PATH}",
        hint="mount it, or put it back; if it is lost for good, say so: "
        f"`quantumio fsck --repair --lost {name}`",
        kind=ErrorKind.UNREACHABLE,
    )


def other_store(name: str, where: str, *, anew: bool) -> DestinationError:
    """Return what is raised where another store of the repository is than the one that was in use.

    Parameters
    ----------
    name, where
        The destination and its root.
    anew
        Whether it was begun because the former one is lost.
    """
    if anew:
        return DestinationError(
            f"destination {name!r}: its store at {where} was begun anew while it was in use",
            hint="try again: from now on the new store is used",
            kind=ErrorKind.UNREACHABLE,
        )
    return DestinationError(
        f"destination {name!r}: at {where} is another store of this repository than the one that was in use",
        hint="mount the right one; if this is the right one, open the repository again",
        kind=ErrorKind.UNREACHABLE,
    )


def was_begun_anew(content: bytes) -> bool:
    """Tell whether a ``_qio/store.json`` that was checked is that of a store whose former one is lost."""
    return json.loads(content).get("begun_anew") is True


def check_identity(name: str, where: str, content: bytes, repository_id: UUID) -> UUID:
    """Return which store it is, and refuse one that belongs to another repository.

    Parameters
    ----------
    name, where
        The destination and its root, for messages.
    content
        Its ``_qio/store.json``.
    repository_id
        Who wants to use it.

    Raises
    ------
    InvalidInputError
        It is another repository's, or a newer quantumio's.
    DestinationError
        The file is damaged (``kind="corrupt"``).
    """
    try:
        identity = json.loads(content)
        version, registry = int(identity["version"]), UUID(identity["registry"])
        store = UUID(identity["store"])
    except (ValueError, KeyError, TypeError):
        raise DestinationError(
            f"destination {name!r}: {where}/{IDENTITY_PATH} is damaged",
            hint="put it back from a backup; without it nobody knows whose store this is",
            kind=ErrorKind.CORRUPT,
        ) from None
    if version > _VERSION:
        raise InvalidInputError(
            f"[destinations.{name}]: the store {where} was made by a newer quantumio (version {version})",
            hint="upgrade quantumio",
            kind=ErrorKind.NEWER_SCHEMA,
        )
    if registry != repository_id:
        raise InvalidInputError(
            f"[destinations.{name}]: the store {where} belongs to the repository {registry}, not to this one "
            f"({repository_id})",
            hint="give each repository a root of its own",
            kind=ErrorKind.POLICY,
        )
    return store
