"""The canonical form of a mapping: what JSON (RFC 8259) can hold, each with one Python type."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from quantumio.errors import ErrorKind, InvalidInputError, shown

__all__ = ["DEEPEST", "JsonValue", "canonical_mapping", "json_nbytes"]

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"

DEEPEST = 100
"""Levels of nesting: readers of YAML recurse, and Python's stack is finite."""

_WIDEST_INTEGER_BITS = 14_000  # about 4,200 digits: Python refuses to read integers of more than 4,300
_NODE_BYTES = 64


def canonical_mapping(value: object, *, most_nodes: int | None = None) -> dict[str, JsonValue]:
    """Return a new dict of dicts, lists, str, int, float, bool and None.

    Parameters
    ----------
    value
        A mapping.
    most_nodes
        Give up after this many values (shared parts count each time).

    Raises
    ------
    InvalidInputError
        A part cannot be held; the message gives its path, such as ``stats.mean[3]``.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            f"a Mapping dataset takes a dict, not {type(value).__qualname__}",
            hint="put {'values': [...]} for a list",
            kind=ErrorKind.PYTHON_TYPE,
        )
    walk = _Walk(most_nodes)
    return walk.mapping(value, "", 1)


class _Walk:
    """One pass over a value; remembers where it is, to find circles."""

    def __init__(self, most_nodes: int | None) -> None:
        self._open: set[int] = set()
        self._nodes_left = math.inf if most_nodes is None else most_nodes

    def value(self, value: object, path: str, depth: int) -> JsonValue:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise _refused(path, "expands to too many values", "do not repeat large parts by reference")
        kind = type(value)
        if value is None or kind is str or kind is bool or kind is int or kind is float:
            return self._scalar(value, path)
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth + 1)
        if isinstance(value, list | tuple):
            return self._sequence(value, path, depth + 1)
        return self._scalar(_plain(value, path), path)

    def mapping(self, value: Mapping[object, object], path: str, depth: int) -> dict[str, JsonValue]:
        self._enter(value, path, depth)
        result: dict[str, JsonValue] = {}
        for key, item in value.items():
            text = _key(key, path)
            if text in result:
                raise _refused(path, f"has two keys that are {text!r} in JSON", "rename one of them")
            result[text] = self.value(item, f"{path}.{text}" if path else text, depth)
        self._open.discard(id(value))
        return result

    def _sequence(self, value: list[object] | tuple[object, ...], path: str, depth: int) -> list[JsonValue]:
        self._enter(value, path, depth)
        result = [self.value(item, f"{path}[{index}]", depth) for index, item in enumerate(value)]
        self._open.discard(id(value))
        return result

    def _enter(self, value: object, path: str, depth: int) -> None:
        if id(value) in self._open:
            raise _refused(path, "contains itself", "break the circle")
        if depth > DEEPEST:
            raise _refused(path, f"is nested deeper than {DEEPEST} levels", "flatten it")
        self._open.add(id(value))

    def _scalar(self, value: object, path: str) -> JsonValue:
        if isinstance(value, str):
            if not value.isascii():
                _check_unicode(value, path)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise _refused(path, f"is {value!r}, which JSON cannot hold", "use None or leave it out")
        elif isinstance(value, int) and value.bit_length() > _WIDEST_INTEGER_BITS:
            raise _refused(path, "is an integer of more than 4,200 digits", "put it as a text")
        assert value is None or isinstance(value, str | bool | int | float)
        return value


def _plain(value: object, path: str) -> object:
    """Return what a subclass or a scalar of numpy is in plain Python."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and not isinstance(value, np.longdouble):
        return float(value)
    raise _refused(path, f"is a {type(value).__module__}.{type(value).__qualname__}", _mend(value))


def _mend(value: object) -> str:
    if isinstance(value, np.ndarray):
        return "put the array as a dataset of its own, or value.tolist()"
    if isinstance(value, set | frozenset):
        return "use sorted(value)"
    if isinstance(value, bytes | bytearray | memoryview):
        return "put bytes as a dataset of their own (Bytes), or value.hex()"
    if hasattr(value, "isoformat"):
        return "use value.isoformat()"
    return "JSON holds dict, list, str, int, float, bool and None: convert it"


def _key(key: object, path: str) -> str:
    if type(key) is not str:
        key = None if key is None else _plain(key, f"{path}[{shown(key)}] (a key)")
        if isinstance(key, int) and key.bit_length() > _WIDEST_INTEGER_BITS:
            raise _refused(path, f"has the key {shown(key)}", "use a text as key")
        if isinstance(key, float) and not math.isfinite(key):
            raise _refused(path, f"has the key {key!r}", "use a text as key")
        # the texts that the json module gives to such keys
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        key = repr(key) if isinstance(key, float) else str(key)
    if not key.isascii():
        _check_unicode(key, f"{path} (a key)")
    return key


def _check_unicode(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _refused(path, "holds half a surrogate pair", "decode it with errors='replace'") from None


def _refused(path: str, what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"{path or 'the mapping'} {what}", hint=hint, kind=ErrorKind.VALUE)


def json_nbytes(value: object) -> int:
    """Approximate size of a mapping in memory, bytes."""
    return sum(
        _NODE_BYTES + (len(item) if isinstance(item, str | bytes) else 0) for item in _leaves(value, set())
    )


def _leaves(value: object, seen: set[int]) -> Iterator[object]:
    pending = [value]
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, Mapping | list | tuple):
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, Mapping):
                pending.extend(item.keys())
                pending.extend(item.values())
            else:
                pending.extend(item)
