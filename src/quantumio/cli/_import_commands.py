"""Commands that take in what another registry has exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import parse_pairs
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._output import print_table, print_text
from quantumio.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quantumio.butler import DatasetImport, DimensionImport

__all__ = ["import_"]


@click.group("import")
def import_() -> None:
    """Import exports of the Rubin Data Butler.

    These are YAML files with dimension records, datasets and their collections. What is there already is left
    as it is, so that an import that was broken off can be done again.
    """


_dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Insert nothing; tell what would be inserted, what is there already, and what would be refused.",
)


@import_.command(
    "dimensions",
    epilog=examples(
        "quantumio import dimensions hsc-rc2-subset.yaml",
        "quantumio import dimensions hsc-rc2-subset.yaml --dry-run",
    ),
)
@click.argument("path", metavar="FILE")
@_dry_run_option
@on_repository
def import_dimensions(call: Call, path: str, dry_run: bool) -> None:
    """Insert the dimension records of an export."""
    with call.open(readonly=dry_run) as butler, call.busy(f"Importing {path}"):
        done = butler.import_dimensions(path, dry_run=dry_run)

    def show() -> None:
        _show("dimension", done)

    call.answer(_document(done), show)
    _check_refused(path, done.refused)


@import_.command(
    "datasets",
    epilog=examples(
        "quantumio import datasets exported/export.yaml",
        "quantumio import datasets exported/export.yaml --dry-run",
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
@_dry_run_option
@on_repository
def import_datasets(
    call: Call, path: str, root: str | None, transfer: str, storage_classes: tuple[str, ...], dry_run: bool
) -> None:
    """Insert the datasets of an export, with what they need.

    Dimension records come first, then dataset types, runs and datasets, which keep their IDs, then tags,
    calibrations and chains.
    """
    given = parse_pairs(storage_classes)
    with call.open(readonly=dry_run) as butler, call.busy(f"Importing {path}"):
        done = butler.import_datasets(
            path, root=root, transfer=transfer, storage_classes=given, dry_run=dry_run
        )
    document = {
        "dimensions": _document(done.dimensions),
        **_document(done),
        "dataset_types": list(done.dataset_types),
        "collections": list(done.collections),
        "members": dict(done.members),
    }

    def show() -> None:
        _show("dimension", done.dimensions)
        print_text("")
        _show("dataset type", done)
        if done.members:
            print_text("")
            print_table(("collection", "new members"), done.members.items(), right=("new members",))
        for what, names in (("Dataset types", done.dataset_types), ("Collections", done.collections)):
            if names:
                print_text(f"{what} that {'would be' if dry_run else 'are'} new: {', '.join(names)}.")

    call.answer(document, show)
    _check_refused(path, (*done.dimensions.refused, *done.refused))


def _document(done: DimensionImport | DatasetImport) -> dict[str, object]:
    return {
        "dry_run": done.dry_run,
        "inserted": dict(done.inserted),
        "there": dict(done.there),
        "left_out": list(done.left_out),
        "refused": list(done.refused),
    }


def _show(heading: str, done: DimensionImport | DatasetImport) -> None:
    new = "would be new" if done.dry_run else "new"
    rows = ((name, number, done.there[name]) for name, number in done.inserted.items())
    print_table((heading, new, "there"), rows, right=(new, "there"))
    if done.left_out:
        print_text(f"No place here for {', '.join(done.left_out)}.")


def _check_refused(path: str, refused: Sequence[str]) -> None:
    """End with the exit code of a conflict where a dry run found what would be refused.

    Raises
    ------
    ConflictError
        Names it.
    """
    if not refused:
        return
    error = ConflictError(
        f"the import of {path} would be refused for {len(refused)} reason{'s' if refused[1:] else ''}",
        hint="mend the export, or import it into another repository",
    )
    for reason in refused:
        error.add_note(reason)
    raise error
