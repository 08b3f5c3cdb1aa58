"""Moments and timespans as people write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Final

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Timespan

__all__ = ["moment_texts", "parse_moment", "parse_timespan"]

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T /].*)?", re.DOTALL)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timespan(begin: object, end: object) -> Timespan:
    """Return the timespan between two moments; None (or an empty text) is unbounded.

    Parameters
    ----------
    begin, end
        ISO 8601 text such as ``2025-06-24T03:16:00.5``, in UTC, or in TAI with ``/tai`` behind it.

    Raises
    ------
    InvalidInputError
        One is no moment, or the end lies before the begin.
    """
    unbounded = Timespan()
    begin_ns = unbounded.begin_ns if begin in (None, "") else _tai_ns(begin)
    end_ns = unbounded.end_ns if end in (None, "") else _tai_ns(end)
    if begin_ns > end_ns:
        raise InvalidInputError(
            f"the timespan ends before it begins: from {begin} to {end} (UTC, or TAI where that is behind)",
            hint="give the end after the begin",
            kind=ErrorKind.TIMESPAN,
        )
    return Timespan(begin_ns, end_ns)


def parse_moment(text: str | None) -> object:
    """Return a moment to look back to, as ``as_of`` takes it: a number, a Time, or the name of a snapshot.

    Parameters
    ----------
    text
        Number of a commit or edit, ISO 8601 (UTC, or TAI with ``/tai`` behind), else a name; None is now.

    Raises
    ------
    InvalidInputError
        It begins as a date and is no moment.
    """
    if text is None:
        return None
    if text.isdecimal() and text.isascii():
        return int(text)
    if not _DATE.fullmatch(text):
        return text
    moment, nanoseconds, is_tai = _parse(text)
    if is_tai:
        return parse_timespan(text, None).begin
    return moment.replace(microsecond=nanoseconds // 1000)


def moment_texts(timespan: Timespan) -> tuple[str | None, str | None]:
    """Return begin and end as `parse_timespan` reads them, to the nanosecond in TAI; None is unbounded."""
    unbounded = Timespan()
    return (
        None if timespan.begin_ns == unbounded.begin_ns else _text(timespan.begin_ns),
        None if timespan.end_ns == unbounded.end_ns else _text(timespan.end_ns),
    )


def _text(tai_ns: int) -> str:
    seconds, rest = divmod(tai_ns, 10**9)
    clock = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    digits = f"{rest:09d}"
    return f"{clock}.{digits[:3]}{digits[3:].rstrip('0')}/tai"


def _tai_ns(value: object) -> int:
    moment, nanoseconds, is_tai = _parse(value)
    seconds = (moment - _EPOCH).days * 86_400 + (moment - _EPOCH).seconds
    seconds += 0 if is_tai else _tai_minus_utc(moment)
    return seconds * 10**9 + nanoseconds


def _parse(value: object) -> tuple[datetime, int, bool]:
    """Return a moment to the second, the nanoseconds behind it, and whether it is in TAI (otherwise UTC)."""
    # YAML has moments of its own.
    text = value.isoformat() if isinstance(value, date) else str(value)
    clock, _, scale = text.strip().partition("/")
    head, dot, digits = clock.removesuffix("Z").partition(".")
    try:
        if scale.lower() not in ("", "utc", "tai") or (dot and not digits.isdecimal()):
            raise ValueError(scale or digits)
        moment = datetime.fromisoformat(head)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
        nanoseconds = round(Fraction(f"0.{digits or 0}") * 10**9)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{text!r:.80} is no moment",
            hint="write it as 2025-06-24T03:16:00 (UTC), or 2025-06-24T03:16:37/tai",
            kind=ErrorKind.TIMESPAN,
        ) from error
    return moment + timedelta(seconds=nanoseconds // 10**9), nanoseconds % 10**9, scale.lower() == "tai"


def _tai_minus_utc(moment: datetime) -> int:
    """Leap seconds, by ERFA's table (the one astropy uses)."""
    from erfa import ufunc

    return round(float(ufunc.dat(moment.year, moment.month, moment.day, 0.0)[0]))
