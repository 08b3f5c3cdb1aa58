"""Receipts and tickets: handles of one put and of one commit."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from quantumio.butler._session import check_timeout
from quantumio.engine import MOMENT_OF_ACK, Context, Output, Progress
from quantumio.errors import StateError
from quantumio.model import Ack, CommitOutcome, DatasetRef, Moment

__all__ = ["AsyncReceipt", "AsyncTicket", "Receipt", "Ticket", "as_async_receipt", "as_async_ticket"]


class _Handle:
    """What receipts and tickets have in common: a context and the progress of something in it."""

    def __init__(self, context: Context, progress: Progress) -> None:
        self._context = context
        self._progress = progress

    @property
    def txid(self) -> UUID:
        """Transaction it belongs to."""
        return self._context.txid

    @property
    def outcome(self) -> CommitOutcome | None:
        """How the commit ended; None while undecided."""
        return self._context.outcome

    @property
    def moments(self) -> frozenset[Moment]:
        """Moments that were reached so far."""
        return frozenset(moment for moment in Moment if self._progress.has_reached(moment))

    def reached(self, moment: str) -> bool:
        """Whether a moment was reached.

        Parameters
        ----------
        moment
            ``accepted``, ``released`` (the source may change), ``durable``, ``journaled``, ``committed`` or
            ``settled``.
        """
        return self._progress.has_reached(Moment.make(moment))

    def _wait(self, moment: Moment, timeout: float | None) -> None:
        self._context.check_may_wait()
        in_time = self._progress.wait(moment, check_timeout(timeout))
        self._context.raise_unless(moment, in_time, self._progress)

    async def _wait_async(self, moment: Moment, timeout: float | None) -> None:  # noqa: ASYNC109
        in_time = await self._progress.wait_async(moment, check_timeout(timeout))
        self._context.raise_unless(moment, in_time, self._progress)


class _ReceiptBase(_Handle):
    """Handle of one put.

    Attributes
    ----------
    txid, outcome
        Of the context it was put in.
    """

    def __init__(self, context: Context, output: Output) -> None:
        super().__init__(context, output.progress)
        self._output = output

    @property
    def ref(self) -> DatasetRef:
        """Ref of the output; it has its version once committed."""
        return self._output.ref

    @property
    def durable(self) -> Mapping[str, bool]:
        """Destination to whether the bytes are durable there."""
        return {
            target.destination: target.destination in self._output.artifacts
            for target in self._output.resolution.targets
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.ref}: {_latest(self.moments)}>"


class _TicketBase(_Handle):
    """Handle of one commit."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.progress)

    @property
    def refs(self) -> tuple[DatasetRef, ...]:
        """Refs of its outputs, temporaries included; with their versions once committed."""
        return tuple(output.ref for output in self._context.outputs)

    def __repr__(self) -> str:
        outcome = type(self.outcome).__name__ if self.outcome else "undecided"
        return f"<{type(self).__name__} {self.txid}: {outcome}>"


def _latest(moments: frozenset[Moment]) -> str:
    return str([moment for moment in Moment if moment in moments][-1]) if moments else "nothing yet"


class Receipt(_ReceiptBase):
    """Handle of one put: its ref, its moments, and how its context ended."""

    def wait(self, moment: str, timeout: float | None = None) -> None:
        """Wait for a moment.

        Parameters
        ----------
        moment
            ``released`` (the source may change), ``durable`` (at every required destination), ``journaled``,
            ``committed`` or ``settled``.
        timeout
            Seconds; None waits as long as it takes.

        Raises
        ------
        CommitConflictError, CommitFailedError, CommitParkedError, CommitUnknownError
            The moment cannot come any more; ``.outcome`` says why.
        StateError
            ``kind="timeout"``: it has not come in time, and may still come; or ``"runtime_thread"``.
        """
        self._wait(Moment.make(moment), timeout)


class AsyncReceipt(_ReceiptBase):
    """Handle of one put: its ref, its moments, and how its context ended."""

    async def wait(self, moment: str, timeout: float | None = None) -> None:  # noqa: ASYNC109  the product's word
        """Wait for a moment; see `Receipt.wait`. Cancelling ends the waiting only."""
        await self._wait_async(Moment.make(moment), timeout)


class Ticket(_TicketBase):
    """Handle of one commit: its moments and its outcome."""

    def wait(self, level: str = "committed", timeout: float | None = None) -> CommitOutcome | None:
        """Wait until the commit has reached a level, and return its outcome; None where it has none yet.

        Parameters
        ----------
        level
            ``buffered``, ``journaled``, ``committed``, ``settled``, or another moment.
        timeout
            Seconds; None waits as long as it takes.

        Raises
        ------
        CommitConflictError, CommitFailedError, CommitParkedError, CommitUnknownError
            The level cannot be reached any more; ``.outcome`` says why.
        StateError
            ``kind="timeout"``: it has not come in time, and may still come; or ``"runtime_thread"``.
        """
        self._wait(_moment(level), timeout)
        return self.outcome


class AsyncTicket(_TicketBase):
    """Handle of one commit: its moments and its outcome."""

    async def wait(
        self,
        level: str = "committed",
        timeout: float | None = None,  # noqa: ASYNC109  the product's word
    ) -> CommitOutcome | None:
        """Wait until the commit has reached a level; see `Ticket.wait`. Cancelling ends the waiting only."""
        await self._wait_async(_moment(level), timeout)
        return self.outcome

    async def wait_decided(self) -> CommitOutcome:
        """Wait until there is an outcome, good or bad, and return it."""
        await self._progress.wait_async(Moment.COMMITTED)
        return _decided(self.outcome)


def _moment(level: str) -> Moment:
    """Return the moment that a level (or the name of a moment) waits for."""
    if level in tuple(Moment):
        return Moment(level)
    return MOMENT_OF_ACK[Ack.make(level)]


def _decided(outcome: CommitOutcome | None) -> CommitOutcome:
    if outcome is None:
        raise StateError("the commit is not decided yet", hint="wait for 'committed'")
    return outcome


def as_async_receipt(receipt: Receipt) -> AsyncReceipt:
    """Return the handle of the same put for event loops."""
    return AsyncReceipt(receipt._context, receipt._output)  # noqa: SLF001  one handle in two forms


def as_async_ticket(ticket: Ticket) -> AsyncTicket:
    """Return the handle of the same commit for event loops."""
    return AsyncTicket(ticket._context)  # noqa: SLF001  one handle in two forms
