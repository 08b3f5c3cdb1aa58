"""Dimensions that are joined by overlap on the sky."""

import pytest

from tests.peer.registries import lacking
from tests.peer.world import square

CAM = {"instrument": "Cam"}
SKY = {"skymap": "sky"}
BOTH_KEYS = CAM | SKY


def tuples(found, *names):
    return sorted(tuple(one[name] for name in names) for one in found)


@lacking("joins by overlap")
def test_visits_and_tracts_that_overlap_are_joined_once_each(registry):
    found = registry.data_ids(["visit", "tract"], **BOTH_KEYS)
    assert tuples(found, "visit", "tract") == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]


@lacking("joins by overlap")
def test_visits_and_patches_are_joined_by_the_patches_regions(registry):
    found = registry.data_ids(["visit", "patch"], **BOTH_KEYS)
    assert tuples(found, "visit", "tract", "patch") == [
        *[(1, 1, 1), (1, 2, 0)],
        *[(2, 1, 1), (2, 2, 0), (2, 2, 1)],
        *[(3, 2, 0), (3, 2, 1)],
    ]


@lacking("joins by overlap")
def test_detectors_have_regions_of_their_own(registry):
    found = registry.data_ids(["visit", "detector", "patch"], **BOTH_KEYS)
    assert tuples(found, "visit", "detector", "tract", "patch") == [(3, 0, 2, 0), (3, 0, 2, 1), (3, 1, 2, 0)]


@lacking("joins by overlap")
def test_visits_of_a_tract_come_once_though_several_patches_overlap(registry):
    found = registry.data_ids(["visit"], "tract = 2", **BOTH_KEYS)
    assert tuples(found, "visit") == [(1,), (2,), (3,)]


@lacking("joins by overlap")
def test_visit_without_overlap_is_in_no_pair(registry):
    assert registry.data_ids(["visit", "patch"], "visit = 4", **BOTH_KEYS) == []


@lacking("joins by overlap")
def test_images_of_a_patch_are_found_once_each(registry):
    refs = {
        pair: registry.put("image", "r", **CAM, visit=pair[0], detector=pair[1])
        for pair in ((3, 0), (3, 1), (4, 0))
    }
    assert set(registry.query("image", ["r"], **BOTH_KEYS, tract=2, patch=1)) == {refs[3, 0]}
    assert set(registry.query("image", ["r"], "tract = 2", **BOTH_KEYS)) == {refs[3, 0], refs[3, 1]}


@lacking("regions in expressions")
@pytest.mark.parametrize(
    ("region", "visits"),
    [
        ("CIRCLE(10.7, 0.0, 0.01)", [1, 2]),
        ("CIRCLE(11.0, 0.0, 0.9)", [1, 2, 3]),
        ("CIRCLE(40.5, 0.0, 0.1)", [4]),
        ("CIRCLE(200.0, 60.0, 1.0)", []),
        ("POINT(11.55, 0.1)", [2, 3]),
        ("POINT(10.55, 0.1)", [1]),
        ("POLYGON(12.0, -1.0, 13.0, -1.0, 13.0, 1.0)", [3]),
    ],
)
def test_visits_are_chosen_by_place(registry, region, visits):
    found = registry.records("visit", f"visit.region OVERLAPS {region}", **CAM)
    assert tuples(found, "visit") == [(visit,) for visit in visits]


@lacking("regions in expressions")
def test_visits_are_chosen_by_a_region_that_is_bound(registry):
    region = registry.region(square(10.4, 0.15))
    found = registry.records("visit", "visit.region OVERLAPS :place", {"place": region}, **CAM)
    assert tuples(found, "visit") == [(1,)]
