"""Reading and looking up, for event loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from quantumio.butler._async_butler_base import AsyncButlerBase
from quantumio.butler._records import DatasetVersion, Location
from quantumio.butler._session import AsOf, Collections
from quantumio.butler._threads import reading_in_thread
from quantumio.model import (
    DatasetRef,
    Resolution,
)

__all__ = ["AsyncReads"]


class AsyncReads(AsyncButlerBase):
    """Reads datasets, and tells of them."""

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
        as_of: AsOf = None,
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
            as_of=as_of,
            **keys,
        )

    async def find(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        as_of: AsOf = None,
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
            as_of=as_of,
            **keys,
        )

    async def exists(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        as_of: AsOf = None,
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
            as_of=as_of,
            **keys,
        )

    async def find_each(
        self,
        dataset_type: str,
        data_ids: Iterable[Mapping[str, object]],
        *,
        collections: Collections = None,
        as_: str = "arrow",
        as_of: AsOf = None,
    ) -> object:
        """Look many data IDs up at once; see `Butler.find_each`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.find_each, dataset_type, data_ids, collections=collections, as_=as_, as_of=as_of
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
        as_of: AsOf = None,
        **keys: object,
    ) -> list[DatasetVersion]:
        """Return all versions of a dataset in one run, oldest first; see `Butler.versions`."""
        butler = await self._opened()
        return await reading_in_thread(butler.versions, dataset_type, data_id, run=run, as_of=as_of, **keys)

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
