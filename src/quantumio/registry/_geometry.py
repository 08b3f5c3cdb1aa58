"""Regions in numbers, as the registry keeps them beside their text."""

from __future__ import annotations

import math
import struct
from typing import Final

from quantumio.model import Region

__all__ = ["SHAPES", "geometry"]

SHAPES: Final = {"CIRCLE": 1, "POLYGON": 2, "RANGE": 3}
"""The first byte of a geometry, by shape."""


def geometry(region: Region) -> bytes:
    """Return the shape in a byte, and its numbers as little-endian floats of 64 bits.

    A circle is the unit vector of its centre and its radius; a polygon the unit vectors of its vertices, in
    their order; a range its two right ascensions and its two declinations. Angles are in radians.
    """
    degrees = region.coordinates
    if region.shape == "CIRCLE":
        numbers = [*_unit_vector(*degrees[:2]), math.radians(degrees[2])]
    elif region.shape == "POLYGON":
        numbers = [part for at in range(0, len(degrees), 2) for part in _unit_vector(*degrees[at : at + 2])]
    else:
        numbers = [math.radians(angle) for angle in degrees]
    return struct.pack(f"<B{len(numbers)}d", SHAPES[region.shape], *numbers)


def _unit_vector(ra: float, dec: float) -> tuple[float, float, float]:
    ra, dec = math.radians(ra), math.radians(dec)
    return math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)
