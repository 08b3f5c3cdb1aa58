"""Leap seconds, by ERFA's table (the one astropy uses)."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["leap_seconds"]

_Integers = np.ndarray[Any, np.dtype[np.int64]]


def leap_seconds() -> tuple[_Integers, _Integers]:
    """Return from when on TAI - UTC has which value, since 1972: ns of UTC, and ns, the oldest first."""
    from erfa import leap_seconds as table

    rows = [row for row in table.get().tolist() if row[0] >= 1972]
    since = np.array([f"{year}-{month:02}" for year, month, _ in rows], "M8[ns]").astype(np.int64)
    return since, np.array([round(seconds * 10**9) for *_, seconds in rows], np.int64)
