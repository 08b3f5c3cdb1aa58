"""Commands that list what a repository knows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from quantumio.cli._call import Call, examples
from quantumio.cli._certification_commands import certifications
from quantumio.cli._documents import collection_document, dataset_type_document
from quantumio.cli._output import print_table
from quantumio.cli._record_commands import data_ids, records
from quantumio.cli._tables import TableAnswer, on_repository_with_table, row_batches
from quantumio.errors import InvalidInputError
from quantumio.model import Dimension

if TYPE_CHECKING:
    from quantumio.ports import CollectionRecord, RemovedCollection

__all__ = ["collections", "destinations", "ls"]


class _ListingGroup(click.Group):
    """Lists collections where nothing else is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default in front of what would be its options."""
        is_named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_named else ["collections", *args])


@click.group(
    cls=_ListingGroup,
    epilog=examples(
        "quantumio ls",
        "quantumio ls collections u/ada/isr?",
        "quantumio ls dataset-types",
        'quantumio ls records visit instrument=ST8 --where "visit > 30"',
    ),
)
def ls() -> None:
    """List what a repository knows.

    Without a command of its own it lists the collections.
    """


@click.command(
    "collections",
    epilog=examples(
        "quantumio collections",
        "quantumio collections u/ada/isr --counts",
        "quantumio collections --removed",
    ),
)
@click.argument("pattern", required=False, metavar="[GLOB]")
@click.option("--counts", is_flag=True, help="Count the datasets that each has or finds.")
@click.option("--removed", is_flag=True, help="List those that were removed, and when.")
@on_repository_with_table
def collections(call: Call, answer: TableAnswer, pattern: str | None, counts: bool, removed: bool) -> None:
    """List collections: runs, tags, chains and calibrations.

    On a terminal what a chain searches stands beneath it, in order. Datasets are counted in their latest
    versions: of a chain those that it finds. Of those that were removed the moment is the number of the edit
    that did it: the one before, as --as-of of other commands, shows what was in them.
    """
    if removed:
        _removed_collections(call, answer, pattern or "*", counts=counts)
        return
    with call.open(readonly=True) as butler:
        found = butler.collections(pattern or "*")
        every = butler.collections()
        numbers = {one.name: butler.query(collections=[one.name]).count() for one in found} if counts else {}
    documents = [collection_document(one) for one in found]
    if counts:
        documents = [one | {"datasets": numbers[str(one["name"])]} for one in documents]
    more = {"datasets": "int"} if counts else {}
    width = 3 + len(more)
    rows = [
        (one.name, str(one.kind), ", ".join(one.children), numbers.get(one.name))[:width] for one in found
    ]

    def show() -> None:
        if sys.stdout.isatty():
            tree = _tree(found, {record.name: record for record in every}, numbers)
            print_table(("collection", "kind", *more), (row[: width - 1] for row in tree), right=more)
        else:
            print_table(("collection", "kind", "searches", *more), rows, right=more)

    answer.write(
        {"collections": documents},
        show,
        row_batches({"collection": "str", "kind": "str", "searches": "str", **more}, rows),
    )


def _removed_collections(call: Call, answer: TableAnswer, pattern: str, *, counts: bool) -> None:
    if counts:
        raise InvalidInputError(
            "--counts counts what is there, and --removed lists what is not",
            hint="leave one out; `quantumio query -c COLLECTION --as-of MOMENT` shows what was in one",
        )
    with call.open(readonly=True) as butler:
        found = butler.removed_collections(pattern)
    rows = [
        (one.name, str(one.kind), ", ".join(one.children), one.removed_seq, _removed(one)) for one in found
    ]
    documents = [
        {
            "name": one.name,
            "kind": str(one.kind),
            "children": list(one.children),
            "moment": one.removed_seq,
            "removed": _removed(one),
        }
        for one in found
    ]
    answer.write(
        {"collections": documents},
        lambda: print_table(
            ("collection", "kind", "searched", "moment", "removed (UTC)"),
            rows,
            right=("moment",),
            fold=("collection", "searched"),
        ),
        row_batches(
            {"collection": "str", "kind": "str", "searched": "str", "moment": "int", "removed": "time"}, rows
        ),
    )


def _removed(one: RemovedCollection) -> datetime:
    seconds, rest = divmod(one.removed_ns, 10**9)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest // 1000)


def _tree(
    found: Iterable[CollectionRecord], every: Mapping[str, CollectionRecord], numbers: Mapping[str, int]
) -> Iterator[tuple[object, ...]]:
    """Yield name, kind and count of collections; what a chain searches stands beneath it."""

    def below(record: CollectionRecord, depth: int) -> Iterator[tuple[object, ...]]:
        yield "  " * depth + record.name, str(record.kind), None if depth else numbers.get(record.name)
        for child in record.children:
            yield from below(every[child], depth + 1)

    for record in found:
        yield from below(record, 0)


@ls.command("dataset-types")
@on_repository_with_table
def dataset_types(call: Call, answer: TableAnswer) -> None:
    """List the registered dataset types."""
    with call.open(readonly=True) as butler:
        found = butler.dataset_types()
    document = {"dataset_types": [dataset_type_document(one) for one in found]}
    rows = [(one.name, one.storage_class, one.dimensions) for one in found]
    answer.write(
        document,
        lambda: print_table(("dataset type", "storage class", "dimensions"), rows, fold=("dimensions",)),
        row_batches(
            {"dataset_type": "str", "storage_class": "str", "dimensions": "str"},
            ((name, storage_class, ", ".join(keys)) for name, storage_class, keys in rows),
        ),
    )


@ls.command("dimensions")
@on_repository_with_table
def dimensions(call: Call, answer: TableAnswer) -> None:
    """List the dimensions and the relations between them.

    Dimensions are the keys that data IDs may have.
    """
    with call.open(readonly=True) as butler:
        found = list(butler.dimensions.values())
    document = {"dimensions": [_dimension_document(one) for one in found]}
    rows = [(one.name, one.key or "relation", one.requires, one.implies, _extent(one)) for one in found]
    headings = ("dimension", "type", "requires", "implies", "has")
    answer.write(
        document,
        lambda: print_table(headings, rows, fold=("requires", "implies", "has")),
        row_batches(dict.fromkeys(headings, "str"), (_joined(row) for row in rows)),
    )


def _joined(row: Sequence[Any]) -> list[str]:
    """Return texts of which lists are joined by commas."""
    return [value if isinstance(value, str) else ", ".join(value) for value in row]


def _dimension_document(dimension: Dimension) -> dict[str, object]:
    return {
        "name": dimension.name,
        "key": dimension.key,
        "requires": list(dimension.requires),
        "implies": list(dimension.implies),
        "metadata": dict(dimension.metadata),
        "temporal": dimension.temporal,
        "spatial": dimension.spatial,
    }


def _extent(dimension: Dimension) -> list[str]:
    return [
        name
        for name, has in (("timespan", dimension.temporal), ("region", dimension.spatial is not None))
        if has
    ]


@click.command()
@on_repository_with_table
def destinations(call: Call, answer: TableAnswer) -> None:
    """List the destinations of a repository.

    These are the places that a policy or --to can name.
    """
    with call.open(readonly=True) as butler:
        found = butler.destinations()
    rows = [
        (one.name, one.kind, ", ".join(f"{key}={value}" for key, value in one.options.items()))
        for one in found
    ]
    headings = ("destination", "kind", "options")
    documents = [{"name": one.name, "kind": one.kind, "options": dict(one.options)} for one in found]
    answer.write(
        {"destinations": documents},
        lambda: print_table(headings, rows, fold=("options",)),
        row_batches(dict.fromkeys(headings, "str"), rows),
    )


ls.add_command(collections)
ls.add_command(certifications)
ls.add_command(destinations)
ls.add_command(records)
ls.add_command(data_ids)
