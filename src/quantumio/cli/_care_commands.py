"""Commands that look after a repository."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import names
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import failure_document, ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.errors import DestinationError, ErrorKind

if TYPE_CHECKING:
    from quantumio.engine import FsckFinding, FsckProgress, FsckReport, RecoveryItem, RecoveryReport
    from quantumio.model import LedgerEntry

__all__ = ["errors", "fsck", "pending", "recover"]


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
@click.option("--repair", is_flag=True, help="Put whole copies in the place of what is not.")
@click.option("-c", "--collections", multiple=True, metavar="NAMES", help="What to check. Default: all runs.")
@on_repository
def fsck(call: Call, level: int, repair: bool, collections: tuple[str, ...]) -> None:
    """Check whether what is registered exists, and is whole.

    Without --repair nothing is changed. With it, what is missing or damaged is copied from another
    destination; nothing is ever deleted or overwritten. It fails if something is still wrong at the end.
    """
    with call.open(readonly=not repair) as butler, _progress(call) as progress:
        report = butler.fsck(level, collections=names(collections), repair=repair, progress=progress)
    call.answer(_document(report), lambda: _show(report))
    if not report.is_whole:
        raise _failure(report)


@click.command(
    epilog=examples(
        "quantumio recover --dry-run",
        "quantumio recover",
    )
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option(
    "--restored", is_flag=True, help="The registry came from a backup: set aside what was on its way in it."
)
@on_repository
def recover(call: Call, dry_run: bool, restored: bool) -> None:
    """Finish or end what processes that died have left.

    What is in the journal is placed and committed; transactions of dead owners are ended and cleaned up;
    copies that were still to follow a commit are brought. Safe while others work on the repository. It
    fails if something is left that needs you.
    """
    with call.open(readonly=dry_run) as butler:
        report = butler.recover(dry_run=dry_run, restored=restored)
    call.answer(
        _recovery_document(report, dry_run),
        lambda: _show_items(report.items, "Nothing is left to recover."),
    )
    if not dry_run and not report.is_clean:
        raise DestinationError(
            "something is left that could not be finished",
            hint="look after what its detail names, and recover again",
            kind=ErrorKind.UNREACHABLE,
        )


@click.command(epilog=examples("quantumio pending"))
@on_repository
def pending(call: Call) -> None:
    """List what is on its way.

    What is in the journal, being prepared, or still to follow a commit, of all processes, the living and
    the dead. What the dead have left is finished by the command recover.
    """
    with call.open(readonly=True) as butler:
        items = butler.unfinished()
    call.answer({"items": _item_documents(items)}, lambda: _show_items(items, "Nothing is on its way."))


@click.command(
    epilog=examples(
        "quantumio errors",
        "quantumio errors --acknowledge",
    )
)
@click.option("--acknowledge", is_flag=True, help="Forget them: somebody has looked at them.")
@on_repository
def errors(call: Call, acknowledge: bool) -> None:
    """List failures in the background.

    Of all processes that worked on the repository, until somebody acknowledges them.
    """
    with call.open(readonly=not acknowledge) as butler:
        entries = butler.errors(acknowledge=acknowledge)
    document = {"errors": [failure_document(entry) for entry in entries]}
    call.answer(document, lambda: _show_errors(entries))


def _show_errors(entries: Sequence[LedgerEntry]) -> None:
    if not entries:
        print_text("No failures.")
        return
    print_table(
        ("failure", "destination", "transaction"),
        [(entry.message, entry.destination, entry.txid) for entry in entries],
        fold=("failure",),
    )


def _item_documents(items: Sequence[RecoveryItem]) -> list[dict[str, object]]:
    return [
        {
            "what": one.what,
            "transaction": None if one.txid is None else str(one.txid),
            "action": one.action,
            "detail": one.detail,
        }
        for one in items
    ]


def _show_items(items: Sequence[RecoveryItem], nothing: str) -> None:
    if not items:
        print_text(nothing)
        return
    print_table(
        ("what", "transaction", "action", "detail"),
        [(one.what, one.txid, one.action, one.detail) for one in items],
        fold=("detail",),
    )


def _recovery_document(report: RecoveryReport, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "clean": report.is_clean,
        "items": _item_documents(report.items),
    }


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
    dataset = "(all there)" if finding.ref is None else str(finding.ref)
    return str(finding.trouble), dataset, finding.destination, str(finding.action), finding.detail


def _failure(report: FsckReport) -> DestinationError:
    """Return the error that a check ends with whose repository is not whole, or not known to be."""
    only_unknown = not report.left_off and {
        str(one.trouble) for one in report.findings if not one.is_settled
    } == {"unknown"}
    return DestinationError(
        f"the repository is not known to be whole: {report.unsettled} findings are not settled",
        hint="look after what cannot be reached, and check again"
        if only_unknown
        else "restore what is marked from a backup, and check again"
        if report.repair
        else "--repair puts back what another destination has",
        kind=ErrorKind.UNREACHABLE if only_unknown else ErrorKind.CORRUPT,
    )


@contextmanager
def _progress(call: Call) -> Iterator[Callable[[FsckProgress], object] | None]:
    """Show how many datasets are checked, on a terminal."""
    if call.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        checked = bars.add_task("checked", total=None)
        yield lambda event: bars.update(checked, completed=event.checked, total=event.total)
