"""Arguments of the wrong kind: a typed error that names them, and never one about the database."""

from collections.abc import Callable
from typing import Any

import pytest

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import CommitFailed, Committed, DataId, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, Commit, make_transaction, visit

Call = Callable[[SqlCatalog, Any], object]
HALF = "\ud800"


@pytest.mark.parametrize("refs", [5, None, [5], "abc", ["abc"], b"x", {"a": 1}, [None]])
@pytest.mark.parametrize(
    "call",
    [
        lambda catalog, refs: catalog.associate("tag", refs),
        lambda catalog, refs: catalog.disassociate("tag", refs),
        lambda catalog, refs: catalog.certify("calib", refs, Timespan(0, 1)),
    ],
    ids=["associate", "disassociate", "certify"],
)
def test_what_is_no_ref_is_refused(sqlite_catalog: SqlCatalog, call: Call, refs: object) -> None:
    with pytest.raises(InvalidInputError, match="ref"):
        call(sqlite_catalog, refs)
    assert sqlite_catalog.collections() == []


def test_single_ref_is_no_list(sqlite_catalog: SqlCatalog) -> None:
    ref = make_transaction(CALEXP, [visit(1)]).outputs[0].ref
    with pytest.raises(InvalidInputError, match="no list of refs"):
        sqlite_catalog.associate("tag", ref)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"order_by": (5,)},
        {"order_by": 5},
        {"order_by": "visit"},
        {"order_by": (HALF,)},
        {"limit": 10**30},
        {"limit": -1},
        {"limit": True},
        {"limit": 1.0},
        {"limit": "1"},
        {"bind": 5},
        {"bind": [1], "where": "visit = :x"},
        {"bind": {"x": HALF}, "where": "instrument = :x"},
        {"bind": {HALF: 1}, "where": "visit = :x"},
        {"bind": {"x": 2**70}, "where": "visit = :x"},
        {"bind": {"x": [0.5 + n for n in range(20_000)]}, "where": "visit IN :x"},
        {"where": 5},
        {"where": f"instrument = '{HALF}'"},
        {"where": HALF},
        {"where": "instrument = 'a\0b'"},
        {"where": " AND ".join(["visit > 1"] * 5000)},
        {"where": " OR ".join(["visit = 1"] * 5000)},
        {"where": f"visit IN ({', '.join(['1..2'] * 5000)})"},
        {"where": f"visit IN ({', '.join(['visit'] * 5000)})"},
        {"where": "(" * 5000 + "visit = 1" + ")" * 5000},
        {"where": "NOT " * 5001 + "visit ="},
        {"dataset_types": 5},
        {"dataset_types": (5,)},
        {"collections": 5},
        {"collections": "run"},
        {"collections": (5,)},
        {"data_id": {"visit": 2**70}},
        {"data_id": {"instrument": HALF}},
        {"data_id": {HALF: 1}},
    ],
    ids=lambda options: str(options).encode("ascii", "backslashreplace").decode()[:50],
)
def test_query_that_is_none_is_refused(catalog: SqlCatalog, commit: Commit, options: dict[str, Any]) -> None:
    commit(CALEXP, [visit(1)])
    for ask in (catalog.count, lambda query: list(catalog.query(query))):
        with pytest.raises(InvalidInputError) as error:
            ask(DatasetQuery(**options))
        assert "look after" not in str(error.value)
        str(error.value).encode()  # it can be printed


def test_largest_expression_runs(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    assert catalog.count(DatasetQuery(where=" AND ".join(["visit > 0"] * 500))) == 1
    assert catalog.count(DatasetQuery(where=" OR ".join(["visit = 0"] * 499 + ["visit = 1"]))) == 1
    ranges = ", ".join(f"{n}..{n}" for n in range(499))
    assert catalog.count(DatasetQuery(where=f"visit IN ({ranges})")) == 1
    mixed = [0.5 + n for n in range(9_999)] + [1]
    assert catalog.count(DatasetQuery(where="visit IN :x", bind={"x": mixed})) == 1


@pytest.mark.parametrize("version", [2**70, -(2**70), "1", 1.0, True, b"1", [1]])
def test_version_that_is_no_integer_is_refused(catalog: SqlCatalog, commit: Commit, version: Any) -> None:
    commit(CALEXP, [visit(1)])
    with pytest.raises(InvalidInputError, match="version = "):
        catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"], version=version)


def test_integers_of_numpy_are_integers(catalog: SqlCatalog, commit: Commit) -> None:
    import numpy as np

    commit(CALEXP, [visit(1)])
    found = catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"], version=np.int64(1))  # type: ignore[arg-type]
    assert found is not None
    assert catalog.count(DatasetQuery(limit=np.int64(1))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda catalog: catalog.dataset_type(5),
        lambda catalog: catalog.dataset_type([1]),
        lambda catalog: catalog.collections(5),
        lambda catalog: catalog.set_chain("c", 5),
        lambda catalog: catalog.set_chain("c", [5]),
        lambda catalog: catalog.set_chain("c", [[1]]),
        lambda catalog: catalog.data_ids(5, {}, None, {}),
        lambda catalog: catalog.data_ids("visit", {}, None, {}),
        lambda catalog: catalog.data_ids([5], {}, None, {}),
        lambda catalog: catalog.data_ids(["instrument"], {}, "instrument = :x", 5),
        lambda catalog: list(catalog.dimension_records("instrument", {}, "instrument = :x", 5)),
        lambda catalog: catalog.insert_dimension([5], []),
        lambda catalog: catalog.insert_dimension("instrument", 5),
        lambda catalog: catalog.outcome("abc"),
        lambda catalog: catalog.find(CALEXP, DataId(visit(1)), 5),
        lambda catalog: catalog.find(CALEXP, DataId(visit(1)), "run"),
        lambda catalog: catalog.find(CALEXP, DataId(visit(1)), [5]),
        lambda catalog: catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"], timespan=5),
        lambda catalog: catalog.find(CALEXP, DataId({**visit(1), "instrument": HALF}), ["u/ada/isr"]),
        lambda catalog: catalog.find(CALEXP, DataId(visit(2**70)), ["u/ada/isr"]),
        lambda catalog: catalog.versions(CALEXP, DataId(visit(1)), [1]),
        lambda catalog: catalog.decertify("calib", 5, Timespan(0, 1)),
        lambda catalog: catalog.decertify(5, "calexp", Timespan(0, 1)),
        lambda catalog: catalog.certify(HALF, [], Timespan(0, 1)),
        lambda catalog: catalog.register_collection(HALF, "RUN"),
    ],
)
def test_wrong_argument_is_told(catalog: SqlCatalog, commit: Commit, call: Callable[[Any], object]) -> None:
    commit(CALEXP, [visit(1)])
    with pytest.raises(InvalidInputError) as error:
        call(catalog)
    assert "look after" not in str(error.value)


def test_names_that_no_text_can_be_are_not_found(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    for name in (HALF, "a\0b"):
        for call in (
            lambda name=name: catalog.find(CALEXP, DataId(visit(1)), [name]),
            lambda name=name: catalog.dataset_type(name),
            lambda name=name: catalog.count(DatasetQuery(collections=(name,))),
        ):
            with pytest.raises(NotFoundError) as error:
                call()
            str(error.value).encode()
        assert catalog.versions(CALEXP, DataId(visit(1)), name) == []


@pytest.mark.parametrize("key", [HALF, "a\0b", "x" * 1025, "ü" * 513, 5, b"x", ["x"]])
def test_member_with_an_impossible_key_fails_alone(catalog: SqlCatalog, key: Any) -> None:
    group = [make_transaction(CALEXP, [visit(n)], key=key if n == 1 else f"k{n}") for n in range(3)]
    outcomes = catalog.flip(group)
    assert [type(outcome) for outcome in outcomes] == [Committed, CommitFailed, Committed]
    failed = outcomes[1]
    assert isinstance(failed, CommitFailed)
    assert failed.kind is ErrorKind.NAME
    failed.message.encode()
    assert catalog.outcome(group[1].txid) is None


def test_longest_key_commits_once(catalog: SqlCatalog) -> None:
    for reused in (False, True):
        (outcome,) = catalog.flip([make_transaction(CALEXP, [visit(1)], key="ü" * 512)])
        assert isinstance(outcome, Committed)
        assert outcome.reused is reused


@pytest.mark.parametrize("value", [HALF, "a\0b"])
def test_value_that_no_database_takes_is_no_fault_of_the_database(catalog: SqlCatalog, value: str) -> None:
    if value != HALF and catalog._database.rules.name == "sqlite":
        pytest.skip("SQLite takes it")
    with pytest.raises(InvalidInputError):
        catalog.flip([make_transaction(CALEXP, [{**visit(1), "instrument": value}])])
    assert isinstance(catalog.flip([make_transaction(CALEXP, [visit(1)])])[0], Committed)
