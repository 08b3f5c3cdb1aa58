"""Columns of reference tables, made of what the driver gives for the columns of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from quantumio.model import DimensionUniverse
from quantumio.registry._artifact_values import artifact_columns
from quantumio.registry._names import Names, TypeEntry
from quantumio.registry._observed import OBSERVED, observed_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["columns_of", "schema_of"]

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
    run: str | None,
    given: Mapping[str, Any],
    values: Mapping[str, Sequence[Any]],
    size: int,
    columns: Sequence[str],
    schema: pa.Schema,
    label: str,
) -> list[pa.Array]:
    """Return columns of one dataset type.

    Parameters
    ----------
    run
        Of all of them; None where they are of several.
    given
        Values of dimensions that all of them have.
    values
        Of the rows by what they are: ``row.`` and its column, ``row.artifacts``, ``row.decided_at``,
        dimensions, and what was observed.
    size
        How many rows there are.
    label
        Of the repository, in URLs.
    """
    import pyarrow as pa

    of_artifacts = artifact_columns(values["row.artifacts"]) if "row.artifacts" in values else {}

    def column(name: str) -> pa.Array:
        kind = schema.field(name).type
        match name:
            case "dataset_type":
                return pa.repeat(pa.scalar(entry.type.name), size)
            case "run" if "row.run_id" not in values:
                return pa.repeat(pa.scalar(run, kind), size)
            case "run":
                ids, index = np.unique(np.array(values["row.run_id"], np.int64), return_inverse=True)
                runs = pa.array([names.collections_by_id[number].name for number in ids.tolist()], kind)
                return runs.take(pa.array(index))
            case "version":
                return pa.array(values["row.v"], kind)
            case "id":
                return _uuids(values["row.id"], "")
            case "access_url":
                return _uuids(values["row.id"], f"butler://{label}/")
            case _ if name in of_artifacts:
                return of_artifacts[name]
            case "committed":
                return pa.array(values["row.decided_at"], pa.timestamp("ns", "UTC")).cast(kind, safe=False)
            case _ if name in OBSERVED:
                return observed_values(name, values, size)
            case _ if name in given:
                return pa.repeat(pa.scalar(given[name], kind), size)
            case _ if name in values:
                return pa.array(values[name], kind)
            case _:
                return pa.nulls(size, kind)

    return [column(name) for name in columns]


def _uuids(values: Sequence[Any] | str, prefix: str) -> pa.Array:
    """Return UUIDs as texts: of their digits one behind the other, of 16 bytes each, or the driver's own."""
    import pyarrow as pa

    before = np.frombuffer(prefix.encode(), np.uint8)
    if not isinstance(values, str):
        values = b"".join([_bytes(value) for value in values]).hex()
    digits = np.frombuffer(values.encode(), np.uint8).reshape(-1, 32)
    size = len(digits)
    text = np.full((size, len(before) + 36), ord("-"), np.uint8)
    text[:, : len(before)] = before
    for begin, end, place in _DASHES:
        text[:, len(before) + place : len(before) + place + end - begin] = digits[:, begin:end]
    offsets = np.arange(size + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), pa.py_buffer(text))


def _bytes(value: Any) -> bytes:
    return value.bytes if isinstance(value, UUID) else bytes(value)
