"""Storage class DataFrame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from quantumio.errors import ErrorKind, InvalidInputError, MissingExtraError
from quantumio.formats._builtin import declaration
from quantumio.formats._guards import refuse_component
from quantumio.formats._pandas_arrow import arrow_to_pandas, pandas_to_arrow
from quantumio.formats._table_arrays import structured_array
from quantumio.formats._table_forms import (
    check_columns,
    check_name,
    check_table_form,
    wrong_type,
)
from quantumio.model import StorageClass

try:
    import pandas as pd
except ImportError as error:
    raise MissingExtraError("pandas", "pandas", purpose="the storage class DataFrame") from error

if TYPE_CHECKING:
    from quantumio.ports import CopyArray

__all__ = ["DataFrameDelegate"]

_NUMPY_KINDS: Final = "biufmM"
_MOST_SECONDS: Final = np.iinfo("i8").max // 1000
_TEXTS: Final = frozenset({"string", "empty"})


class DataFrameDelegate:
    """Delegate of DataFrame: a `pandas.DataFrame`.

    Canonical form: what pyarrow's pandas metadata gives back. Column names are texts and unique; an index is
    kept with its name (a RangeIndex as one, frequencies dropped); object columns hold texts alone and become
    the text dtype of pandas; texts and categories are backed by Arrow; ``attrs`` are what JSON gives back.
    """

    @property
    def storage_class(self) -> StorageClass:
        """Its declaration."""
        return declaration("DataFrame")

    def check(self, value: object) -> None:
        """Refuse what is no DataFrame, and what no canonical form exists for."""
        if not isinstance(value, pd.DataFrame):
            raise wrong_type("DataFrame", value, "give a pandas.DataFrame, e.g. pandas.DataFrame(value)")
        names = list(value.columns)
        for name in names:
            if not isinstance(name, str):
                raise _refused(name, "names of columns are texts", "df.columns = df.columns.astype(str)")
            check_name(name, "DataFrame")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(twice, "two columns have this name", "rename one with df.rename(columns=...)")
        if not names and len(value):
            raise InvalidInputError(
                f"the DataFrame has {len(value)} rows but no column",
                hint="use df.reset_index()",
                kind=ErrorKind.VALUE,
            )
        _check_seconds(value)
        _canonical_attrs(value.attrs)

    def is_immutable(self, value: object) -> bool:
        """Whether the value cannot change: never."""
        return False

    def has_snapshot(self, value: object) -> bool:
        """Whether `canonical` can copy it."""
        return isinstance(value, pd.DataFrame)

    def nbytes(self, value: object) -> int:
        """Bytes of its columns and index; objects count as pointers."""
        return int(_frame(value).memory_usage(index=True, deep=False).sum())

    def canonical(self, value: object, copy_array: CopyArray) -> pd.DataFrame:
        """Return the canonical frame; numpy columns go through ``copy_array`` once, others through Arrow."""
        frame = _frame(value)
        bulk = {name: frame[name].to_numpy() for name in frame.columns if _is_bulk(frame[name].dtype)}
        rest = _retyped(frame.drop(columns=list(bulk)))
        if rest.columns.empty and type(frame.index) is pd.RangeIndex:
            result = pd.DataFrame(index=frame.index[:])  # Arrow alone would forget how many rows there are
        else:
            result = arrow_to_pandas(pandas_to_arrow(rest))
        columns = {name: copy_array(bulk[name]) if name in bulk else result[name] for name in frame.columns}
        canonical = pd.DataFrame(columns, index=result.index, copy=False)
        canonical.columns = pd.Index(list(frame.columns), name=frame.columns.name)
        canonical.attrs = _canonical_attrs(frame.attrs)
        return canonical

    def arrays(self, value: object) -> Sequence[np.ndarray]:
        """Return numpy columns as they are, and the Arrow buffers of all others and of the index."""
        frame = _frame(value)
        arrays = [frame[name].to_numpy() for name in frame.columns if _is_bulk(frame[name].dtype)]
        rest = frame[[name for name in frame.columns if not _is_bulk(frame[name].dtype)]]
        for column in pandas_to_arrow(rest).itercolumns():
            for chunk in column.chunks:
                arrays += [
                    np.frombuffer(buffer, np.uint8) for buffer in chunk.buffers() if buffer is not None
                ]
        return arrays

    def check_form(self, form: str) -> None:
        """Refuse a form that tables cannot be had in."""
        check_table_form("DataFrame", form)

    def convert(self, value: object, form: str) -> object:
        """Return the frame in another form; a named index is a column there, a RangeIndex is dropped."""
        self.check_form(form)
        frame = _frame(value)
        if form in ("native", "pandas"):
            return frame
        arrow = pandas_to_arrow(frame)
        if form == "arrow":
            return arrow
        plain = arrow.replace_schema_metadata(None)
        if form == "astropy":
            from quantumio.formats._astropy_arrow import arrow_to_astropy

            return arrow_to_astropy(plain)
        if form == "polars":
            from quantumio.formats.polars import to_polars

            return to_polars(plain)
        if all(_is_bulk(dtype) for dtype in frame.dtypes) and isinstance(frame.index, pd.RangeIndex):
            return structured_array({name: (frame[name].to_numpy(), None) for name in frame.columns})
        from quantumio.formats.arrow import arrow_to_numpy

        return arrow_to_numpy(plain)

    def component(self, value: object, name: str) -> object:
        """Refuse: tables have no components."""
        raise refuse_component("DataFrame", name, ())

    def select(self, value: object, columns: Sequence[str]) -> pd.DataFrame:
        """Return the frame with these columns, in this order, and its index."""
        frame = _frame(value)
        check_columns(columns, list(frame.columns))
        return frame[list(columns)]

    def from_arrow(self, table: object) -> pd.DataFrame:
        """Return rows that a table destination gave back as a DataFrame."""
        if not isinstance(table, pa.Table):
            raise wrong_type("DataFrame", table, "give a pyarrow.Table")
        return arrow_to_pandas(table)


def _frame(value: Any) -> pd.DataFrame:
    return value


def _is_bulk(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in _NUMPY_KINDS


def _retyped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of the same values with the dtypes that Arrow and Parquet give back."""
    types: dict[str, Any] = {}
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, np.dtype) and dtype.hasobject:
            kind = pd.api.types.infer_dtype(frame[name], skipna=True)
            if kind not in _TEXTS:
                raise _refused(
                    name,
                    f"it holds objects ({kind})",
                    f"make it texts: df[{name!r}] = df[{name!r}].astype(str)",
                )
            types[str(name)] = "str"
        elif isinstance(dtype, pd.StringDtype) and dtype.storage != "pyarrow":
            types[str(name)] = pd.StringDtype("pyarrow", na_value=dtype.na_value)
    return frame.astype(types) if types else frame


def _check_seconds(frame: pd.DataFrame) -> None:
    """Refuse times that Parquet, which counts milliseconds at least, cannot count in 64 bits."""
    named = [(name, frame[name]) for name in frame.columns]
    for name, values in [*named, ("the index", frame.index)]:
        if getattr(values.dtype, "kind", "") == "M" and getattr(values.dtype, "str", "<M8[s]")[-3:] == "[s]":
            seconds = values.to_numpy("M8[s]").astype("i8")
            if (np.abs(seconds[seconds != np.iinfo("i8").min]) > _MOST_SECONDS).any():
                raise _refused(
                    name, "a time is out of the range of milliseconds", "correct it, or use pd.NaT"
                )


def _canonical_attrs(attrs: Any) -> dict[str, Any]:
    for key, value in attrs.items():
        try:
            json.dumps({_text(key): value})
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"attrs[{key!r}] of the DataFrame has no place in JSON: {error}",
                hint="use texts, numbers, lists and dicts",
                kind=ErrorKind.VALUE,
            ) from error
    canonical: dict[str, Any] = json.loads(json.dumps(dict(attrs)))
    return canonical


def _text(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is no text")
    return key


def _refused(name: object, why: str, mend: str) -> InvalidInputError:
    return InvalidInputError(f"column {name!r} of the DataFrame: {why}", hint=mend, kind=ErrorKind.VALUE)
