"""AsyncDataContext: the transaction of one quantum, for event loops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Literal, Self
from uuid import UUID

import anyio
import anyio.lowlevel

from quantumio.butler._context import DataContext
from quantumio.butler._handles import AsyncReceipt, AsyncTicket, Receipt, as_async_receipt, as_async_ticket
from quantumio.butler._threads import in_thread, limited_in_thread, reading_in_thread
from quantumio.engine import GIVEN_UP
from quantumio.errors import QuantumioError, StateError
from quantumio.model import Ack, DatasetRef

__all__ = ["PUTS_AT_ONCE", "AsyncDataContext"]

PUTS_AT_ONCE: Final = 8
"""Worker threads that the puts of one Butler may take at the same time."""


class AsyncDataContext:
    """The transaction of one quantum, for event loops (asyncio and trio); see `DataContext`.

    It may be entered in one task and left in another. It opens at its first use: entering it, or the first
    method that is awaited.

    Parameters
    ----------
    opened
        The context, or what opens it (in a worker thread).
    put_limiter
        Bounds the worker threads of puts; contexts of one Butler share one.
    """

    def __init__(
        self,
        opened: DataContext | Callable[[], DataContext],
        *,
        put_limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        self._open = None if isinstance(opened, DataContext) else opened
        self._context = opened if isinstance(opened, DataContext) else None
        # Puts may wait for the buffer, which commits empty: they must not take the threads of these.
        self._put_limiter = put_limiter or anyio.CapacityLimiter(PUTS_AT_ONCE)

    async def _opened(self) -> DataContext:
        if self._context is None:
            assert self._open is not None
            self._context = await in_thread(self._open)
        return self._context

    @property
    def _entered(self) -> DataContext:
        if self._context is None:
            raise StateError("the context was not entered yet", hint="use `async with butler.context(...)`")
        return self._context

    @property
    def run(self) -> str:
        """RUN collection that its outputs go to."""
        return self._entered.run

    @property
    def txid(self) -> UUID:
        """Transaction it is."""
        return self._entered.txid

    @property
    def key(self) -> str | None:
        """Idempotency key, None without."""
        return self._entered.key

    @property
    def refs(self) -> tuple[DatasetRef, ...]:
        """Refs of what was put, in order; with versions once committed."""
        return self._entered.refs

    @property
    def put_seconds(self) -> float:
        """Seconds that worker threads were busy or blocked in put so far."""
        return self._entered.put_seconds

    @property
    def output_count(self) -> int:
        """Number of outputs that were accepted."""
        return self._entered.output_count

    @property
    def output_bytes(self) -> int:
        """Size of the accepted outputs in memory, bytes."""
        return self._entered.output_bytes

    @property
    def ticket(self) -> AsyncTicket:
        """Handle of its commit."""
        return as_async_ticket(self._entered.ticket)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._context!r}>"

    def token(self) -> str:
        """Hand the context over to another process; see `DataContext.token`."""
        return self._entered.token()

    async def put(
        self,
        obj: object,
        dataset_type_or_ref: str | DatasetRef,
        data_id: Mapping[str, object] | None = None,
        *,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        expect: int | Literal["create"] | None = None,
        replace: bool = False,
        **keys: object,
    ) -> AsyncReceipt:
        """Accept one output; see `DataContext.put`.

        Notes
        -----
        Copying and encoding happen in a worker thread. If cancelled while it waits for the buffer, nothing
        was accepted; if cancelled later, ``refs`` says whether it was.
        """
        context = await self._opened()
        put = partial(
            context.put,
            obj,
            dataset_type_or_ref,
            data_id,
            to=to,
            own=own,
            expect=expect,
            replace=replace,
            **keys,
        )
        return as_async_receipt(await self._put_in_thread(context, put))

    async def _put_in_thread(self, context: DataContext, put: Callable[[], Receipt]) -> Receipt:
        """Put in a worker thread; cancelling ends its waiting for the buffer, and then waits for it."""
        given_up = threading.Event()
        outcome: Receipt | Exception | None = None

        async def watch() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                context.give_up_waiting(given_up)

        token = GIVEN_UP.set(given_up)  # the worker thread gets a copy of this task's variables
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                try:
                    outcome = await limited_in_thread(self._put_limiter, put)
                except Exception as error:  # noqa: BLE001  raised below: not as a group
                    outcome = error
                tasks.cancel_scope.cancel()
        finally:
            GIVEN_UP.reset(token)
        if isinstance(outcome, Exception):
            await anyio.lowlevel.checkpoint_if_cancelled()  # then the cancellation is the reason
            raise outcome
        assert outcome is not None
        return outcome

    async def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read a dataset; see `DataContext.get`. Cancelling abandons the reading."""
        context = await self._opened()
        return await reading_in_thread(
            context.get,
            dataset_type_or_ref,
            data_id,
            as_=as_,
            component=component,
            columns=columns,
            version=version,
            readonly=readonly,
            **keys,
        )

    async def commit(self, ack: str | Ack | None = None) -> AsyncTicket:
        """Seal the context, and wait until its commit has reached a level; see `DataContext.commit`.

        Notes
        -----
        If cancelled while waiting, the commit is given up unless it is becoming visible already; when this
        returns the ticket's outcome says which.
        """
        context = await self._opened()
        level = context.level(ack)
        # Only hands over to the runtime; the first commit of a process also starts its thread.
        ticket = as_async_ticket(await in_thread(context.hand_over, level))
        if level is not Ack.BUFFERED:
            try:
                await ticket.wait(str(level))
            except anyio.get_cancelled_exc_class():
                context.give_up()
                with anyio.CancelScope(shield=True):
                    await ticket.wait_decided()
                raise
        return ticket

    async def abort(self) -> None:
        """Forget everything that was put."""
        if self._context is not None:
            await in_thread(self._context.abort)

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._entered.is_open:
            return
        if error is None:
            await self.commit()
            return
        try:
            with anyio.CancelScope(shield=True):
                await self.abort()
        except QuantumioError as trouble:
            error.add_note(f"while aborting {self!r}: {trouble}")
