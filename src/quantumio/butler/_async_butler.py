"""AsyncButler: the same Butler for event loops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, overload
from uuid import UUID

import anyio
import anyio.from_thread

from quantumio.butler._async_butler_care import AsyncCare
from quantumio.butler._async_butler_definitions import AsyncDefinitions
from quantumio.butler._async_butler_history import AsyncHistory
from quantumio.butler._async_butler_reads import AsyncReads
from quantumio.butler._async_context import PUTS_AT_ONCE, AsyncDataContext
from quantumio.butler._bulk_ingest import FileTable, IngestProgress, IngestReport
from quantumio.butler._butler import Butler, Root, note_beside
from quantumio.butler._certifications import AsyncCertifications, Certifications
from quantumio.butler._context import DataContext
from quantumio.butler._deferred import DeferredDataset
from quantumio.butler._handles import AsyncTicket, Ticket, as_async_ticket
from quantumio.butler._imported_datasets import DatasetImport
from quantumio.butler._join import AsyncJoin, Join
from quantumio.butler._query import AsyncQuery, Query
from quantumio.butler._session import AsOf, Collections
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.engine import (
    RuntimeStatus,
)
from quantumio.errors import StateError
from quantumio.model import (
    DIRECT,
    Ack,
    CommitOutcome,
    DatasetRef,
    DimensionUniverse,
    LedgerEntry,
)

__all__ = ["AsyncButler", "AsyncDeferredDataset"]


class AsyncDeferredDataset:
    """A dataset that is read when asked for; see `DeferredDataset`.

    Attributes
    ----------
    ref
        Which dataset.
    """

    def __init__(self, deferred: DeferredDataset) -> None:
        self._deferred = deferred
        self.ref = deferred.ref

    async def get(
        self,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        readonly: bool = False,
    ) -> object:
        """Read it; see `Butler.get`."""
        return await reading_in_thread(
            self._deferred.get,
            as_=as_,
            component=component,
            columns=columns,
            readonly=readonly,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref}>"


class AsyncButler(AsyncDefinitions, AsyncReads, AsyncHistory, AsyncCare):
    """The same as `Butler`, for event loops (asyncio and trio): what blocks there is awaited here.

    It opens its repositories at its first use, in a worker thread: entering it (``async with``) or the first
    method that is awaited. Cancelling a call that only reads abandons it; one that changes something is
    waited for.

    Parameters
    ----------
    root, run, collections, readonly, policy, **data_id_defaults
        See `Butler`.
    """

    def __init__(
        self,
        root: Root | Sequence[Root],
        *,
        run: str | None = None,
        collections: Collections = None,
        readonly: bool = False,
        policy: Root | None = None,
        **data_id_defaults: object,
    ) -> None:
        self._open = partial(
            Butler,
            root,
            run=run,
            collections=collections,
            readonly=readonly,
            policy=policy,
            **data_id_defaults,
        )
        self._opening = threading.Lock()
        self._put_limiter = anyio.CapacityLimiter(PUTS_AT_ONCE)
        self._butler: Butler | None = None

    @classmethod
    async def create(
        cls,
        root: Root,
        config: Mapping[str, object] | Root | None = None,
        *,
        registry: str | None = None,
        dimensions: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Self:
        """Make a repository and open it; see `Butler.create`."""
        (await in_thread(Butler.create, root, config, registry=registry, dimensions=dimensions)).close()
        butler = cls(root)
        await butler._opened()
        return butler

    @classmethod
    async def upgrade(cls, root: Root, *, force: bool = False) -> None:
        """Bring a repository that an older quantumio made up to date; see `Butler.upgrade`."""
        await in_thread(Butler.upgrade, root, force=force)

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failures: list[Exception] = []

        async def close() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await self.close()
                except Exception as failure:  # noqa: BLE001  raised, or noted, below
                    failures.append(failure)

        try:
            with anyio.CancelScope(shield=True):
                # No shield holds off asyncio's own ``Task.cancel``; a group waits for its tasks nevertheless.
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(close)
        except BaseException as cancelled:
            for failure in failures:
                _note(cancelled, failure)
            raise
        for failure in failures:
            if error is None or not isinstance(failure, ExceptionGroup):
                raise failure
            _note(error, failure)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._butler!r}>"

    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimensions of the (first) repository; the Butler must have been entered."""
        if self._butler is None:
            raise StateError("the Butler was not entered yet", hint="use `async with AsyncButler(...)`")
        return self._butler.dimensions

    def context(
        self,
        run: str | None = None,
        *,
        collections: Collections = None,
        key: str | None = None,
        ack: str | Ack = "committed",
    ) -> AsyncDataContext:
        """Open the transaction of one quantum, with ``async with``; see `Butler.context`."""

        def open_context() -> DataContext:
            return self._open_once().context(run, collections=collections, key=key, ack=ack)

        return AsyncDataContext(open_context, put_limiter=self._put_limiter)

    @classmethod
    async def resume(cls, token: str) -> AsyncDataContext:
        """Go on with a context that another process handed over; see `Butler.resume`."""
        return AsyncDataContext(await in_thread(Butler.resume, token))

    def query(
        self,
        dataset_type: str | Sequence[str] = "*",
        *,
        where: str | None = None,
        collections: Collections = None,
        order_by: str | Sequence[str] = (),
        limit: int | None = None,
        versions: str = "latest",
        bind: Mapping[str, object] | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> AsyncQuery:
        """Look for datasets, lazily; see `Butler.query`."""

        def make() -> Query:
            return self._open_once().query(
                dataset_type,
                where=where,
                collections=collections,
                order_by=order_by,
                limit=limit,
                versions=versions,
                bind=bind,
                as_of=as_of,
                **keys,
            )

        return AsyncQuery(make)

    def query_joined(
        self,
        dataset_types: Sequence[str],
        *,
        calibrations: str | Sequence[str] = (),
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        collections: Collections = None,
        limit: int | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> AsyncJoin:
        """Look for datasets that belong together, lazily; see `Butler.query_joined`."""

        def make() -> Join:
            return self._open_once().query_joined(
                dataset_types,
                calibrations=calibrations,
                where=where,
                bind=bind,
                collections=collections,
                limit=limit,
                as_of=as_of,
                **keys,
            )

        return AsyncJoin(make)

    def certifications(
        self,
        collections: str | Sequence[str],
        dataset_type: str | Sequence[str] = "*",
        data_id: Mapping[str, object] | None = None,
        *,
        begin: object = None,
        end: object = None,
        as_of: AsOf = None,
    ) -> AsyncCertifications:
        """Look for certifications, lazily; see `Butler.certifications`."""

        def make() -> Certifications:
            return self._open_once().certifications(
                collections, dataset_type, data_id, begin=begin, end=end, as_of=as_of
            )

        return AsyncCertifications(make)

    async def defer(self, ref: DatasetRef | UUID) -> AsyncDeferredDataset:
        """Return a handle that reads the dataset later; see `Butler.defer`."""
        butler = await self._opened()
        return AsyncDeferredDataset(await reading_in_thread(butler.defer, ref))

    async def ticket(self, txid: UUID | str) -> AsyncTicket | CommitOutcome:
        """Return the ticket of a transaction, or the outcome of a decided one; see `Butler.ticket`."""
        butler = await self._opened()
        known = await reading_in_thread(butler.ticket, txid)
        return as_async_ticket(known) if isinstance(known, Ticket) else known

    async def pending(self) -> list[AsyncTicket]:
        """Return the tickets of commits that are not settled."""
        butler = await self._opened()
        return [as_async_ticket(ticket) for ticket in butler.pending()]

    async def close(self, timeout: float | None = 30) -> None:  # noqa: ASYNC109  the product's word
        """Wait until everything committed is settled, and close; see `Butler.close`."""
        if self._butler is not None:
            await in_thread(self._butler.close, timeout)

    @overload
    async def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]],
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,
        token: None = None,
        progress: None = None,
        **keys: object,
    ) -> list[DatasetRef]: ...

    @overload
    async def ingest(
        self,
        files: FileTable,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,
        token: str | None = None,
        progress: Callable[[IngestProgress], object] | None = None,
        **keys: object,
    ) -> IngestReport: ...

    async def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]] | FileTable,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,  # noqa: A002  the product's word
        token: str | None = None,
        progress: Callable[[IngestProgress], object] | None = None,
        **keys: object,
    ) -> list[DatasetRef] | IngestReport:
        """Make files that exist datasets; see `Butler.ingest`."""
        ingest: Any = (await self._opened()).ingest
        call = partial(
            ingest, run=run, transfer=transfer, format=format, token=token, progress=progress, **keys
        )
        return await in_thread(call, files, dataset_type, data_id)

    async def import_datasets(
        self,
        path: Root,
        *,
        root: Root | None = None,
        transfer: str = DIRECT,
        storage_classes: Mapping[str, object] | None = None,
        dry_run: bool = False,
    ) -> DatasetImport:
        """Insert the datasets of an export of the Rubin Data Butler, with their collections.

        See `Butler.import_datasets`.
        """
        butler = await self._opened()
        return await in_thread(
            butler.import_datasets,
            path,
            root=root,
            transfer=transfer,
            storage_classes=storage_classes,
            dry_run=dry_run,
        )

    async def forget(
        self,
        ref: DatasetRef | UUID,
    ) -> bool:
        """Let a temporary go; False if it is not there (any more); see `Butler.forget`."""
        butler = await self._opened()
        return await in_thread(butler.forget, ref)

    async def promote(
        self,
        ref: DatasetRef,
        *,
        to: str | Sequence[str] = "local",
    ) -> DatasetRef:
        """Turn a temporary that is still alive into a persistent dataset of its run; see `Butler.promote`."""
        butler = await self._opened()
        return await in_thread(butler.promote, ref, to=to)

    async def errors(
        self,
        acknowledge: bool = False,
    ) -> list[LedgerEntry]:
        """Return background failures that nobody acknowledged, oldest first; ``acknowledge`` forgets them.

        See `Butler.errors`.
        """
        butler = await self._opened()
        return await reading_in_thread(butler.errors, acknowledge)

    async def status(
        self,
    ) -> list[RuntimeStatus]:
        """Return what the runtime of each repository is doing; see `Butler.status`."""
        butler = await self._opened()
        return await reading_in_thread(butler.status)

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  the product's word
        """Wait until everything committed is settled; see `Butler.drain`."""
        butler = await self._opened()
        return await in_thread(butler.drain, timeout)


def _note(error: BaseException, failure: Exception) -> None:
    group = failure if isinstance(failure, ExceptionGroup) else ExceptionGroup("closing", [failure])
    note_beside(error, group)
