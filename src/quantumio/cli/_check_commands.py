"""Commands that check what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import names
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.errors import DestinationError, ErrorKind

if TYPE_CHECKING:
    from quantumio.engine import FsckFinding, FsckProgress, FsckReport

__all__ = ["fsck", "scrub"]

_repair_option = click.option("--repair", is_flag=True, help="Put whole copies in the place of what is not.")
_collections_option = click.option(
    "-c", "--collections", multiple=True, metavar="NAMES", help="What to check. Default: all runs."
)


@click.command(
    epilog=examples(
        "quantumio fsck",
        "quantumio fsck --level 2 --repair",
    )
)
@click.option(
    "--level",
    type=click.IntRange(0, 3),
    default=1,
    show_default=True,
    metavar="N",
    help="0: the registry; 1: sizes; 2: digests; 3: read everything.",
)
@_repair_option
@click.option(
    "--lost",
    multiple=True,
    metavar="DESTINATION",
    help="Its store is lost for good, and begins anew. With --repair.",
)
@_collections_option
@on_repository
def fsck(call: Call, level: int, repair: bool, lost: tuple[str, ...], collections: tuple[str, ...]) -> None:
    """Check whether what is registered exists, and is whole.

    Without --repair nothing is changed. With it, what is missing or damaged is copied from another
    destination; nothing is ever deleted or overwritten. It fails if something is still wrong at the end.

    A store that is not there is taken for one that is not mounted, unless --lost names its destination.
    """
    with call.open(readonly=not repair) as butler, call.progress("checked") as tell:
        report = butler.fsck(
            level, collections=names(collections), repair=repair, lost=lost, progress=_told(tell)
        )
    _finish(call, report)


@click.command(
    epilog=examples(
        "quantumio scrub",
        "quantumio scrub --part 3 --repair",
    )
)
@click.option(
    "--parts",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    metavar="N",
    help="In how many parts the datasets are divided.",
)
@click.option(
    "--part", type=click.IntRange(min=0), metavar="N", help="Which, from 0. Default: that of today."
)
@_repair_option
@_collections_option
@on_repository
def scrub(call: Call, parts: int, part: int | None, repair: bool, collections: tuple[str, ...]) -> None:
    """Read a part of all datasets, and check their digests.

    Every day (UTC) another part: run once a day, it has read everything once a month. As fsck --level 2.
    """
    with call.open(readonly=not repair) as butler, call.progress("checked") as tell:
        report = butler.scrub(
            parts=parts, part=part, collections=names(collections), repair=repair, progress=_told(tell)
        )
    _finish(call, report)


def _finish(call: Call, report: FsckReport) -> None:
    call.answer(_document(report), lambda: _show(report))
    if not report.is_whole:
        raise _failure(report)


def _document(report: FsckReport) -> dict[str, object]:
    return {
        "level": report.level,
        "repair": report.repair,
        "whole": report.is_whole,
        "datasets": report.datasets,
        "artifacts": report.artifacts,
        "counts": dict(report.counts),
        "findings": [
            {
                "trouble": str(one.trouble),
                "ref": None if one.ref is None else ref_document(one.ref),
                "destination": one.destination,
                "action": str(one.action),
                "detail": one.detail,
            }
            for one in report.findings
        ],
        "left_off": report.left_off,
        "unsettled": report.unsettled,
    }


def _show(report: FsckReport) -> None:
    if report.findings:
        print_table(
            ("trouble", "dataset", "destination", "action", "detail"),
            [_row(one) for one in report.findings],
            fold=("dataset", "detail"),
        )
    if report.left_off:
        print_text(f"... and {report.left_off} more.")
    counts = ", ".join(f"{number} {state}" for state, number in sorted(report.counts.items()))
    print_text(
        f"{report.datasets} datasets, {report.artifacts} copies at level {report.level}: {counts or 'none'}"
    )


def _row(finding: FsckFinding) -> tuple[object, ...]:
    whole = "(registry)" if finding.destination is None else "(all there)"
    dataset = whole if finding.ref is None else str(finding.ref)
    return str(finding.trouble), dataset, finding.destination, str(finding.action), finding.detail


def _failure(report: FsckReport) -> DestinationError:
    """Return the error that a check ends with whose repository is not whole, or not known to be."""
    troubles = {str(one.trouble) for one in report.findings if not one.is_settled}
    only_unknown = not report.left_off and troubles == {"unknown"}
    only_registry = not report.left_off and troubles <= {"broken_reference", "no_version"}
    return DestinationError(
        f"the repository is not known to be whole: {report.unsettled} findings are not settled",
        hint="look after what cannot be reached, and check again"
        if only_unknown
        else "restore the registry from a backup, and check again"
        if only_registry
        else "restore what is marked from a backup, and check again"
        if report.repair
        else "--repair puts back what another destination has",
        kind=ErrorKind.UNREACHABLE if only_unknown else ErrorKind.CORRUPT,
    )


def _told(tell: Callable[[int, int], object] | None) -> Callable[[FsckProgress], object] | None:
    return None if tell is None else lambda event: tell(event.checked, event.total)
