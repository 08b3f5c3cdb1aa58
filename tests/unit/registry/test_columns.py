"""Matches of a query as columns."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from astropy.time import Time
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import ArtifactState, DatasetType, StoredDataset, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import (
    CALEXP,
    FLAT,
    NOTE,
    RAW,
    Commit,
    artifact,
    exposure,
    visit,
)
from tests.unit.registry.test_query_pages import ORDERS, fill

ALL = ("dataset_type", "run", "version", "id", "size", "digest", "destinations", "status", "committed")


def rows(catalog: SqlCatalog, query: DatasetQuery, columns: Any = None, label: str = "night") -> list[Any]:
    batches: list[Any] = list(catalog.columns(query, columns, label=label))
    return pa.Table.from_batches(batches).to_pylist()  # type: ignore[no-any-return]


def expected_row(stored: StoredDataset) -> dict[str, Any]:
    ref = stored.ref
    seconds, rest = divmod(stored.committed_ns, 10**9)
    states = [one.state for one in stored.artifacts]
    return {
        "dataset_type": ref.dataset_type.name,
        **ref.data_id,
        "run": ref.run,
        "version": ref.version,
        "id": str(ref.id),
        "size": stored.nbytes,
        "digest": stored.artifacts[0].digest,
        "destinations": ",".join(one.destination for one in stored.artifacts),
        "status": str(min(states, key=list(ArtifactState).index)),
        "committed": datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest // 1000),
        "access_url": f"butler://night/{ref.id}",
    }


def same(found: list[dict[str, Any]], stored: list[StoredDataset]) -> None:
    given = [{name: value for name, value in row.items() if value is not None} for row in found]
    assert given == [expected_row(one) for one in stored]


def test_few_columns_of_several_types_come_in_one_order(catalog: SqlCatalog, commit: Commit) -> None:
    """They need no other table than that of each type."""
    commit(CALEXP, [visit(number) for number in (3, 1)])
    commit(RAW, [exposure(number, detector=1) for number in (2, 1)])
    commit(NOTE, [{}])
    query = DatasetQuery(dataset_types=("calexp", "raw"), order_by=("-detector", "run"))
    found = rows(catalog, query, ("dataset_type", "detector", "visit", "exposure"))
    assert found == [
        {"dataset_type": one.ref.dataset_type.name, "visit": None, "exposure": None}
        | {name: value for name, value in one.ref.data_id.items() if name != "instrument"}
        for one in catalog.query(query)
    ]
    assert [row["dataset_type"] for row in found] == ["raw", "raw", "calexp", "calexp"]


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("versions", ["latest", "all"])
def test_columns_say_what_refs_say(
    catalog: SqlCatalog, commit: Commit, order_by: tuple[str, ...], versions: str
) -> None:
    fill(commit)
    commit(RAW, [exposure(number) for number in range(3)])
    for types, collections in ((("calexp",), ("u/a", "u/b")), (("calexp",), None), ((), None)):
        if not types and order_by and "visit" in order_by[0]:
            continue  # exposures have no visit
        query = DatasetQuery(
            dataset_types=types, collections=collections, order_by=order_by, versions=versions
        )
        same(rows(catalog, query), list(catalog.query(query)))
        short = evolve(query, limit=5)
        same(rows(catalog, short), list(catalog.query(short)))


def test_datasets_with_several_artifacts_or_none_are_one_row_each(
    catalog: SqlCatalog, commit: Commit
) -> None:
    refs = commit(CALEXP, [visit(number) for number in range(4)])
    (first,) = catalog.stored([refs[1].id])[refs[1].id].artifacts
    catalog.record_artifacts(
        {
            refs[1].id: [artifact("x/1", store="archive"), artifact("x/2", store="away")],
            refs[2].id: [artifact("x/3", store="away", state=ArtifactState.PENDING)],
        }
    )
    assert catalog.amend_artifact(refs[1].id, first, evolve(first, state=ArtifactState.MISSING))
    query = DatasetQuery(dataset_types=("calexp",))
    found = rows(catalog, query)
    same(found, list(catalog.query(query)))
    assert [row["destinations"] for row in found] == ["local", "local,archive,away", "local,away", "local"]
    assert rows(catalog, query, ["status", "size"])[1] == {"status": "ok", "size": first.nbytes}
    assert {row["status"] for row in found} == {"ok"}


def test_columns_are_chosen_by_name(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    query = DatasetQuery(dataset_types=("calexp",))
    assert rows(catalog, query, ["visit", "run", "visit"]) == [{"visit": 1, "run": "u/ada/isr"}]
    assert rows(catalog, query, ["exposure"]) == [{"exposure": None}]
    for wrong in ("nothing", "'; DROP TABLE txn; --", "visit.name"):
        with pytest.raises(InvalidInputError, match="they have dataset_type, instrument") as error:
            catalog.columns(query, [wrong])
        assert error.value.kind is ErrorKind.COMPONENT
    with pytest.raises(InvalidInputError):
        catalog.columns(query, "visit")
    for none in ([], ()):
        with pytest.raises(InvalidInputError, match="names no column") as error:
            catalog.columns(query, none)
        assert error.value.kind is ErrorKind.COMPONENT


def test_no_match_gives_one_batch_with_all_columns(catalog: SqlCatalog) -> None:
    for query in (DatasetQuery(), DatasetQuery(dataset_types=("calexp",), order_by=("visit",))):
        (batch,) = catalog.columns(query)
        assert batch.num_rows == 0
        assert {*ALL, "visit"} <= set(batch.schema.names)


@pytest.mark.parametrize("versions", ["latest", "all"])
def test_many_rows_come_in_several_batches(
    catalog: SqlCatalog, commit: Commit, versions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantumio.registry._columns._FIRST_PAGE", 16)
    monkeypatch.setattr("quantumio.registry._columns._LARGEST_PAGE", 64)
    commit(CALEXP, [visit(number // 10, number % 10) for number in range(200)])
    commit(CALEXP, [visit(number // 10, number % 10) for number in range(50)])
    for order_by in ((), ("run",), ("-visit",)):
        query = DatasetQuery(dataset_types=("calexp",), order_by=order_by, versions=versions)
        for columns in (["visit", "detector", "version", "id"], ["id", "committed"]):
            assert len(list(catalog.columns(query, columns))) > 2
            found = [row["id"] for row in rows(catalog, query, columns)]
            assert found == [str(stored.ref.id) for stored in catalog.query(query)]
            assert rows(catalog, evolve(query, limit=40), columns) == rows(catalog, query, columns)[:40]


def test_when_and_where_datasets_were_observed(catalog: SqlCatalog, commit: Commit) -> None:
    begin = Time("2025-06-24T03:00:00", scale="utc")
    span = Timespan.from_times(begin, Time("2025-06-24T03:00:30", scale="utc"))
    catalog.insert_dimension(
        "visit",
        [
            {**of_visit(1), "timespan": span, "exposure_time_s": 29.5, "region": "CIRCLE 10 20 1"},
            {**of_visit(2), "timespan": span, "region": "RANGE 10 20 1 2"},
            {**of_visit(3), "timespan": Timespan.from_times(begin, None), "region": "POLYGON 1 0 2 0 2 1"},
        ],
    )
    commit(CALEXP, [visit(number) for number in range(1, 5)])
    observed = ["t_min", "t_max", "t_exptime", "s_region"]
    query = DatasetQuery(dataset_types=("calexp",))
    one, two, three, four = rows(catalog, query, observed)
    assert one["t_min"] == pytest.approx(begin.mjd, abs=1e-9)
    assert one["t_max"] == pytest.approx(begin.mjd + 30 / 86400, abs=1e-9)
    assert (one["t_exptime"], one["s_region"]) == (29.5, "CIRCLE ICRS 10.0 20.0 1.0")
    assert (two["t_exptime"], two["s_region"]) == (30.0, None)
    assert three["t_min"] == one["t_min"]
    assert (three["t_max"], three["t_exptime"]) == (None, None)
    assert three["s_region"] == "POLYGON ICRS 1.0 0.0 2.0 0.0 2.0 1.0"
    assert set(four.values()) == {None}
    commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}])
    commit(NOTE, [{}])
    commit(RAW, [exposure(1)])
    for name in ("flat", "note", "raw"):
        (row,) = rows(catalog, DatasetQuery(dataset_types=(name,)), observed)
        assert set(row.values()) == {None}


def test_the_most_specific_region_is_taken(catalog: SqlCatalog, commit: Commit) -> None:
    catalog.insert_dimension("visit", [{**of_visit(1), "region": "CIRCLE 10 20 1"}])
    catalog.insert_dimension(
        "visit_detector_region", [{**visit(1, detector=3), "region": "CIRCLE 10 20 0.1"}]
    )
    commit(CALEXP, [visit(1, 3), visit(1, 4)])
    regions = rows(catalog, DatasetQuery(dataset_types=("calexp",)), ["s_region", "detector"])
    assert [row["s_region"] for row in regions] == ["CIRCLE ICRS 10.0 20.0 0.1", "CIRCLE ICRS 10.0 20.0 1.0"]


def of_visit(number: int) -> dict[str, Any]:
    return {"instrument": "ST8", "visit": number, "physical_filter": "R"}


def test_a_day_has_no_exposure_time_of_its_own(catalog: SqlCatalog, commit: Commit) -> None:
    weather = DatasetType("weather", dimensions=("instrument", "day_obs"), storage_class="Text")
    catalog.register_dataset_type(weather)
    day = {"instrument": "ST8", "day_obs": 20250624}
    catalog.insert_dimension("day_obs", [{**day, "timespan": Timespan(0, 10**9)}])
    commit(weather, [day])
    (row,) = rows(catalog, DatasetQuery(dataset_types=("weather",)), ["t_exptime", "s_region"])
    assert row == {"t_exptime": 1.0, "s_region": None}
