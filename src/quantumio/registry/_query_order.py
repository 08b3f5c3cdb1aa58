"""The order of matches that come from several sources."""

from __future__ import annotations

from collections.abc import Sequence
from functools import total_ordering
from typing import Any

__all__ = ["order_of"]


@total_ordering
class _Descending:
    """A value whose order is turned round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.value == other.value)

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


def order_of(values: Sequence[Any], order_by: Sequence[tuple[str, bool]]) -> tuple[Any, ...]:
    """Return what compares as the order says, of the values of keys, the words of the order first."""
    ordered = zip(values, order_by, strict=False)  # the tail of the keys has no part in it
    return tuple(_Descending(value) if descending else value for value, (_, descending) in ordered)
