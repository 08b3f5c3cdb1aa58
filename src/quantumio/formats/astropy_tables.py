"""Storage class AstropyTable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from astropy.table import QTable, Table
from astropy.time import Time
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._arrow_columns import to_arrow_column
from quantumio.formats._astropy_arrow import arrow_to_astropy, astropy_to_arrow
from quantumio.formats._builtin import declaration
from quantumio.formats._guards import refuse_component
from quantumio.formats._plain_table import (
    PlainColumn,
    PlainTable,
    assemble,
    leaves,
    take_apart,
)
from quantumio.formats._table_arrays import structured_array
from quantumio.formats._table_forms import (
    check_columns,
    check_name,
    check_table_form,
    wrong_type,
)
from quantumio.model import StorageClass

if TYPE_CHECKING:
    from quantumio.ports import CopyArray

__all__ = ["AstropyTableDelegate"]


class AstropyTableDelegate:
    """Delegate of AstropyTable: a `astropy.table.QTable`; a `~astropy.table.Table` becomes one.

    Canonical form:

    * A QTable whose columns have the types that astropy's own files give back: Column, MaskedColumn, Quantity
      and its subclasses, Time, TimeDelta, SkyCoord, EarthLocation and other mixins that astropy serialises.
      Plain numeric columns with a unit are Quantities; integers stay integers.
    * Values in native byte order; under a mask zero, False, the empty text, or J2000.0 (times).
    * ``meta`` of the table and of its columns is what astropy's YAML gives back: tuples are lists, numpy
      scalars are those of Python, mappings are dicts in their order.
    * Units are what their text gives back. Indices, primary keys, fill values and ``serialize_method`` are
      dropped.

    Complex, object, datetime64 and longdouble columns are refused; the message names the column.
    """

    @property
    def storage_class(self) -> StorageClass:
        """Its declaration."""
        return declaration("AstropyTable")

    def check(self, value: object) -> None:
        """Refuse what is no astropy table, and columns of no canonical dtype."""
        if not isinstance(value, Table):
            raise wrong_type("AstropyTable", value, "give an astropy QTable or Table, e.g. QTable(value)")
        if "" in value.colnames:  # astropy itself would call it col1, col2...
            raise InvalidInputError(
                "the AstropyTable has a column without a name", hint="rename it", kind=ErrorKind.NAME
            )
        for column in value.itercols():
            check_name(str(column.info.name), "AstropyTable")
            dtype = getattr(column, "dtype", None)
            if isinstance(dtype, np.dtype) and dtype.kind in "Oc":
                raise InvalidInputError(
                    f"column {column.info.name!r}: no format holds {dtype}",
                    hint="make it texts or numbers; split complex values into two columns",
                    kind=ErrorKind.VALUE,
                )

    def is_immutable(self, value: object) -> bool:
        """Whether the value cannot change: never."""
        return False

    def has_snapshot(self, value: object) -> bool:
        """Whether `canonical` can copy it."""
        return isinstance(value, Table)

    def nbytes(self, value: object) -> int:
        """Bytes of its columns; masks and parts of mixins are estimated."""
        table = _table(value)
        return sum(_column_bytes(column) for column in table.itercols())

    def canonical(self, value: object, copy_array: CopyArray) -> QTable:
        """Return the canonical table; each array goes through ``copy_array`` once."""
        plain = take_apart(_table(value))
        try:
            return assemble(plain, copy_array)
        except (InvalidInputError, MemoryError):
            raise
        except Exception as error:  # any mixin class runs its own code here
            raise InvalidInputError(
                f"the table cannot be put together again: {error}",
                hint="use Column, MaskedColumn, Quantity, Time, TimeDelta, SkyCoord or EarthLocation",
                kind=ErrorKind.VALUE,
            ) from error

    def arrays(self, value: object) -> Sequence[np.ndarray]:
        """Return the arrays of its plain columns and masks; copies of those that are not contiguous."""
        arrays = []
        for column in take_apart(_table(value)).columns:
            arrays += [column.values] if column.mask is None else [column.values, column.mask]
        return [np.ascontiguousarray(array) for array in arrays]

    def check_form(self, form: str) -> None:
        """Refuse a form that tables cannot be had in."""
        check_table_form("AstropyTable", form)

    def convert(self, value: object, form: str) -> object:
        """Return the table in another form.

        ``arrow`` is lossless: the schema says under ``table_meta_yaml`` how mixins were taken apart (a Time
        into its two doubles, a SkyCoord into its coordinates), masks become nulls, and ``as_="astropy"`` of
        it gives the table back. ``pandas``, ``polars`` and ``numpy`` have the same columns, but times as UTC
        timestamps (nanoseconds), and no units. Masked columns are Arrow-backed in pandas; ``numpy`` is a
        structured array, a `numpy.ma.MaskedArray` where any column has a mask.
        """
        self.check_form(form)
        table = _table(value)
        if form in ("native", "astropy"):
            return table
        if form == "arrow":
            return astropy_to_arrow(table)
        flat = _with_timestamps(table)
        columns = {column.name: (column.values, column.mask) for column in flat.columns}
        if form == "numpy":
            return structured_array(columns)
        if form == "pandas":
            from quantumio.formats._pandas_arrow import columns_to_pandas

            return columns_to_pandas(columns)
        from quantumio.formats.polars import to_polars

        return to_polars(pa.table({name: to_arrow_column(name, *column) for name, column in columns.items()}))

    def component(self, value: object, name: str) -> object:
        """Refuse: tables have no components."""
        raise refuse_component("AstropyTable", name, ())

    def select(self, value: object, columns: Sequence[str]) -> QTable:
        """Return the table with these columns, in this order."""
        table = _table(value)
        check_columns(columns, table.colnames)
        if columns:
            return table[list(columns)]
        return QTable(meta=table.meta)

    def from_arrow(self, table: object) -> QTable:
        """Return rows that a table destination gave back (the Arrow form, nulls for masks) as a QTable."""
        if not isinstance(table, pa.Table):
            raise wrong_type("AstropyTable", table, "give a pyarrow.Table")
        return arrow_to_astropy(table)


def _table(value: Any) -> Any:
    return value


def _column_bytes(column: Any) -> int:
    nbytes = getattr(column, "nbytes", None)
    return int(nbytes) if nbytes is not None else 16 * int(getattr(column, "size", len(column)))


def _with_timestamps(table: Any) -> PlainTable:
    """Take a table apart with its times as one column of UTC nanoseconds each."""
    plain = take_apart(table)
    times = {name: column for name, column in table.columns.items() if isinstance(column, Time)}
    owners = {leaf: name for name in times for leaf in leaves(plain.entries[name])}
    columns: dict[str, PlainColumn] = {}
    for column in plain.columns:
        owner = owners.get(column.name)
        if owner is None:
            columns[column.name] = column
        elif owner not in columns:
            columns[owner] = _timestamps(owner, times[owner])
    return evolve(plain, columns=list(columns.values()))


def _timestamps(name: str, time: Time) -> PlainColumn:
    try:
        utc = time.utc
        stamps = np.asarray(utc.unmasked.datetime64 if utc.masked else utc.datetime64, "datetime64[ns]")
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"column {name!r}: not all of its times are UTC timestamps: {error}",
            hint="use as_='arrow' or as_='astropy'",
            kind=ErrorKind.FORM,
        ) from error
    return PlainColumn(name=name, values=stamps, mask=np.array(time.mask) if time.masked else None)
