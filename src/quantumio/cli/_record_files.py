"""Dimension records from files and from arguments."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from quantumio.cli._arguments import parse_pairs
from quantumio.cli._dataset_files import STANDARD_STREAM, read_file
from quantumio.cli._times import parse_timespan
from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.model import DimensionUniverse

__all__ = ["read_records", "read_rows", "record_of_pairs"]

_ENDINGS: Final = (".json", ".jsonl", ".csv", ".yaml", ".yml")
_BEGIN, _END, _TIMESPAN = "timespan_begin", "timespan_end", "timespan"


def read_records(path: str, element: str, universe: DimensionUniverse) -> list[dict[str, object]]:
    """Read records of a dimension from a JSON, JSON lines, YAML or CSV file; ``-`` is JSON on standard input.

    Raises
    ------
    NotFoundError
        There is no such file.
    FormatError
        It is not what its ending says.
    InvalidInputError
        Its ending says nothing, or a record is wrong; names file and record.
    """
    rows = read_rows(path)
    if _ending(path) == ".csv":
        rows = [_typed(row, element, universe) for row in rows]
    return [_with_timespan(row, f"{path}, record {number}") for number, row in enumerate(rows)]


def read_rows(path: str) -> list[dict[str, object]]:
    """Read a list of mappings from a JSON, JSON lines, YAML or CSV file; of CSV all values are texts.

    Raises
    ------
    NotFoundError
        There is no such file.
    FormatError
        It is not what its ending says.
    InvalidInputError
        Its ending says nothing.
    """
    ending = _ending(path)
    if ending not in _ENDINGS:
        raise InvalidInputError(
            f"{path}: its ending says no format of records", hint=f"use one of {', '.join(_ENDINGS)}"
        )
    data = read_file(path)
    try:
        return _parse(data.decode("utf-8-sig"), ending)
    except (ValueError, csv.Error) as error:
        raise FormatError(
            f"{path} is no {ending[1:].upper()}: {error}",
            hint="correct the file",
            kind=ErrorKind.DECODE,
        ) from error


def _ending(path: str) -> str:
    return ".json" if path == STANDARD_STREAM else Path(path).suffix.lower()


def record_of_pairs(tokens: Sequence[str], element: str, universe: DimensionUniverse) -> dict[str, object]:
    """Return the one record that arguments ``field=value`` say.

    Raises
    ------
    InvalidInputError
        A value has the wrong type.
    """
    return _with_timespan(_typed(parse_pairs(tokens), element, universe), f"the record of {element}")


def _parse(text: str, ending: str) -> list[dict[str, object]]:
    if ending == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return [dict(row) for row in reader]
    if ending == ".jsonl":
        # no splitlines: a text may hold U+2028, which JSON need not escape
        return _as_rows([json.loads(line) for line in text.split("\n") if line.strip()])
    if ending == ".json":
        return _as_rows(json.loads(text))
    import yaml

    try:
        return _as_rows(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _as_rows(value: object) -> list[dict[str, object]]:
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it must hold a list of records")
    return rows


def _typed(row: Mapping[str, object], element: str, universe: DimensionUniverse) -> dict[str, object]:
    """Return a row of texts with each value in the type of its field; empty ones are left out."""
    dimension = universe.element(element)
    types = {name: str(universe[name].key) for name in (*dimension.record_keys, *dimension.implies)}
    types |= dimension.metadata
    return {
        name: _value(name, str(text), types.get(name, "str"))
        for name, text in row.items()
        if text not in (None, "")
    }


def _value(name: str, text: str, kind: str) -> object:
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
    except (ValueError, KeyError):
        raise InvalidInputError(
            f"{name}={text!r}: it takes {kind}", hint="correct the value", kind=ErrorKind.DIMENSION
        ) from None
    return text


def _with_timespan(row: Mapping[str, object], where: str) -> dict[str, object]:
    """Convert the texts of a timespan: a pair, or the fields ``timespan_begin`` and ``timespan_end``.

    Where neither field has a value there is no timespan; one without bounds is a pair of nulls.
    """
    record = dict(row)
    pair = record.pop(_TIMESPAN, None)
    if _BEGIN in record or _END in record:
        pair = [record.pop(_BEGIN, None), record.pop(_END, None)]
        if pair == [None, None]:
            return record  # a table has both columns, whether this record has a timespan or not
    if pair is None:
        return record
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidInputError(
            f"{where}: timespan = {pair!r}",
            hint='write ["2025-06-24T03:16:00", "2025-06-24T03:21:00"] (UTC); null is unbounded',
            kind=ErrorKind.TIMESPAN,
        )
    record[_TIMESPAN] = parse_timespan(*pair)
    return record
