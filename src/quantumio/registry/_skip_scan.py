"""Datasets of a data ID that lacks the first column of the key alone: found without a look at all others.

For one detector of all visits a database reads the whole run. Where many rows share a visit it is quicker to
step from visit to visit and to look the detector up in each. SQLite does not do so by itself behind columns
that are given, as the run and the dataset type are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from quantumio.registry._dialect import BIG_INTEGER
from quantumio.registry._universe_schema import GroupTables

__all__ = ["SkipScan", "skip_scan"]

_SAMPLE: Final = 256
_MOST_STEPS: Final = 4


@frozen(eq=False)
class SkipScan:
    """How rows are found by steps through the values of the first column.

    Attributes
    ----------
    conditions
        They follow from the conditions of the scan: with them the same rows are found, by their keys.
    sample
        A statement with one row: how many steps some rows at the begin of the key take, and some at its end.
    """

    conditions: tuple[sa.ColumnElement[bool], ...]
    sample: sa.Select[Any]

    @staticmethod
    def pays(steps: tuple[int, int]) -> bool:
        """Whether it is quicker than a scan, judged by the row of the sample.

        A step takes as long as forty rows of a scan.
        """
        return max(steps) <= _MOST_STEPS


def skip_scan(
    group: GroupTables, run_id: int, type_id: int, given: Mapping[str, sa.ColumnElement[Any]]
) -> SkipScan | None:
    """Return how datasets of a run and type are found so; None where it is not the first column that lacks.

    Parameters
    ----------
    given
        What columns of the key are to be equal to.
    """
    if len(group.key) < 2 or group.key[0] in given or group.key[1] not in given:
        return None
    first, second = group.key[:2]
    rows, others = group.dataset, group.dataset.alias("others")

    def of_run(table: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            table.c.run_id == sa.literal(run_id, BIG_INTEGER),
            table.c.type_id == sa.literal(type_id, BIG_INTEGER),
        )

    def number(order: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        some = sa.select(others.c[first]).where(*of_run(others)).order_by(order).limit(_SAMPLE).subquery()
        return sa.select(sa.func.count(sa.distinct(some.c[first]))).scalar_subquery()

    begin = sa.select(sa.func.min(others.c[first]).label("value")).where(*of_run(others))
    values = begin.cte("first_values", recursive=True)
    following = sa.select(others.c[first]).where(*of_run(others), others.c[first] > values.c.value)
    following = following.order_by(others.c[first]).limit(1).correlate(values)  # quicker than min
    values = values.union_all(sa.select(following.scalar_subquery()).where(values.c.value.is_not(None)))
    ends: list[Any] = [number(others.c[first].asc()), number(others.c[first].desc())]
    return SkipScan(
        (rows.c[first].in_(sa.select(values.c.value)), rows.c[second] == given[second]),
        sa.select(*ends),
    )
