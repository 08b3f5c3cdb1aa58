"""Boxes between meridians and parallels: against oracles that halve, and the cases that go wrong."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.model import Region
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from tests.unit.registry import sky_oracle as oracle
from tests.unit.registry.test_sky_overlaps import (
    MANY,
    encoded_circle,
    encoded_polygon,
    moved,
    overlap,
    polygons,
    text,
    vector,
)

latitudes = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 0.0, 90.0]))
widths = st.one_of(st.floats(0, 360), st.floats(0, 1), st.sampled_from([0.0, 180.0, 360.0]))


@st.composite
def boxes(draw):
    """Degrees: west, east, south, north."""
    south = draw(latitudes)
    west = draw(st.floats(0, 360))
    north = min(90.0, south + draw(st.one_of(st.floats(0, 180), st.floats(0, 1))))
    return west, west + draw(widths), south, north


def radians(box):
    west, east, south, north = box
    return math.radians(west), math.radians(east - west), math.radians(south), math.radians(north)


@st.composite
def near_boxes(draw, box):
    """A direction within 1.5 half-widths of the middle of a box."""
    west, width, south, north = radians(box)
    ra = west + width * draw(st.floats(-0.25, 1.25))
    dec = south + (north - south) * draw(st.floats(-0.25, 1.25))
    return moved(vector(ra, dec), draw(st.floats(0, 6.28)), draw(st.floats(0, 0.5)))


def test_boxes_overlap_polygons_as_halving_says():
    asked, unclear, yes = 0, 0, 0

    @MANY
    @given(st.data())
    def ask(data):
        nonlocal asked, unclear, yes
        box = data.draw(boxes())
        vertices = data.draw(
            polygons(data.draw(near_boxes(box)), data.draw(st.sampled_from([1e-4, 0.01, 0.3, 1.2])))
        )
        expected = oracle.box_meets(radians(box), lambda ra, dec: quick_distance(vector(ra, dec), vertices))
        got = overlap(encoded_polygon(vertices), text("RANGE", *box))
        asked, unclear, yes = asked + 1, unclear + (expected is None), yes + bool(expected)
        assert got == expected or expected is None

    ask()
    assert unclear <= asked / 20
    assert asked / 10 < yes < asked * 9 / 10


def quick_distance(point, vertices):
    """Return the distance of a point from a polygon to some digits, in plain Python."""
    vertices = [tuple(map(float, vertex)) for vertex in vertices]
    middle = [sum(axis) for axis in zip(*vertices, strict=True)]
    sides, nearest = [], math.inf
    for number, end in enumerate(vertices):
        start = vertices[number - 1]
        normal = cross(start, end)
        sides.append(dot(normal, point) * math.copysign(1, dot(normal, middle)) >= 0)
        nearest = min(nearest, math.dist(point, start))
        if dot(cross(normal, start), point) > 0 and dot(cross(end, normal), point) > 0:
            nearest = min(nearest, 2 * math.sin(abs(math.asin(dot(normal, point) / math.hypot(*normal))) / 2))
    return 0 if all(sides) else 2 * math.asin(min(nearest / 2, 1))


def cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def dot(a, b):
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def test_boxes_overlap_circles_as_halving_says():
    asked, unclear, yes = 0, 0, 0

    @MANY
    @given(st.data())
    def ask(data):
        nonlocal asked, unclear, yes
        box = data.draw(boxes())
        centre = data.draw(near_boxes(box))
        radius = data.draw(st.sampled_from([1e-6, 1e-4, 0.01, 0.3, 1.2, 2.5]))

        def distance(ra, dec):
            return 2 * math.asin(min(math.dist(vector(ra, dec), centre) / 2, 1)) - radius

        expected = oracle.box_meets(radians(box), distance)
        got = overlap(encoded_circle(centre, radius), text("RANGE", *box))
        asked, unclear, yes = asked + 1, unclear + (expected is None), yes + bool(expected)
        assert got == expected or expected is None

    ask()
    assert unclear <= asked / 20
    assert asked / 10 < yes < asked * 9 / 10


tens = st.integers(0, 36).map(lambda number: 10.0 * number)
heights = st.integers(-9, 9).map(lambda number: 10.0 * number)


@MANY
@given(*[st.tuples(tens, tens, heights, heights)] * 2)
def test_boxes_overlap_boxes_as_intervals_do(a, b):
    """Borders that touch are frequent among round numbers, and count."""
    a, b = ((*box[:2], *sorted(box[2:])) for box in (a, b))
    assert overlap(text("RANGE", *a), text("RANGE", *b)) == oracle.boxes_meet(a, b)


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ("RANGE 350 10 -5 5", "POINT 0 0", True),
        ("RANGE 350 10 -5 5", "POINT 180 0", False),
        ("RANGE -10 10 -5 5", "POINT 355 0", True),
        ("RANGE 0 360 80 90", "POINT 77 90", True),
        ("RANGE 10 20 80 90", "CIRCLE 200 89 1", True),
        ("RANGE 10 20 80 90", "CIRCLE 200 89 0.999", False),
        ("RANGE 10 300 -5 5", "POINT 340 0", False),
        ("RANGE 10 300 -5 5", "POINT 150 0", True),
        # A polygon around the pole, within the hole of a ring, and across it.
        ("RANGE 0 360 70 80", "POLYGON 0 85 120 85 240 85", False),
        ("RANGE 0 360 70 80", "POLYGON 0 60 120 60 240 60", True),
        ("RANGE 0 360 85 90", "POLYGON 0 60 120 60 240 60", True),
        ("RANGE 0 360 70 80", "POLYGON 0 75 120 85 240 85", True),
        # An edge between two corners at 50 degrees rises to 50.97 in the middle, above the parallel.
        ("RANGE 14 16 51 53", "POLYGON 0 50 30 50 15 40", False),
        ("RANGE 10 20 50.9 53", "POLYGON 0 50 30 50 15 40", True),
        ("RANGE 1 2 50.9 53", "POLYGON 0 50 30 50 15 40", False),
        ("RANGE 14 16 50.9 53", "POLYGON 30 50 0 50 15 40", True),
        ("RANGE 14 16 -53 -50.9", "POLYGON 0 -50 30 -50 15 -40", True),
        ("RANGE 14 16 -53 -51", "POLYGON 0 -50 30 -50 15 -40", False),
        # Crosses like a plus: no vertex of one lies in the other.
        ("RANGE 10 20 -40 40", "POLYGON 0 -1 30 -1 30 1 0 1", True),
        ("RANGE 40 50 -40 40", "POLYGON 0 -1 30 -1 30 1 0 1", False),
        ("RANGE 0 180 -90 90", "POLYGON -20 -1 10 -1 10 1 -20 1", True),
        ("RANGE 0 0 -90 90", "POLYGON -20 -1 10 -1 10 1 -20 1", True),
        ("RANGE 180 180 -90 90", "POLYGON -20 -1 10 -1 10 1 -20 1", False),
        ("RANGE 200 300 -90 90", "POLYGON -20 -1 10 -1 10 1 -20 1", False),
        ("RANGE 5 5 0 0", "POLYGON -20 -1 10 -1 10 1 -20 1", True),
    ],
)
def test_borders_of_boxes(box, other, expected):
    assert overlap(Region.make(box).encode(), Region.make(other).encode()) is expected


@pytest.mark.parametrize(
    ("region", "other", "degrees"),
    [
        ("POLYGON 0 0 -1 1 -1 -1", "POLYGON 1e-3 0 1 1 1 -1", 1e-3),  # vertex and vertex
        ("POLYGON 0 0 -1 1 -1 -1", "POLYGON 1e-3 1 2 0 1e-3 -1", 1e-3),  # vertex and edge
        ("POLYGON -1 1 0 0 -1 -1", "CIRCLE 1 0 0.999", 1e-3),
        ("CIRCLE 1 0 0.9", "CIRCLE 2 0 0.099", 1e-3),
        ("RANGE 0 1 -1 1", "RANGE 1.001 2 -1e-9 1e-9", 1e-3),
        ("RANGE 0 1 -1 1", "RANGE 0 1 1.001 2", 1e-3),
        ("RANGE 0 1 -1 1", "CIRCLE 1.5 0 0.499", 1e-3),
        ("RANGE 0 1 -1 1", "POLYGON 1.001 0 2 1 2 -1", 1e-3),  # side and vertex
        ("RANGE 0 1 -1 1", "POLYGON -1 2 0.5 1.001 2 2", 1e-3),  # parallel and vertex
        ("RANGE 0 1 -1 0", "POLYGON -0.003 1 -0.001 0 -0.003 -2", 1e-3),  # corner and vertex
        (
            "RANGE 14 16 50.975956475388375 53",
            "POLYGON 0 50 30 50 15 40",
            1e-3,
        ),  # parallel and the top of an edge
        ("RANGE 14 16 -53 -50.975956475388375", "POLYGON 0 -50 30 -50 15 -40", 1e-3),
    ],
)
def test_regions_that_are_no_farther_apart_than_asked_overlap(region, other, degrees):
    zero = np.zeros(1, np.int64)
    a, b = (Regions.make([Region.make(text)]) for text in (region, other))
    for share, expected in ((0.99, False), (1.01, True)):
        for one, two in ((a, b), (b, a)):
            assert overlaps(one, two, zero, zero, math.radians(share * degrees)).tolist() == [expected]
    assert not overlaps(a, b, zero, zero)[0]
