"""Which dataset a file is: by a pattern of its name, or by a list of files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Final

from quantumio.cli._arguments import convert
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DimensionUniverse, check_identifier

__all__ = ["FilePattern", "split_list"]

_FIELD: Final = re.compile(r"\{([^{}]*)\}|(\*)|(\?)")
_PATH: Final = "path"


class FilePattern:
    """A pattern such as ``UB17-{exposure}_*.fit``: where in the names of files the values of dimensions are.

    ``{name}`` is the value of a dimension, ``*`` anything, ``?`` any one character; none of them crosses a
    ``/``. It is compared with as many parts of the end of a path as it has itself.

    Parameters
    ----------
    text
        The pattern.
    universe
        The dimensions there are.

    Raises
    ------
    InvalidInputError
        It names no dimension, or something that is none.
    """

    def __init__(self, text: str, universe: DimensionUniverse) -> None:
        self._text = text
        self._integers: set[str] = set()
        expression, end = "", 0
        seen: set[str] = set()
        for match in _FIELD.finditer(text):
            expression += re.escape(text[end : match.start()])
            end = match.end()
            expression += self._piece(match, universe, seen)
        if not seen:
            raise InvalidInputError(
                f"pattern {text!r} names no dimension", hint="write it as 'UB17-{exposure}_*.fit'"
            )
        self._expression = re.compile(expression + re.escape(text[end:]))

    def _piece(self, match: re.Match[str], universe: DimensionUniverse, seen: set[str]) -> str:
        name = match[1]
        if name is None:
            return "[^/]*" if match[2] else "[^/]"
        dimension = universe.element(check_identifier(name, "dimension"))
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        if dimension.key == "int":
            self._integers.add(name)
            return f"(?P<{name}>[0-9]+)"
        return f"(?P<{name}>[^/]+?)"

    def data_id(self, path: str) -> dict[str, object]:
        """Return the values that the name of a file holds.

        Raises
        ------
        InvalidInputError
            It does not match; names file and pattern.
        """
        depth = len(PurePath(self._text).parts)
        tail = "/".join(PurePath(path).parts[-depth:])
        match = self._expression.fullmatch(tail)
        if match is None:
            raise InvalidInputError(
                f"{path} does not match the pattern {self._text!r}",
                hint="leave the file out, or correct the pattern",
                kind=ErrorKind.DATA_ID,
            )
        return {
            name: int(text) if name in self._integers else text for name, text in match.groupdict().items()
        }


def split_list(
    rows: Sequence[Mapping[str, object]], universe: DimensionUniverse, origin: str
) -> list[tuple[str, dict[str, object]]]:
    """Return the paths and data IDs of a list of files: rows with the field ``path`` and dimensions.

    Raises
    ------
    InvalidInputError
        A row has no path, or a field that is no dimension.
    """
    pairs = []
    for number, row in enumerate(rows):
        path = row.get(_PATH)
        if not isinstance(path, str) or not path:
            raise InvalidInputError(f"{origin}, record {number} has no path", hint="add the field 'path'")
        given = {}
        for name, value in row.items():
            if name != _PATH and value not in (None, ""):
                is_text_of_integer = universe.element(name).key == "int" and isinstance(value, str)
                given[name] = convert(universe, name, str(value)) if is_text_of_integer else value
        pairs.append((path, given))
    return pairs
