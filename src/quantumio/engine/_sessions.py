"""Which stores this process writes to: each is told so before it gets its first object.

A registry that does not know one of the processes that have written to a store was put back from a backup, or
copied; it does not know either what they have committed. That is what garbage collection looks for.
"""

from __future__ import annotations

import threading
from uuid import UUID

from quantumio.engine._owner import Owner
from quantumio.errors import ErrorKind, StateError
from quantumio.ports import Catalog, ManagedDestination, ObjectDestination, TableDestination, is_managed

__all__ = ["KnownStores", "StoreSessions", "unknown_session", "unknown_sessions"]


def unknown_sessions(catalog: Catalog, destination: ManagedDestination) -> list[UUID]:
    """Return the processes that have written to a store and that the registry does not know. Blocks."""
    noted = set(destination.sessions())  # first: who writes is known to its registry before it is noted
    return sorted(noted - catalog.known_owners(noted))


def unknown_session(name: str, unknown: list[UUID]) -> StateError:
    """Make the error that tells of such processes."""
    return StateError(
        f"destination {name!r} was written by {len(unknown)} processes that the registry does not know, the "
        f"first of them {unknown[0]}: the registry was put back from a backup, or is a copy, and what they "
        "have committed would be taken for garbage",
        hint="if there is another registry, go on with that one. Else run `quantumio recover --restored` and "
        "`quantumio fsck`, keep a copy of what you still need, and then let gc go on with --adopt-sessions",
        kind=ErrorKind.UNKNOWN_SESSION,
    )


class KnownStores:
    """Tells in one round of work where something may be removed; looks at each store once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._found: dict[str, list[UUID]] = {}

    def check(self, destination: ObjectDestination | TableDestination) -> None:
        """Refuse to remove anything from a store that was written by a process nobody knows here. Blocks.

        Raises
        ------
        StateError
            It was (``kind="unknown_session"``).
        DestinationError
            The store cannot be asked.
        """
        if not is_managed(destination):
            return
        name = destination.name
        if name not in self._found:
            self._found[name] = unknown_sessions(self._catalog, destination)
        if self._found[name]:
            raise unknown_session(name, self._found[name])


class StoreSessions:
    """Notes an owner in the stores that it writes to, after it is known to the registry. Thread-safe."""

    def __init__(self, owner: Owner, catalog: Catalog) -> None:
        self._owner = owner
        self._catalog = catalog
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._noted: dict[str, UUID | None] = {}  # by destination, the store: it may be begun anew

    def note(self, destination: ObjectDestination | TableDestination) -> None:
        """Note that this process is about to place objects at a destination; once in each store. Blocks.

        Raises
        ------
        QuantumioError
            The registry or the store cannot be reached: nothing may be placed.
        """
        name = destination.name
        if self.is_noted(destination) or not is_managed(destination):
            return
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:  # a slow store does not hold up the others
            if not self.is_noted(destination):
                self._owner.register(self._catalog)
                destination.note_session(self._owner.id)
                self._noted[name] = destination.store_id

    def is_noted(self, destination: ObjectDestination | TableDestination) -> bool:
        """Whether `note` has nothing to do. Does not block."""
        noted = self._noted.get(destination.name)
        if not is_managed(destination):
            return True
        return noted is not None and noted == destination.store_id
