"""Storage class ``NDArray``: one plain numpy array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._arrays import bulk, check_plain_array
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.ports import CopyArray

__all__ = ["NDArrayDelegate"]

_SIMPLE_KINDS = "biufcSUMmV"


class NDArrayDelegate(WholeValueDelegate):
    """Storage class ``NDArray``.

    Canonical: a `numpy.ndarray` of the same dtype, shape (0-d stays 0-d) and values (bit for bit), in C
    order and native byte order; a structured dtype is packed and loses metadata and titles.
    """

    name = "NDArray"

    def check(self, value: object) -> None:
        """Take a plain `numpy.ndarray` (or `numpy.memmap`) of portable values.

        Raises
        ------
        InvalidInputError
            It is something else, a masked array, a Quantity or another subclass, lazy, or its dtype holds
            Python objects or platform-dependent numbers.
        """
        check_plain_array(value, self.name)
        assert isinstance(value, np.ndarray)
        _check_dtype(value.dtype, "")

    def nbytes(self, value: object) -> int:
        """Size of its elements in bytes."""
        assert isinstance(value, np.ndarray)
        return value.nbytes

    def canonical(self, value: object, copy_array: CopyArray) -> np.ndarray[Any, Any]:
        """Return a plain array in canonical layout."""
        assert isinstance(value, np.ndarray)
        plain = np.asarray(value)
        packed = _packed(plain.dtype)
        if packed is not None:
            # padding holds whatever was in memory: equal arrays would give different files
            plain = plain.astype(packed)
        return bulk(plain, copy_array)

    def arrays(self, value: object) -> Sequence[np.ndarray[Any, Any]]:
        """Return the array."""
        assert isinstance(value, np.ndarray)
        return (value,)


def _check_dtype(dtype: np.dtype[Any], path: str) -> None:
    if dtype.subdtype is not None:
        _check_dtype(dtype.subdtype[0], path)
        return
    if dtype.names is not None:
        for name in dtype.names:
            if not name.isascii() or not name.isprintable():
                raise InvalidInputError(
                    f"the field name {name!r} is not printable ASCII", hint="rename it", kind=ErrorKind.VALUE
                )
            assert dtype.fields is not None
            _check_dtype(dtype.fields[name][0], f" of the field {path}{name!r}")
        return
    if dtype.kind not in _SIMPLE_KINDS:
        raise InvalidInputError(
            f"the dtype {dtype}{path} holds Python objects",
            hint="convert with .astype(...) to numbers or to fixed-length strings ('S' or 'U')",
            kind=ErrorKind.VALUE,
        )
    if dtype.char in "gG":
        raise InvalidInputError(
            f"the dtype {dtype}{path} has another meaning on other machines",
            hint="convert with .astype('float64') or .astype('complex128')",
            kind=ErrorKind.VALUE,
        )


def _packed(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the packed form of a structured dtype, None if it is plain or packed already."""
    if dtype.names is None:
        return None
    packed = _plain_fields(dtype)
    return None if packed == dtype and not dtype.isalignedstruct and _same_itemsize(packed, dtype) else packed


def _same_itemsize(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    return one.itemsize == other.itemsize


def _plain_fields(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.dtype((_plain_fields(base), shape))
    if dtype.names is None:
        return dtype
    assert dtype.fields is not None
    return np.dtype([(name, _plain_fields(dtype.fields[name][0])) for name in dtype.names])
