"""Storage class ArrowTable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._arrow_columns import from_arrow_column
from quantumio.formats._builtin import declaration
from quantumio.formats._guards import refuse_component
from quantumio.formats._table_arrays import structured_array
from quantumio.formats._table_forms import (
    check_columns,
    check_table_form,
    wrong_type,
)
from quantumio.model import StorageClass

if TYPE_CHECKING:
    from quantumio.ports import CopyArray

__all__ = ["ArrowTableDelegate", "arrow_to_numpy"]


class ArrowTableDelegate:
    """Delegate of ArrowTable: a `pyarrow.Table`; a `pyarrow.RecordBatch` is taken as well.

    The canonical form is the table itself: Arrow is immutable, so it is never copied. (Arrow built over
    a numpy array shares its memory: who does so must not change that array.)
    """

    @property
    def storage_class(self) -> StorageClass:
        """Its declaration."""
        return declaration("ArrowTable")

    def check(self, value: object) -> None:
        """Refuse what is no Arrow table, and tables with two columns of one name."""
        if not isinstance(value, (pa.Table, pa.RecordBatch)):
            raise wrong_type("ArrowTable", value, "give a pyarrow.Table, e.g. pyarrow.table(value)")
        names = value.schema.names
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInputError(
                f"the table has two columns {twice!r}",
                hint="rename one with Table.rename_columns",
                kind=ErrorKind.VALUE,
            )
        if not names and value.num_rows:
            raise InvalidInputError(
                f"the table has {value.num_rows} rows but no column",
                hint="give it a column",
                kind=ErrorKind.VALUE,
            )

    def is_immutable(self, value: object) -> bool:
        """Whether the value cannot change: always."""
        return isinstance(value, (pa.Table, pa.RecordBatch))

    def has_snapshot(self, value: object) -> bool:
        """Whether `canonical` can copy it: there is nothing to copy."""
        return True

    def nbytes(self, value: object) -> int:
        """Bytes that its buffers refer to."""
        return int(_table(value).nbytes)

    def canonical(self, value: object, copy_array: CopyArray) -> pa.Table:
        """Return the table itself; nothing is copied."""
        return _table(value)

    def arrays(self, value: object) -> Sequence[np.ndarray]:
        """Return its buffers as read-only arrays of bytes."""
        return [
            np.frombuffer(buffer, dtype=np.uint8)
            for column in _table(value).itercolumns()
            for chunk in column.chunks
            for buffer in chunk.buffers()
            if buffer is not None and buffer.size
        ]

    def check_form(self, form: str) -> None:
        """Refuse a form that tables cannot be had in."""
        check_table_form("ArrowTable", form)

    def convert(self, value: object, form: str) -> object:
        """Return the table in another form.

        ``pandas`` gives Arrow-backed columns (`pandas.ArrowDtype`: integers with nulls stay integers) unless
        the table was made from a DataFrame, which comes back as it was. ``astropy`` honours what the schema
        says under ``table_meta_yaml``; nulls become masks.
        """
        self.check_form(form)
        table = _table(value)
        if form == "astropy":
            from quantumio.formats._astropy_arrow import arrow_to_astropy

            return arrow_to_astropy(table)
        if form == "pandas":
            from quantumio.formats._pandas_arrow import arrow_to_pandas

            return arrow_to_pandas(table)
        if form == "polars":
            from quantumio.formats.polars import to_polars

            return to_polars(table)
        return arrow_to_numpy(table) if form == "numpy" else table

    def component(self, value: object, name: str) -> object:
        """Refuse: tables have no components."""
        raise refuse_component("ArrowTable", name, ())

    def select(self, value: object, columns: Sequence[str]) -> pa.Table:
        """Return the table with these columns, in this order."""
        table = _table(value)
        check_columns(columns, table.column_names)
        return table.select(list(columns))

    def from_arrow(self, table: object) -> pa.Table:
        """Return rows that a table destination gave back as the storage class: the table itself."""
        return _table(table)


def _table(value: Any) -> pa.Table:
    return pa.Table.from_batches([value]) if isinstance(value, pa.RecordBatch) else value


def arrow_to_numpy(table: pa.Table) -> np.ndarray:
    """Return an Arrow table as a structured array, a masked one if it has nulls.

    Raises
    ------
    InvalidInputError
        ``kind="form"``: numpy has no type for a column; the message names it.
    """
    columns = {}
    for name in table.column_names:
        try:
            columns[name] = from_arrow_column(table[name])
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise InvalidInputError(
                f"column {name!r} ({table.schema.field(name).type}) has no numpy form: {error}",
                hint="use as_='arrow', or leave the column out with columns=[...]",
                kind=ErrorKind.FORM,
            ) from error
    return structured_array(columns)
