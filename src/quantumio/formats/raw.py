"""Bytes as they are: format ``bytes`` and storage class ``Bytes``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    refuse_columns,
)
from quantumio.ports import Buffer, Chunks, CopyArray

__all__ = ["BytesDelegate", "BytesFormat"]


class BytesDelegate(WholeValueDelegate):
    """Storage class ``Bytes``: the canonical value is a `bytes`."""

    name = "Bytes"

    def check(self, value: object) -> None:
        """Take `bytes`, `bytearray` and `memoryview`.

        Raises
        ------
        InvalidInputError
            It is something else.
        """
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidInputError(
                f"a Bytes dataset takes bytes, not {type(value).__qualname__}",
                hint="put a text as storage class Text, an array as NDArray",
                kind=ErrorKind.PYTHON_TYPE,
            )

    def is_immutable(self, value: object) -> bool:
        """Whether it is `bytes` (a `bytearray` or a view can change)."""
        return type(value) is bytes

    def nbytes(self, value: object) -> int:
        """Size in bytes."""
        assert isinstance(value, bytes | bytearray | memoryview)
        return memoryview(value).nbytes

    def canonical(self, value: object, copy_array: CopyArray) -> bytes:
        """Return `bytes`: the value itself if it is that already."""
        assert isinstance(value, bytes | bytearray | memoryview)
        return bytes(value)


class BytesFormat:
    """Format ``bytes``: the value is the file."""

    name = "bytes"
    extension = ".bin"
    endings = (".bin", ".dat", ".png", ".jpg", ".pdf")
    storage_classes = frozenset({"Bytes"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse every option, and what is no Bytes.

        Raises
        ------
        FormatError
            It does not hold the storage class.
        InvalidInputError
            An option was given.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, {})

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the value as one chunk."""
        self.check(value, storage_class, options)
        assert isinstance(value, bytes)
        return [value]

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> bytes:
        """Return the bytes."""
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        return bytes(data)
