"""Arrow columns as columns of a database: names, types, and values there and back, exact.

====================================  ==========================================================
Arrow                                 column of the database
====================================  ==========================================================
bool                                  boolean (SQLite: 0 and 1)
integers of any width                 bigint; unsigned values beyond 2^63-1 are refused
float16, float32                      real
float64                               double precision
string of any kind                    text (NUL characters are refused)
binary of any kind                    bytea, blob
date                                  date (SQLite: ISO 8601 text); years 1 to 9999
timestamp, time, duration             bigint: the number of the column's own unit, exact
fixed-size lists of numbers, nested   bytea, blob: the numbers, little-endian, C order; where some
                                      are null one byte (1 = valid) for each follows
other lists and structs               text: JSON; NaN and infinities as texts
dictionary, extension types           as their values and their storage
====================================  ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = [
    "StoredColumn",
    "check_width",
    "column_name",
    "fixed_leaf",
    "list_sizes",
    "plain_type",
    "stored_columns",
]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_POSTGRESQL_SYSTEM: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_PREFIX: Final = "qio_"
_MOST_COLUMNS: Final = {"sqlite": 1900, "postgresql": 1500}
"""SQLite allows 2,000, PostgreSQL 1,600; the base table and the view have columns of their own beside."""
_MOST_ROW_BYTES: Final = 7800
"""A row of PostgreSQL lies in one page of 8 kB: 8,160 bytes, of which some are its header and our columns."""
_NARROWER: Final = "put columns of one kind together as lists, make two datasets of it, or write a file"
_NUMBER_BYTES: Final = 8
_LONG_BYTES: Final = 24  # what PostgreSQL cannot make smaller: a pointer to a text kept elsewhere, aligned

_SQL_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    "bool": sa.Boolean(),
    "int": sa.BigInteger(),
    "float32": sa.REAL(),
    "float64": sa.Double(),
    "text": sa.Text(),
    "bytes": sa.LargeBinary(),
    "date": sa.Date().with_variant(sa.Text(), "sqlite"),
    "count": sa.BigInteger(),
    "array": sa.LargeBinary(),
    "json": sa.Text(),
}
_COPY_TYPES: Final = {
    "bool": "bool",
    "int": "int8",
    "float32": "float4",
    "float64": "float8",
    "text": "text",
    "bytes": "bytea",
    "date": "date",
    "count": "int8",
    "array": "bytea",
    "json": "text",
}


@frozen(kw_only=True)
class StoredColumn:
    """One column of a table of the database.

    Attributes
    ----------
    name
        That of Arrow, with ``_`` for ``.``.
    shape
        How values are kept: a key of the table above.
    type
        What must stay the same from load to load, as a text for the catalogue and for messages.
    """

    name: str
    shape: str
    type: str

    @property
    def is_float(self) -> bool:
        """Whether it may hold NaN."""
        return self.shape in ("float32", "float64")

    @property
    def sql_type(self) -> sa.types.TypeEngine[Any]:
        """Type of the column, for any dialect."""
        return _SQL_TYPES[self.shape]

    @property
    def copy_type(self) -> str:
        """Name of its PostgreSQL type."""
        return _COPY_TYPES[self.shape]


def stored_columns(table: str, schema: pa.Schema) -> list[StoredColumn]:
    """Tell how the columns of a table are kept.

    Raises
    ------
    InvalidInputError
        A name is no identifier or taken twice (regardless of case), or a type cannot be kept.
    """
    seen: dict[str, str] = {}
    for name in map(column_name, schema.names):
        _check_name(table, name)
        if name.lower() in seen:
            raise InvalidInputError(
                f"table {table!r} has the columns {seen[name.lower()]!r} and {name!r}",
                hint="a database may take them for one: rename one of them",
                kind=ErrorKind.NAME,
            )
        seen[name.lower()] = name
    if not len(schema):
        raise InvalidInputError(f"table {table!r} has no columns", hint="a table has at least one")
    return [_stored(table, field) for field in schema]


def check_width(table: str, columns: Sequence[StoredColumn], total: int, *, is_sqlite: bool) -> None:
    """Refuse more columns than a table of the database can have, and rows too wide for a page of it.

    Parameters
    ----------
    table, columns
        What is to be loaded.
    total
        How many columns the table then has, those of earlier loads included.
    is_sqlite
        Whether it is SQLite, else PostgreSQL.

    Raises
    ------
    InvalidInputError
        The message names the limit.
    """
    dialect, most = (
        ("SQLite", _MOST_COLUMNS["sqlite"]) if is_sqlite else ("PostgreSQL", _MOST_COLUMNS["postgresql"])
    )
    if total > most:
        raise InvalidInputError(
            f"table {table!r} would have {total:,} columns; in {dialect} it has at most {most:,}",
            hint=_NARROWER,
        )
    long = sum(column.shape in ("text", "bytes", "array", "json") for column in columns)
    width = _LONG_BYTES * long + _NUMBER_BYTES * (len(columns) - long)
    if width > _MOST_ROW_BYTES and not is_sqlite:
        raise InvalidInputError(
            f"a row of table {table!r} may take {width:,} bytes; in PostgreSQL it has at most "
            f"{_MOST_ROW_BYTES:,} ({_NUMBER_BYTES} for a number, {_LONG_BYTES} for a text, bytes or a list)",
            hint=_NARROWER,
        )


def column_name(arrow_name: str) -> str:
    """Return the name of a column in the database.

    Parts of one astropy column, such as ``seen.jd1``, are joined by ``_`` there; the schema that is kept with
    each load has the names of Arrow.
    """
    return arrow_name.replace(".", "_")


def _check_name(table: str, name: str) -> None:
    if not _IDENTIFIER.fullmatch(name):
        hint = "use letters, digits and '_', not beginning with a digit, at most 63 characters"
    elif name.lower().startswith(_PREFIX) or name.lower() in _POSTGRESQL_SYSTEM:
        hint = "the name is reserved"
    else:
        return
    raise InvalidInputError(
        f"{name!r} cannot be a column of table {table!r} in a database",
        hint=f"rename it: {hint}",
        kind=ErrorKind.NAME,
    )


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """Return what the values of dictionaries and extension types are."""
    while True:
        if isinstance(data_type, pa.BaseExtensionType):
            data_type = data_type.storage_type
        elif pa.types.is_dictionary(data_type):
            data_type = data_type.value_type
        else:
            return data_type


def _stored(table: str, field: pa.Field) -> StoredColumn:
    plain = plain_type(field.type)
    shape, text = _shape(plain)
    if shape is None:
        raise InvalidInputError(
            f"column {field.name!r} of table {table!r} has type {field.type}, which a database cannot keep",
            hint="cast it to numbers, texts, bytes, times, or lists of them, or leave it out",
            kind=ErrorKind.VALUE,
        )
    return StoredColumn(name=column_name(field.name), shape=shape, type=text)


def _shape(plain: pa.DataType) -> tuple[str | None, str]:
    shape, text = _flat_shape(plain)
    if shape is not None:
        return shape, text
    if leaf := fixed_leaf(plain):
        sizes = "x".join(map(str, list_sizes(plain)))
        return "array", f"array of {sizes} {leaf}"
    return ("json", f"json of {_json_text(plain)}") if _json_text(plain) else (None, str(plain))


def _flat_shape(plain: pa.DataType) -> tuple[str | None, str]:
    types = pa.types
    if types.is_boolean(plain):
        return "bool", "bool"
    if types.is_integer(plain):
        return "int", "integer"
    if types.is_floating(plain):
        shape = "float64" if plain.bit_width == 64 else "float32"
        return shape, shape
    if types.is_string(plain) or types.is_large_string(plain) or types.is_string_view(plain):
        return "text", "string"
    if (
        types.is_binary(plain)
        or types.is_large_binary(plain)
        or types.is_fixed_size_binary(plain)
        or types.is_binary_view(plain)
    ) and not types.is_decimal(plain):
        return "bytes", "binary"
    if types.is_date(plain):
        return "date", "date"
    if types.is_timestamp(plain) or types.is_time(plain) or types.is_duration(plain):
        return "count", str(plain)
    return None, str(plain)


def fixed_leaf(plain: pa.DataType) -> pa.DataType | None:
    """Return the number type of (nested) fixed-size lists of numbers, None if it is something else."""
    if not pa.types.is_fixed_size_list(plain) or plain.list_size == 0:
        return None
    inner = plain.value_type
    if pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        return inner
    return fixed_leaf(inner)


def list_sizes(plain: pa.DataType) -> list[int]:
    """Return the lengths of nested fixed-size lists, the outer one first."""
    return [plain.list_size, *list_sizes(plain.value_type)] if pa.types.is_fixed_size_list(plain) else []


def _json_text(plain: pa.DataType) -> str | None:
    """Return in words what a JSON column holds, None if JSON cannot hold it."""
    types = pa.types
    if types.is_list(plain) or types.is_large_list(plain) or types.is_fixed_size_list(plain):
        inner = _json_text(plain.value_type)
        return None if inner is None else f"[{inner}]"
    if types.is_struct(plain):
        parts = [(field.name, _json_text(field.type)) for field in plain]
        if any(text is None for _, text in parts) or len({name for name, _ in parts}) != len(parts):
            return None
        return "{" + ", ".join(f"{name}: {text}" for name, text in parts) + "}"
    shape, text = _flat_shape(plain)
    return text if shape in ("bool", "int", "float32", "float64", "text") else None
