"""Single columns between numpy and Arrow; units, masks and mixins are not known here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from quantumio.errors import ErrorKind, FormatError

__all__ = ["from_arrow_column", "to_arrow_column"]


def to_arrow_column(name: str, values: np.ndarray, mask: np.ndarray | None) -> pa.Array:
    """Return one column as Arrow, null where masked; numbers share memory where they can.

    Axes beyond the first become one fixed-size list (row-major), as astropy's Parquet writer does.

    Raises
    ------
    FormatError
        ``kind="value"``: a text that no UTF-8 can hold; names the column.
    """
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    flat = values.reshape(-1)
    flat_mask = None if mask is None else np.ascontiguousarray(mask).reshape(-1)
    try:
        array = _to_arrow_flat(flat, flat_mask)
    except (UnicodeError, pa.ArrowException) as error:
        raise FormatError(
            f"a value of column {name!r} cannot be written: {error}",
            hint="remove lone surrogates from the texts",
            kind=ErrorKind.VALUE,
        ) from error
    return array if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(array, width)


def _to_arrow_flat(flat: np.ndarray, mask: np.ndarray | None) -> pa.Array:
    if flat.dtype.kind in "US":
        # Not pa.array(flat): it cuts each text at its first NUL.
        arrow_type = pa.string() if flat.dtype.kind == "U" else pa.binary()
        return pa.array(flat.tolist(), type=arrow_type, mask=mask)
    return pa.array(flat, mask=mask)


def from_arrow_column(
    column: pa.ChunkedArray, shape: tuple[int, ...] = (), width: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values (owned, writeable, zero or empty where null) and the mask, None where nothing is null.

    Parameters
    ----------
    column
        Of numbers, booleans, texts, bytes, timestamps, durations, dates, or (fixed-size) lists of them.
    shape
        Axes beyond the first, where the column holds lists and their shape is known.
    width
        Least width of texts and bytes.

    Raises
    ------
    ValueError, TypeError
        numpy has no such column (structs, maps, lists of different lengths, decimals).
    """
    array = _decoded(column)
    if not _is_list(array.type):
        return _flat(array, width)
    if array.null_count:
        raise ValueError("rows that are null as a whole have no place in an array of several axes")
    rows = len(array)
    if not pa.types.is_fixed_size_list(array.type):
        size = _common_length(array)
        values = array.flatten()
    else:
        size, values = array.type.list_size, array.flatten()
    if _is_list(values.type):
        inner, mask = from_arrow_column(pa.chunked_array([values]), (), width)
    else:
        inner, mask = _flat(values, width)
    axes = (rows, *(shape or (size,)), *(inner.shape[1:] if not shape else ()))
    return inner.reshape(axes), None if mask is None else mask.reshape(axes)


def _is_list(arrow_type: Any) -> bool:
    return bool(
        pa.types.is_fixed_size_list(arrow_type)
        or pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
    )


def _common_length(array: Any) -> int:
    lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise ValueError("its lists have different lengths")
    return int(lengths[0]) if len(lengths) else 1


def _decoded(column: Any) -> Any:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # an empty one, or one too large for a single array
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _flat(array: Any, width: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    mask = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(array, mask, "U", width), mask
    if pa.types.is_fixed_size_binary(kind):
        return _texts(array, mask, "S", max(width or 0, kind.byte_width)), mask
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _texts(array, mask, "S", width), mask
    if pa.types.is_null(kind):
        return np.zeros(len(array)), np.ones(len(array), dtype=bool)
    if not (pa.types.is_primitive(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"numpy has no type for {kind}")
    if mask is not None:
        array = array.fill_null(_zero(kind))
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.hasobject:
        raise TypeError(f"numpy has no type for {kind}")
    return np.array(values), mask


def _texts(array: Any, mask: np.ndarray | None, kind: str, width: int | None) -> np.ndarray:
    values = array.to_pylist()
    if mask is not None:
        empty: str | bytes = "" if kind == "U" else b""
        values = [empty if value is None else value for value in values]
    longest = max(map(len, values), default=0)
    return np.array(values, dtype=f"{kind}{max(longest, width or 1, 1)}")


def _zero(kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_temporal(kind):
        return pa.scalar(0, pa.int64() if kind.bit_width == 64 else pa.int32()).cast(kind)
    return pa.scalar(0, pa.int8()).cast(kind)
