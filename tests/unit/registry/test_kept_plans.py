"""Queries that differ in values alone share a plan: each still gives its own matches and its own errors."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from attrs import evolve

from quantumio.errors import InvalidInputError
from quantumio.model import DataId, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, RAW, Commit, exposure, visit

RUN = "u/ada/isr"
ALL = [(number, detector) for number in range(6) for detector in range(3)]


@pytest.fixture
def filled(catalog: SqlCatalog, commit: Commit) -> SqlCatalog:
    commit(CALEXP, [visit(number, detector) for number, detector in ALL])
    commit(RAW, [exposure(number, detector) for number, detector in ALL])
    commit(
        FLAT, [{"instrument": "ST8", "physical_filter": band, "detector": 0} for band in ("R", "I", "'--")]
    )
    catalog.insert_dimension(
        "visit",
        [
            {
                "instrument": "ST8",
                "visit": number,
                "physical_filter": "RI"[number % 2],
                "exposure_time_s": number / 2,
                "timespan": Timespan(number * 10**9, number * 10**9 + 1),
            }
            for number in range(5)  # of the last there is no record
        ],
    )
    return catalog


def query(where: str, bind: dict[str, Any] | None = None, **options: Any) -> DatasetQuery:
    options = {"dataset_types": ("calexp",), "collections": (RUN,), **options}
    return DatasetQuery(where=where, bind=bind or {}, **options)


def found(catalog: SqlCatalog, asked: DatasetQuery) -> list[DataId]:
    """Return the matches, which are the same in all forms."""
    refs = list(catalog.refs(asked))
    assert [stored.ref for stored in catalog.query(asked)] == refs
    batches: list[Any] = list(catalog.columns(asked, ("id", "detector")))
    assert pa.Table.from_batches(batches).column("id").to_pylist() == [str(ref.id) for ref in refs]
    assert catalog.count(asked) == len(refs)
    assert catalog.any(asked) == bool(refs)
    paged, token = catalog.page(asked, 2)
    while token is not None:
        more, token = catalog.page(asked, 2, token)
        paged += more
    assert paged == refs
    return [ref.data_id for ref in refs]


CASES: list[tuple[str, list[Any], Callable[[int, int, Any], bool]]] = [
    ("visit = :a", [0, 3, 99], lambda number, _, a: number == a),
    ("NOT visit = :a", [0, 3, 99], lambda number, _, a: number != a),
    ("visit > :a AND detector < 2", [0, 3, -7], lambda number, detector, a: number > a and detector < 2),
    ("visit IN (:a)", [[1, 2], [4, 4], 5], lambda number, _, a: number in (a if type(a) is list else [a])),
    ("visit < :a", [2.5, 0.5], lambda number, _, a: number < a),
    ("detector = visit OR visit = :a", [1, 2], lambda number, detector, a: number in (detector, a)),
    ("band = :a", ["R", "I"], lambda number, _, a: False),
    (
        "physical_filter = :a",
        ["R", "I", "' OR 1=1 --"],
        lambda number, _, a: number < 5 and "RI"[number % 2] == a,
    ),
    ("visit.exposure_time_s >= :a", [0.5, 2], lambda number, _, a: number < 5 and number / 2 >= a),
    ("visit.timespan.begin IS NULL AND visit > :a", [0, 9], lambda number, _, a: number == 5 and number > a),
]


@pytest.mark.parametrize(("where", "values", "holds"), CASES, ids=[case[0] for case in CASES])
def test_each_value_has_its_own_matches(
    filled: SqlCatalog, where: str, values: list[Any], holds: Callable[[int, int, Any], bool]
) -> None:
    for value in (*values, *values):
        expected = [visit(*one) for one in ALL if holds(*one, value)]
        assert found(filled, query(where, {"a": value})) == expected
        in_order = query(where, {"a": value}, order_by=("-detector", "visit"))
        assert found(filled, in_order) == sorted(expected, key=lambda one: (-one["detector"], one["visit"]))


def test_written_values_have_their_own_matches(filled: SqlCatalog) -> None:
    for first in range(4):
        where = f"visit IN ({first}..{first + 2}, 5)"
        assert found(filled, query(where)) == [
            visit(*one) for one in ALL if first <= one[0] <= first + 2 or one[0] == 5
        ]
        steps = query(f"visit IN ({first}..5:2)", data_id={"detector": first % 3})
        assert found(filled, steps) == [visit(number, first % 3) for number in range(first, 6, 2)]


def test_types_of_one_query_each_take_their_part(filled: SqlCatalog) -> None:
    both = {"dataset_types": ("calexp", "raw")}
    for detector in range(3):
        ids = found(filled, query(f"detector = {detector}", **both))
        assert ids == [make(n, detector) for make in (visit, exposure) for n in range(6)]


def test_hostile_texts_are_values(filled: SqlCatalog) -> None:
    for text in ("R", "'--", "R' OR '1'='1", "%", "\\"):
        matches = found(filled, query("physical_filter = :t", {"t": text}, dataset_types=("flat",)))
        assert [one["physical_filter"] for one in matches] == [text] * (text in ("R", "'--"))


def test_errors_point_at_their_own_characters(filled: SqlCatalog) -> None:
    for where in ("visit = 1 AND colour = 2", "visit = 12345 AND colour = 2", "visit = 1 AND colour = 2"):
        with pytest.raises(InvalidInputError, match=f"character {where.index('colour') + 1} of"):
            list(filled.refs(query(where)))
    for where in ("detector = 1 AND visit = 'a'", "detector = 123 AND visit = 'a'"):
        with pytest.raises(InvalidInputError, match=f"character {where.index(chr(39)) + 1} of"):
            list(filled.refs(query(where)))
    for value in (None, float("nan"), object()):
        with pytest.raises(InvalidInputError, match=":a "):
            list(filled.refs(query("visit = :a", {"a": value})))


def test_the_moment_is_a_value_as_well(filled: SqlCatalog, commit: Commit) -> None:
    then = filled.create_snapshot("then").seq
    (second,) = commit(CALEXP, [visit(2, 1)])
    filled.insert_dimension(
        "visit",
        [{"instrument": "ST8", "visit": 5, "physical_filter": "R", "exposure_time_s": 100.0}],
    )
    now = query("visit = 2 AND detector = 1")
    for _ in range(2):
        assert [ref.version for ref in filled.refs(now)] == [2]
        assert [ref.version for ref in filled.refs(evolve(now, as_of=then))] == [1]
        assert [ref.id for ref in filled.refs(evolve(now, versions="all"))][-1] == second.id
        assert found(filled, query("visit.exposure_time_s > 50")) == [visit(5, d) for d in range(3)]
        assert found(filled, query("visit.exposure_time_s > 50", as_of=then)) == []


def test_many_shapes_do_not_fill_the_memory(sqlite_catalog: SqlCatalog) -> None:
    planner = sqlite_catalog._queries._planner
    for number in range(300):
        wheres = " OR ".join(["visit = 1"] * (number % 20 + 1) + ["detector = 1"] * (number // 20))
        assert list(sqlite_catalog.refs(query(wheres, collections=None))) == []
    assert 0 < len(planner._kept) <= 256


def test_long_lists_are_written_as_they_come(filled: SqlCatalog) -> None:
    """They have no shape: whatever their types, each has its own matches."""
    for values in (range(2, 50), [2.0, *range(3, 50)]):
        matches = found(filled, query("visit IN (:a)", {"a": list(values)}))
        assert matches == [visit(*one) for one in ALL if one[0] >= 2]
    too_many = query("visit IN (:a)", {"a": [0.5, *range(10_000)]})
    with pytest.raises(InvalidInputError, match="10001 values that are not all integers"):
        list(filled.refs(too_many))
