"""Plain columns, and astropy's description of how they make up the columns of a table.

astropy describes how a mixin column (Quantity, Time, SkyCoord...) is made of plain ones in a dict that its
writers of ECSV, HDF5 and Parquet store under ``__serialized_columns__``. That description is used here, so
that astropy reads what is written from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

import numpy as np
from astropy.table import Column, SerializedColumn
from attrs import evolve, field, frozen

__all__ = [
    "MASKED_COLUMN",
    "PlainColumn",
    "PlainTable",
    "join_masks",
    "leaf",
    "leaves",
    "nested",
    "split_masks",
]

MASKED_COLUMN: Final = "astropy.table.column.MaskedColumn"
"""How astropy's descriptions name the class."""


@frozen(kw_only=True, eq=False)
class PlainColumn:
    """A column of numbers, booleans, texts or bytes.

    Attributes
    ----------
    name
        In the table of plain columns, e.g. ``sky.ra``.
    values, mask
        Arrays of one shape; the mask None where the column has none.
    unit, format, description, meta
        Attributes of the column.
    fill
        What the canonical form has under the mask; None for zero, False or the empty text.
    """

    name: str
    values: np.ndarray
    mask: np.ndarray | None = None
    unit: Any = None
    format: str | None = None
    description: str | None = None
    meta: Mapping[str, Any] = field(factory=dict)
    fill: float | None = None

    def to_column(self) -> Column:
        """Return it as a column of astropy, without its mask; shares its values."""
        return Column(
            self.values,
            name=self.name,
            unit=self.unit,
            format=self.format,
            description=self.description,
            meta=dict(self.meta),
            copy=False,
        )


@frozen(kw_only=True, eq=False)
class PlainTable:
    """Plain columns and how they make up the columns of an astropy table.

    Attributes
    ----------
    columns
        In order.
    entries
        Name of a column that is no plain `Column` to astropy's description of it; masks are not in it.
    meta
        Canonical metadata of the table.
    """

    columns: Sequence[PlainColumn]
    entries: Mapping[str, Any]
    meta: Mapping[str, Any]


def nested(entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every description in a description: those of columns, and those of their parts."""
    for value in entries.values():
        if isinstance(value, dict):
            if "__class__" in value:
                yield value
            yield from nested(value)


def leaf(value: Any) -> list[str]:
    """Return the name of the plain column that a part of a description refers to, if it does to one."""
    if isinstance(value, dict) and isinstance(value.get("data"), SerializedColumn):
        value = value["data"]
    name = value.get("name") if isinstance(value, SerializedColumn) else None
    return [name] if isinstance(name, str) else []


def leaves(entry: Any) -> set[str]:
    """Return the names of all plain columns that a description refers to."""
    if isinstance(entry, SerializedColumn) and isinstance(entry.get("name"), str):
        return {entry["name"]}
    return {name for value in entry.values() for name in leaves(value)} if isinstance(entry, dict) else set()


def split_masks(table: PlainTable) -> PlainTable:
    """Return the table with each mask as a column ``NAME.mask``, as astropy's own writers lay it out."""
    columns: list[PlainColumn] = []
    masked = {column.name for column in table.columns if column.mask is not None}
    for column in table.columns:
        columns.append(evolve(column, mask=None))
        if column.mask is not None:
            columns.append(PlainColumn(name=f"{column.name}.mask", values=column.mask))
    entries = deepcopy(dict(table.entries))
    for entry in nested(entries):
        for name in leaf(entry.get("data")):
            if name in masked:
                entry["mask"] = SerializedColumn({"name": f"{name}.mask"})
    return PlainTable(columns=columns, entries=entries, meta=table.meta)


def join_masks(
    columns: Mapping[str, PlainColumn], entries: Mapping[str, Any], meta: Mapping[str, Any]
) -> PlainTable:
    """Undo `split_masks`; columns with masks of which the description does not know become MaskedColumns.

    Entries that refer to none of the columns are left out (they were not read).

    Raises
    ------
    ValueError, KeyError
        The description refers to parts of a column only.
    """
    joined = dict(columns)
    entries = {name: entry for name, entry in entries.items() if not leaves(entry).isdisjoint(joined)}
    for entry in nested(entries):
        data, mask = leaf(entry.get("data")), leaf(entry.get("mask"))
        if data and mask:
            joined[data[0]] = evolve(joined[data[0]], mask=joined.pop(mask[0]).values.astype(bool))
            del entry["mask"]
    described = {name for entry in entries.values() for name in leaves(entry)}
    for name, column in joined.items():
        if column.mask is not None and name not in described:
            entries[name] = {"data": SerializedColumn({"name": name}), "__class__": MASKED_COLUMN}
    return PlainTable(columns=list(joined.values()), entries=entries, meta=meta)
