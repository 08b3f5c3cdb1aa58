"""Data IDs for which there are datasets, and looking back: as choosing by hand does."""

import itertools
from typing import Any

import pytest

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DatasetType, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, RAW, Commit, columns_of, exposure, visit

COADD = DatasetType("coadd", dimensions=("band", "skymap", "tract", "patch"), storage_class="CCDData")


def values(found: list[Any], *names: str) -> list[Any]:
    return sorted(tuple(one[name] for name in names) for one in found)


def test_datasets_tell_data_ids_without_records(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number, detector) for number, detector in ((1, 0), (1, 1), (2, 0))], run="u/a")
    commit(CALEXP, [visit(9)], run="u/b")

    def found(names: list[str], **options: Any) -> list[Any]:
        options.setdefault("datasets", ["calexp"])
        where, bind = options.pop("where", None), options.pop("bind", {})
        data_ids = catalog.data_ids(names, options.pop("data_id", {}), where, bind, **options)
        return values(data_ids, *names)

    assert found(["visit", "detector"]) == [(1, 0), (1, 1), (2, 0), (9, 0)]
    assert found(["visit"], collections=["u/a"]) == [(1,), (2,)]
    assert found(["detector"], collections=["u/*"]) == [(0,), (1,)]
    assert found(["visit"], data_id={"detector": 1}) == [(1,)]
    assert found(["visit"], where="run = 'u/b' AND version = :v", bind={"v": 1}) == [(9,)]
    assert found(["visit"], where="calexp.version > 1") == []
    assert found([], collections=["u/b"]) == [()]
    assert found([], collections=["u/b"], where="visit = 5") == []
    assert found([], datasets=["note"]) == []
    commit(NOTE, [{}], run="u/b")
    assert found([], datasets=["note"]) == [()]
    with pytest.raises(InvalidInputError, match="no records of dimension 'tract'"):
        found(["tract"])
    with pytest.raises(NotFoundError) as missing:
        found(["visit"], datasets=["calexps"])
    assert missing.value.kind is ErrorKind.NO_DATASET_TYPE
    with pytest.raises(NotFoundError) as missing:
        found(["visit"], collections=["u/c"])
    assert missing.value.kind is ErrorKind.NO_COLLECTION
    with pytest.raises(InvalidInputError, match="named twice"):
        found(["visit"], datasets=["calexp", "calexp"])


def test_several_dataset_types_must_all_be_there(catalog: SqlCatalog, commit: Commit) -> None:
    catalog.insert_dimension(
        "exposure",
        [
            {"instrument": "ST8", "exposure": number, "physical_filter": "RG"[number % 2], "seq_num": number}
            for number in range(6)
        ],
    )
    commit(RAW, [exposure(number, detector) for number in range(5) for detector in (0, 1)], run="raws")
    commit(CALEXP, [visit(number, 0) for number in (1, 2, 4)], run="u/a")
    commit(CALEXP, [visit(2, 1)], run="u/a")
    commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}], run="calib")

    def found(datasets: list[str], where: str | None = None) -> list[Any]:
        ids = catalog.data_ids(["exposure", "detector"], {}, where, {}, datasets=datasets)
        return values(ids, "exposure", "detector")

    # Exposures and visits without definitions are the same by their numbers.
    assert found(["raw", "calexp"]) == [(1, 0), (2, 0), (2, 1), (4, 0)]
    assert found(["raw", "calexp"], "exposure.seq_num > 1 AND raw.version = 1") == [(2, 0), (2, 1), (4, 0)]
    # A flat is for a filter, which the exposure's record tells.
    assert found(["raw", "flat"]) == [(0, 0), (2, 0), (4, 0)]
    with pytest.raises(InvalidInputError, match="may be of any of raw, calexp"):
        found(["raw", "calexp"], "version = 1")


def test_datasets_of_both_families_are_joined_by_overlap(catalog: SqlCatalog, commit: Commit) -> None:
    catalog.register_dataset_type(COADD)
    catalog.insert_dimension("instrument", [{"instrument": "ST8"}])
    catalog.insert_dimension(
        "visit",
        [
            {"instrument": "ST8", "visit": number, "region": f"CIRCLE {10 * number} 0 3"}
            for number in range(1, 5)
        ],
    )
    catalog.insert_dimension(
        "visit_detector_region",
        [
            {"instrument": "ST8", "visit": number, "detector": 0, "region": f"CIRCLE {10 * number} 0 3"}
            for number in range(1, 5)
        ],
    )
    catalog.insert_dimension("skymap", [{"skymap": "all"}])
    catalog.insert_dimension("tract", [{"skymap": "all", "tract": 0}])
    catalog.insert_dimension(
        "patch",
        [
            {"skymap": "all", "tract": 0, "patch": number, "region": f"CIRCLE {5 * number} 0 3"}
            for number in range(10)
        ],
    )
    commit(CALEXP, [visit(number) for number in (1, 2, 3)], run="u/a")
    commit(
        COADD,
        [{"band": "r", "skymap": "all", "tract": 0, "patch": number} for number in (2, 3, 4)],
        run="u/a",
    )

    def near(one: int, patch: int) -> bool:
        return abs(10 * one - 5 * patch) <= 6

    pairs = [(one, patch) for one, patch in itertools.product(range(1, 4), range(10)) if near(one, patch)]
    found = catalog.data_ids(["visit", "patch"], {}, None, {}, datasets=["calexp"])
    assert values(found, "visit", "patch") == pairs
    found = catalog.data_ids(["patch"], {}, "calexp.version = 1 AND visit = 2", {}, datasets=["calexp"])
    assert values(found, "patch") == [(patch,) for one, patch in pairs if one == 2]
    found = catalog.data_ids(["visit", "patch"], {}, None, {}, datasets=["calexp", "coadd"])
    assert values(found, "visit", "patch") == [pair for pair in pairs if pair[1] in (2, 3, 4)]
    assert catalog.data_ids([], {}, None, {}, datasets=["calexp", "coadd"]) == [{}]


def test_calibrations_count_whenever_they_are_valid(catalog: SqlCatalog, commit: Commit) -> None:
    flats = commit(
        FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": number} for number in range(3)]
    )
    catalog.certify("calib", flats[:2], Timespan(0, 10))
    catalog.certify("calib", flats[:2], Timespan(10, 20))
    found = catalog.data_ids(["detector"], {}, None, {}, datasets=["flat"], collections=["calib"])
    assert values(found, "detector") == [(0,), (1,)]


def test_looking_back_shows_records_and_datasets_of_then(catalog: SqlCatalog, commit: Commit) -> None:
    moments = []
    for number in range(4):
        catalog.insert_dimension(
            "visit", [{"instrument": "ST8", "visit": number, "region": "CIRCLE 5 5 1", "seq_num": number}]
        )
        commit(CALEXP, [visit(number)], run=f"u/{number}")
        moments.append(catalog.create_snapshot(f"of {number}".replace(" ", "/")).seq)
    commit(NOTE, [{}])
    for number, seq in enumerate(moments):
        there = [(one,) for one in range(number + 1)]
        for where in (None, "visit.region OVERLAPS CIRCLE(5, 5, 1)", "NOT visit.seq_num > 7"):
            found = list(catalog.dimension_records("visit", {}, where, {}, as_of=seq))
            assert values(found, "visit") == there
            assert values(catalog.data_ids(["visit"], {}, where, {}, as_of=seq), "visit") == there
            ids = catalog.data_ids(["visit"], {}, where, {}, datasets=["calexp"], as_of=seq)
            assert values(ids, "visit") == there
        query = DatasetQuery(dataset_types=("calexp",), as_of=seq, where="visit.seq_num >= 0")
        assert [one.ref.data_id["visit"] for one in catalog.query(query)] == [one for (one,) in there]
    assert len(list(catalog.dimension_records("visit", {}, None, {}))) == 4
    with pytest.raises(InvalidInputError) as error:
        catalog.data_ids(["visit"], {}, None, {}, as_of=10**9)
    assert error.value.kind is ErrorKind.MOMENT
    with pytest.raises(InvalidInputError, match="no records of dimension 'visit'"):
        catalog.data_ids(["visit"], {}, None, {}, as_of=0)


def test_find_each_looks_back(catalog: SqlCatalog, commit: Commit) -> None:
    data_ids = [{"instrument": "ST8", "physical_filter": "R", "detector": number} for number in range(3)]
    old = commit(FLAT, data_ids, run="old")
    catalog.certify("calib", old, Timespan())
    then = catalog.create_snapshot("then").seq
    new = commit(FLAT, data_ids, run="new")
    catalog.decertify("calib", "flat", Timespan())
    catalog.certify("calib", new, Timespan())
    asked = columns_of(FLAT, [ref.data_id for ref in old])
    spans: list[Any] = [Timespan(0, 1)] * 3

    def found(*collections: str, **options: Any) -> list[Any]:
        ids, numbers = catalog.find_each(FLAT, asked, spans, collections, **options)
        assert numbers == [0 if one is None else 1 for one in ids]
        return ids

    assert found("calib") == [ref.id for ref in new]
    assert found("calib", as_of=then) == [ref.id for ref in old]
    assert found("calib", as_of=0 + then - 1) == [ref.id for ref in old]
    assert found("old", as_of=then) == [ref.id for ref in old]
    with pytest.raises(NotFoundError):
        found("new", as_of=then)
