"""The tree of an expression as a condition of SQL, with every value bound."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError, QuantumioError
from quantumio.model import Timespan, check_data_id_value
from quantumio.registry._dialect import BIG_INTEGER, TEXT, Rules
from quantumio.registry._expression import bound, expression_error, parse
from quantumio.registry._scope import Scope, Unknown
from quantumio.registry._tree import (
    And,
    Area,
    Bind,
    Comparison,
    Expression,
    Literal,
    Membership,
    Name,
    Near,
    NearPairs,
    Not,
    Or,
    Overlap,
    Parameter,
    Pattern,
    Range,
    Shape,
    Span,
    Time,
    Value,
    binds_of,
)
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where_values import TYPES, kind_of, listed, moment_of, scalar

__all__ = ["Where", "check_expression", "data_id_condition"]

_WORDS: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "bool": "a truth value",
    "time": "a time",
}
_SET_IN_ONE_PARAMETER: Final = 32
_MOST_PARAMETERS: Final = 10_000


class Where:
    """Compiles one expression for one statement.

    Parameters
    ----------
    text
        The expression, for messages.
    bind
        Values of its ``:name`` parameters.
    rules, scope
        Of the database and of the statement.
    """

    def __init__(self, text: str, bind: Mapping[str, object], rules: Rules, scope: Scope) -> None:
        self._text = text
        self._bind = bind
        self._rules = rules
        self._scope = scope

    def condition(self, expression: Expression, *, negated: bool = False) -> sa.ColumnElement[bool]:
        """Return the condition; ``negated`` says that it stands under a NOT.

        Raises
        ------
        InvalidInputError
            A name or a value does not fit (``kind="expression"``); the message points at it.
        """
        match expression:
            case And(parts):
                return sa.and_(*(self.condition(part, negated=negated) for part in parts))
            case Or(parts):
                return sa.or_(*(self.condition(part, negated=negated) for part in parts))
            case Not(of):
                return sa.not_(self.condition(of, negated=not negated))
            case Comparison():
                return self._comparison(expression)
            case Membership():
                return self._membership(expression)
            case Pattern():
                return self._pattern(expression)
            case Overlap():
                return self._timespans(expression, negated=negated)
            case Near(name, records):
                ids = self._rules.rows_value(([number] for number in records), {"id": "int"})
                near = sa.select(self._rules.rows("near", {"id": "int"}, ids).c.id)
                record = self._area(name)
                return _where_known(record.c.record_id.in_(near), [record.c.geometry], negated=negated)
            case NearPairs(name, other, pairs):
                types = {"one": "int", "other": "int"}
                both = self._rules.rows("near", types, self._rules.rows_value(pairs, types))
                both_records = [self._area(name), self._area(other)]
                numbers = sa.tuple_(*(record.c.record_id for record in both_records))
                return _where_known(
                    numbers.in_(sa.select(both)),
                    [record.c.geometry for record in both_records],
                    negated=negated,
                )
            case _:
                return self._column(expression.value)[0].is_(None)

    def _error(self, at: int, what: str, hint: str | None = None) -> InvalidInputError:
        return expression_error(self._text, at, what, hint)

    # -- values
    def _column(self, value: Value | Parameter) -> tuple[sa.ColumnElement[Any], str]:
        """Return the SQL of a value and its kind."""
        if isinstance(value, Parameter):
            return _parameter(value), value.kind
        if isinstance(value, Name):
            try:
                return self._scope.column(value.text)
            except Unknown as unknown:
                raise self._error(value.at, unknown.message, unknown.hint) from None
        return self._literal(self._given(value))

    def _given(self, value: Literal | Bind) -> Any:
        return scalar(value, self._bind, self._text)

    def _literal(self, value: Any) -> tuple[sa.ColumnElement[Any], str]:
        kind = kind_of(value)
        return sa.literal(value.ns if isinstance(value, Time) else value, TYPES[kind]), kind

    # -- overlaps
    def _area(self, name: Name) -> sa.FromClause:
        try:
            return self._scope.area(name.text)
        except Unknown as unknown:
            raise self._error(name.at, unknown.message, unknown.hint) from None

    def _timespans(self, test: Overlap, *, negated: bool) -> sa.ColumnElement[bool]:
        ends = [self._ends(area) for area in (test.left, test.right)]
        (begin, end), (other_begin, other_end) = ends
        if not any(isinstance(area, Name) for area in (test.left, test.right)):
            raise self._error(test.at, "one side of OVERLAPS must be of a record", "write visit.timespan")
        overlap = sa.and_(begin < other_end, other_begin < end, begin < end, other_begin < other_end)
        return _where_known(overlap, [begin, other_begin], negated=negated)

    def _ends(self, area: Area) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        """Return begin and end of a timespan."""
        if isinstance(area, Name):
            record = self._area(area)
            return record.c.begin_ns, record.c.end_ns
        span = self._span(area)
        return sa.literal(span.begin_ns, BIG_INTEGER), sa.literal(span.end_ns, BIG_INTEGER)

    def _span(self, area: Literal | Bind | Shape | Span) -> Timespan:
        whole = Timespan()
        if isinstance(area, Span):
            begin = whole.begin_ns if area.begin is None else self._time_of(area.begin)
            end = whole.end_ns if area.end is None else self._time_of(area.end)
            if begin > end:
                raise self._error(area.at, "the timespan ends before it begins", "write (begin, end)")
            return Timespan(begin, end)
        if isinstance(area, Bind):
            given = bound(area, self._bind, self._text)
            if isinstance(given, (Timespan, tuple, list)):
                try:
                    return Timespan.make(given)
                except QuantumioError as error:
                    raise self._error(area.at, f":{area.name}: {error.message}", error.hint) from error
        if isinstance(area, Shape):
            raise self._error(area.at, "this is a region, the other side is a timespan")
        moment = self._time_of(area)
        return Timespan(moment, min(moment + 1, whole.end_ns))

    def _time_of(self, value: Literal | Bind) -> int:
        moment = self._given(value)
        if not isinstance(moment, Time):
            raise self._error(
                value.at,
                f"{moment!r:.60} is no time",
                "a timespan is (T'2025-06-24', T'2025-06-25') with NULL for no bound, or a :bind of one",
            )
        return moment.ns

    # -- tests
    def _comparison(self, test: Comparison) -> sa.ColumnElement[bool]:
        left, left_kind = self._column(test.left)
        right, right_kind = self._column(test.right)
        self._check_kinds(test.left, left_kind, test.right, right_kind)
        if left_kind == "bool" and test.operator not in ("=", "!="):
            raise self._error(test.at, "truth values have no order", "use = or !=")
        match test.operator:
            case "=":
                return left == right
            case "!=":
                return left != right
            case "<":
                return left < right
            case "<=":
                return left <= right
            case ">":
                return left > right
            case _:
                return left >= right

    def _check_kinds(
        self, left: Value | Parameter, left_kind: str, right: Value | Parameter, right_kind: str
    ) -> None:
        if left_kind == right_kind or {left_kind, right_kind} == {"int", "float"}:
            return
        at, named = (right, left) if isinstance(left, Name) else (left, right)
        at_kind, named_kind = (right_kind, left_kind) if at is right else (left_kind, right_kind)
        what = f"{named.text} is" if isinstance(named, Name) else "the other side is"
        hint = {"str": "write texts as 'text'", "time": "write times as T'2025-06-24'"}.get(named_kind)
        raise self._error(at.at, f"{what} {_WORDS[named_kind]}, this is {_WORDS[at_kind]}", hint)

    def _membership(self, test: Membership) -> sa.ColumnElement[bool]:
        column, kind = self._column(test.value)
        values: list[Any] = []
        parameters: list[sa.ColumnElement[Any]] = []
        others: list[sa.ColumnElement[bool]] = []
        for item in test.items:
            if isinstance(item, Range):
                self._check_kinds(test.value, kind, Literal(0, item.at), "int")
                others.append(_in_range(column, item))
            elif isinstance(item, Parameter):
                self._check_kinds(test.value, kind, item, item.kind)
                parameters.append(_parameter(item))
            elif isinstance(item, Name):
                other, other_kind = self._column(item)
                self._check_kinds(test.value, kind, item, other_kind)
                others.append(column == other)
            else:
                for value in listed(item, self._bind, self._text):
                    self._check_kinds(test.value, kind, Literal(value, item.at), kind_of(value))
                    values.append(value.ns if isinstance(value, Time) else value)
        if len(values) > _MOST_PARAMETERS and {type(value) for value in values} not in ({int}, {str}):
            raise self._error(
                test.at,
                f"IN has {len(values)} values that are not all integers or all texts; "
                f"at most {_MOST_PARAMETERS} fit",
                "give fewer, or compare with < and >",
            )
        tests = [
            *others,
            *([column.in_(parameters)] if parameters else []),
            *([self._in_values(column, kind, values)] if values else []),
        ]
        return sa.or_(*tests) if tests else sa.false()

    def _in_values(
        self, column: sa.ColumnElement[Any], kind: str, values: list[Any]
    ) -> sa.ColumnElement[bool]:
        kinds = {type(value) for value in values}
        if len(values) <= _SET_IN_ONE_PARAMETER:
            return column.in_([sa.literal(value, TYPES[kind_of(value)]) for value in values])
        if kinds <= {int} or kinds == {str}:
            types = {"x": "int" if kinds <= {int} else "str"}
            value = self._rules.rows_value(([value] for value in dict.fromkeys(values)), types)
            return column.in_(sa.select(self._rules.rows("listed", types, value).c.x))
        return column.in_(list(dict.fromkeys(values)))

    def _pattern(self, test: Pattern) -> sa.ColumnElement[bool]:
        column, kind = self._column(test.value)
        word = test.operator.removesuffix("()")
        if kind != "str":
            raise self._error(test.value.at, f"{word} takes texts, this is {_WORDS[kind]}")
        pattern = None if isinstance(test.pattern, Name) else self._given(test.pattern)
        if not isinstance(pattern, str):
            raise self._error(test.pattern.at, f"{word} takes a pattern", "write it as 'text', or bind one")
        if test.operator == "LIKE":
            return self._rules.like(column, pattern)
        return self._rules.glob(column, pattern if test.operator == "GLOB" else _without_sets(pattern))


def check_expression(text: object, bind: Mapping[str, object]) -> None:
    """Check of an expression what needs no registry: how it is written, and the times in it.

    Raises
    ------
    InvalidInputError
        It is none, or a value is missing or is no time of 64 bits (``kind="expression"``); points at it.
    """
    for one in binds_of(parse(text)):
        given = bound(one, bind, str(text))
        for value in given if isinstance(given, (list, tuple)) else (given,):
            moment_of(str(text), one, value)


def _where_known(
    test: sa.ColumnElement[bool], needed: Sequence[sa.ColumnElement[Any]], *, negated: bool
) -> sa.ColumnElement[bool]:
    """Return a test that says nothing of records without these columns, also when it is negated."""
    if not negated:
        return test  # which they do not pass
    return sa.case((sa.and_(*(column.is_not(None) for column in needed)), test), else_=None)


def _without_sets(pattern: str) -> str:
    """Return a glob whose backslashes take a sign as it is, as one that has sets in their place."""

    def as_it_is(found: re.Match[str]) -> str:
        character = found[1] or "["
        return character if character == "\\" else f"[{character}]"

    return re.sub(r"\\([][*?\\])|\[", as_it_is, pattern)


def _parameter(parameter: Parameter) -> sa.BindParameter[Any]:
    return sa.bindparam(parameter.name, type_=TYPES[parameter.kind])


def _in_range(column: sa.ColumnElement[Any], item: Range) -> sa.ColumnElement[bool]:
    first, last = (
        _parameter(end) if isinstance(end, Parameter) else sa.literal(end, BIG_INTEGER)
        for end in (item.first, item.last)
    )
    inside = sa.and_(column >= first, column <= last)
    if item.step == 1:
        return inside
    step = sa.literal(item.step, BIG_INTEGER)
    return sa.and_(inside, _residue(column, step) == _residue(first, step))


def _residue(number: sa.ColumnElement[Any], step: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return what is left, 0 or more; a difference of two numbers may be none of 64 bits."""
    left = number % step  # has the sign of the number
    return sa.case((left < sa.literal_column("0"), left + step), else_=left)


def data_id_condition(
    tables: Tables, scope: Scope, data_id: Mapping[str, Any]
) -> list[sa.ColumnElement[bool]]:
    """Return conditions for the values of dimensions, required or implied ones.

    Raises
    ------
    InvalidInputError
        A name is no dimension of the statement, or a value is of the wrong type.
    """
    conditions = []
    for name, given in data_id.items():
        value = check_data_id_value(tables.universe, name, given)
        try:
            column = scope.dimension(name)
        except Unknown as unknown:
            raise InvalidInputError(unknown.message, hint=unknown.hint, kind=ErrorKind.DATA_ID) from None
        conditions.append(column == sa.literal(value, TEXT if isinstance(value, str) else BIG_INTEGER))
    return conditions
