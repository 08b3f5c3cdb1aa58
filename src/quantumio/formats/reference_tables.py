"""Reference tables: what a query found, as a table in the form that is wanted."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from quantumio.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["reference_table"]

FORMS = ("arrow", "astropy", "pandas", "polars", "numpy", "votable")


def reference_table(columns: Mapping[str, tuple[str, Sequence[object]]], form: str) -> object:
    """Return columns of equal length as a table.

    Parameters
    ----------
    columns
        Name to kind (``str``, ``int``, or ``time``: datetimes in UTC) and values; None where a row has none.
    form
        ``arrow``, ``astropy``, ``pandas``, ``polars``, ``numpy``, or ``votable``: a VOTable 1.4 document
        (IVOA), as text.

    Raises
    ------
    InvalidInputError
        There is no such form.
    """
    import pyarrow as pa

    from quantumio.formats.arrow import ArrowTableDelegate

    if form not in FORMS:
        raise InvalidInputError(
            f"a reference table cannot be had as {form!r}",
            hint=f"use one of {', '.join(FORMS)}",
            kind=ErrorKind.FORM,
        )
    types = {"str": pa.string(), "int": pa.int64(), "time": pa.timestamp("us", tz="UTC")}
    table = pa.table({name: pa.array(values, types[kind]) for name, (kind, values) in columns.items()})
    if form == "arrow":
        return table
    if form == "votable":
        return _votable(table)
    delegate = ArrowTableDelegate()
    delegate.check_form(form)
    return delegate.convert(table, form)


def _votable(table: pa.Table) -> str:
    import pyarrow as pa
    from astropy.io.votable import from_table
    from astropy.table import Column, MaskedColumn, Table

    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_integer(column.type):
            missing = column.is_null().to_numpy()
            columns[name] = MaskedColumn(column.fill_null(0).to_numpy(), mask=missing)
        else:  # VOTable has no timestamp: IVOA DALI writes moments as ISO 8601 text
            values = ["" if value is None else value for value in column.to_pylist()]
            texts = [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
            columns[name] = Column(texts, dtype=str)
    document = io.BytesIO()
    from_table(Table(columns)).to_xml(document)
    return document.getvalue().decode()
