"""Snapshots of arrays in memory that is used again.

The first touch of fresh pages costs more than the copy itself (measured on a 2-core machine: 1.6-1.9 GB/s
into fresh, 8-10 GB/s into warmed memory), so buffers of large arrays go back to a pool when their output
is placed.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BufferPool", "PooledCopies"]

_SMALLEST: Final = 256 * 1024
"""Arrays below this are copied into ordinary memory, in bytes."""


def _size_class(nbytes: int) -> int:
    """Round up to an eighth of the next power of two, so that at most an eighth or so is wasted."""
    step = 1 << max(nbytes.bit_length() - 4, 12)
    return -(-nbytes // step) * step


class BufferPool:
    """Buffers by size class, kept for reuse up to a number of idle bytes.

    Parameters
    ----------
    max_idle_bytes
        What more comes back is given to the operating system.
    """

    def __init__(self, max_idle_bytes: int) -> None:
        self._max_idle_bytes = max_idle_bytes
        self._idle: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        self._idle_bytes = 0
        self._lock = threading.RLock()  # an abandoned context may be collected under it

    def take(self, nbytes: int) -> np.ndarray:
        """Return a ``uint8`` buffer of at least so many bytes; its contents are arbitrary."""
        import numpy as np

        size = _size_class(nbytes)
        with self._lock:
            if buffers := self._idle[size]:
                self._idle_bytes -= size
                return buffers.pop()
        return np.empty(size, dtype=np.uint8)

    def give_back(self, buffer: np.ndarray) -> None:
        """Take a buffer back that nobody looks at any more."""
        with self._lock:
            if self._idle_bytes + buffer.nbytes <= self._max_idle_bytes:
                self._idle_bytes += buffer.nbytes
                self._idle[buffer.nbytes].append(buffer)


class PooledCopies:
    """Copies arrays into a pool's buffers and remembers these, for one output."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._buffers: list[np.ndarray] = []

    def copy(self, array: np.ndarray) -> np.ndarray:
        """Return a C-contiguous, native-endian copy."""
        import numpy as np

        dtype = array.dtype.newbyteorder("=")
        if array.nbytes < _SMALLEST:
            return np.array(array, dtype=dtype, order="C", copy=True, subok=False)
        buffer = self._pool.take(array.nbytes)
        self._buffers.append(buffer)
        target = buffer[: array.nbytes].view(dtype).reshape(array.shape)
        np.copyto(target, array, casting="equiv")
        return target

    def release(self) -> None:
        """Give the buffers back. Nobody may look at the copies any more."""
        for buffer in self._buffers:
            self._pool.give_back(buffer)
        self._buffers.clear()

    def keep(self) -> None:
        """Never give the buffers back: somebody was handed the copies themselves."""
        self._buffers.clear()
