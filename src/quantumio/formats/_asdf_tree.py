"""Parts of an ASDF tree: what goes in as asdf writes it whole, and what comes out, distrusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quantumio.errors import ErrorKind, FormatError
from quantumio.formats._arrays import as_bytes, owned
from quantumio.formats._asdf_limits import largest_array
from quantumio.formats._guards import damaged

__all__ = ["ARRAY_KINDS", "Tree", "as_block", "check_mapping", "key_order", "reordered"]

ARRAY_KINDS = frozenset("biufcSU")
"""Kinds of dtypes that ASDF arrays have."""

_LARGEST_INTEGER = (1 << 63) - 2  # asdf takes none beyond, on either side


class Tree:
    """A part of a tree that was read; what is not there or of another type is damage."""

    def __init__(self, value: Any, file_nbytes: int) -> None:
        self.value = value
        self._file_nbytes = file_nbytes

    def get(self, name: str) -> Tree | None:
        """Return a part, None if there is none."""
        if not isinstance(self.value, dict):
            raise damaged("asdf", f"there is no {name}")
        return Tree(self.value[name], self._file_nbytes) if name in self.value else None

    def label(self, name: str) -> Tree:
        """Return a part that must be there."""
        found = self.get(name)
        if found is None:
            raise damaged("asdf", f"there is no {name}")
        return found

    def text(self) -> str:
        """Return the text that it must be."""
        if not isinstance(self.value, str):
            raise damaged("asdf", f"{type(self.value).__name__} where a text belongs")
        return self.value

    def array(self) -> np.ndarray[Any, Any]:
        """Return the array that it must be, as a new one."""
        # strides of 0 make a few bytes an array of any size
        if not isinstance(self.value, np.ndarray) or self.value.nbytes > largest_array(self._file_nbytes):
            raise damaged("asdf", "an array is missing, or larger than the file can hold")
        if self.value.dtype.kind not in ARRAY_KINDS:
            raise damaged("asdf", f"an array is of {self.value.dtype}")
        return owned(self.value)

    def parts(self) -> list[Tree]:
        """Return the parts of the list that it must be."""
        if not isinstance(self.value, list):
            raise damaged("asdf", f"{type(self.value).__name__} where a list belongs")
        return [Tree(item, self._file_nbytes) for item in self.value]


def check_mapping(value: object, path: str) -> None:
    """Refuse what a canonical Mapping can hold and ASDF cannot.

    Raises
    ------
    FormatError
        ``kind="value"``: the message gives the path.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                raise FormatError(
                    f"{path or 'the mapping'} has the key '$ref', a reference in ASDF",
                    hint="store it as json or yaml",
                    kind=ErrorKind.VALUE,
                )
            check_mapping(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_mapping(item, f"{path}[{index}]")
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise FormatError(
            f"{path} is an integer beyond 64 bits",
            hint="store it as json or yaml",
            kind=ErrorKind.VALUE,
        )


def key_order(value: object) -> Iterator[list[str]]:
    """Yield the keys of each mapping, outer ones first: asdf writes them sorted."""
    if isinstance(value, dict):
        yield list(value)
        for item in value.values():
            yield from key_order(item)
    elif isinstance(value, list):
        for item in value:
            yield from key_order(item)


def reordered(value: Any, order: Iterator[Any]) -> Any:
    """Return a value with its keys in the order that `key_order` told."""
    if isinstance(value, dict):
        keys = next(order)
        if sorted(keys) != sorted(value):
            raise damaged("asdf", "the order of keys is not that of the mapping")
        return {key: reordered(value[key], order) for key in keys}
    if isinstance(value, list):
        return [reordered(item, order) for item in value]
    return value


def as_block(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array as one that is no view: asdf would write all of the array that a view looks into."""
    if array.nbytes == 0:
        return array.copy()
    return np.frombuffer(as_bytes(array), array.dtype).reshape(array.shape)
