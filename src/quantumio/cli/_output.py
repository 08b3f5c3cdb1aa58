"""What commands write: tables and lists for people, one JSON document for programs."""

from __future__ import annotations

import codecs
import errno
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from math import isfinite
from shutil import get_terminal_size
from typing import Final

from quantumio.errors import DestinationError, ErrorKind

__all__ = [
    "check_output",
    "json_pieces",
    "json_text",
    "output_failure",
    "print_json",
    "print_pairs",
    "print_table",
    "print_text",
    "printable",
    "printable_lines",
    "reader_is_gone",
    "write_json",
]

_EXIT_READER_GONE: Final = 141
"""What shells expect of a process whose reader went away: 128 + SIGPIPE."""

_GAP: Final = 2
_TOGETHER: Final = 1000
"""Rows of a table that are looked at together."""

_OBEYED: Final = re.compile(r"[^\x00-\x7e]")
"""Characters among which are those that JSON need not escape, and terminals may obey."""

_FOLDED: Final = (8, 24)
"""Least width of a column that is folded: as its longest word, within these."""


def check_output() -> None:
    """Refuse to begin where standard output is closed, before anything is changed.

    Characters that its encoding has not are written as escapes.

    Raises
    ------
    DestinationError
        It is closed. The next file that is opened would take its place, and be written over.
    """
    if sys.stdout is None:
        raise DestinationError(
            "standard output is closed", hint="send it to /dev/null if nobody is to read it"
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_is_gone() -> int:
    """Give up standard output, quietly: who reads it (``head``) has enough. Returns the exit code for it."""
    sys.stdout = None  # as Python has it where it is closed
    return _EXIT_READER_GONE


def output_failure(error: OSError) -> Exception:
    """Return the error of standard output that cannot be written; any other one as it is.

    What is still to be written is given up, so that the end of the process does not try again.
    """
    if error.filename is not None:
        return error
    sys.stdout = None  # as Python has it where it is closed
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return DestinationError(
        f"standard output cannot be written: {error.strerror or error}",
        hint="free space there, or send it elsewhere; what the command has done is done",
        kind=ErrorKind.DISK_FULL if full else ErrorKind.UNREACHABLE,
    )


def print_json(document: object) -> None:
    """Write one JSON document to standard output."""
    write_json(f"{json_text(document)}\n")


def write_json(text: str) -> None:
    """Write a piece of a JSON document to standard output, with escapes for what its encoding has not."""
    if codecs.lookup(sys.stdout.encoding).name != "utf-8":
        text = _OBEYED.sub(lambda match: json.dumps(match[0])[1:-1], text)
    sys.stdout.write(text)


def json_text(document: object) -> str:
    """Return a document as JSON: moments as ISO 8601, and what JSON has not (NaN, infinity) as text.

    Characters that a terminal may obey are escaped, as JSON itself asks of some of them alone.
    """
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    return _OBEYED.sub(lambda match: _json_escape(match[0]), text)


def _json_escape(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


def json_pieces(items: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield a JSON document piece by piece: an iterator among its values becomes a list, item by item.

    It reads as `json_text` of the whole would, without all of it in memory.
    """
    begin = "{"
    for name, value in items:
        yield f"{begin}\n  {json_text(name)}: "
        begin = ","
        if not isinstance(value, Iterator):
            yield _indented(value, "  ")
            continue
        opened = "["
        for one in value:
            yield f"{opened}\n    {_indented(one, '    ')}"
            opened = ","
        yield "[]" if opened == "[" else "\n  ]"
    yield "{}" if begin == "{" else "\n}"


def _indented(document: object, by: str) -> str:
    return json_text(document).replace("\n", f"\n{by}")  # texts in JSON have no line ends of their own


def print_text(text: str) -> None:
    """Write lines of text to standard output, with control characters escaped."""
    sys.stdout.write(f"{printable_lines(text)}\n")


def printable_lines(text: str) -> str:
    """Return text with control characters escaped, except for the ends of its lines."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    fold: Iterable[str] = (),
) -> int:
    """Write a table: aligned columns, which programs can cut in a pipe and which fit a terminal.

    Any number of rows takes little memory: those of the first thousand say how wide the columns are, and on
    a terminal each thousand has the headings above it.

    Parameters
    ----------
    headings
        One for each column.
    rows
        Values; None is left empty.
    right
        Headings of the columns that are numbers.
    fold
        Headings of the columns that may be folded on a narrow terminal. Where that is not enough, each row
        is written as a list.

    Returns
    -------
    int
        How many rows there were.
    """
    cells = ([_cell(value) for value in row] for row in rows)
    first = list(islice(cells, _TOGETHER))
    if not sys.stdout.isatty():
        return _print_aligned(headings, first, cells, set(right))
    total = 0
    part = first
    while part or not total:
        _draw_rows(headings, part, set(right), set(fold), follows=total > 0)
        total += len(part)
        if len(part) < _TOGETHER:
            break
        part = list(islice(cells, _TOGETHER))
    return total


def _widths(headings: Sequence[str], cells: list[list[str]]) -> list[int]:
    return [
        max([len(heading), *(len(row[index]) for row in cells)]) for index, heading in enumerate(headings)
    ]


def _print_aligned(
    headings: Sequence[str], first: list[list[str]], more: Iterable[list[str]], right: set[str]
) -> int:
    widths = _widths(headings, first)
    total = -1
    for row in chain((headings,), first, more):
        columns = [
            text.rjust(width) if heading in right else text.ljust(width)
            for text, width, heading in zip(row, widths, headings, strict=True)
        ]
        print_text((" " * _GAP).join(columns).rstrip())
        total += 1
    return total


def _draw_rows(
    headings: Sequence[str], cells: list[list[str]], right: set[str], fold: set[str], *, follows: bool
) -> None:
    least = [
        min(width, _longest_word([row[index] for row in cells])) if heading in fold else width
        for index, (heading, width) in enumerate(zip(headings, _widths(headings, cells), strict=True))
    ]
    if sum(least) + _GAP * (len(least) - 1) <= _columns():
        _draw(headings, cells, least, right, fold)
        return
    for number, row in enumerate(cells):
        if number or follows:
            print_text("")
        _draw_pairs({heading: text for heading, text in zip(headings, row, strict=True) if text}, "")


def print_pairs(pairs: Mapping[str, object], *, title: str = "") -> None:
    """Write names and values, one pair a line."""
    shown = {name: _cell(value) for name, value in pairs.items()}
    if sys.stdout.isatty():
        _draw_pairs(shown, title)
        return
    if title:
        print_text(title)
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print_text(f"{name.ljust(width + _GAP)}{value}".rstrip())


def printable(text: str) -> str:
    """Return text with control characters escaped: names and headers may hold any, terminals obey some."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(one) for one in value)
    return printable(str(value))


def _plain(value: object) -> object:
    """Return what JSON has instead of a value that it has not."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _finite(value: object) -> object:
    """Return a document with what JSON has no number for (NaN, infinity) as text."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value


def _columns() -> int:
    return get_terminal_size().columns


def _longest_word(texts: Iterable[str]) -> int:
    longest = max((len(word) for text in texts for word in text.split()), default=0)
    return sorted((*_FOLDED, longest))[1]


def _draw(
    headings: Sequence[str], cells: list[list[str]], least: list[int], right: set[str], fold: set[str]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for heading, width in zip(headings, least, strict=True):
        table.add_column(
            heading,
            min_width=width,
            justify="right" if heading in right else "left",
            no_wrap=heading not in fold,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(Text(text) for text in row))  # Text: square brackets are no markup
    Console(highlight=False).print(table)


def _draw_pairs(shown: Mapping[str, str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if title:
        console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in shown.items():
        grid.add_row(name, Text(value))
    console.print(grid)
