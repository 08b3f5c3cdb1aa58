"""Tables that commands write: for people, or in a format for programs, to standard output or into a file."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import frozen

from quantumio.cli._call import Call, on_repository
from quantumio.cli._output import json_pieces, print_text, printable_lines, write_json
from quantumio.errors import InvalidInputError
from quantumio.model import format_bytes

if TYPE_CHECKING:
    from quantumio.model import DatasetRef, DimensionUniverse

__all__ = ["TableAnswer", "on_repository_with_table", "ref_columns", "ref_values", "row_batches"]

_STANDARD_STREAM: Final = "-"
_TABLE, _JSON, _ARROW = "table", "json", "arrow"
_FORMATS: Final = (_TABLE, _JSON, "jsonl", "csv", _ARROW, "votable")
_FORMAT_OF_ENDING: Final = {
    ".csv": "csv",
    ".json": _JSON,
    ".jsonl": "jsonl",
    ".arrow": _ARROW,
    ".arrows": _ARROW,
    ".vot": "votable",
    ".xml": "votable",
}
_BATCH: Final = 10_000


@frozen(kw_only=True)
class TableAnswer:
    """Where the table that a command found goes, and in which format.

    Attributes
    ----------
    call
        Of the command.
    format
        ``table`` for people, ``json`` for the command's document, or a format for programs.
    output
        File; None is standard output.
    overwrite
        Whether a file of this name may be there.
    """

    call: Call
    format: str
    output: str | None
    overwrite: bool

    def write(
        self,
        document: Mapping[str, object] | Iterable[tuple[str, object]],
        show: Callable[[], object],
        batches: Iterable[object],
    ) -> None:
        """Write what was found in the one shape that is wanted; the others are not made.

        Parameters
        ----------
        document
            What ``--json`` writes, or its items: iterators in it are written as lists.
        show
            Writes it for people.
        batches
            Arrow record batches of one schema, at least one.

        Raises
        ------
        ConflictError, DestinationError
            The file exists, or cannot be written.
        """
        if self.format == _TABLE:
            show()
            return
        items = document.items() if isinstance(document, Mapping) else document
        if self.format == _JSON and self.output is None:
            for piece in json_pieces(items):
                write_json(piece)
            write_json("\n")
            return
        from quantumio.cli._dataset_files import write_file

        output = self.output or _STANDARD_STREAM
        size = write_file(output, self._chunks(items, batches), overwrite=self.overwrite)
        if self.output is not None:
            self.call.answer(
                {"file": self.output, "format": self.format, "size": size},
                lambda: print_text(f"Wrote {self.output} ({format_bytes(size)})."),
            )

    def _chunks(self, items: Iterable[tuple[str, object]], batches: Iterable[object]) -> Iterator[bytes]:
        if self.format == _JSON:
            for piece in json_pieces(items):
                yield piece.encode()
            yield b"\n"
            return
        from quantumio.formats import table_chunks

        is_shown = self.output is None and sys.stdout.isatty()
        for chunk in table_chunks(batches, self.format):
            # Texts are as they are in a file and in a pipe; a terminal might obey them.
            yield printable_lines(chunk.decode()).encode() if is_shown else chunk


def on_repository_with_table(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that finds a table what `on_repository` gives, and then a `TableAnswer`.

    What cannot be written is refused before the command begins.
    """

    @on_repository
    @functools.wraps(function)
    def command(
        call: Call, *, format_: str | None, output: str | None, overwrite: bool, **rest: object
    ) -> None:
        file = None if output == _STANDARD_STREAM else output
        chosen = _chosen(call, format_, file)
        if file is not None:
            from quantumio.cli._dataset_files import check_target

            check_target(file, overwrite=overwrite)
        function(call, TableAnswer(call=call, format=chosen, output=file, overwrite=overwrite), **rest)

    for option in (_overwrite_option, _output_option, _format_option):
        command = option(command)
    return command


_format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    help="What to write. Default: table; of a file what its ending says.",
)
_output_option = click.option(
    "-o", "--output", metavar="FILE", help="Write to this file instead of standard output."
)
_overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Write over the file; it keeps its permissions, and links stay."
)


def _chosen(call: Call, format_: str | None, output: str | None) -> str:
    """Return what is to be written.

    Raises
    ------
    InvalidInputError
        A file's ending says nothing, or the format is not for where it would go.
    """
    if output is not None:
        chosen = format_ or _FORMAT_OF_ENDING.get(Path(output).suffix.lower())
        if chosen is None or chosen == _TABLE:
            raise InvalidInputError(
                f"{output}: its ending says no format of a table",
                hint=f"use {', '.join(_FORMAT_OF_ENDING)}, or --format",
            )
        return chosen
    if call.as_json:
        if format_ not in (None, _JSON):
            raise InvalidInputError(
                f"--json and --format {format_} cannot both go to standard output",
                hint="leave one out, or name a file with --output",
            )
        return _JSON
    if format_ == _ARROW and sys.stdout.isatty():
        raise InvalidInputError(
            "an Arrow stream is not for a terminal", hint="name a file: -o matches.arrows"
        )
    return format_ or _TABLE


def row_batches(columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> Iterator[object]:
    """Yield rows as Arrow record batches, at least one.

    Parameters
    ----------
    columns
        Name to kind: ``str``, ``int``, ``float``, ``bool`` or ``time``.
    rows
        Values in the order of the columns.
    """
    from quantumio.formats import column_batch

    left = iter(rows)
    came = False
    while (part := list(islice(left, _BATCH))) or not came:
        came = True
        values = zip(*part, strict=True) if part else iter([()] * len(columns))
        yield column_batch(
            {name: (kind, column) for (name, kind), column in zip(columns.items(), values, strict=True)}
        )


def ref_columns(universe: DimensionUniverse, refs: Iterable[DatasetRef]) -> dict[str, str]:
    """Return the columns that say which datasets these are, with those of all of their dimensions."""
    used = universe.sort({name for ref in refs for name in ref.data_id})
    dimensions = {name: str(universe[name].key) for name in used}
    return {"dataset_type": "str", **dimensions, "run": "str", "version": "int", "id": "str"}


def ref_values(ref: DatasetRef, columns: Iterable[str]) -> list[object]:
    """Return the values of a dataset in columns that `ref_columns` has named, None in others."""
    known = {
        **ref.data_id,
        "dataset_type": ref.dataset_type.name,
        "run": ref.run,
        "version": ref.version,
        "id": str(ref.id),
    }
    return [known.get(name) for name in columns]
