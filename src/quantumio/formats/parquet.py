"""Format parquet: AstropyTable, ArrowTable and DataFrame in Apache Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen

from quantumio.errors import FormatError, InvalidInputError
from quantumio.formats._guards import check_storage_class, damaged, decoding, encoding
from quantumio.formats._table_forms import MAX_DECODED_BYTES, check_columns

if TYPE_CHECKING:
    from quantumio.ports import Buffer, Chunks

__all__ = ["ParquetFormat"]

_STORAGE_CLASSES: Final = frozenset({"ArrowTable", "AstropyTable", "DataFrame"})
_COMPRESSIONS: Final = ("auto", "none", "snappy", "zstd")
_ROW_GROUP_SIZE: Final = 1 << 20
_SAMPLE_ROWS: Final = 1024
_SAMPLE_BYTES: Final = 1 << 13
_WORTH_COMPRESSING: Final = 1.15
_REPEATED: Final = 4
_SMALL: Final = 1 << 30
_MAX_RATIO: Final = 100_000  # a million equal rows take about 150 bytes
_MAX_THRIFT_BYTES: Final = 64 << 20


class ParquetFormat:
    """Apache Parquet (format version 2.6) by pyarrow.

    Lossless for all three storage classes. Pages carry CRC-32 checksums, which are verified. Each column is
    dictionary-encoded only if its values repeat, and compressed only if that makes it smaller, both judged on
    a sample: random floats are neither (either costs more than half of the speed and saves nothing).

    An AstropyTable is laid out as astropy's own ``parquet`` writer does (key ``table_meta_yaml``), so that
    ``Table.read(path, format="parquet")`` reads it, and its files are read here.

    Options: ``compression`` (``auto``, ``none``, ``snappy``, ``zstd``) and ``row_group_size`` (rows).
    """

    @property
    def name(self) -> str:
        """Identifier."""
        return "parquet"

    @property
    def extension(self) -> str:
        """Suffix of file names."""
        return ".parquet"

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the names of files that may hold it."""
        return (".parquet", ".parq", ".pq")

    @property
    def storage_classes(self) -> frozenset[str]:
        """Names of the storage classes that it can hold."""
        return _STORAGE_CLASSES

    def __init__(self) -> None:
        self._accepted: pa.Schema | None = None

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Whether `decode` gives back exactly what was encoded: always."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options it does not have and Arrow types that Parquet changes; names the column."""
        check_storage_class("parquet", _STORAGE_CLASSES, storage_class)
        _Options.make(options)
        if storage_class == "DataFrame":
            value = _to_arrow(value[:0], storage_class)  # type: ignore[index]  # no rows: its types alone
        if isinstance(value, pa.Table):
            schema = value.schema
            # tables of one dataset type have one schema; hashing another one takes longer
            if self._accepted is None or not schema.equals(self._accepted):
                _check_schema(schema if schema.metadata is None else schema.remove_metadata())
                self._accepted = schema

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the bytes of a canonical value; equal values give equal bytes."""
        check_storage_class("parquet", _STORAGE_CLASSES, storage_class)
        chosen = _Options.make(options)
        table = _to_arrow(value, storage_class)
        sink = pa.BufferOutputStream()
        with encoding("parquet", storage_class):
            pq.write_table(
                table,
                sink,
                version="2.6",
                row_group_size=chosen.row_group_size,
                use_dictionary=[name for name in table.column_names if _repeats(table[name])],
                compression={name: _compression(table[name], chosen) for name in table.column_names}
                or "none",
                write_page_checksum=True,
                use_compliant_nested_type=False,  # else the inner field of a list is renamed to "element"
            )
        return [memoryview(sink.getvalue())]

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> object:
        """Return a new canonical value; with ``columns`` nothing else is read.

        The index of a DataFrame is always read.
        """
        with decoding("parquet"):
            return _decode(data, storage_class, columns)


# ---------------------------------------------------------------------------- options


@frozen(kw_only=True)
class _Options:
    compression: str = "auto"
    row_group_size: int = _ROW_GROUP_SIZE

    @classmethod
    def make(cls, options: Mapping[str, object]) -> _Options:
        if not options:
            return _DEFAULT_OPTIONS
        for name in options:
            if name not in ("compression", "row_group_size"):
                raise InvalidInputError(
                    f"parquet has no option {name!r}", hint="it has 'compression' and 'row_group_size'"
                )
        compression = options.get("compression", "auto")
        if compression not in _COMPRESSIONS:
            raise InvalidInputError(
                f"parquet has no compression {compression!r}",
                hint=f"use one of {', '.join(map(repr, _COMPRESSIONS))}",
            )
        rows = options.get("row_group_size", _ROW_GROUP_SIZE)
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise InvalidInputError(f"row_group_size={rows!r}", hint="give a number of rows from 1 on")
        return cls(compression=str(compression), row_group_size=rows)


_DEFAULT_OPTIONS: Final = _Options()


# ---------------------------------------------------------------------------- encoding


def _to_arrow(value: Any, storage_class: str) -> pa.Table:
    if storage_class == "AstropyTable":
        from quantumio.formats._astropy_arrow import astropy_to_arrow

        return astropy_to_arrow(value, mask_columns=True)
    if storage_class == "DataFrame":
        from quantumio.formats._pandas_arrow import pandas_to_arrow

        return _without_seconds(pandas_to_arrow(value))
    return value


def _without_seconds(table: pa.Table) -> pa.Table:
    """Return the table with seconds as milliseconds: Parquet has none; `arrow_to_pandas` restores them."""
    fields = [
        field.with_type(pa.timestamp("ms", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "s"
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


@lru_cache(maxsize=256)
def _check_schema(schema: pa.Schema) -> None:
    """Refuse types that Parquet would change: written and read without rows they tell."""
    for field in schema:
        empty = pa.schema([field]).empty_table()
        sink = pa.BufferOutputStream()
        try:
            pq.write_table(empty, sink, version="2.6", use_compliant_nested_type=False)
            found = pq.read_schema(pa.BufferReader(sink.getvalue())).field(0).type
        except (pa.ArrowException, ValueError, TypeError):
            found = None
        if found != field.type:
            reads = "it has no such type" if found is None else f"it would read back as {found}"
            raise FormatError(
                f"Parquet cannot hold column {field.name!r} ({field.type}): {reads}",
                hint=f"cast the column to {found or 'another type'} first",
            )


def _sample(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return rows from the beginning, the middle and the end."""
    rows, part = len(column), _SAMPLE_ROWS // 4
    if rows <= _SAMPLE_ROWS:
        return column
    starts = (0, rows // 3, 2 * rows // 3, rows - part)
    return pa.chunked_array([chunk for start in starts for chunk in column.slice(start, part).chunks])


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary pays: in the sample each value comes about four times or more."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return True
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return False
    sample = _sample(column)
    if len(sample) == 0 or pa.types.is_null(kind):
        return False
    try:
        distinct = len(sample.unique())
    except pa.ArrowNotImplementedError:  # e.g. 16-bit floats, decimals of 256 bits
        return False
    return distinct * _REPEATED <= len(sample)


def _compression(column: pa.ChunkedArray, options: _Options) -> str:
    if options.compression != "auto":
        return options.compression
    sample = b"".join(_own_bytes(chunk) for chunk in _sample(column).chunks)
    smaller = len(pa.Codec("zstd", 1).compress(sample, asbytes=True))
    return "zstd" if len(sample) > _WORTH_COMPRESSING * smaller else "none"


def _own_bytes(chunk: pa.Array) -> bytes:
    """Return some bytes of the values of a chunk, whatever its type."""
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    if pa.types.is_fixed_size_list(chunk.type):
        return _own_bytes(chunk.flatten()[:_SAMPLE_ROWS])
    if pa.types.is_primitive(chunk.type) and chunk.null_count == 0 and not pa.types.is_boolean(chunk.type):
        width = chunk.type.bit_width // 8
        begin = chunk.offset * width
        return bytes(chunk.buffers()[1][begin : begin + min(len(chunk) * width, _SAMPLE_BYTES)])
    # Texts, lists, nulls: nearly always worth it, and what they hold is told best by writing it.
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("", chunk.type)])) as writer:
        writer.write_batch(pa.record_batch([pa.concat_arrays([chunk])], names=[""]))
    return bytes(sink.getvalue()[:_SAMPLE_BYTES])


# ---------------------------------------------------------------------------- decoding


def _decode(data: Buffer, storage_class: str, columns: Sequence[str] | None) -> object:
    file = pq.ParquetFile(
        pa.BufferReader(pa.py_buffer(data)),
        page_checksum_verification=True,
        thrift_string_size_limit=_MAX_THRIFT_BYTES,
        thrift_container_size_limit=_MAX_THRIFT_BYTES // 8,
    )
    schema = file.schema_arrow
    names = schema.names if columns is None else _wanted(schema, storage_class, columns)
    _check_size(file, len(data) if isinstance(data, (bytes, bytearray)) else data.nbytes)
    # A name with a dot also finds columns that begin with it: what was asked for is selected again.
    table = file.read(columns=names, use_pandas_metadata=False).select(names)
    table.validate(full=True)
    if storage_class == "AstropyTable":
        return _astropy(table, columns)
    if storage_class == "DataFrame":
        from quantumio.formats._pandas_arrow import arrow_to_pandas

        return arrow_to_pandas(table)
    return table


def _wanted(schema: pa.Schema, storage_class: str, columns: Sequence[str]) -> list[str]:
    """Return the columns of the file that hold the columns that are asked for."""
    if storage_class == "AstropyTable":
        from quantumio.formats._astropy_arrow import columns_of_schema

        parts = columns_of_schema(schema)
        check_columns(columns, parts)
        return [part for name in columns for part in parts[name]]
    if storage_class == "DataFrame":
        from quantumio.formats._pandas_arrow import pandas_columns

        there = pandas_columns(schema)
        check_columns(columns, there)
        return [*columns, *(name for name in schema.names if name not in there)]
    check_columns(columns, schema.names)
    return list(columns)


def _check_size(file: pq.ParquetFile, nbytes: int) -> None:
    """Refuse files that declare more than any memory, before a page is read."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    declared = sum(max(group.total_byte_size, 0) for group in groups)
    # Equal values take no bytes in the file: eight for each is what most of them need in memory.
    decoded = 8 * sum(max(group.num_rows, 0) for group in groups) * max(metadata.num_columns, 1)
    if max(declared, decoded) > min(MAX_DECODED_BYTES, max(_SMALL, _MAX_RATIO * nbytes)):
        raise damaged(
            "parquet", f"{nbytes} bytes declare {metadata.num_rows} rows and {max(declared, decoded)} bytes"
        )


def _astropy(table: pa.Table, columns: Sequence[str] | None) -> object:
    from quantumio.formats._astropy_arrow import arrow_to_astropy

    try:
        whole = arrow_to_astropy(table)
    except InvalidInputError as error:  # what is read is refused, not what was given
        raise damaged("parquet", error) from error
    return whole if columns is None or list(columns) == whole.colnames else whole[list(columns)]
