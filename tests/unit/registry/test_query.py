"""Look-ups and queries over datasets."""

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetType, Region, StoredDataset, Timespan
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.system import environment, failpoints
from tests.unit.registry.conftest import (
    CALEXP,
    FLAT,
    NOTE,
    RAW,
    Commit,
    Place,
    exposure,
    make_transaction,
    visit,
)

RUN = "u/ada/isr"


def shown(found: Iterator[StoredDataset]) -> list[tuple[Any, ...]]:
    return [
        (stored.ref.dataset_type.name, stored.ref.run, *stored.ref.data_id.values(), stored.ref.version)
        for stored in found
    ]


def visits(
    catalog: SqlCatalog, where: str | None = None, bind: dict[str, Any] | None = None, **options: Any
) -> list[Any]:
    query = DatasetQuery(dataset_types=("calexp",), where=where, bind=bind or {}, **options)
    found = [stored.ref.data_id["visit"] for stored in catalog.query(query)]
    assert catalog.count(query) == len(found)
    return found


# -- find


def test_latest_version_is_found_or_the_one_asked_for(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [commit(CALEXP, [visit(1)])[0] for _ in range(3)]
    for version, expected in ((None, refs[2]), (1, refs[0]), (3, refs[2])):
        found = catalog.find(CALEXP, DataId(visit(1)), [RUN], version=version)
        assert found is not None
        assert found.ref == expected
        assert found.ref.version == expected.version
    assert catalog.find(CALEXP, DataId(visit(1)), [RUN], version=4) is None
    assert catalog.find(CALEXP, DataId(visit(2)), [RUN]) is None
    assert catalog.find(RAW, DataId(exposure(1)), [RUN]) is None


def test_collections_are_searched_in_order(catalog: SqlCatalog, commit: Commit) -> None:
    (first,) = commit(CALEXP, [visit(1)], run="a")
    (second, other) = commit(CALEXP, [visit(1), visit(2)], run="b")
    (old,) = commit(CALEXP, [visit(3)], run="c")
    commit(CALEXP, [visit(3)], run="c")
    catalog.associate("good", [old])
    catalog.set_chain("inner", ["good", "a"])
    catalog.set_chain("best", ["inner", "b", "c"])

    def find(number: int, *collections: str) -> Any:
        found = catalog.find(CALEXP, DataId(visit(number)), collections)
        return None if found is None else found.ref

    assert find(1, "a", "b") == find(1, "best") == first
    assert find(1, "b", "a") == find(1, "b", "best") == second
    assert find(2, "best") == other
    assert find(3, "best") == old
    assert find(3, "c") != old
    assert find(9, "best") is None
    assert find(1) is None
    with pytest.raises(NotFoundError, match="there is no collection 'inne'.*did you mean 'inner'") as error:
        find(1, "a", "inne")
    assert error.value.kind is ErrorKind.NO_COLLECTION


def test_find_of_wrong_things_says_what_is_wrong(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    with pytest.raises(NotFoundError, match="no dataset type 'nobody'"):
        catalog.find(DatasetType("nobody", dimensions=(), storage_class="Text"), DataId({}), [RUN])
    with pytest.raises(InvalidInputError, match="lacks detector, visit") as error:
        catalog.find(CALEXP, DataId({"instrument": "ST8"}), [RUN])
    assert error.value.kind is ErrorKind.DATA_ID


def test_dataset_without_dimensions_is_found(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(NOTE, [{}])
    found = catalog.find(NOTE, DataId({}), [RUN])
    assert found is not None
    assert found.ref == ref
    assert shown(catalog.query(DatasetQuery(dataset_types=("note",)))) == [("note", RUN, 1)]


def test_versions_of_an_incomplete_data_id_are_refused(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    for call in (catalog.versions, catalog.version_numbers):
        with pytest.raises(InvalidInputError, match="detector") as error:
            call(CALEXP, DataId({"instrument": "ST8", "visit": 1}), "u/ada/isr")
        assert error.value.kind is ErrorKind.DATA_ID


def test_collections_that_are_named_several_times_are_searched_once(
    catalog: SqlCatalog, commit: Commit
) -> None:
    for run in ("u/a", "u/b"):
        commit(CALEXP, [visit(1)], run=run)
    catalog.set_chain("inner", ["u/b"])
    for name in ("left", "right"):
        catalog.set_chain(name, ["inner", "u/a"])
    catalog.set_chain("both", ["left", "right"])  # by two ways, and in no circle
    for _ in range(2):
        catalog.set_chain("top", ["both"])
    found = catalog.find(CALEXP, DataId(visit(1)), ["top"])
    assert found is not None
    assert found.ref.run == "u/b"
    query = DatasetQuery(dataset_types=("calexp",), collections=("both", "u/*"))
    assert sorted(stored.ref.run for stored in catalog.query(query)) == ["u/a", "u/b"]
    with pytest.raises(ConflictError) as error:
        catalog.set_chain("inner", ["top"])
    assert error.value.kind is ErrorKind.CYCLE


def test_collection_that_another_process_registers_meanwhile_is_there_once(
    catalog: SqlCatalog, place: Place
) -> None:
    other = place.open()
    answers = []

    def register(point: str) -> None:
        if point in ("files.lock.before", "registry.begin.before") and not answers:
            answers.append(None)
            answers.append(other.register_collection("u/new", CollectionKind.RUN))

    with failpoints.watched(register):
        assert not catalog.register_collection("u/new", CollectionKind.RUN)
    assert answers == [None, True]
    other.close()


def test_versions_are_listed_oldest_first(catalog: SqlCatalog, commit: Commit) -> None:
    for _ in range(12):
        commit(CALEXP, [visit(1)])
    assert [found.ref.version for found in catalog.versions(CALEXP, DataId(visit(1)), RUN)] == list(
        range(1, 13)
    )
    assert catalog.versions(CALEXP, DataId(visit(2)), RUN) == []
    assert catalog.versions(CALEXP, DataId(visit(1)), "nowhere") == []


def test_stored_leaves_unknown_ids_out_and_keeps_the_order(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [*commit(CALEXP, [visit(number) for number in range(600)]), *commit(NOTE, [{}])][::-1]
    ids = [ref.id for ref in refs]
    asked = [*ids[:100], environment.uuid7(), *ids[100:], *ids[:3]]
    assert list(catalog.stored(asked)) == ids
    assert catalog.stored([]) == {}
    assert catalog.stored(iter(ids[:1]))[ids[0]].ref == refs[0]


# -- what a query matches


def test_query_gives_latest_versions_or_all(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1), visit(2)])
    commit(CALEXP, [visit(1)])
    assert shown(catalog.query(DatasetQuery())) == [
        ("calexp", RUN, "ST8", 0, 1, 2),
        ("calexp", RUN, "ST8", 0, 2, 1),
    ]
    everything = DatasetQuery(versions="all")
    assert [stored.ref.version for stored in catalog.query(everything)] == [1, 2, 1]
    assert catalog.count(everything) == 3
    assert all(stored.artifacts for stored in catalog.query(everything))


def test_dataset_types_are_named_or_matched(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    commit(RAW, [exposure(1)])
    commit(NOTE, [{}])
    for patterns, expected in (
        ((), ["calexp", "note", "raw"]),
        (("raw", "calexp"), ["calexp", "raw"]),
        (("*a*",), ["calexp", "raw"]),
        (("x*",), []),
    ):
        found = [row[0] for row in shown(catalog.query(DatasetQuery(dataset_types=patterns)))]
        assert found == expected
    with pytest.raises(NotFoundError, match="did you mean 'raw'"):
        catalog.query(DatasetQuery(dataset_types=("rawr",)))


def test_ordered_collections_give_the_first_match_and_globs_all(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1), visit(2)], run="u/a")
    commit(CALEXP, [visit(1)], run="u/a")
    (second, third) = commit(CALEXP, [visit(2), visit(3)], run="u/b")
    catalog.associate("good", [second])
    catalog.set_chain("best", ["good", "u/a", "u/b"])

    def found(*collections: str, **options: Any) -> list[tuple[Any, ...]]:
        query = DatasetQuery(collections=collections, **options)
        rows = [(row[4], row[1], row[5]) for row in shown(catalog.query(query))]
        assert catalog.count(query) == len(rows)
        by_visit = DatasetQuery(collections=collections, order_by=("visit", "run", "version"), **options)
        assert [(row[4], row[1], row[5]) for row in shown(catalog.query(by_visit))] == sorted(rows)
        return sorted(rows)

    assert found("u/a", "u/b") == [(1, "u/a", 2), (2, "u/a", 1), (3, "u/b", 1)]
    assert found("u/b", "u/a") == [(1, "u/a", 2), (2, "u/b", 1), (3, "u/b", 1)]
    assert found("best") == [(1, "u/a", 2), (2, "u/b", 1), (3, "u/b", 1)]
    assert found("best", versions="all") == [(1, "u/a", 1), (1, "u/a", 2), (2, "u/b", 1), (3, "u/b", 1)]
    assert found("u/*") == [(1, "u/a", 2), (2, "u/a", 1), (2, "u/b", 1), (3, "u/b", 1)]
    assert found("*") == found("u/*")
    assert found("u/a", "u/b", find_first=False) == found("u/*")
    assert found("good") == [(2, "u/b", 1)]
    assert found("x*") == []
    assert found() == []
    assert third.version == 1
    with pytest.raises(NotFoundError):
        found("nowhere")


def test_calibrations_are_listed_once(catalog: SqlCatalog, commit: Commit) -> None:
    data_id = {"instrument": "ST8", "physical_filter": "R", "detector": 0}
    (one,), (other,) = commit(FLAT, [data_id]), commit(FLAT, [data_id])
    for begin in (0, 20, 40):
        catalog.certify("calib", [one], Timespan(begin, begin + 10))
    catalog.certify("calib", [other], Timespan(100, 200))
    query = DatasetQuery(collections=("calib", RUN))
    assert [stored.ref for stored in catalog.query(query)] == [one, other]
    assert catalog.count(query) == 2
    catalog.decertify("calib", "flat", Timespan())
    assert [stored.ref for stored in catalog.query(query)] == [other]


def test_partial_data_ids_match_required_and_implied_dimensions(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number, detector) for number in (1, 2, 3) for detector in (0, 1)])
    catalog.insert_dimension(
        "visit",
        [{"instrument": "ST8", "visit": number, "physical_filter": "RG"[number % 2]} for number in (1, 2, 3)],
    )
    catalog.insert_dimension(
        "physical_filter",
        [{"instrument": "ST8", "physical_filter": name, "band": name.lower()} for name in "RG"],
    )
    assert visits(catalog, data_id={"visit": 2}) == [2, 2]
    assert visits(catalog, data_id={"detector": np.int64(1), "instrument": "ST8"}) == [1, 2, 3]
    assert visits(catalog, data_id={"physical_filter": "G", "detector": 0}) == [1, 3]
    assert visits(catalog, data_id={"band": "r"}) == [2, 2]
    assert visits(catalog, "band = 'g' AND physical_filter != 'R'", collections=("u/*",)) == [1, 1, 3, 3]
    with pytest.raises(InvalidInputError, match="'exposure'") as error:
        visits(catalog, data_id={"exposure": 1})
    assert error.value.kind is ErrorKind.DATA_ID
    with pytest.raises(InvalidInputError, match="no value of dimension"):
        visits(catalog, data_id={"visit": "1"})
    with pytest.raises(InvalidInputError, match="'visiting' is no dimension"):
        visits(catalog, data_id={"visiting": 1})


# -- where


def insert_visits(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number) for number in range(1, 11)])
    catalog.insert_dimension(
        "visit",
        [
            {
                "instrument": "ST8",
                "visit": number,
                "exposure_time_s": 10.0 * number,
                "target_name": f"M_{number}%",
                "timespan": Timespan.from_times(Time(60850 + number, format="mjd", scale="tai"), None),
            }
            for number in range(1, 8)
        ],
    )


MATCHES: list[tuple[str, list[int]]] = [
    ("visit > 8", [9, 10]),
    ("8 < visit", [9, 10]),
    ("visit >= 8 AND visit != 9", [8, 10]),
    ("visit = 1 OR visit = 3 AND detector = 1", [1]),
    ("(visit = 1 OR visit = 3) AND NOT detector = 1", [1, 3]),
    ("visit IN (1, 5..8:2, 100)", [1, 5, 7]),
    ("visit IN (-9223372036854775807..10:2)", [1, 3, 5, 7, 9]),
    ("visit IN (-9223372036854775806..10:4)", [2, 6, 10]),
    ("visit NOT IN (2..10)", [1]),
    ("visit < 2.5", [1, 2]),
    ("instrument = 'ST8' AND visit <= 1", [1]),
    ("instrument = 'st8'", []),
    ("instrument LIKE 'S%8'", list(range(1, 11))),
    ("instrument LIKE 's%8'", []),
    ("instrument LIKE 'ST\\_'", []),
    ("instrument LIKE 'ST_'", list(range(1, 11))),
    ("instrument GLOB 'S[A-Z]?' AND visit = 1", [1]),
    ("instrument NOT GLOB '*8'", []),
    ("visit.exposure_time_s > 50", [6, 7]),
    ("visit.exposure_time_s > visit", [1, 2, 3, 4, 5, 6, 7]),
    ("NOT visit.exposure_time_s > 50", [1, 2, 3, 4, 5]),
    ("visit.exposure_time_s IS NULL", [8, 9, 10]),
    ("visit.target_name = 'M_3%'", [3]),
    ("visit.target_name LIKE 'M\\_3\\%'", [3]),
    ("visit.target_name GLOB 'M[_]?[%]' AND visit > 6", [7]),
    ("visit.timespan.begin >= T'60855' AND visit.timespan.begin < T'60857/tai'", [5, 6]),
    ("visit.timespan.begin = T'60851' OR visit.timespan.begin IN (T'60853')", [1, 3]),
    ("visit.timespan.begin < T'2025-06-25/tai'", []),
    ("visit.timespan.begin < T'2025-06-25'", [1]),
    ("visit IN (visit.visit) AND visit < 3", [1, 2]),
    ("1 = 1 AND visit = 4", [4]),
]


def test_where_matches(catalog: SqlCatalog, commit: Commit) -> None:
    insert_visits(catalog, commit)
    for where, expected in MATCHES:
        assert visits(catalog, where) == expected, where


@pytest.mark.parametrize("given", [range(10**12), range(10**12, -5, -7), range(10**30)])
def test_range_that_is_no_list_is_refused_before_it_fills_the_memory(
    catalog: SqlCatalog, given: range
) -> None:
    first, last = sorted((given[0], given[-1]))
    with pytest.raises(InvalidInputError, match="more than 1000000 values") as raised:
        list(catalog.query(DatasetQuery(where="visit IN (:a)", bind={"a": given})))
    assert f"({first}..{last})" in str(raised.value)
    assert list(catalog.query(DatasetQuery(where="visit IN (:a)", bind={"a": range(5)}))) == []


@pytest.mark.parametrize("where", ["visit IN (:a)", "visit IN (:a) AND instrument LIKE 'S%'"])
@pytest.mark.parametrize("numbers", [[1, 2], range(2, 50)])
def test_values_that_can_be_read_once_are_bound(
    catalog: SqlCatalog, commit: Commit, where: str, numbers: Any
) -> None:
    insert_visits(catalog, commit)
    once = DatasetQuery(dataset_types=("calexp",), where=where, bind={"a": iter(numbers)})
    assert catalog.count(once) == len(visits(catalog, where, bind={"a": list(numbers)})) > 0


def test_where_takes_bound_values(catalog: SqlCatalog, commit: Commit) -> None:
    insert_visits(catalog, commit)
    for where, value, expected in (
        ("visit = :x", np.int32(3), [3]),
        ("visit IN :x", [1, 2], [1, 2]),
        ("visit IN (:x, 9)", np.array([1, 2]), [1, 2, 9]),
        ("visit IN :x", range(1, 3), [1, 2]),
        ("visit IN :x", [], []),
        ("visit IN :x", 3, [3]),
        ("visit IN :x", list(range(9, 50_000)), [9, 10]),
        ("visit.exposure_time_s IN :x", [10.0, 20], [1, 2]),
        ("visit.exposure_time_s < :x", np.float64(25.0), [1, 2]),
        ("instrument IN :x", {"ST8", "'"}, list(range(1, 11))),
        ("instrument IN :x", [f"ST{number}" for number in range(100)], list(range(1, 11))),
        ("visit.target_name LIKE :x", "%3%", [3]),
        ("visit.timespan.begin < :x", Time("2025-06-25"), [1]),
        ("visit.timespan.begin IN :x", [Time(60853, format="mjd", scale="tai")], [3]),
    ):
        assert visits(catalog, where, {"x": value, "unused": 1}) == expected, where


@pytest.mark.parametrize(
    ("where", "bind", "at", "words"),
    [
        ("vist = 1", {}, 1, "'vist' is no dimension"),
        ("exposure = 1", {}, 1, "a data ID of calexp has no dimension 'exposure'"),
        ("visit = 1 AND exposure.seq_num = 1", {}, 15, "a data ID of calexp has no exposure"),
        ("visit.colour = 'red'", {}, 1, "visit has no field 'colour'"),
        ("visit.timespan = 1", {}, 1, "visit has no field 'timespan'"),
        ("visit_definition = 1", {}, 1, "'visit_definition' relates dimensions and has no value"),
        ("visit = 'a'", {}, 9, "visit is an integer, this is a text"),
        ("'a' = visit", {}, 1, "visit is an integer, this is a text"),
        ("instrument > 5", {}, 14, "instrument is a text, this is an integer"),
        ("visit IN (1, 'a')", {}, 14, "visit is an integer, this is a text"),
        ("instrument IN (1..5)", {}, 16, "instrument is a text, this is an integer"),
        ("visit.timespan.begin > 5", {}, 24, "visit.timespan.begin is a time, this is an integer"),
        ("visit > T'2025-06-24'", {}, 9, "visit is an integer, this is a time"),
        ("visit LIKE '1%'", {}, 1, "LIKE takes texts, this is an integer"),
        ("instrument LIKE 5", {}, 17, "LIKE takes a pattern"),
        ("instrument GLOB visit", {}, 17, "GLOB takes a pattern"),
        ("TRUE < FALSE", {}, 6, "truth values have no order"),
        ("visit = :x", {}, 9, "there is no value for :x"),
        ("visit = :x", {"x": "1"}, 9, "visit is an integer, this is a text"),
        ("visit = :x", {"x": None}, 9, ":x = None is no value"),
        ("visit = :x", {"x": [1]}, 9, ":x = [1] is no value"),
        ("visit = :x", {"x": 1 << 63}, 9, "does not fit 64 bits"),
        ("visit > :x", {"x": float("nan")}, 9, ":x is not a number"),
        ("visit IN :x", {"x": [1, "2"]}, 10, "visit is an integer, this is a text"),
        ("instrument = :x", {"x": "a\0"}, 14, "is no valid text"),
        ("instrument = :x", {"x": "\ud800"}, 14, "is no valid text"),
        ("instrument = :x", {"x": b"a"}, 14, ":x = b'a' is no value"),
        (
            "visit > :x",
            {"x": Timespan(0, 1)},
            9,
            ":x is a Timespan",
        ),
        ("visit > :x", {"x": Region.make("CIRCLE 1 2 3")}, 9, ":x is a Region"),
        ("visit.timespan.begin > :x", {"x": Time(["2025-06-24", "2025-06-25"])}, 24, ":x: "),
    ],
)
def test_wrong_where_points_at_the_character(
    sqlite_catalog: SqlCatalog, where: str, bind: dict[str, Any], at: int, words: str
) -> None:
    query = DatasetQuery(dataset_types=("calexp",), where=where, bind=bind)
    for call in (sqlite_catalog.query, sqlite_catalog.count):
        with pytest.raises(InvalidInputError) as error:
            call(query)
        assert error.value.kind is ErrorKind.EXPRESSION
        assert words in error.value.message
        assert f"at character {at} of the expression" in error.value.message


def test_types_of_a_glob_without_the_dimension_do_not_match(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    commit(RAW, [exposure(1)])
    for options in ({"where": "visit = 1"}, {"data_id": {"visit": 1}}, {"order_by": ("visit",)}):
        found = shown(catalog.query(DatasetQuery(**options)))
        assert [row[0] for row in found] == ["calexp"]
        with pytest.raises(InvalidInputError):
            catalog.query(DatasetQuery(dataset_types=("raw", "calexp"), **options))
    with pytest.raises(InvalidInputError, match="no records of dimension 'tract'"):
        catalog.query(DatasetQuery(where="tract = 1"))  # images would be those of the tract
    with pytest.raises(InvalidInputError, match="no dimension 'day_obs'"):
        catalog.query(DatasetQuery(dataset_types=("n*", "f*"), where="day_obs = 1"))


# -- order, limit, pages


def test_order_by_and_limit(catalog: SqlCatalog, commit: Commit) -> None:
    for number, detector in ((3, 0), (1, 1), (2, 0), (1, 0)):
        commit(CALEXP, [visit(number, detector)])
    commit(CALEXP, [visit(1, 0)])
    commit(RAW, [exposure(1, 5)], run="a")
    catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": 2, "physical_filter": "R"}])

    def found(
        *order_by: str, limit: int | None = None, types: tuple[str, ...] = ("calexp",)
    ) -> list[tuple[Any, ...]]:
        query = DatasetQuery(dataset_types=types, order_by=order_by, limit=limit)
        rows = [(row[-2], row[-3]) for row in shown(catalog.query(query))]
        assert catalog.count(query) == len(rows)
        return rows

    assert found("visit") == [(1, 0), (1, 1), (2, 0), (3, 0)]
    assert found("-visit", "detector") == [(3, 0), (2, 0), (1, 0), (1, 1)]
    assert found("detector", "-visit", limit=2) == [(3, 0), (2, 0)]
    assert found("-version") == [(1, 0), (1, 1), (2, 0), (3, 0)]
    assert found("commit_seq") == [(3, 0), (1, 1), (2, 0), (1, 0)]
    assert found("-physical_filter", "visit") == [(2, 0), (1, 0), (1, 1), (3, 0)]
    assert found(limit=0) == []
    assert found("-detector", "run", types=()) == [(1, 5), (1, 1), (1, 0), (2, 0), (3, 0)]
    assert found("run", "visit", types=("*exp",), limit=1) == [(1, 0)]
    assert found("-dataset_type", types=("calexp", "raw"), limit=2) == [(1, 5), (1, 0)]
    for wrong in ("colour", "", "-", "visit.exposure_s", "txid"):
        with pytest.raises(InvalidInputError, match="order_by"):
            found(wrong)
    for options in ({"limit": -1}, {"limit": 1.5}, {"versions": "newest"}):
        with pytest.raises(InvalidInputError):
            catalog.query(DatasetQuery(**options))  # type: ignore[arg-type]


def test_pages_give_every_row_once_and_nothing_that_came_later(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number, detector) for number in range(300) for detector in range(3)])
    for options in (
        {},
        {"order_by": ("-visit",)},
        {"order_by": ("detector", "-visit")},
        {"collections": (RUN,)},
    ):
        found = catalog.query(DatasetQuery(**options))
        first = next(found)
        later = commit(
            CALEXP, [visit(number, detector) for number in range(100, 110) for detector in range(4)]
        )
        commit(CALEXP, [visit(1000)])
        rows = [first, *found]
        assert len(rows) == len({stored.ref.id for stored in rows})
        assert not {stored.ref for stored in rows} & set(later)
        if options.get("order_by") == ("-visit",):
            numbers = [stored.ref.data_id["visit"] for stored in rows]
            assert numbers == sorted(numbers, reverse=True)
    assert catalog.count(DatasetQuery(versions="all")) == 900 + 4 * 41


def test_query_holds_no_connection_between_pages(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number) for number in range(400)])
    streams = [catalog.query(DatasetQuery()) for _ in range(30)]
    for stream in streams:
        next(stream)
    pool = catalog._database._pools.reader.pool
    # One connection serves all of them, one after the other, and is back.
    held = pool.checkedout() if hasattr(pool, "checkedout") else 1 - len(pool._idle)  # type: ignore[attr-defined]
    assert held == 0


@given(
    runs=st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=5), min_size=1, max_size=3
    ),
    order=st.permutations([0, 1, 2]),
)
def test_find_first_of_a_query_is_what_find_finds(
    runs: list[list[tuple[int, int]]], order: list[int], first_light: SqlCatalog
) -> None:
    stamp = environment.random_token()
    names = [f"{stamp}/{number}" for number in range(3)]
    for name in names:
        first_light.register_collection(name, CollectionKind.RUN)
    for name, data_ids in zip(names, runs, strict=False):
        for data_id in data_ids:
            first_light.flip([make_transaction(CALEXP, [visit(*data_id)], run=name)])
    search = [names[number] for number in order]
    found = {
        stored.ref.data_id: stored for stored in first_light.query(DatasetQuery(collections=tuple(search)))
    }
    for number in range(3):
        for detector in range(2):
            data_id = DataId(visit(number, detector))
            assert found.get(data_id) == first_light.find(CALEXP, data_id, search)


@pytest.fixture(scope="module")
def first_light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalog]:
    """One registry for all examples of a property."""
    from quantumio.registry import create_registry, sqlite_url

    directory = tmp_path_factory.mktemp("first_light")
    catalog = create_registry(
        sqlite_url(directory / "registry.sqlite3"), universe_tables=None, lock_path=directory / "lock"
    )
    catalog.register_dataset_type(CALEXP)
    yield catalog
    catalog.close()


# -- hostile names and values

HOSTILE = [
    "'",
    '"',
    "';DROP TABLE txn;--",
    "100%",
    "%s %(x)s",
    ":x",
    "?",
    "\\",
    "a\nb",
    "ü☃\U0001f52d",
    "$1",
    "[a]*?",
    "{x}",
    '["a"]',
    "null",
]


def test_hostile_values_are_values(catalog: SqlCatalog) -> None:
    for text in HOSTILE:
        check_hostile_value(catalog, text)
    assert catalog.count(DatasetQuery(collections=("tag",))) == len(HOSTILE)


def check_hostile_value(catalog: SqlCatalog, text: str) -> None:
    data_id = {"instrument": text, "physical_filter": text[::-1], "detector": 0}
    transaction = make_transaction(FLAT, [data_id], key=text)
    (outcome,) = catalog.flip([transaction])
    ref = outcome.refs[0]  # type: ignore[union-attr]
    assert catalog.flip([make_transaction(FLAT, [data_id], key=text)])[0].reused  # type: ignore[union-attr]
    found = catalog.find(FLAT, DataId(data_id), [RUN])
    assert found is not None
    assert found.ref.data_id == data_id
    catalog.insert_dimension("instrument", [{"instrument": text, "class_name": text}])
    catalog.insert_dimension(
        "physical_filter", [{"instrument": text, "physical_filter": text[::-1], "band": text}]
    )
    assert catalog.insert_dimension("instrument", [{"instrument": text, "class_name": text}]) == 0
    catalog.certify("calib", [ref], Timespan(0, 1))
    catalog.associate("tag", [ref])
    catalog.associate("tag", [ref])
    quoted = "'" + text.replace("'", "''") + "'"
    escaped = quoted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    globbed = quoted.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    for options in (
        {"data_id": data_id},
        {"data_id": {"band": text}},
        {
            "where": f"instrument = {quoted} AND band IN ({quoted}) AND instrument.class_name = :x",
            "bind": {"x": text},
        },
        {"where": f"instrument LIKE {escaped} AND instrument GLOB {globbed}"},
        {"where": "instrument IN :x", "bind": {"x": [text, *map(str, range(100))]}},
        {
            "where": "instrument LIKE :x",
            "bind": {"x": "%"},
            "data_id": data_id,
            "order_by": ("-band", "instrument"),
        },
    ):
        assert [stored.ref for stored in catalog.query(DatasetQuery(dataset_types=("flat",), **options))] == [
            ref
        ], options
    (known,) = catalog.data_ids(["physical_filter"], {"instrument": text}, f"band = {quoted}", {})
    assert known == {"instrument": text, "physical_filter": text[::-1]}


def test_hostile_names_are_not_found(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    for text in HOSTILE:
        check_hostile_name(catalog, text)


def check_hostile_name(catalog: SqlCatalog, text: str) -> None:
    with pytest.raises(NotFoundError):
        catalog.find(CALEXP, DataId(visit(1)), [text])
    with pytest.raises(NotFoundError):
        catalog.dataset_type(text)
    assert catalog.collections(text) == [] or set(text) & set("*?[")
    for query in (DatasetQuery(dataset_types=(text,)), DatasetQuery(collections=(text,))):
        try:
            assert list(catalog.query(query)) == [] or set(text) & set("*?[")
        except NotFoundError as error:
            assert repr(text) in error.message  # noqa: PT017
    with pytest.raises(InvalidInputError):
        catalog.query(DatasetQuery(order_by=(text,)))
    with pytest.raises(InvalidInputError):
        catalog.query(DatasetQuery(where=text))
    assert catalog.count(DatasetQuery()) == 1


def test_datasets_without_artifacts_are_listed(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1), visit(2)])
    bare = [attrs.evolve(output, artifacts=()) for output in transaction.outputs]
    catalog.flip([attrs.evolve(transaction, outputs=tuple(bare))])
    listed = list(catalog.query(DatasetQuery()))
    assert [(stored.ref.data_id["visit"], stored.artifacts) for stored in listed] == [(1, ()), (2, ())]


def test_latest_versions_are_those_of_the_moment_of_the_query(catalog: SqlCatalog, commit: Commit) -> None:
    numbers = range(300)  # more than the first page
    commit(CALEXP, [visit(number) for number in numbers])
    commit(CALEXP, [visit(number) for number in numbers if number % 2])
    found = catalog.query(DatasetQuery(order_by=("visit",)))
    first = next(found)
    commit(CALEXP, [visit(number) for number in numbers])
    versions = {stored.ref.data_id["visit"]: stored.ref.version for stored in (first, *found)}
    assert versions == {number: 1 + number % 2 for number in numbers}
    assert all(
        stored.ref.version == 2 + stored.ref.data_id["visit"] % 2 for stored in catalog.query(DatasetQuery())
    )
