"""Commands that make a repository, say what it knows, and tell how it is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import click

from quantumio.cli._arguments import names, split_pairs
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import dataset_type_document, failure_document
from quantumio.cli._failures import check_failures
from quantumio.cli._output import print_pairs, print_table, print_text
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, format_bytes
from quantumio.ports import CollectionKind

__all__ = ["create", "insert_dimension", "register", "status", "upgrade"]

_SET_ASIDE: Final = ("conflict", "quarantined")  # actions of what goes on no more until somebody decides
_AND_UNKNOWN: Final = ", and what is in the journal"


@click.command(
    epilog=examples(
        "quantumio create night1",
        "quantumio create night1 --config survey.toml",
    )
)
@click.argument("root", required=False)
@click.option(
    "--config", metavar="FILE", type=click.Path(), help="TOML file with destinations, policies and rules."
)
@click.option(
    "--registry", metavar="URL", help="Database of the registry. Default: SQLite in the repository."
)
@click.option(
    "--dimensions", metavar="FILE", type=click.Path(), help="TOML file with tables [dimensions.NAME] to add."
)
@on_repository
def create(
    call: Call, root: str | None, config: str | None, registry: str | None, dimensions: str | None
) -> None:
    """Make a repository.

    ROOT is a directory; it is made where there is none. Its butler.toml holds the settings.
    """
    from quantumio.butler import Butler

    chosen = root or (call.repositories[0] if call.repositories else None)
    if chosen is None:
        raise InvalidInputError("no directory was named", hint="write `quantumio create PATH`")
    added = None if dimensions is None else _dimension_tables(dimensions)
    with Butler.create(chosen, config, registry=registry, dimensions=added) as butler:
        known = list(butler.dimensions.names)
    path = str(Path(chosen).absolute())
    document = {"repository": path, "config": str(Path(path, "butler.toml")), "dimensions": known}
    call.answer(document, lambda: print_text(f"Created the repository {chosen}."))


@click.command(epilog=examples("quantumio upgrade -r night1"))
@click.option("--force", is_flag=True, help="Also while processes work with it.")
@on_repository
def upgrade(call: Call, force: bool) -> None:
    """Bring an older repository up to date.

    Make a backup of its registry first: an older quantumio cannot use it any more. And end every process that
    has it open: from then on it can neither read nor write it. What it cannot commit it keeps in the journal,
    and who opens the repository next carries on.
    """
    from quantumio.butler import Butler

    for root in call.roots:
        Butler.upgrade(root, force=force)
    call.answer({"repositories": call.roots}, lambda: print_text(f"{', '.join(call.roots)}: up to date."))


def _dimension_tables(path: str) -> dict[str, dict[str, object]]:
    from quantumio.cli._dataset_files import read_file

    try:
        tables = tomllib.loads(read_file(path).decode())
    except ValueError as error:
        raise InvalidInputError(
            f"{path} is no TOML: {error}", hint="correct the file", kind=ErrorKind.DIMENSION
        ) from error
    found = tables.get("dimensions")
    if not isinstance(found, dict):
        raise InvalidInputError(
            f"{path} has no table [dimensions.NAME]", hint="add one", kind=ErrorKind.DIMENSION
        )
    return found


@click.command(
    epilog=examples(
        "quantumio register calexp -d instrument,visit,detector -s CCDData",
        "quantumio register bias -d instrument,detector -s CCDData",
    )
)
@click.argument("name")
@click.option(
    "-d",
    "--dimensions",
    multiple=True,
    metavar="NAMES",
    help="Dimensions of its data IDs, with commas. Those that they require are added.",
)
@click.option(
    "-s", "--storage-class", required=True, metavar="NAME", help="What it is in Python, e.g. CCDData."
)
@on_repository
def register(call: Call, name: str, dimensions: tuple[str, ...], storage_class: str) -> None:
    """Register a dataset type.

    It is a name, the dimensions of its data IDs, and a storage class: what its datasets are in Python. Again
    with the same definition it is no error; another definition of the name is a conflict.
    """
    with call.open() as butler:
        given = DatasetType(name, dimensions=names(dimensions) or [], storage_class=storage_class)
        is_new = butler.register_dataset_type(given)
        known = butler.dataset_type(name)
    document = {"dataset_type": dataset_type_document(known), "new": is_new}
    keys = ", ".join(known.dimensions) or "no dimensions"
    what = "Registered" if is_new else "Was registered already:"
    call.answer(document, lambda: print_text(f"{what} {known.name} ({keys}) as {known.storage_class}."))


@click.command(
    "insert-dimension",
    epilog=examples(
        "quantumio insert-dimension visit visits.csv",
        "quantumio insert-dimension instrument instrument=ST8",
    ),
)
@click.argument("element")
@click.argument("records", nargs=-1, required=True, metavar="FILE... | FIELD=VALUE...")
@on_repository
def insert_dimension(call: Call, element: str, records: tuple[str, ...]) -> None:
    """Insert dimension records, all or none.

    ELEMENT is a dimension (visit) or a relation (visit_definition). The records come from FILEs (.json,
    .jsonl, .yaml, .csv; - is JSON on standard input), or one of them from the arguments. A timespan is a pair
    of moments in UTC (2025-06-24T03:16:00; TAI with /tai behind); in CSV, and as arguments, the fields
    timespan_begin and timespan_end. A region is IVOA POS text in degrees, such as "CIRCLE 10 2 0.5".
    """
    from quantumio.cli._record_files import read_records, record_of_pairs

    paths, pairs = split_pairs(records)
    with call.open() as butler:
        rows = [record for path in paths for record in read_records(path, element, butler.dimensions)]
        if pairs:
            rows.append(record_of_pairs(pairs, element, butler.dimensions))
        new = butler.insert_dimension(element, rows)
    document = {"element": element, "new": new, "known": len(rows) - new}
    rest = f"; {len(rows) - new} were there already" if new < len(rows) else ""
    records_ = "record" if new == 1 else "records"
    call.answer(document, lambda: print_text(f"Inserted {new} {records_} of {element}{rest}."))


@click.command()
@on_repository
def status(call: Call) -> None:
    """Tell what there is, what is pending, and what failed.

    The exit code is not 0 while there are failures that nobody acknowledged.
    """
    found = [
        _status_of(Call(repositories=call.repositories and (root,), as_json=call.as_json), root)
        for root in call.roots
    ]
    documents = [document for document, _ in found]
    call.answer({"repositories": documents}, lambda: _show_status(documents))
    for _, failures in found:
        check_failures(failures)


def _status_of(call: Call, root: str) -> tuple[dict[str, object], list[Exception]]:
    from quantumio.cli._failures import failures_of

    with call.open(readonly=True) as butler:
        kinds = [record.kind for record in butler.collections()]
        (runtime,) = butler.status()
        errors = butler.errors()
        items = butler.unfinished()
        unreadable = [item.detail for item in items if item.txid is None]
        aside = [] if unreadable else butler.set_aside()
        left = {item.txid for item in items if item.action in _SET_ASIDE}
        pending = {item.txid: None for item in items if item.txid not in {None, *left}}
        document: dict[str, object] = {
            "repository": root,
            "dataset_types": len(butler.dataset_types()),
            "collections": {str(kind): kinds.count(kind) for kind in CollectionKind},
            "datasets": butler.query(versions="latest").count(),
            "versions": butler.query(versions="all").count(),
            "pending": [*map(str, pending)],
            "set_aside": {"transactions": len(aside), "size": sum(one.nbytes for one in aside)}
            if not unreadable
            else None,
            "unreadable": unreadable,
            "buffer_used_bytes": runtime.buffer_used_bytes,
            "buffer_max_bytes": runtime.buffer_max_bytes,
            "errors": [failure_document(entry) for entry in errors],
        }
        return document, failures_of(errors)


def _show_status(documents: list[dict[str, object]]) -> None:
    for document in documents:
        collections, pending, errors = document["collections"], document["pending"], document["errors"]
        assert isinstance(collections, dict)
        assert isinstance(pending, list)
        assert isinstance(errors, list)
        used, most = document["buffer_used_bytes"], document["buffer_max_bytes"]
        assert isinstance(used, int)
        assert isinstance(most, int)
        counts = ", ".join(f"{count} {kind}" for kind, count in collections.items() if count)
        print_pairs(
            {
                "repository": document["repository"],
                "dataset types": document["dataset_types"],
                "collections": counts or "none",
                "datasets": f"{document['datasets']} ({document['versions']} versions)",
                "buffer": f"{format_bytes(used)} of {format_bytes(most)}",
                "pending": f"{len(pending)}{_AND_UNKNOWN * bool(document['unreadable'])}",
                "set aside": _set_aside(document["set_aside"]),
                "errors": len(errors),
            }
        )
        if errors:
            print_table(
                ("failure", "destination", "transaction"),
                [(one["message"], one["destination"], one["txid"]) for one in errors],
                fold=("failure",),
            )


def _set_aside(found: object) -> str:
    if not isinstance(found, dict):
        return "not known: this user may not look into the journal"
    if not found["transactions"]:
        return "0"
    return (
        f"{found['transactions']}, {format_bytes(found['size'])} kept in the journal (see quantumio pending)"
    )
