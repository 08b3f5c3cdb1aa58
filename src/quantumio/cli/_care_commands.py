"""Commands that look after a repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import failure_document
from quantumio.cli._output import print_table, print_text
from quantumio.cli._set_aside import show_set_aside
from quantumio.errors import DestinationError, ErrorKind

if TYPE_CHECKING:
    from quantumio.engine import RecoveryItem, RecoveryReport
    from quantumio.model import LedgerEntry

__all__ = ["errors", "flush", "pending", "recover"]


@click.command(
    epilog=examples(
        "quantumio recover --dry-run",
        "quantumio recover",
        "quantumio recover --retry 0192c5d2-4c00-7a3b-8f1e-2d9b6f1a7c10 --as-next",
        "quantumio recover --drop 0192c5d2-4c00-7a3b-8f1e-2d9b6f1a7c10",
    )
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option(
    "--restored", is_flag=True, help="The registry came from a backup: set aside what was on its way in it."
)
@click.option(
    "--retry",
    metavar="TXID",
    multiple=True,
    help="Commit what was set aside under this transaction, and do nothing else; again for more.",
)
@click.option(
    "--as-next",
    is_flag=True,
    help="With --retry: as the next versions, whatever was committed meanwhile.",
)
@click.option(
    "--drop",
    metavar="TXID",
    multiple=True,
    help="Remove what was set aside under this transaction, and do nothing else; again for more.",
)
@on_repository
def recover(
    call: Call,
    dry_run: bool,
    restored: bool,
    retry: tuple[str, ...],
    as_next: bool,
    drop: tuple[str, ...],
) -> None:
    """Finish or end what processes that died have left.

    What is in the journal is placed and committed; transactions of dead owners are ended and cleaned up;
    copies that were still to follow a commit are brought. Safe while others work on the repository. It
    fails if something is left that needs you.

    What lost to somebody who was first is set aside, with its bytes, until you decide: look at it with the
    command pending --show, then take it in (--retry) or remove it (--drop).
    """
    with call.open(readonly=dry_run) as butler:
        report = butler.recover(
            dry_run=dry_run, restored=restored, retry=retry or None, drop=drop or None, as_next=as_next
        )
    call.answer(
        _recovery_document(report, dry_run),
        lambda: _show_items(report.items, "Nothing is left to recover."),
    )
    if not dry_run and not report.is_clean:
        hint = "look after what its detail names, and recover again"
        if retry and not as_next:
            hint += "; --as-next commits it whatever was committed meanwhile"
        elif any(item.action in ("conflict", "failed") for item in report.items):
            hint += (
                "; what is in conflict is set aside: `quantumio pending --show` it, then --retry or --drop it"
            )
        raise DestinationError(
            "something is left that could not be finished", hint=hint, kind=ErrorKind.UNREACHABLE
        )


@click.command(
    epilog=examples(
        "quantumio pending",
        "quantumio pending --show 0192c5d2-4c00-7a3b-8f1e-2d9b6f1a7c10",
    )
)
@click.option(
    "--show",
    metavar="TXID",
    multiple=True,
    help="Show what was set aside under this transaction, and where its bytes are; again for more.",
)
@on_repository
def pending(call: Call, show: tuple[str, ...]) -> None:
    """List what is on its way.

    What is in the journal, being prepared, set aside, or still to follow a commit, of all processes, the
    living and the dead; not what they have in memory alone. What the dead have left is finished by the
    command recover.
    """
    if show:
        show_set_aside(call, show)
        return
    with call.open(readonly=True) as butler:
        items = butler.unfinished()
    call.answer({"items": _item_documents(items)}, lambda: _show_items(items, "Nothing is on its way."))


@click.command(
    epilog=examples(
        "quantumio flush",
        "quantumio flush --timeout 60",
    )
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait. Default: to the end.",
)
@on_repository
def flush(call: Call, timeout: float | None) -> None:
    """Carry now what is parked, pending or postponed.

    What is in the journal is placed and committed, what dead processes have left is ended, and copies that
    failed are tried again at once. What is left is listed; it fails if there is any.
    """
    with call.open() as butler:
        items = butler.flush(timeout)
    call.answer({"items": _item_documents(items)}, lambda: _show_items(items, "Nothing is left."))
    if items:
        raise DestinationError(
            f"{len(items)} things are still on their way",
            hint="look after what their detail names (`quantumio errors` tells more), and flush again",
            kind=ErrorKind.UNREACHABLE,
        )


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

    Of all processes that worked on the repository, until somebody acknowledges them, or what they have
    kept from becoming visible is visible after all.
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
