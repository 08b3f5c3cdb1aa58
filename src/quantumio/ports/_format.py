"""Ports to formats (object <-> bytes) and to storage classes (what a dataset is in Python)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from quantumio.model import StorageClass

__all__ = [
    "Buffer",
    "Chunks",
    "CopyArray",
    "Format",
    "Formats",
    "SnapshotDelegate",
    "StorageClassDelegate",
    "TableDelegate",
]

Buffer = bytes | bytearray | memoryview
Chunks = Sequence[Buffer]
"""Bytes in pieces that belong one behind the other; large pieces are views, not copies."""

CopyArray = Callable[["np.ndarray"], "np.ndarray"]
"""Returns a C-contiguous, native-endian array of the same values that the caller owns."""


class Format(Protocol):
    """Object <-> bytes. Stateless; called from worker threads.

    Encoding is deterministic: equal values give equal bytes (no dates, no random identifiers).
    """

    @property
    def name(self) -> str:
        """Identifier, e.g. ``fits``."""

    @property
    def extension(self) -> str:
        """Suffix of file names with its dot, e.g. ``.fits``."""

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the names of files that may hold it, lower case, e.g. ``.fits``, ``.fit``."""

    @property
    def storage_classes(self) -> frozenset[str]:
        """Names of the storage classes that it can hold."""

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Whether `decode` gives back exactly the canonical value that was encoded."""

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse what it cannot hold, as far as type, shape, schema and metadata show it (no scan of values).

        Raises
        ------
        FormatError
            It cannot hold the value; the message names the part.
        InvalidInputError
            It has no such option.
        """

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the bytes of a canonical value.

        Raises
        ------
        FormatError
            It cannot hold the value (``kind="value"``: only a scan of the values showed it).
        """

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> object:
        """Return a new canonical value that belongs to the caller.

        ``columns`` restricts tables to these columns, in this order.

        Raises
        ------
        FormatError
            The bytes are none of this format, damaged or beyond its limits (``kind="decode"``).
        InvalidInputError
            There is no such column.
        """


class StorageClassDelegate(Protocol):
    """All that the engine must know of the Python type of a dataset. Stateless; thread-safe.

    *Canonical* is the one shape of a value that every format gives back: put normalises to it, so that a
    value means the same before and after its commit. Every method but `check` is given what `check` took.
    """

    @property
    def storage_class(self) -> StorageClass:
        """Its declaration."""

    def check(self, value: object) -> None:
        """Refuse an object that the storage class cannot take, cheaply.

        Raises
        ------
        InvalidInputError
            ``kind="python_type"`` or ``"value"``; names the type or part, and the mend.
        """

    def is_immutable(self, value: object) -> bool:
        """Whether the value cannot change, so that nothing need be copied (bytes, str, Arrow)."""

    def has_snapshot(self, value: object) -> bool:
        """Whether `canonical` can copy it; otherwise it is encoded inside put."""

    def nbytes(self, value: object) -> int:
        """Approximate size in memory, bytes; cheap."""

    def canonical(self, value: object, copy_array: CopyArray) -> object:
        """Return the canonical value, passing every bulk array through ``copy_array``.

        Everything that is no bulk array (metadata, header cards, units) is always copied, so that with a
        copying ``copy_array`` nothing mutable is shared with ``value``, and with the identity nothing large
        is copied.

        Raises
        ------
        InvalidInputError
            A part has no canonical form; the message names it.
        """

    def arrays(self, value: object) -> Sequence[np.ndarray]:
        """Return the bulk arrays that a canonical value is made of: views, or copies to digest."""

    def check_form(self, form: str) -> None:
        """Refuse a form (``as_=``) that the storage class cannot be had in.

        Raises
        ------
        InvalidInputError
            ``kind="form"``; lists the forms there are.
        MissingExtraError
            The library of the form is not installed.
        """

    def convert(self, value: object, form: str) -> object:
        """Return a canonical value in another form; the result may share memory with the value."""

    def component(self, value: object, name: str) -> object:
        """Return a component of a canonical value; it may share memory with the value.

        Raises
        ------
        InvalidInputError
            ``kind="component"``; lists the components there are.
        """

    def select(self, value: object, columns: Sequence[str]) -> object:
        """Return a table value with these columns, in this order; it may share memory.

        Raises
        ------
        InvalidInputError
            It is no table, or has no such column.
        """


class SnapshotDelegate(StorageClassDelegate, Protocol):
    """A delegate whose canonical value takes time to make, which nobody who puts one wants to wait for."""

    def snapshot(self, value: object, copy_array: CopyArray) -> object:
        """Return what put keeps in place of `canonical`: the other methods and the formats take both.

        It refuses the same, shares as little with ``value``, and reads the same for all time.

        Raises
        ------
        InvalidInputError
            A part has no canonical form; the message names it.
        """


@runtime_checkable
class TableDelegate(StorageClassDelegate, Protocol):
    """What delegates of table storage classes can do besides."""

    def from_arrow(self, table: object) -> object:
        """Return the canonical value of a `pyarrow.Table` that ``convert(value, "arrow")`` made."""


class Formats(Protocol):
    """All formats and storage classes that are installed (built in, and by entry points)."""

    def format(self, name: str) -> Format:
        """Return the format of this name.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        MissingExtraError
            Its library is not installed.
        """

    def delegate(self, storage_class: str) -> StorageClassDelegate:
        """Return what the engine must know of this storage class.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        MissingExtraError
            Its library is not installed.
        """

    def storage_class_names(self) -> tuple[str, ...]:
        """Names of all storage classes, sorted."""

    def format_names(self) -> tuple[str, ...]:
        """Names of all formats, sorted."""

    def storage_class(self, name: str) -> StorageClass:
        """Return the declaration of a storage class without loading its library.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        """
