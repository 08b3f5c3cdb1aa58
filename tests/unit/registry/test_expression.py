"""The language of where: its grammar and its errors."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from astropy.time import Time as Time_
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.registry._expression import parse
from quantumio.registry._tree import (
    And,
    Bind,
    Comparison,
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
)
from quantumio.registry._where import check_expression

TAI_2025 = 1_750_723_237 * 10**9  # 2025-06-24T00:00:00 UTC is 37 s earlier than its TAI


def test_precedence_is_not_then_and_then_or() -> None:
    tree = parse("a = 1 OR NOT b = 2 AND c = 3")
    assert isinstance(tree, Or)
    assert isinstance(tree.parts[0], Comparison)
    assert isinstance(tree.parts[1], And)
    assert isinstance(tree.parts[1].parts[0], Not)
    grouped = parse("not (a = 1 or b = 2) and c = 3")
    assert isinstance(grouped, And)
    assert isinstance(grouped.parts[0], Not)
    assert isinstance(grouped.parts[0].of, Or)
    assert isinstance(parse("NOT NOT a = 1"), Comparison)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("9223372036854775807", 2**63 - 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("'it''s'", "it's"),
        ("''", ""),
        ("'%\\ü'", "%\\ü"),
        ("TRUE", True),
        ("false", False),
        ("T'2025-06-24'", Time(TAI_2025)),
        ("T'2025-06-24 00:00:00/utc'", Time(TAI_2025)),
        ("T'2025-06-24T00:00:37.000000001/tai'", Time(TAI_2025 + 1)),
        ("t'60850'", Time(TAI_2025 - 37 * 10**9)),
        ("T'jd/2460850.5/tai'", Time(TAI_2025 - 37 * 10**9)),
        ("T'mjd/60850/utc'", Time(TAI_2025)),
        ("T'2016-12-31T23:59:60'", Time(1_483_228_800 * 10**9 + 36 * 10**9)),
    ],
)
def test_literals_have_their_values(text: str, value: object) -> None:
    tree = parse(f"x={text}")
    assert isinstance(tree, Comparison)
    assert isinstance(tree.right, Literal)
    assert tree.right.value == value
    assert type(tree.right.value) is type(value)


def test_names_binds_and_signs() -> None:
    assert parse("exposure.timespan.begin >= :start") == Comparison(
        ">=", Name("exposure.timespan.begin", 0), Bind("start", 27), 24
    )
    for text, sign in (("==", "="), ("<>", "!="), ("!=", "!="), ("<", "<"), (">", ">"), ("<=", "<=")):
        tree = parse(f"a {text} b")
        assert isinstance(tree, Comparison)
        assert tree.operator == sign


def test_lists_and_ranges() -> None:
    tree = parse("a NOT IN (1, 3..9:2, -5..-1, 'x', :b)")
    assert isinstance(tree, Not)
    assert tree.of == Membership(
        Name("a", 0),
        (Literal(1, 10), Range(3, 9, 2, 13), Range(-5, -1, 1, 21), Literal("x", 29), Bind("b", 34)),
        6,
    )
    assert parse("a in :b") == Membership(Name("a", 0), (Bind("b", 5),), 2)
    assert parse("a in (12..15)") == Membership(Name("a", 0), (Range(12, 15, 1, 6),), 2)


def test_patterns_and_null() -> None:
    assert parse("a LIKE 'x%'") == Pattern("LIKE", Name("a", 0), Literal("x%", 7), 2)
    assert parse("a NOT GLOB :p") == Not(Pattern("GLOB", Name("a", 0), Bind("p", 11), 6))
    assert parse("a IS NULL") == IsNull(Name("a", 0), 2)
    assert parse("a is not null") == Not(IsNull(Name("a", 0), 2))


def test_overlaps() -> None:
    region, timespan = Name("visit.region", 0), Name("visit.timespan", 0)
    circle = Shape("CIRCLE", (Literal(1, 30), Literal(-2.5, 33), Bind("r", 39)), 23)
    assert parse("visit.region OVERLAPS  Circle(1, -2.5, :r)") == Overlap(region, circle, 13)
    assert parse("POINT(1, 2) NOT OVERLAPS visit.region") == Not(
        Overlap(Shape("POINT", (Literal(1, 6), Literal(2, 9)), 0), Name("visit.region", 25), 16)
    )
    assert parse("visit.timespan NOT OVERLAPS (:b, NULL)") == Not(
        Overlap(timespan, Span(Bind("b", 29), None, 28), 19)
    )
    assert parse("visit.region OVERLAPS patch.region") == Overlap(region, Name("patch.region", 22), 13)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 1, "a name or a value was expected, not the end"),
        ("   ", 1, "a name or a value was expected, not the end"),
        (
            "visit",
            6,
            "a comparison (=, !=, <, <=, >, >=, IN, LIKE, GLOB, OVERLAPS or IS NULL) was expected, not",
        ),
        ("visit > ", 8, "a name or a value was expected, not the end"),
        ("visit > > 5", 9, "a name or a value was expected, not '>'"),
        ("visit > 5 6", 11, "AND, OR or the end was expected, not '6'"),
        ("(visit > 5", 11, "')' was expected, not the end"),
        ("visit > 5)", 10, "AND, OR or the end was expected, not ')'"),
        ("visit IN 5", 10, "'(' was expected, not '5'"),
        ("visit IN ()", 11, "a name or a value was expected, not ')'"),
        ("visit IN (1,)", 13, "a name or a value was expected, not ')'"),
        ("visit IN (1..)", 14, "a name or a value was expected, not ')'"),
        ("visit IN (1..'a')", 11, "a range takes integers and a step from 1 on"),
        ("visit IN (1..5:0)", 11, "a range takes integers and a step from 1 on"),
        ("visit IN (1..2.5)", 11, "a range takes integers and a step from 1 on"),
        ("band = 'g", 8, "a text does not end"),
        ("band = T'2025", 8, "a text does not end"),
        ('band = "g"', 8, "'\"' has no meaning here"),
        ("visit; DROP TABLE txn", 6, "';' has no meaning here"),
        ("visit = 5 -- x", 11, "'-' has no meaning here"),
        ("visit + 1 = 2", 7, "'+' has no meaning here"),
        ("visit = 9223372036854775808", 9, "9223372036854775808 does not fit 64 bits"),
        ("t = T'yesterday'", 5, "T'yesterday' is no time"),
        ("t = T'2025-02-30'", 5, "T'2025-02-30' is no time"),
        ("t = T'1677-01-01'", 5, "T'1677-01-01' does not fit 64 bits of nanoseconds"),
        ("visit > 1 AND t < T'9999-12-31'", 19, "T'9999-12-31' does not fit 64 bits of nanoseconds"),
        ("t IN (T'2025-06-24', T'mjd/1e9')", 22, "is no time"),
        ("t IN (T'2025-06-24', T'mjd/99999999')", 22, "T'mjd/99999999' does not fit 64 bits"),
        ("t OVERLAPS (T'0001-01-01', NULL)", 13, "T'0001-01-01' does not fit 64 bits"),
        ("visit = NULL", 9, "a name or a value was expected, not 'NULL'"),
        ("visit NOT = 5", 11, "a comparison"),
        ("visit.region OVERLAPS CIRCLE(1,2)", 23, "CIRCLE has 2 values"),
        ("visit.region OVERLAPS polygon(1,2,3,4,5,6,7)", 23, "POLYGON has 7 values"),
        ("visit.region OVERLAPS POLYGON(1,2,3,4)", 23, "POLYGON has 4 values"),
        ("visit.region OVERLAPS POINT()", 29, "a name or a value was expected, not ')'"),
        ("visit.region OVERLAPS POINT(visit, 2)", 29, "a value was expected, not 'visit'"),
        ("visit.region OVERLAPS", 22, "a name or a value was expected, not the end"),
        ("visit.timespan OVERLAPS (T'2025-06-24')", 39, "',' was expected, not ')'"),
        ("POINT(1, 2) = 5", 13, "'OVERLAPS' was expected, not '='"),
        ("(" * 60 + "a=1" + ")" * 60, 51, "more than 50 parentheses"),
        ("é = 5", 1, "'é' has no meaning here"),
    ],
)
def test_errors_point_at_the_character(text: str, at: int, words: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse(text)
    assert error.value.kind is ErrorKind.EXPRESSION
    assert words in error.value.message
    assert f"at character {at} of the expression" in error.value.message
    _, shown, caret, *_ = error.value.message.split("\n")
    assert caret.index("^") - 2 == at - 1
    assert shown[2:] == text[:120]


def test_error_in_a_long_text_of_many_lines_shows_its_line() -> None:
    with pytest.raises(InvalidInputError) as error:
        parse("visit > 5\n  AND " + "visit < 1000000 AND " * 20 + "visit ! 3\n AND visit > 9")
    _, shown, caret, *_ = error.value.message.split("\n")
    assert shown[caret.index("^")] == "!"
    assert len(shown) < 130


@pytest.mark.parametrize("value", [5, None, b"visit > 5", "a = 1 AND " * 20_000 + "a = 1"])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse(value)
    assert error.value.kind is ErrorKind.EXPRESSION


PIECES = [
    "visit",
    "band",
    "exposure.seq_num",
    "5",
    "1..3",
    "'x'",
    "T'2025-06-24'",
    "T'",
    "'",
    ":b",
    "(",
    ")",
    ",",
]
PIECES += [
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "GLOB",
    "IS",
    "NULL",
    "=",
    "<",
    ">=",
    "..",
    ":",
    "\n",
    "\t",
    "-",
    "é",
    ";",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_tree_or_an_error_that_points_into_it(text: str) -> None:
    try:
        tree = parse(text)
    except InvalidInputError as error:
        found: object = (error.kind, "^" in error.message)
    else:
        found = tree and (ErrorKind.EXPRESSION, True)
    assert found == (ErrorKind.EXPRESSION, True)


WRONG_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
    datetime(1677, 9, 1, tzinfo=UTC),
    datetime(2262, 5, 1, tzinfo=UTC),
    Time_(2268923.5, format="jd", scale="tai"),
]


@pytest.mark.parametrize(
    "wrong", [*WRONG_TIMES, *([one] for one in WRONG_TIMES), (Time_("2020-01-01"), WRONG_TIMES[-1])]
)
@pytest.mark.parametrize(
    "text", ["a = 1 AND t > :x", "NOT (t IN (5, :x))", "t OVERLAPS :x", "t OVERLAPS (NULL, :x)"]
)
def test_bound_times_that_do_not_fit_are_pointed_at(text: str, wrong: object) -> None:
    with pytest.raises(InvalidInputError, match="does not fit 64 bits of nanoseconds") as error:
        check_expression(text, {"x": wrong})
    assert error.value.kind is ErrorKind.EXPRESSION
    assert f"at character {text.index(':x') + 1} of the expression" in error.value.message


def test_expressions_are_checked_without_a_registry() -> None:
    right = datetime(2025, 6, 24, tzinfo=UTC)
    for text in ("t > :x", "r OVERLAPS CIRCLE(1, 2, :x)", "a LIKE :x", "a IS NULL AND b GLOB 'c'"):
        check_expression(text, {"x": right})
    check_expression("t IN (:x)", {"x": [1, "a", None, right, Time_(right)]})
    for text, bind in (("t > :x", {}), ("t >", {}), (7, {}), ("t > :x", {"x": datetime(2025, 6, 24)})):
        with pytest.raises(InvalidInputError) as error:
            check_expression(text, bind)
        assert error.value.kind is ErrorKind.EXPRESSION
