"""Commands that list what a repository knows."""

from __future__ import annotations

import click

from quantumio.cli._arguments import parse_data_id
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import collection_document, dataset_type_document
from quantumio.cli._output import print_table, print_text
from quantumio.model import Dimension, Region, Timespan

__all__ = ["destinations", "ls"]


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


@ls.command("collections")
@click.argument("pattern", default="*", metavar="[GLOB]")
@on_repository
def collections(call: Call, pattern: str) -> None:
    """List collections: runs, tags, chains and calibrations."""
    with call.open(readonly=True) as butler:
        found = butler.collections(pattern)
    document = {"collections": [collection_document(record) for record in found]}
    rows = [(record.name, str(record.kind), record.children) for record in found]
    call.answer(document, lambda: print_table(("collection", "kind", "searches"), rows, fold=("searches",)))


@ls.command("dataset-types")
@on_repository
def dataset_types(call: Call) -> None:
    """List the registered dataset types."""
    with call.open(readonly=True) as butler:
        found = butler.dataset_types()
    document = {"dataset_types": [dataset_type_document(one) for one in found]}
    rows = [(one.name, one.storage_class, one.dimensions) for one in found]
    call.answer(
        document,
        lambda: print_table(("dataset type", "storage class", "dimensions"), rows, fold=("dimensions",)),
    )


@ls.command("dimensions")
@on_repository
def dimensions(call: Call) -> None:
    """List the dimensions and the relations between them.

    Dimensions are the keys that data IDs may have.
    """
    with call.open(readonly=True) as butler:
        found = list(butler.dimensions.values())
    document = {"dimensions": [_dimension_document(one) for one in found]}
    rows = [(one.name, one.key or "relation", one.requires, one.implies, _extent(one)) for one in found]
    headings = ("dimension", "type", "requires", "implies", "has")
    call.answer(document, lambda: print_table(headings, rows, fold=("requires", "implies", "has")))


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


@ls.command("records")
@click.argument("element")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--where", metavar="TEXT", help="Expression over dimensions and their metadata.")
@on_repository
def records(call: Call, element: str, data_id: tuple[str, ...], where: str | None) -> None:
    """List the records of a dimension or relation.

    ELEMENT is its name, such as visit.
    """
    with call.open(readonly=True) as butler:
        given = parse_data_id(butler.dimensions, data_id)
        found = butler.query_dimension_records(element, where=where, **given)
        known = butler.dimensions.element(element)
    document = {"element": element, "records": [_record_document(record) for record in found]}
    used = {name for record in found for name, value in record.items() if value is not None}
    columns = [name for name in (found[0] if found else known.record_keys) if name in used or not found]
    rows = [[_shown(record[name]) for name in columns] for record in found]
    numbers = [name for name in columns if found and isinstance(found[0][name], (int, float))]
    call.answer(document, lambda: _show_records(columns, rows, numbers))


def _record_document(record: dict[str, object]) -> dict[str, object]:
    return {name: _field(value) for name, value in record.items()}


def _field(value: object) -> object:
    if isinstance(value, Timespan):
        begin, end = value.begin, value.end
        return [None if moment is None else f"{moment.isot}/tai" for moment in (begin, end)]
    return str(value) if isinstance(value, Region) else value


def _shown(value: object) -> object:
    if not isinstance(value, Timespan):
        return value
    begin, end = value.begin, value.end
    return f"{begin.isot if begin else '...'} to {end.isot if end else '...'} (TAI)"


def _show_records(columns: list[str], rows: list[list[object]], numbers: list[str]) -> None:
    print_table(columns, rows, right=numbers, fold=("region", "timespan"))
    print_text(f"{len(rows)} {'record' if len(rows) == 1 else 'records'}")


@click.command()
@on_repository
def destinations(call: Call) -> None:
    """List the destinations of a repository.

    These are the places that a policy or --to can name.
    """
    with call.open(readonly=True) as butler:
        found = butler.destinations()
    shown = [
        (one.name, one.kind, ", ".join(f"{key}={value}" for key, value in one.options.items()))
        for one in found
    ]
    documents = [{"name": one.name, "kind": one.kind, "options": dict(one.options)} for one in found]
    call.answer(
        {"destinations": documents},
        lambda: print_table(("destination", "kind", "options"), shown, fold=("options",)),
    )


ls.add_command(destinations)
