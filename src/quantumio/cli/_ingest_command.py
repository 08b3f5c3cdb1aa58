"""The command that makes existing files datasets."""

from __future__ import annotations

from collections.abc import Sequence

import click

from quantumio.cli._arguments import data_id_text, parse_data_id, split_pairs
from quantumio.cli._call import Call, examples, on_repository, policy_option
from quantumio.cli._documents import ref_document
from quantumio.cli._failures import check_failures, settle
from quantumio.cli._file_patterns import FilePattern, split_list
from quantumio.cli._output import print_table, print_text
from quantumio.errors import InvalidInputError
from quantumio.model import DatasetRef, DimensionUniverse

__all__ = ["ingest"]


@click.command(
    epilog=examples(
        "quantumio ingest bias-001.fit raw instrument=ST8 detector=0 exposure=1 --run raw/night1",
        "quantumio ingest UB17-???.fit raw detector=0 --pattern UB17-{exposure}.fit --run raw/night1",
        "quantumio ingest raw --list files.csv --run raw/night1 --transfer direct",
    )
)
@click.argument("arguments", nargs=-1, required=True, metavar="FILE... DATASET_TYPE [KEY=VALUE]...")
@click.option("--run", required=True, metavar="RUN", help="RUN collection that they go to.")
@click.option(
    "--transfer",
    default="copy",
    show_default=True,
    metavar="HOW",
    help="copy, link (hard link), move (removed after the commit), or direct (the file stays where it is).",
)
@click.option("--format", "format_", metavar="NAME", help="Format of the files. Default: by their ending.")
@click.option(
    "--pattern",
    metavar="PATTERN",
    help="Where in the names the data IDs are, e.g. UB17-{exposure}.fit; an asterisk stands for anything.",
)
@click.option(
    "--list",
    "list_",
    metavar="FILE",
    type=click.Path(),
    help="List of files (.csv, .json, .jsonl, .yaml): records with the field path, and the data ID of each.",
)
@policy_option
@on_repository
def ingest(
    call: Call,
    arguments: tuple[str, ...],
    run: str,
    transfer: str,
    format_: str | None,
    pattern: str | None,
    list_: str | None,
    policy: str | None,
) -> None:
    """Make existing files datasets, all or none.

    Every file is read and checked before anything is changed. The KEY=VALUEs hold for all files; what
    differs is taken from the names by --pattern, or from a --list. Each file's bytes are kept as they are.
    """
    words, pairs = split_pairs(arguments)
    paths, dataset_type = words[:-1], words[-1] if words else ""
    with call.open(run=run, policy=policy) as butler:
        given = parse_data_id(butler.dimensions, pairs)
        files = _files(paths, pattern, list_, butler.dimensions)
        with call.busy(f"Ingesting {len(files)} files"):
            refs = butler.ingest(files, dataset_type, given, run=run, transfer=transfer, format=format_)
        failures = settle(butler)
        document = {"run": run, "transfer": transfer, "datasets": [ref_document(ref) for ref in refs]}
        call.answer(document, lambda: _show_ingested(files, refs, run))
    check_failures(failures)


def _files(
    paths: Sequence[str], pattern: str | None, list_: str | None, universe: DimensionUniverse
) -> list[tuple[str, dict[str, object]]]:
    """Return each file with the part of its data ID that is its own.

    Raises
    ------
    InvalidInputError
        No file was named, or a name or a record says no data ID.
    """
    from quantumio.cli._record_files import read_rows

    matcher = None if pattern is None else FilePattern(pattern, universe)
    files = [(path, matcher.data_id(path) if matcher else {}) for path in paths]
    if list_ is not None:
        files += split_list(read_rows(list_), universe, list_)
    if not files:
        raise InvalidInputError(
            "no file was named",
            hint="files come first, then the dataset type: `quantumio ingest FILE... DATASET_TYPE key=value`",
        )
    return files


def _show_ingested(
    files: Sequence[tuple[str, dict[str, object]]], refs: Sequence[DatasetRef], run: str
) -> None:
    rows = [
        (path, ref.dataset_type.name, data_id_text(ref.data_id), ref.version)
        for (path, _), ref in zip(files, refs, strict=True)
    ]
    print_table(
        ("file", "dataset type", "data ID", "version"), rows, right=("version",), fold=("file", "data ID")
    )
    print_text(f"Ingested {len(refs)} {'file' if len(refs) == 1 else 'files'} into {run}.")
