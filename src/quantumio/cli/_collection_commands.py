"""Commands that say which datasets belong together, and when calibrations are valid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import names, parse_data_id, split_pairs, uuid_or_none
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.cli._references import REF_HEADINGS, ref_cells
from quantumio.cli._times import parse_timespan
from quantumio.errors import InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef

if TYPE_CHECKING:
    from quantumio.butler import Butler

__all__ = ["associate", "certify", "chain", "decertify", "disassociate", "matching", "remove_collection"]

_DATASETS = "DATASET_TYPE|ID... [KEY=VALUE]..."

_datasets_argument = click.argument("datasets", nargs=-1, required=True, metavar=_DATASETS)
_collections_option = click.option(
    "-c",
    "--collections",
    multiple=True,
    metavar="NAMES",
    help="Where the datasets are, in search order, with commas. Default: every run.",
)
_begin_option = click.option("--begin", metavar="TIME", help="From then on (UTC). Default: always.")
_end_option = click.option("--end", metavar="TIME", help="Until before then (UTC). Default: for ever.")


def matching(butler: Butler, datasets: tuple[str, ...], collections: list[str] | None) -> list[DatasetRef]:
    """Return the datasets that arguments name: by ID, or by dataset type and a (partial) data ID.

    Raises
    ------
    NotFoundError
        There is none.
    """
    words, pairs = split_pairs(datasets)
    given = parse_data_id(butler.dimensions, pairs)
    refs = [butler.ref(identity) for word in words if (identity := uuid_or_none(word)) is not None]
    dataset_types = [word for word in words if uuid_or_none(word) is None]
    if dataset_types:
        refs += butler.query(dataset_types, collections=collections, **given)
    elif pairs or not words:
        raise InvalidInputError("no dataset type was named", hint="write `bias detector=0`")
    if not refs:
        raise NotFoundError(
            f"there is no {' '.join(datasets)} in {', '.join(collections) if collections else 'any run'}",
            hint="look with `quantumio query`",
        )
    return refs


def _period(begin: str | None, end: str | None) -> str:
    return f"from {begin or 'always'} to {end or 'for ever'}"


def _answer(call: Call, collection: str, refs: list[DatasetRef], what: str) -> None:
    def show() -> None:
        print_table(REF_HEADINGS, map(ref_cells, refs), right=("version",), fold=("data ID", "run"))
        print_text(what)

    call.answer({"collection": collection, "datasets": [ref_document(ref) for ref in refs]}, show)


@click.command(
    epilog=examples(
        "quantumio certify calib bias instrument=ST8 -c u/ada/bias --begin 2025-06-24T00:00 --end 2025-07-01",
    )
)
@click.argument("collection")
@_datasets_argument
@_begin_option
@_end_option
@_collections_option
@on_repository
def certify(
    call: Call,
    collection: str,
    datasets: tuple[str, ...],
    begin: str | None,
    end: str | None,
    collections: tuple[str, ...],
) -> None:
    """Say when calibrations are valid.

    COLLECTION is a CALIBRATION collection; it is made where there is none.
    """
    timespan = parse_timespan(begin, end)
    with call.open() as butler:
        refs = matching(butler, datasets, names(collections))
        butler.certify(collection, refs, timespan.begin, timespan.end)
    _answer(call, collection, refs, f"Certified {len(refs)} in {collection}, {_period(begin, end)}.")


@click.command(
    epilog=examples(
        "quantumio decertify calib bias --begin 2025-06-26T00:00",
    )
)
@click.argument("collection")
@click.argument("dataset_type")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@_begin_option
@_end_option
@on_repository
def decertify(
    call: Call,
    collection: str,
    dataset_type: str,
    data_id: tuple[str, ...],
    begin: str | None,
    end: str | None,
) -> None:
    """End the validity of calibrations within a timespan.

    Of all calibrations of the dataset type, or only of those with the data ID. Validity that reaches beyond
    the timespan stays.
    """
    timespan = parse_timespan(begin, end)
    with call.open() as butler:
        given = parse_data_id(butler.dimensions, data_id)
        chosen = [DataId(given)] if given else None
        butler.decertify(collection, dataset_type, timespan.begin, timespan.end, data_ids=chosen)
    document = {"collection": collection, "dataset_type": dataset_type, "data_id": given}
    call.answer(
        document, lambda: print_text(f"Decertified {dataset_type} in {collection}, {_period(begin, end)}.")
    )


@click.command(
    epilog=examples(
        "quantumio associate paper/figure3 calexp visit=33 -c u/ada/isr",
    )
)
@click.argument("collection")
@_datasets_argument
@_collections_option
@on_repository
def associate(call: Call, collection: str, datasets: tuple[str, ...], collections: tuple[str, ...]) -> None:
    """Add datasets to a tag, all or none.

    COLLECTION is a TAGGED collection; it is made where there is none.
    """
    _tag(call, collection, datasets, names(collections), lambda butler: butler.associate, "Added {} to {}.")


@click.command(
    epilog=examples(
        "quantumio disassociate paper/figure3 calexp visit=33 -c paper/figure3",
    )
)
@click.argument("collection")
@_datasets_argument
@_collections_option
@on_repository
def disassociate(
    call: Call, collection: str, datasets: tuple[str, ...], collections: tuple[str, ...]
) -> None:
    """Take datasets out of a tag.

    COLLECTION is a TAGGED collection; datasets that are not in it are no error.
    """
    _tag(
        call,
        collection,
        datasets,
        names(collections),
        lambda butler: butler.disassociate,
        "Took {} out of {}.",
    )


def _tag(
    call: Call,
    collection: str,
    datasets: tuple[str, ...],
    collections: list[str] | None,
    method: Callable[[Butler], Callable[[str, list[DatasetRef]], None]],
    what: str,
) -> None:
    with call.open() as butler:
        refs = matching(butler, datasets, collections)
        method(butler)(collection, refs)
    _answer(call, collection, refs, what.format(len(refs), collection))


@click.command(
    epilog=examples(
        "quantumio chain best u/ada/isr raw/night1 calib",
        "quantumio chain best u/ada/isr2 --prepend",
    )
)
@click.argument("collection")
@click.argument("children", nargs=-1, required=True)
@click.option("--prepend", is_flag=True, help="Search them before those that are there.")
@click.option("--append", is_flag=True, help="Search them after those that are there.")
@click.option("--remove", is_flag=True, help="Take them out of the chain.")
@on_repository
def chain(call: Call, collection: str, children: tuple[str, ...], **edits: bool) -> None:
    """Define a chain: collections that are searched in order.

    COLLECTION becomes a CHAINED collection of its CHILDREN; again it gets new ones, or with one of the
    options it is edited.
    """
    given = names(children) or []
    edit, *others = [name for name, is_given in edits.items() if is_given] or ["set"]
    if others:
        raise InvalidInputError(f"--{edit} and --{others[0]} are two edits", hint="give one of them")
    with call.open() as butler:
        butler.chain(collection, given, edit=edit)
        searched = list(butler.collections(collection)[0].children)
    document = {"collection": collection, "children": searched}
    call.answer(document, lambda: print_text(f"{collection} searches {', '.join(searched) or 'nothing'}."))


@click.command(
    "remove-collection",
    epilog=examples(
        "quantumio remove-collection u/ada/trial",
        "quantumio remove-collection u/ada/trial --unlink --delete",
    ),
)
@click.argument("collection")
@click.option("--unlink", is_flag=True, help="Take it out of the chains that it is in.")
@click.option("--delete", is_flag=True, help="Do it; without, only tell what would be done.")
@on_repository
def remove_collection(call: Call, collection: str, unlink: bool, delete: bool) -> None:
    """Remove a collection; its members stay where they are.

    COLLECTION is a run without datasets, or a TAGGED, CALIBRATION or CHAINED collection.
    """
    with call.open() as butler:
        removal = butler.remove_collection(collection, unlink=unlink, dry_run=not delete)
    document = {
        "dry_run": removal.dry_run,
        "collection": removal.name,
        "kind": str(removal.kind),
        "members": removal.members,
        "chains": list(removal.chains),
    }
    out = f" and from {', '.join(removal.chains)}" if removal.chains else ""
    text = f"{'Would remove' if removal.dry_run else 'Removed'} the {removal.kind} collection {collection}"
    count = f" with {removal.members} member{'' if removal.members == 1 else 's'}"
    call.answer(document, lambda: print_text(f"{text}{count if removal.members else ''}{out}."))
