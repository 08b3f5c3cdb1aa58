"""Tables of few datasets, which come without a search for the latest versions where each has one."""

from typing import Any

import pyarrow as pa
import pytest

from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog, _columns
from tests.unit.registry.conftest import CALEXP, Commit, artifact, visit

RUN = "u/ada/isr"


def table(catalog: SqlCatalog, first: int, *, width: int = 2, **options: Any) -> list[tuple[Any, ...]]:
    where = f"visit IN ({first}..{first + width})"
    asked = DatasetQuery(dataset_types=("calexp",), collections=(RUN,), where=where, **options)
    stored = list(catalog.query(asked))
    refs = list(catalog.refs(asked))
    assert [one.ref for one in stored] == refs
    expected = [
        (str(one.ref.id), one.ref.version, one.artifacts[0].digest, one.artifacts[0].nbytes) for one in stored
    ]
    for columns in (("id", "version"), ("id", "version", "digest", "size")):
        batches: list[Any] = list(catalog.columns(asked, columns))
        rows = pa.Table.from_batches(batches).to_pylist()
        assert [tuple(row.values()) for row in rows] == [row[: len(columns)] for row in expected]
    return [(ref.data_id["visit"], ref.version) for ref in refs]  # type: ignore[misc]


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


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_pages_of_any_size_come_whole(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(_columns, "_FIRST_PAGE", size)
    monkeypatch.setattr(_columns, "_LARGEST_PAGE", 2 * size)
    latest = dict.fromkeys(range(9), 1)
    commit(CALEXP, [visit(number) for number in latest])
    whole = {"order_by": ("visit",), "width": 8}
    assert table(catalog, 0, **whole) == list(latest.items())
    for number in (8, 3, 4, 3, 0):
        commit(CALEXP, [visit(number)])
        latest[number] += 1
        assert table(catalog, 0, **whole) == list(latest.items())
        assert table(catalog, 0, limit=5, **whole) == list(latest.items())[:5]


def test_one_later_version_of_each_is_one_version(catalog: SqlCatalog, commit: Commit) -> None:
    old = commit(CALEXP, [visit(number) for number in range(3)])
    commit(CALEXP, [visit(number) for number in range(3)])
    catalog.delete([ref.id for ref in old], dry_run=False)
    assert table(catalog, 0) == [(number, 2) for number in range(3)]


def test_neither_is_true_of_some(catalog: SqlCatalog, commit: Commit) -> None:
    """One has two versions, and one lies at two destinations."""
    refs = commit(CALEXP, [visit(number) for number in range(3)])
    commit(CALEXP, [visit(1)])
    catalog.record_artifacts({refs[2].id: [artifact("copy", store="archive")]})
    assert table(catalog, 0) == [(0, 1), (1, 2), (2, 1)]
