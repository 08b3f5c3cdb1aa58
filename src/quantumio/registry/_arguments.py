"""Arguments checked before they meet the database: what is wrong is told by its name, and how to mend it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model import DatasetRef

__all__ = [
    "check_bind",
    "check_limit",
    "check_name",
    "check_names",
    "check_number",
    "check_refs",
    "check_seconds",
    "check_uuid",
    "check_version",
    "is_text",
]

_INT64: Final = 1 << 63
_MOST_SECONDS: Final = 10**9


def is_text(value: object, max_bytes: int | None = None) -> bool:
    """Whether a value is a text that every database takes: valid Unicode without NUL, and no longer."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    return max_bytes is None or size <= max_bytes


def check_name(name: object, what: str, kind: ErrorKind) -> str:
    """Return a name or glob that is to be looked for.

    Raises
    ------
    InvalidInputError
        It is no text.
    """
    if isinstance(name, str):
        return name
    raise InvalidInputError(
        f"{shown(name)} ({type(name).__name__}) is no {what}", hint="give its name, a text", kind=kind
    )


def check_names(names: object, what: str, kind: ErrorKind) -> tuple[str, ...]:
    """Return a list of names.

    Raises
    ------
    InvalidInputError
        It is none; a single text is no list.
    """
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise InvalidInputError(
            f"{shown(names)} ({type(names).__name__}) is no list of {what}s",
            hint=f"write [{names!r:.80}]" if isinstance(names, str) else "give a list of texts",
            kind=kind,
        )
    return tuple([check_name(name, what, kind) for name in names])


def check_refs(refs: object) -> Sequence[DatasetRef]:
    """Return refs as a list.

    Raises
    ------
    InvalidInputError
        It is no list of them.
    """
    if isinstance(refs, (DatasetRef, str, bytes, Mapping)) or not isinstance(refs, Iterable):
        raise InvalidInputError(
            f"{refs!r:.80} ({type(refs).__name__}) is no list of refs", hint="give a list of DatasetRef"
        )
    given = list(refs)
    for number, ref in enumerate(given):
        if not isinstance(ref, DatasetRef):
            raise InvalidInputError(
                f"refs[{number}] = {shown(ref)} ({type(ref).__name__}) is no DatasetRef",
                hint="give refs as put, find and query return them",
            )
    return given


def check_uuid(value: object, what: str) -> UUID:
    """Return an identity.

    Raises
    ------
    InvalidInputError
        It is no UUID.
    """
    if isinstance(value, UUID):
        return value
    raise InvalidInputError(f"{value!r:.80} is no {what}", hint="give its UUID")


def check_seconds(seconds: object, what: str) -> int:
    """Return a time in nanoseconds.

    Raises
    ------
    InvalidInputError
        It is no number from 0 to 10**9 (thirty years).
    """
    if isinstance(seconds, (int, float)) and seconds is not True and 0 <= seconds <= _MOST_SECONDS:
        return round(seconds * 10**9)
    raise InvalidInputError(
        f"{what} = {seconds!r:.80} ({type(seconds).__name__})", hint="give seconds, from 0 to 10**9"
    )


def check_time(time_ns: object) -> int:
    """Return a time in nanoseconds; one that no clock can show becomes the first or the last that one can.

    Raises
    ------
    InvalidInputError
        It is no integer.
    """
    if isinstance(time_ns, int) and not isinstance(time_ns, bool):
        return min(max(time_ns, -(1 << 63)), (1 << 63) - 1)
    raise InvalidInputError(
        f"{time_ns!r:.80} ({type(time_ns).__name__}) is no time",
        hint="give nanoseconds since 1970-01-01 UTC, an integer",
    )


def check_version(version: object) -> int:
    """Return a version as an ``int``; NumPy's integers are taken.

    Raises
    ------
    InvalidInputError
        It is no integer of 64 bits.
    """
    return _integer(version, "version", 1 - _INT64, "give an integer such as 1, or None for the latest")


def check_number(number: object, what: str) -> int:
    """Return the number of something that a record has, as an ``int``.

    Raises
    ------
    InvalidInputError
        It is no integer from 0 to 2**63 - 1.
    """
    return _integer(number, what, 0, "give it as the record has it")


def check_limit(limit: object) -> int:
    """Return a limit as an ``int``; NumPy's integers are taken.

    Raises
    ------
    InvalidInputError
        It is no integer from 0 to 2**63 - 1.
    """
    return _integer(limit, "limit", 0, "give a number from 0 to 2**63 - 1, or None")


def _integer(value: object, what: str, least: int, hint: str) -> int:
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if least <= number < _INT64:
                return number
    raise InvalidInputError(f"{what} = {shown(value)} ({type(value).__name__})", hint=hint)


def check_bind(bind: object) -> Mapping[str, object]:
    """Return the values of parameters.

    Raises
    ------
    InvalidInputError
        They are no mapping.
    """
    if isinstance(bind, Mapping):
        # What can be read once is read by whoever comes first.
        return {name: list(value) if isinstance(value, Iterator) else value for name, value in bind.items()}
    raise InvalidInputError(
        f"bind = {bind!r:.80} ({type(bind).__name__}) is no mapping",
        hint="give names and values, such as {'x': 5}",
        kind=ErrorKind.EXPRESSION,
    )
