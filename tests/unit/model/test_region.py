"""Regions: the text of IVOA positions."""

import math
import struct

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Region

longitudes = st.floats(0, 360)
latitudes = st.floats(-90, 90)
circles = st.tuples(longitudes, latitudes, st.floats(0, 180)).map(lambda c: Region("CIRCLE", c))
polygons = st.lists(st.tuples(longitudes, latitudes), min_size=3, max_size=8).map(
    lambda points: Region("POLYGON", tuple(number for point in points for number in point))
)
ranges = st.tuples(longitudes, longitudes, latitudes, latitudes).map(
    lambda r: Region("RANGE", (*sorted(r[:2]), *sorted(r[2:])))
)


@given(circles | polygons | ranges)
def test_text_and_bytes_round_trip_exactly(region):
    assert Region.read(str(region)) == region
    assert Region.read(region.s_region) == region
    assert Region.decode(region.encode()) == region
    assert Region.decode(region.encode()).encode() == region.encode()


@given(circles | ranges)
def test_what_is_no_polygon_is_made_of_itself_its_text_and_its_bytes(region):
    assert Region.make(region) is region
    assert Region.make(str(region)) == Region.make(region.s_region) == Region.make(region.encode()) == region


@given(circles | polygons, st.sampled_from(["\t", "  ", "\n"]))
def test_spaces_and_case_do_not_matter(region, space):
    assert Region.read(f" {space.join(str(region).lower().split())} ") == region


@pytest.mark.parametrize(
    ("text", "coordinates"),
    [
        ("CIRCLE 12.0 34.0 0.5", (12.0, 34.0, 0.5)),
        ("POLYGON 10.0 2.0 10.1 2.0 10.1 2.1", (10.0, 2.0, 10.1, 2.0, 10.1, 2.1)),
        ("RANGE 12 13 -5 5", (12.0, 13.0, -5.0, 5.0)),
        ("circle 1e1 +3.4e+1 5e-1", (10.0, 34.0, 0.5)),
        ("CIRCLE ICRS 1 2 3", (1.0, 2.0, 3.0)),
        ("Circle ICRS GEOCENTER 1 2 3", (1.0, 2.0, 3.0)),
        ("Polygon icrs topocenter spherical2 10 2 11 2 11 3", (10.0, 2.0, 11.0, 2.0, 11.0, 3.0)),
        ("Position ICRS 1 2", (1.0, 2.0, 0.0)),
        ("POINT 1 2", (1.0, 2.0, 0.0)),
        ("PositionInterval ICRS 12 -5 13 5", (12.0, 13.0, -5.0, 5.0)),
    ],
)
def test_texts_of_the_standard(text, coordinates):
    assert Region.make(text).coordinates == coordinates


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("", "write CIRCLE"),
        ("CIRCLE", "3 numbers"),
        ("CIRCLE 1 2", "3 numbers"),
        ("CIRCLE 1 2 3 4", "3 numbers"),
        ("CIRCLE 1 2 x", "write CIRCLE"),
        ("CIRCLE 1 91 1", "declinations"),
        ("CIRCLE 1 2 -1", "radius"),
        ("CIRCLE 1 2 181", "radius"),
        ("CIRCLE 1 2 nan", "finite"),
        ("CIRCLE inf 2 1", "finite"),
        ("POLYGON 1 2 3 4", "6 or more"),
        ("POLYGON 1 2 3 4 5 6 7", "even"),
        ("POLYGON 1 2 3 4 5 -90.5", "declinations"),
        ("RANGE 1 2 3", "4 numbers"),
        ("RANGE 1 2 3 95", "declinations"),
        ("BOX 1 2 3 4", "write CIRCLE"),
        ("CIRCLE GALACTIC 1 2 3", "degrees of ICRS"),
        ("ICRS", "write CIRCLE"),
        ("POINT 1 2 3", "write CIRCLE"),
        ("POSITIONINTERVAL 1 2 3", "write CIRCLE"),
    ],
)
def test_wrong_text_is_named_with_the_mend(text, mention):
    with pytest.raises(InvalidInputError) as caught:
        Region.make(text)
    assert repr(text) in caught.value.message
    assert mention in caught.value.hint
    assert caught.value.kind is ErrorKind.REGION


@pytest.mark.parametrize("text", ["RANGE 1 2 10 5", "RANGE 1 2 +Inf -Inf"])
def test_range_that_ends_before_it_begins_is_refused(text):
    """SIA 2.0, 2.1.1: both pairs of a RANGE are (low, high)."""
    with pytest.raises(InvalidInputError):
        Region.make(text)


@pytest.mark.parametrize("value", [None, 3, ("CIRCLE", 1, 2, 3), b"CIRCLE 1 2 3", math.nan], ids=repr)
def test_what_is_no_text_is_refused(value):
    with pytest.raises(InvalidInputError, match="is no region"):
        Region.make(value)


def test_numbers_of_numpy_are_written_as_numbers():
    assert str(Region("CIRCLE", np.array([10, 2, 0.5]))) == "CIRCLE 10.0 2.0 0.5"


# ------------------------------------------------------------------------------ polygons


def spoilt(*degrees):
    text = f"POLYGON {' '.join(map(str, degrees))}"
    with pytest.raises(InvalidInputError) as caught:
        Region.make(text)
    assert caught.value.kind is ErrorKind.REGION
    assert Region.read(text).coordinates == degrees  # what an older version has stored can be read
    with pytest.raises(InvalidInputError):
        Region.make(Region.read(text))
    return caught.value.hint


@pytest.mark.parametrize(
    ("degrees", "hint"),
    [
        ((10, 2, 11, 2, 11, 3, 11, 3), "vertex 4 repeats vertex 3: leave one of the two out"),
        ((10, 2, 11, 2, 11, 3, 10, 2), "vertex 1 repeats vertex 4: leave one of the two out"),
        ((10, 90, 200, 90, 30, 80), "vertex 2 repeats vertex 1"),
        ((0, 2, 11, 2, 360, 2), "vertex 1 repeats vertex 3"),
        ((10, 20, 190, -20, 11, 60), "vertices 1 and 2 are opposite points: put a vertex between them"),
        ((0, 90, 0, 0, 0, -90), "vertices 3 and 1 are opposite points"),
        ((10, 0, 11, 0, 12, 0), "one great circle, so it has no area"),
        ((10, 0, 130, 0, 250, 0), "one great circle"),
        ((10, 20, 11, 20.5, 10, 21, 12, 20.5), "it turns the other way at vertex 2: split it there"),
        ((0, 0, 2, 0, 2, 2, 1, 0.5), "it turns the other way at vertex 4"),
        ((0, 0, 2, 2, 2, 0, 0, 2), "it turns the other way at vertex"),
        ((0, 0, 10, 0, 5, 0, 5, 5), "it turns the other way at vertex 3"),
        ((0, 10, 144, 10, 288, 10, 72, 10, 216, 10), "it goes"),
        ((0, -0.1, 120, -0.1, 240, -0.1, 0, 89), "it turns the other way"),
    ],
)
def test_polygon_that_is_not_convex_is_refused_with_the_vertex_and_the_mend(degrees, hint):
    assert hint in spoilt(*degrees)
    numbers = list(zip(degrees[::2], degrees[1::2], strict=True))
    spoilt(*(coordinate for vertex in reversed(numbers) for coordinate in vertex))


def test_star_that_goes_around_twice_is_refused():
    """Each of its turns is to the left."""
    star = [(5 * math.cos(0.8 * math.pi * n), 5 * math.sin(0.8 * math.pi * n)) for n in range(5)]
    assert "it goes more than once around" in spoilt(*(number for vertex in star for number in vertex))


def test_polygon_with_a_loop_in_it_is_refused():
    """Each of its turns is to the left, and its middle lies beside of the loop."""
    loop = [(-1, 0), (10, 0), (10, 10), (0, 10), (0, 1), (2, 1), (2, 2), (-1, 2)]
    hint = spoilt(*(number / 10 for vertex in loop for number in vertex))
    assert hint == "it goes back after vertex 6: order the vertices along its border"


def test_vertices_all_around_the_sky_are_refused():
    """Those of a seam around a ball, whose middle is nowhere."""
    seam = [(0, 30), (90, -30), (180, 30), (270, -30)]
    assert "all around the sky: write a polygon within half of the sky" in spoilt(*sum(seam, ()))


@pytest.mark.parametrize(
    "degrees",
    [
        (10, 2, 11, 2, 11, 3),
        (350, -1, 10, -1, 10, 1, 350, 1),
        (-10, -1, 10, -1, 10, 1, -10, 1),
        (0, 80, 120, 80, 240, 80),
        (0, -80, 120, -80, 240, -80),
        (0, 0.01, 120, 0.01, 240, 0.01),
        (0, 90, 0, 0, 90, 0),
        (10, 0, 11, 0, 12, 0, 11, 5),  # a vertex on the line between its neighbours
        (10, 20, 10, 21, 10, 22, 11, 21),
        (0, 0, 1e-7, 0, 1e-7, 1e-7),
        (250, 36, 250.0000001, 36, 250.0000001, 36.0000001, 250, 36.0000001),
        (0, -1, 170, -1, 85, 50),
    ],
)
def test_convex_polygon_is_taken_in_both_senses(degrees):
    numbers = list(zip(degrees[::2], degrees[1::2], strict=True))
    for vertices in (numbers, numbers[::-1], numbers[1:] + numbers[:1]):
        region = Region("POLYGON", [coordinate for vertex in vertices for coordinate in vertex])
        assert Region.make(region) is region


@given(
    longitudes,
    latitudes,
    st.floats(-9, 0.19),
    st.lists(st.integers(0, 59), min_size=3, max_size=12, unique=True),
)
def test_polygons_inscribed_in_circles_are_convex(ra, dec, power, parts):
    """Radii from 1e-9 to 1.55 radians."""
    parts.sort()
    gaps = np.diff([*parts, parts[0] + 60])
    assume(max(gaps) < 28)
    ra, dec, angle = math.radians(ra), math.radians(dec), np.array(parts) * math.pi / 30
    centre = np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
    east = np.array([-math.sin(ra), math.cos(ra), 0])
    away = np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * np.cross(centre, east)
    vertices = math.cos(10**power) * centre + math.sin(10**power) * away
    vertices /= np.linalg.norm(vertices, axis=1)[:, None]
    encoded = b"p" + vertices.tobytes()
    assert Region.make(encoded).encode() == encoded
    if len(parts) > 3:
        vertices[[0, 1]] = vertices[[1, 0]]
        with pytest.raises(InvalidInputError):
            Region.make(b"p" + vertices.tobytes())


# ------------------------------------------------------------------------------ bytes

CIRCLE = "637c4ad56da17eef3f87fb6721a336c63f27dcf7c958dea13f14cc8c8d99f6133f399d52a246df813f"
BOX = "62f4f2ec91426f18408744e74a1857c63f8744e74a1857b6bf8744e74a1857b63f"
ALL = "620000000000000000182d4454fb211940182d4454fb21f9bf182d4454fb21f93f"
TRIANGLE = (
    "707c4ad56da17eef3f87fb6721a336c63f27dcf7c958dea13fb635bf5a9764ef3ff50c3bcf9e68c83f27dcf7c958dea13f"
    "4f275524785eef3f9a2bb944dc63c83f0ec9ef48c7cbaa3f"
)


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (CIRCLE, "CIRCLE 10 2 0.5"),
        (BOX, "RANGE 350 10 -5 5"),
        (ALL, "RANGE 0 360 -90 90"),
        (TRIANGLE, "POLYGON 10 2 11 2 11 3"),
    ],
)
def test_bytes_of_sphgeom_are_kept_to_the_last_bit(encoded, text):
    """As lsst.sphgeom 30 encodes them."""
    data = bytes.fromhex(encoded)
    region = Region.make(data)
    assert region.encode() == data
    assert Region.make(region).encode() == data
    assert region.shape == text.split()[0]
    assert region.coordinates == pytest.approx(Region.make(text).coordinates, abs=1e-13)
    assert repr(data) not in repr(region)


def test_degrees_are_kept_to_the_last_bit():
    region = Region.make("CIRCLE 0.1 0.2 0.3")
    assert region.encode() == b"C" + struct.pack("<3d", 0.1, 0.2, 0.3)
    assert Region.make(region.encode()) == region


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "give the bytes of Region.encode"),
        (b"x" + bytes(24), "give the bytes of Region.encode"),
        (b"C" + bytes(23), "give the bytes of Region.encode"),
        (b"C" + bytes(16), "CIRCLE takes 3 numbers"),
        (b"P" + bytes(56), "even number"),
        (b"P" + bytes(48), "vertex 2 repeats vertex 1"),
        (b"c" + bytes(32), "give the bytes of Region.encode"),
        (b"b" + bytes(40), "give the bytes of Region.encode"),
        (b"p" + bytes(32), "give the bytes of Region.encode"),
        (b"p" + struct.pack("<6d", 1, 0, 0, 0, 1, 0), "6 or more"),
        (b"p" + struct.pack("<9d", 1, 0, 0, 0, 2, 0, 0, 0, 1), "vector 2 must be of unit length"),
        (b"p" + struct.pack("<9d", 1, 0, 0, 0, math.nan, 0, 0, 0, 1), "vector 2 must be of unit length"),
        (b"p" + struct.pack("<9d", 1, 0, 0, 0, 1, 0, 0, 1, 0), "vertex 3 repeats vertex 2"),
        (b"c" + struct.pack("<5d", 1, 0, 0, -1, -1), "a radius lies between"),  # an empty circle
        (b"c" + struct.pack("<5d", 1, 0, 0, math.nan, math.nan), "finite"),
        (b"b" + struct.pack("<4d", math.nan, math.nan, 1, 0), "finite"),  # an empty box
        (b"b" + struct.pack("<4d", 0, 1, 1, 0), "dec1 <= dec2"),
        (b"e" + bytes(112), "an ellipse of sphgeom is not taken: give a polygon, a circle or a box"),
        (b"u" + bytes(50), "a union of sphgeom is not taken"),
        (b"i" + bytes(50), "an intersection of sphgeom is not taken"),
    ],
)
def test_wrong_bytes_are_refused_with_the_mend(data, hint):
    with pytest.raises(InvalidInputError, match="is no region") as caught:
        Region.make(data)
    assert hint in caught.value.hint


def test_text_of_s_region_is_that_of_obscore():
    assert Region.make("CIRCLE 1 2 3").s_region == "CIRCLE ICRS 1.0 2.0 3.0"
    assert Region.make("POLYGON 1 2 3 2 3 4").s_region == "POLYGON ICRS 1.0 2.0 3.0 2.0 3.0 4.0"
    assert Region.make("RANGE 1 2 3 4").s_region == "POSITIONINTERVAL ICRS 1.0 3.0 2.0 4.0"
