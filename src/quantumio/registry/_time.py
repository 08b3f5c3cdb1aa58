"""Moments written as text in expressions, such as ``T'2025-06-24T03:00:00/tai'``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction

__all__ = ["TIMES", "datetime_ns", "fits", "moment_ns"]

TIMES = "times are those of the years 1678 to 2261"
"""For people: which moments 64 bits of nanoseconds hold."""

_EPOCH_JD = Fraction(4881175, 2)  # 1970-01-01 is JD 2440587.5
_MJD_ZERO = Fraction(4800001, 2)  # MJD 0 is JD 2400000.5
_DAY_NS = 86_400 * 10**9
_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(\.\d+)?)?))?")
_NUMBER = re.compile(r"(?:(mjd|jd)/)?(-?\d+(?:\.\d*)?)", re.IGNORECASE)


def fits(ns: int) -> bool:
    """Tell whether a moment is one of 64 bits; the least and the greatest number stand for unbounded."""
    return -(1 << 63) < ns < (1 << 63) - 1


def datetime_ns(moment: datetime) -> int:
    """Return TAI nanoseconds since 1970-01-01 TAI of a datetime that has a time zone.

    Raises
    ------
    OverflowError
        It is the first or the last day of Python, in another time zone than UTC.
    """
    return moment_ns(moment.astimezone(UTC).replace(tzinfo=None).isoformat())


def moment_ns(text: str) -> int:
    """Return TAI nanoseconds since 1970-01-01 TAI of ``value[/scale]``.

    The value is a date, a date with a time (ISO 8601, scale UTC unless given), or a number (MJD, or
    ``jd/number``; scale TAI unless given); the scale is ``utc`` or ``tai``. These are the rules of the
    Butler's expressions. Leap seconds are those of ERFA (IAU SOFA's routines), as in astropy.

    Raises
    ------
    ValueError
        It is none of these.
    """
    value, _, scale = (
        text.strip().rpartition("/") if text.lower().endswith(("/utc", "/tai")) else (text.strip(), "", "")
    )
    if match := _NUMBER.fullmatch(value):
        day = Fraction(match[2]) + (0 if (match[1] or "mjd").lower() == "jd" else _MJD_ZERO)
        return _tai_ns(day, scale or "tai")
    if match := _ISO.fullmatch(value):
        fraction = Fraction(match[3] or 0)
        clock = (match[2] or "00:00").partition(".")[0]
        return _iso_ns(f"{match[1]}T{clock}", fraction, scale or "utc")
    raise ValueError(text)


def _iso_ns(text: str, fraction: Fraction, scale: str) -> int:
    leap = text.endswith(":60")
    moment = datetime.fromisoformat(f"{text[:-2]}59" if leap else text)
    seconds = Fraction(moment.hour * 3600 + moment.minute * 60 + moment.second + leap) + fraction
    midnight = _EPOCH_JD + (datetime(moment.year, moment.month, moment.day) - datetime(1970, 1, 1)).days
    offset = _leap_seconds(moment.year, moment.month, moment.day) if scale.lower() == "utc" else 0
    return round((midnight - _EPOCH_JD) * _DAY_NS + (seconds + offset) * 10**9)


def _tai_ns(day: Fraction, scale: str) -> int:
    if scale.lower() == "tai":
        return round((day - _EPOCH_JD) * _DAY_NS)
    from erfa import ufunc  # the routines without warnings for years to come

    high = float(int(day))
    tai = ufunc.utctai(high, float(day - int(day)))
    return round((Fraction(float(tai[0])) - _EPOCH_JD + Fraction(float(tai[1]))) * _DAY_NS)


def _leap_seconds(year: int, month: int, day: int) -> Fraction:
    from erfa import ufunc

    # Whole seconds since 1972; before that TAI - UTC has a fraction, and the noon of the day will do.
    return Fraction(str(round(float(ufunc.dat(year, month, day, 0.0)[0]), 6)))
