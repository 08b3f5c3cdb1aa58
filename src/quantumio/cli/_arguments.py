"""Arguments as people type them: data IDs as ``key=value`` or JSON, lists of names with commas."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataIdValue, DimensionUniverse

__all__ = [
    "convert",
    "data_id_text",
    "is_pair",
    "names",
    "parse_bind",
    "parse_data_id",
    "parse_pairs",
    "split_pairs",
    "uuid_or_none",
]

_PAIR: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


def is_pair(token: str) -> bool:
    """Tell whether an argument belongs to a data ID: ``key=value``, or a JSON object."""
    return _PAIR.fullmatch(token) is not None or token.startswith("{")


def split_pairs(tokens: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the arguments that are words, and those that belong to a data ID, each in order.

    Raises
    ------
    InvalidInputError
        One has a value and no name.
    """
    words: list[str] = []
    pairs: list[str] = []
    for token in tokens:
        if token.startswith("="):
            raise InvalidInputError(
                f"{token!r} is no name=value",
                hint="write the name before it, such as visit=33",
                kind=ErrorKind.DATA_ID,
            )
        (pairs if is_pair(token) else words).append(token)
    return words, pairs


def names(values: Iterable[str]) -> list[str] | None:
    """Return names that were given one by one or with commas; None where none was given.

    Raises
    ------
    InvalidInputError
        Something was given that has no name.
    """
    found = [name.strip() for value in values for name in value.split(",")]
    given = [name for name in found if name]
    if found and not given:
        raise InvalidInputError(f"{','.join(found)!r} has no name", hint="name one, or leave it out")
    return given or None


def parse_data_id(universe: DimensionUniverse, tokens: Sequence[str]) -> dict[str, Any]:
    """Return the data ID that arguments say, each value in the type of its dimension.

    Raises
    ------
    InvalidInputError
        An argument is none, a key is no dimension or given twice, or a value has the wrong type.
    """
    values: dict[str, Any] = {}
    for token in tokens:
        for name, value in _items(universe, token):
            if name in values and values[name] != value:
                raise InvalidInputError(
                    f"{name} is given as both {values[name]!r} and {value!r}",
                    hint="give it once",
                    kind=ErrorKind.DATA_ID,
                )
            values[name] = value
    return values


def _items(universe: DimensionUniverse, token: str) -> list[tuple[str, object]]:
    if token.startswith("{"):
        try:
            given: list[tuple[str, object]] = json.loads(token, object_pairs_hook=list)
        except json.JSONDecodeError as error:
            raise InvalidInputError(
                f"{token!r} is no JSON object: {error}",
                hint="write '{\"visit\": 33}', or visit=33",
                kind=ErrorKind.DATA_ID,
            ) from error
        return given  # JSON has types of its own: the Butler checks them
    match = _PAIR.fullmatch(token)
    if match is None:
        raise InvalidInputError(
            f"{token!r} is no part of a data ID",
            hint="write key=value, such as visit=33",
            kind=ErrorKind.DATA_ID,
        )
    return [(match[1], convert(universe, match[1], match[2]))]


def parse_pairs(tokens: Sequence[str]) -> dict[str, str]:
    """Return the texts of arguments ``name=value``.

    Raises
    ------
    InvalidInputError
        One is no ``name=value``.
    """
    texts: dict[str, str] = {}
    for token in tokens:
        match = _PAIR.fullmatch(token)
        if match is None:
            raise InvalidInputError(f"{token!r} is no name=value", hint="write name=value")
        texts[match[1]] = match[2]
    return texts


def convert(universe: DimensionUniverse, name: str, text: str) -> DataIdValue:
    """Return the value of a dimension that a text says.

    Raises
    ------
    InvalidInputError
        There is no such dimension, or it takes integers and this is none.
    """
    if universe.element(name).key != "int":
        return text
    if _INTEGER.fullmatch(text) is None:
        raise InvalidInputError(
            f"{name}={text}: {name} takes integers",
            hint=f"write a number, such as {name}=33",
            kind=ErrorKind.DATA_ID,
        )
    return int(text)


def parse_bind(values: Sequence[str]) -> dict[str, object]:
    """Return the parameters of an expression, ``name=value``: numbers as numbers, the rest as text.

    Raises
    ------
    InvalidInputError
        One is no ``name=value``.
    """
    bound: dict[str, object] = {}
    for name, text in parse_pairs(values).items():
        try:
            bound[name] = json.loads(text)
        except json.JSONDecodeError:
            bound[name] = text
    return bound


def data_id_text(data_id: Mapping[str, object]) -> str:
    """Return a data ID as it is typed: ``instrument=ST8 visit=33``."""
    return " ".join(f"{name}={shlex.quote(str(value))}" for name, value in data_id.items())


def uuid_or_none(text: str) -> UUID | None:
    """Return the UUID that a text is, None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
