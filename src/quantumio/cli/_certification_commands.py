"""The command that lists when calibrations are valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import names, parse_data_id, split_pairs
from quantumio.cli._call import Call, as_of_option, examples
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.cli._references import REF_HEADINGS, ref_cells
from quantumio.cli._tables import TableAnswer, on_repository_with_table, ref_columns, ref_values, row_batches
from quantumio.cli._times import moment_texts, parse_moment, parse_timespan
from quantumio.model import Timespan

if TYPE_CHECKING:
    from quantumio.ports import MemberRecord

__all__ = ["certifications"]

_BEGIN, _END = "timespan_begin", "timespan_end"


@click.command(
    "certifications",
    epilog=examples(
        "quantumio certifications calib",
        "quantumio certifications calib flat detector=3 --begin 2025-06-24 --end 2025-06-25",
        "quantumio certifications calib --as-of paper/DR1 -o calib.csv",
    ),
)
@click.argument("collections", metavar="COLLECTIONS")
@click.argument("arguments", nargs=-1, metavar="[DATASET_TYPE]... [KEY=VALUE]...")
@click.option("--begin", metavar="TIME", help="What is valid then or later (UTC). Default: always.")
@click.option("--end", metavar="TIME", help="What is valid before then (UTC). Default: for ever.")
@as_of_option
@on_repository_with_table
def certifications(
    call: Call,
    answer: TableAnswer,
    collections: str,
    arguments: tuple[str, ...],
    begin: str | None,
    end: str | None,
    as_of: str | None,
) -> None:
    """List when calibrations are valid.

    COLLECTIONS are names or globs of CALIBRATION collections, with commas, or of chains that search some.
    Begin and end are told in TAI, as certify reads them.
    """
    types, pairs = split_pairs(arguments)
    timespan = parse_timespan(begin, end)
    is_any = timespan == Timespan()
    with call.open(readonly=True) as butler:
        universe = butler.dimensions
        found = list(
            butler.certifications(
                names((collections,)) or (),
                types or "*",
                parse_data_id(universe, pairs),
                begin=None if is_any else timespan.begin,
                end=None if is_any else timespan.end,
                as_of=parse_moment(as_of),
            )
        )
    columns = ref_columns(universe, (one.ref for one in found))
    headings = ("collection", *REF_HEADINGS, "begin (TAI)", "end (TAI)")

    def show() -> None:
        rows = ((one.collection, *ref_cells(one.ref), *_shown(one)) for one in found)
        print_table(headings, rows, right=("version",), fold=("collection", "data ID", "run"))
        print_text(f"{len(found)} {'certification' if len(found) == 1 else 'certifications'}")

    answer.write(
        {"certifications": (_document(one) for one in found), "count": len(found)},
        show,
        row_batches(
            {"collection": "str", **columns, _BEGIN: "str", _END: "str"},
            ((one.collection, *ref_values(one.ref, columns), *_texts(one)) for one in found),
        ),
    )


def _texts(one: MemberRecord) -> tuple[str | None, str | None]:
    return moment_texts(one.timespan or Timespan())


def _shown(one: MemberRecord) -> list[str | None]:
    return [None if text is None else text.removesuffix("/tai") for text in _texts(one)]


def _document(one: MemberRecord) -> dict[str, object]:
    return {
        "collection": one.collection,
        "dataset": ref_document(one.ref),
        "timespan": list(_texts(one)),
    }
