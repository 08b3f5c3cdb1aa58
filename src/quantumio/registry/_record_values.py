"""Fields of dimension records: from what people give to columns, and back."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from quantumio.errors import ErrorKind, InvalidInputError, QuantumioError
from quantumio.model import DimensionUniverse, Region, Timespan, check_data_id_value
from quantumio.registry._geometry import geometry
from quantumio.registry._universe_schema import RecordTable

__all__ = ["check_metadata", "from_row", "to_row"]

_INT64 = 1 << 63


def to_row(universe: DimensionUniverse, table: RecordTable, number: int, record: object) -> dict[str, Any]:
    """Return the columns of one record, checked.

    Raises
    ------
    InvalidInputError
        A field is unknown, missing or of the wrong type; names the record (from 0) and the field.
    """
    name = table.element.name
    if not isinstance(record, Mapping):
        raise _wrong(name, number, f"{record!r} is no mapping", "give field names and values")
    known = (*table.kinds, *(("timespan",) if table.element.temporal else ()))
    known = (*known, *(("region",) if table.element.spatial else ()))
    if unknown := [field for field in record if field not in known]:
        raise _wrong(name, number, f"unknown field {unknown[0]!r}", f"its fields are {', '.join(known)}")
    row: dict[str, Any] = {}
    for field, kind in table.kinds.items():
        value = record.get(field)
        if value is None and field in table.element.record_keys:
            raise _wrong(name, number, f"field {field!r} is missing", "every record needs its keys")
        try:
            row[table.fields[field]] = (
                None if value is None else _checked(universe, table, field, kind, value)
            )
        except QuantumioError as error:
            raise _wrong(name, number, f"field {field!r}: {error.message}", error.hint) from error
    try:
        if table.element.temporal:
            span = _given(record, "timespan", Timespan.make)
            row |= {"begin_ns": span and span.begin_ns, "end_ns": span and span.end_ns}
        if table.element.spatial:
            region = _given(record, "region", Region.make)
            row["region"] = None if region is None else str(region)
            row["geometry"] = None if region is None else geometry(region)
    except QuantumioError as error:
        raise _wrong(name, number, error.message, error.hint, error.kind) from error
    return row


def _given(record: Mapping[Any, Any], field: str, make: Any) -> Any:
    return None if (value := record.get(field)) is None else make(value)


def _wrong(
    element: str, number: int, what: str, hint: str | None, kind: ErrorKind = ErrorKind.DIMENSION
) -> InvalidInputError:
    return InvalidInputError(f"record {number} of {element}: {what}", hint=hint, kind=kind)


def _checked(universe: DimensionUniverse, table: RecordTable, field: str, kind: str, value: object) -> Any:
    if field not in table.element.metadata or field in (*table.element.record_keys, *table.element.implies):
        return check_data_id_value(universe, field, value)
    return check_metadata(kind, value)


def check_metadata(kind: str, value: object) -> Any:
    """Return a value of metadata in its Python type; NumPy's scalars are taken.

    Raises
    ------
    InvalidInputError
        It is of another type, or cannot be stored.
    """
    is_flag = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
    try:
        if kind == "bool" and is_flag:
            return bool(value)
        if kind == "int" and not is_flag:
            number = operator.index(value)  # type: ignore[arg-type]
            if -_INT64 <= number < _INT64:
                return number
        if kind == "float" and not is_flag and not isinstance(value, (str, bytes)):
            real = float(value)  # type: ignore[arg-type]
            if not math.isnan(real):  # SQLite knows no NaN
                return real
        if kind == "str" and isinstance(value, str) and "\0" not in value:
            value.encode()
            return str(value)
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = {
        "bool": "True or False",
        "int": "an integer of 64 bits",
        "float": "a number (None where it is not known)",
        "str": "a text of valid Unicode without NUL",
    }
    raise InvalidInputError(f"{value!r} ({type(value).__name__}) does not fit", hint=f"give {wanted[kind]}")


def from_row(table: RecordTable, row: Mapping[str, Any]) -> dict[str, object]:
    """Return the record of a row, with every field that its element has."""
    record: dict[str, object] = {}
    for field, column in table.fields.items():
        value = row[column]
        record[field] = bool(value) if table.kinds[field] == "bool" and value is not None else value
    if table.element.temporal:
        begin = row["begin_ns"]
        record["timespan"] = None if begin is None else Timespan(begin, row["end_ns"])
    if table.element.spatial:
        region = row["region"]
        record["region"] = None if region is None else Region.read(region)
    return record
