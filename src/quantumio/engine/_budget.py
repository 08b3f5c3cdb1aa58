"""The byte budget: how much accepted output may wait in memory."""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar

from quantumio.engine._waiting import Waiters
from quantumio.errors import BufferFull, ErrorKind, StateError
from quantumio.system import environment

__all__ = ["GIVEN_UP", "ByteBudget", "Charge"]

GIVEN_UP: ContextVar[threading.Event | None] = ContextVar("given_up", default=None)
"""Set when nobody wants the result of a call any more: an event loop cancelled who awaits it."""


class Charge:
    """Bytes of one output that count against a budget: until released, or until nobody has it any more."""

    __slots__ = ("__weakref__",)


class ByteBudget:
    """A byte-weighted limit that puts wait for.

    An output larger than the whole limit is admitted when nothing else is charged, so that it can always
    pass; the limit is exceeded by that one output only. What is charged hangs on an object: an interrupt
    anywhere between charging and owning loses the object, and with it the charge.

    Parameters
    ----------
    max_bytes
        The limit.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._charges: dict[weakref.ref[Charge], int] = {}
        self._used = 0  # their sum, kept beside them; an interrupt between the two shows when it is full
        self._waited_s = 0.0
        self._lock = threading.RLock()  # an abandoned context may be collected under it
        self._waiters = Waiters()
        self._closed = False
        self._when_gone = self._give_back  # one object for all charges

    @property
    def used_bytes(self) -> int:
        """Bytes charged now."""
        return sum(tuple(self._charges.values()))

    @property
    def waited_s(self) -> float:
        """Seconds that puts have waited in total."""
        return self._waited_s

    def _fits(self, nbytes: int) -> bool:
        if self._used == 0 or self._used + nbytes <= self.max_bytes:
            return True
        self._used = self.used_bytes
        return self._used == 0 or self._used + nbytes <= self.max_bytes

    def fits(self, nbytes: int) -> bool:
        """Whether so many bytes could be charged now."""
        with self._lock:
            return self._fits(nbytes)

    def charge_now(self, nbytes: int) -> Charge | None:
        """Charge without waiting; None if it does not fit."""
        with self._lock:
            if not self._fits(nbytes):
                return None
            charge = Charge()
            self._charges[weakref.ref(charge, self._when_gone)] = nbytes
            self._used += nbytes
            return charge

    def charge_nothing(self) -> Charge:
        """Return a charge of no bytes yet, for what came from elsewhere."""
        with self._lock:
            charge = Charge()
            self._charges[weakref.ref(charge, self._when_gone)] = 0
            return charge

    def charge(self, nbytes: int, timeout_s: float, what: str) -> Charge:
        """Charge, waiting until it fits or until the waiting is given up (`GIVEN_UP` and `give_up`).

        Raises
        ------
        BufferFull
            It did not fit in time; nothing was charged.
        StateError
            The budget was closed meanwhile (``kind="closed"``).
        """
        given_up = GIVEN_UP.get()
        charge: Charge | None = None

        def is_over() -> bool:
            nonlocal charge
            if self._closed or (given_up is not None and given_up.is_set()):
                return True
            charge = self.charge_now(nbytes)
            return charge is not None

        begin = environment.monotonic()
        try:
            self._waiters.wait(is_over, timeout_s)
        finally:
            with self._lock:
                self._waited_s += environment.monotonic() - begin
        if charge is not None:
            return charge
        if self._closed:
            raise StateError(
                f"{what}: the Butler was closed while it waited",
                hint="open another one",
                kind=ErrorKind.CLOSED,
            )
        raise BufferFull(
            f"{what}: {nbytes} bytes did not fit into the buffer within {timeout_s:g} s "
            f"({self.used_bytes} of {self.max_bytes} bytes are in use)",
            hint="commit or abort open contexts, forget temporaries, or raise max_buffer_bytes",
        )

    def give_up(self, given_up: threading.Event) -> None:
        """End the waiting of the call whose ``GIVEN_UP`` is this event."""
        given_up.set()
        self._waiters.wake()

    def close(self) -> None:
        """End the waiting of all."""
        self._closed = True
        self._waiters.wake()

    def charge_more(self, charge: Charge, nbytes: int) -> None:
        """Charge what an admitted output needs on its way (its encoded form), without limit."""
        with self._lock:
            self._charges[weakref.ref(charge, self._when_gone)] += nbytes
            self._used += nbytes

    def release(self, charge: Charge) -> None:
        """Give the bytes of a charge back; idempotent."""
        self._give_back(weakref.ref(charge))

    def _give_back(self, reference: weakref.ref[Charge]) -> None:
        with self._lock:
            self._used -= self._charges.pop(reference, 0)
        self._waiters.wake()
