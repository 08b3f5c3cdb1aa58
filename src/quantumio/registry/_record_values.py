"""Fields of dimension records: from what people give to columns, and back."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from quantumio.errors import ErrorKind, InvalidInputError, QuantumioError, shown
from quantumio.model import DimensionUniverse, Region, Timespan, check_data_id_value
from quantumio.registry._universe_schema import RecordTable

__all__ = ["check_metadata", "from_row", "to_row", "to_rows"]

_INT64 = 1 << 63


def to_rows(
    universe: DimensionUniverse, table: RecordTable, records: Iterable[object]
) -> list[dict[str, Any]]:
    """Return the columns of records, checked.

    They are checked column by column; where anything is not plain, one by one, which tells what is wrong.

    Raises
    ------
    InvalidInputError
        A field is unknown, missing or of the wrong type; names the record (from 0) and the field.
    """
    given = list(records)
    try:
        columns = _by_columns(universe, table, given)
    except QuantumioError:
        columns = None
    if columns is None:
        return [to_row(universe, table, number, record) for number, record in enumerate(given)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _by_columns(
    universe: DimensionUniverse, table: RecordTable, records: list[Any]
) -> dict[str, list[Any]] | None:
    """Return checked columns; None if the records are not plain."""
    if not set(map(type, records)) <= {dict}:
        return None
    areas: dict[str, type] = {"timespan": Timespan} if table.element.temporal else {}
    areas |= {"region": Region} if table.element.spatial else {}
    named = set().union(*records)
    if not named <= {*table.kinds, *areas}:
        return None
    nothing: list[Any] = [None] * len(records)
    columns: dict[str, list[Any]] = {}
    for field, kind in table.kinds.items():
        values = [record.get(field) for record in records] if field in named else nothing
        found = _plain(universe, table, field, kind, values)
        if found is None:
            return None
        columns[table.fields[field]] = found
    for field, type_ in areas.items():
        values = [record.get(field) for record in records] if field in named else nothing
        if not set(map(type, values)) <= {type_, type(None)}:
            return None
        if field == "timespan":
            columns["begin_ns"] = [None if value is None else value.begin_ns for value in values]
            columns["end_ns"] = [None if value is None else value.end_ns for value in values]
        else:
            columns["region"] = [None if value is None else str(value) for value in values]
            columns["geometry"] = [None if value is None else value.encode() for value in values]
    return columns


def _plain(
    universe: DimensionUniverse, table: RecordTable, field: str, kind: str, values: list[Any]
) -> list[Any] | None:
    """Return the values of a field as they are stored; None if any of them needs a closer look."""
    types = set(map(type, values))
    there = values
    if type(None) in types:
        if field in table.element.record_keys:
            return None
        there = [value for value in values if value is not None]
        types.discard(type(None))
    if not there or (kind == "bool" and types == {bool}):
        return values
    if kind == "int" and types == {int}:
        return values if min(there) >= -_INT64 and max(there) < _INT64 else None
    if kind == "float" and types == {float}:
        return None if any(value != value for value in there) else values  # NaN alone is not itself
    if kind == "str" and types == {str}:
        for value in set(there):
            _checked(universe, table, field, kind, value)
        return values
    return None


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
        raise _wrong(name, number, f"unknown field {shown(unknown[0])}", f"its fields are {', '.join(known)}")
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
            row["geometry"] = None if region is None else region.encode()
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
        text, encoded = row["region"], row["geometry"]
        if encoded is not None:
            record["region"] = Region.decode(encoded)
        else:  # none, or a polygon of an earlier version that is not convex
            record["region"] = None if text is None else Region.read(text)
    return record
