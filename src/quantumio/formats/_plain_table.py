"""Astropy tables taken apart into plain columns, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from astropy.table import Column, MaskedColumn, QTable, SerializedColumn, Table, represent_mixins_as_columns

# Not public, but the one way back; other archives of astropy tables (the Rubin Butler) use it as well.
from astropy.table.serialize import _construct_mixins_from_columns
from astropy.units import Quantity, Unit
from astropy.utils.masked import Masked
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._plain_columns import (
    MASKED_COLUMN,
    PlainColumn,
    PlainTable,
    join_masks,
    leaf,
    leaves,
    nested,
    split_masks,
)
from quantumio.formats._table_meta import SERIALIZED_COLUMNS, as_doubles, canonical_meta

__all__ = ["PlainColumn", "PlainTable", "assemble", "join_masks", "leaves", "split_masks", "take_apart"]

_QUANTITY: Final = "astropy.units.quantity.Quantity"
_TIME: Final = "astropy.time.core.Time"
_J2000: Final = 2451545.0
_KINDS: Final = "biufUS"
_CLASH_TRIES: Final = 1000


# ---------------------------------------------------------------------------- taking apart


def take_apart(table: Table) -> PlainTable:
    """Take a table apart; the plain columns share memory with it.

    Raises
    ------
    InvalidInputError
        ``kind="value"``: a column cannot be taken apart, or its attributes cannot be kept; names it.
    """
    columns: list[PlainColumn] = []
    entries: dict[str, Any] = {}
    with np.errstate(over="ignore"):  # numpy's own fill value of masked arrays overflows 16-bit floats
        for column in table.itercols():
            plain, description = _take_column_apart(column, column.info.name)
            columns += plain
            entries.update(description)
    _check_unique([column.name for column in columns])
    return PlainTable(columns=columns, entries=entries, meta=canonical_meta(table.meta, "meta"))


def _check_unique(names: Sequence[str]) -> None:
    there: set[str] = set()
    every = set(names)
    for name in names:
        if name in there or f"{name}.mask" in every:
            raise _refused(name, "its parts have the names of other columns", "rename the column")
        there.add(name)


def _take_column_apart(column: Any, name: Any) -> tuple[list[PlainColumn], dict[str, Any]]:
    if not isinstance(name, str):
        raise _refused(name, "names of columns are texts", "rename it")
    column = _with_unit(column, name)
    if type(column) is Column and not column.dtype.names:
        return [_plain(column, name, name)], {}
    if type(column) is Quantity and column.ndim:  # what astropy would say, without its detour
        entries = {
            name: {"value": SerializedColumn({"name": name}), "unit": column.unit, "__class__": _QUANTITY}
        }
        whole = _plain(column, name, name)
        _describe(entries, {name: whole}, name)
        entries[name]["unit"] = whole.unit
        return [whole], entries
    parts = _parts(as_doubles(column), name)
    entries = parts.meta.get(SERIALIZED_COLUMNS, {})
    if isinstance(column, MaskedColumn) and name not in entries:
        entries = {name: {"data": SerializedColumn({"name": name}), "__class__": MASKED_COLUMN}}
    fills = {
        part: _J2000
        for entry in nested(entries)
        for part in leaf(entry.get("jd1"))
        if entry["__class__"] == _TIME
    }
    plain = {
        part.info.name: _plain(part, part.info.name, name, fills.get(part.info.name))
        for part in parts.itercols()
    }
    joined = join_masks(plain, entries, {})  # there are masks to join only if another thread writes HDF5
    _describe(joined.entries, {part.name: part for part in joined.columns}, name)
    return list(joined.columns), dict(joined.entries)


def _with_unit(column: Any, name: str) -> Any:
    """Return a plain column that has a unit as a Quantity of the same dtype, as QTable does for floats."""
    if not isinstance(column, Column) or column.unit is None:
        return column
    if column.dtype.kind not in "iuf":
        raise _refused(name, f"values of {column.dtype} have no unit", "remove the unit of the column")
    values: Any = np.asarray(column)
    if isinstance(column, MaskedColumn):
        values = Masked(values, mask=np.array(np.ma.getmaskarray(column)))
    try:
        quantity = Quantity(values, column.unit, dtype=column.dtype, copy=False, subok=True)
    except (TypeError, ValueError) as error:
        raise _refused(
            name, f"its unit {column.unit} makes no Quantity: {error}", "change the unit"
        ) from error
    for attribute in ("name", "format", "description", "meta"):
        setattr(quantity.info, attribute, getattr(column.info, attribute))
    return quantity


class _Single:
    """One column, with as much of a table around it as astropy needs to take it apart."""

    def __init__(self, column: Any) -> None:
        self._column = column
        self.meta: dict[str, Any] = {}

    def itercols(self) -> Iterator[Any]:
        yield self._column


def _parts(column: Any, name: str) -> Any:
    # astropy keeps what it serialises for in one global variable: a table that another thread writes as ECSV
    # in this moment turns times within coordinates into texts. Rare, seen at once, and over in a moment.
    for _ in range(_CLASH_TRIES):
        try:
            parts = represent_mixins_as_columns(_Single(column))
        except Exception as error:  # any mixin class runs its own code here
            raise _refused(
                name,
                f"a {type(column).__module__}.{type(column).__qualname__} cannot be taken apart: {error}",
                "use Column, MaskedColumn, Quantity, Time, TimeDelta, SkyCoord or EarthLocation",
            ) from error
        entries = parts.meta.get(SERIALIZED_COLUMNS, {})
        if all("jd1" in entry for entry in nested(entries) if _is_time(entry)):
            return parts
    raise _refused(name, "its times would be written as texts", "set serialize_method to 'jd1_jd2'")


def _plain(column: Any, name: str, owner: str, fill: float | None = None) -> PlainColumn:
    values, mask = np.asarray(column), None
    if isinstance(column, MaskedColumn):
        masked = np.ma.getmaskarray(column)
        mask = masked if masked.any() else None
    _check_dtype(values, owner)
    if values.dtype.itemsize == 0:  # texts of no width: no format has them
        values = np.zeros(values.shape, f"{values.dtype.kind}1")
    info = column.info
    return PlainColumn(
        name=name,
        values=values,
        mask=mask,
        unit=_unit(column.unit, owner),
        format=_text(info.format, "format", owner),
        description=_text(info.description, "description", owner),
        meta=canonical_meta(info.meta or {}, f"meta of column {owner!r}"),
        fill=fill,
    )


def _check_dtype(values: np.ndarray, name: str) -> None:
    if values.dtype.kind not in _KINDS or (values.dtype.itemsize > 8 and values.dtype.kind == "f"):
        mends = {
            "O": "make it a column of texts or numbers: table[name] = table[name].astype(str)",
            "c": "split it into a real and an imaginary column",
            "M": "make it an astropy Time",
            "m": "make it an astropy TimeDelta",
        }
        raise _refused(
            name, f"no format holds {values.dtype}", mends.get(values.dtype.kind, "change its dtype")
        )
    if 0 in values.shape[1:]:
        raise _refused(name, f"cells of shape {values.shape[1:]} are empty", "remove the column")


def _unit(unit: Any, name: str) -> Any:
    if unit is None:
        return None
    try:
        again = Unit(unit.to_string(), parse_strict="silent")
        same = bool(again == unit) or again.to_string() == unit.to_string()
    except (TypeError, ValueError) as error:
        raise _refused(name, f"the unit {unit!r} has no text: {error}", "use a standard unit") from error
    if not same:
        raise _refused(name, f"the unit {unit!r} reads back as {again!r}", "use a standard unit")
    return again


def _text(value: Any, what: str, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    raise _refused(name, f"its {what} is a {type(value).__qualname__}", f"make the {what} a text")


def _describe(entries: Mapping[str, Any], plain: Mapping[str, PlainColumn], name: str) -> None:
    """Make astropy's description canonical: metadata, and the dtype of integer quantities."""
    for entry in nested(entries):
        entry.update({key: as_doubles(value) for key, value in entry.items()})  # e.g. a common equinox
        info = entry.get("__info__")
        if info:
            for attribute in ("format", "description"):
                _text(info.get(attribute), attribute, name)
            if "meta" in info:
                info["meta"] = canonical_meta(info["meta"], f"meta of column {name!r}")
        if entry.get("__class__") == _QUANTITY:
            for part in leaf(entry.get("value")):
                if plain[part].values.dtype.kind in "iu":  # Quantity makes floats of them unless told
                    entry["dtype"] = plain[part].values.dtype.name


def _is_plain_quantity(entry: Mapping[str, Any], name: str) -> bool:
    return (
        entry.get("__class__") == _QUANTITY
        and entry.get("value") == {"name": name}
        and "__info__" not in entry
    )


def _is_time(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("__class__", "")).startswith("astropy.time.")


# ---------------------------------------------------------------------------- putting together


class _Columns:
    """As much of a table as astropy needs to put columns together."""

    def __init__(self, columns: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
        self.columns = columns
        self.meta = {SERIALIZED_COLUMNS: entries}


def assemble(table: PlainTable, copy_array: Callable[[np.ndarray], np.ndarray] | None = None) -> QTable:
    """Put a table together.

    Parameters
    ----------
    table
        Plain columns; without ``copy_array`` they must be the caller's own.
    copy_array
        Copies each array, once.

    Raises
    ------
    ValueError, TypeError, KeyError
        The description does not fit the columns.
    """
    if copy_array is not None:
        table = _copied(table, copy_array)
    with np.errstate(over="ignore"):  # as in take_apart
        return _assembled(split_masks(table))


def _assembled(table: PlainTable) -> QTable:
    entries = dict(table.entries)
    for entry in nested(entries):
        if entry.get("__class__") == _QUANTITY:
            entry["copy"] = False
    columns: Any = {column.name: column.to_column() for column in table.columns}
    if all(_is_plain_quantity(entry, name) for name, entry in entries.items()):
        for name in entries:
            columns[name] = _with_unit(columns[name], name)
    else:
        columns = _construct_mixins_from_columns(_Columns(columns, entries)).columns
    whole = {name: _with_unit(column, name) for name, column in columns.items()}
    return QTable(list(whole.values()), names=list(whole), meta=dict(table.meta), copy=False)


def _copied(table: PlainTable, copy_array: Callable[[np.ndarray], np.ndarray]) -> PlainTable:
    columns = []
    for column in table.columns:
        values = copy_array(column.values)
        if column.mask is None:
            columns.append(evolve(column, values=values))
            continue
        # What lies under a mask has no meaning; zero makes equal tables equal bytes. J2000 is a legal time.
        if np.may_share_memory(values, column.values):
            values = values.copy()
        values[column.mask] = values.dtype.type() if column.fill is None else column.fill
        columns.append(evolve(column, values=values, mask=copy_array(column.mask)))
    return evolve(table, columns=columns)


def _refused(name: object, why: str, mend: str) -> InvalidInputError:
    return InvalidInputError(f"column {name!r}: {why}", hint=mend, kind=ErrorKind.VALUE)
