"""Transactions that could not be ended when that was due, since the registry could not be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from uuid import UUID

from quantumio.errors import QuantumioError
from quantumio.model import FollowUp

__all__ = ["Endings"]


class Endings:
    """Remembers transactions of this process that are to be ended, until they are. Thread-safe.

    While this process lives nobody else ends them; once it is dead, recovery does.

    Parameters
    ----------
    end
        Ends one, for a reason and with what is to be cleaned up, if this process carries it still; False if
        it is visible, or somebody else's. Raises `QuantumioError` where the registry cannot be reached.
    """

    def __init__(self, end: Callable[[UUID, str, Sequence[FollowUp]], bool]) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._waiting: dict[UUID, tuple[UUID, str, Sequence[FollowUp]]] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether there is any."""
        return bool(self._waiting)

    def end_later(self, txid: UUID, reason: str, clean: Sequence[FollowUp]) -> None:
        """Remember one; nobody goes on with it."""
        with self._lock:
            self._waiting[txid] = (txid, reason, clean)

    def forget(self, txid: UUID) -> None:
        """Note that somebody goes on with one."""
        with self._lock:
            self._waiting.pop(txid, None)

    def end_waiting(self) -> list[UUID]:
        """End them, until the registry cannot be reached; returns those that are not visible. Blocks."""
        ended: list[UUID] = []
        with self._lock:
            waiting = list(self._waiting.values())
        for txid, reason, clean in waiting:
            try:
                is_ended = self._end(txid, reason, clean)
            except QuantumioError:  # it was told when it was remembered; the others wait as well
                break
            self.forget(txid)
            if is_ended:
                ended.append(txid)
        return ended
