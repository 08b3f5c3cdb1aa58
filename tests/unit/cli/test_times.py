"""Moments as people write them mean what astropy says they mean."""

from datetime import UTC, datetime

import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from quantumio.cli._times import moment_texts, parse_moment, parse_timespan
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Timespan, tai_ns


@given(st.datetimes(datetime(1973, 1, 1), datetime(2025, 1, 1)))
def test_moments_are_utc_unless_they_say_tai(moment):
    text = moment.isoformat()
    assert parse_timespan(text, None).begin_ns == tai_ns(Time(text, scale="utc"))
    assert parse_timespan(f"{text}Z", None).begin_ns == tai_ns(Time(text, scale="utc"))
    assert parse_timespan(f"{text}/tai", None).begin_ns == tai_ns(Time(text, scale="tai"))


def test_dates_minutes_nanoseconds_and_offsets_are_moments():
    def begin(text: object) -> int:
        return parse_timespan(text, None).begin_ns

    midnight = begin("2025-06-24T00:00:00")
    assert begin("2025-06-24") == begin("2025-06-24 00:00") == begin("2025-06-24T02:00+02:00") == midnight
    assert begin("2025-06-24T00:00:00.000000001") == midnight + 1
    assert begin(datetime(2025, 6, 24, tzinfo=UTC)) == begin(datetime(2025, 6, 24).date()) == midnight


def test_nothing_is_unbounded():
    assert parse_timespan(None, "") == Timespan()


@pytest.mark.parametrize(
    "text", ["yesterday", "2025-06-24T03:16:00/tdb", "2025-13-01", "2025-06-24T03:16:00.x"]
)
def test_what_is_no_moment_is_refused_by_name(text):
    with pytest.raises(InvalidInputError, match=r"is no moment .*2025-06-24T03:16:00") as caught:
        parse_timespan(text, None)
    assert caught.value.kind is ErrorKind.TIMESPAN


def test_end_before_begin_is_refused():
    with pytest.raises(
        InvalidInputError, match=r"ends before it begins: from 2025-06-25 to 2025-06-24 \(UTC"
    ):
        parse_timespan("2025-06-25", "2025-06-24")


@given(st.integers(-(1 << 62), 1 << 62) | st.none(), st.integers(1 << 62, (1 << 63) - 1))
def test_texts_of_a_timespan_are_it_to_the_nanosecond(begin, end):
    given_ = Timespan(Timespan().begin_ns if begin is None else begin, end)
    assert parse_timespan(*moment_texts(given_)) == given_


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("27", 27),
        ("paper/DR1", "paper/DR1"),
        ("2025-06-24", datetime(2025, 6, 24, tzinfo=UTC)),
        ("2025-06-24T03:16:00.25Z", datetime(2025, 6, 24, 3, 16, 0, 250_000, tzinfo=UTC)),
        ("2999-06-24 03:16:00", datetime(2999, 6, 24, 3, 16, tzinfo=UTC)),
    ],
)
def test_moments_to_look_back_to(text, moment):
    assert parse_moment(text) == moment


def test_moments_in_tai_are_the_same_instants():
    assert parse_moment("2025-06-24T03:16:37/tai").utc.isot == "2025-06-24T03:16:00.000"


@pytest.mark.parametrize(
    "text", ["2025-13-01", "2025-06-24T25:00", "2025-06-24T03:16/ut1", "2025-06-24 noon"]
)
def test_dates_that_are_none_are_no_names(text):
    with pytest.raises(InvalidInputError, match="is no moment"):
        parse_moment(text)
