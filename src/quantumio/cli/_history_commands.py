"""Commands that tell of the past, and that delete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from quantumio.cli._arguments import names
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._collection_commands import matching
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.cli._references import REF_HEADINGS, ref_cells, ref_text
from quantumio.cli._tables import TableAnswer, on_repository_with_table, ref_columns, ref_values, row_batches
from quantumio.model import format_bytes

if TYPE_CHECKING:
    from quantumio.ports import LineageEntry

__all__ = ["delete", "lineage"]

_datasets_argument = click.argument(
    "datasets", nargs=-1, required=True, metavar="DATASET_TYPE|ID... [KEY=VALUE]..."
)
_collections_option = click.option(
    "-c", "--collections", multiple=True, metavar="NAMES", help="Where to look. Default: every run."
)


@click.command(
    epilog=examples(
        "quantumio lineage calexp visit=33 -c u/ada/isr",
        "quantumio lineage raw exposure=33 --down --depth 1",
    )
)
@_datasets_argument
@_collections_option
@click.option("--down", is_flag=True, help="What was made from them; without, from what they were made.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="At most so many contexts away.")
@on_repository_with_table
def lineage(
    call: Call,
    answer: TableAnswer,
    datasets: tuple[str, ...],
    collections: tuple[str, ...],
    down: bool,
    depth: int | None,
) -> None:
    """Tell from what datasets were made, or what from them."""
    with call.open(readonly=True) as butler:
        refs = matching(butler, datasets, names(collections))
        found = [(ref, butler.lineage(ref, "down" if down else "up", depth=depth)) for ref in refs]
        universe = butler.dimensions
    document = {
        "direction": "down" if down else "up",
        "datasets": [
            ref_document(ref) | {"lineage": [_entry_document(one) for one in of.entries]} for ref, of in found
        ],
    }
    columns = ref_columns(universe, (one.ref for _, of in found for one in of.entries if one.ref is not None))
    rows = (
        (str(ref.id), one.level, one.status, str(one.via), *_entry_values(one, columns))
        for ref, of in found
        for one in of.entries
    )

    def show() -> None:
        for number, (ref, of) in enumerate(found):
            if number:
                print_text("")
            print_text(f"{ref_text(ref)}:")
            if not of.entries:
                print_text(
                    "  Nothing was made from it." if down else "  It was made from nothing that is known."
                )
                continue
            print_table(
                ("level", *REF_HEADINGS, "status"),
                (_row(one) for one in of.entries),
                right=("level", "version"),
                fold=("data ID", "run"),
            )

    answer.write(
        document,
        show,
        row_batches({"of": "str", "level": "int", "status": "str", "via": "str", **columns}, rows),
    )


def _entry_document(entry: LineageEntry) -> dict[str, Any]:
    return {
        "level": entry.level,
        "id": str(entry.id),
        "via": str(entry.via),
        "status": entry.status,
        "ref": None if entry.ref is None else ref_document(entry.ref),
    }


def _entry_values(entry: LineageEntry, columns: Iterable[str]) -> list[object]:
    if entry.ref is None:
        return [str(entry.id) if name == "id" else None for name in columns]
    return ref_values(entry.ref, columns)


def _row(entry: LineageEntry) -> tuple[object, ...]:
    if entry.ref is None:
        return entry.level, "", str(entry.id), "", "", entry.status
    return (entry.level, *ref_cells(entry.ref), entry.status)


@click.command(
    epilog=examples(
        "quantumio delete calexp visit=33 -c u/ada/trial",
        "quantumio delete calexp visit=33 -c u/ada/trial --delete",
    )
)
@_datasets_argument
@_collections_option
@click.option(
    "--unlink", is_flag=True, help="Take them out of the tags and calibration collections that they are in."
)
@click.option("--delete", "really", is_flag=True, help="Do it; without, only tell what would be done.")
@on_repository
def delete(
    call: Call, datasets: tuple[str, ...], collections: tuple[str, ...], unlink: bool, really: bool
) -> None:
    """Delete datasets, all or none.

    Nobody finds them from then on; gc removes their bytes after its grace.
    """
    with call.open() as butler:
        refs = matching(butler, datasets, names(collections))
        done = butler.delete(refs, unlink=unlink, dry_run=not really)
    document = {
        "dry_run": done.dry_run,
        "datasets": [ref_document(ref) for ref in done.refs],
        "collections": list(done.collections),
        "objects": done.objects,
        "size": done.nbytes,
    }

    def show() -> None:
        print_table(
            REF_HEADINGS,
            (ref_cells(ref) for ref in done.refs),
            right=("version",),
            fold=("data ID", "run"),
        )
        what = (
            f"{len(done.refs)}, and out of {', '.join(done.collections)}"
            if done.collections
            else len(done.refs)
        )
        objects = f"{done.objects} objects ({format_bytes(done.nbytes)}) to the trash"
        print_text(f"{'Would delete' if done.dry_run else 'Deleted'} {what}; {objects}.")

    call.answer(document, show)
