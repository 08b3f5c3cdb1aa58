"""Columns of reference tables, made of what the driver gives for the columns of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from quantumio.model import DimensionUniverse
from quantumio.registry._names import Names, TypeEntry
from quantumio.registry._observed import OBSERVED, observed_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARTIFACT_VALUES", "columns_of", "schema_of"]

ARTIFACT_VALUES: Final = {
    "size": "artifact.nbytes",
    "digest": "artifact.digest",
    "destinations": "artifact.store",
    "status": "artifact.state",
}
_DASHES: Final = ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24))


def schema_of(universe: DimensionUniverse, names: Sequence[str]) -> pa.Schema:
    """Return the types of columns."""
    import pyarrow as pa

    types = {
        "version": pa.int64(),
        "size": pa.int64(),
        "committed": pa.timestamp("us", tz="UTC"),
        "t_min": pa.float64(),
        "t_max": pa.float64(),
        "t_exptime": pa.float64(),
    }
    types |= {element.name: pa.int64() for element in universe.values() if element.key == "int"}
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def columns_of(
    names: Names,
    entry: TypeEntry,
    values: Mapping[str, Sequence[Any]],
    size: int,
    columns: Sequence[str],
    schema: pa.Schema,
    label: str,
) -> list[pa.Array]:
    """Return columns of one dataset type.

    Parameters
    ----------
    values
        Of the rows by what they are: the head, dimensions, artifacts and what was observed.
    size
        How many rows there are.
    label
        Of the repository, in URLs.
    """
    import pyarrow as pa

    def column(name: str) -> pa.Array:
        kind = schema.field(name).type
        match name:
            case "dataset_type":
                return pa.repeat(pa.scalar(entry.type.name), size)
            case "run":
                ids, index = np.unique(np.array(values["run_id"], np.int64), return_inverse=True)
                runs = pa.array([names.collections_by_id[number].name for number in ids.tolist()], kind)
                return runs.take(pa.array(index))
            case "version":
                return pa.array(values["v"], kind)
            case "id":
                return _uuids(values["id"], "")
            case "access_url":
                return _uuids(values["id"], f"butler://{label}/")
            case "size":
                return pa.array(values[ARTIFACT_VALUES[name]], kind).fill_null(0)
            case "digest" | "destinations":
                return pa.array(values[ARTIFACT_VALUES[name]], kind).fill_null("")
            case "status":
                return pa.array(values[ARTIFACT_VALUES[name]], kind)
            case "committed":
                return pa.array(values["decided_at"], pa.timestamp("ns", "UTC")).cast(kind, safe=False)
            case _ if name in OBSERVED:
                return observed_values(name, values, size)
            case _ if name in values:
                return pa.array(values[name], kind)
            case _:
                return pa.nulls(size, kind)

    return [column(name) for name in columns]


def _uuids(values: Sequence[Any] | bytes, prefix: str) -> pa.Array:
    """Return UUIDs as texts: one behind the other, or 16 bytes each, or the driver's own."""
    import pyarrow as pa

    before = np.frombuffer(prefix.encode(), np.uint8)
    if not isinstance(values, bytes):
        values = b"".join([_bytes(value) for value in values])
    digits = np.frombuffer(values.hex().encode(), np.uint8).reshape(-1, 32)
    size = len(digits)
    text = np.full((size, len(before) + 36), ord("-"), np.uint8)
    text[:, : len(before)] = before
    for begin, end, place in _DASHES:
        text[:, len(before) + place : len(before) + place + end - begin] = digits[:, begin:end]
    offsets = np.arange(size + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), pa.py_buffer(text))


def _bytes(value: Any) -> bytes:
    return value.bytes if isinstance(value, UUID) else bytes(value)
