"""Commands that take in what another registry has exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import parse_pairs
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._output import print_table, print_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quantumio.butler import DimensionImport

__all__ = ["import_"]


@click.group("import")
def import_() -> None:
    """Import exports of the Rubin Data Butler.

    These are YAML files with dimension records, datasets and their collections. What is there already is left
    as it is, so that an import that was broken off can be done again.
    """


@import_.command("dimensions", epilog=examples("quantumio import dimensions hsc-rc2-subset.yaml"))
@click.argument("path", metavar="FILE")
@on_repository
def import_dimensions(call: Call, path: str) -> None:
    """Insert the dimension records of an export."""
    with call.open() as butler, call.busy(f"Importing {path}"):
        done = butler.import_dimensions(path)

    def show() -> None:
        _show("dimension", done.inserted, done.left_out)

    call.answer(_document(done), show)


@import_.command(
    "datasets",
    epilog=examples(
        "quantumio import datasets exported/export.yaml",
        "quantumio import datasets export.yaml --root /data/repo --transfer copy",
        "quantumio import datasets export.yaml --storage-class ExposureF=CCDData",
    ),
)
@click.argument("path", metavar="FILE")
@click.option(
    "--root", metavar="DIRECTORY", help="Where the paths of the export begin. Default: where it is itself."
)
@click.option(
    "--transfer",
    default="direct",
    show_default=True,
    metavar="HOW",
    help="direct (files stay where they are), copy, link (hard link), or move (removed after the commit).",
)
@click.option(
    "--storage-class",
    "storage_classes",
    multiple=True,
    metavar="THERE=HERE",
    help="What a storage class of the export is called here; again for more.",
)
@on_repository
def import_datasets(
    call: Call, path: str, root: str | None, transfer: str, storage_classes: tuple[str, ...]
) -> None:
    """Insert the datasets of an export, with what they need.

    Dimension records come first, then dataset types, runs and datasets, which keep their IDs, then tags,
    calibrations and chains.
    """
    given = parse_pairs(storage_classes)
    with call.open() as butler, call.busy(f"Importing {path}"):
        done = butler.import_datasets(path, root=root, transfer=transfer, storage_classes=given)
    document = {
        "dimensions": _document(done.dimensions),
        "inserted": dict(done.inserted),
        "left_out": list(done.left_out),
    }

    def show() -> None:
        _show("dimension", done.dimensions.inserted, done.dimensions.left_out)
        print_text("")
        _show("dataset type", done.inserted, done.left_out)

    call.answer(document, show)


def _document(done: DimensionImport) -> dict[str, object]:
    return {"inserted": dict(done.inserted), "left_out": list(done.left_out)}


def _show(heading: str, inserted: Mapping[str, int], left_out: Sequence[str]) -> None:
    print_table((heading, "new"), inserted.items(), right=("new",))
    if left_out:
        print_text(f"No place here for {', '.join(left_out)}.")
