"""Regions: the text of IVOA positions."""

import math

import pytest
from hypothesis import given
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
def test_text_round_trips_exactly(region):
    assert Region.make(str(region)) == region
    assert Region.make(region) is region


@given(circles | polygons, st.sampled_from(["\t", "  ", "\n"]))
def test_spaces_and_case_do_not_matter(region, space):
    assert Region.make(f" {space.join(str(region).lower().split())} ") == region


@pytest.mark.parametrize(
    ("text", "coordinates"),
    [
        ("CIRCLE 12.0 34.0 0.5", (12.0, 34.0, 0.5)),
        ("POLYGON 10.0 2.0 10.1 2.0 10.1 2.1", (10.0, 2.0, 10.1, 2.0, 10.1, 2.1)),
        ("RANGE 12 13 -5 5", (12.0, 13.0, -5.0, 5.0)),
        ("circle 1e1 +3.4e+1 5e-1", (10.0, 34.0, 0.5)),
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
        ("CIRCLE ICRS 1 2 3", "write CIRCLE"),
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
