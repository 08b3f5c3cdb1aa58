"""Timespans: exact to the nanosecond, half-open, possibly unbounded, possibly empty."""

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Timespan, tai_ns, tai_ns_each


def masked_time() -> Time:
    times = Time([60000.0, 60001.0], format="mjd", scale="tai")
    times[0] = np.ma.masked
    return times[0]


LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
nanoseconds = st.integers(LOWEST + 1, HIGHEST - 1)
small = st.integers(0, 8)
ends = st.tuples(small, small).map(sorted)


@given(nanoseconds)
def test_any_moment_survives_astropy_to_the_nanosecond(moment):
    span = Timespan(moment, HIGHEST)
    assert tai_ns(span.begin) == moment
    assert Timespan.from_times(span.begin, None) == span


@given(nanoseconds, nanoseconds)
def test_pair_of_times_is_the_same_span(one, other):
    span = Timespan(*sorted((one, other)))
    assert Timespan.make((span.begin, span.end)) == span
    assert Timespan.make([span.begin, span.end]) == span
    assert Timespan(*span.to_wire()) == span


@given(nanoseconds)
def test_neighbouring_nanoseconds_stay_apart(moment):
    assert tai_ns(Timespan(moment - 1 if moment > LOWEST + 1 else moment).begin) <= moment
    span = Timespan(moment, min(moment + 1, HIGHEST - 1))
    assert (tai_ns(span.end) - tai_ns(span.begin)) == span.end_ns - span.begin_ns


@pytest.mark.parametrize("scale", ["tai", "utc", "tt", "tdb", "tcb"])
@pytest.mark.parametrize("form", ["jd", "mjd", "isot", "unix_tai", "cxcsec"])
def test_scale_and_format_of_the_time_do_not_matter(scale, form):
    moment = Time("2025-06-24T03:16:05.123456789", scale="tai")
    same = Time(getattr(moment, scale), format=form)
    assert abs(tai_ns(same) - tai_ns(moment)) <= 1  # scales themselves are doubles


def test_known_moments():
    assert tai_ns(Time("1970-01-01T00:00:00", scale="tai")) == 0
    assert tai_ns(Time("1970-01-01T00:00:00.000000001", scale="tai")) == 1
    assert tai_ns(Time("2000-01-01T00:00:00", scale="utc")) == (946_684_800 + 32) * 10**9
    # A leap second is a second: two UTC midnights around it are 86,401 s apart.
    before, after = Time("2016-12-31T00:00:00", scale="utc"), Time("2017-01-01T00:00:00", scale="utc")
    assert tai_ns(after) - tai_ns(before) == 86_401 * 10**9


def test_unbounded_ends_are_none():
    always = Timespan.make((None, None))
    assert always == Timespan()
    assert always.begin is None
    assert always.end is None
    assert always.contains(0)
    assert always.contains(LOWEST)
    assert not always.is_empty
    assert str(always) == "[unbounded, unbounded)"
    since = Timespan.make((Time("2025-01-01", scale="tai"), None))
    assert since.end is None
    assert str(since) == "[2025-01-01T00:00:00.000, unbounded)"


@given(ends, ends)
def test_overlap_is_a_moment_in_both(one, other):
    left, right = Timespan(*one), Timespan(*other)
    brute = any(left.contains(moment) and right.contains(moment) for moment in range(-1, 10))
    assert left.overlaps(right) is brute
    assert right.overlaps(left) is brute


@given(ends)
def test_empty_holds_nothing_and_overlaps_nothing(span):
    timespan = Timespan(*span)
    assert timespan.is_empty is not any(timespan.contains(moment) for moment in range(-1, 10))
    if timespan.is_empty:
        assert not timespan.overlaps(Timespan())
        assert not timespan.overlaps(timespan)


@given(ends)
def test_everything_that_is_not_empty_overlaps_always(span):
    timespan = Timespan(*span)
    assert timespan.overlaps(Timespan()) is not timespan.is_empty


def test_neighbours_do_not_overlap():
    noon = Time("2025-06-24T12:00:00", scale="tai")
    before, after = Timespan.make((None, noon)), Timespan.make((noon, None))
    assert not before.overlaps(after)
    assert not before.contains(tai_ns(noon))
    assert after.contains(tai_ns(noon))


def test_span_that_ends_before_it_begins_is_refused():
    noon = Time("2025-06-24T12:00:00", scale="tai")
    told = r"ends before it begins: from 2025-06-24T12:00:00 TAI to 2025-06-24T11:59:59.999999999 TAI"
    with pytest.raises(InvalidInputError, match=told) as caught:
        Timespan.make((noon, noon - 1 * u.ns))
    assert caught.value.kind is ErrorKind.TIMESPAN
    assert Timespan.make((noon, noon)).is_empty


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "2025-06-24",
        (),
        (None,),
        (None, None, None),
        ("2025-06-24", "2025-06-25"),
        (0, 1),
        (np.datetime64("2025-06-24"), None),
        (Time(["2025-06-24", "2025-06-25"]), None),
        (Time("9999-01-01", scale="tai"), None),
        (Time("0001-01-01", scale="tai"), None),
        (masked_time(), None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_no_timespan_is_refused_with_the_mend(value):
    with pytest.raises(InvalidInputError) as caught:
        Timespan.make(value)
    assert caught.value.kind is ErrorKind.TIMESPAN
    assert caught.value.hint


def test_numbers_beyond_64_bits_are_refused():
    with pytest.raises(InvalidInputError):
        Timespan(LOWEST - 1, 0)
    with pytest.raises(InvalidInputError):
        Timespan(0, HIGHEST + 1)


def test_many_times_are_told_as_one_by_one() -> None:
    times = Time(["2025-06-24T01:02:03.123456789", "1999-12-31T23:59:59", "1999-01-01"], scale="utc")
    assert tai_ns_each(times, 3, 7) == [tai_ns(time) for time in times]
    assert tai_ns_each(list(times), 3, 7) == [tai_ns(time) for time in times]
    assert tai_ns_each(times[0], 2, 7) == [tai_ns(times[0])] * 2
    assert tai_ns_each(None, 2, 7) == [7, 7]
    assert tai_ns_each([None, times[1]], 2, 7) == [7, tai_ns(times[1])]
    assert tai_ns_each([], 0, 7) == []
    masked = Time(np.ma.array([60000.25, 60001.0], mask=[False, True]), format="mjd", scale="tai")
    assert tai_ns_each(masked, 2, 7) == [tai_ns(Time(60000.25, format="mjd", scale="tai")), 7]


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        Time(["2025-06-24"]),
        Time([["2025-06-24"], ["2025-06-25"]]),
        ["2025-06-24", None],
        Time([1e6, 1e6], format="mjd", scale="tai"),
        [None],
    ],
)
def test_times_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError) as error:
        tai_ns_each(wrong, 2, 7)
    assert error.value.hint
