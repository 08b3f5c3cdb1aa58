"""Commands that name moments, compare them, and keep what a rule keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from quantumio.cli._arguments import data_id_text, names
from quantumio.cli._call import Call, examples, on_repository
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.errors import InvalidInputError
from quantumio.model import DatasetRef, format_bytes
from quantumio.ports import MemberRecord, SnapshotRecord

__all__ = ["diff", "retention", "snapshot"]


@click.command(
    epilog=examples(
        'quantumio snapshot paper/DR1 --note "as submitted"',
        "quantumio snapshot",
        "quantumio snapshot paper/DR1 --remove",
    )
)
@click.argument("name", required=False)
@click.option("--at", type=int, metavar="N", help="Number of a commit or edit. Default: now.")
@click.option("--note", default="", metavar="TEXT", help="What it is for.")
@click.option("--remove", is_flag=True, help="Give up the snapshot of this name.")
@on_repository
def snapshot(call: Call, name: str | None, at: int | None, note: str, remove: bool) -> None:
    """Name this moment, or list the moments that have names.

    What there is at a moment that has a name is not deleted.
    """
    if name is None and (remove or note or at is not None):
        raise InvalidInputError("no snapshot was named", hint="write `quantumio snapshot NAME`")
    with call.open(readonly=name is None) as butler:
        if name is None:
            found = butler.snapshots()
        elif remove:
            butler.remove_snapshot(name)
            call.answer({"removed": name}, lambda: print_text(f"Removed the snapshot {name}."))
            return
        else:
            found = [butler.snapshot(name, at=at, note=note)]
    rows = [(one.name, one.seq, _created(one), one.note) for one in found]
    call.answer(
        {"snapshots": [_document(one) for one in found]},
        lambda: print_table(("name", "moment", "created", "note"), rows, right=("moment",), fold=("note",)),
    )


def _document(one: SnapshotRecord) -> dict[str, object]:
    return {"name": one.name, "moment": one.seq, "created": _created(one), "note": one.note}


def _created(one: SnapshotRecord) -> str:
    return datetime.fromtimestamp(one.created_ns // 10**9, tz=UTC).isoformat()


@click.command(epilog=examples("quantumio diff paper/DR1", "quantumio diff paper/DR1 paper/DR2"))
@click.argument("before")
@click.argument("after", required=False)
@on_repository
def diff(call: Call, before: str, after: str | None) -> None:
    """Tell what is there at one moment only: datasets, members of collections, chains.

    BEFORE and AFTER are names of snapshots, or numbers of commits; without AFTER it is now.
    """
    with call.open(readonly=True) as butler:
        found = butler.diff(_moment(before), None if after is None else _moment(after))
    document = {
        "before": found.before,
        "after": found.after,
        "added": [ref_document(ref) for ref in found.added],
        "removed": [ref_document(ref) for ref in found.removed],
        "joined": [_member_document(member) for member in found.joined],
        "left": [_member_document(member) for member in found.left],
        "chains": [{"name": one.name, "before": one.before, "after": one.after} for one in found.chains],
    }
    rows = [
        *(("added", *_cells(ref)) for ref in found.added),
        *(("removed", *_cells(ref)) for ref in found.removed),
    ]
    members = [
        *(("joined", member.collection, *_cells(member.ref), _valid(member)) for member in found.joined),
        *(("left", member.collection, *_cells(member.ref), _valid(member)) for member in found.left),
    ]
    chains = [(one.name, _searches(one.before), _searches(one.after)) for one in found.chains]

    def show() -> None:
        print_table(("", *_HEADINGS), rows, right=("version",), fold=("data ID", "run"))
        if members:
            headings = ("", "collection", *_HEADINGS, "valid (TAI)")
            print_table(headings, members, right=("version",), fold=("collection", "data ID", "run"))
        if chains:
            print_table(("chain", "before", "after"), chains, fold=("before", "after"))
        print_text(
            f"{len(found.added)} added, {len(found.removed)} removed; {len(found.joined)} joined, "
            f"{len(found.left)} left a collection; {len(found.chains)} chains changed."
        )

    call.answer(document, show)


_HEADINGS = ("dataset type", "data ID", "run", "version")


def _cells(ref: DatasetRef) -> tuple[object, ...]:
    return ref.dataset_type.name, data_id_text(ref.data_id), ref.run, ref.version


def _member_document(member: MemberRecord) -> dict[str, object]:
    document: dict[str, object] = {"collection": member.collection, "dataset": ref_document(member.ref)}
    if (span := member.timespan) is not None:
        begin, end = (None if time is None else time.isot for time in (span.begin, span.end))
        document |= {"valid_from": begin, "valid_until": end}  # TAI
    return document


def _valid(member: MemberRecord) -> str:
    return "" if member.timespan is None else str(member.timespan)


def _searches(children: tuple[str, ...] | None) -> str:
    return "(no chain)" if children is None else ", ".join(children)


def _moment(text: str) -> int | str:
    return int(text) if text.isdecimal() and text.isascii() else text


@click.command(
    epilog=examples(
        "quantumio retention calexp -c u/ada/isr --keep-last 2",
        "quantumio retention -c u/ada/trial --younger-than 30 --delete",
    )
)
@click.argument("dataset_types", nargs=-1, metavar="[DATASET_TYPE]...")
@click.option(
    "-c", "--collections", multiple=True, required=True, metavar="NAMES", help="Names or globs of runs."
)
@click.option(
    "--keep-last", type=int, metavar="N", help="Keep so many of the latest versions of each dataset."
)
@click.option("--younger-than", type=float, metavar="DAYS", help="Keep what was committed since.")
@click.option("--delete", "really", is_flag=True, help="Do it; without, only tell what would be done.")
@on_repository
def retention(
    call: Call,
    dataset_types: tuple[str, ...],
    collections: tuple[str, ...],
    keep_last: int | None,
    younger_than: float | None,
    really: bool,
) -> None:
    """Delete versions that no rule keeps.

    What a tag, a calibration collection or a snapshot has stays. Their bytes go later, by gc.
    """
    try:
        since = None if younger_than is None else timedelta(days=younger_than)
    except (OverflowError, ValueError) as error:
        raise InvalidInputError(f"--younger-than {younger_than}", hint="give a number of days") from error
    with call.open() as butler:
        done = butler.retention(
            dataset_types or "*",
            collections=names(collections),
            keep_last=keep_last,
            younger_than=since,
            dry_run=not really,
        )
    document = {
        "dry_run": done.dry_run,
        "datasets": [ref_document(ref) for ref in done.refs],
        "spared": [ref_document(ref) for ref in done.spared],
        "objects": done.objects,
        "size": done.nbytes,
    }

    def show() -> None:
        rows = [_cells(ref) for ref in done.refs]
        print_table(_HEADINGS, rows, right=("version",), fold=("data ID", "run"))
        verb = "Would delete" if done.dry_run else "Deleted"
        print_text(f"{verb} {len(done.refs)} ({format_bytes(done.nbytes)}); spared {len(done.spared)}.")

    call.answer(document, show)
