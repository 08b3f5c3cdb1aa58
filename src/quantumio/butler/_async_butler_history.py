"""What was made from what, and what is there no more, for event loops."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from quantumio.butler._async_butler_base import AsyncButlerBase
from quantumio.butler._lineage import Lineage
from quantumio.butler._session import Collections
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.model import DatasetRef
from quantumio.ports import Deletion, Difference, RemovedCollection, SnapshotRecord

__all__ = ["AsyncHistory"]


class AsyncHistory(AsyncButlerBase):
    """Tells of the past, and ends what is there."""

    async def lineage(
        self, ref: DatasetRef | UUID | str, direction: str = "up", *, depth: int | None = None
    ) -> Lineage:
        """Return from what a dataset was made, or what was made from it; see `Butler.lineage`."""
        butler = await self._opened()
        return await reading_in_thread(butler.lineage, ref, direction, depth=depth)

    async def delete(
        self,
        refs: DatasetRef | UUID | Iterable[DatasetRef | UUID | str],
        *,
        unlink: bool = False,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete datasets, all or none: nobody finds them from then on; see `Butler.delete`."""
        butler = await self._opened()
        return await in_thread(butler.delete, refs, unlink=unlink, dry_run=dry_run)

    async def retention(
        self,
        dataset_type: str | Iterable[str] = "*",
        *,
        collections: Collections,
        keep_last: int | None = None,
        younger_than: timedelta | None = None,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete versions that no rule keeps, and that nothing else has; see `Butler.retention`."""
        butler = await self._opened()
        return await in_thread(
            butler.retention,
            dataset_type,
            collections=collections,
            keep_last=keep_last,
            younger_than=younger_than,
            dry_run=dry_run,
        )

    async def snapshot(self, name: str, *, at: int | None = None, note: str = "") -> SnapshotRecord:
        """Name a moment; see `Butler.snapshot`."""
        butler = await self._opened()
        return await in_thread(butler.snapshot, name, at=at, note=note)

    async def remove_snapshot(self, name: str) -> None:
        """Give up a snapshot; see `Butler.remove_snapshot`."""
        butler = await self._opened()
        await in_thread(butler.remove_snapshot, name)

    async def removed_collections(self, pattern: str = "*") -> list[RemovedCollection]:
        """Return the collections that were removed and whose name matches a glob, by name and time.

        See `Butler.removed_collections`.
        """
        butler = await self._opened()
        return await reading_in_thread(butler.removed_collections, pattern)

    async def snapshots(self) -> list[SnapshotRecord]:
        """Return the snapshots of the (first) repository, by name."""
        butler = await self._opened()
        return await reading_in_thread(butler.snapshots)

    async def diff(self, before: int | str, after: int | str | None = None) -> Difference:
        """Return which datasets there are at one moment and not at another; see `Butler.diff`."""
        butler = await self._opened()
        return await reading_in_thread(butler.diff, before, after)
