"""Text in UTF-8: format ``text`` and storage class ``Text``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    decoding,
    refuse_columns,
)
from quantumio.ports import Buffer, Chunks, CopyArray

__all__ = ["TextDelegate", "TextFormat"]


class TextDelegate(WholeValueDelegate):
    """Storage class ``Text``: the canonical value is a `str`."""

    name = "Text"

    def check(self, value: object) -> None:
        """Take `str` alone.

        Raises
        ------
        InvalidInputError
            It is something else.
        """
        if not isinstance(value, str):
            raise InvalidInputError(
                f"a Text dataset takes a str, not {type(value).__qualname__}",
                hint="put bytes as storage class Bytes; format other objects with str()",
                kind=ErrorKind.PYTHON_TYPE,
            )

    def is_immutable(self, value: object) -> bool:
        """Return True: a `str` cannot change."""
        return type(value) is str

    def nbytes(self, value: object) -> int:
        """Return four bytes per character at most: what UTF-8 needs."""
        assert isinstance(value, str)
        return len(value) if value.isascii() else 4 * len(value)

    def canonical(self, value: object, copy_array: CopyArray) -> str:
        """Return a plain `str`: the value itself if it is that already."""
        assert isinstance(value, str)
        return value if type(value) is str else str.__str__(value)


class TextFormat:
    """Format ``text``: UTF-8 without a byte order mark, line ends as they are."""

    name = "text"
    extension = ".txt"
    endings = (".txt", ".text", ".log")
    storage_classes = frozenset({"Text"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse every option, and what is no Text.

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
        """Return UTF-8.

        Raises
        ------
        FormatError
            ``kind="value"``: the text holds half a surrogate pair, which no encoding of Unicode can.
        """
        self.check(value, storage_class, options)
        assert isinstance(value, str)
        try:
            return [value.encode("utf-8")]
        except UnicodeEncodeError as error:
            raise FormatError(
                f"the character at position {error.start} of this Text is half a surrogate pair",
                hint="decode the text with errors='replace' where it comes from",
                kind=ErrorKind.VALUE,
            ) from error

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> str:
        """Read UTF-8.

        Raises
        ------
        FormatError
            ``kind="decode"``: it is no UTF-8.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        with decoding(self.name):
            return bytes(data).decode("utf-8")
