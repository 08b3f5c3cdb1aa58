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


def reference_table(columns: Mapping[str, Sequence[object]], form: str) -> object:
    """Return columns of equal length as a table.

    Parameters
    ----------
    columns
        Name to values; None where a row has none.
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
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if form == "arrow":
        return table
    if form == "votable":
        return _votable(table)
    delegate = ArrowTableDelegate()
    delegate.check_form(form)
    return delegate.convert(table, form)


def _votable(table: pa.Table) -> str:
    from astropy.io.votable import from_table
    from astropy.table import Table

    columns = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        # VOTable has no timestamp: IVOA DALI writes moments as ISO 8601 text.
        texts = [value.isoformat() if hasattr(value, "isoformat") else value for value in values]
        columns[name] = ["" if text is None else text for text in texts]
    document = io.BytesIO()
    from_table(Table(columns)).to_xml(document)
    return document.getvalue().decode()
