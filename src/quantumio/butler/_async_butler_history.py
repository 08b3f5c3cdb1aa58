"""What was made from what, and what is there no more, for event loops."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from quantumio.butler._async_butler_base import AsyncButlerBase
from quantumio.butler._lineage import Lineage
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.model import DatasetRef
from quantumio.ports import Deletion

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
