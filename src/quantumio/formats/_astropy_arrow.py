"""The bridge between astropy tables and Arrow, lossless both ways."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from astropy.table import QTable, Table
from astropy.time import Time

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats._arrow_columns import from_arrow_column, to_arrow_column
from quantumio.formats._leap_seconds import leap_seconds
from quantumio.formats._plain_table import (
    PlainColumn,
    PlainTable,
    assemble,
    join_masks,
    leaves,
    split_masks,
    take_apart,
)
from quantumio.formats._table_header import TableHeader, header_text, parse_header

__all__ = ["arrow_to_astropy", "astropy_to_arrow", "columns_of_schema"]

_HEADER_KEY: Final = b"table_meta_yaml"


def astropy_to_arrow(table: Table, *, mask_columns: bool = False) -> pa.Table:
    """Return an astropy table as Arrow, with all that `arrow_to_astropy` needs to give it back.

    Parameters
    ----------
    table
        Canonical.
    mask_columns
        Masks become columns ``NAME.mask``, as astropy's Parquet files have them, instead of nulls.

    Raises
    ------
    FormatError
        ``kind="value"``: a text that no UTF-8 can hold; names the column.
    """
    plain = take_apart(table)
    return _to_arrow(split_masks(plain) if mask_columns else plain)


def _to_arrow(table: PlainTable) -> pa.Table:
    metadata = {}
    for column in table.columns:
        # Arrow knows no width of texts; astropy keeps it under this key.
        if column.values.dtype.kind in "US":
            width = column.values.dtype.itemsize // (4 if column.values.dtype.kind == "U" else 1)
            metadata[f"table::len::{column.name}".encode()] = str(width).encode()
    metadata[_HEADER_KEY] = header_text(table).encode()
    arrays = [to_arrow_column(column.name, column.values, column.mask) for column in table.columns]
    fields = [pa.field(column.name, array.type) for column, array in zip(table.columns, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def arrow_to_astropy(table: pa.Table) -> QTable:
    """Return an Arrow table as a QTable of its own memory.

    What the schema says under ``table_meta_yaml`` (our files, and astropy's) is honoured. Without it nulls
    become masks, timestamps Times (UTC), lists of one length columns of several axes.

    Raises
    ------
    InvalidInputError
        ``kind="form"``: astropy has no type for a column; names it.
    FormatError
        ``kind="decode"``: what the schema says does not fit the columns.
    """
    metadata = table.schema.metadata or {}
    try:
        header = parse_header(metadata[_HEADER_KEY].decode()) if _HEADER_KEY in metadata else None
        return _from_arrow(table, header)
    except (FormatError, InvalidInputError):
        raise
    except Exception as error:  # any mixin class runs its own code here
        raise FormatError(
            f"the schema does not describe the columns of the table: {error}",
            hint="remove the key table_meta_yaml from the metadata of its schema",
            kind=ErrorKind.DECODE,
        ) from error


def _from_arrow(table: pa.Table, header: TableHeader | None) -> QTable:
    if header is None:
        return _from_plain_arrow(table)
    columns = {name: _read_column(table, name, header) for name in table.column_names}
    return assemble(join_masks(columns, header.entries, header.meta))


def _read_column(table: pa.Table, name: str, header: TableHeader | None) -> PlainColumn:
    described = header.columns.get(name) if header is not None else None
    width = (table.schema.metadata or {}).get(f"table::len::{name}".encode())
    try:
        values, mask = from_arrow_column(
            table[name], described.shape if described else (), int(width) if width else None
        )
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise InvalidInputError(
            f"column {name!r} ({table.schema.field(name).type}) has no astropy form: {error}",
            hint="use as_='arrow', or leave the column out with columns=[...]",
            kind=ErrorKind.FORM,
        ) from error
    return PlainColumn(name=name, values=values, mask=mask, **(described.attributes if described else {}))


def _from_plain_arrow(table: pa.Table) -> QTable:
    columns, times = {}, {}
    for name in table.column_names:
        column = _read_column(table, name, None)
        if column.values.dtype.kind == "M":
            times[name] = _times(column)
            continue
        if column.values.dtype.kind == "m":
            raise InvalidInputError(
                f"column {name!r}: durations have no astropy form",
                hint="cast it to int64, or use as_='arrow'",
                kind=ErrorKind.FORM,
            )
        columns[name] = column
    whole = assemble(join_masks(columns, {}, {}))
    parts = [times[name] if name in times else whole[name] for name in table.column_names]
    return QTable(parts, names=table.column_names, copy=False)


def _times(column: PlainColumn) -> Time:
    """Return UTC timestamps as a Time, exact to the tick of their unit."""
    unit, _ = np.datetime_data(column.values.dtype)
    days = column.values.astype("datetime64[D]")
    rest = (column.values - days).astype(np.int64)
    per_day, per_second = (
        int(np.timedelta64(1, of).astype(f"m8[{unit}]").astype(np.int64)) for of in ("D", "s")
    )
    # Julian dates of UTC count in days, and one that ends with a leap second is longer.
    (_, *since), _ = leap_seconds()
    is_longer = np.isin(days, np.array(since, "M8[ns]").astype("M8[D]") - 1)
    jd = days.astype(np.int64) + 2440587.5
    time = Time(jd, rest / (per_day + is_longer * per_second), format="jd", scale="utc")
    time.format = "isot"
    if column.mask is not None:
        time[column.mask] = np.ma.masked
    return time


def columns_of_schema(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the columns of the astropy table that a schema describes, and the Arrow columns of each.

    Raises
    ------
    ValueError
        What it says under ``table_meta_yaml`` is no header.
    """
    metadata = schema.metadata or {}
    if _HEADER_KEY not in metadata:
        return {name: [name] for name in schema.names}
    entries = parse_header(metadata[_HEADER_KEY].decode()).entries
    owners = {leaf: name for name, entry in entries.items() for leaf in leaves(entry)}
    columns: dict[str, list[str]] = {}
    for name in schema.names:
        columns.setdefault(owners.get(name, name), []).append(name)
    return columns
