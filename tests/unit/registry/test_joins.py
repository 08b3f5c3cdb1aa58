"""Datasets that belong together: as joining all matches by hand does."""

import itertools
import random
from typing import Any

import attrs
import pytest

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DatasetType, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, RAW, Commit, exposure, visit

COADD = DatasetType("coadd", dimensions=("band", "skymap", "tract", "patch"), storage_class="CCDData")


def joined(catalog: SqlCatalog, *types: str, **options: Any) -> list[Any]:
    query = DatasetQuery(dataset_types=types, **options)
    found = list(catalog.joined(query))
    assert catalog.count_joined(query) == len(found)
    assert len(set(found)) == len(found)
    limited = attrs.evolve(query, limit=3)
    assert list(catalog.joined(limited)) == found[:3]
    assert catalog.count_joined(limited) == len(found[:3])
    return found


def by_hand(catalog: SqlCatalog, types: tuple[str, ...], same: Any, **options: Any) -> list[Any]:
    """Return all combinations of matches whose data IDs agree, and for which ``same`` says so."""
    matches = [list(catalog.query(DatasetQuery(dataset_types=(name,), **options))) for name in types]
    found = []
    for row in itertools.product(*matches):
        values: dict[str, Any] = {}
        pairs = [pair for one in row for pair in one.ref.data_id.items()]
        if all(values.setdefault(name, value) == value for name, value in pairs) and same(values):
            found.append(tuple(one.ref for one in row))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_joins_are_those_of_all_combinations(catalog: SqlCatalog, commit: Commit, seed: int) -> None:
    chance = random.Random(seed)
    filters = {number: chance.choice("RGI") for number in range(5)}
    catalog.insert_dimension(
        "exposure",
        [
            {"instrument": "ST8", "exposure": number, "physical_filter": name, "seq_num": number}
            for number, name in filters.items()
        ],
    )
    for run in ("u/a", "u/b"):
        for _ in range(2):
            for kind, data_ids in (
                (RAW, [exposure(number, detector) for number in range(5) for detector in (0, 1)]),
                (CALEXP, [visit(number, detector) for number in range(5) for detector in (0, 1)]),
                (
                    FLAT,
                    [
                        {"instrument": "ST8", "physical_filter": name, "detector": detector}
                        for name in "RGI"
                        for detector in (0, 1)
                    ],
                ),
            ):
                chosen = [one for one in data_ids if chance.random() < 0.5]
                if chosen:
                    commit(kind, chosen, run=run)
    commit(NOTE, [{}], run="u/b")

    def same(values: dict[str, Any]) -> bool:
        number = values.get("exposure")
        is_visit = number is None or values.get("visit", number) == number
        name = values.get("physical_filter")
        return is_visit and (number is None or name is None or name == filters[number])

    for collections in (("u/a",), ("u/b", "u/a"), ("u/*",), None):
        for types in (("raw", "flat"), ("calexp", "raw"), ("calexp", "note"), ("raw", "calexp", "flat")):
            options: dict[str, Any] = {"collections": collections}
            expected = by_hand(catalog, types, same, **options)
            found = joined(catalog, *types, **options)
            assert set(found) == set(expected), (collections, types)
            for extra, rule in (
                ({"where": f"{types[0]}.version = 2"}, lambda row: row[0].version == 2),
                ({"data_id": {"detector": 1}}, lambda row: row[0].data_id["detector"] == 1),
                (
                    {"where": f"{types[1]}.run != {types[0]}.run"},
                    lambda row: row[0].run != row[1].run,
                ),
            ):
                assert set(joined(catalog, *types, **options, **extra)) == {
                    row for row in expected if rule(row)
                }


def test_joins_come_page_by_page_in_order(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(number, detector) for number in range(150) for detector in range(3)], run="u/a")
    commit(RAW, [exposure(number, detector) for number in range(150) for detector in range(3)], run="u/a")
    found = catalog.joined(DatasetQuery(dataset_types=("calexp", "raw")))
    first = next(found)
    later = commit(CALEXP, [visit(number) for number in range(100, 160)], run="u/a")
    pairs = [first, *found]
    assert len(pairs) == 450
    assert not {one for one, _ in pairs} & set(later)
    places = [(one.data_id["detector"], other.data_id["exposure"]) for one, other in pairs]
    assert places == sorted(places)
    assert all(one.data_id["visit"] == other.data_id["exposure"] for one, other in pairs)


def test_definitions_of_visits_join_them_with_exposures(catalog: SqlCatalog, commit: Commit) -> None:
    definitions = {1: 10, 2: 10, 3: 30}
    catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": number} for number in (10, 30)])
    catalog.insert_dimension(
        "visit_definition",
        [{"instrument": "ST8", "exposure": number, "visit": of} for number, of in definitions.items()],
    )
    commit(RAW, [exposure(number) for number in (1, 2, 3, 4)])
    commit(CALEXP, [visit(number) for number in (10, 30, 40)])
    found = joined(catalog, "calexp", "raw")
    numbers = [(one.data_id["visit"], other.data_id["exposure"]) for one, other in found]
    assert sorted(numbers) == [(10, 1), (10, 2), (30, 3)]


def test_joins_look_back(catalog: SqlCatalog, commit: Commit) -> None:
    raws = commit(RAW, [exposure(1), exposure(2)])
    (first,) = commit(CALEXP, [visit(1)])
    then = catalog.moment((1 << 63) - 1)
    (second,) = commit(CALEXP, [visit(1)])
    commit(CALEXP, [visit(2)])
    catalog.delete([raws[1].id], dry_run=False)
    assert joined(catalog, "calexp", "raw") == [(second, raws[0])]
    assert joined(catalog, "calexp", "raw", as_of=then) == [(first, raws[0])]
    assert joined(catalog, "raw", as_of=then) == [(raw,) for raw in raws]


def test_datasets_are_joined_on_the_sky(catalog: SqlCatalog, commit: Commit) -> None:
    catalog.register_dataset_type(COADD)
    for element, records in (
        ("instrument", [{"instrument": "ST8"}]),
        ("skymap", [{"skymap": "all"}]),
        ("tract", [{"skymap": "all", "tract": 0}]),
    ):
        catalog.insert_dimension(element, records)
    catalog.insert_dimension(
        "visit_detector_region",
        [
            {"instrument": "ST8", "visit": number, "detector": 0, "region": f"CIRCLE {10 * number} 0 3"}
            for number in range(1, 5)
        ],
    )
    catalog.insert_dimension(
        "patch",
        [
            {"skymap": "all", "tract": 0, "patch": number, "region": f"CIRCLE {5 * number} 0 3"}
            for number in range(10)
        ],
    )
    commit(CALEXP, [visit(number) for number in (1, 2, 3)], run="u/a")
    commit(CALEXP, [visit(3)], run="u/b")
    patches = [{"band": "r", "skymap": "all", "tract": 0, "patch": number} for number in (2, 3, 4, 6)]
    commit(COADD, patches, run="u/a")
    options = {"collections": ("u/b", "u/a")}
    expected = by_hand(
        catalog,
        ("calexp", "coadd"),
        lambda values: abs(10 * values["visit"] - 5 * values["patch"]) <= 6,
        **options,
    )
    assert len(expected) == 5
    assert set(joined(catalog, "calexp", "coadd", **options)) == set(expected)
    second = joined(catalog, "calexp", "coadd", where="calexp.run = 'u/a' AND visit = 2", **options)
    assert second == [row for row in expected if row[0].data_id["visit"] == 2]
    with pytest.raises(InvalidInputError, match="without an order"):
        joined(catalog, "calexp", "coadd", collections=("u/*",))


def test_wrong_joins_are_refused(catalog: SqlCatalog, commit: Commit) -> None:
    commit(RAW, [exposure(1)])
    commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}])
    for wrong, options, error in (
        ((), {}, InvalidInputError),
        (("raw", "raw"), {}, InvalidInputError),
        (("raw", "nothing"), {}, NotFoundError),
        (("raw",), {"collections": ("nowhere",)}, NotFoundError),
        (("raw",), {"where": "vist = 1"}, InvalidInputError),
        (("raw", "flat"), {}, InvalidInputError),  # no record tells the filter of an exposure
    ):
        with pytest.raises(error):
            catalog.joined(DatasetQuery(dataset_types=wrong, **options))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"raw.version or calexp.version") as caught:
        catalog.joined(DatasetQuery(dataset_types=("raw", "calexp"), where="version = 1"))
    assert caught.value.kind is ErrorKind.EXPRESSION


def test_calibration_collections_are_passed_over(catalog: SqlCatalog, commit: Commit) -> None:
    flats = commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}], run="u/f")
    catalog.certify("calib", flats, Timespan())
    assert joined(catalog, "flat", collections=("calib",)) == []
    assert joined(catalog, "flat", collections=("calib", "u/f")) == [tuple(flats)]
