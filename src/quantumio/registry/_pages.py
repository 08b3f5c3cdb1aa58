"""Rows in pages by key: any number of rows, no cursor that stays open, no offset that gets slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.registry._dialect import Rules

__all__ = ["OrderKey", "beyond", "gathered_pages", "ordered", "pages"]

_FIRST_PAGE = 256
_LARGEST_PAGE = 16_384
_GROWTH = 4


@frozen(eq=False)
class OrderKey:
    """A column that rows are ordered by, never NULL."""

    column: sa.ColumnElement[Any]
    descending: bool = False


def ordered(statement: sa.Select[Any], keys: Sequence[OrderKey]) -> sa.Select[Any]:
    """Return a statement with its rows in the order of the keys."""
    return statement.order_by(*(key.column.desc() if key.descending else key.column.asc() for key in keys))


def pages(
    statement: sa.Select[Any],
    keys: Sequence[OrderKey],
    limit: int | None,
    fetch: Callable[[sa.Select[Any]], list[Any]],
    first: int = _FIRST_PAGE,
    largest: int = _LARGEST_PAGE,
) -> Iterator[list[Any]]:
    """Yield the rows of a statement in order, a page at a time.

    ``keys`` must tell all rows apart. Their values are added behind the columns of the statement. Pages
    grow from the ``first`` to the ``largest``, so that few rows come soon and many cost few statements.
    """
    labelled = statement.add_columns(*(key.column.label(f"key_{index}") for index, key in enumerate(keys)))
    in_order = ordered(labelled, keys)
    size, left, last = first, limit, None
    while True:
        wanted = size if left is None else min(size, left)
        page = in_order if last is None else in_order.where(beyond(keys, last))
        rows = fetch(page.limit(wanted))
        if rows:
            yield rows
            last = rows[-1][-len(keys) :]
        left = None if left is None else left - len(rows)
        if len(rows) < wanted or left == 0:
            return
        size = max(size, min(_GROWTH * size, largest))


def beyond(
    keys: Sequence[OrderKey], last: Sequence[Any], *, equal_too: bool = False
) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes behind the one with these values (or has the same)."""
    values = [sa.literal(value, key.column.type) for key, value in zip(keys, last, strict=True)]
    if not any(key.descending for key in keys):  # one range of an index
        columns = sa.tuple_(*(key.column for key in keys))
        return columns >= sa.tuple_(*values) if equal_too else columns > sa.tuple_(*values)
    tests = []
    for index, key in enumerate(keys):
        equal = [keys[before].column == values[before] for before in range(index)]
        further = key.column < values[index] if key.descending else key.column > values[index]
        tests.append(sa.and_(*equal, further))
    if equal_too:
        tests.append(sa.and_(*(key.column == value for key, value in zip(keys, values, strict=True))))
    return sa.or_(*tests)


def gathered_pages(
    statement: sa.Select[Any],
    keys: Sequence[OrderKey],
    limit: int | None,
    rules: Rules,
    fetch: Callable[[sa.Select[Any]], Sequence[Any]],
    first: int,
    largest: int,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the columns of a statement, a page at a time: how many rows, and the values of each column.

    Each page is one row of the database, so that no object is made for each row and value.
    """
    labelled = statement.add_columns(*(key.column.label(f"key_{index}") for index, key in enumerate(keys)))
    in_order = ordered(labelled, keys)
    size, left, last = first, limit, None
    while True:
        wanted = size if left is None else min(size, left)
        page = in_order if last is None else in_order.where(beyond(keys, last))
        columns = list(page.limit(wanted).subquery("page").c)
        number, *gathered = fetch(sa.select(sa.func.count(), *map(rules.gathered, columns)))
        if number:
            spread = [
                rules.spread(value, column.type) for value, column in zip(gathered, columns, strict=True)
            ]
            yield number, spread[: -len(keys)]
            last = [_last(values, rules) for values in spread[-len(keys) :]]
        left = None if left is None else left - number
        if number < wanted or left == 0:
            return
        size = max(size, min(_GROWTH * size, largest))


def _last(values: Any, rules: Rules) -> Any:
    if isinstance(values, bytes):
        return rules.uuid_in(UUID(bytes=values[-16:]))
    return values[-1] if isinstance(values, list) else int(values[-1])
