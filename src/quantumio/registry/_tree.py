"""What an expression of ``where`` says, as a tree."""

from __future__ import annotations

from attrs import frozen

__all__ = [
    "And",
    "Bind",
    "Comparison",
    "Expression",
    "IsNull",
    "Literal",
    "Membership",
    "Name",
    "Not",
    "Or",
    "Pattern",
    "Range",
    "Time",
    "Value",
]


@frozen
class Time:
    """A moment, TAI nanoseconds since 1970-01-01 TAI."""

    ns: int


@frozen
class Name:
    """A dimension, or ``element.field``."""

    text: str
    at: int


@frozen
class Literal:
    """A value written in the expression."""

    value: bool | int | float | str | Time
    at: int


@frozen
class Bind:
    """A ``:name``, whose value comes with the call."""

    name: str
    at: int


@frozen
class Range:
    """Integers from ``first`` to ``last``, both included, in steps."""

    first: int
    last: int
    step: int
    at: int


Value = Name | Literal | Bind


@frozen
class Comparison:
    """``left operator right``."""

    operator: str
    left: Value
    right: Value
    at: int


@frozen
class Membership:
    """``value IN (items)``."""

    value: Value
    items: tuple[Value | Range, ...]
    at: int


@frozen
class Pattern:
    """``value LIKE pattern`` or ``value GLOB pattern``."""

    operator: str
    value: Value
    pattern: Value
    at: int


@frozen
class IsNull:
    """``value IS NULL``."""

    value: Value
    at: int


@frozen
class Not:
    """The opposite."""

    of: Expression


@frozen
class And:
    """All of them."""

    parts: tuple[Expression, ...]


@frozen
class Or:
    """Any of them."""

    parts: tuple[Expression, ...]


Expression = Comparison | Membership | Pattern | IsNull | Not | And | Or
