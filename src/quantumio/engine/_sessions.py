"""Which stores this process writes to: each is told so before it gets its first object.

A registry that does not know one of the processes that have written to a store was put back from a backup, or
copied; it does not know either what they have committed. That is what garbage collection looks for.
"""

from __future__ import annotations

import threading

from quantumio.engine._owner import Owner
from quantumio.ports import Catalog, ManagedDestination, ObjectDestination, TableDestination

__all__ = ["StoreSessions"]


class StoreSessions:
    """Notes an owner in the stores that it writes to, after it is known to the registry. Thread-safe."""

    def __init__(self, owner: Owner, catalog: Catalog) -> None:
        self._owner = owner
        self._catalog = catalog
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._noted: set[str] = set()

    def note(self, destination: ObjectDestination | TableDestination) -> None:
        """Note that this process is about to place objects at a destination; once. Blocks.

        Raises
        ------
        QuantumioError
            The registry or the store cannot be reached: nothing may be placed.
        """
        name = destination.name
        if name in self._noted or not isinstance(destination, ManagedDestination):
            return
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:  # a slow store does not hold up the others
            if name not in self._noted:
                self._owner.register(self._catalog)
                destination.note_session(self._owner.id)
                self._noted.add(name)
