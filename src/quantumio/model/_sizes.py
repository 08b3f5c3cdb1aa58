"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from quantumio.errors import InvalidInputError, shown

__all__ = ["format_bytes", "parse_bytes"]

_UNITS: Final = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGTP", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", 1)},
}
_SIZE: Final = re.compile(r"\s*([0-9]{1,400}(?:\.[0-9]{1,400})?)\s*([A-Za-z]*)\s*")


def parse_bytes(value: object, what: str, *, least: int = 1) -> int:
    """Read a size: a number of bytes, or a text such as ``"4 GiB"`` or ``"500 MB"``.

    Raises
    ------
    InvalidInputError
        It is none, or less than ``least``.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if (
        match
        and (match[2] or "B") in _UNITS
        and (size := int(Fraction(match[1]) * _UNITS[match[2] or "B"])) >= least
    ):
        return size
    raise InvalidInputError(
        f"{what} = {shown(value)} is no size", hint="write a size such as '4 GiB' or '500 MB'"
    )


def format_bytes(nbytes: float) -> str:
    """Write a size with three digits and a binary unit, e.g. ``1.50 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(nbytes) < 1024 or unit == "TiB":
            break
        nbytes /= 1024
    return f"{nbytes:.0f} {unit}" if unit == "B" or abs(nbytes) >= 100 else f"{nbytes:.3g} {unit}"
