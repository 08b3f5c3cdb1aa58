"""Sets of ids in prepared statements of a few sizes: each is compiled once, however many are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

__all__ = ["any_of", "parts_of"]

_SIZES: Final = (1, 16, 64, 512)
"""Sizes of sets in one statement; smaller ones repeat their last id."""


def any_of(column: sa.ColumnElement[Any], size: int) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of so many ids, which `parts_of` gives."""
    return column.in_([sa.bindparam(f"id_{index}", type_=column.type) for index in range(size)])


def parts_of(ids: Sequence[UUID], uuid_in: Callable[[UUID], Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Divide ids into sets; give the size of each, and its values as the driver takes them."""
    for start in range(0, len(ids), _SIZES[-1]):
        part = ids[start : start + _SIZES[-1]]
        size = next(size for size in _SIZES if size >= len(part))
        values = [uuid_in(id_) for id_ in part]
        values += values[-1:] * (size - len(part))
        yield size, {f"id_{index}": value for index, value in enumerate(values)}
