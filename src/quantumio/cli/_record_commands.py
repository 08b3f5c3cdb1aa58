"""Commands that look for dimension records, and for the data IDs that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from quantumio.cli._arguments import names, parse_bind, parse_data_id, split_pairs
from quantumio.cli._call import Call, examples
from quantumio.cli._output import print_table, print_text
from quantumio.cli._tables import TableAnswer, on_repository_with_table, row_batches
from quantumio.cli._times import moment_texts
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DimensionUniverse, Region, Timespan

if TYPE_CHECKING:
    from quantumio.model import Dimension

__all__ = ["data_ids", "records"]

_TIMESPAN, _BEGIN, _END = "timespan", "timespan_begin", "timespan_end"

_where_option = click.option("--where", metavar="TEXT", help="Expression over dimensions and their metadata.")
_bind_option = click.option(
    "--bind", multiple=True, metavar="NAME=VALUE", help="Value of a :name in the expression."
)
_order_option = click.option(
    "--order-by", multiple=True, metavar="NAMES", help="Columns, with commas; - in front reverses."
)
_limit_option = click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")


@click.command(
    "records",
    epilog=examples(
        'quantumio ls records visit instrument=ST8 --where "visit > 30"',
        "quantumio ls records visit --order-by -timespan_begin --limit 10",
        "quantumio ls records visit -o visits.csv",
    ),
)
@click.argument("element")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@_where_option
@_bind_option
@_order_option
@_limit_option
@click.option("--columns", multiple=True, metavar="NAMES", help="Fields of the records, with commas.")
@on_repository_with_table
def records(
    call: Call,
    answer: TableAnswer,
    element: str,
    data_id: tuple[str, ...],
    where: str | None,
    bind: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int | None,
    columns: tuple[str, ...],
) -> None:
    """List the records of a dimension or relation.

    ELEMENT is its name, such as visit. Files of them (.csv, .json, .jsonl) can be read by insert-dimension.
    """
    with call.open(readonly=True) as butler:
        universe = butler.dimensions
        given = parse_data_id(universe, data_id)
        found = butler.query_dimension_records(element, where=where, bind=parse_bind(bind), **given)
    kinds = _record_columns(universe, universe.element(element))
    flat = [_flat(record) for record in found]
    order = _ordered(flat, names(order_by) or (), tuple(kinds), limit)
    chosen = _chosen(names(columns), tuple(kinds))
    rows = [[flat[number].get(name) for name in chosen] for number in order]
    document = {"element": element, "records": [_record_document(found[number]) for number in order]}
    if columns:
        document["records"] = [dict(zip(chosen, row, strict=True)) for row in rows]

    def show() -> None:
        used = [
            name
            for index, name in enumerate(chosen)
            if not rows or any(row[index] is not None for row in rows)
        ]
        numbers = [name for name in used if kinds[name] in ("int", "float")]
        shown = ([value for name, value in zip(chosen, row, strict=True) if name in used] for row in rows)
        print_table(used, shown, right=numbers, fold=("region", _BEGIN, _END))
        print_text(f"{len(rows)} {'record' if len(rows) == 1 else 'records'}")

    answer.write(document, show, row_batches({name: kinds[name] for name in chosen}, rows))


def _record_columns(universe: DimensionUniverse, element: Dimension) -> dict[str, str]:
    """Return the columns of the records of an element, by name with their kind."""
    kinds = {name: str(universe[name].key) for name in (*element.record_keys, *element.implies)}
    kinds |= element.metadata
    if element.temporal:
        kinds |= {_BEGIN: "str", _END: "str"}
    if element.spatial is not None:
        kinds["region"] = "str"
    return kinds


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a row of a table."""
    row = {name: str(value) if isinstance(value, Region) else value for name, value in record.items()}
    if isinstance(timespan := row.pop(_TIMESPAN, None), Timespan):
        row[_BEGIN], row[_END] = moment_texts(timespan)
    return row


def _record_document(record: Mapping[str, object]) -> dict[str, object]:
    return {name: _field(value) for name, value in record.items()}


def _field(value: object) -> object:
    if isinstance(value, Timespan):
        return list(moment_texts(value))
    return str(value) if isinstance(value, Region) else value


@click.command(
    "data-ids",
    epilog=examples(
        'quantumio ls data-ids visit,detector --where "visit > 30"',
        "quantumio ls data-ids visit,patch skymap=rings tract=9615 --order-by -visit --format csv",
    ),
)
@click.argument("arguments", nargs=-1, required=True, metavar="DIMENSIONS... [KEY=VALUE]...")
@_where_option
@_bind_option
@_order_option
@_limit_option
@on_repository_with_table
def data_ids(
    call: Call,
    answer: TableAnswer,
    arguments: tuple[str, ...],
    where: str | None,
    bind: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int | None,
) -> None:
    """List the data IDs that dimension records make.

    DIMENSIONS are names, with commas; those that they require come along. Visits and patches are joined
    where they overlap on the sky.
    """
    words, pairs = split_pairs(arguments)
    dimensions = names(words)
    if dimensions is None:
        raise InvalidInputError(
            "no dimension was named",
            hint="write `quantumio ls data-ids visit,detector`",
            kind=ErrorKind.DIMENSION,
        )
    with call.open(readonly=True) as butler:
        universe = butler.dimensions
        given = parse_data_id(universe, pairs)
        found = butler.query_data_ids(dimensions, where=where, bind=parse_bind(bind), **given)
    columns = tuple(found[0]) if found else universe.required(dimensions)
    order = _ordered(found, names(order_by) or (), columns, limit)
    rows = [[found[number][name] for name in columns] for number in order]
    kinds = {name: str(universe[name].key) for name in columns}
    document: dict[str, object] = {
        "dimensions": list(columns),
        "data_ids": (dict(found[number]) for number in order),
        "count": len(rows),
    }

    def show() -> None:
        print_table(columns, rows, right=[name for name in columns if kinds[name] == "int"])
        print_text(f"{len(rows)} {'data ID' if len(rows) == 1 else 'data IDs'}")

    answer.write(document, show, row_batches(kinds, rows))


def _chosen(wanted: list[str] | None, known: Sequence[str]) -> list[str]:
    for name in wanted or ():
        _check_column(name, known)
    return list(dict.fromkeys(wanted)) if wanted is not None else list(known)


def _ordered(
    rows: Sequence[Mapping[str, Any]], order_by: Sequence[str], known: Sequence[str], limit: int | None
) -> list[int]:
    """Return the numbers of the rows that are wanted, in order; what has no value comes last.

    Raises
    ------
    InvalidInputError
        There is no such column.
    """
    numbers = list(range(len(rows)))
    for word in reversed(order_by):
        name = word.removeprefix("-")
        _check_column(name, known)
        there = [number for number in numbers if rows[number].get(name) is not None]
        values = {number: rows[number][name] for number in there}
        there.sort(key=values.__getitem__, reverse=word != name)
        numbers = there + [number for number in numbers if rows[number].get(name) is None]
    return numbers[:limit]


def _check_column(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InvalidInputError(
            f"there is no column {name!r:.80}",
            hint=f"there are {', '.join(known)}",
            kind=ErrorKind.DIMENSION,
        )
