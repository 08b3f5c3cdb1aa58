"""Where things are on the sky, asked of a registry: conditions, data IDs of two families, and datasets."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, Region, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from quantumio.registry._sky_search import pairs_of
from tests.unit.registry.conftest import CALEXP, NOTE, Commit, Place, visit

CAMERA = {"instrument": "ST8"}
SKY = {"skymap": "sky"}
AT = "T'1970-01-01T00:00:00.000000"
COADD = DatasetType("coadd", dimensions=("skymap", "tract", "patch"), storage_class="CCDData")


def square(ra: float, dec: float, half: float) -> Region:
    corners = [
        (ra - half, dec - half),
        (ra + half, dec - half),
        (ra + half, dec + half),
        (ra - half, dec + half),
    ]
    return Region.make("POLYGON " + " ".join(f"{x} {y}" for x, y in corners))


def insert_sky(catalog: SqlCatalog) -> None:
    """Insert visits along the equator, a degree apart, and a row of patches that overlap on two tracts."""
    visits: list[dict[str, Any]] = [
        {**CAMERA, "visit": n, "region": square(n, 0, 0.3), "timespan": Timespan(n * 100, n * 100 + 50)}
        for n in range(6)
    ]
    visits += [{**CAMERA, "visit": 90}]  # neither region nor time
    catalog.insert_dimension("visit", visits)
    catalog.insert_dimension("detector", [{**CAMERA, "detector": n} for n in (0, 1)])
    catalog.insert_dimension(
        "visit_detector_region",
        [
            {**CAMERA, "visit": n, "detector": d, "region": square(n - 0.15 + 0.3 * d, 0, 0.14)}
            for n in range(6)
            for d in (0, 1)
        ],
    )
    catalog.insert_dimension("skymap", [SKY])
    catalog.insert_dimension(
        "tract", [{**SKY, "tract": t, "region": square(3 * t + 1, 0, 1.5)} for t in (0, 1)]
    )
    catalog.insert_dimension(
        "patch",
        [
            {**SKY, "tract": t, "patch": p, "cell_x": p, "region": square(3 * t + p, 0, 0.75)}
            for t in (0, 1)
            for p in range(3)
        ],
    )


@pytest.fixture
def sky(catalog: SqlCatalog) -> SqlCatalog:
    """A registry with visits, detectors, tracts and patches that have regions."""
    insert_sky(catalog)
    return catalog


def ids(
    catalog: SqlCatalog, dimensions: list[str], where: str | None = None, bind: Any = None, **keys: Any
) -> Any:
    return [tuple(one.values()) for one in catalog.data_ids(dimensions, keys, where, bind or {})]


def visits(catalog: SqlCatalog, where: str, **bind: object) -> list[object]:
    return [record["visit"] for record in catalog.dimension_records("visit", {}, where, bind)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("visit.region OVERLAPS CIRCLE(1.5, 0, 0.25)", [1, 2]),
        ("CIRCLE(1.5, 0, 0.25) OVERLAPS visit.region", [1, 2]),
        ("visit.region OVERLAPS POINT(2.1, 0.1)", [2]),
        ("visit.region OVERLAPS POINT(2.5, 0)", []),
        ("visit.region OVERLAPS POLYGON(2.2, -1, 4.8, -1, 4.8, 1, 2.2, 1)", [2, 3, 4, 5]),
        ("visit.region OVERLAPS BOX(3, 0, 1, 0.1)", [3]),
        ("visit.region OVERLAPS BOX(0, 0, 0.5, 0.5)", [0]),
        ("visit.region OVERLAPS BOX(0, 0, 360, 180)", [0, 1, 2, 3, 4, 5]),
        ("visit.region OVERLAPS REGION('CIRCLE 4 0 0.1')", [4]),
        ("visit.region OVERLAPS 'CIRCLE 4 0 0.1'", [4]),
        ("visit.region OVERLAPS CIRCLE(0, 0, 180)", [0, 1, 2, 3, 4, 5]),
        ("NOT visit.region OVERLAPS CIRCLE(1.5, 0, 0.25)", [0, 3, 4, 5]),
        ("visit.region NOT OVERLAPS CIRCLE(1.5, 0, 0.25)", [0, 3, 4, 5]),
        ("NOT (visit < 1 OR visit.region OVERLAPS POINT(2, 0))", [1, 3, 4, 5]),
        ("NOT NOT visit.region OVERLAPS POINT(2, 0)", [2]),
        ("visit = 90 OR visit.region OVERLAPS POINT(2, 0)", [2, 90]),
        ("visit.region OVERLAPS POINT(2, 0) AND visit.region OVERLAPS POINT(3, 0)", []),
        (f"visit.timespan OVERLAPS ({AT}100/tai', {AT}201/tai')", [1, 2]),
        (f"visit.timespan OVERLAPS (NULL, {AT}100/tai')", [0]),
        (f"visit.timespan NOT OVERLAPS (NULL, {AT}400/tai')", [4, 5]),
        (f"visit.timespan OVERLAPS ({AT}450/tai', NULL)", [5]),
        (f"visit.timespan OVERLAPS {AT}149/tai'", [1]),
        (f"{AT}150/tai' OVERLAPS visit.timespan", []),
        ("visit.timespan OVERLAPS (T'1970-01-01T00:00:00/tai', T'1970-01-01T00:00:00/tai')", []),
        ("visit.timespan OVERLAPS visit.timespan", [0, 1, 2, 3, 4, 5]),
        ("NOT visit.timespan OVERLAPS visit.timespan", []),
        ("visit.region OVERLAPS visit.region", [0, 1, 2, 3, 4, 5]),
        ("visit.region NOT OVERLAPS visit.region", []),
    ],
)  # fmt: skip
def test_overlaps_in_where(sky: SqlCatalog, where: str, expected: list[int]) -> None:
    assert visits(sky, where) == expected


def test_overlaps_with_bound_values(sky: SqlCatalog) -> None:
    circle = Region.make("CIRCLE 1.5 0 0.25")
    for place in (circle, str(circle), circle.encode()):
        assert visits(sky, "visit.region OVERLAPS :place", place=place) == [1, 2]
    assert visits(sky, "visit.region OVERLAPS REGION(:place)", place=str(circle)) == [1, 2]
    assert visits(sky, "visit.region OVERLAPS CIRCLE(:ra, :dec, 0.25)", ra=1.5, dec=0) == [1, 2]
    assert visits(sky, "visit.timespan OVERLAPS :night", night=Timespan(149, 301)) == [1, 2, 3]
    assert visits(sky, "visit.timespan OVERLAPS :night", night=(None, None)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("where", "bind", "at", "words"),
    [
        ("visit.region OVERLAPS CIRCLE(1, 2, 300)", {}, 23, "is no region"),
        ("visit.region OVERLAPS POLYGON(0, 0, 1, 0, 0, 1, 1, 1)", {}, 23, "is no region"),
        ("visit.region OVERLAPS BOX(1, 2, -3, 1)", {}, 23, "no negative width"),
        ("visit.region OVERLAPS BOX(1, 89, 3, 10)", {}, 23, "is no region"),
        ("visit.region OVERLAPS CIRCLE(1, 2, 'x')", {}, 36, "'x' is no number"),
        ("visit.region OVERLAPS CIRCLE(1, 2, :r)", {}, 36, "there is no value for :r"),
        ("visit.region OVERLAPS CIRCLE(1, 2, :r)", {"r": True}, 36, "True is no number"),
        ("visit.region OVERLAPS :place", {"here": 1}, 23, "values are given for 'here'"),
        ("visit.region OVERLAPS :place", {"place": 7}, 23, "7 is no region"),
        ("visit.region OVERLAPS 7", {}, 23, "7 is no region"),
        ("visit.region OVERLAPS (NULL, NULL)", {}, 23, "this is a timespan"),
        ("visit.region OVERLAPS visit.timespan", {}, 23, "visit.timespan is no region"),
        ("visit.timespan OVERLAPS visit.region", {}, 1, "visit.timespan is no region"),
        ("visit.timespan OVERLAPS CIRCLE(1, 2, 3)", {}, 25, "this is a region"),
        ("visit.timespan OVERLAPS 5", {}, 25, "5 is no time"),
        ("visit.timespan OVERLAPS :night", {"night": (1, 2)}, 25, ":night"),
        ("visit.timespan OVERLAPS :night", {"night": 5}, 25, "5 is no time"),
        ("visit.timespan OVERLAPS (T'2025-01-02', T'2025-01-01')", {}, 25, "ends before it begins"),
        ("visit OVERLAPS POINT(1, 2)", {}, 1, "visit is a value"),
        ("visit.name OVERLAPS POINT(1, 2)", {}, 1, "visit.name is no region and no timespan"),
        ("camera.region OVERLAPS POINT(1, 2)", {}, 1, "'camera' is no dimension"),
        ("tract.region OVERLAPS POINT(1, 2)", {}, 1, "a record of visit has no tract"),
        ("instrument.region OVERLAPS POINT(1, 2)", {}, 1, "instrument has neither"),
        ("POINT(1, 2) OVERLAPS POINT(1, 2)", {}, 1, "this is a region"),
        ("T'2025-01-02' OVERLAPS T'2025-01-02'", {}, 15, "one side of OVERLAPS must be of a record"),
        ("visit = :place", {"place": Region.make("CIRCLE 1 2 3")}, 9, ":place is a Region"),
    ],
)  # fmt: skip
def test_wrong_overlaps_are_told_where_they_are(
    sky: SqlCatalog, where: str, bind: Any, at: int, words: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        visits(sky, where, **bind)
    assert error.value.kind is ErrorKind.EXPRESSION
    assert words in str(error.value)
    assert f"at character {at} of the expression" in error.value.message


PATCHES = [(t, p, 3 * t + p) for t in (0, 1) for p in range(3)]
VISIT_PATCHES = [("ST8", n, "sky", t, p) for n in range(6) for t, p, ra in PATCHES if abs(n - ra) <= 1.05]
DETECTOR_PATCHES = [
    ("ST8", d, n, "sky", t, p)
    for d in (0, 1)
    for n in range(6)
    for t, p, ra in PATCHES
    if abs(n - 0.15 + 0.3 * d - ra) <= 0.89
]


def test_data_ids_of_two_families_overlap(sky: SqlCatalog) -> None:
    assert list(sky.data_ids(["patch", "visit"], {}, None, {})[0]) == [
        "instrument", "visit", "skymap", "tract", "patch",
    ]  # fmt: skip
    assert ids(sky, ["visit", "patch"]) == VISIT_PATCHES
    assert len(VISIT_PATCHES) == 16
    assert ids(sky, ["visit", "detector", "patch"]) == DETECTOR_PATCHES
    assert len(DETECTOR_PATCHES) == 22
    assert ids(sky, ["visit", "tract"]) == [("ST8", n, "sky", n // 3) for n in range(6)]


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("visit > 2", lambda n, t, p: n > 2),
        ("patch = 1", lambda n, t, p: p == 1),
        ("visit > 2 AND patch = 1", lambda n, t, p: n > 2 and p == 1),
        ("visit > 2 AND (patch = 1 OR tract = 0)", lambda n, t, p: n > 2 and (p == 1 or t == 0)),
        ("visit > 4 OR patch = 1", lambda n, t, p: n > 4 or p == 1),
        ("NOT (visit > 4 OR patch = 1)", lambda n, t, p: not (n > 4 or p == 1)),
        ("visit = patch", lambda n, t, p: n == p),
        ("visit IN (patch, 5)", lambda n, t, p: n in (p, 5)),
        ("visit.region OVERLAPS POINT(3, 0)", lambda n, t, p: n == 3),
        ("patch.region OVERLAPS POINT(3, 0)", lambda n, t, p: abs(3 * t + p - 3) <= 0.75),
        ("visit.region OVERLAPS patch.region", lambda n, t, p: True),
        ("visit.region OVERLAPS tract.region", lambda n, t, p: n // 3 == t),
        ("visit.region NOT OVERLAPS tract.region", lambda n, t, p: n // 3 != t),
        ("1 = 2", lambda n, t, p: False),
    ],
)  # fmt: skip
def test_conditions_on_data_ids_of_two_families(sky: SqlCatalog, where: str, keep: Any) -> None:
    expected = [found for found in VISIT_PATCHES if keep(found[1], found[3], found[4])]
    assert ids(sky, ["visit", "patch"], where) == expected


def test_dimensions_of_the_other_family_select_by_overlap(sky: SqlCatalog) -> None:
    assert ids(sky, ["patch"], **CAMERA, visit=3) == [
        ("sky", t, p) for t, p, ra in PATCHES if abs(3 - ra) <= 1.05
    ]
    assert ids(sky, ["visit"], **SKY, tract=0, patch=1) == [("ST8", n) for n in range(3)]
    assert ids(sky, ["visit"], "patch.cell_x = 1") == [("ST8", n) for n in range(6)]
    assert ids(sky, ["visit"], "tract = 0") == [("ST8", n) for n in range(3)]
    assert ids(sky, ["visit", "patch"], **CAMERA, visit=90) == []
    with pytest.raises(InvalidInputError, match="a data ID over skymap, tract has no band"):
        ids(sky, ["tract"], "band.x = 'g'")
    with pytest.raises(InvalidInputError, match="no dimension 'detector'"):
        ids(sky, ["visit"], "detector = 1")


def test_records_without_which_overlaps_are_not_known_are_named(catalog: SqlCatalog) -> None:
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 1}])
    catalog.insert_dimension("detector", [{**CAMERA, "detector": 1}])
    catalog.insert_dimension("skymap", [SKY])
    catalog.insert_dimension("tract", [{**SKY, "tract": 1, "region": "CIRCLE 0 0 180"}])
    assert ids(catalog, ["visit", "tract"]) == []
    with pytest.raises(
        InvalidInputError, match="no records of 'visit_detector_region' were inserted"
    ) as error:
        ids(catalog, ["visit", "detector", "tract"])
    assert error.value.kind is ErrorKind.DIMENSION
    with pytest.raises(InvalidInputError, match="no records of dimension 'patch'"):
        ids(catalog, ["visit", "patch"])


def test_few_of_many_are_found_by_their_cells(sky: SqlCatalog) -> None:
    """One patch against so many visits that only those near it are read."""
    many = [{**CAMERA, "visit": 100 + n, "region": square(n % 180, n / 5, 0.3)} for n in range(200)]
    sky.insert_dimension("visit", many)
    sky.insert_dimension("visit", [{**CAMERA, "visit": 99, "region": "CIRCLE 10 20 170"}])
    expected = [("ST8", n) for n in (1, 2, 3, 99, 101, 102, 103)]
    assert ids(sky, ["visit"], **SKY, tract=0, patch=2) == expected
    found = ids(sky, ["visit", "patch"], "visit = 99")
    assert [one[3:] for one in found] == [(t, p) for t, p, _ in PATCHES]


# -- datasets


def numbers(
    catalog: SqlCatalog, name: str, where: str | None = None, **keys: Any
) -> list[tuple[object, ...]]:
    query = DatasetQuery(dataset_types=(name,), where=where, data_id=keys)
    found = list(catalog.query(query))
    assert catalog.count(query) == len(found)
    return [tuple(stored.ref.data_id.values()) for stored in found]


@pytest.fixture
def images(sky: SqlCatalog, commit: Commit) -> SqlCatalog:
    """The same, with an image of each detector of each visit, and a coadd of each patch."""
    commit(CALEXP, [visit(n, d) for n in range(6) for d in (0, 1)])
    sky.register_dataset_type(COADD)
    commit(COADD, [{**SKY, "tract": t, "patch": p} for t in (0, 1) for p in range(3)])
    commit(NOTE, [{}])
    return sky


def test_images_of_a_patch_and_coadds_of_a_visit(images: SqlCatalog) -> None:
    expected = sorted(
        (("ST8", d, n) for _, d, n, _, t, p in DETECTOR_PATCHES if (t, p) == (0, 1)),
        key=lambda found: (found[2], found[1]),
    )
    assert numbers(images, "calexp", **SKY, tract=0, patch=1) == expected
    assert numbers(images, "calexp", "skymap = 'sky' AND tract = 0 AND patch = 1") == expected
    assert numbers(images, "calexp", "visit = 1 AND patch.cell_x = 1 AND tract < 1") == [
        one for one in expected if one[2] == 1
    ]
    assert numbers(images, "calexp", "visit.region OVERLAPS POINT(3, 0)") == [("ST8", 0, 3), ("ST8", 1, 3)]
    assert numbers(images, "calexp", "NOT visit.region OVERLAPS BOX(2, 0, 4.5, 1)") == [
        ("ST8", 0, 5),
        ("ST8", 1, 5),
    ]
    assert numbers(images, "coadd", **CAMERA, visit=5) == [("sky", 1, 1), ("sky", 1, 2)]
    assert numbers(images, "coadd", **CAMERA, visit=5, detector=1) == [("sky", 1, 2)]
    assert numbers(images, "c*", **CAMERA, visit=5) == [
        ("ST8", 0, 5), ("ST8", 1, 5), ("sky", 1, 1), ("sky", 1, 2),
    ]  # fmt: skip
    assert numbers(images, "coadd", **SKY, tract=7) == []
    assert numbers(images, "calexp", **SKY, tract=7) == []


def test_what_overlaps_cannot_tell_is_refused(images: SqlCatalog) -> None:
    with pytest.raises(InvalidInputError, match="a data ID of note has no dimension 'skymap'"):
        numbers(images, "note", **SKY, tract=0)
    with pytest.raises(InvalidInputError, match="no dimension 'visit', at character 14"):
        numbers(images, "calexp", "tract = 0 OR visit = 1")


def test_images_without_regions_are_not_guessed_at(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1, 0)])
    catalog.insert_dimension("skymap", [SKY])
    catalog.insert_dimension("tract", [{**SKY, "tract": 1, "region": "CIRCLE 0 0 180"}])
    with pytest.raises(
        InvalidInputError, match="no visit_detector_region has a region, so which lie on"
    ) as error:
        numbers(catalog, "calexp", **SKY, tract=1)
    assert error.value.kind is ErrorKind.DIMENSION


# -- dimensions of a repository's own

OWN: dict[str, dict[str, object]] = {
    "field": {"key": "int", "spatial": "field"},
    "spot": {"key": "int", "requires": ["instrument"], "spatial": "spot"},
    "warp": {"key": "int", "requires": ["instrument", "visit", "skymap", "tract"]},
    "plan": {"key": "int", "implies": ["skymap"], "spatial": "plan"},
}


@pytest.fixture
def own_sky(empty_place: Place) -> Iterator[SqlCatalog]:
    """A registry with visits, tracts and dimensions of its own."""
    catalog = empty_place.create(universe_tables=OWN)
    insert_sky(catalog)
    catalog.insert_dimension("visit", [{"instrument": "X", "visit": 1, "region": square(1, 0, 0.3)}])
    yield catalog
    catalog.close()


def test_families_may_share_a_dimension(own_sky: SqlCatalog) -> None:
    spots = [("ST8", 0), ("X", 0), ("X", 1)]
    own_sky.insert_dimension(
        "spot",
        [{"instrument": camera, "spot": n, "region": f"CIRCLE {n + 0.9} 0 0.5"} for camera, n in spots],
    )
    found = {
        (one["instrument"], one["visit"], one["spot"])
        for one in own_sky.data_ids(["visit", "spot"], {}, None, {})
    }
    assert found == {("ST8", 1, 0), ("X", 1, 0)}


def test_dimension_that_requires_both_families(own_sky: SqlCatalog) -> None:
    warps = [{**CAMERA, **SKY, "visit": n, "tract": t, "warp": 7} for n in (1, 2, 5) for t in (0, 1)]
    own_sky.insert_dimension("warp", warps)
    assert ids(own_sky, ["warp"]) == [
        ("ST8", 1, "sky", 0, 7),
        ("ST8", 2, "sky", 0, 7),
        ("ST8", 5, "sky", 1, 7),
    ]
    assert ids(own_sky, ["warp"], "visit = 4") == []


def test_record_that_implies_a_dimension_of_the_other_family(own_sky: SqlCatalog) -> None:
    own_sky.insert_dimension("skymap", [{"skymap": "other"}])
    own_sky.insert_dimension(
        "plan",
        [{"plan": n, "skymap": name, "region": "CIRCLE 1 0 0.5"} for n, name in ((1, "sky"), (2, "other"))],
    )
    found = own_sky.data_ids(["plan", "tract"], {}, None, {})
    assert [(one["plan"], one["skymap"], one["tract"]) for one in found] == [(1, "sky", 0)]


def test_three_families_are_refused(own_sky: SqlCatalog) -> None:
    own_sky.insert_dimension("field", [{"field": 1, "region": "CIRCLE 1 0 0.5"}])
    with pytest.raises(InvalidInputError, match="are of 3 spatial families") as error:
        ids(own_sky, ["visit", "tract", "field"])
    assert error.value.kind is ErrorKind.DIMENSION


def test_so_many_pairs_that_cells_tell_them_first() -> None:
    one = [Region.make(f"CIRCLE {n / 5} {n % 50} 0.3").encode() for n in range(1500)]
    other = [Region.make(f"CIRCLE {n / 3 + 0.05} {n % 50} 0.2").encode() for n in range(900)]
    i, j = pairs_of(one, other)
    every_i, every_j = np.divmod(np.arange(1500 * 900), 900)
    found = overlaps(Regions.decode(one), Regions.decode(other), every_i, every_j)
    assert i.tolist() == every_i[found].tolist()
    assert j.tolist() == every_j[found].tolist()
    assert len(i) > 100
