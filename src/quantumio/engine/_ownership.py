"""What a put does with the object it is given: copy, freeze, borrow or encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xxhash
from attrs import define

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
    is_lent
        Whether its memory is still the caller's.
    digests
        xxh3-128 of each array whose memory is still the caller's, as taken at put.
    """

    value: object
    ownership: Ownership
    _copies: PooledCopies | None = None
    is_lent: bool = False
    _watched: Sequence[np.ndarray] = ()
    _frozen: Sequence[np.ndarray] = ()
    _digests: Sequence[bytes] = ()

    def watch(self) -> None:
        """Take the digests that `verify` compares with; `verify` must not be called before.

        The last thing that a put does with the value: reading so much memory drives the interpreter out of
        the processor's caches, so that whatever follows is slow.
        """
        digests = []
        for array in self._watched:
            digests.append(_digest(array))  # noqa: PERF401  a comprehension is one more call
        self._digests = digests

    def verify(self, ref: DatasetRef) -> None:
        """Show that the caller's memory still holds what was put.

        Raises
        ------
        MutatedAfterPut
            It does not; nothing of it may be stored.
        """
        for array, digest in zip(self._watched, self._digests, strict=True):
            if _digest(array) != digest:
                raise MutatedAfterPut(
                    f"{ref} was changed after it was put with own={str(self.ownership)!r}",
                    hint="put it with own='copy', or do not write to it before it is released",
                )

    def share(self) -> object:
        """Return the value itself, read-only where it has arrays; its memory is never used again."""
        if self._copies is not None:
            self._copies.keep()
        return self.value

    def release(self) -> None:
        """Let go of the value."""
        self.value = None
        self._watched = self._digests = ()
        thaw(self._frozen)
        self._frozen = ()
        if self._copies is not None:
            self._copies.release()


def take_snapshot(
    value: object,
    delegate: StorageClassDelegate,
    ownership: Ownership,
    pool: BufferPool,
    *,
    verify_borrowed: bool,
) -> Snapshot:
    """Make the canonical value that will be written; `Snapshot.watch` completes it.

    Raises
    ------
    InvalidInputError
        A part of the object has no canonical form.
    """
    if delegate.is_immutable(value):
        return Snapshot(value, ownership)
    copies = PooledCopies(pool) if ownership is Ownership.COPY else None
    watched: list[np.ndarray] = []
    frozen: list[np.ndarray] = []
    is_lent = ownership in (Ownership.FREEZE, Ownership.BORROW)
    if not is_lent:
        copy_array = _as_is if copies is None else copies.copy
    elif ownership is Ownership.FREEZE:
        copy_array = _Watcher(watched, frozen)
    else:
        copy_array = _Watcher(watched if verify_borrowed else None, None)
    try:
        canonical = getattr(delegate, "snapshot", delegate.canonical)(value, copy_array)
    except BaseException:
        if copies is not None:
            copies.release()
        thaw(frozen)
        raise
    return Snapshot(canonical, ownership, copies, is_lent, watched, frozen)


def _digest(array: np.ndarray) -> bytes:
    if array.dtype.kind in "biufc":
        return xxhash.xxh3_128_digest(array.data)
    # as bytes, because the buffer protocol knows neither datetimes nor strings
    return xxhash.xxh3_128_digest(array.ravel().view("u1").data if array.nbytes else b"")


def _as_is(array: np.ndarray) -> np.ndarray:
    """Return a view of the array where it is canonical already, else a canonical copy."""
    if _is_canonical(array):
        return array.view()
    import numpy as np

    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _is_canonical(array: np.ndarray) -> bool:
    dtype = array.dtype
    # isnative overlooks texts in subarrays of structures
    is_native = dtype.isnative if dtype.names is None else dtype == dtype.newbyteorder("=")
    return array.flags.c_contiguous and is_native


class _Watcher:
    """Keeps the caller's arrays; notes those to be watched, and freezes them, where asked."""

    def __init__(self, watched: list[np.ndarray] | None, frozen: list[np.ndarray] | None) -> None:
        self._watched = watched
        self._frozen = frozen

    def __call__(self, array: np.ndarray) -> np.ndarray:
        if not _is_canonical(array):
            return _as_is(array)  # it has to be converted: a copy of our own
        if self._frozen is not None:
            self._frozen += freeze(array)
        kept = array.view()  # as read-only as the array is now
        if self._watched is not None:
            self._watched.append(kept)
        return kept


def freeze(array: np.ndarray) -> list[np.ndarray]:
    """Make a plain array read-only, with every array it is a view of; returns those that were writeable.

    Raises
    ------
    InvalidInputError
        Its memory is not NumPy's, so that nobody could be stopped from writing to it; nothing was changed.
    """
    ndarray = type(array)  # no import here: it is a statement that takes longer than all the others
    chain: list[np.ndarray] = []
    current: object = array
    while isinstance(current, ndarray):
        chain.append(current)
        current = current.base
    if current is not None and not isinstance(current, bytes):
        raise InvalidInputError(
            f"own='freeze': the array's memory belongs to a {type(current).__name__}",
            hint="use own='copy'",
            kind=ErrorKind.VALUE,
        )
    writeable = []
    for one in chain:
        if one.flags.writeable:
            one.flags.writeable = False
            writeable.append(one)
    return writeable


def thaw(frozen: Sequence[np.ndarray]) -> None:
    """Make arrays writeable again that `freeze` made read-only: their source is released."""
    for one in reversed(frozen):  # a view can be writeable only after what it is a view of
        one.flags.writeable = True
