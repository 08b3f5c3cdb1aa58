"""The language of ``where``: text to a tree, with errors that point at the character.

A hand-written tokenizer and parser rather than a parser library: the grammar is thirty lines, errors must
name what was expected in the user's words and point at it, and nothing else in the project needs a parser.

::

    or     = and { OR and }
    and    = not { AND not }
    not    = NOT not | "(" or ")" | test
    test   = value ( ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                   | [NOT] IN "(" item { "," item } ")" | [NOT] IN ":bind"
                   | [NOT] LIKE value | [NOT] GLOB value | IS [NOT] NULL )
           | ( value | shape ) [NOT] OVERLAPS area
           | GLOB "(" value "," value ")"
    area   = value | shape | "(" end "," end ")"
    shape  = ( POINT | CIRCLE | BOX | POLYGON | REGION ) "(" value { "," value } ")"
    end    = value | NULL
    item   = value | integer ".." integer [":" integer]
    value  = name { "." name } | number | 'text' | T'time' | TRUE | FALSE | ":bind"
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.registry._time import TIMES, fits, moment_ns
from quantumio.registry._tree import (
    And,
    Area,
    Bind,
    Comparison,
    Expression,
    IsNull,
    Literal,
    Membership,
    Name,
    Not,
    Or,
    Overlap,
    Pattern,
    Range,
    Shape,
    Span,
    Time,
    Value,
)

__all__ = ["KEYWORDS", "bound", "expression_error", "parse"]

_MAX_LENGTH: Final = 100_000
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500
"""Tests (and ranges of IN) in one expression: each is a level of depth, and SQLite takes 1,000 of them."""
KEYWORDS: Final = frozenset(
    {"AND", "OR", "NOT", "IN", "LIKE", "GLOB", "IS", "NULL", "TRUE", "FALSE", "OVERLAPS"}
)
"""Words that no name can be, in whatever case they are written."""

_SHAPES: Final = {
    "POINT": "POINT(ra, dec)",
    "CIRCLE": "CIRCLE(ra, dec, radius)",
    "BOX": "BOX(ra, dec, width, height)",
    "POLYGON": "POLYGON(ra1, dec1, ra2, dec2, ra3, dec3, ...)",
    "REGION": "REGION('CIRCLE ra dec radius')",
}
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<time>[Tt]'(?:[^']|'')*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<range>\.\.)
    | (?P<number>[+-]?(?:\d++(?!\.\.)(?:\.\d*)?|\.(?!\.)\d+|\d++)(?:[eE][+-]?\d+)?)
    | (?P<name>(?!T'|t')[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<bind>:[A-Za-z_]\w*)
    | (?P<sign><=|>=|!=|==|<>|[=<>(),:])
    )""",
    re.VERBOSE | re.ASCII,
)
_SIGNS: Final = {"==": "=", "<>": "!="}


@frozen
class _Token:
    kind: str
    text: str
    at: int


def expression_error(text: str, at: int, what: str, hint: str | None = None) -> InvalidInputError:
    """Return an error that points at a character (counted from 1) of an expression."""
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : len(text) if end < 0 else end]
    first = max(0, at - begin - 60)
    shown = line[first : first + 120].replace("\t", " ").encode(errors="replace").decode()
    return InvalidInputError(
        f"{what}, at character {at + 1} of the expression\n  {shown}\n  {' ' * (at - begin - first)}^\n",
        hint=hint,
        kind=ErrorKind.EXPRESSION,
    )


def bound(bind: Bind, values: Mapping[str, object], text: str) -> object:
    """Return the value that a call gives for a ``:name`` of an expression.

    Raises
    ------
    InvalidInputError
        It gives none; points at the name.
    """
    try:
        return values[bind.name]
    except KeyError:
        names = ", ".join(map(repr, values)) or "none"
        raise expression_error(
            text, bind.at, f"there is no value for :{bind.name}", f"values are given for {names}"
        ) from None


def parse(text: object) -> Expression:
    """Return the tree of an expression.

    Raises
    ------
    InvalidInputError
        It is none (``kind="expression"``); the message points at the character.
    """
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise InvalidInputError(
            f"where = {shown(text, 60)} is no expression",
            hint=f"give a text of at most {_MAX_LENGTH} characters",
            kind=ErrorKind.EXPRESSION,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise expression_error(
            text, error.start, f"{text[error.start]!r} is half of a character", "give valid Unicode"
        ) from None
    if "\0" in text:
        raise expression_error(text, text.index("\0"), "a text has a NUL", "take it out")
    return _tree(text)


@functools.lru_cache(maxsize=256)
def _tree(text: str) -> Expression:
    return _Parser(text).whole()


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            if text[at] == "'" or text[at : at + 2] in ("T'", "t'"):
                raise expression_error(
                    text, at, "a text does not end", "close it with '; write '' for a ' in it"
                )
            raise expression_error(text, at, f"{text[at]!r} has no meaning here")
        kind, start = match.lastgroup, match.start(match.lastgroup)
        word = match[kind]
        if kind == "name" and word.upper() in KEYWORDS:
            kind, word = "keyword", word.upper()
        tokens.append(_Token(kind, _SIGNS.get(word, word) if kind == "sign" else word, start))
        at = match.end()
    return [*tokens, _Token("end", "", end)]


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self._tests = 0

    # -- tokens
    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _accept(self, *texts: str) -> _Token | None:
        token = self._token
        if token.kind in ("sign", "keyword", "range") and token.text in texts:
            return self._take()
        return None

    def _expect(self, text: str) -> _Token:
        return self._accept(text) or self._fail(f"{text!r} was expected")

    def _fail(self, what: str, token: _Token | None = None, hint: str | None = None) -> NoReturn:
        token = token or self._token
        found = "the end" if token.kind == "end" else f"{token.text!r}"
        raise expression_error(
            self._text, token.at, f"{what}, not {found}" if "expected" in what else what, hint
        )

    # -- grammar
    def whole(self) -> Expression:
        expression = self._or()
        if self._token.kind != "end":
            self._fail("AND, OR or the end was expected")
        return expression

    def _or(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(f"more than {_MAX_DEPTH} parentheses or NOTs within each other")
        parts = [self._and()]
        while self._accept("OR"):
            parts.append(self._and())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._accept("AND"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Expression:
        negations = 0
        while self._accept("NOT"):
            negations += 1
        if self._accept("("):
            expression = self._or()
            self._expect(")")
        else:
            expression = self._test()
        return Not(expression) if negations % 2 else expression

    def _count(self) -> None:
        self._tests += 1
        if self._tests > _MAX_TESTS:
            self._fail(
                f"more than {_MAX_TESTS} tests in one expression",
                hint="list values with IN (...), or bind a list: name IN :values",
            )

    def _test(self) -> Expression:
        self._count()
        if self._token.text == "GLOB" and self._token.kind == "keyword":
            return self._glob()
        shape = self._shape()
        if shape is not None:
            negated, token = self._accept("NOT"), self._token
            self._expect("OVERLAPS")
            overlap = Overlap(shape, self._area(), token.at)
            return Not(overlap) if negated else overlap
        return self._comparison(self._value())

    def _glob(self) -> Expression:
        """Return a pattern as the Rubin Data Butler writes it: of ``*``, ``?`` and the backslash alone."""
        token = self._take()
        self._expect("(")
        value = self._value()
        self._expect(",")
        pattern = self._value()
        self._expect(")")
        return Pattern("GLOB()", value, pattern, token.at)

    def _area(self) -> Area:
        """Return what may overlap something."""
        token = self._token
        if not self._accept("("):
            return self._shape() or self._value()
        begin = self._end()
        self._expect(",")
        end = self._end()
        self._expect(")")
        return Span(begin, end, token.at)

    def _end(self) -> Literal | Bind | None:
        return None if self._accept("NULL") else self._given()

    def _given(self) -> Literal | Bind:
        value = self._value()
        if isinstance(value, Name):
            raise expression_error(self._text, value.at, f"a value was expected, not {value.text!r}")
        return value

    def _shape(self) -> Shape | None:
        token = self._token
        kind = token.text.upper()
        if token.kind != "name" or kind not in _SHAPES or self._tokens[self._next + 1].text != "(":
            return None
        self._take()
        self._take()
        values = [self._given()]
        while self._accept(","):
            values.append(self._given())
        self._expect(")")
        wanted = {"POINT": 2, "CIRCLE": 3, "BOX": 4, "REGION": 1}.get(kind)
        fits = len(values) == wanted if wanted else len(values) >= 6 and len(values) % 2 == 0
        if not fits:
            self._fail(
                f"{kind} has {len(values)} values", token, f"write {_SHAPES[kind]}, in degrees of ICRS"
            )
        return Shape(kind, tuple(values), token.at)

    def _comparison(self, value: Value) -> Expression:
        token = self._token
        if self._accept("=", "!=", "<", "<=", ">", ">="):
            return Comparison(token.text, value, self._value(), token.at)
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL")
            test: Expression = IsNull(value, token.at)
            return Not(test) if negated else test
        negated = self._accept("NOT")
        token = self._token
        if self._accept("IN"):
            test = Membership(value, self._items(), token.at)
        elif self._accept("LIKE", "GLOB"):
            test = Pattern(token.text, value, self._value(), token.at)
        elif self._accept("OVERLAPS"):
            test = Overlap(value, self._area(), token.at)
        else:
            self._fail("a comparison (=, !=, <, <=, >, >=, IN, LIKE, GLOB, OVERLAPS or IS NULL) was expected")
        return Not(test) if negated else test

    def _items(self) -> tuple[Value | Range, ...]:
        if self._token.kind == "bind":
            return (self._value(),)
        self._expect("(")
        items = [self._item()]
        while self._accept(","):
            items.append(self._item())
        self._expect(")")
        return tuple(items)

    def _item(self) -> Value | Range:
        value = self._value()
        if isinstance(value, Name):
            self._count()
        if not self._accept(".."):
            return value
        self._count()
        last = self._value()
        step: Value = self._value() if self._accept(":") else Literal(1, last.at)
        numbers = [
            part.value
            for part in (value, last, step)
            if isinstance(part, Literal) and type(part.value) is int
        ]
        if len(numbers) < 3 or numbers[2] < 1:
            raise expression_error(
                self._text,
                value.at,
                "a range takes integers and a step from 1 on",
                "write it as 1..10 or 1..10:2",
            )
        return Range(numbers[0], numbers[1], numbers[2], value.at)

    def _value(self) -> Value:
        token = self._take()
        match token.kind:
            case "name":
                return Name(token.text, token.at)
            case "bind":
                return Bind(token.text[1:], token.at)
            case "number":
                return Literal(self._number(token), token.at)
            case "text":
                return Literal(token.text[1:-1].replace("''", "'"), token.at)
            case "time":
                return Literal(self._time(token), token.at)
            case "keyword" if token.text in ("TRUE", "FALSE"):
                return Literal(token.text == "TRUE", token.at)
            case _:
                return self._fail("a name or a value was expected", token)

    def _number(self, token: _Token) -> int | float:
        if re.fullmatch(r"[+-]?\d+", token.text):
            number = int(token.text) if len(token.text) < 30 else 1 << 64
            if not -(1 << 63) <= number < 1 << 63:
                self._fail(f"{token.text} does not fit 64 bits", token)
            return number
        return float(token.text)

    def _time(self, token: _Token) -> Time:
        try:
            ns = moment_ns(token.text[2:-1])
        except (ValueError, OverflowError):
            self._fail(
                f"{token.text} is no time",
                token,
                "write T'2025-06-24', T'2025-06-24T03:00:00/tai' or T'60850.5'",
            )
        if not fits(ns):
            self._fail(f"{token.text} does not fit 64 bits of nanoseconds", token, TIMES)
        return Time(ns)
