"""Commands that put and get datasets, and tell what is known of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from quantumio.cli._arguments import data_id_text, names, parse_data_id, uuid_or_none
from quantumio.cli._call import Call, examples, on_repository, policy_option
from quantumio.cli._documents import (
    LOCATION_HEADINGS,
    location_document,
    location_rows,
    ref_document,
    short_digest,
    version_document,
)
from quantumio.cli._failures import check_failures, settle
from quantumio.cli._output import print_pairs, print_table, print_text
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Committed, DatasetRef, format_bytes

if TYPE_CHECKING:
    from quantumio.butler import Butler, DatasetVersion, Location

__all__ = ["get", "put", "show", "versions"]

_collections_option = click.option(
    "-c", "--collections", multiple=True, metavar="NAMES", help="Where to look, in order, with commas."
)
_version_option = click.option("--version", type=int, metavar="N", help="Which version. Default: the latest.")


@click.command(
    epilog=examples(
        "quantumio put image.fits calexp instrument=ST8 visit=33 detector=0 --run u/ada/isr",
        "quantumio put notes.json summary instrument=ST8 visit=33 --run u/ada/isr --to local,archive",
    )
)
@click.argument("file")
@click.argument("dataset_type")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", required=True, metavar="RUN", help="RUN collection that it goes to.")
@click.option(
    "--to", multiple=True, metavar="NAMES", help="Destinations or policies, with commas. Default: by policy."
)
@click.option(
    "--expect", metavar="N", help="Version that must be the latest now; create: there must be none."
)
@click.option(
    "--key", metavar="TEXT", help="Commit once per run under this key; again tells what the first one did."
)
@click.option("--format", "format_", metavar="NAME", help="Format of the file. Default: by its ending.")
@policy_option
@on_repository
def put(
    call: Call,
    file: str,
    dataset_type: str,
    data_id: tuple[str, ...],
    run: str,
    to: tuple[str, ...],
    expect: str | None,
    key: str | None,
    format_: str | None,
    policy: str | None,
) -> None:
    """Put what is in a file.

    FILE is read in the format that its ending says (- is standard input), and becomes the next version of the
    dataset. The command ends when every destination has it. Files that are to stay as they are: see ingest.
    """
    from quantumio.cli._dataset_files import decode_file

    with call.open(run=run, policy=policy) as butler:
        given = parse_data_id(butler.dimensions, data_id)
        targets = names(to)
        if butler.explain_put(dataset_type, given, run=run, to=targets).is_temporary:
            raise InvalidInputError(
                f"{dataset_type!r} would be temporary, and gone when this command ends",
                hint="name a destination that keeps it: --to local",
                kind=ErrorKind.POLICY,
            )
        value = decode_file(file, butler.dataset_type(dataset_type).storage_class, format_)
        context = butler.context(run, key=key)
        with context:
            context.put(value, dataset_type, given, to=targets, expect=_expectation(expect))
        outcome = context.ticket.outcome
        assert isinstance(outcome, Committed)  # otherwise leaving the block has raised
        failures = settle(butler)
        (ref,) = outcome.refs
        where = butler.where_is(ref)
        document = ref_document(ref) | {
            "txid": str(outcome.txid),
            "reused": outcome.reused,
            "locations": [location_document(location) for location in where],
        }
        call.answer(document, lambda: _show_put(ref, outcome.reused, where))
    check_failures(failures)


def _expectation(text: str | None) -> int | Literal["create"] | None:
    if text is None or text == "create":
        return text  # type: ignore[return-value]  # mypy does not narrow a text to the literal
    if text.isascii() and text.isdecimal():
        return int(text)
    raise InvalidInputError(f"--expect {text}", hint="say create, or the number of a version")


def _show_put(ref: DatasetRef, reused: bool, where: list[Location]) -> None:
    what = "Was put already" if reused else "Put"
    print_text(f"{what}: {ref_text(ref)}  {ref.id}")
    print_table(LOCATION_HEADINGS, location_rows(where), right=("size",), fold=("url",))


def ref_text(ref: DatasetRef) -> str:
    """Return which dataset it is, in the words that the command line takes."""
    version = "" if ref.version is None else f", version {ref.version}"
    return f"{ref.dataset_type.name} {data_id_text(ref.data_id)} in {ref.run}{version}"


def find_ref(
    butler: Butler, dataset: str, data_id: tuple[str, ...], collections: list[str] | None, version: int | None
) -> DatasetRef:
    """Return the ref of the dataset that arguments name: by its UUID, or by dataset type and data ID.

    Raises
    ------
    NotFoundError
        There is none.
    InvalidInputError
        The data ID is wrong, or no collection says where to look.
    """
    identity = uuid_or_none(dataset)
    if identity is not None:
        if data_id or version is not None:
            raise InvalidInputError(
                f"{dataset} says which dataset and version it is already", hint="leave the rest out"
            )
        return butler.ref(identity)
    given = parse_data_id(butler.dimensions, data_id)
    found = butler.find(dataset, given, collections=collections, version=version)
    if found is None:
        butler.get(dataset, given, collections=collections, version=version)  # it knows why there is none
        raise AssertionError(f"{dataset} was found by get and not by find")
    return found


@click.command(
    epilog=examples(
        "quantumio get calexp instrument=ST8 visit=33 detector=0 -c u/ada/isr",
        "quantumio get source instrument=ST8 visit=33 -c u/ada/isr --columns ra,dec -o positions.ecsv",
    )
)
@click.argument("dataset", metavar="DATASET_TYPE|ID")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", metavar="FILE", help="Write it to this file, in the format that its ending says."
)
@click.option("--overwrite", is_flag=True, help="Write over the file.")
@click.option("--as", "as_", metavar="FORM", help="Form: native, astropy, pandas, arrow, polars, numpy.")
@click.option("--component", metavar="NAME", help="A part of it, such as wcs or mask.")
@click.option("--columns", multiple=True, metavar="NAMES", help="Columns of a table, with commas.")
@click.option("--format", "format_", metavar="NAME", help="Format of the file. Default: by its ending.")
@_version_option
@_collections_option
@on_repository
def get(
    call: Call,
    dataset: str,
    data_id: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    as_: str | None,
    component: str | None,
    columns: tuple[str, ...],
    format_: str | None,
    version: int | None,
    collections: tuple[str, ...],
) -> None:
    """Read a dataset into a file, or see a summary of it.

    It is named by its dataset type and data ID, looked for in the collections in order, or by its ID. An
    OUTPUT with another ending gives another form: an image as .npy, a table as .ecsv.
    """
    from quantumio.cli._dataset_files import STANDARD_STREAM, check_target, plan_writing, write_file
    from quantumio.cli._summaries import show_summary, summarise

    chosen = names(columns)
    with call.open(readonly=True) as butler:
        ref = find_ref(butler, dataset, data_id, names(collections), version)
        document = ref_document(ref)
        if output is None:
            value = butler.get(ref, as_=as_, component=component, columns=chosen)
            summary = summarise(value)
            call.answer(document | {"summary": summary}, lambda: show_summary(summary))
            return
        storage_class = _part(ref, component)
        check_target(output, overwrite=overwrite)
        writing = plan_writing(output, storage_class, as_, format_)
        value = butler.get(ref, as_=writing.form, component=component, columns=chosen)
        size = write_file(output, writing.encode(value), overwrite=overwrite)
    if output == STANDARD_STREAM:
        return
    document |= {"file": output, "format": writing.format.name, "size": size}
    call.answer(document, lambda: print_text(f"Wrote {ref_text(ref)} to {output} ({format_bytes(size)})."))


def _part(ref: DatasetRef, component: str | None) -> str:
    """Return the storage class of a dataset or of its component."""
    from quantumio.formats import InstalledFormats

    storage_class = ref.dataset_type.storage_class
    if component is None:
        return storage_class
    formats = InstalledFormats()
    components = formats.storage_class(storage_class).components
    if (part := components.get(component)) not in formats.storage_class_names():
        files = [name for name, kind in components.items() if kind in formats.storage_class_names()]
        raise InvalidInputError(
            f"{storage_class} has no component {component!r} that fits into a file",
            hint=f"there are {', '.join(files)}" if files else "leave --component out",
            kind=ErrorKind.COMPONENT,
        )
    assert part is not None
    return part


@click.command(
    epilog=examples(
        "quantumio show calexp instrument=ST8 visit=33 detector=0 -c u/ada/isr",
        "quantumio show 01971f5e-7c3a-7d2a-9d2c-0a1b2c3d4e5f --header",
    )
)
@click.argument("dataset", metavar="DATASET_TYPE|ID")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--header", is_flag=True, help="Write the cards of its header, too.")
@_version_option
@_collections_option
@on_repository
def show(
    call: Call,
    dataset: str,
    data_id: tuple[str, ...],
    header: bool,
    version: int | None,
    collections: tuple[str, ...],
) -> None:
    """Tell all about one dataset.

    What it is, its versions, where it is, and what is in it.
    """
    from quantumio.cli._summaries import header_cards, show_summary, summarise

    with call.open(readonly=True) as butler:
        ref = find_ref(butler, dataset, data_id, names(collections), version)
        known = butler.versions(ref.dataset_type.name, ref.data_id, run=ref.run)
        where = butler.where_is(ref)
        value = butler.get(ref)
    summary = summarise(value)
    cards = header_cards(value) if header else []
    document = {
        "ref": ref_document(ref),
        "storage_class": ref.dataset_type.storage_class,
        "versions": [version_document(one) for one in known],
        "locations": [location_document(one) for one in where],
        "summary": summary,
    }
    if header:
        document["header"] = [{"keyword": k, "value": v, "comment": c} for k, v, c in cards]

    def show_all() -> None:
        committed = next((one.committed for one in known if one.ref == ref), None)
        print_pairs(
            {
                "dataset type": ref.dataset_type.name,
                "data ID": data_id_text(ref.data_id),
                "run": ref.run,
                "version": _place(ref, known),
                "id": str(ref.id),
                "storage class": ref.dataset_type.storage_class,
                "committed": f"{committed:%Y-%m-%d %H:%M:%S} UTC" if committed else None,
            }
        )
        print_text("")
        print_table(LOCATION_HEADINGS, location_rows(where), right=("size",), fold=("url",))
        print_text("")
        show_summary(summary)
        if header:
            print_text("")
            print_table(
                ("keyword", "value", "comment"),
                [(k, str(v), c) for k, v, c in cards],
                fold=("value", "comment"),
            )

    call.answer(document, show_all)


@click.command(
    epilog=examples(
        "quantumio versions calexp instrument=ST8 visit=33 detector=0 --run u/ada/isr",
    )
)
@click.argument("dataset_type")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", metavar="RUN", help="RUN collection. Default: every run that has it.")
@on_repository
def versions(call: Call, dataset_type: str, data_id: tuple[str, ...], run: str | None) -> None:
    """List the versions of a dataset.

    The oldest comes first.
    """
    with call.open(readonly=True) as butler:
        found = butler.versions(dataset_type, parse_data_id(butler.dimensions, data_id), run=run)
    document = {"versions": [version_document(one) for one in found]}
    call.answer(document, lambda: _show_versions(found))


def _place(ref: DatasetRef, known: list[DatasetVersion]) -> str:
    """Return the number of a version, and where it stands among the others."""
    latest = known[-1].ref.version if known else ref.version
    return (
        f"{ref.version} (the latest)" if ref.version == latest else f"{ref.version} (the latest is {latest})"
    )


def _show_versions(found: list[DatasetVersion]) -> None:
    if not found:
        print_text("There is no version.")
        return
    print_table(
        ("run", "version", "committed (UTC)", "size", "destinations", "digest", "id"),
        [
            (
                one.ref.run,
                one.ref.version,
                one.committed,
                format_bytes(one.size),
                one.destinations,
                short_digest(one.digest),
                one.ref.id,
            )
            for one in found
        ],
        right=("version", "size"),
    )
