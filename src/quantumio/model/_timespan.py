"""Timespans: half-open intervals of TAI."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["Timespan", "tai_ns", "tai_ns_each"]

_EPOCH_JD: Final = Fraction(4881175, 2)  # 1970-01-01 TAI is JD 2440587.5
_DAY_NS: Final = 86_400 * 10**9
_UNBOUNDED_BEGIN: Final = -(1 << 63)
_UNBOUNDED_END: Final = (1 << 63) - 1


def tai_ns(time: Time) -> int:
    """Nanoseconds of TAI since 1970-01-01 TAI, exact through the two doubles of a `~astropy.time.Time`.

    Raises
    ------
    InvalidInputError
        ``time`` is no scalar Time, or lies outside of the years 1678 to 2262.
    """
    try:
        if getattr(time, "masked", False):
            raise TypeError("a masked time is no moment")
        tai = time.tai
        nanoseconds = _exact_ns(float(tai.jd1), float(tai.jd2))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{shown(time)} is no moment", hint="give a scalar astropy Time", kind=ErrorKind.TIMESPAN
        ) from error
    return _checked(nanoseconds, time)


def tai_ns_each(times: object, number: int, otherwise: int) -> list[int]:
    """Return nanoseconds of TAI, as `tai_ns`, for each of so many things.

    Parameters
    ----------
    times
        A `~astropy.time.Time` for each (an array, masked where there is none, or a list with None), one for
        all of them, or None.
    number
        How many there are to be.
    otherwise
        What stands for None.

    Raises
    ------
    InvalidInputError
        They are no times, too many or too few, or one lies outside of the years 1678 to 2262.
    """
    if times is None:
        return [otherwise] * number
    if getattr(times, "isscalar", False):
        return [tai_ns(cast("Time", times))] * number
    if not isinstance(times, Sized):
        raise InvalidInputError(
            f"{shown(times)} ({type(times).__name__}) is no list of times",
            hint="give astropy Times, or None",
            kind=ErrorKind.TIMESPAN,
        )
    if len(times) != number or getattr(times, "ndim", 1) != 1:
        raise InvalidInputError(
            f"{len(times)} times were given for {number} datasets",
            hint="give one for each, or one for all",
            kind=ErrorKind.TIMESPAN,
        )
    if not hasattr(times, "tai"):
        given = cast("Iterable[Time | None]", times)
        return [otherwise if time is None else tai_ns(time) for time in given]
    tai: Any = cast("Time", times).tai
    days, rests = tai.unmasked.jd1.tolist(), tai.unmasked.jd2.tolist()
    return [
        otherwise if no else _checked(_exact_ns(day, rest), times)
        for day, rest, no in zip(days, rests, tai.mask.tolist(), strict=True)
    ]


def _exact_ns(day: float, rest: float) -> int:
    """Return ns of TAI of a Julian date in two parts."""
    return round((Fraction(day) - _EPOCH_JD + Fraction(rest)) * _DAY_NS)


def _checked(nanoseconds: int, time: object) -> int:
    if not _UNBOUNDED_BEGIN < nanoseconds < _UNBOUNDED_END:
        raise InvalidInputError(
            f"{time!r:.200} does not fit 64 bits of nanoseconds",
            hint="use None for an unbounded end",
            kind=ErrorKind.TIMESPAN,
        )
    return nanoseconds


@frozen
class Timespan:
    """A half-open interval ``[begin, end)`` of TAI, in integer nanoseconds since 1970-01-01 TAI.

    Attributes
    ----------
    begin_ns, end_ns
        Nanoseconds; the smallest and the largest 64-bit integer mean unbounded.
    """

    begin_ns: int = _UNBOUNDED_BEGIN
    end_ns: int = _UNBOUNDED_END

    def __attrs_post_init__(self) -> None:
        if not _UNBOUNDED_BEGIN <= self.begin_ns <= self.end_ns <= _UNBOUNDED_END:
            raise InvalidInputError(
                f"timespan [{shown(self.begin_ns)}, {shown(self.end_ns)}) ends before it begins",
                hint="give begin <= end",
                kind=ErrorKind.TIMESPAN,
            )

    @classmethod
    def from_times(cls, begin: Time | None, end: Time | None) -> Timespan:
        """Make one from a pair of `~astropy.time.Time`, None meaning unbounded.

        Raises
        ------
        InvalidInputError
            One is no moment, or the end lies before the begin.
        """
        begin_ns = _UNBOUNDED_BEGIN if begin is None else tai_ns(begin)
        end_ns = _UNBOUNDED_END if end is None else tai_ns(end)
        if begin is not None and end is not None and begin_ns > end_ns:
            raise InvalidInputError(
                f"the timespan ends before it begins: from {_exact_text(begin)} to {_exact_text(end)}",
                hint="give begin <= end",
                kind=ErrorKind.TIMESPAN,
            )
        return cls(begin_ns, end_ns)

    @classmethod
    def make(cls, value: object) -> Timespan:
        """Make one from a Timespan or a pair of Times.

        Raises
        ------
        InvalidInputError
            It is neither.
        """
        if isinstance(value, Timespan):
            return value
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return cls.from_times(*value)
        raise InvalidInputError(
            f"{shown(value)} is no timespan",
            hint="give a Timespan, or a pair of astropy Times (None = unbounded)",
            kind=ErrorKind.TIMESPAN,
        )

    @property
    def begin(self) -> Time | None:
        """Begin as a `~astropy.time.Time` (scale TAI), None where unbounded."""
        return None if self.begin_ns == _UNBOUNDED_BEGIN else _to_time(self.begin_ns)

    @property
    def end(self) -> Time | None:
        """End as a `~astropy.time.Time` (scale TAI), None where unbounded."""
        return None if self.end_ns == _UNBOUNDED_END else _to_time(self.end_ns)

    @property
    def is_empty(self) -> bool:
        """Whether no moment lies in it."""
        return self.begin_ns == self.end_ns

    def overlaps(self, other: Timespan) -> bool:
        """Whether a moment lies in both."""
        return max(self.begin_ns, other.begin_ns) < min(self.end_ns, other.end_ns)

    def contains(self, moment_ns: int) -> bool:
        """Whether the moment (TAI ns) lies in it."""
        return self.begin_ns <= moment_ns < self.end_ns

    def to_wire(self) -> list[int]:
        """Return ``[begin_ns, end_ns]``."""
        return [self.begin_ns, self.end_ns]

    def __str__(self) -> str:
        def text(time: Time | None) -> str:
            return "unbounded" if time is None else str(time.isot)

        return f"[{text(self.begin)}, {text(self.end)})"


def _exact_text(time: Time) -> str:
    """Return a time to the nanosecond, in its own scale."""
    exact = time.copy("isot")
    exact.precision = 9
    return f"{str(exact.value).rstrip('0').rstrip('.')} {time.scale.upper()}"


def _to_time(nanoseconds: int) -> Time:
    from astropy.time import Time

    days, rest = divmod(nanoseconds, _DAY_NS)
    return Time(float(_EPOCH_JD + days), rest / _DAY_NS, format="jd", scale="tai")
