"""The byte budget: how much accepted output may wait in memory."""

from __future__ import annotations

import threading
from contextvars import ContextVar

from quantumio.engine._waiting import Waiters
from quantumio.errors import BufferFull
from quantumio.system import environment

__all__ = ["GIVEN_UP", "ByteBudget"]

GIVEN_UP: ContextVar[threading.Event | None] = ContextVar("given_up", default=None)
"""Set when nobody wants the result of a call any more: an event loop cancelled who awaits it."""


class ByteBudget:
    """A byte-weighted limit that puts wait for.

    An output larger than the whole limit is admitted when nothing else is charged, so that it can always
    pass; the limit is exceeded by that one output only.

    Parameters
    ----------
    max_bytes
        The limit.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._used = 0
        self._waited_s = 0.0
        self._lock = threading.RLock()  # an abandoned context may be collected under it
        self._waiters = Waiters()

    @property
    def used_bytes(self) -> int:
        """Bytes charged now."""
        return self._used

    @property
    def waited_s(self) -> float:
        """Seconds that puts have waited in total."""
        return self._waited_s

    def _fits(self, nbytes: int) -> bool:
        return self._used == 0 or self._used + nbytes <= self.max_bytes

    def charge_now(self, nbytes: int) -> bool:
        """Charge without waiting; False if it does not fit."""
        with self._lock:
            if not self._fits(nbytes):
                return False
            self._used += nbytes
            return True

    def charge(self, nbytes: int, timeout_s: float, what: str) -> None:
        """Charge, waiting until it fits or until the waiting is given up (`GIVEN_UP` and `give_up`).

        Raises
        ------
        BufferFull
            It did not fit in time; nothing was charged.
        """
        given_up = GIVEN_UP.get()
        charged = False

        def is_over() -> bool:
            nonlocal charged
            if given_up is not None and given_up.is_set():
                return True
            charged = self.charge_now(nbytes)
            return charged

        begin = environment.monotonic()
        try:
            self._waiters.wait(is_over, timeout_s)
        finally:
            with self._lock:
                self._waited_s += environment.monotonic() - begin
        if not charged:
            raise BufferFull(
                f"{what}: {nbytes} bytes did not fit into the buffer within {timeout_s:g} s "
                f"({self._used} of {self.max_bytes} bytes are in use)",
                hint="commit or abort open contexts, forget temporaries, or raise max_buffer_bytes",
            )

    def give_up(self, given_up: threading.Event) -> None:
        """End the waiting of the call whose ``GIVEN_UP`` is this event."""
        given_up.set()
        self._waiters.wake()

    def charge_more(self, nbytes: int) -> None:
        """Charge what an admitted output needs on its way (its encoded form), without limit."""
        with self._lock:
            self._used += nbytes

    def release(self, nbytes: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._used -= nbytes
        self._waiters.wake()
