"""The YAML text with which astropy describes tables in ECSV (APE 6) and Parquet files."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

import numpy as np
from astropy.table import Column
from astropy.table.meta import YamlParseError, get_header_from_yaml, get_yaml_from_header
from astropy.units import Quantity, UnitBase
from attrs import field, frozen

from quantumio.formats._plain_table import PlainTable
from quantumio.formats._table_meta import SERIALIZED_COLUMNS, ordered

__all__ = ["ColumnHeader", "TableHeader", "header_text", "parse_header"]

_MAX_CHARACTERS: Final = 16 << 20


@frozen(kw_only=True)
class ColumnHeader:
    """What a header says of one plain column: its type, the shape of its cells, its attributes."""

    datatype: str
    shape: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class TableHeader:
    """A header that was read: plain columns in order, astropy's description, metadata, other keys."""

    columns: Mapping[str, ColumnHeader]
    entries: Mapping[str, Any]
    meta: Mapping[str, Any]
    others: Mapping[str, Any]


# ---------------------------------------------------------------------------- writing


def header_text(table: PlainTable, others: Mapping[str, Any] | None = None) -> str:
    """Return the text for a table of plain columns whose masks are columns or nulls.

    ``others`` are more keys for the top level; astropy ignores those it does not know.
    """
    header = _Header(table, others or {})
    return _cached_text(header) if header.key is not None else header.text()


class _Header:
    """What a text is made from; hashable where that is cheap, as pipelines write one schema many times."""

    def __init__(self, table: PlainTable, others: Mapping[str, Any]) -> None:
        self._columns = []
        for column in table.columns:
            # Only its type and shape are told, so that a cached header keeps no data alive.
            empty = np.empty((0, *column.values.shape[1:]), column.values.dtype)
            attributes = {"format": column.format, "description": column.description}
            meta = ordered(dict(column.meta))
            self._columns.append(Column(empty, name=column.name, unit=column.unit, meta=meta, **attributes))
        self._meta = OrderedDict(ordered(dict(table.meta)))
        if table.entries:
            self._meta[SERIALIZED_COLUMNS] = _with_ordered_meta(table.entries)
        self._others = dict(others)
        try:
            self.key: Any = _frozen(
                [
                    self._meta,
                    self._others,
                    [
                        [c.name, c.dtype.str, c.shape, c.unit, c.format, c.description, c.meta]
                        for c in self._columns
                    ],
                ]
            )
        except TypeError:
            self.key = None

    def text(self) -> str:
        header: dict[str, Any] = {"cols": self._columns, **self._others}
        if self._meta:
            header["meta"] = self._meta
        return "\n".join(get_yaml_from_header(header))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Header) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _with_ordered_meta(entries: Any) -> Any:
    """Return a description with its columns' metadata in order; everything else is sorted by astropy."""
    return type(entries)(
        (key, ordered(value) if key == "__info__" else _with_ordered_meta(value))
        if isinstance(value, dict)
        else (key, value)
        for key, value in entries.items()
    )


@lru_cache(maxsize=64)
def _cached_text(header: _Header) -> str:
    return header.text()


def _frozen(value: Any) -> Any:
    """Return something hashable that is equal for equal texts only; TypeError if there is none."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value), repr(value)
    if isinstance(value, UnitBase):
        return type(value), value.to_string()
    if isinstance(value, Quantity) and value.isscalar:
        return type(value), repr(value.value), value.unit.to_string()
    if isinstance(value, Mapping):
        return type(value), tuple((_frozen(key), _frozen(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_frozen, value))
    raise TypeError(type(value))


# ---------------------------------------------------------------------------- reading


def parse_header(text: str) -> TableHeader:
    """Read a text.

    Raises
    ------
    ValueError
        It is none, or larger than any header.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"its header has {len(text)} characters")
    return deepcopy(_parsed(text))


@lru_cache(maxsize=64)
def _parsed(text: str) -> TableHeader:
    try:
        header = dict(get_header_from_yaml(text.split("\n")))
        meta = dict(header.pop("meta", {}))
        entries = dict(meta.pop(SERIALIZED_COLUMNS, {}))
        columns = {str(column["name"]): _column(column) for column in header.pop("datatype")}
    except (YamlParseError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"its header is not that of an astropy table: {error.__cause__ or error!r}"
        ) from error
    return TableHeader(columns=columns, entries=entries, meta=meta, others=header)


def _column(described: Mapping[str, Any]) -> ColumnHeader:
    datatype = str(described["datatype"])
    shape: list[Any] = []
    subtype = described.get("subtype")
    if subtype:
        datatype, _, axes = str(subtype).partition("[")
        shape = json.loads(f"[{axes}") if axes else []
        if not all(isinstance(axis, int) and axis > 0 for axis in shape):
            raise ValueError(f"column {described['name']!r} has cells of different shapes")
    attributes = {
        name: described[name] for name in ("unit", "format", "description", "meta") if name in described
    }
    return ColumnHeader(datatype=datatype, shape=tuple(shape), attributes=attributes)
