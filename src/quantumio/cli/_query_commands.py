"""The command that looks for datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import click

from quantumio.cli._arguments import data_id_text, names, parse_bind, parse_data_id, split_pairs
from quantumio.cli._call import Call, as_of_option, examples
from quantumio.cli._documents import short_digest
from quantumio.cli._output import print_table, print_text
from quantumio.cli._tables import TableAnswer, on_repository_with_table
from quantumio.cli._times import parse_moment
from quantumio.model import DimensionUniverse, format_bytes
from quantumio.ports import DATASET_COLUMNS

if TYPE_CHECKING:
    from quantumio.butler import Query

__all__ = ["query"]

_NO_DIMENSIONS: Final = ("dataset_type", *DATASET_COLUMNS)
_HEADINGS: Final = {"committed": "committed (UTC)"}


@click.command(
    epilog=examples(
        "quantumio query calexp visit=33",
        'quantumio query calexp -c u/ada,u/bob --where "visit > 100 AND seq_num < 60" --order-by -visit',
        "quantumio query source --format votable -o sources.xml",
        "quantumio query raw --columns exposure,detector,t_min,s_region --format csv",
        "quantumio query calexp --as-of paper/DR1",
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
@as_of_option
@click.option(
    "--columns",
    multiple=True,
    metavar="NAMES",
    help="Columns of the table, in order, with commas; also s_region, t_min, t_max and t_exptime.",
)
@click.option("-l", "--long", is_flag=True, help="With ID, digest and time of the commit.")
@on_repository_with_table
def query(
    call: Call,
    answer: TableAnswer,
    arguments: tuple[str, ...],
    where: str | None,
    bind: tuple[str, ...],
    collections: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int | None,
    versions: str,
    as_of: str | None,
    columns: tuple[str, ...],
    long: bool,
) -> None:
    """Look for datasets.

    DATASET_TYPE is a name or a glob (quote it for the shell), KEY=VALUE a value that all matches have. The
    formats for programs carry all columns: csv, jsonl (JSON lines), arrow (an IPC stream), votable (IVOA).
    """
    dataset_types, pairs = split_pairs(arguments)
    chosen = names(columns)
    with call.open(readonly=True) as butler:
        found = butler.query(
            dataset_types or "*",
            where=where,
            bind=parse_bind(bind),
            collections=names(collections),
            order_by=names(order_by) or (),
            limit=limit,
            versions=versions,
            as_of=parse_moment(as_of),
            **parse_data_id(butler.dimensions, pairs),
        )
        rest = _batches(found, chosen, is_one=len(call.roots) == 1)
        batches = chain([next(rest)], rest)  # what is wrong with the query shows before anything is written
        universe = butler.dimensions
        if chosen is None:
            answer.write(
                _document(_datasets(batches, universe)), lambda: _show(batches, universe, long=long), batches
            )
        else:
            answer.write(_document(_records(batches)), lambda: _show_columns(batches), batches)


def _batches(found: Query, columns: Sequence[str] | None, *, is_one: bool) -> Iterator[Any]:
    """Yield the matches as batches of one schema, at least one.

    Repositories differ in their dimensions: of several the whole table is made, which has those of all.
    """
    from quantumio.formats import table_batches

    came = False
    for batch in found.batches(columns) if is_one else ():
        came = True
        yield batch
    if not came:
        yield from table_batches(found.table("arrow", columns))


def _records(batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of batches as mappings."""
    from quantumio.formats import batch_rows

    for batch in batches:
        column_names = batch.schema.names
        for row in batch_rows(batch):
            yield dict(zip(column_names, row, strict=True))


def _document(datasets: Iterator[dict[str, Any]]) -> Iterator[tuple[str, object]]:
    count = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal count
        for count, dataset in enumerate(datasets, 1):  # noqa: B007  told behind them
            yield dataset

    yield "datasets", counted()
    yield "count", count


def _datasets(batches: Iterable[Any], universe: DimensionUniverse) -> Iterator[dict[str, Any]]:
    for row in _records(batches):
        document = {name: row[name] for name in _NO_DIMENSIONS}
        destinations = row["destinations"].split(",") if row["destinations"] else []
        yield document | {"data_id": _data_id(row, universe), "destinations": destinations}


def _show(batches: Iterable[Any], universe: DimensionUniverse, *, long: bool) -> None:
    more = ("committed", "digest", "id") if long else ()
    names_ = ("run", "version", "size", "destinations", *more)
    count = print_table(
        ("dataset type", "data ID", *(_HEADINGS.get(name, name) for name in names_)),
        (
            (
                row["dataset_type"],
                data_id_text(_data_id(row, universe)),
                *(_shown(name, row[name]) for name in names_),
            )
            for row in _records(batches)
        ),
        right=("version", "size"),
        fold=("dataset type", "data ID", "run", "destinations"),
    )
    _show_count(count)


def _show_columns(batches: Iterator[Any]) -> None:
    from quantumio.formats import batch_rows

    first = next(batches)
    headings = first.schema.names
    numbers = [field.name for field in first.schema if str(field.type) in ("int64", "double")]
    rows = (
        [
            value if name == "digest" else _shown(name, value)
            for name, value in zip(headings, row, strict=True)
        ]
        for batch in chain((first,), batches)
        for row in batch_rows(batch)
    )
    _show_count(print_table(headings, rows, right=numbers, fold=[*set(headings) - set(numbers)]))


def _show_count(count: int) -> None:
    print_text(f"{count} {'dataset' if count == 1 else 'datasets'}")


def _shown(name: str, value: Any) -> object:
    """Return a value of a column as people read it."""
    shown = _SHOWN.get(name)
    return value if shown is None or value is None else shown(value)


_SHOWN: Final[Mapping[str, Callable[[Any], object]]] = {
    "size": format_bytes,
    "digest": short_digest,
    "committed": lambda text: text[:19].replace("T", " "),
}


def _data_id(row: Mapping[str, Any], universe: DimensionUniverse) -> dict[str, object]:
    return {name: row[name] for name in universe if row.get(name) is not None}
