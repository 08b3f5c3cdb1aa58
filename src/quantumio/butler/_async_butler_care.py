"""Care of a repository, for event loops: recovery, checks, garbage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio
import anyio.from_thread

from quantumio.butler._async_butler_base import AsyncButlerBase
from quantumio.butler._butler_care import Transactions
from quantumio.butler._session import Collections
from quantumio.butler._threads import in_thread
from quantumio.engine import (
    GRACE_S,
    FsckProgress,
    FsckReport,
    GarbageProgress,
    GarbageReport,
    RecoveryItem,
    RecoveryReport,
    SetAside,
)

__all__ = ["AsyncCare"]


class AsyncCare(AsyncButlerBase):
    """Finishes what the dead have left, checks what is stored, and removes garbage."""

    async def recover(
        self,
        *,
        dry_run: bool = False,
        restored: bool = False,
        retry: Transactions | None = None,
        drop: Transactions | None = None,
        as_next: bool = False,
    ) -> RecoveryReport:
        """Finish or end what processes that died have left, or what was set aside; see `Butler.recover`.

        Notes
        -----
        If cancelled, it goes on in the background.
        """
        butler = await self._opened()
        return await in_thread(
            butler.recover, dry_run=dry_run, restored=restored, retry=retry, drop=drop, as_next=as_next
        )

    async def set_aside(self) -> list[SetAside]:
        """Return the transactions that nobody goes on with until somebody decides; see `Butler.set_aside`."""
        butler = await self._opened()
        return await in_thread(butler.set_aside)

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
        lost: Iterable[str] = (),
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

        return await in_thread(
            butler.fsck, level, collections=collections, repair=repair, lost=lost, progress=told
        )

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
