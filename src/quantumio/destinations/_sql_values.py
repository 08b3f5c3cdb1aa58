"""Values of Arrow columns as the drivers of databases take and give them, exact."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantumio.destinations._sql_columns import StoredColumn, fixed_leaf, list_sizes, plain_type
from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["check_values", "decode", "encode", "plain_array"]

_INT64_MAX: Final = (1 << 63) - 1


def check_values(table: str, rows: pa.Table, columns: Sequence[StoredColumn]) -> None:
    """Refuse values that their columns cannot keep, before anything is written.

    Raises
    ------
    InvalidInputError
        ``kind="value"``; names the column.
    """
    for column, values in zip(columns, rows.columns, strict=True):
        for chunk in values.chunks:
            trouble = _trouble(plain_array(chunk), column)
            if trouble is not None:
                raise InvalidInputError(
                    f"column {column.name!r} of table {table!r} has {trouble}",
                    hint="change or mask these values, or store the column as another type",
                    kind=ErrorKind.VALUE,
                )


def _trouble(array: pa.Array, column: StoredColumn) -> str | None:
    if column.shape == "int" and pa.types.is_uint64(array.type):
        largest = pc.max(array).as_py()
        if largest is not None and largest > _INT64_MAX:
            return f"the value {largest}, beyond 2^63-1, the largest integer of a database"
    if column.shape == "text" and pc.any(pc.match_substring(array, "\0")).as_py():
        return "a text with a NUL character, which a database cannot keep"
    if column.shape == "date":
        limits = pc.min_max(_days(array).cast(pa.int32()))
        first, last = (dt.date(1970, 1, 1).toordinal() + (limits[end].as_py() or 0) for end in ("min", "max"))
        if first < 1 or last > dt.date.max.toordinal():
            return "a date outside of the years 1 to 9999"
    if column.shape == "array" and _has_inner_nulls(array):
        return "a null in place of an inner list"
    return None


def _has_inner_nulls(array: pa.Array) -> bool:
    inner = array.flatten()
    while pa.types.is_fixed_size_list(inner.type):
        if inner.null_count:
            return True
        inner = inner.flatten()
    return False


def plain_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return values of dictionaries and storage of extension types, as one array."""
    if isinstance(array, pa.ChunkedArray):
        array = _joined(array)
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
            array = array.cast(
                pa.large_string() if pa.types.is_string_view(array.type) else pa.large_binary()
            )
        else:
            return array


def _joined(array: pa.ChunkedArray) -> pa.Array:
    """Return one array; of texts and bytes it may be larger than an array of their own type can be."""
    if pa.types.is_string(array.type):
        array = array.cast(pa.large_string())
    elif pa.types.is_binary(array.type):
        array = array.cast(pa.large_binary())
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def _days(array: pa.Array) -> pa.Array:
    return array.cast(pa.date32(), safe=False)


def encode(rows: pa.Table, columns: Sequence[StoredColumn]) -> list[list[Any]]:
    """Return each column as a list of what the drivers take; `check_values` has accepted them."""
    return [
        _encode(plain_array(values), column.shape)
        for column, values in zip(columns, rows.columns, strict=True)
    ]


def _encode(array: pa.Array, shape: str) -> list[Any]:
    if shape == "float32" and array.type.bit_width == 16:
        array = array.cast(pa.float32())
    if shape == "date":
        return _as_list(_days(array))
    if shape == "count":
        return _as_list(array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()))
    if shape == "array":
        return _array_bytes(array)
    values = _as_list(array)
    if shape == "json":
        return [
            None
            if value is None
            else json.dumps(_to_json(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
            for value in values
        ]
    return values


def _as_list(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _array_bytes(array: pa.Array) -> list[Any]:
    valid = array.drop_null()
    leaf = valid
    while pa.types.is_fixed_size_list(leaf.type):
        leaf = leaf.flatten()
    width = len(leaf) // len(valid) if len(valid) else 0
    if pa.types.is_boolean(leaf.type):
        leaf = leaf.cast(pa.uint8())
    native = np.dtype(leaf.type.to_pandas_dtype())
    numbers = np.frombuffer(leaf.buffers()[1] or b"", native, len(leaf), leaf.offset * native.itemsize)
    if leaf.null_count:  # what is in their places is undefined, and bytes must be deterministic
        numbers = np.where(leaf.is_valid().to_numpy(zero_copy_only=False), numbers, native.type(0))
    data = numbers.astype(native.newbyteorder("<")).tobytes()
    nbytes = width * native.itemsize
    blobs = [data[index * nbytes : (index + 1) * nbytes] for index in range(len(valid))]
    if leaf.null_count:
        present = leaf.is_valid().to_numpy(zero_copy_only=False).reshape(len(valid), width).astype("u1")
        for index in np.flatnonzero(~present.all(axis=1)):
            blobs[index] += present[index].tobytes()
    found = iter(blobs)
    return [next(found) if is_valid else None for is_valid in array.is_valid().to_pylist()]


def _little(leaf: pa.DataType) -> np.dtype[Any]:
    dtype = np.dtype("u1") if pa.types.is_boolean(leaf) else np.dtype(leaf.to_pandas_dtype())
    return dtype.newbyteorder("<")


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return value


def _from_json(value: Any, data_type: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(data_type):
        return {field.name: _from_json(value.get(field.name), field.type) for field in data_type}
    if pa.types.is_nested(data_type):
        return [_from_json(item, data_type.value_type) for item in value]
    return float(value) if pa.types.is_floating(data_type) else value


def decode(values: Sequence[Any], column: StoredColumn, data_type: pa.DataType) -> pa.Array:
    """Return what a driver gave as an array of the type that was loaded."""
    plain = plain_type(data_type)
    array = _decode(values, column.shape, plain)
    if pa.types.is_dictionary(data_type):
        return array.cast(data_type)
    return data_type.wrap_array(array) if isinstance(data_type, pa.BaseExtensionType) else array


def _decode(values: Sequence[Any], shape: str, plain: pa.DataType) -> pa.Array:
    if shape == "count":
        return pa.array(values, pa.int32() if plain.bit_width == 32 else pa.int64()).view(plain)
    if shape == "date":
        dates = [dt.date.fromisoformat(day) if isinstance(day, str) else day for day in values]
        return pa.array(dates, pa.date32()).cast(plain)
    if shape == "bool":
        return pa.array([None if value is None else bool(value) for value in values], plain)
    if shape == "float32" and plain.bit_width == 16:
        return pa.array(values, pa.float32()).cast(plain)
    if shape == "json":
        loaded = [None if value is None else _from_json(json.loads(value), plain) for value in values]
        return pa.array(loaded, plain)
    return _array_values(values, plain) if shape == "array" else pa.array(values, plain)


def _array_values(blobs: Sequence[bytes | None], plain: pa.DataType) -> pa.Array:
    leaf = fixed_leaf(plain)
    assert leaf is not None
    width = math.prod(list_sizes(plain))
    dtype = _little(leaf)
    nbytes = width * dtype.itemsize
    empty = bytes(nbytes)
    numbers = np.frombuffer(b"".join(empty if blob is None else blob[:nbytes] for blob in blobs), dtype)
    masks = [b"\1" * width if blob is None or len(blob) == nbytes else blob[nbytes:] for blob in blobs]
    missing = np.frombuffer(b"".join(masks), "u1") == 0
    native = numbers.astype(bool) if pa.types.is_boolean(leaf) else numbers.astype(dtype.newbyteorder("="))
    array = pa.array(native, leaf, mask=missing)
    return _nested(array, plain, pa.array([blob is None for blob in blobs], pa.bool_()))


def _nested(array: pa.Array, plain: pa.DataType, missing: pa.Array | None = None) -> pa.Array:
    if pa.types.is_fixed_size_list(plain.value_type):
        array = _nested(array, plain.value_type)
    return pa.FixedSizeListArray.from_arrays(array, type=plain, mask=missing)
