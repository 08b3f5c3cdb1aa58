"""What a put does with the object it is given: copy, freeze, borrow or encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from quantumio.engine._pool import BufferPool, PooledCopies
from quantumio.errors import ErrorKind, InvalidInputError, MutatedAfterPut
from quantumio.model import DatasetRef, Ownership
from quantumio.ports import StorageClassDelegate

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Snapshot", "choose_ownership", "take_snapshot"]


def choose_ownership(value: object, delegate: StorageClassDelegate, asked: Ownership | None) -> Ownership:
    """Return how the object is taken: as asked, or by its type.

    Raises
    ------
    InvalidInputError
        It has no snapshotter and something else than ``encode`` was asked.
    """
    if delegate.is_immutable(value):
        return Ownership.BORROW
    has_snapshot = delegate.has_snapshot(value)
    if asked is None:
        return Ownership.COPY if has_snapshot else Ownership.ENCODE
    if asked is not Ownership.ENCODE and not has_snapshot:
        raise InvalidInputError(
            f"own={str(asked)!r}: {type(value).__name__} has no snapshotter", hint="use own='encode'"
        )
    return asked


@define
class Snapshot:
    """A canonical value as it was at put, and what it takes to show that it still is.

    Attributes
    ----------
    value
        Canonical; None once released.
    ownership
        How it was taken.
    digests
        xxh3-128 of each array whose memory is still the caller's, as taken at put.
    """

    value: object
    ownership: Ownership
    _copies: PooledCopies
    _digests: list[tuple[np.ndarray, bytes]] = field(factory=list)
    _frozen: list[np.ndarray] = field(factory=list)

    def verify(self, ref: DatasetRef) -> None:
        """Show that the caller's memory still holds what was put.

        Raises
        ------
        MutatedAfterPut
            It does not; nothing of it may be stored.
        """
        for array, digest in self._digests:
            if _digest(array) != digest:
                raise MutatedAfterPut(
                    f"{ref} was changed after it was put with own={str(self.ownership)!r}",
                    hint="put it with own='copy', or do not write to it before it is released",
                )

    def share(self) -> object:
        """Return the value itself, read-only where it has arrays; its memory is never used again."""
        self._copies.keep()
        return self.value

    def release(self) -> None:
        """Let go of the value."""
        self.value = None
        self._digests.clear()
        thaw(self._frozen)
        self._copies.release()


def take_snapshot(
    value: object,
    delegate: StorageClassDelegate,
    ownership: Ownership,
    pool: BufferPool,
    *,
    verify_borrowed: bool,
) -> Snapshot:
    """Make the canonical value that will be written.

    Raises
    ------
    InvalidInputError
        A part of the object has no canonical form.
    """
    copies = PooledCopies(pool)
    if delegate.is_immutable(value):
        return Snapshot(value, ownership, copies)
    digests: list[tuple[np.ndarray, bytes]] = []
    frozen: list[np.ndarray] = []
    if ownership in (Ownership.COPY, Ownership.ENCODE):
        copy_array = copies.copy if ownership is Ownership.COPY else _as_is
    elif ownership is Ownership.FREEZE:
        copy_array = _Watcher(digests, frozen, digest=True)
    else:
        copy_array = _Watcher(digests, None, digest=verify_borrowed)
    try:
        canonical = delegate.canonical(value, copy_array)
    except BaseException:
        copies.release()
        thaw(frozen)
        raise
    return Snapshot(canonical, ownership, copies, digests, frozen)


def _digest(array: np.ndarray) -> bytes:
    import numpy as np
    import xxhash

    return xxhash.xxh3_128_digest(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")


def _as_is(array: np.ndarray) -> np.ndarray:
    """Return the array itself where it is canonical already, else a canonical copy."""
    import numpy as np

    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


class _Watcher:
    """Keeps the caller's arrays, remembering their digests, and freezing them where asked."""

    def __init__(
        self, digests: list[tuple[np.ndarray, bytes]], frozen: list[np.ndarray] | None, *, digest: bool
    ) -> None:
        self._digests = digests
        self._frozen = frozen
        self._digest = digest

    def __call__(self, array: np.ndarray) -> np.ndarray:
        kept = _as_is(array)
        if kept is not array and not _shares_memory(kept, array):
            return kept  # it had to be converted: a copy of our own
        if self._frozen is not None:
            self._frozen += freeze(array)
        if self._digest:
            self._digests.append((kept, _digest(kept)))
        return kept


def _shares_memory(one: np.ndarray, other: np.ndarray) -> bool:
    import numpy as np

    return np.may_share_memory(one, other)


def freeze(array: np.ndarray) -> list[np.ndarray]:
    """Make an array read-only, with every array it is a view of; returns those that were writeable.

    Raises
    ------
    InvalidInputError
        Its memory is not NumPy's, so that nobody could be stopped from writing to it; nothing was changed.
    """
    import numpy as np

    chain: list[np.ndarray] = []
    current: object = array
    while isinstance(current, np.ndarray):
        chain.append(current)
        current = current.base
    if current is not None and not isinstance(current, bytes):
        raise InvalidInputError(
            f"own='freeze': the array's memory belongs to a {type(current).__name__}",
            hint="use own='copy'",
            kind=ErrorKind.VALUE,
        )
    writeable = [one for one in chain if one.flags.writeable]
    for one in writeable:
        one.flags.writeable = False
    return writeable


def thaw(frozen: list[np.ndarray]) -> None:
    """Make arrays writeable again that `freeze` made read-only: their source is released."""
    for one in reversed(frozen):  # a view can be writeable only after what it is a view of
        one.flags.writeable = True
    frozen.clear()
