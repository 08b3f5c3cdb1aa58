"""Datasets of one detector of all visits, found by steps from visit to visit: the same as by a scan."""

from functools import partial
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.model import DatasetRef, DatasetType
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog, _columns, _engine, _query, _skip_scan
from quantumio.registry._pages import pages
from quantumio.registry._prepared import Prepared, run_prepared
from quantumio.registry._skip_scan import SkipScan
from tests.unit.registry.conftest import CALEXP, FLAT, make_transaction, visit

RUNS = ("a/first", "b/second")
DETECTORS = (0, 1, 2)
COLUMNS = (("id", "version"), None)

commits = st.tuples(
    st.sampled_from(["calexp", "flat"]),
    st.sampled_from(RUNS),
    st.lists(st.tuples(st.integers(-2, 4), st.sampled_from(DETECTORS)), min_size=1, max_size=9, unique=True),
)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, int], bool]]:
    """What the samples have told, and what was chosen."""
    told: list[tuple[tuple[int, int], bool]] = []
    pays = SkipScan.pays

    def asked(steps: tuple[int, int]) -> bool:
        told.append((tuple(steps), pays(steps)))  # type: ignore[arg-type]
        return told[-1][1]

    monkeypatch.setattr(SkipScan, "pays", staticmethod(asked))
    return told


def data_id(dataset_type: str, number: int, detector: int) -> dict[str, Any]:
    if dataset_type == "flat":  # whose key begins with a text
        return {"instrument": "ST8", "physical_filter": f"{number}'", "detector": detector}
    return visit(number, detector, instrument="ST8" if detector else "T'9")


def commit(catalog: SqlCatalog, dataset_type: DatasetType, data_ids: Any, run: str) -> list[DatasetRef]:
    (outcome,) = catalog.flip([make_transaction(dataset_type, data_ids, run=run)])
    return list(outcome.refs)


def found(catalog: SqlCatalog, asked: DatasetQuery) -> list[DatasetRef]:
    """Return the matches, which are the same as refs and as columns."""
    refs = list(catalog.refs(asked))
    for columns in COLUMNS:
        batches: list[Any] = list(catalog.columns(asked, columns))
        table = pa.Table.from_batches(batches)
        assert table.column("id").to_pylist() == [str(ref.id) for ref in refs]
        assert table.column("version").to_pylist() == [ref.version for ref in refs]
    return refs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(commits, min_size=1, max_size=4),
    deleted=st.integers(0, 40),
    size=st.integers(1, 5),
    collections=st.sampled_from([*((run,) for run in RUNS), RUNS, RUNS[::-1]]),
    versions=st.sampled_from(["latest", "all"]),
    back=st.booleans(),
    order_by=st.sampled_from([(), ("-visit",), ("version", "detector")]),
)
def test_it_finds_what_a_scan_finds(
    sqlite_catalog: SqlCatalog,
    made: list[tuple[str, str, list[tuple[int, int]]]],
    deleted: int,
    size: int,
    collections: tuple[str, ...],
    versions: str,
    back: bool,
    order_by: tuple[str, ...],
) -> None:
    catalog, types = sqlite_catalog, {"calexp": CALEXP, "flat": FLAT}
    refs: list[DatasetRef] = []
    for run in RUNS:  # both are there
        commit(catalog, CALEXP, [visit(0)], run)
    for name, run, keys in made:
        refs += commit(catalog, types[name], [data_id(name, *key) for key in keys], run)
    before = max(stored.commit_seq for stored in catalog.query(DatasetQuery()))
    catalog.delete([refs[deleted % len(refs)].id], dry_run=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_columns, "_FIRST_PAGE", 1)
        patch.setattr(_columns, "_LARGEST_PAGE", size)  # what is left is read by a scan
        patch.setattr(_query, "pages", partial(pages, first=1, largest=size))
        for name, detector in product(types, DETECTORS):
            asked = DatasetQuery(
                dataset_types=(name,),
                data_id={"detector": detector},
                collections=collections,
                versions=versions,
                as_of=before if back else None,
                order_by=order_by if name == "calexp" else (),
            )
            patch.setattr(_skip_scan, "_MOST_STEPS", 1 << 30)
            by_steps = found(catalog, asked)
            patch.setattr(_skip_scan, "_MOST_STEPS", -1)
            assert by_steps == found(catalog, asked)
            assert by_steps == [stored.ref for stored in catalog.query(asked)]


def test_it_is_chosen_where_many_rows_share_a_step(
    sqlite_catalog: SqlCatalog, chosen: list[tuple[tuple[int, int], bool]]
) -> None:
    catalog = sqlite_catalog
    asked = DatasetQuery(dataset_types=("calexp",), data_id={"detector": 3}, collections=RUNS[:1])
    commit(catalog, CALEXP, [visit(number // 100, number % 100) for number in range(400)], RUNS[0])
    assert len(found(catalog, asked)) == 4
    assert chosen == [((3, 3), True)] * 3
    chosen.clear()
    commit(catalog, CALEXP, [visit(number, 3) for number in range(10, 20)], RUNS[0])
    assert len(found(catalog, asked)) == 14
    assert chosen == [((3, 13), False)] * 3  # one visit after the other has one row


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 2},
        {"where": "visit > 0"},
        {"data_id": {"visit": 1}},
        {"data_id": {"visit": 1, "detector": 3}},
        {"data_id": {"instrument": "ST8"}},
        {"data_id": {}},
        {"dataset_types": ("note",), "data_id": {}},
    ],
)
def test_it_is_not_thought_of_where_few_rows_are_read_or_all(
    sqlite_catalog: SqlCatalog, chosen: list[tuple[tuple[int, int], bool]], options: dict[str, Any]
) -> None:
    catalog = sqlite_catalog
    commit(catalog, CALEXP, [visit(number // 5, number % 5) for number in range(20)], RUNS[0])
    given = {
        "dataset_types": ("calexp",),
        "data_id": {"detector": 3},
        "collections": RUNS[:1],
        **options,
    }
    asked = DatasetQuery(**given)
    assert found(catalog, asked) == [stored.ref for stored in catalog.query(asked)]
    assert chosen == []


def test_sqlite_finds_the_rows_of_each_step_by_their_key(
    sqlite_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another plan would find them as well, no more quickly than a scan."""
    plans: list[list[str]] = []

    def run(cursor: Any, statement: Prepared, values: Any) -> list[Any]:
        given = statement.values(values)
        plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement.sql}", given).fetchall()
        plans.append([row[3] for row in plan])
        return run_prepared(cursor, statement, values)

    commit(sqlite_catalog, CALEXP, [visit(number // 100, number % 100) for number in range(400)], RUNS[0])
    monkeypatch.setattr(_engine, "run_prepared", run)
    asked = DatasetQuery(dataset_types=("calexp",), data_id={"detector": 3}, collections=RUNS[:1])
    assert len(found(sqlite_catalog, asked)) == 4
    steps = [plan for plan in plans if "RECURSIVE STEP" in plan]
    assert len(steps) == 3
    for plan in steps:
        searched = [one for one in plan if " dataset_" in one or " others" in one]
        assert any("(run_id=? AND type_id=? AND d_visit=? AND d_detector=?)" in one for one in searched)
        assert all(one.startswith("SEARCH ") for one in searched)
