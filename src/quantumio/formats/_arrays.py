"""Arrays of numbers: their canonical layout, and their bytes as views."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import CopyArray

__all__ = ["as_bytes", "bulk", "check_plain_array", "is_canonical", "owned"]


def is_canonical(array: np.ndarray[Any, Any]) -> bool:
    """Whether it is a plain array in C order and native byte order."""
    if type(array) is not np.ndarray or not array.flags.c_contiguous:
        return False
    dtype = array.dtype
    if dtype.names is None:
        return bool(dtype.isnative)
    return bool(dtype == dtype.newbyteorder("="))  # isnative overlooks texts in subarrays of structures


def bulk(array: np.ndarray[Any, Any], copy_array: CopyArray) -> np.ndarray[Any, Any]:
    """Pass an array through ``copy_array`` and return it in canonical layout.

    With a copying ``copy_array`` that is one copy. With the identity an array that is not in canonical
    layout is copied, as it has to be.
    """
    result = copy_array(np.asarray(array))
    if not is_canonical(result):
        # np.ascontiguousarray would make a 0-d array 1-d
        result = np.array(result, dtype=result.dtype.newbyteorder("="), order="C", copy=True, subok=False)
    return result


def owned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a canonical array that shares memory with nothing."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True, subok=False)


def as_bytes(array: np.ndarray[Any, Any]) -> memoryview:
    """Return the bytes of a canonical array, as a view."""
    if array.nbytes == 0:
        return memoryview(b"")
    # through uint8, as the buffer protocol knows neither datetimes nor strings
    return array.reshape(-1).view(np.uint8).data


def check_plain_array(value: object, storage_class: str) -> None:
    """Refuse what is no plain `numpy.ndarray`, naming the storage class that takes it.

    Raises
    ------
    InvalidInputError
        ``kind="python_type"``.
    """
    if type(value) is np.ndarray or type(value) is np.memmap:
        return
    raise InvalidInputError(
        f"a {storage_class} dataset takes a numpy.ndarray, not {type(value).__module__}."
        f"{type(value).__qualname__}",
        hint=_mend(value),
        kind=ErrorKind.PYTHON_TYPE,
    )


def _mend(value: object) -> str:
    if isinstance(value, np.ma.MaskedArray):
        return "put CCDData (data and mask) or an AstropyTable, or an array from .filled(...)"
    if hasattr(value, "unit") and isinstance(value, np.ndarray):
        return "put it as CCDData, or as a column of an AstropyTable, which keep the unit; or put .value"
    if isinstance(value, np.ndarray):
        return "put .view(numpy.ndarray); a table goes as AstropyTable"
    if hasattr(value, "compute"):
        return "it is lazy: put value.compute()"
    return "put numpy.asarray(value)"
