"""The command that makes existing files datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from quantumio.cli._arguments import data_id_text, parse_data_id, split_pairs
from quantumio.cli._call import Call, examples, on_repository, policy_option
from quantumio.cli._documents import ref_document
from quantumio.cli._failures import check_failures, settle
from quantumio.cli._file_patterns import FilePattern, split_list
from quantumio.cli._output import print_table, print_text
from quantumio.errors import FormatError, InvalidInputError
from quantumio.model import DatasetRef, DimensionUniverse

if TYPE_CHECKING:
    from quantumio.butler import IngestReport

__all__ = ["ingest"]


@click.command(
    epilog=examples(
        "quantumio ingest bias-001.fit raw instrument=ST8 detector=0 exposure=1 --run raw/night1",
        "quantumio ingest UB17-???.fit raw detector=0 --pattern UB17-{exposure}.fit --run raw/night1",
        "quantumio ingest raw --list files.csv --run raw/night1 --transfer direct",
        "quantumio ingest raw instrument=ST8 --table files.parquet --run raw/night1 --transfer direct",
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
@click.option(
    "--table",
    metavar="FILE",
    type=click.Path(),
    help="Any number of files: a table (.parquet, .arrow, .ecsv, .csv) with the column uri, one for each "
    "dimension, and size, digest and format where they are known.",
)
@click.option(
    "--token", metavar="TEXT", help="With --table: makes another ingest of it, of further versions."
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
    table: str | None,
    token: str | None,
    policy: str | None,
) -> None:
    """Make existing files datasets, all or none.

    Every file is read and checked before anything is changed. The KEY=VALUEs hold for all files; what
    differs is taken from the names by --pattern, or from a --list. Each file's bytes are kept as they are.

    The files of a --table are committed in chunks, and those that stay where they are (--transfer direct) are
    not read. What was broken off goes on where it ended when the command is given again.
    """
    words, pairs = split_pairs(arguments)
    paths, dataset_type = words[:-1], words[-1] if words else ""
    if table is not None:
        if paths or pattern is not None or list_ is not None:
            raise InvalidInputError(
                "a table names all files itself", hint="leave FILE, --pattern and --list out, or --table"
            )
        _ingest_table(call, table, dataset_type, pairs, run, transfer, format_, token, policy)
        return
    if token is not None:
        raise InvalidInputError("--token is for a table of files", hint="leave it out, or give --table")
    with call.open(run=run, policy=policy) as butler:
        given = parse_data_id(butler.dimensions, pairs)
        files = _files(paths, pattern, list_, butler.dimensions)
        with call.busy(f"Ingesting {len(files)} files"):
            refs = butler.ingest(files, dataset_type, given, run=run, transfer=transfer, format=format_)
        failures = settle(butler)
        document = {"run": run, "transfer": transfer, "datasets": [ref_document(ref) for ref in refs]}
        call.answer(document, lambda: _show_ingested(files, refs, run))
    check_failures(failures)


def _ingest_table(
    call: Call,
    path: str,
    dataset_type: str,
    pairs: list[str],
    run: str,
    transfer: str,
    format_: str | None,
    token: str | None,
    policy: str | None,
) -> None:
    from quantumio.cli._dataset_files import read_file
    from quantumio.formats import read_table

    with call.open(run=run, policy=policy) as butler:
        universe = butler.dimensions
        given = parse_data_id(universe, pairs)
        kinds = {name: str(universe[name].key) for name in butler.dataset_type(dataset_type).dimensions}
        try:
            files: Any = read_table(path, read_file(path), kinds | _KINDS)
        except FormatError as error:
            error.message = f"{path}: {error.message}"
            raise
        with call.progress("ingested") as tell:
            report = butler.ingest(
                files,
                dataset_type,
                given,
                run=run,
                transfer=transfer,
                format=format_,
                token=token,
                progress=None if tell is None else lambda event: tell(event.done, event.total),
            )
        failures = settle(butler)
        document = {
            "run": run,
            "transfer": transfer,
            "rows": report.rows,
            "resumed": report.resumed,
            "deleted": report.deleted,
            "chunks": report.chunks,
            "unknown_digests": report.unknown_digests,
            "longest_hold_s": report.longest_hold_s,
            "token": report.token,
        }
        call.answer(document, lambda: _show_report(report, run))
    check_failures(failures)


_KINDS: Final = {"uri": "str", "size": "int", "digest": "str", "format": "str"}
"""Columns of a table of files besides dimensions."""


def _show_report(report: IngestReport, run: str) -> None:
    print_text(f"Ingested {report.rows - report.resumed} of {report.rows} files into {run}.")
    if report.resumed:
        there = f"{report.resumed} were there already, from an ingest of the same table"
        if report.deleted:
            were = "was" if report.deleted == 1 else "were"
            there += (
                f"; {report.deleted} of these {were} deleted since: give --token to ingest the table anew"
            )
        print_text(f"{there}.")
    if report.unknown_digests:
        print_text(
            f"Of {report.unknown_digests} the digest is not known: nobody can tell later "
            "whether their bytes are still the same."
        )


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
