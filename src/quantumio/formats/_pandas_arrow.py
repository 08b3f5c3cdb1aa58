"""The bridge between pandas and Arrow, lossless both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from quantumio.errors import ErrorKind, FormatError, InvalidInputError, MissingExtraError
from quantumio.formats._arrow_columns import to_arrow_column

try:
    import pandas as pd
except ImportError as error:
    raise MissingExtraError("pandas", "pandas", purpose="the storage class DataFrame") from error

__all__ = ["arrow_to_pandas", "columns_to_pandas", "pandas_columns", "pandas_to_arrow"]

_KEY: Final = b"pandas"
_CATEGORIES_KEY: Final = b"quantumio.categories"


def pandas_to_arrow(frame: pd.DataFrame) -> pa.Table:
    """Return a frame as Arrow; numbers share memory where they can, missing values are null.

    Raises
    ------
    InvalidInputError
        ``kind="value"``: a column has no Arrow type; names it.
    """
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        name = next((name for name in frame.columns if not _fits_arrow(frame[name])), None)
        what = "the index" if name is None else f"column {name!r} ({frame[name].dtype})"
        raise InvalidInputError(
            f"{what} of the DataFrame has no Arrow type: {error}",
            hint="make it numbers, texts, timestamps or categories",
            kind=ErrorKind.VALUE,
        ) from error
    return _plain_categories(frame, table)


def _plain_categories(frame: pd.DataFrame, table: pa.Table) -> pa.Table:
    """Return the table with categories as Parquet keeps them: small strings; apart if there are no rows."""
    fields = [
        field.with_type(pa.dictionary(field.type.index_type, pa.string(), field.type.ordered))
        if pa.types.is_dictionary(field.type)
        and (pa.types.is_large_string(field.type.value_type) or pa.types.is_null(field.type.value_type))
        else field
        for field in table.schema
    ]
    metadata = dict(table.schema.metadata)
    if not len(frame):
        categories = {
            name: list(dtype.categories)
            for name, dtype in frame.dtypes.items()
            if isinstance(dtype, pd.CategoricalDtype) and pd.api.types.is_string_dtype(dtype.categories)
        }
        if categories:
            metadata[_CATEGORIES_KEY] = json.dumps(categories).encode()
    return table.cast(pa.schema(fields, metadata=metadata))


def _fits_arrow(series: pd.Series) -> bool:
    try:
        pa.array(series)
    except (pa.ArrowException, TypeError, ValueError):
        return False
    return True


def pandas_columns(schema: pa.Schema) -> list[str]:
    """Return the columns of a schema that are columns of the frame, not of its index."""
    described = _described(schema)
    index = {column for column in described.get("index_columns", ()) if isinstance(column, str)}
    return [name for name in schema.names if name not in index]


def _described(schema: pa.Schema) -> dict[str, Any]:
    metadata = schema.metadata or {}
    try:
        described = json.loads(metadata.get(_KEY, b"{}"))
    except ValueError as error:
        raise FormatError(
            f"the schema's pandas metadata are no JSON: {error}",
            hint="remove the key 'pandas' from its metadata",
            kind=ErrorKind.DECODE,
        ) from error
    return described if isinstance(described, dict) else {}


def arrow_to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a frame of its own memory.

    A table that was made from a frame gives this frame back. Any other has Arrow-backed columns
    (`pandas.ArrowDtype`), so that integers with nulls stay integers.

    Raises
    ------
    FormatError
        ``kind="decode"``: its pandas metadata do not fit the columns.
    InvalidInputError
        ``kind="form"``: pandas has no type for a column.
    """
    described = _described(table.schema)
    try:
        if not described:
            return table.to_pandas(types_mapper=pd.ArrowDtype)
        columns = pandas_columns(table.schema)
        # pyarrow takes "string[pyarrow]" for another type, and "list<...>[pyarrow]" for none.
        backed = [
            column["field_name"]
            for column in described["columns"]
            if str(column["numpy_type"]).endswith("[pyarrow]") and column["field_name"] in columns
        ]
        frame = _without_types(table, described, backed).to_pandas()
        for name in backed:
            array = pd.arrays.ArrowExtensionArray(table[name])
            frame.isetitem(frame.columns.get_loc(name), pd.Series(array, index=frame.index, copy=False))
        for name, categories in _categories(table).items():
            if name in columns:
                frame[name] = frame[name].astype(pd.CategoricalDtype(categories, frame[name].cat.ordered))
        frame = _in_seconds(frame, table.schema, described)
    except (pa.ArrowException, KeyError, TypeError, ValueError, RuntimeError) as error:
        if described:
            raise FormatError(
                f"the pandas metadata of the schema do not fit its columns: {error}",
                hint="remove the key 'pandas' from the metadata of the schema",
                kind=ErrorKind.DECODE,
            ) from error
        raise InvalidInputError(
            f"pandas cannot hold this table: {error}", hint="use as_='arrow'", kind=ErrorKind.FORM
        ) from error
    return frame


def _in_seconds(frame: pd.DataFrame, schema: pa.Schema, described: Mapping[str, Any]) -> pd.DataFrame:
    """Return the frame with times in seconds where they were: Parquet made milliseconds of them."""
    seconds = {
        column["field_name"]
        for column in described["columns"]
        if column["numpy_type"] == "datetime64[s]" and column["field_name"] in schema.names
    }
    types = {name: _second(frame[name].dtype) for name in seconds.intersection(frame.columns)}
    frame = frame.astype(types) if types else frame
    if isinstance(frame.index, pd.DatetimeIndex) and seconds.intersection(
        name for name in described.get("index_columns", ()) if isinstance(name, str)
    ):
        frame.index = frame.index.as_unit("s")
    return frame


def _second(dtype: Any) -> Any:
    return pd.DatetimeTZDtype("s", dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else "datetime64[s]"


def _without_types(table: pa.Table, described: Mapping[str, Any], names: Sequence[str]) -> pa.Table:
    """Return the table with numbers in place of these columns."""
    if not names:
        return table
    columns = [
        {**column, "numpy_type": "float64"} if column["field_name"] in names else column
        for column in described["columns"]
    ]
    for name in names:
        nothing = pa.nulls(table.num_rows, pa.float64())
        table = table.set_column(table.column_names.index(name), name, nothing)
    text = json.dumps({**described, "columns": columns}).encode()
    return table.replace_schema_metadata({**table.schema.metadata, _KEY: text})


def _categories(table: pa.Table) -> dict[str, list[str]]:
    text = (table.schema.metadata or {}).get(_CATEGORIES_KEY)
    return dict(json.loads(text)) if text else {}


def columns_to_pandas(columns: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> pd.DataFrame:
    """Return columns of values and masks as a frame.

    Columns that are masked, or have several axes, are Arrow-backed; others have dtypes of numpy, texts that
    of pandas.
    """
    series = {}
    for name, (values, mask) in columns.items():
        if mask is None and values.ndim == 1 and values.dtype.kind != "S":
            series[name] = pd.Series(values)
        else:
            array = to_arrow_column(name, values, mask)
            series[name] = pd.Series(pd.arrays.ArrowExtensionArray(array))
    return pd.DataFrame(series, copy=False)
