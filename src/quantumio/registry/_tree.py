"""What an expression of ``where`` says, as a tree."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

__all__ = [
    "And",
    "Area",
    "Bind",
    "Comparison",
    "Expression",
    "IsNull",
    "Literal",
    "Membership",
    "Name",
    "Near",
    "NearPairs",
    "Not",
    "Or",
    "Overlap",
    "Parameter",
    "Pattern",
    "Range",
    "Shape",
    "Span",
    "Time",
    "Value",
    "binds_of",
    "equated",
    "names_of",
    "terms_of",
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
class Parameter:
    """A value of this kind, which comes whenever what was made of the expression is used; see `shape_of`."""

    name: str
    kind: str
    at: int = 0


@frozen
class Range:
    """Integers from ``first`` to ``last``, both included, in steps."""

    first: int | Parameter
    last: int | Parameter
    step: int
    at: int


Value = Name | Literal | Bind


@frozen
class Comparison:
    """``left operator right``."""

    operator: str
    left: Value | Parameter
    right: Value | Parameter
    at: int


@frozen
class Membership:
    """``value IN (items)``."""

    value: Value | Parameter
    items: tuple[Value | Range | Parameter, ...]
    at: int


@frozen
class Pattern:
    """``value LIKE pattern``, ``value GLOB pattern``, or (its operator is ``GLOB()``) a call of GLOB."""

    operator: str
    value: Value
    pattern: Value
    at: int


@frozen
class IsNull:
    """``value IS NULL``."""

    value: Value | Parameter
    at: int


@frozen
class Shape:
    """A region of the sky: ``CIRCLE(ra, dec, radius)`` and the like; values are numbers, of REGION a text."""

    kind: str
    values: tuple[Literal | Bind, ...]
    at: int


@frozen
class Span:
    """A timespan, half-open; None where it is unbounded."""

    begin: Literal | Bind | None
    end: Literal | Bind | None
    at: int


Area = Name | Literal | Bind | Shape | Span


@frozen
class Overlap:
    """``left OVERLAPS right``: regions, or timespans."""

    left: Area
    right: Area
    at: int


@frozen
class Near:
    """The region of a record is one of these, by the numbers of the records: what an overlap comes to."""

    region: Name
    records: tuple[int, ...]


@frozen
class NearPairs:
    """The regions of two records are one of these pairs."""

    region: Name
    other: Name
    records: tuple[tuple[int, int], ...]


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


Expression = Comparison | Membership | Pattern | IsNull | Overlap | Near | NearPairs | Not | And | Or


def terms_of(expression: Expression) -> tuple[Expression, ...]:
    """Return the expressions that all have to hold."""
    if isinstance(expression, And):
        return tuple(term for part in expression.parts for term in terms_of(part))
    return (expression,)


def equated(expression: Expression) -> set[str]:
    """Return the names that must be equal to one value each, whatever else has to hold."""
    pairs = [
        (test.left, test.right)
        for test in terms_of(expression)
        if isinstance(test, Comparison) and test.operator == "="
    ]
    return {
        one.text
        for left, right in pairs
        for one, other in ((left, right), (right, left))
        if isinstance(one, Name) and not isinstance(other, Name)
    }


def names_of(expression: Expression) -> set[str]:
    """Return the names that an expression asks for."""
    return {value.text for value in _values_of(expression) if isinstance(value, Name)}


def binds_of(expression: Expression) -> list[Bind]:
    """Return the ``:name`` parameters of an expression."""
    return [value for value in _values_of(expression) if isinstance(value, Bind)]


def _values_of(expression: Expression) -> Iterator[object]:
    match expression:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _values_of(part)
        case Not(of):
            yield from _values_of(of)
        case Comparison(left=left, right=right):
            yield from (left, right)
        case Overlap(left, right):
            for area in (left, right):
                yield from _values_of_area(area)
        case Membership(value, items):
            yield from (value, *items)
        case Pattern(value=value, pattern=pattern):
            yield from (value, pattern)
        case Near(region):
            yield region
        case NearPairs(region, other):
            yield from (region, other)
        case _:
            yield expression.value


def _values_of_area(area: Area) -> Iterator[object]:
    match area:
        case Shape(values=values):
            yield from values
        case Span(begin, end):
            yield from (begin, end)
        case _:
            yield area
