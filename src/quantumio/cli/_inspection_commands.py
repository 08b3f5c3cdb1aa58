"""Commands that tell what is known of one dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import click

from quantumio.cli._arguments import data_id_text, names, parse_data_id
from quantumio.cli._call import (
    Call,
    as_of_option,
    collections_option,
    examples,
    on_repository,
    version_option,
)
from quantumio.cli._documents import (
    LOCATION_HEADINGS,
    location_document,
    location_rows,
    ref_document,
    short_digest,
    version_document,
)
from quantumio.cli._output import print_pairs, print_table, print_text
from quantumio.cli._references import find_ref
from quantumio.cli._tables import TableAnswer, on_repository_with_table, ref_columns, ref_values, row_batches
from quantumio.cli._times import parse_moment
from quantumio.model import DatasetRef, format_bytes

if TYPE_CHECKING:
    from quantumio.butler import DatasetVersion

__all__ = ["show", "versions"]


@click.command(
    epilog=examples(
        "quantumio show calexp instrument=ST8 visit=33 detector=0 -c u/ada/isr",
        "quantumio show 01971f5e-7c3a-7d2a-9d2c-0a1b2c3d4e5f --header",
    )
)
@click.argument("dataset", metavar="DATASET_TYPE|ID")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--header", is_flag=True, help="Write the cards of its header, too.")
@version_option
@collections_option
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
        if header and not cards:
            print_text("\nThe header has no cards.")
        elif header:
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
@as_of_option
@on_repository_with_table
def versions(
    call: Call,
    answer: TableAnswer,
    dataset_type: str,
    data_id: tuple[str, ...],
    run: str | None,
    as_of: str | None,
) -> None:
    """List the versions of a dataset.

    The oldest comes first.
    """
    with call.open(readonly=True) as butler:
        universe = butler.dimensions
        given = parse_data_id(universe, data_id)
        found = butler.versions(dataset_type, given, run=run, as_of=parse_moment(as_of))
    columns = ref_columns(universe, (one.ref for one in found))
    rows = (
        (*ref_values(one.ref, columns), *(of(one) for _, of in _VERSION_COLUMNS.values())) for one in found
    )
    answer.write(
        {"versions": [version_document(one) for one in found]},
        lambda: _show_versions(found),
        row_batches(columns | {name: kind for name, (kind, _) in _VERSION_COLUMNS.items()}, rows),
    )


_VERSION_COLUMNS: Final[Mapping[str, tuple[str, Callable[[DatasetVersion], object]]]] = {
    "committed": ("time", lambda one: one.committed),
    "txid": ("str", lambda one: str(one.txid)),
    "commit_seq": ("int", lambda one: one.commit_seq),
    "size": ("int", lambda one: one.size),
    "digest": ("str", lambda one: one.digest),
    "destinations": ("str", lambda one: ",".join(one.destinations)),
}


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
