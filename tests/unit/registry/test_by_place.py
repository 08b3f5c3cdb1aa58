"""Datasets of one detector, or of one patch, of all times: found by an index that no other query takes."""

from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.model import DataId, DatasetRef, DatasetType
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog, _columns, _engine
from quantumio.registry._prepared import Prepared, run_prepared
from tests.unit.registry.conftest import CALEXP, make_transaction, visit

RUNS = ("a/first", "b/second")
DETECTORS = (0, 1, 2)
WARP = DatasetType(
    "warp", dimensions=("instrument", "visit", "skymap", "tract", "patch"), storage_class="Text"
)

commits = st.tuples(
    st.sampled_from(RUNS),
    st.lists(st.tuples(st.integers(-2, 4), st.sampled_from(DETECTORS)), min_size=1, max_size=9, unique=True),
)


def commit(catalog: SqlCatalog, dataset_type: DatasetType, data_ids: Any, run: str) -> list[DatasetRef]:
    (outcome,) = catalog.flip([make_transaction(dataset_type, data_ids, run=run)])
    return list(outcome.refs)


def found(catalog: SqlCatalog, asked: DatasetQuery) -> list[DatasetRef]:
    """Return the matches, which are the same as refs, as datasets, as columns, and as a number."""
    refs = list(catalog.refs(asked))
    dimensions = catalog.dataset_type(asked.dataset_types[0]).dimensions if asked.dataset_types else ()
    for columns in (("id", "version"), ("id", "version", *dimensions), None):
        batches: list[Any] = list(catalog.columns(asked, columns))
        table = pa.Table.from_batches(batches)
        for name in dimensions if columns != ("id", "version") else ():
            assert table.column(name).to_pylist() == [ref.data_id[name] for ref in refs]
        assert table.column("id").to_pylist() == [str(ref.id) for ref in refs]
        assert table.column("version").to_pylist() == [ref.version for ref in refs]
    assert [stored.ref for stored in catalog.query(asked)] == refs
    assert catalog.count(asked) == len(refs)
    return refs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(commits, min_size=1, max_size=4),
    deleted=st.integers(0, 40),
    size=st.integers(1, 5),
    collections=st.sampled_from([*((run,) for run in RUNS), RUNS, RUNS[::-1]]),
    find_first=st.booleans(),
    back=st.booleans(),
    order_by=st.sampled_from([(), ("-visit",), ("version", "detector")]),
)
def test_they_are_those_of_all_that_have_it(
    sqlite_catalog: SqlCatalog,
    made: list[tuple[str, list[tuple[int, int]]]],
    deleted: int,
    size: int,
    collections: tuple[str, ...],
    find_first: bool,
    back: bool,
    order_by: tuple[str, ...],
) -> None:
    catalog = sqlite_catalog
    refs: list[DatasetRef] = []
    for run in RUNS:  # both are there
        commit(catalog, CALEXP, [visit(0)], run)
    for run, keys in made:
        ids = [visit(number, detector, instrument="ST8" if detector else "T'9") for number, detector in keys]
        refs += commit(catalog, CALEXP, ids, run)
    before = max(stored.commit_seq for stored in catalog.query(DatasetQuery()))
    catalog.delete([refs[deleted % len(refs)].id], dry_run=False)
    common: dict[str, Any] = {
        "dataset_types": ("calexp",),
        "collections": collections,
        "find_first": find_first,
        "as_of": before if back else None,
        "order_by": order_by,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_columns, "_FIRST_PAGE", 1)
        patch.setattr(_columns, "_LARGEST_PAGE", size)
        all_of_them = found(catalog, DatasetQuery(**common))
        for detector in DETECTORS:
            wanted = [ref for ref in all_of_them if ref.data_id["detector"] == detector]
            assert found(catalog, DatasetQuery(**common, data_id={"detector": detector})) == wanted
            for where in (f"detector = {detector}", f"visit > -9 AND {detector} = detector"):
                assert found(catalog, DatasetQuery(**common, where=where)) == wanted


@pytest.mark.parametrize("versions", ["latest", "all"])
@pytest.mark.parametrize(
    "names", [("instrument", "visit", "detector"), ("visit", "detector"), ("instrument",), ()]
)
def test_what_the_data_id_says_is_in_the_table_and_orders_nothing(
    catalog: SqlCatalog, names: tuple[str, ...], versions: str
) -> None:
    for _ in range(3):
        commit(
            catalog,
            CALEXP,
            [visit(number, detector) for number, detector in product(range(3), DETECTORS)],
            RUNS[0],
        )
    data_id = {name: value for name, value in visit(1, 2).items() if name in names}
    for limit in (None, 2):
        asked = DatasetQuery(
            dataset_types=("calexp",), collections=RUNS[:1], data_id=data_id, versions=versions, limit=limit
        )
        refs = found(catalog, asked)
        assert all(ref.data_id[name] == value for ref in refs for name, value in data_id.items())
        paged, token = [], None
        while True:
            some, token = catalog.page(asked, 1, token)
            paged += some
            if token is None:
                break
        assert paged == refs
    assert len(refs) == min(2, (3 if versions == "all" else 1) * 3 ** len({"visit", "detector"} - set(names)))


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """How SQLite finds the rows of the statements about datasets that are run."""
    plans: list[list[str]] = []

    def run(cursor: Any, statement: Prepared, values: Any) -> list[Any]:
        given = statement.values(values)
        plan = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement.sql}", given).fetchall()]
        if any(" dataset_" in step for step in plan):
            plans.append(plan)
        return run_prepared(cursor, statement, values)

    monkeypatch.setattr(_engine, "run_prepared", run)
    return plans


def read(catalog: SqlCatalog, asked: DatasetQuery) -> None:
    assert list(catalog.refs(asked))
    for columns in (("id", "version"), None):
        assert next(iter(catalog.columns(asked, columns))).num_rows


@pytest.mark.parametrize(
    ("options", "searched"),
    [
        ({"data_id": {"detector": 3}}, "d_detector=?"),
        ({"data_id": {"instrument": "ST8", "detector": 3}}, "d_detector=?"),
        ({"where": "detector = 3"}, "d_detector=?"),
        ({"data_id": {"detector": 3}, "where": "visit >= 2 AND visit < 4"}, "d_detector=? AND d_visit>"),
        ({"data_id": {"detector": 3}, "limit": 1}, "d_detector=?"),
        ({"data_id": {"detector": 3}, "collections": RUNS}, "d_detector=?"),
    ],
)
def test_one_detector_is_found_by_the_index_in_order(
    sqlite_catalog: SqlCatalog, plans: list[list[str]], options: dict[str, Any], searched: str
) -> None:
    for run in RUNS:
        commit(sqlite_catalog, CALEXP, [visit(number // 5, number % 5) for number in range(25)], run)
    read(
        sqlite_catalog,
        DatasetQuery(**{"dataset_types": ("calexp",), "collections": RUNS[:1], **options}),
    )
    assert len(plans) >= 3
    for plan in plans:
        assert any("COVERING INDEX place_" in step and searched in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "detector > 2"},
        {"where": "detector IN (1, 3)"},
        {"where": "detector = 3 OR detector = 2"},
        {"where": "NOT detector = 3"},
        {"where": "visit = 2 AND detector = 3"},
        {"data_id": {"visit": 1}},
        {"data_id": {"visit": 1, "detector": 3}},
        {"data_id": {"instrument": "ST8"}},
        {"limit": 2},
    ],
)
def test_no_other_query_takes_it_and_sorts_all_for_each_page(
    sqlite_catalog: SqlCatalog, plans: list[list[str]], options: dict[str, Any]
) -> None:
    commit(sqlite_catalog, CALEXP, [visit(number // 5, number % 5) for number in range(25)], RUNS[0])
    read(sqlite_catalog, DatasetQuery(dataset_types=("calexp",), collections=RUNS[:1], **options))
    assert len(plans) >= 3
    for plan in plans:
        assert not any("place_" in step or "TEMP B-TREE" in step for step in plan), plan


@pytest.fixture
def warps(sqlite_catalog: SqlCatalog) -> SqlCatalog:
    sqlite_catalog.register_dataset_type(WARP)
    ids = [
        DataId({"instrument": "ST8", "skymap": "sky", "visit": number, "tract": 1, "patch": patch})
        for number, patch in product(range(4), range(3))
    ]
    commit(sqlite_catalog, WARP, ids, RUNS[0])
    return sqlite_catalog


def test_one_patch_of_all_visits_is_found_by_it(warps: SqlCatalog, plans: list[list[str]]) -> None:
    asked = DatasetQuery(dataset_types=("warp",), collections=RUNS[:1], data_id={"tract": 1, "patch": 2})
    assert [ref.data_id["visit"] for ref in found(warps, asked)] == [0, 1, 2, 3]
    assert any("COVERING INDEX place_" in step and "d_patch=?" in step for plan in plans for step in plan)


@pytest.mark.parametrize(
    "options", [{"data_id": {"tract": 1}}, {"data_id": {"patch": 1}}, {"where": "tract = 1"}]
)
def test_a_part_of_a_place_has_no_order_there(
    warps: SqlCatalog, plans: list[list[str]], options: dict[str, Any]
) -> None:
    read(warps, DatasetQuery(dataset_types=("warp",), collections=RUNS[:1], **options))
    assert len(plans) >= 3
    for plan in plans:
        assert not any("place_" in step or "TEMP B-TREE" in step for step in plan), plan
