"""What the sides of an AsyncButler share: the Butler that it opens at its first use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from quantumio.butler._butler import Butler
from quantumio.butler._threads import in_thread

__all__ = ["AsyncButlerBase"]


class AsyncButlerBase:
    """Opens a Butler, once, in a worker thread."""

    _open: Callable[[], Butler]
    _butler: Butler | None
    _opening: threading.Lock

    async def _opened(self) -> Butler:
        if self._butler is None:
            await in_thread(self._open_once)
        assert self._butler is not None
        return self._butler

    def _open_once(self) -> Butler:
        with self._opening:
            if self._butler is None:
                self._butler = self._open()
            return self._butler
