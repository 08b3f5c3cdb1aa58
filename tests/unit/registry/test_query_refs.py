"""Refs of a query without their files, and queries of one shape that differ in their values."""

from typing import Any

import pytest
from attrs import evolve

from quantumio.model import ArtifactState, DatasetType
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import (
    CALEXP,
    NOTE,
    RAW,
    Commit,
    artifact,
    exposure,
    make_transaction,
    visit,
)
from tests.unit.registry.test_columns import rows, same
from tests.unit.registry.test_query_pages import ORDERS, fill

RUN = "u/ada/isr"


def visits(catalog: SqlCatalog, **options: Any) -> list[Any]:
    query = DatasetQuery(dataset_types=("calexp",), **options)
    refs = list(catalog.refs(query))
    stored = [one.ref for one in catalog.query(query)]
    assert [(ref, ref.version, ref.run, ref.data_id) for ref in refs] == [
        (ref, ref.version, ref.run, ref.data_id) for ref in stored
    ]
    assert catalog.count(query) == len(refs)
    assert catalog.any(query) is bool(refs)
    table = rows(catalog, query, ["visit", "id", "version"])
    assert [(row["visit"], row["id"], row["version"]) for row in table] == [
        (ref.data_id["visit"], str(ref.id), ref.version) for ref in refs
    ]
    return [ref.data_id["visit"] for ref in refs]


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("versions", ["latest", "all"])
@pytest.mark.parametrize("collections", [("u/a", "u/b"), None, ("u/*",), ("u/b",)])
def test_refs_are_those_of_the_datasets(
    catalog: SqlCatalog, commit: Commit, order_by: tuple[str, ...], versions: str, collections: Any
) -> None:
    fill(commit)
    commit(RAW, [exposure(number) for number in range(3)], run="u/a")
    commit(NOTE, [{}], run="u/a")
    for types in (("calexp",), ()):
        if not types and order_by and "visit" in order_by[0]:
            continue  # exposures have no visit
        query = DatasetQuery(
            dataset_types=types, collections=collections, order_by=order_by, versions=versions
        )
        for limit in (None, 0, 5):
            found = list(catalog.refs(evolve(query, limit=limit)))
            expected = [stored.ref for stored in catalog.query(evolve(query, limit=limit))]
            assert [(ref.id, ref.version, str(ref)) for ref in found] == [
                (ref.id, ref.version, str(ref)) for ref in expected
            ]


def test_more_refs_than_the_first_pages_have(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number // 10, number % 10) for number in range(1500)])
    assert visits(catalog) == [number // 10 for number in range(1500)]
    assert visits(catalog, data_id={"detector": 3}) == list(range(150))
    assert visits(catalog, data_id={"detector": 4}, order_by=("-visit",)) == list(range(150))[::-1]


def test_queries_of_one_shape_have_their_own_values(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number, detector) for number in range(4) for detector in range(2)])
    for number in (3, 1, 7):
        expected = [number] * 2 if number < 4 else []
        assert visits(catalog, data_id={"visit": number}) == expected
        assert visits(catalog, data_id={"visit": number}, collections=(RUN,)) == expected
    assert visits(catalog, data_id={"detector": 1}) == [0, 1, 2, 3]
    assert visits(catalog, data_id={"detector": 1, "visit": 2}) == [2]
    assert visits(catalog, data_id={"visit": 2, "instrument": "ST8"}) == [2, 2]
    assert visits(catalog, data_id={"visit": 2, "instrument": "'; DROP TABLE txn; --"}) == []


def test_queries_of_one_shape_see_what_is_there_when_they_are_asked(
    catalog: SqlCatalog, commit: Commit
) -> None:
    seen: list[tuple[int, list[int]]] = []
    for number in range(4):
        commit(CALEXP, [visit(number)])
        now = max(stored.commit_seq for stored in catalog.query(DatasetQuery()))
        seen.append((now, visits(catalog, collections=(RUN,))))
    assert seen[-1][1] == [0, 1, 2, 3]
    for seq, then in seen:
        assert visits(catalog, collections=(RUN,), as_of=seq) == then


def test_collection_that_is_made_anew_is_another_one(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)], run="u/a")
    commit(CALEXP, [visit(1), visit(2)], run="u/b")
    catalog.register_collection("u/c", CollectionKind.CHAINED)
    for children, expected in ((["u/a"], [1]), (["u/b", "u/a"], [1, 2]), (["u/a", "u/b"], [1, 2])):
        catalog.set_chain("u/c", children)
        assert visits(catalog, collections=("u/c",)) == expected
        first = next(catalog.refs(DatasetQuery(dataset_types=("calexp",), collections=("u/c",))))
        assert first.run == children[0]
    catalog.associate("u/tag", [first])
    assert visits(catalog, collections=("u/tag",)) == [1]
    assert visits(catalog, collections=("u/tag", "u/b")) == [1, 2]


def test_more_shapes_than_are_kept(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantumio.registry._planning._MOST_KEPT", 2)
    commit(CALEXP, [visit(number) for number in range(3)])
    for _ in range(2):
        for options in ({}, {"data_id": {"visit": 1}}, {"collections": (RUN,)}, {"limit": 2}):
            assert len(visits(catalog, **options)) in (1, 2, 3)


def test_dimension_of_the_name_of_a_column_is_no_such_column(catalog: SqlCatalog, commit: Commit) -> None:
    noise = DatasetType("noise", dimensions=("instrument", "beam"), storage_class="Text")
    catalog.register_dataset_type(noise)
    commit(noise, [{"instrument": "ST8", "beam": number} for number in range(3)])
    commit(noise, [{"instrument": "ST8", "beam": 1}])
    query = DatasetQuery(dataset_types=("noise",))
    same(rows(catalog, query), list(catalog.query(query)))


@pytest.mark.parametrize(
    ("states", "stores"),
    [
        (["pending"] * 4, ["local"] * 4),
        (["ok", "pending", "missing", "corrupt"], ["local"] * 4),
        (["ok"] * 4, ["local", "local", "archive", "away"]),
    ],
)
def test_what_artifacts_tell_of_datasets_that_have_one_each(
    catalog: SqlCatalog, commit: Commit, states: list[str], stores: list[str]
) -> None:
    transaction = make_transaction(CALEXP, [visit(number) for number in range(4)])
    outputs = [
        evolve(output, artifacts=(artifact(f"{number}.fits", store=store, state=ArtifactState(state)),))
        for number, (output, state, store) in enumerate(zip(transaction.outputs, states, stores, strict=True))
    ]
    catalog.flip([evolve(transaction, outputs=tuple(outputs))])
    query = DatasetQuery(dataset_types=("calexp",))
    for _ in range(2):
        same(rows(catalog, query), list(catalog.query(query)))
    found = rows(catalog, query, ["status", "destinations", "size"])
    assert [row["status"] for row in found] == states
    assert [row["destinations"] for row in found] == stores
    assert [row["size"] == 0 for row in found] == [state == "pending" for state in states]


def test_datasets_without_artifacts_say_so_in_a_table(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    transaction = make_transaction(CALEXP, [visit(2)])
    bare = [evolve(output, artifacts=()) for output in transaction.outputs]
    catalog.flip([evolve(transaction, outputs=tuple(bare))])
    query = DatasetQuery(dataset_types=("calexp",))
    one, other = rows(catalog, query, ["status", "destinations", "size", "digest"])
    assert one["status"] == "ok"
    assert other == {"status": None, "destinations": "", "size": 0, "digest": ""}
    (alone,) = rows(catalog, evolve(query, data_id={"visit": 2}), ["status", "size"])
    assert alone == {"status": None, "size": 0}


class Forgetful(dict[Any, Any]):
    """Plans that another thread gives up as soon as somebody has looked for one."""

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        self.clear()
        return found

    def get(self, key: object, default: Any = None) -> Any:
        found = super().get(key, default)
        self.clear()
        return found


def test_plans_may_be_given_up_by_another_thread(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(CALEXP, [visit(number) for number in range(3)])
    monkeypatch.setattr(catalog._queries._planner, "_kept", Forgetful())
    for _ in range(3):
        assert visits(catalog) == [0, 1, 2]


def test_plans_outlive_runs_that_others_make(catalog: SqlCatalog, commit: Commit) -> None:
    query = DatasetQuery(dataset_types=("calexp",), collections=("u/a",))
    for number in range(4):
        commit(CALEXP, [visit(number)], run="u/a")
        commit(CALEXP, [visit(number)], run=f"u/{number}")
        assert [ref.data_id["visit"] for ref in catalog.refs(query)] == list(range(number + 1))
    catalog.set_chain("best", ["u/0", "u/1"])
    chain = evolve(query, collections=("best",))
    assert [ref.run for ref in catalog.refs(chain)] == ["u/0", "u/1"]
    catalog.set_chain("best", ["u/1", "u/2"])
    assert [ref.run for ref in catalog.refs(chain)] == ["u/1", "u/2"]
