"""The command that looks for datasets."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quantumio.cli._arguments import data_id_text, names, parse_bind, parse_data_id, split_pairs
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import short_digest
from quantumio.cli._output import json_text, print_json, print_table, print_text
from quantumio.errors import InvalidInputError
from quantumio.model import DimensionUniverse, format_bytes
from quantumio.ports import DATASET_COLUMNS

if TYPE_CHECKING:
    from quantumio.butler import Query

__all__ = ["query"]

_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Mark at the end of an Arrow IPC stream."""
_NO_DIMENSIONS: Final = ("dataset_type", *DATASET_COLUMNS)
_FORMATS: Final = ("table", "json", "csv", "arrow", "votable")
_FORMAT_OF_ENDING: Final = {
    ".csv": "csv",
    ".json": "json",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".vot": "votable",
    ".xml": "votable",
}


@click.command(
    epilog=examples(
        "quantumio query calexp visit=33",
        'quantumio query calexp -c u/ada,u/bob --where "visit > 100 AND seq_num < 60" --order-by -visit',
        "quantumio query source --format votable -o sources.xml",
    )
)
@click.argument("arguments", nargs=-1, metavar="[DATASET_TYPE]... [KEY=VALUE]...")
@click.option(
    "--where", metavar="TEXT", help="Expression over dimensions, e.g. \"visit > 100 AND band = 'g'\"."
)
@click.option("--bind", multiple=True, metavar="NAME=VALUE", help="Value of a :name in the expression.")
@click.option(
    "-c",
    "--collections",
    multiple=True,
    metavar="NAMES",
    help="Names in search order, with commas: of each dataset the first match; with a glob: all. "
    "Default: every run.",
)
@click.option(
    "--order-by",
    multiple=True,
    metavar="NAMES",
    help="Dimensions, run, version, dataset_type; - in front reverses.",
)
@click.option("--limit", type=int, metavar="N", help="At most so many.")
@click.option(
    "--versions",
    type=click.Choice(["latest", "all"]),
    default="latest",
    show_default=True,
    help="Which versions.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    help="What to write. Default: table; of a file what its ending says.",
)
@click.option("-o", "--output", metavar="FILE", help="Write to this file instead of standard output.")
@click.option("-l", "--long", is_flag=True, help="With ID, digest and time of the commit.")
@on_repository
def query(
    call: Call,
    arguments: tuple[str, ...],
    where: str | None,
    bind: tuple[str, ...],
    collections: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int | None,
    versions: str,
    format_: str | None,
    output: str | None,
    long: bool,
) -> None:
    """Look for datasets.

    DATASET_TYPE is a name or a glob (quote it for the shell), KEY=VALUE a value that all matches have. The
    formats for programs carry all columns: csv, json, arrow (an IPC stream), votable (IVOA).
    """
    from quantumio.cli._dataset_files import write_file

    dataset_types, pairs = split_pairs(arguments)
    chosen = _format(call, format_, output)
    with call.open(readonly=True) as butler:
        found = butler.query(
            dataset_types or "*",
            where=where,
            bind=parse_bind(bind),
            collections=names(collections),
            order_by=names(order_by) or (),
            limit=limit,
            versions=versions,
            **parse_data_id(butler.dimensions, pairs),
        )
        universe = butler.dimensions
        if chosen == "table":
            _show(found, universe, long=long)
            return
        if chosen == "json" and output is None:
            print_json(_document(found, universe))
            return
        data = _encoded(found, universe, chosen)
    if output is None:
        sys.stdout.buffer.write(data)
        return
    size = write_file(output, [data])
    call.answer(
        {"file": output, "format": chosen, "size": size},
        lambda: print_text(f"Wrote {output} ({format_bytes(size)})."),
    )


def _format(call: Call, format_: str | None, output: str | None) -> str:
    """Return what is to be written.

    Raises
    ------
    InvalidInputError
        A file's ending says nothing, or the format is not for where it would go.
    """
    if output is not None:
        chosen = format_ or _FORMAT_OF_ENDING.get(Path(output).suffix.lower())
        if chosen is None or chosen == "table":
            endings = ", ".join(_FORMAT_OF_ENDING)
            raise InvalidInputError(
                f"{output}: its ending says no format of a reference table",
                hint=f"use {endings}, or --format",
            )
        return chosen
    if call.as_json:
        return "json"
    if format_ == "arrow" and sys.stdout.isatty():
        raise InvalidInputError(
            "an Arrow stream is not for a terminal", hint="name a file: -o matches.arrows"
        )
    return format_ or "table"


def _encoded(found: Query, universe: DimensionUniverse, chosen: str) -> bytes:
    """Return the matches as the bytes of a file."""
    if chosen == "votable":
        return str(found.table("votable")).encode()
    if chosen == "json":
        return f"{json_text(_document(found, universe))}\n".encode()
    table: Any = found.table("arrow")
    if chosen == "arrow":
        # An IPC stream is its messages one behind the other; the table writes them itself, so that this
        # room need not know the library.
        messages = [table.schema.serialize(), *(batch.serialize() for batch in table.to_batches())]
        return b"".join([*map(bytes, messages), _END_OF_STREAM])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, table.column_names, lineterminator="\n")
    writer.writeheader()
    for row in table.to_pylist():
        writer.writerow(row | {"committed": row["committed"].isoformat()})
    return text.getvalue().encode()


def _rows(found: Query, universe: DimensionUniverse) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the dimensions of the matches, in their order, and the matches."""
    table: Any = found.table("arrow")
    return list(universe.sort(set(table.column_names) - set(_NO_DIMENSIONS))), table.to_pylist()


def _document(found: Query, universe: DimensionUniverse) -> dict[str, object]:
    dimensions, rows = _rows(found, universe)
    return {"count": len(rows), "datasets": [_dataset(row, dimensions) for row in rows]}


def _dataset(row: Mapping[str, Any], dimensions: list[str]) -> dict[str, object]:
    document = {name: row[name] for name in _NO_DIMENSIONS}
    return document | {"data_id": _data_id(row, dimensions), "destinations": row["destinations"].split(",")}


def _show(found: Query, universe: DimensionUniverse, *, long: bool) -> None:
    dimensions, rows = _rows(found, universe)
    more = ("committed", "digest", "id") if long else ()
    shown: dict[str, Callable[[Any], object]] = {"size": format_bytes, "digest": short_digest}
    names_ = ("run", "version", "size", "destinations", *more)
    print_table(
        ("dataset type", "data ID", *names_),
        [
            (
                row["dataset_type"],
                data_id_text(_data_id(row, dimensions)),
                *(shown.get(name, _same)(row[name]) for name in names_),
            )
            for row in rows
        ],
        right=("version", "size"),
        fold=("dataset type", "data ID", "run", "destinations"),
    )
    print_text(f"{len(rows)} {'dataset' if len(rows) == 1 else 'datasets'}")


def _data_id(row: Mapping[str, Any], dimensions: list[str]) -> dict[str, object]:
    return {name: row[name] for name in dimensions if row[name] is not None}


def _same(value: object) -> object:
    return value
