"""Values of an expression: written in it, or bound; each in the type that it has in the language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import QuantumioError, shown
from quantumio.model import Region, Timespan, tai_ns
from quantumio.registry._dialect import BIG_INTEGER, FLAG, REAL, TEXT
from quantumio.registry._expression import bound, expression_error
from quantumio.registry._time import TIMES, datetime_ns, fits
from quantumio.registry._tree import Bind, Literal, Time

__all__ = ["TYPES", "kind_of", "listed", "moment_of", "scalar"]

TYPES: Final[Mapping[str, sa.types.TypeEngine[Any]]] = {
    "int": BIG_INTEGER,
    "float": REAL,
    "str": TEXT,
    "bool": FLAG,
    "time": BIG_INTEGER,
}
_LONGEST_RANGE: Final = 1_000_000
_SCALARS = (bool, int, float, str, Time)


def scalar(value: Literal | Bind, given: Mapping[str, object], text: str) -> Any:
    """Return a value, checked.

    Parameters
    ----------
    given
        Values of ``:name`` parameters.
    text
        The expression, for messages.

    Raises
    ------
    InvalidInputError
        None is given for it, or one that does not fit; the message points at it.
    """
    if isinstance(value, Literal):
        return value.value
    return _checked(value, bound(value, given, text), text)


def listed(item: Literal | Bind, given: Mapping[str, object], text: str) -> list[Any]:
    """Return the values of an item of a list: several where a list is bound."""
    if isinstance(item, Bind):
        values = bound(item, given, text)
        if type(values).__module__ == "numpy" and hasattr(values, "tolist"):
            values = values.tolist()
        if isinstance(values, range) and values[_LONGEST_RANGE:]:  # it is small until it is written out
            first, last = sorted((values[0], values[-1]))
            raise expression_error(
                text,
                item.at,
                f":{item.name} has more than {_LONGEST_RANGE} values",
                f"write the range itself: IN ({first}..{last}), or ({first}..{last}:step)",
            )
        if (
            isinstance(values, Iterable)
            and not isinstance(values, (str, bytes))
            and not hasattr(values, "tai")
        ):
            return [_checked(item, value, text) for value in values]
    return [scalar(item, given, text)]


def kind_of(value: object) -> str:
    """Return the kind of a value: a key of `TYPES`."""
    if isinstance(value, Time):
        return "time"
    return type(value).__name__ if type(value) in (bool, int, float, str) else "str"


def moment_of(text: str, bind: Bind, value: Any) -> Time | None:
    """Return the moment that a bound value is; None where it is none.

    Raises
    ------
    InvalidInputError
        It is a moment that the registry does not take.
    """
    if hasattr(value, "tai"):
        try:
            return Time(tai_ns(value))
        except QuantumioError as error:
            raise expression_error(text, bind.at, f":{bind.name}: {error.message}", error.hint) from error
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        raise expression_error(
            text, bind.at, f":{bind.name} = {value!r} has no time zone", "give one: tzinfo=UTC"
        )
    try:
        ns = datetime_ns(value)
    except OverflowError:
        ns = None
    if ns is None or not fits(ns):
        raise expression_error(
            text, bind.at, f":{bind.name} = {value.isoformat()} does not fit 64 bits of nanoseconds", TIMES
        )
    return Time(ns)


def _checked(bind: Bind, given: object, text: str) -> Any:
    """Return a bound value in the type that it has in the language."""
    is_numpy = type(given).__module__ == "numpy" and getattr(given, "size", 0) == 1
    value: Any = given.item() if is_numpy and hasattr(given, "item") else given
    if (moment := moment_of(text, bind, value)) is not None:
        return moment
    if isinstance(value, (Region, Timespan)):
        raise expression_error(
            text,
            bind.at,
            f":{bind.name} is a {type(value).__name__}",
            f"compare it with OVERLAPS :{bind.name}",
        )
    if not isinstance(value, _SCALARS):
        hint = "use IS NULL" if value is None else "give a number, a text, a Time, or for IN a list of them"
        raise expression_error(text, bind.at, f":{bind.name} = {shown(value, 60)} is no value", hint)
    if isinstance(value, float) and math.isnan(value):
        raise expression_error(text, bind.at, f":{bind.name} is not a number", "use IS NULL")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise expression_error(text, bind.at, f":{bind.name} = {shown(value)} does not fit 64 bits")
    if isinstance(value, str) and ("\0" in value or not _encodes(value)):
        raise expression_error(text, bind.at, f":{bind.name} = {value!r:.60} is no valid text")
    return value


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
