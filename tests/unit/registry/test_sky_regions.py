"""Regions in arrays: every encoding gives the same place, and the caps are bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.model import Region
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import BOX, CIRCLE, Regions
from tests.unit.registry.test_sky_overlaps import (
    MANY,
    encoded_circle,
    encoded_polygon,
    polygons,
    text,
    vector,
)


def test_regions_of_all_kinds_stand_in_the_order_given():
    quad = "POLYGON 10 2 11 2 11 3 10 3"
    given_ = [
        *("CIRCLE 10 2 0.5", quad, "RANGE 350 10 -5 5", "POLYGON 0 0 1 0 0 1", "POLYGON 5 5 6 5 6 6 5 6"),
        *("CIRCLE 200 -90 180", "RANGE 0 360 80 90"),
    ]
    regions = Regions.make(map(Region.make, given_))
    assert len(regions) == 7
    assert regions.corners.tolist() == [CIRCLE, 4, BOX, 3, 4, CIRCLE, BOX]
    assert regions.slots.tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert np.degrees(regions.outer[[0, 5]]).tolist() == pytest.approx([0.5, 180])
    assert np.degrees(regions.boxes[[2, 6]]).ravel().tolist() == pytest.approx(
        [350, 20, -5, 5, 0, 360, 80, 90]
    )
    assert regions.polygons[4].vertices[0, 2].tolist() == pytest.approx(
        vector(math.radians(11), math.radians(3))
    )
    points = Regions.make(
        map(Region.make, ("POINT 10.3 2.3", "POINT 0.3 0.3", "POINT 5.5 5.5", "POINT 77 89"))
    )
    i, j = np.indices((7, 4)).reshape(2, -1)
    met = overlaps(regions, points, i, j).reshape(7, 4)
    assert met.tolist() == [
        [True, False, False, False],
        [True, False, False, False],
        [False, True, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [True, True, True, True],
        [False, False, False, True],
    ]


def test_no_regions_at_all():
    nothing = Regions.decode([])
    assert len(nothing) == 0
    empty = np.empty(0, np.int64)
    assert overlaps(nothing, nothing, empty, empty).tolist() == []


def test_both_senses_of_a_polygon_are_the_same():
    vertices = np.array([vector(0, 0), vector(0.1, 0), vector(0.1, 0.2), vector(-0.1, 0.1)])
    one, other = (
        Regions.decode([encoded_polygon(vertices)]),
        Regions.decode([encoded_polygon(vertices[::-1])]),
    )
    both = Regions.decode([encoded_polygon(vertices), encoded_polygon(vertices[::-1])])
    for regions in (one, other, both):
        for polygon in zip(regions.polygons[4].vertices, regions.polygons[4].normals, strict=True):
            assert (polygon[1] @ polygon[0].T > -1e-15).all()  # all vertices are above all edges
    assert np.allclose(one.centres, other.centres, atol=1e-15)


def test_degrees_and_the_encodings_of_sphgeom_give_the_same():
    """Bytes of lsst.sphgeom 30: a circle, a box across the meridian, and a triangle."""
    given_ = {
        "CIRCLE 10 2 0.5": (
            "637c4ad56da17eef3f87fb6721a336c63f27dcf7c958dea13f14cc8c8d99f6133f399d52a246df813f"
        ),
        "RANGE 350 10 -5 5": "62f4f2ec91426f18408744e74a1857c63f8744e74a1857b6bf8744e74a1857b63f",
        "RANGE 0 360 -90 90": "620000000000000000182d4454fb211940182d4454fb21f9bf182d4454fb21f93f",
        "POLYGON 10 2 11 2 11 3": (
            "707c4ad56da17eef3f87fb6721a336c63f27dcf7c958dea13fb635bf5a9764ef3ff50c3bcf9e68c83f27dcf7c958dea13f"
            "4f275524785eef3f9a2bb944dc63c83f0ec9ef48c7cbaa3f"
        ),
    }
    for degrees, encoded in given_.items():
        ours, theirs = Regions.make([Region.make(degrees)]), Regions.decode([bytes.fromhex(encoded)])
        assert np.allclose(ours.centres, theirs.centres, atol=1e-15)
        assert np.allclose(ours.outer, theirs.outer, rtol=1e-13)
        assert np.allclose(ours.boxes, theirs.boxes, atol=1e-15)
        assert ours.corners.tolist() == theirs.corners.tolist()


@MANY
@given(polygons(), st.floats(0, 6.28), st.data())
def test_caps_enclose_a_polygon_and_lie_within(vertices, direction, data):
    regions = Regions.decode([encoded_polygon(vertices)])
    zero = np.zeros(1, np.int64)
    weights = data.draw(st.lists(st.floats(0, 1), min_size=len(vertices), max_size=len(vertices)))
    point = np.array([*weights]) @ vertices + vertices.sum(0) * 1e-3
    point /= np.linalg.norm(point)
    within = Regions.decode([encoded_circle(point, 0.0)])
    cap = Regions.decode([encoded_circle(regions.centres[0], regions.outer[0])])
    assert overlaps(regions, within, zero, zero)[0]
    assert overlaps(cap, within, zero, zero)[0]
    assert 0 <= regions.inner[0] <= regions.outer[0]
    centre = regions.centres[0]
    edge = np.cross(centre, [0.6, 0.0, 0.8])
    edge /= np.linalg.norm(edge)
    edge = np.cos(direction) * edge + np.sin(direction) * np.cross(centre, edge)
    border = np.cos(regions.inner[0]) * centre + np.sin(regions.inner[0]) * edge
    inside = Regions.decode([encoded_circle(border, 0.0)])
    assert overlaps(regions, inside, zero, zero, 1e-14)[0]


@pytest.mark.parametrize("width", [0.0, 10.0, 180.0, 181.0, 360.0])
@pytest.mark.parametrize(("south", "north"), [(-90.0, 90.0), (-5.0, 60.0), (80.0, 90.0), (20.0, 20.0)])
def test_the_cap_of_a_box_encloses_it(width, south, north):
    regions = Regions.decode([text("RANGE", 30.0, 30.0 + width, south, north)])
    ra, dec = np.meshgrid(np.linspace(30, 30 + width, 50), np.linspace(south, north, 50))
    points = Regions.decode([text("CIRCLE", a, d, 0.0) for a, d in zip(ra.ravel(), dec.ravel(), strict=True)])
    away = np.arccos(np.clip(points.centres @ regions.centres[0], -1, 1))
    assert away.max() <= regions.outer[0] + 3e-8  # of the arc cosine
    zeros, each = np.zeros(len(points), np.int64), np.arange(len(points))
    assert overlaps(regions, points, zeros, each).all()


def test_many_pairs_are_decided_part_by_part_as_alone():
    """More numbers than are worked on at once."""
    angles = np.linspace(0, 2 * np.pi, 600, endpoint=False)
    east, north, up = np.eye(3)
    rings = []
    for size in (0.3, 0.31, 0.32):
        points = up + size * (np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * north)
        rings.append(encoded_polygon(points / np.linalg.norm(points, axis=1)[:, None]))
    beside = [
        encoded_polygon(np.array([vector(a, 1.272), vector(a + 0.01, 1.272), vector(a, 1.27)]))
        for a in (0, 1)
    ]
    a, b = Regions.decode(rings), Regions.decode([*rings, *beside])
    i, j = np.indices((3, 5)).reshape(2, -1)
    alone = [overlaps(a, b, i[n : n + 1], j[n : n + 1])[0] for n in range(15)]
    assert overlaps(a, b, i, j).tolist() == alone
    assert alone[3:5] == [False, False]
    assert alone[13:] == [True, True]
