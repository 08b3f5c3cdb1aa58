"""What an expression is but for its values."""

from typing import Any

import numpy as np
import pytest

from quantumio.registry._expression import parse
from quantumio.registry._tree import Comparison, Membership, Name, Parameter, terms_of
from quantumio.registry._where_shape import shape_of


def shape(where: str, **bind: object) -> Any:
    return shape_of(terms_of(parse(where)), bind, where)


def test_values_are_parameters_in_the_order_in_which_they_stand() -> None:
    terms, values = shape("visit > 3 AND name = 'a' OR visit IN (1..9, 12, :v)", v=7)
    (either,) = terms
    both, listed = either.parts
    assert both.parts[0] == Comparison(">", Name("visit", 0), Parameter("where_0", "int"), 0)
    assert both.parts[1] == Comparison("=", Name("name", 0), Parameter("where_1", "str"), 0)
    assert isinstance(listed, Membership)
    assert values == {
        "where_0": 3,
        "where_1": "a",
        "where_2": 1,
        "where_3": 9,
        "where_4": 12,
        "where_5": 7,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("visit = 1", "visit  =  100"),
        ("visit IN (1..9)", "visit IN ( 1000..2000 )"),
        ("NOT (visit = 1 OR name IS NULL)", "NOT (visit = 23 OR name IS NULL)"),
        ("visit.timespan.begin > T'2025-01-01'", "visit.timespan.begin > T'2026-01-01'"),
        ("visit IN (1, 2, detector)", "visit IN (10, 20, detector)"),
    ],
)
def test_other_values_have_the_same_shape(one: str, other: str) -> None:
    assert shape(one)[0] == shape(other)[0]
    assert hash(shape(one)[0]) == hash(shape(other)[0])
    assert shape(one)[1] != shape(other)[1] or "IS" in one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("visit = 1", "visit < 1"),
        ("visit = 1", "detector = 1"),
        ("visit = 1", "visit = 1.5"),
        ("visit = 1", "visit = '1'"),
        ("visit IN (1)", "visit IN (1, 2)"),
        ("visit IN (1..9)", "visit IN (1..9:2)"),
        ("visit = 1 AND detector = 2", "visit = 1 OR detector = 2"),
        ("visit = 1", "NOT visit = 1"),
    ],
)
def test_what_is_another_statement_has_another_shape(one: str, other: str) -> None:
    assert shape(one)[0] != shape(other)[0]


def test_bound_values_are_as_good_as_written_ones() -> None:
    assert shape("visit = :v", v=np.int64(4)) == shape("visit = 4")
    assert shape("visit IN (:v)", v=np.array([4, 5])) == shape("visit IN (4, 5)")
    assert shape("visit IN (:v)", v=4) == shape("visit IN (4)")


@pytest.mark.parametrize(
    ("where", "bind"),
    [
        ("good = TRUE", {}),
        ("name LIKE 'a%'", {}),
        ("visit.timespan OVERLAPS T'2025-01-01'", {}),
        ("visit IN (:v)", {"v": range(33)}),
        (f"visit IN ({', '.join(map(str, range(33)))})", {}),
        ("visit = :v", {}),
        ("visit = :v", {"v": None}),
        ("visit = :v", {"v": float("nan")}),
    ],
)
def test_what_is_more_than_parameters_has_none(where: str, bind: dict[str, object]) -> None:
    assert shape(where, **bind) is None
