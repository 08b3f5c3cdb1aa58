"""What an expression is but for its values: queries of one shape share what was made for the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from quantumio.errors import InvalidInputError
from quantumio.registry._tree import (
    And,
    Bind,
    Comparison,
    Expression,
    IsNull,
    Literal,
    Membership,
    Not,
    Or,
    Parameter,
    Range,
    Time,
    Value,
)
from quantumio.registry._where_values import kind_of, listed, scalar

__all__ = ["shape_of"]

_LONGEST_LIST: Final = 32


class _Without(Exception):
    """It has no shape: its values are more than parameters of SQL."""


def shape_of(
    terms: Sequence[Expression], given: Mapping[str, object], text: str
) -> tuple[tuple[Expression, ...], dict[str, Any]] | None:
    """Return terms with parameters in place of values, and these values by name; None where that cannot be.

    Terms that differ in values, and so in places of characters, have the same shape.

    None is also where a value is missing or does not fit: what was written says it better than its shape.

    Parameters
    ----------
    given
        Values of ``:name`` parameters.
    text
        The expression.
    """
    shaped = _Shaped(given, text)
    try:
        return tuple(map(shaped.of, terms)), shaped.values
    except (_Without, InvalidInputError):
        return None


class _Shaped:
    def __init__(self, given: Mapping[str, object], text: str) -> None:
        self._given = given
        self._text = text
        self.values: dict[str, Any] = {}

    def of(self, expression: Expression) -> Expression:
        """Return an expression with parameters in place of values."""
        match expression:
            case And(parts):
                return And(tuple(map(self.of, parts)))
            case Or(parts):
                return Or(tuple(map(self.of, parts)))
            case Not(of):
                return Not(self.of(of))
            case Comparison(operator, left, right):
                return Comparison(operator, self._value(left), self._value(right), 0)
            case Membership(value, items) if len(items) <= _LONGEST_LIST:
                return Membership(self._value(value), self._items(items), 0)
            case IsNull(value):
                return IsNull(self._value(value), 0)
            case _:
                raise _Without

    def _value(self, value: Value | Parameter) -> Value | Parameter:
        if isinstance(value, Literal | Bind):
            return self._parameter(scalar(value, self._given, self._text))
        return evolve(value, at=0)

    def _items(self, items: Sequence[Value | Range | Parameter]) -> tuple[Value | Range | Parameter, ...]:
        shaped: list[Value | Range | Parameter] = []
        for item in items:
            if isinstance(item, Literal | Bind):
                shaped += map(self._parameter, listed(item, self._given, self._text))
            elif isinstance(item, Range):
                first, last = self._parameter(item.first), self._parameter(item.last)
                shaped.append(Range(first, last, item.step, 0))
            else:
                shaped.append(evolve(item, at=0))
        if len(shaped) > _LONGEST_LIST:
            raise _Without
        return tuple(shaped)

    def _parameter(self, value: Any) -> Parameter:
        kind = kind_of(value)
        if kind == "bool":  # which databases write in several ways
            raise _Without
        name = f"where_{len(self.values)}"
        self.values[name] = value.ns if isinstance(value, Time) else value
        return Parameter(name, kind)
