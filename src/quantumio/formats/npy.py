"""Format ``npy``: one array in numpy's own file format, without pickles.

The format is described in NEP 1 and in the documentation of `numpy.lib.format`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from quantumio.errors import FormatError
from quantumio.formats._arrays import as_bytes, owned
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    damaged,
    decoding,
    encoding,
    refuse_columns,
)
from quantumio.ports import Buffer, Chunks

__all__ = ["NpyFormat"]

_LONGEST_HEADER = 65_536
_SHORT_HEADER = 8_192


class NpyFormat:
    """Format ``npy``: holds every NDArray, bit for bit."""

    name = "npy"
    extension = ".npy"
    endings = (".npy",)
    storage_classes = frozenset({"NDArray"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options, and dtypes that need a pickle.

        Raises
        ------
        FormatError
            The dtype holds Python objects.
        InvalidInputError
            An option was given.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, {})
        assert isinstance(value, np.ndarray)
        if value.dtype.hasobject:
            raise FormatError(
                f"npy cannot hold the dtype {value.dtype} without pickles",
                hint="convert with .astype(...) to numbers or to fixed-length strings",
            )

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the header, and the elements as a view of the array."""
        self.check(value, storage_class, options)
        assert isinstance(value, np.ndarray)
        with encoding(self.name, storage_class):
            return [_header(value), as_bytes(value)]

    def decode(
        self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None
    ) -> np.ndarray[Any, Any]:
        """Return a new array in C order and native byte order.

        Raises
        ------
        FormatError
            It is no npy file, holds pickled objects, or its size is not what its header says.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        with decoding(self.name):
            return _read(memoryview(data).cast("B"))


def _header(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    fields = {
        "descr": npy_format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    # version 1.0 has two bytes for the length of the header: a long structured dtype needs 2.0
    if len(repr(fields)) < _SHORT_HEADER:
        npy_format.write_array_header_1_0(file, fields)
    else:
        npy_format.write_array_header_2_0(file, fields)
    return file.getvalue()


def _read(data: memoryview) -> np.ndarray[Any, Any]:
    file = io.BytesIO(bytes(data[: _LONGEST_HEADER + 64]))
    version = npy_format.read_magic(file)
    if version == (1, 0):
        header = npy_format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    elif version == (2, 0):
        header = npy_format.read_array_header_2_0(file, max_header_size=_LONGEST_HEADER)
    else:
        raise damaged("npy", f"version {version} of the format is not read here")
    shape, is_fortran, dtype = header
    if dtype.hasobject:
        raise damaged("npy", "it holds pickled Python objects, which could run code of their author")
    elements = data[file.tell() :]
    expected = math.prod(shape) * dtype.itemsize
    # before anything is allocated: a header of 128 bytes can claim any shape
    if min(shape, default=0) < 0 or elements.nbytes != expected:
        raise damaged("npy", f"shape {shape} of {dtype} is {expected} bytes, there are {elements.nbytes}")
    array: np.ndarray[Any, Any] = np.ndarray(
        shape, dtype=dtype, buffer=elements if expected else None, order="F" if is_fortran else "C"
    )
    return owned(array)
