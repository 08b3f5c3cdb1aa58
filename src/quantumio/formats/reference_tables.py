"""Reference tables: what a query found, as a table in the form that is wanted."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quantumio.errors import ErrorKind, InvalidInputError, shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["column_batch", "reference_table"]

_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML has no way to write, or (carriage return) gives back as another one."""

_EARLIEST_NS = -(1 << 63) + 60 * 10**9

FORMS = ("arrow", "astropy", "pandas", "polars", "numpy", "votable")


def reference_table(batches: Iterable[object], form: str, droppable: Collection[str] = ()) -> object:
    """Return batches of columns as a table.

    Parameters
    ----------
    batches
        Arrow record batches, at least one; a column that one of them lacks has no values there.
    form
        ``arrow``, ``astropy``, ``pandas``, ``polars``, ``numpy``, or ``votable``: a VOTable 1.4 document
        (IVOA), as text; what XML cannot hold is the replacement character (U+FFFD) there.
    droppable
        Columns that are left out where there are rows, and none of them has a value of it.

    Raises
    ------
    InvalidInputError
        There is no such form.
    """
    import pyarrow as pa

    from quantumio.formats.arrow import ArrowTableDelegate

    if form not in FORMS:
        raise InvalidInputError(
            f"a reference table cannot be had as {shown(form)}",
            hint=f"use one of {', '.join(FORMS)}",
            kind=ErrorKind.FORM,
        )
    parts: list[Any] = [pa.Table.from_batches([batch]) for batch in batches]
    table = pa.concat_tables(parts, promote_options="default")
    empty = [name for name in droppable if name in table.column_names and _is_empty(table.column(name))]
    table = table.drop_columns(empty)
    if form == "arrow":
        return table
    if form == "votable":
        return _votable(table)
    delegate = ArrowTableDelegate()
    delegate.check_form(form)
    return delegate.convert(table, form)


def column_batch(columns: Mapping[str, tuple[str, Sequence[object]]]) -> object:
    """Return columns of equal length as an Arrow record batch.

    Parameters
    ----------
    columns
        Name to kind (``str``, ``int``, ``float``, ``bool``, ``time`` of datetimes with a time zone, or
        ``tai`` of ns since 1970-01-01 TAI, which become ns of UTC) and values; None where a row has none.
    """
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    arrays = [
        _utc(values) if kind == "tai" else pa.array(values, types[kind]) for kind, values in columns.values()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _utc(tai_ns: Sequence[Any]) -> pa.Array:
    """Return moments of TAI as UTC timestamps; what is in a leap second counts as the second after it."""
    import numpy as np
    import pyarrow as pa

    from quantumio.formats._leap_seconds import leap_seconds

    since, offsets = leap_seconds()
    moments = np.array([0 if moment is None else moment for moment in tai_ns], np.int64)
    which = np.searchsorted(since + offsets, moments, side="right") - 1
    # As elsewhere, the first offset holds for all that was before. The first seconds of 64 bits have no UTC.
    utc = np.maximum(moments, _EARLIEST_NS) - offsets[np.maximum(which, 0)]
    missing = np.array([moment is None for moment in tai_ns], np.bool_)
    return pa.array(utc, pa.int64(), mask=missing).cast(pa.timestamp("ns", tz="UTC"))


def _is_empty(column: pa.ChunkedArray) -> bool:
    return bool(0 < len(column) == column.null_count)


def _iso(moment: Any) -> str:
    """Return a moment as DALI writes it: UTC without an offset."""
    return str(moment.isoformat()).removesuffix("+00:00")


def _votable(table: pa.Table) -> str:
    import pyarrow as pa
    from astropy.io.votable import from_table, writeto
    from astropy.table import Column, MaskedColumn, Table

    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            missing = column.is_null().to_numpy()
            columns[name] = MaskedColumn(column.fill_null(0).to_numpy(), mask=missing)
        else:  # VOTable has no timestamp: IVOA DALI writes moments as ISO 8601 text
            values = ["" if value is None else value for value in column.to_pylist()]
            texts = [_iso(value) if hasattr(value, "isoformat") else str(value) for value in values]
            texts = [_NOT_IN_XML.sub("\ufffd", text) for text in texts]
            columns[name] = Column(texts, dtype=str)
    document = io.BytesIO()
    # Not VOTableFile.to_xml: its writer in C writes past its buffer (astropy #20419). writeto never uses it.
    writeto(from_table(Table(columns)), document)
    return document.getvalue().decode()
