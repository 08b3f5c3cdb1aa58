"""The command that removes what no dataset has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._output import print_table, print_text
from quantumio.errors import DestinationError, ErrorKind

if TYPE_CHECKING:
    from quantumio.engine import GarbageProgress, GarbageReport

__all__ = ["gc"]

_DAY_S: Final = 86400
_WEEK_DAYS: Final = 7
_COUNTS: Final = ("named", "undecided", "waiting", "removable", "removed", "unknown", "foreign", "upload")


@click.command(
    epilog=examples(
        "quantumio gc",
        "quantumio gc --delete",
        "quantumio gc --delete --yes-really 2500",
    )
)
@click.option("--delete", is_flag=True, help="Remove it. Otherwise nothing is changed.")
@click.option(
    "--grace",
    type=click.FloatRange(min=1),
    default=_WEEK_DAYS,
    show_default=True,
    metavar="DAYS",
    help="How long something must have been dead; at least 1.",
)
@click.option(
    "--yes-really",
    type=click.IntRange(min=0),
    metavar="N",
    help="Allow so many removals, even if that is more than 1,000, or a tenth, of a store.",
)
@click.option(
    "--adopt-sessions",
    is_flag=True,
    help="Go on though the registry does not know who has written to a store.",
)
@on_repository
def gc(call: Call, delete: bool, grace: float, yes_really: int | None, adopt_sessions: bool) -> None:
    """Remove what no dataset has and nobody will need.

    Without --delete it only tells. With it, what is dead is remembered; what an earlier run has remembered,
    at least the grace ago, is removed. So let it run regularly. What the registry does not know, and what has
    no name of quantumio's, is listed and never removed. It fails if a destination cannot be looked at.
    """
    with call.open(readonly=not delete) as butler, _progress(call) as progress:
        report = butler.gc(
            dry_run=not delete,
            grace_s=grace * _DAY_S,
            yes_really=yes_really,
            adopt_sessions=adopt_sessions,
            progress=progress,
        )
    call.answer(_document(report), lambda: _show(report))
    if not report.is_complete:
        raise DestinationError(
            "not every destination could be looked at, or cleared",
            hint="look after what is away, and run it again",
            kind=ErrorKind.UNREACHABLE,
        )


def _document(report: GarbageReport) -> dict[str, object]:
    return {
        "dry_run": report.dry_run,
        "grace_s": report.grace_s,
        "complete": report.is_complete,
        "stores": [
            {
                "destination": store.destination,
                "objects": store.objects,
                "counts": dict(store.counts),
                "removable_bytes": store.removable_bytes,
            }
            for store in report.stores
        ],
        "findings": [
            {
                "kind": str(one.kind),
                "destination": one.destination,
                "path": one.path,
                "size": one.nbytes,
                "detail": one.detail,
            }
            for one in report.findings
        ],
        "left_off": report.left_off,
    }


def _show(report: GarbageReport) -> None:
    if report.findings:
        print_table(
            ("kind", "destination", "path", "bytes", "detail"),
            [
                (str(one.kind), one.destination, one.path or "(all of it)", one.nbytes, one.detail)
                for one in report.findings
            ],
            right=("bytes",),
            fold=("path", "detail"),
        )
    if report.left_off:
        print_text(f"... and {report.left_off} more.")
    for store in report.stores:
        counts = ", ".join(f"{store.counts[name]} {name}" for name in _COUNTS if store.counts.get(name))
        print_text(f"{store.destination}: {store.objects} objects: {counts or 'none'}")


@contextmanager
def _progress(call: Call) -> Iterator[Callable[[GarbageProgress], object] | None]:
    """Show how many objects were looked at, on a terminal."""
    if call.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        yield lambda event: status.update(
            f"{event.destination}: {event.looked_at} looked at, {event.removed} removed"
        )
