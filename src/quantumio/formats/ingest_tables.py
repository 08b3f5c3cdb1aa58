"""Tables of files that are to be ingested: checked column by column, by the types of Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from attrs import frozen

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.model import DataIdValue
from quantumio.ports import IngestRows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["IngestColumns", "ingest_rows"]

_OPTIONAL: Final = ("size", "digest", "format")
_MOST_TEXT_BYTES: Final = 1024
_SHA256: Final = "^[0-9a-f]{64}$"


@frozen(kw_only=True)
class IngestColumns:
    """What the columns of a table may be.

    Attributes
    ----------
    dimensions
        Those of the dataset type with the type of their values, ``int`` or ``str``, in its order.
    constants
        Values of dimensions that all rows have in common.
    formats
        Names of the formats of the storage class.
    endings
        Endings of file names, in lower case, and the format that each says.
    format_name
        The format of all rows; None where each says its own.
    """

    dimensions: Mapping[str, str]
    constants: Mapping[str, DataIdValue]
    formats: Sequence[str]
    endings: Mapping[str, str]
    format_name: str | None = None


def ingest_rows(table: object, expected: IngestColumns) -> IngestRows:
    """Return the rows of a table of files.

    Raises
    ------
    InvalidInputError
        A column is missing, unknown or of a wrong type, or a value cannot be taken; names the first row.
    ConflictError
        A data ID is there twice (``kind="duplicate_output"``); names both rows.
    """
    arrow = _arrow(table)
    _check_columns(arrow, expected)
    taken: dict[str, Any] = {}
    for name, kind in expected.dimensions.items():
        if name in arrow.column_names:
            column = arrow.column(name)
            taken[name] = _integers(name, column) if kind == "int" else _texts(name, column)
    _refuse_duplicates(arrow.num_rows, taken)
    paths = _texts("uri", arrow.column("uri"), most_bytes=None)
    return IngestRows(
        values=[
            _values(taken[name]) if name in taken else [expected.constants[name]] * arrow.num_rows
            for name in expected.dimensions
        ],
        paths=paths.to_pylist(),
        formats=_formats(arrow, paths, expected),
        digests=_digests(arrow),
        sizes=_sizes(arrow),
    )


def _values(column: pa.ChunkedArray) -> list[DataIdValue]:
    return column.to_numpy().tolist()  # type: ignore[no-any-return]


def _arrow(table: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        return table
    if hasattr(table, "colnames"):
        from quantumio.formats._astropy_arrow import astropy_to_arrow

        return astropy_to_arrow(table)
    try:
        return pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"the table of files cannot be read: {error}",
            hint="give each column values of one type",
            kind=ErrorKind.VALUE,
        ) from error


def _check_columns(table: pa.Table, expected: IngestColumns) -> None:
    names = table.column_names
    known = (*expected.dimensions, "uri", *_OPTIONAL)
    for name in names:
        if names.count(name) > 1:
            _refuse(f"the table has two columns {name!r}", "rename one")
        if name not in known:
            _refuse(
                f"the table has a column {name!r}, which says nothing of a file", f"use {', '.join(known)}"
            )
    for name in ("uri", *(name for name in expected.dimensions if name not in expected.constants)):
        if name not in names:
            what = "add it" if name == "uri" else f"add it, or give {name}=... for all rows"
            _refuse(f"the table has no column {name!r}", what)


def _refuse(message: str, hint: str, kind: ErrorKind = ErrorKind.DATA_ID) -> NoReturn:
    raise InvalidInputError(message, hint=hint, kind=kind)


def _first(mask: Any) -> int | None:
    """Return the first row for which a mask is true."""
    import pyarrow.compute as pc

    index = pc.index(mask, True).as_py()
    return None if index < 0 else int(index)


def _no_nulls(name: str, column: pa.ChunkedArray) -> None:
    import pyarrow.compute as pc

    if column.null_count:
        row = _first(pc.is_null(column))
        _refuse(f"row {row}: {name} is null", "give it a value, or leave the row out")


def _integers(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if not pa.types.is_integer(column.type):
        _refuse(f"row 0: column {name!r} is of type {column.type}", f"make it integers: {name} is a number")
    _no_nulls(name, column)
    if (row := _too_great(column)) is not None:
        _refuse(f"row {row}: {name} = {column[row].as_py()}", "give an integer of 64 bits")
    return column.cast(pa.int64())


def _too_great(column: pa.ChunkedArray) -> int | None:
    """Return the first row of a column of integers that 64 bits with a sign cannot hold."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type != pa.uint64():
        return None
    return _first(pc.greater(column, pa.scalar((1 << 63) - 1, pa.uint64())))


def _texts(
    name: str,
    column: pa.ChunkedArray,
    *,
    most_bytes: int | None = _MOST_TEXT_BYTES,
    nullable: bool = False,
) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        _refuse(f"row 0: column {name!r} is of type {column.type}", f"make it texts: {name} is a text")
    if not nullable:
        _no_nulls(name, column)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        _refuse(f"column {name!r}: {error}", "give texts in UTF-8")
    length = pc.binary_length(column)
    wrong = pc.or_(pc.equal(length, 0), pc.match_substring(column, "\0"))
    if most_bytes is not None:
        wrong = pc.or_(wrong, pc.greater(length, most_bytes))
    if (row := _first(wrong)) is not None:
        limit = "1 or more bytes" if most_bytes is None else f"1 to {most_bytes} bytes"
        shown = f"{column[row].as_py()!r:.80}"
        _refuse(f"row {row}: {name} = {shown}", f"give a text of {limit} without NUL")
    return column


def _refuse_duplicates(count: int, columns: Mapping[str, pa.ChunkedArray]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        if count > 1:
            _refuse_duplicate("all rows have the same data ID")
        return
    rows = pa.table({f"d{number}": column for number, column in enumerate(columns.values())})
    keys = rows.column_names
    grouped = (
        rows.append_column("row", pa.array(range(count), pa.int64()))
        .group_by(keys)
        .aggregate([("row", "count"), ("row", "min"), ("row", "max")])
    )
    twice = grouped.filter(pc.greater(grouped.column("row_count"), 1))
    if twice.num_rows:
        first = pc.min(twice.column("row_min")).as_py()
        of_first = twice.filter(pc.equal(twice.column("row_min"), first))
        data_id = ", ".join(f"{name}={column[first].as_py()!r}" for name, column in columns.items())
        _refuse_duplicate(f"rows {first} and {of_first.column('row_max')[0]} are both of {data_id}")


def _refuse_duplicate(message: str) -> NoReturn:
    raise ConflictError(
        message,
        hint="leave one out; two versions of a dataset take two ingests",
        kind=ErrorKind.DUPLICATE_OUTPUT,
    )


def _formats(table: pa.Table, paths: pa.ChunkedArray, expected: IngestColumns) -> list[str]:
    """Return the format of each row: its own, that of all, or what the ending of its name says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own = pa.nulls(table.num_rows, pa.string())
    if "format" in table.column_names and not pa.types.is_null(table.column("format").type):
        own = _texts("format", table.column("format"), nullable=True).cast(pa.string())
    if expected.format_name is not None:
        own = pc.fill_null(own, expected.format_name)
    found, lower = own, pc.utf8_lower(paths) if own.null_count else paths
    for ending in sorted(expected.endings, key=len, reverse=True) if own.null_count else ():
        found = pc.coalesce(found, pc.if_else(pc.ends_with(lower, ending), expected.endings[ending], None))
    known = pc.is_in(found, value_set=pa.array(expected.formats, pa.string()))
    if (row := _first(pc.invert(known))) is not None:
        name, path = own[row].as_py(), paths[row].as_py()
        what = f"the ending of {path!r:.200} says no format" if name is None else f"format = {name!r:.80}"
        _refuse(f"row {row}: {what}", f"give one of {', '.join(expected.formats)}", ErrorKind.ARGUMENT)
    return found.to_pylist()  # type: ignore[no-any-return]


def _digests(table: pa.Table) -> list[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if "digest" not in table.column_names or pa.types.is_null(table.column("digest").type):
        return [""] * table.num_rows
    column = table.column("digest")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lower = pc.utf8_lower(column)
        row = _first(pc.invert(pc.match_substring_regex(lower, _SHA256)))
        if row is None:
            return lower.fill_null("").to_pylist()  # type: ignore[no-any-return]
    else:
        row = 0
    _refuse(
        f"row {row}: digest = {column[row].as_py()!r:.80}",
        "give SHA-256 as 64 hexadecimal digits, or null where it is not known",
        ErrorKind.VALUE,
    )


def _sizes(table: pa.Table) -> list[int | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if "size" not in table.column_names or pa.types.is_null(table.column("size").type):
        return [None] * table.num_rows
    column = table.column("size")
    row: int | None = 0
    if pa.types.is_floating(column.type) and column.null_count:
        # As pandas has integers of which one is not known.
        numbers = column.cast(pa.float64())
        is_exact = pc.less(pc.abs(numbers), float(1 << 53))
        row = _first(pc.invert(pc.and_(is_exact, pc.equal(pc.trunc(numbers), numbers))))
        column = column if row is not None else numbers.cast(pa.int64())
    if pa.types.is_integer(column.type):
        row = _too_great(column)
        if row is None:
            row = _first(pc.less(column.cast(pa.int64()), 0))
        if row is None:
            return column.to_pylist()  # type: ignore[no-any-return]
    _refuse(
        f"row {row}: size = {column[row].as_py()!r:.80}",
        "give bytes as an integer, or null where it is not known",
        ErrorKind.VALUE,
    )
