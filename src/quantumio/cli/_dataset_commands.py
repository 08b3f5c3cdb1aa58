"""Commands that put and get datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from quantumio.cli._arguments import names, parse_data_id
from quantumio.cli._call import (
    Call,
    as_of_option,
    collections_option,
    examples,
    on_repository,
    policy_option,
    version_option,
)
from quantumio.cli._documents import (
    LOCATION_HEADINGS,
    location_document,
    location_rows,
    ref_document,
)
from quantumio.cli._failures import check_failures, settle
from quantumio.cli._output import print_table, print_text
from quantumio.cli._references import find_ref, ref_text
from quantumio.cli._times import parse_moment
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Committed, DatasetRef, format_bytes

if TYPE_CHECKING:
    from quantumio.butler import Location

__all__ = ["get", "put"]


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
@version_option
@as_of_option
@collections_option
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
    as_of: str | None,
    collections: tuple[str, ...],
) -> None:
    """Read a dataset into a file, or see a summary of it.

    It is named by its dataset type and data ID, looked for in the collections in order, or by its ID. An
    OUTPUT with another ending gives another form: an image as .npy, a table as .ecsv.
    """
    from quantumio.cli._dataset_files import STANDARD_STREAM, check_target, plan_writing, write_file
    from quantumio.cli._summaries import show_summary, summarise

    chosen, where, moment = names(columns), names(collections), parse_moment(as_of)
    with call.open(readonly=True) as butler:
        ref = find_ref(butler, dataset, data_id, where, version, moment)

        def read(form: str | None) -> object:
            if moment is None:
                return butler.get(ref, as_=form, component=component, columns=chosen)
            # What was removed since then is not found by its ref.
            return butler.get(
                ref.dataset_type.name,
                ref.data_id,
                collections=where,
                version=version,
                as_of=moment,
                as_=form,
                component=component,
                columns=chosen,
            )

        document = ref_document(ref)
        if output is None:
            value = read(as_)
            summary = summarise(value)
            call.answer(document | {"summary": summary}, lambda: show_summary(summary))
            return
        storage_class = _part(ref, component)
        check_target(output, overwrite=overwrite)
        writing = plan_writing(output, storage_class, as_, format_)
        size = write_file(output, writing.encode(read(writing.form)), overwrite=overwrite)
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
