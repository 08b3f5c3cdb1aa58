"""Tables as the bytes of files, batch by batch: any number of rows takes little memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from quantumio.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLE_FORMATS", "batch_rows", "table_batches", "table_chunks"]

_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Mark at the end of an Arrow IPC stream."""
_CSV_END: Final = "\r\n"
_PART: Final = 4096
"""Rows that are Python objects at the same time."""

_Batches = Iterable["pa.RecordBatch"]


def table_chunks(batches: Iterable[object], format_name: str) -> Iterator[bytes]:
    """Yield the bytes of a file that holds a table.

    Parameters
    ----------
    batches
        Arrow record batches of one schema, at least one.
    format_name
        ``csv`` (with a line of headings), ``jsonl`` (JSON lines), ``arrow`` (an IPC stream), or ``votable``
        (IVOA), for which all rows are in memory. Moments are ISO 8601 in UTC.

    Raises
    ------
    InvalidInputError
        There is no such format; raised when the first chunk is asked for.
    """
    if format_name not in _WRITERS:
        raise InvalidInputError(
            f"a table cannot be written as {format_name!r}",
            hint=f"use one of {', '.join(TABLE_FORMATS)}",
            kind=ErrorKind.FORM,
        )
    given: Any = batches
    yield from _WRITERS[format_name](given)


def batch_rows(batch: object) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of an Arrow record batch, with moments as ISO 8601 text in UTC."""
    for part in _parts([batch]):
        columns = [_plain(column) for column in part.columns]
        yield from zip(*columns, strict=True) if columns else [()] * part.num_rows


def _parts(batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Yield batches in parts that are small as Python objects, too; of one without rows itself."""
    for batch in batches:
        for start in range(0, max(batch.num_rows, 1), _PART):
            yield batch.slice(start, _PART)


def table_batches(table: object) -> list[Any]:
    """Return an Arrow table as record batches, at least one."""
    import pyarrow as pa

    given: Any = table
    return given.to_batches() or [pa.RecordBatch.from_pylist([], schema=given.schema)]


def _plain(column: pa.Array) -> list[Any]:
    """Return the values of a column, moments as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    return column.to_pylist()  # type: ignore[no-any-return]


def _csv(batches: _Batches) -> Iterator[bytes]:
    lines = _Lines()
    writer = csv.writer(lines)
    for number, batch in enumerate(_parts(batches)):
        if not number:
            writer.writerow(batch.schema.names)
        writer.writerows(batch_rows(batch))
        yield "".join(lines).encode()
        lines.clear()


class _Lines(list[str]):
    """Takes the lines of a CSV writer.

    The writer puts quotes around what its own line ends are made of: they must be CR and LF, so that a CR in
    a text ends no line for whoever reads it.
    """

    def write(self, line: str) -> None:
        """Take a line, to end with LF."""
        self.append(f"{line.removesuffix(_CSV_END)}\n")


def _json_lines(batches: _Batches) -> Iterator[bytes]:
    for batch in _parts(batches):
        names = batch.schema.names
        lines = [
            json.dumps(dict(zip(names, map(_finite, row), strict=True)), ensure_ascii=False)
            for row in batch_rows(batch)
        ]
        yield "".join([f"{line}\n" for line in lines]).encode()


def _finite(value: object) -> object:
    """Return what JSON has no number for (NaN, infinity) as text."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _arrow(batches: _Batches) -> Iterator[bytes]:
    for number, batch in enumerate(batches):
        if not number:
            yield batch.schema.serialize().to_pybytes()
        if batch.num_rows:
            yield batch.serialize().to_pybytes()
    yield _END_OF_STREAM


def _votable(batches: _Batches) -> Iterator[bytes]:
    from quantumio.formats.reference_tables import reference_table

    yield str(reference_table(batches, "votable")).encode()


_WRITERS: Final[Mapping[str, Callable[[_Batches], Iterator[bytes]]]] = {
    "csv": _csv,
    "jsonl": _json_lines,
    "arrow": _arrow,
    "votable": _votable,
}

TABLE_FORMATS: Final = tuple(_WRITERS)
"""Formats in which `table_chunks` writes a table."""
