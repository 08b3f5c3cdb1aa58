"""Format ecsv: AstropyTable in Enhanced Character-Separated Values (APE 6, version 1.0)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml
from astropy.table import QTable, Table

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.formats._guards import check_options, check_storage_class, damaged, decoding
from quantumio.formats._plain_table import (
    PlainColumn,
    PlainTable,
    assemble,
    join_masks,
    split_masks,
    take_apart,
)
from quantumio.formats._table_forms import check_columns
from quantumio.formats._table_header import ColumnHeader, TableHeader, header_text, parse_header

if TYPE_CHECKING:
    from quantumio.ports import Buffer, Chunks

__all__ = ["EcsvFormat"]

_STORAGE_CLASSES: Final = frozenset({"AstropyTable"})
_VERSION: Final = "# %ECSV 1.0\n# ---\n"
_OWN_KEY: Final = "quantumio"
_FORMAT: Final = "ascii.ecsv"
_HINT: Final = "write it as parquet"
_READABLE_NAME: Final = re.compile(r"(?![\s#])[^\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+(?<!\s)")


class EcsvFormat:
    """Enhanced character-separated values, for people to read.

    Lossless: numbers are written so that they read back the same (the payload of a NaN is not kept), times as
    their two doubles, masks as columns ``NAME.mask``. astropy reads it with ``Table.read(path)``; the widths
    of texts are under a key of the header that only this format reads.

    Bytes columns are refused by `check`, texts that do not read back (white space at an end, a leading ``#``)
    by `encode`: it reads again what it wrote if the table has texts. No options.
    """

    @property
    def name(self) -> str:
        """Identifier."""
        return "ecsv"

    @property
    def extension(self) -> str:
        """Suffix of file names."""
        return ".ecsv"

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the names of files that may hold it."""
        return (".ecsv",)

    @property
    def storage_classes(self) -> frozenset[str]:
        """Names of the storage classes that it can hold."""
        return _STORAGE_CLASSES

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Whether `decode` gives back exactly what was encoded: always."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options, bytes columns, names that end lines, and tables without columns."""
        check_storage_class("ecsv", _STORAGE_CLASSES, storage_class)
        check_options("ecsv", options, {})
        assert isinstance(value, Table)
        if not value.colnames:
            raise FormatError("ECSV cannot hold a table without columns", hint=_HINT)
        for column in take_apart(value).columns:
            _check_column(column)

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the bytes of a canonical table; equal values give equal bytes."""
        self.check(value, storage_class, options)
        assert isinstance(value, Table)
        plain = split_masks(take_apart(value))
        for column in plain.columns:
            _check_unicode(column)
        try:
            text = _VERSION + _commented(header_text(plain, _others(plain))) + _rows(plain)
            data = text.encode()
        except (ValueError, TypeError) as error:
            raise FormatError(
                f"ECSV cannot hold the table: {error}", hint=_HINT, kind=ErrorKind.VALUE
            ) from error
        _check_texts(plain, data)
        return [data]

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> object:
        """Return a new canonical table; with ``columns`` these of it (all of the text is read)."""
        with decoding("ecsv"):
            whole = _assembled(bytes(data))
        if columns is None:
            return whole
        check_columns(columns, whole.colnames)
        return whole[list(columns)] if columns else QTable(meta=whole.meta)


# ---------------------------------------------------------------------------- writing


def _check_column(column: PlainColumn) -> None:
    if not _READABLE_NAME.fullmatch(column.name):
        raise FormatError(
            f"ECSV does not give back the name of column {column.name!r}: it is empty, has white space at an "
            "end, begins with '#', or holds control characters",
            hint=f"rename it, or {_HINT}",
            kind=ErrorKind.NAME,
        )
    if column.values.dtype.kind == "S":
        raise FormatError(
            f"ECSV cannot hold the bytes of column {column.name!r}",
            hint=f"make it texts, e.g. table[{column.name!r}].astype(str), or write parquet",
        )


def _check_unicode(column: PlainColumn) -> None:
    try:
        if column.values.dtype.kind == "U":
            "".join(column.values.ravel().tolist()).encode()
    except UnicodeError as error:
        raise _lost(column.name) from error


def _others(table: PlainTable) -> dict[str, Any]:
    widths = {
        column.name: column.values.dtype.itemsize // 4
        for column in table.columns
        if column.values.dtype.kind == "U"
    }
    # Always there: it tells `decode` that empty texts are texts, where astropy takes them for masked ones.
    return {"schema": "astropy-2.0", _OWN_KEY: {"version": 1, "widths": widths}}


def _commented(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.split("\n"))


def _rows(table: PlainTable) -> str:
    """Return the line of names and the lines of values, as astropy writes them."""
    plain = Table([column.to_column() for column in table.columns], copy=False)
    for column in plain.itercols():
        column.info.meta, column.info.description = {}, None
    sink = io.StringIO()
    plain.write(sink, format=_FORMAT)
    lines = sink.getvalue().split("\n")
    return "\n".join(lines[_header_lines(lines) :])


def _header_lines(lines: Sequence[str]) -> int:
    """Return how many lines the header has."""
    return next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))


def _check_texts(table: PlainTable, data: bytes) -> None:
    """Refuse texts that the format does not give back, by reading them."""
    texts = [column for column in table.columns if column.values.dtype.kind == "U"]
    if not texts:
        return
    try:
        _, again = _read(data)
    except ValueError as error:
        raise _lost(texts[0].name if len(texts) == 1 else [column.name for column in texts]) from error
    for column in texts:
        found = again.get(column.name)
        if found is None or not np.array_equal(found.values, column.values):
            raise _lost(column.name)


def _lost(names: object) -> FormatError:
    return FormatError(
        f"ECSV does not give back a text of column {names!r}: one has white space at an end, "
        "begins with '#', or holds characters that end lines",
        hint=_HINT,
        kind=ErrorKind.VALUE,
    )


# ---------------------------------------------------------------------------- reading


def _read(data: bytes) -> tuple[TableHeader, dict[str, PlainColumn]]:
    """Return the header and the plain columns by name."""
    lines = data.decode().split("\n")
    count = _header_lines(lines)
    if not lines[0].startswith("# %ECSV "):
        raise ValueError("it does not begin with '# %ECSV'")
    header = parse_header("\n".join(line.rstrip("\r")[2:] for line in lines[1:count]))
    own = header.others.get(_OWN_KEY) or {}
    if any(line.strip() for line in lines[count + 1 :]):
        table = _read_rows(header, lines[count:])
    else:
        table = Table({name: _empty(column) for name, column in header.columns.items()})
    return header, {name: _column(table[name], name, header, own) for name in table.colnames}


def _assembled(data: bytes) -> QTable:
    header, plain = _read(data)
    try:
        return assemble(join_masks(plain, header.entries, header.meta))
    except InvalidInputError as error:  # what is read is refused, not what was given
        raise damaged("ecsv", error) from error


def _empty(column: ColumnHeader) -> np.ndarray:
    return np.zeros((0, *column.shape), "U1" if column.datatype == "string" else column.datatype)


def _read_rows(header: TableHeader, lines: Sequence[str]) -> Table:
    """Let astropy read the values; mixins are put together here, so it is told of types alone."""
    types: dict[str, Any] = {
        "datatype": [_described(name, column) for name, column in header.columns.items()]
    }
    if "delimiter" in header.others:
        types["delimiter"] = header.others["delimiter"]
    # On one line, with escapes. A list of lines: a single text could be taken for the name of a file.
    text = yaml.safe_dump(types, default_flow_style=True, width=math.inf).rstrip("\n")
    return Table.read([*_VERSION.splitlines(), f"# {text}", *lines], format=_FORMAT)


def _described(name: str, column: ColumnHeader) -> dict[str, Any]:
    if not column.shape:
        return {"name": name, "datatype": column.datatype}
    axes = ",".join(map(str, column.shape))
    return {"name": name, "datatype": "string", "subtype": f"{column.datatype}[{axes}]"}


def _column(column: Any, name: str, header: TableHeader, own: Mapping[str, Any]) -> PlainColumn:
    mask = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    values = np.array(np.ma.getdata(column))
    if mask is not None and (own or not mask.any()):
        values[mask] = values.dtype.type()
        mask = None
    width = own.get("widths", {}).get(name)
    if width is not None:
        values = values.astype(f"U{max(int(width), values.dtype.itemsize // 4)}")
    return PlainColumn(name=name, values=values, mask=mask, **header.columns[name].attributes)
