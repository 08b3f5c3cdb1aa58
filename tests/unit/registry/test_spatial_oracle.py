"""Visits and patches anywhere on the sky, joined by a registry, against arithmetic without rounding."""

from itertools import count

import hypothesis
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantumio.errors import InvalidInputError
from quantumio.model import Region
from tests.unit.registry import sky_oracle as oracle
from tests.unit.registry.test_sky_overlaps import Judge, encoded_circle, encoded_polygon, neighbours, polygons

SOME = settings(max_examples=max(40, settings.default.max_examples // 5), deadline=None)


@st.composite
def shapes(draw, centre, size):
    """A polygon or a circle: its vertices or its centre and radius, and its region."""
    if draw(st.integers(0, 3)) == 0:
        return (centre, size), Region.decode(encoded_circle(centre, size))
    vertices = draw(polygons(centre, size))
    region = Region.decode(encoded_polygon(vertices))
    try:
        Region.make(region)
    except InvalidInputError:  # thinner than can be told from a line
        hypothesis.reject()
    return vertices, region


@st.composite
def skies(draw):
    """Some visits, and patches of which many are near one of them."""
    visits, patches = [], []
    for _ in range(draw(st.integers(1, 3))):
        centre, size, other, other_size = draw(neighbours())
        visits.append(draw(shapes(centre, size)))
        patches.append(draw(shapes(other, other_size)))
    return visits, patches


def distance(a, b):
    """Return how far two shapes are from each other; below 0 how deep they overlap."""
    a, b = (b, a) if isinstance(a, tuple) else (a, b)
    if isinstance(a, tuple):
        return float(oracle.angle(a[0], b[0])) - a[1] - b[1]
    if isinstance(b, tuple):
        return float(oracle.from_polygon(b[0], a)) - b[1]
    if oracle.polygons_overlap(a, b):
        return -float(oracle.depth(a, b))
    return float(oracle.between_polygons(a, b))


def overlap(a, b):
    if isinstance(a, tuple) or isinstance(b, tuple):
        return distance(a, b) <= 0
    return oracle.polygons_overlap(a, b)


def test_registry_joins_what_overlaps(catalog):
    judge = Judge()
    number = count()
    catalog.insert_dimension("visit", [{"instrument": "before", "visit": 0, "region": "CIRCLE 1 2 0.5"}])

    @SOME
    @given(skies(), st.booleans())
    def ask(sky, selected):
        visits, patches = sky
        name = f"sky{next(number)}"  # the records of all examples share their tables and cells
        catalog.insert_dimension("skymap", [{"skymap": name}])
        catalog.insert_dimension("tract", [{"skymap": name, "tract": 0}])
        catalog.insert_dimension(
            "visit", [{"instrument": name, "visit": n, "region": of} for n, (_, of) in enumerate(visits)]
        )
        catalog.insert_dimension(
            "patch",
            [{"skymap": name, "tract": 0, "patch": n, "region": of} for n, (_, of) in enumerate(patches)],
        )
        if selected:  # by cells alone: every visit there is may lie on these patches
            found = catalog.data_ids(["visit", "patch"], {"skymap": name}, None, {})
            found = [one for one in found if one["instrument"] == name]
        else:
            found = catalog.data_ids(["visit", "patch"], {"skymap": name, "instrument": name}, None, {})
        found = {(one["visit"], one["patch"]) for one in found}
        for visit, (a, region) in enumerate(visits):
            near = catalog.data_ids(
                ["patch"], {"skymap": name}, "patch.region OVERLAPS :region", {"region": region}
            )
            assert {one["patch"] for one in near} == {p for v, p in found if v == visit}
            for patch, (b, _) in enumerate(patches):
                judge.compare((visit, patch) in found, overlap(a, b), lambda a=a, b=b: abs(distance(a, b)))

    ask()
    assert judge.near <= judge.asked / 50
    assert np.clip(judge.yes, judge.asked / 10, judge.asked * 9 / 10) == judge.yes
