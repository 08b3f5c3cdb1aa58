"""Rows in pages by key: any number of rows, no cursor that stays open, no offset that gets slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.registry._dialect import BIG_INTEGER, Rules, bound

__all__ = ["OrderKey", "Paged", "beyond", "gathered_pages", "ordered", "pages"]

_FIRST_PAGE = 256
_LARGEST_PAGE = 16_384
_GROWTH = 16
_AFTER = "after_"


@frozen(eq=False)
class OrderKey:
    """A column that rows are ordered by, never NULL."""

    column: sa.ColumnElement[Any]
    descending: bool = False


def ordered(statement: sa.Select[Any], keys: Sequence[OrderKey]) -> sa.Select[Any]:
    """Return a statement with its rows in the order of the keys."""
    return statement.order_by(*(key.column.desc() if key.descending else key.column.asc() for key in keys))


class Paged:
    """A statement that gives its rows in order, a page at a time: page by page the same but for its values.

    ``keys`` must tell all rows apart. Their values are added behind the columns of the statement, but for
    those that are columns of it already, by ``places`` (None: it is none of them).

    Attributes
    ----------
    own, added
        How many columns are the statement's own, and how many keys are behind them.
    types
        Of these columns.
    of_keys
        Where the values of the keys are in a row.
    """

    def __init__(
        self,
        statement: sa.Select[Any],
        keys: Sequence[OrderKey],
        places: Sequence[int | None] | None = None,
        shown: Callable[[sa.Select[Any]], sa.Select[Any]] | None = None,
    ) -> None:
        places = places or [None] * len(keys)
        self.own = len(statement.selected_columns)
        added = [key.column for key, place in zip(keys, places, strict=True) if place is None]
        self.added = len(added)
        self.types = [column.type for column in (*statement.selected_columns, *added)]
        behind = iter(range(self.own, self.own + len(added)))
        self.of_keys = [next(behind) if place is None else place for place in places]
        labelled = statement.add_columns(*(one.label(f"key_{number}") for number, one in enumerate(added)))
        self._page = ordered(labelled, keys).limit(sa.bindparam("page_size", type_=BIG_INTEGER))
        self._keys = keys
        self._shown = shown

    def statement(self, values: Mapping[str, Any]) -> sa.Select[Any]:
        """Return the statement that takes these values: of the first page, or of all others."""
        return self._following if f"{_AFTER}0" in values else self._first

    @cached_property
    def _first(self) -> sa.Select[Any]:
        return self._page if self._shown is None else self._shown(self._page)

    @cached_property
    def _following(self) -> sa.Select[Any]:
        types = [key.column.type for key in self._keys]
        last = [sa.bindparam(f"{_AFTER}{number}", type_=kind) for number, kind in enumerate(types)]
        page = self._page.where(beyond(self._keys, last))
        return page if self._shown is None else self._shown(page)


def pages(
    paged: Paged,
    limit: int | None,
    fetch: Callable[[sa.Select[Any], Mapping[str, Any]], list[Any]],
    first: int = _FIRST_PAGE,
    largest: int = _LARGEST_PAGE,
) -> Iterator[list[Any]]:
    """Yield the rows of a statement in order, a page at a time.

    Pages grow from the ``first`` to the ``largest``, so that few rows come soon and many cost few statements.
    """

    def read(values: Mapping[str, Any]) -> tuple[int, list[Any], list[Any]]:
        rows = fetch(paged.statement(values), values)
        return len(rows), rows, [rows[-1][place] for place in paged.of_keys] if rows else []

    yield from _pages(limit, read, first, largest)


def gathered_pages(
    paged: Paged,
    limit: int | None,
    rules: Rules,
    fetch: Callable[[Mapping[str, Any]], tuple[int, list[Any]]],
    first: int,
    largest: int,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the columns of a statement, a page at a time: how many rows, and the values of each column.

    Each page is one row of the database, so that no object is made for each row and value.

    Parameters
    ----------
    fetch
        Returns them, the columns of ``paged`` first, given the values for its statement.
    """

    def read(values: Mapping[str, Any]) -> tuple[int, Any, list[Any]]:
        number, columns = fetch(values)
        last = [_last(columns[place], rules) for place in paged.of_keys] if number else []
        return number, (number, columns), last

    yield from _pages(limit, read, first, largest)


def _pages(
    limit: int | None,
    read: Callable[[Mapping[str, Any]], tuple[int, Any, list[Any]]],
    first: int,
    largest: int,
) -> Iterator[Any]:
    """Yield pages; ``read`` returns how many rows came, the page, and the values of the last keys."""
    size, left = first, limit
    after: dict[str, Any] = {}
    while True:
        wanted = size if left is None else min(size, left)
        number, page, last = read({"page_size": wanted, **after})
        if number:
            yield page
        left = None if left is None else left - number
        if number < wanted or left == 0:
            return
        after = {f"{_AFTER}{place}": value for place, value in enumerate(last)}
        size = max(size, min(_GROWTH * size, largest))


def beyond(
    keys: Sequence[OrderKey], last: Sequence[Any], *, equal_too: bool = False
) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes behind the one with these values (or has the same)."""
    values = [bound(value, key.column.type) for key, value in zip(keys, last, strict=True)]
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


def _last(values: Any, rules: Rules) -> Any:
    return rules.uuid_in(UUID(hex=values[-32:])) if isinstance(values, str) else values[-1].as_py()
