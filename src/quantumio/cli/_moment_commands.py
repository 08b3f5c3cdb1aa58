"""Commands that name moments, compare them, and keep what a rule keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from quantumio.cli._arguments import names
from quantumio.cli._call import Call, examples
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_table, print_text
from quantumio.cli._references import REF_HEADINGS, ref_cells
from quantumio.cli._tables import TableAnswer, on_repository_with_table, ref_columns, ref_values, row_batches
from quantumio.errors import InvalidInputError
from quantumio.model import format_bytes
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
@on_repository_with_table
def snapshot(
    call: Call, answer: TableAnswer, name: str | None, at: int | None, note: str, remove: bool
) -> None:
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
    answer.write(
        {"snapshots": [_document(one) for one in found]},
        lambda: print_table(
            ("name", "moment", "created (UTC)", "note"),
            [(one.name, one.seq, _created(one), one.note) for one in found],
            right=("moment",),
            fold=("note",),
        ),
        row_batches(
            {"name": "str", "moment": "int", "created": "time", "note": "str"},
            [(one.name, one.seq, _created(one), one.note) for one in found],
        ),
    )


def _document(one: SnapshotRecord) -> dict[str, object]:
    return {"name": one.name, "moment": one.seq, "created": _created(one).isoformat(), "note": one.note}


def _created(one: SnapshotRecord) -> datetime:
    return datetime.fromtimestamp(one.created_ns // 10**9, tz=UTC)


@click.command(epilog=examples("quantumio diff paper/DR1", "quantumio diff paper/DR1 paper/DR2"))
@click.argument("before")
@click.argument("after", required=False)
@on_repository_with_table
def diff(call: Call, answer: TableAnswer, before: str, after: str | None) -> None:
    """Tell what is there at one moment only.

    That is datasets, members of collections, and what chains search. BEFORE and AFTER are names of
    snapshots, or numbers of commits; without AFTER it is now.
    """
    with call.open(readonly=True) as butler:
        found = butler.diff(_moment(before), None if after is None else _moment(after))
        universe = butler.dimensions
    document = {
        "before": found.before,
        "after": found.after,
        "added": [ref_document(ref) for ref in found.added],
        "removed": [ref_document(ref) for ref in found.removed],
        "joined": [_member_document(member) for member in found.joined],
        "left": [_member_document(member) for member in found.left],
        "chains": [{"name": one.name, "before": one.before, "after": one.after} for one in found.chains],
    }
    datasets = [("added", ref) for ref in found.added] + [("removed", ref) for ref in found.removed]
    members = [("joined", one) for one in found.joined] + [("left", one) for one in found.left]

    def show() -> None:
        rows = ((word, *ref_cells(ref)) for word, ref in datasets)
        print_table(("change", *REF_HEADINGS), rows, right=("version",), fold=("data ID", "run"))
        print_text(f"{len(found.added)} added, {len(found.removed)} removed.")
        if members:
            headings = ("change", "collection", *REF_HEADINGS, "valid (TAI)")
            cells = ((word, one.collection, *ref_cells(one.ref), _valid(one)) for word, one in members)
            print_table(headings, cells, right=("version",), fold=("collection", "data ID", "run"))
            print_text(f"{len(found.joined)} joined, {len(found.left)} left a collection.")
        if found.chains:
            chains = ((one.name, _searches(one.before), _searches(one.after)) for one in found.chains)
            print_table(("chain", "before", "after"), chains, fold=("before", "after"))
            print_text(f"{len(found.chains)} chains changed.")

    changes = [(word, "", ref) for word, ref in datasets]
    changes += [(word, one.collection, one.ref) for word, one in members]
    columns = ref_columns(universe, (ref for *_, ref in changes))
    answer.write(
        document,
        show,
        row_batches(
            {"change": "str", "collection": "str", **columns},
            ((word, collection, *ref_values(ref, columns)) for word, collection, ref in changes),
        ),
    )


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
    "--keep-last",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep so many of the latest versions of each dataset.",
)
@click.option(
    "--younger-than", type=click.FloatRange(min=0), metavar="DAYS", help="Keep what was committed since."
)
@click.option("--delete", "really", is_flag=True, help="Do it; without, only tell what would be done.")
@on_repository_with_table
def retention(
    call: Call,
    answer: TableAnswer,
    dataset_types: tuple[str, ...],
    collections: tuple[str, ...],
    keep_last: int | None,
    younger_than: float | None,
    really: bool,
) -> None:
    """Delete versions that no rule keeps.

    What a tag, a calibration collection or a snapshot has stays. Their bytes go later, by gc.
    """
    if keep_last is None and younger_than is None:
        raise InvalidInputError("no rule says what is kept", hint="give --keep-last or --younger-than")
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
        universe = butler.dimensions
    document = {
        "dry_run": done.dry_run,
        "datasets": [ref_document(ref) for ref in done.refs],
        "spared": [ref_document(ref) for ref in done.spared],
        "objects": done.objects,
        "size": done.nbytes,
    }
    verb = "Would delete" if done.dry_run else "Deleted"
    refs = [("delete", ref) for ref in done.refs] + [("spare", ref) for ref in done.spared]
    columns = ref_columns(universe, (ref for _, ref in refs))

    def show() -> None:  # without those that nothing happens to
        rows = (("delete", *ref_cells(ref)) for ref in done.refs)
        print_table(("what", *REF_HEADINGS), rows, right=("version",), fold=("data ID", "run"))
        print_text(f"{verb} {len(done.refs)} ({format_bytes(done.nbytes)}); spared {len(done.spared)}.")

    answer.write(
        document,
        show,
        row_batches({"what": "str", **columns}, ((word, *ref_values(ref, columns)) for word, ref in refs)),
    )
