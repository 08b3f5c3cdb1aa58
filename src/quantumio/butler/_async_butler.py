"""AsyncButler: the same Butler for event loops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
import anyio.from_thread

from quantumio.butler._async_context import PUTS_AT_ONCE, AsyncDataContext
from quantumio.butler._butler import Butler, Root
from quantumio.butler._context import DataContext
from quantumio.butler._deferred import DeferredDataset
from quantumio.butler._handles import AsyncTicket, Ticket, as_async_ticket
from quantumio.butler._query import AsyncQuery, Query
from quantumio.butler._records import DatasetVersion, Location
from quantumio.butler._session import Collections
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.engine import (
    GRACE_S,
    FsckProgress,
    FsckReport,
    GarbageProgress,
    GarbageReport,
    RecoveryItem,
    RecoveryReport,
    RuntimeStatus,
)
from quantumio.errors import StateError
from quantumio.model import (
    Ack,
    CommitOutcome,
    DataId,
    DatasetRef,
    DatasetType,
    DestinationSettings,
    DimensionUniverse,
    LedgerEntry,
    Resolution,
)
from quantumio.ports import CollectionRecord

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


class AsyncButler:
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
        self._lock = threading.Lock()
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
    async def upgrade(cls, root: Root) -> None:
        """Bring a repository that an older quantumio made up to date; see `Butler.upgrade`."""
        await in_thread(Butler.upgrade, root)

    async def _opened(self) -> Butler:
        if self._butler is None:
            await in_thread(self._open_once)
        assert self._butler is not None
        return self._butler

    def _open_once(self) -> Butler:
        with self._lock:
            if self._butler is None:
                self._butler = self._open()
            return self._butler

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

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
                **keys,
            )

        return AsyncQuery(make)

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

    async def register_dataset_type(
        self,
        dataset_type: DatasetType,
    ) -> bool:
        """Register a dataset type; False if the same one was registered already.

        See `Butler.register_dataset_type`.
        """
        butler = await self._opened()
        return await in_thread(butler.register_dataset_type, dataset_type)

    async def dataset_type(
        self,
        name: str,
    ) -> DatasetType:
        """Return a registered dataset type; see `Butler.dataset_type`."""
        butler = await self._opened()
        return await reading_in_thread(butler.dataset_type, name)

    async def dataset_types(
        self,
    ) -> list[DatasetType]:
        """Return all registered dataset types, by name; see `Butler.dataset_types`."""
        butler = await self._opened()
        return await reading_in_thread(butler.dataset_types)

    async def insert_dimension(
        self,
        element: str,
        records: object,
    ) -> int:
        """Insert dimension records in bulk, all or none; the same record again is no error.

        See `Butler.insert_dimension`.
        """
        butler = await self._opened()
        return await in_thread(butler.insert_dimension, element, records)

    async def query_dimension_records(
        self,
        element: str,
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> list[dict[str, object]]:
        """Return the records of a dimension, ordered by key; see `Butler.query_dimension_records`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.query_dimension_records, element, where=where, bind=bind, **keys
        )

    async def query_data_ids(
        self,
        dimensions: Sequence[str],
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> list[DataId]:
        """Return the data IDs over these dimensions that exist as dimension records.

        See `Butler.query_data_ids`.
        """
        butler = await self._opened()
        return await reading_in_thread(butler.query_data_ids, dimensions, where=where, bind=bind, **keys)

    async def destinations(self) -> list[DestinationSettings]:
        """Return the settings of the destinations that policies can name; see `Butler.destinations`."""
        butler = await self._opened()
        return await reading_in_thread(butler.destinations)

    async def collections(
        self,
        pattern: str = "*",
    ) -> list[CollectionRecord]:
        """Return the collections whose name matches a glob, by name; see `Butler.collections`."""
        butler = await self._opened()
        return await reading_in_thread(butler.collections, pattern)

    async def register_run(
        self,
        name: str,
    ) -> bool:
        """Register a RUN collection (the first commit to it does so, too); False if it was there.

        See `Butler.register_run`.
        """
        butler = await self._opened()
        return await in_thread(butler.register_run, name)

    async def associate(
        self,
        collection: str,
        refs: Iterable[DatasetRef],
    ) -> None:
        """Add refs to a TAGGED collection (made where there is none), all or none; see `Butler.associate`."""
        butler = await self._opened()
        return await in_thread(butler.associate, collection, refs)

    async def disassociate(
        self,
        collection: str,
        refs: Iterable[DatasetRef],
    ) -> None:
        """Take refs out of a TAGGED collection; those that are not in it are no error.

        See `Butler.disassociate`.
        """
        butler = await self._opened()
        return await in_thread(butler.disassociate, collection, refs)

    async def certify(
        self,
        collection: str,
        refs: Iterable[DatasetRef],
        begin: object,
        end: object,
    ) -> None:
        """Say when calibrations are valid, in a CALIBRATION collection (made where there is none).

        See `Butler.certify`.
        """
        butler = await self._opened()
        return await in_thread(butler.certify, collection, refs, begin, end)

    async def decertify(
        self,
        collection: str,
        dataset_type: str,
        begin: object,
        end: object,
        *,
        data_ids: Sequence[DataId] | None = None,
    ) -> None:
        """End the validity of calibrations within a timespan, truncating and splitting ranges.

        See `Butler.decertify`.
        """
        butler = await self._opened()
        return await in_thread(butler.decertify, collection, dataset_type, begin, end, data_ids=data_ids)

    async def chain(
        self,
        collection: str,
        children: Sequence[str],
    ) -> None:
        """Define a CHAINED collection: these are searched in order; see `Butler.chain`."""
        butler = await self._opened()
        return await in_thread(butler.chain, collection, children)

    async def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read a dataset: by its ref, or the first match in the collections, in order; see `Butler.get`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.get,
            dataset_type_or_ref,
            data_id,
            collections=collections,
            as_=as_,
            component=component,
            columns=columns,
            version=version,
            readonly=readonly,
            **keys,
        )

    async def find(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        **keys: object,
    ) -> DatasetRef | None:
        """Return the ref of the first committed match, or None; see `Butler.find`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.find,
            dataset_type,
            data_id,
            collections=collections,
            version=version,
            **keys,
        )

    async def exists(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        **keys: object,
    ) -> bool:
        """Tell whether there is a committed match; see `Butler.exists`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.exists,
            dataset_type_or_ref,
            data_id,
            collections=collections,
            version=version,
            **keys,
        )

    async def ref(
        self,
        dataset_id: UUID | str,
    ) -> DatasetRef:
        """Return the ref of a committed dataset by its UUID; see `Butler.ref`."""
        butler = await self._opened()
        return await reading_in_thread(butler.ref, dataset_id)

    async def versions(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        **keys: object,
    ) -> list[DatasetVersion]:
        """Return all versions of a dataset in one run, oldest first; see `Butler.versions`."""
        butler = await self._opened()
        return await reading_in_thread(butler.versions, dataset_type, data_id, run=run, **keys)

    async def where_is(
        self,
        ref: DatasetRef | UUID,
    ) -> list[Location]:
        """Return where the bytes (or rows) of a dataset are; see `Butler.where_is`."""
        butler = await self._opened()
        return await reading_in_thread(butler.where_is, ref)

    async def explain_put(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        **keys: object,
    ) -> Resolution:
        """Return which destinations and which format an output would get, by which rule, and why.

        See `Butler.explain_put`.
        """
        butler = await self._opened()
        return await reading_in_thread(
            butler.explain_put, dataset_type, data_id, run=run, to=to, own=own, **keys
        )

    async def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]],
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,  # noqa: A002  the product's word
        **keys: object,
    ) -> list[DatasetRef]:
        """Make files that exist datasets, all or none, in one commit; see `Butler.ingest`."""
        butler = await self._opened()
        return await in_thread(
            butler.ingest, files, dataset_type, data_id, run=run, transfer=transfer, format=format, **keys
        )

    async def recover(self, *, dry_run: bool = False, restored: bool = False) -> RecoveryReport:
        """Finish or end what processes that died have left; see `Butler.recover`.

        Notes
        -----
        If cancelled, it goes on in the background.
        """
        butler = await self._opened()
        return await in_thread(butler.recover, dry_run=dry_run, restored=restored)

    async def unfinished(self) -> list[RecoveryItem]:
        """Return all that is on its way, in this and in other processes; see `Butler.unfinished`."""
        butler = await self._opened()
        return await in_thread(butler.unfinished)

    async def flush(self, timeout: float | None = None) -> list[RecoveryItem]:  # noqa: ASYNC109  the product's word
        """Carry now what is pending, parked or postponed, and return what is left; see `Butler.flush`.

        Notes
        -----
        If cancelled, it goes on in the background.
        """
        butler = await self._opened()
        return await in_thread(butler.flush, timeout)

    async def fsck(
        self,
        level: int = 1,
        *,
        collections: Collections = None,
        repair: bool = False,
        progress: Callable[[FsckProgress], object] | None = None,
    ) -> FsckReport:
        """Check whether what the registry says exists, and is whole; see `Butler.fsck`.

        ``progress`` is called in a worker thread. Cancelling ends the check after the dataset it is at.
        """
        butler = await self._opened()

        def told(event: FsckProgress) -> None:
            anyio.from_thread.check_cancelled()
            if progress is not None:
                progress(event)

        return await in_thread(butler.fsck, level, collections=collections, repair=repair, progress=told)

    async def scrub(
        self,
        *,
        parts: int = 30,
        part: int | None = None,
        collections: Collections = None,
        repair: bool = False,
        progress: Callable[[FsckProgress], object] | None = None,
    ) -> FsckReport:
        """Read a part of all datasets, and check their digests; see `Butler.scrub`.

        ``progress`` is called in a worker thread. Cancelling ends the check after the dataset it is at.
        """
        butler = await self._opened()

        def told(event: FsckProgress) -> None:
            anyio.from_thread.check_cancelled()
            if progress is not None:
                progress(event)

        return await in_thread(
            butler.scrub, parts=parts, part=part, collections=collections, repair=repair, progress=told
        )

    async def gc(
        self,
        *,
        dry_run: bool = True,
        grace_s: float = GRACE_S,
        yes_really: int | None = None,
        adopt_sessions: bool = False,
        progress: Callable[[GarbageProgress], object] | None = None,
    ) -> GarbageReport:
        """Remove what no dataset has and none will ever have; see `Butler.gc`.

        ``progress`` is called in a worker thread. Cancelling ends the run after the objects it is at.
        """
        butler = await self._opened()

        def told(event: GarbageProgress) -> None:
            anyio.from_thread.check_cancelled()
            if progress is not None:
                progress(event)

        return await in_thread(
            butler.gc,
            dry_run=dry_run,
            grace_s=grace_s,
            yes_really=yes_really,
            adopt_sessions=adopt_sessions,
            progress=told,
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
