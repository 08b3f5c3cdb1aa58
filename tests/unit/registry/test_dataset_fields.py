"""Fields of datasets and of records in expressions and orders: as choosing and sorting by hand does."""

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import numpy as np
import pytest
from astropy.time import Time

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, StoredDataset, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, NOTE, RAW, Commit, artifact, exposure, visit
from tests.unit.registry.test_query_pages import all_pages

BEAM = DatasetType("beam_image", dimensions=("instrument", "beam"), storage_class="Text")


@pytest.fixture
def stored(catalog: SqlCatalog, commit: Commit) -> dict[str, StoredDataset]:
    """Versions, runs, tags, and copies in every state; returns the datasets by what is told of them."""
    refs = {}
    for run, number in itertools.product(("u/a", "u/b"), range(3)):
        (refs[f"{run}{number}.1"],) = commit(CALEXP, [visit(number)], run=run)
    for number in range(2):
        (refs[f"u/a{number}.2"],) = commit(CALEXP, [visit(number)], run="u/a")
    (refs["raw"],) = commit(RAW, [exposure(1)], run="u/a")
    (refs["note"],) = commit(NOTE, [{}], run="notes")
    catalog.associate("good", [refs["u/a0.1"], refs["u/b1.1"]])
    changed = {
        "u/a0.2": [artifact("long" * 30, store="local")],
        "u/b0.1": [artifact("x", state="missing"), artifact("y" * 99, store="vault", state="corrupt")],
        "u/b1.1": [artifact("x", state="pending"), artifact("y" * 50, store="vault")],
        "u/b2.1": [artifact("x", state="corrupt")],
    }
    catalog.record_artifacts({refs[name].id: artifacts for name, artifacts in changed.items()})
    known = catalog.stored([ref.id for ref in refs.values()])
    return {name: known[ref.id] for name, ref in refs.items()}


def utc(one: StoredDataset) -> datetime:
    return datetime.fromtimestamp(one.committed_ns // 10**9, UTC) + timedelta(
        microseconds=one.committed_ns % 10**9 // 1000
    )


def status(one: StoredDataset) -> str:
    return min((str(each.state) for each in one.artifacts), key=("ok", "pending", "missing", "corrupt").index)


def ids(batches: Iterable[Any]) -> list[str]:
    return [id_ for batch in batches for id_ in batch.column("id").to_pylist()]


Rule = Callable[[StoredDataset], bool]
RULES: list[tuple[str, Rule]] = [
    ("version = 1", lambda one: one.ref.version == 1),
    ("version > 1 AND visit < 5", lambda one: "visit" in one.ref.data_id and one.ref.version == 2),
    ("run = 'u/a'", lambda one: one.ref.run == "u/a"),
    ("run GLOB 'u/*' AND NOT run IN ('u/b')", lambda one: one.ref.run == "u/a"),
    ("run LIKE '%/b' OR dataset_type = 'note'", lambda one: one.ref.run in ("u/b", "notes")),
    ("dataset_type IN ('raw', 'note')", lambda one: one.ref.dataset_type.name in ("raw", "note")),
    ("size > 40", lambda one: one.nbytes > 40),
    ("size = 0", lambda one: one.nbytes == 0),
    ("digest LIKE 'abab%' AND digest != 'ab'", lambda one: True),
    ("status = 'ok'", lambda one: status(one) == "ok"),
    ("status IN ('missing', 'corrupt')", lambda one: status(one) in ("missing", "corrupt")),
]


@pytest.mark.parametrize(
    ("versions", "collections"),
    [
        ("latest", ("u/a",)),
        ("all", ("u/a",)),
        ("latest", ("u/b", "u/a")),
        ("all", ("u/*", "notes")),
        ("latest", ("good", "u/a")),
    ],
)
def test_fields_choose_among_the_matches(
    catalog: SqlCatalog, stored: dict[str, StoredDataset], versions: str, collections: Any
) -> None:
    assert len(stored) == 10
    everything = DatasetQuery(collections=collections, versions=versions)
    matches = list(catalog.query(everything))
    orders: list[tuple[str, ...]] = [(), ("version", "run", "dataset_type"), ("-commit_seq",)]
    for number, (where, rule) in enumerate(RULES):
        query = attrs.evolve(everything, where=where, order_by=orders[number % len(orders)])
        expected = [one.ref for one in matches if rule(one)]
        found = [one.ref for one in catalog.query(query)]
        assert sorted(ref.id for ref in found) == sorted(ref.id for ref in expected), where
        if number % 4 == 0:
            assert all_pages(catalog, query, 3) == found
        assert ids(catalog.columns(query, ["id"])) == [str(ref.id) for ref in found]
        assert catalog.count(query) == len(expected)
        assert catalog.any(query) == bool(expected)


def test_times_of_commits_are_those_of_the_wall_clock(
    catalog: SqlCatalog, stored: dict[str, StoredDataset]
) -> None:
    for name, one in stored.items():
        moment, day = utc(one), timedelta(days=1)
        later = sum(other.committed_ns // 1000 >= one.committed_ns // 1000 for other in stored.values())
        for word in ("committed", "ingest_date"):
            query = DatasetQuery(versions="all", find_first=False, where=f"{word} >= :t", bind={"t": moment})
            assert catalog.count(query) == later, name
        before = DatasetQuery(where="committed > :t", bind={"t": Time(moment + day)})
        assert catalog.count(before) == 0
        text = f"committed > T'{(moment - day).replace(tzinfo=None).isoformat()}'"
        assert catalog.count(DatasetQuery(versions="all", find_first=False, where=text)) == len(stored)


def test_fields_may_name_their_dataset_type(catalog: SqlCatalog, stored: dict[str, StoredDataset]) -> None:
    query = DatasetQuery(dataset_types=("calexp",), collections=("u/a",), where="calexp.version = 2")
    assert catalog.count(query) == 2
    assert catalog.count(attrs.evolve(query, dataset_types=("*",))) == 2  # a raw has no calexp
    assert len(stored) == 10


@pytest.mark.parametrize(
    ("where", "bind", "at", "words"),
    [
        ("size = 'big'", {}, 8, "size is an integer, this is a text"),
        ("visit = 1 AND version > 'a'", {}, 25, "version is an integer, this is a text"),
        ("committed > 5", {}, 13, "committed is a time, this is an integer"),
        ("committed > :t", {"t": "2025-06-24"}, 13, "committed is a time, this is a text"),
        ("committed > :t", {"t": datetime(2025, 6, 24)}, 13, "has no time zone"),
        ("run = 5", {}, 7, "run is a text, this is an integer"),
        ("size > :x", {"x": np.array([1, 2])}, 8, "is no value"),
        ("size IN (1, :x)", {"x": np.array([[1, 2]])}, 13, "is no value"),
        ("runs = 'u/a'", {}, 1, "'runs' is no dimension and no field of datasets"),
        ("size.bytes = 5", {}, 1, "'size' is no dimension and no field of datasets"),
        ("calexp.colour = 5", {}, 1, "a dataset has no field 'colour'"),
        ("GLOB(size, '*')", {}, 6, "GLOB takes texts, this is an integer"),
        ("GLOB(run, 5)", {}, 11, "GLOB takes a pattern"),
        ("GLOB(run)", {}, 9, "',' was expected, not ')'"),
        ("GLOB run", {}, 6, "'(' was expected, not 'run'"),
    ],
)
def test_wrong_fields_are_pointed_at(
    sqlite_catalog: SqlCatalog, where: str, bind: dict[str, Any], at: int, words: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        sqlite_catalog.query(DatasetQuery(dataset_types=("calexp",), where=where, bind=bind))
    assert error.value.kind is ErrorKind.EXPRESSION
    assert words in error.value.message
    assert f"at character {at} of the expression" in error.value.message


def test_error_names_the_fields_that_there_are(sqlite_catalog: SqlCatalog) -> None:
    with pytest.raises(InvalidInputError) as error:
        sqlite_catalog.query(DatasetQuery(dataset_types=("calexp",), where="runs = 'u/a'"))
    for name in ("visit", "run", "version", "size", "digest", "committed", "ingest_date"):
        assert name in (error.value.hint or "")
    with pytest.raises(InvalidInputError, match="'run' is a field of datasets") as error:
        list(sqlite_catalog.dimension_records("visit", {}, "run = 'u/a'", {}))
    assert "at character 1" in error.value.message


@pytest.mark.parametrize("name", ["*", "?", "[", "]", "\\", "a*b", "a[b]c", "100%", "a_b", "plain"])
def test_glob_of_a_call_takes_brackets_as_they_are(catalog: SqlCatalog, name: str) -> None:
    catalog.insert_dimension("Beam", [{"Beam": name}, {"Beam": "other"}])

    def found(pattern: str) -> list[object]:
        where = "GLOB(Beam, :p)"
        return [row["Beam"] for row in catalog.dimension_records("Beam", {}, where, {"p": pattern})]

    escaped = "".join(f"\\{one}" if one in "*?[]\\" else one for one in name)
    assert found(escaped) == [name]
    assert found(f"{escaped}*") == [name]
    assert name in found("*")
    if "*" not in name and "?" not in name and "\\" not in name:
        assert found(name) == [name]
    assert found("[ao]*") == []


# -- orders


@pytest.fixture
def observed(catalog: SqlCatalog, commit: Commit) -> list[StoredDataset]:
    """Images of visits whose records tell times, or do not; or that have no record."""
    times = {1: 30.0, 2: 0.1, 3: None, 4: -2.5, 5: 30.0, 6: float("inf"), 7: float("-inf"), 8: 0.1 + 0.2}
    catalog.insert_dimension(
        "visit",
        [
            {
                "instrument": "ST8",
                "visit": number,
                "exposure_time_s": seconds,
                "target_name": None if number == 4 else f"M {number % 3}",
                "timespan": None if number == 5 else Timespan(100 - number, 200),
            }
            for number, seconds in times.items()
        ],
    )
    catalog.insert_dimension(
        "exposure",
        [{"instrument": "ST8", "exposure": number, "exposure_time_s": number} for number in (1, 2)],
    )
    commit(CALEXP, [visit(number) for number in range(1, 11)], run="u/a")
    commit(CALEXP, [visit(number, number % 2) for number in range(1, 5)], run="u/b")
    commit(CALEXP, [visit(2)], run="u/a")
    return list(catalog.query(DatasetQuery(dataset_types=("calexp",), collections=("u/*",))))


def by_hand(records: dict[Any, Any], word: str) -> Callable[[StoredDataset], Any]:
    """Return the key to sort by: what has no value comes first."""

    def key(one: StoredDataset) -> Any:
        record = records.get(one.ref.data_id["visit"], {})
        match word.split("."):
            case ["visit", "timespan", end]:
                span = record.get("timespan")
                value = span and getattr(span, f"{end}_ns")
            case ["visit", field]:
                value = record.get(field)
            case ["size"]:
                value = one.nbytes
            case ["committed"]:
                value = one.committed_ns
            case ["version"]:
                value = one.ref.version
            case _:
                value = one.ref.run if word == "run" else one.ref.data_id[word]
        return (value is not None, value if value is not None else 0)

    return key


ORDERS = [
    ("visit.exposure_time_s",),
    ("-visit.exposure_time_s", "visit"),
    ("visit.target_name", "-visit"),
    ("-visit.target_name", "run", "visit.exposure_time_s"),
    ("visit.timespan.begin",),
    ("-visit.timespan.end", "-visit.timespan.begin", "detector"),
    ("committed", "visit"),
    ("-size", "visit.exposure_time_s", "-visit"),
    ("detector", "-visit.exposure_time_s"),
]


@pytest.mark.parametrize("order_by", ORDERS)
def test_order_is_that_of_sorting_by_hand(
    catalog: SqlCatalog, observed: list[StoredDataset], order_by: tuple[str, ...]
) -> None:
    records = {row["visit"]: row for row in catalog.dimension_records("visit", {}, None, {})}
    expected = list(observed)
    keys = []
    for word in reversed(order_by):
        key = by_hand(records, word.removeprefix("-"))
        expected.sort(key=key, reverse=word.startswith("-"))
        keys.append(key)

    def places(found: list[StoredDataset]) -> list[Any]:
        return [tuple(key(one) for key in keys) for one in found]

    query = DatasetQuery(dataset_types=("calexp",), collections=("u/*",), order_by=order_by)
    found = list(catalog.query(query))
    assert len(found) == len(observed) == 14
    assert places(found) == places(expected)
    refs = [one.ref for one in found]
    for size in (1, 3, 100):
        assert all_pages(catalog, query, size) == refs
    assert all_pages(catalog, attrs.evolve(query, limit=5), 2) == refs[:5]
    for columns in (["id", "visit"], ["id", "size"]):
        assert ids(catalog.columns(query, columns)) == [str(ref.id) for ref in refs]


def test_orders_run_across_dataset_types(catalog: SqlCatalog, observed: list[StoredDataset]) -> None:
    for order_by in (("-committed",), ("size", "-dataset_type"), ("status", "digest", "commit_seq")):
        query = DatasetQuery(order_by=order_by, versions="all")
        found = [one.ref for one in catalog.query(query)]
        assert len(found) == len(observed) + 1
        assert all_pages(catalog, query, 3) == found


def test_order_by_truth_values(catalog: SqlCatalog, commit: Commit) -> None:
    catalog.register_dataset_type(BEAM)
    good = {1: True, 2: None, 3: False, 4: True}
    catalog.insert_dimension(
        "beam", [{"instrument": "ST8", "beam": number, "good": value} for number, value in good.items()]
    )
    commit(BEAM, [{"instrument": "ST8", "beam": number} for number in good])
    for order_by, expected in (
        (("beam.good", "beam"), [2, 3, 1, 4]),
        (("-beam.good", "beam"), [1, 4, 3, 2]),
    ):
        query = DatasetQuery(order_by=order_by)
        assert [one.ref.data_id["beam"] for one in catalog.query(query)] == expected
        assert [ref.data_id["beam"] for ref in all_pages(catalog, query, 1)] == expected


@pytest.mark.parametrize(
    "word",
    ["visit.colour", "visit.timespan", "exposure.seq_num", "colour.visit", "visit_", "raw.size"],
)
def test_order_by_what_is_not_there_is_refused(sqlite_catalog: SqlCatalog, word: str) -> None:
    with pytest.raises(InvalidInputError, match="order_by") as error:
        sqlite_catalog.query(DatasetQuery(dataset_types=("calexp",), order_by=(word,)))
    assert error.value.kind is ErrorKind.DIMENSION
    assert error.value.hint


def test_page_token_takes_no_number_that_is_none(catalog: SqlCatalog, observed: list[StoredDataset]) -> None:
    from quantumio.registry._page_tokens import _content, _text

    query = DatasetQuery(dataset_types=("calexp",), order_by=("visit.exposure_time_s",))
    _, token = catalog.page(query, 3)
    assert token is not None
    content = _content(token)
    assert len(observed) == 14
    for wrong in (float("nan"), "1", True, None, [1.0], 5):
        content[4][1] = wrong
        forged = _text(content)
        with pytest.raises(InvalidInputError) as error:
            catalog.page(query, 3, forged)
        assert error.value.kind is ErrorKind.PAGE_TOKEN
