"""The definitions of a repository, for event loops: dataset types, dimensions, collections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from uuid import UUID

from quantumio.butler._async_butler_base import AsyncButlerBase
from quantumio.butler._imported_dimensions import DimensionImport
from quantumio.butler._session import AsOf, Collections
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.model import (
    DataId,
    DatasetRef,
    DatasetType,
    DestinationSettings,
)
from quantumio.ports import CollectionRecord, CollectionRemoval

__all__ = ["AsyncDefinitions"]


class AsyncDefinitions(AsyncButlerBase):
    """Registers and tells what a repository consists of."""

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

    async def import_dimensions(
        self,
        path: str | PathLike[str],
        *,
        dry_run: bool = False,
    ) -> DimensionImport:
        """Insert the dimension records of an export of the Rubin Data Butler (a YAML file).

        See `Butler.import_dimensions`.
        """
        butler = await self._opened()
        return await in_thread(butler.import_dimensions, path, dry_run=dry_run)

    async def query_dimension_records(
        self,
        element: str,
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> list[dict[str, object]]:
        """Return the records of a dimension, ordered by key; see `Butler.query_dimension_records`."""
        butler = await self._opened()
        return await reading_in_thread(
            butler.query_dimension_records, element, where=where, bind=bind, as_of=as_of, **keys
        )

    async def query_data_ids(
        self,
        dimensions: Sequence[str],
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        datasets: str | Sequence[str] = (),
        collections: Collections = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> list[DataId]:
        """Return the data IDs over these dimensions that exist as dimension records, or as datasets.

        See `Butler.query_data_ids`.
        """
        butler = await self._opened()
        return await reading_in_thread(
            butler.query_data_ids,
            dimensions,
            where=where,
            bind=bind,
            datasets=datasets,
            collections=collections,
            as_of=as_of,
            **keys,
        )

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

    async def certify_each(
        self,
        collection: str,
        refs: Iterable[DatasetRef | UUID | str],
        begins: object = None,
        ends: object = None,
    ) -> int:
        """Certify many calibrations at once, each in its own timespan; see `Butler.certify_each`."""
        butler = await self._opened()
        return await in_thread(butler.certify_each, collection, refs, begins, ends)

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
        *,
        edit: str = "set",
    ) -> None:
        """Define a CHAINED collection: these are searched in order; see `Butler.chain`."""
        butler = await self._opened()
        return await in_thread(butler.chain, collection, children, edit=edit)

    async def remove_collection(
        self,
        collection: str,
        *,
        unlink: bool = False,
        dry_run: bool = True,
    ) -> CollectionRemoval:
        """End a collection: its members stay where they are; see `Butler.remove_collection`."""
        butler = await self._opened()
        return await in_thread(butler.remove_collection, collection, unlink=unlink, dry_run=dry_run)
