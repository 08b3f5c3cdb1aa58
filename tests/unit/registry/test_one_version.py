"""Tables of few datasets, which come without a search for the latest versions where each has one."""

from typing import Any

import pyarrow as pa
import pytest

from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog, _columns
from tests.unit.registry.conftest import CALEXP, Commit, visit

RUN = "u/ada/isr"


def table(catalog: SqlCatalog, first: int, **options: Any) -> list[tuple[Any, ...]]:
    asked = DatasetQuery(
        dataset_types=("calexp",), collections=(RUN,), where=f"visit IN ({first}..{first + 2})", **options
    )
    batches: list[Any] = list(catalog.columns(asked, ("visit", "version", "id")))
    rows = pa.Table.from_batches(batches).to_pylist()
    refs = list(catalog.refs(asked))
    assert [row["id"] for row in rows] == [str(ref.id) for ref in refs]
    assert [row["version"] for row in rows] == [ref.version for ref in refs]
    return [(row["visit"], row["version"]) for row in rows]


def test_the_latest_version_comes_whatever_others_have(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number) for number in range(9)])
    assert table(catalog, 0) == [(0, 1), (1, 1), (2, 1)]
    commit(CALEXP, [visit(4)])
    assert table(catalog, 3) == [(3, 1), (4, 2), (5, 1)]
    assert table(catalog, 0) == [(0, 1), (1, 1), (2, 1)]
    assert table(catalog, 20) == []
    commit(CALEXP, [visit(number) for number in (3, 5)])
    assert table(catalog, 3) == [(3, 2), (4, 2), (5, 2)]
    assert table(catalog, 3, limit=2) == [(3, 2), (4, 2)]
    assert table(catalog, 3, versions="all") == [(n, v) for n in (3, 4, 5) for v in (1, 2)]


def test_a_page_that_is_full_may_end_between_two_versions(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_columns, "_FIRST_PAGE", 2)
    monkeypatch.setattr(_columns, "_LARGEST_PAGE", 2)
    commit(CALEXP, [visit(number) for number in range(3)])
    assert table(catalog, 0) == [(0, 1), (1, 1), (2, 1)]
    commit(CALEXP, [visit(1)])
    assert table(catalog, 0) == [(0, 1), (1, 2), (2, 1)]


def test_one_later_version_of_each_is_one_version(catalog: SqlCatalog, commit: Commit) -> None:
    old = commit(CALEXP, [visit(number) for number in range(3)])
    commit(CALEXP, [visit(number) for number in range(3)])
    catalog.delete([ref.id for ref in old], dry_run=False)
    assert table(catalog, 0) == [(number, 2) for number in range(3)]
