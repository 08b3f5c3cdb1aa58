"""What expressions and orders say of a dataset besides its data ID: run, version, size, time of commit."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from quantumio.registry._dialect import BIG_INTEGER, TEXT
from quantumio.registry._schema import ARTIFACT, COLLECTION, TXN

__all__ = ["DATASET_FIELDS", "STATES", "dataset_field", "names_fields"]

DATASET_FIELDS: Final[Mapping[str, str]] = {
    "dataset_type": "str",
    "run": "str",
    "version": "int",
    "size": "int",
    "digest": "str",
    "status": "str",
    "committed": "time",
    "ingest_date": "time",  # as the Rubin Data Butler calls it
    "commit_seq": "int",
}
"""Names and kinds of fields; those that tables of datasets have, too, are the same there."""

STATES: Final = ("ok", "pending", "missing", "corrupt")
"""Of copies, the better one first: it is the status of the dataset."""


def names_fields(names: Iterable[str], dataset_type: str) -> bool:
    """Tell whether any of some names is a field of datasets of this type."""
    return any(name in DATASET_FIELDS or name.startswith(f"{dataset_type}.") for name in names)


def dataset_field(name: str, rows: sa.FromClause, dataset_type: str) -> sa.ColumnElement[Any]:
    """Return the column of a field; times are TAI, as all times of expressions are.

    Parameters
    ----------
    name
        One of `DATASET_FIELDS`.
    rows
        Of datasets of one type.
    dataset_type
        Name of that type.
    """
    match name:
        case "dataset_type":
            return sa.literal(dataset_type, TEXT)
        case "run":
            return sa.select(COLLECTION.c.name).where(COLLECTION.c.id == rows.c.run_id).scalar_subquery()
        case "version":
            return rows.c.v
        case "commit_seq":
            return rows.c.commit_seq
        case "size":
            is_there = ARTIFACT.c.state != sa.literal("pending", TEXT)
            return _or(_of_artifacts(rows, ARTIFACT.c.nbytes, ARTIFACT.c.position, is_there), 0)
        case "digest":
            return _or(_of_artifacts(rows, ARTIFACT.c.digest, ARTIFACT.c.position), "")
        case "status":
            ranks = [(ARTIFACT.c.state == state, rank) for rank, state in enumerate(STATES)]
            return _of_artifacts(rows, ARTIFACT.c.state, sa.case(*ranks))
        case _:
            return sa.select(_tai(TXN.c.decided_at)).where(TXN.c.txid == rows.c.txid).scalar_subquery()


def _of_artifacts(
    rows: sa.FromClause,
    column: sa.ColumnElement[Any],
    order: sa.ColumnElement[Any],
    *conditions: sa.ColumnElement[bool],
) -> sa.ColumnElement[Any]:
    """Return a column of the artifact of each row that comes first; NULL where it has none."""
    here = (ARTIFACT.c.dataset_id == rows.c.id, *conditions)
    return sa.select(column).where(*here).order_by(order).limit(1).scalar_subquery()


def _or(column: sa.ColumnElement[Any], otherwise: int | str) -> sa.ColumnElement[Any]:
    kind = TEXT if isinstance(otherwise, str) else BIG_INTEGER
    return sa.func.coalesce(column, sa.literal(otherwise, kind), type_=kind)


def _tai(utc: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return ns of TAI since 1970-01-01 TAI, of ns of UTC since 1970-01-01 UTC."""
    *others, (_, first) = _leap_seconds()
    offsets = [(utc >= sa.literal(since, BIG_INTEGER), sa.literal(ns, BIG_INTEGER)) for since, ns in others]
    return utc + sa.case(*offsets, else_=sa.literal(first, BIG_INTEGER))


@functools.cache
def _leap_seconds() -> tuple[tuple[int, int], ...]:
    """Return TAI - UTC in ns, the newest first, each with the ns of UTC from which on it holds."""
    from erfa import leap_seconds

    since_1972 = [row for row in leap_seconds.get().tolist() if row[0] >= 1972]
    return tuple(
        (round(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 10**9, round(seconds * 10**9))
        for year, month, seconds in reversed(since_1972)
    )
