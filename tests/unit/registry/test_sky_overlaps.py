"""Overlaps of regions against an oracle without rounding: everywhere on the sky, and of every size."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantumio.model import Region
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from tests.unit.registry import sky_oracle as oracle

MANY = settings(max_examples=max(200, settings.default.max_examples), deadline=None)


def vector(ra, dec):
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])


def frame(centre):
    east = np.cross([0, 0, 1] if abs(centre[2]) < 0.9 else [1, 0, 0], centre)
    east /= np.linalg.norm(east)
    return east, np.cross(centre, east)


def moved(centre, direction, distance):
    """Return the direction at a distance from another."""
    east, north = frame(centre)
    away = math.cos(direction) * east + math.sin(direction) * north
    point = math.cos(distance) * centre + math.sin(distance) * away
    return point / np.linalg.norm(point)


places = st.one_of(
    st.builds(vector, st.floats(0, 2 * math.pi), st.floats(-math.pi / 2, math.pi / 2)),
    st.sampled_from([(0.0, 0.0, 1.0), (0.0, 0.0, -1.0)]).map(np.array),
    st.builds(vector, st.floats(-1e-3, 1e-3), st.floats(-1.5, 1.5)),  # where the right ascension begins anew
)
sizes = st.one_of(
    st.floats(0.9e-9, 1.1e-9),
    st.floats(-5, -1).map(lambda power: 10**power),
    st.floats(0.1, 1.3),
    st.floats(1.5, 1.57),
)
azimuths = st.lists(st.integers(0, 99), min_size=3, max_size=8, unique=True).map(
    lambda parts: [2 * math.pi * part / 100 for part in sorted(parts)]
)


def polygon(centre, size, angles, squeezed, clockwise):
    """Return vertices on an ellipse of the plane that touches the sphere at the centre: convex."""
    east, north = frame(centre)
    reach = math.tan(size)
    points = [
        centre + reach * math.cos(angle) * east + reach * squeezed * math.sin(angle) * north
        for angle in angles
    ]
    made = np.array([point / np.linalg.norm(point) for point in points])
    return made[::-1] if clockwise else made


@st.composite
def polygons(draw, centre=None, size=None):
    centre = draw(places) if centre is None else centre
    size = draw(sizes) if size is None else size
    angles = draw(azimuths)
    gaps = np.diff([*angles, angles[0] + 2 * math.pi])
    hypothesis.assume(gaps.max() < 0.9 * math.pi)  # the centre lies well within
    return polygon(centre, size, angles, draw(st.sampled_from([1, 1, 0.3, 0.02])), draw(st.booleans()))


@st.composite
def neighbours(draw):
    """A centre and size, and those of something about as far from it as both together reach."""
    centre, size, other_size = draw(places), draw(sizes), draw(sizes)
    distance = (draw(st.integers(0, 150)) / 100 + 0.0037) * (size + other_size)  # none touch by intent
    if draw(st.integers(0, 4)) == 0:
        distance = math.pi
    return centre, size, moved(centre, draw(st.floats(0, 6.28)), min(distance, math.pi)), other_size


@st.composite
def pairs_of_polygons(draw):
    centre, size, other, other_size = draw(neighbours())
    return draw(polygons(centre, size)), draw(polygons(other, other_size))


def encoded_polygon(vertices):
    return b"p" + np.asarray(vertices, "<f8").tobytes()


def encoded_circle(centre, radius):
    return b"c" + np.array([*centre, (2 * math.sin(radius / 2)) ** 2, radius], "<f8").tobytes()


def overlap(a, b):
    """Ask for one pair in both orders."""
    a, b = Regions.decode([a]), Regions.decode([b])
    zero = np.zeros(1, np.int64)
    (there,), (back,) = overlaps(a, b, zero, zero), overlaps(b, a, zero, zero)
    assert there == back
    return bool(there)


class Judge:
    """Counts what lay within 1e-12 radians of touching, of all that was asked."""

    def __init__(self):
        self.asked = self.yes = self.near = 0

    def compare(self, got, expected, margin):
        self.asked += 1
        self.yes += expected is True
        if got != expected:
            assert margin() < oracle.NEAR
            self.near += 1

    def close(self):
        assert self.near <= self.asked / 50, f"{self.near} of {self.asked} pairs nearly touch"
        assert self.asked / 10 < self.yes < self.asked * 9 / 10, f"{self.yes} of {self.asked} overlap"


def test_polygons_overlap_as_exact_arithmetic_says():
    judge = Judge()

    @MANY
    @given(pairs_of_polygons())
    def ask(pair):
        a, b = pair
        expected = oracle.polygons_overlap(a, b)
        got = overlap(encoded_polygon(a), encoded_polygon(b))
        judge.compare(
            got, expected, lambda: oracle.depth(a, b) if expected else oracle.between_polygons(a, b)
        )

    ask()
    judge.close()


@st.composite
def long_triangles(draw, start):
    """A triangle with one edge of nearly half a circle, so one that is nearly a lune."""
    end = moved(-start, draw(st.floats(0, 6.28)), 10 ** draw(st.floats(-12, -1)))
    beside = moved(start, draw(st.floats(0, 6.28)), math.pi / 2)
    vertices = np.array([start, end, moved(beside, draw(st.floats(0, 6.28)), 10 ** draw(st.floats(-6, 0)))])
    hypothesis.assume(abs(np.linalg.det(vertices)) > 1e-14)
    return vertices


@MANY
@given(places, st.data())
def test_edges_of_nearly_half_a_circle_are_no_harder(place, data):
    a = data.draw(long_triangles(place))
    other = data.draw(st.sampled_from([-1, 1])) * moved(place, 1.0, 10 ** data.draw(st.floats(-9, 0)))
    b = data.draw(long_triangles(other))
    expected = oracle.polygons_overlap(a, b)
    if overlap(encoded_polygon(a), encoded_polygon(b)) != expected:
        assert (oracle.depth(a, b) if expected else oracle.between_polygons(a, b)) < oracle.NEAR


@MANY
@given(polygons(), st.data())
def test_polygons_that_share_vertices_overlap(a, data):
    corner = data.draw(st.integers(0, len(a) - 1))
    before, at, after = a[corner - 1], a[corner], a[(corner + 1) % len(a)]
    beyond = [2 * at - before, 2 * at - after]  # the corner, turned about its vertex
    shared = np.array([at, *(point / np.linalg.norm(point) for point in beyond)])
    hypothesis.assume(abs(np.linalg.det(shared)) > 1e-30)
    assert overlap(encoded_polygon(a), encoded_polygon(shared))
    edge = np.array([at, after, (at + after - a.mean(0)) / np.linalg.norm(at + after - a.mean(0))])
    assert overlap(encoded_polygon(a), encoded_polygon(edge))
    assert overlap(encoded_polygon(a), encoded_circle(at, 0.0))
    assert overlap(encoded_polygon(a), encoded_polygon(a))


@MANY
@given(polygons(size=None), st.floats(0, 1))
def test_polygon_and_its_antipode_are_apart(a, share):
    """Their edges lie on the same great circles."""
    assert not overlap(encoded_polygon(a), encoded_polygon(-a))
    corner = a[0] * share + a[1] * (1 - share)
    assert not overlap(encoded_polygon(a), encoded_circle(-corner / np.linalg.norm(corner), 0.0))


@pytest.mark.parametrize("clockwise", [False, True])
def test_octants_that_face_each_other_are_apart(clockwise):
    """No plane of an edge has the other octant strictly on its far side."""
    octant = np.eye(3)[::-1] if clockwise else np.eye(3)
    assert not overlap(encoded_polygon(octant), encoded_polygon(-np.eye(3)))
    assert overlap(encoded_polygon(octant), encoded_polygon(np.eye(3) * [-1, 1, 1]))
    assert overlap(encoded_polygon(octant), encoded_polygon(np.eye(3) * [-1, -1, 1]))


def test_needles_that_face_each_other_are_apart_by_their_distance():
    """Their tips are 1e-9 apart, and the planes of their long edges all but hold both."""
    east = np.array([vector(1e-9, 0), vector(0.1, 1e-8), vector(0.1, -1e-8)])
    west = np.array([vector(0, 0), vector(-0.1, 1e-8), vector(-0.1, -1e-8)])
    assert oracle.between_polygons(east, west) > 9e-10
    assert not overlap(encoded_polygon(east), encoded_polygon(west))


@st.composite
def circles_and_polygons(draw):
    centre, size, other, other_size = draw(neighbours())
    radius = draw(st.sampled_from([other_size, other_size, 0.0, math.pi - other_size, math.pi]))
    if draw(st.booleans()):
        other = moved(
            centre, draw(st.floats(0, 6.28)), min(math.pi, size + radius * draw(st.floats(0.7, 1.3)))
        )
    return draw(polygons(centre, size)), other, radius


def test_circles_overlap_polygons_as_fifty_digits_say():
    judge = Judge()

    @MANY
    @given(circles_and_polygons())
    def ask(given_):
        vertices, centre, radius = given_
        distance = oracle.from_polygon(centre, vertices)
        got = overlap(encoded_polygon(vertices), encoded_circle(centre, radius))
        judge.compare(got, bool(distance <= radius), lambda: abs(distance - radius))

    ask()
    judge.close()


def test_circles_overlap_circles_as_fifty_digits_say():
    judge = Judge()

    @MANY
    @given(neighbours(), st.booleans())
    def ask(given_, large):
        a, radius_a, b, radius_b = given_
        if large:
            radius_a = 3.1 - radius_a
        distance = oracle.angle(a, b)
        got = overlap(encoded_circle(a, radius_a), encoded_circle(b, radius_b))
        apart = distance - oracle.mp.mpf(radius_a) - oracle.mp.mpf(radius_b)
        judge.compare(got, bool(apart <= 0), lambda: abs(apart))

    ask()
    judge.close()


def text(shape, *degrees):
    return Region(shape, degrees).encode()


@pytest.mark.parametrize("radius", [0.0, 1e-7, 1.0, 89.0, 90.0, 91.0, 179.0])
def test_circles_that_touch_at_a_pole_or_at_the_wrap_overlap(radius):
    assert overlap(text("CIRCLE", 0.0, 90.0, radius), text("CIRCLE", 123.0, 90.0 - radius, 0.0))
    assert overlap(text("CIRCLE", 359.5, 0.0, radius), text("CIRCLE", 0.5, 0.0, max(1.0 - radius, 0)))
    assert not overlap(text("CIRCLE", 0.0, 90.0, radius), text("CIRCLE", 77.0, -90.0, 180 - radius - 1e-6))
