"""A checksum of rows that does not depend on their order, and adds up over chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from quantumio.destinations._sql_columns import StoredColumn

__all__ = ["RowChecksum"]

_Hashes = npt.NDArray[np.uint64]
_NULL: Final = np.uint64(0x9AE16A3B2F90404F)
_NAN: Final = 0x7FF8000000000000
_SECOND: Final = np.uint64(0xC3A5C85C97CB3127)


class RowChecksum:
    """Two sums, modulo 2^64, of hashes of whole rows.

    Values are taken as the drivers take and give them, NaN being one value. A wrong value, a lost and a
    doubled row change it; an order does not. It guards against accidents, not against forgers.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._first = 0
        self._second = 0

    def add(self, columns: Sequence[StoredColumn], values: Sequence[Sequence[Any]]) -> None:
        """Add rows, given as one sequence of values for each column."""
        rows = len(values[0])
        hashes = np.zeros(rows, np.uint64)
        for column, sequence in zip(columns, values, strict=True):
            salt = np.uint64(xxhash.xxh3_64_intdigest(column.name.encode()))
            hashes += _mixed(_hashes(column.shape, sequence) ^ salt)
        hashes = _mixed(hashes)
        self.rows += rows
        self._first = (self._first + int(hashes.sum(dtype=np.uint64))) % (1 << 64)
        self._second = (self._second + int(_mixed(hashes ^ _SECOND).sum(dtype=np.uint64))) % (1 << 64)

    def hexadecimal(self) -> str:
        """Return it as 32 characters."""
        return f"{self._first:016x}{self._second:016x}"


def _mixed(hashes: _Hashes) -> _Hashes:
    """Spread every bit over the whole (the finaliser of SplitMix64, Steele et al. 2014)."""
    hashes = hashes + np.uint64(0x9E3779B97F4A7C15)
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _hashes(shape: str, values: Sequence[Any]) -> _Hashes:
    if shape in ("text", "json", "bytes", "array", "date"):
        return np.fromiter(map(_hash_one, values), np.uint64, len(values))
    is_float = shape in ("float32", "float64")
    if shape == "bool":  # SQLite gives 0 and 1
        values = [None if value is None else int(value) for value in values]
    array = pa.array(values, pa.float64() if is_float else pa.int64())
    if shape == "float32":  # PostgreSQL gives the shortest decimals that round to it
        array = array.cast(pa.float32(), safe=False).cast(pa.float64())
    filled = array.fill_null(0).to_numpy(zero_copy_only=False)
    bits = filled.view(np.uint64).copy()
    if is_float:
        bits[np.isnan(filled)] = _NAN
    bits[array.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return np.asarray(bits, np.uint64)


def _hash_one(value: Any) -> int:
    if value is None:
        return int(_NULL)
    return xxhash.xxh3_64_intdigest(value if isinstance(value, bytes) else str(value).encode())
