"""Regions in bytes: a letter, then float64 in little-endian order.

``C``, ``P`` and ``R`` hold the degrees of a circle, polygon or range as they were given; ``c``, ``p`` and
``b`` are the circles, convex polygons and boxes of sphgeom, in unit vectors and radians.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from quantumio.model._convexity import Vector

__all__ = ["from_bytes", "is_in_degrees", "to_bytes", "vertices_of"]

_DEGREES: Final = {b"C": "CIRCLE", b"P": "POLYGON", b"R": "RANGE"}
_OTHERS: Final = {b"e": "an ellipse", b"u": "a union", b"i": "an intersection"}


def to_bytes(shape: str, degrees: tuple[float, ...]) -> bytes:
    """Return the bytes of a region in degrees."""
    return struct.pack(f"<c{len(degrees)}d", shape[:1].encode(), *degrees)


def is_in_degrees(data: bytes) -> bool:
    """Tell whether bytes hold degrees."""
    return data[:1] in _DEGREES


def from_bytes(data: bytes) -> tuple[str, tuple[float, ...]]:
    """Return the shape and its degrees.

    Raises
    ------
    ValueError
        It is not the encoding of a region; says the mend.
    """
    kind = data[:1]
    if kind in _OTHERS:
        raise ValueError(f"{_OTHERS[kind]} of sphgeom is not taken: give a polygon, a circle or a box")
    if is_in_degrees(data) and len(data) % 8 == 1:
        return _DEGREES[kind], _numbers(data)
    match kind, len(data):
        case b"b", 33:  # west, east, south, north
            return "RANGE", tuple(map(math.degrees, _numbers(data)))
        case b"c", 41:  # centre, square of the radius as a chord, radius
            return "CIRCLE", (*_degrees(vertices_of(data)[0]), math.degrees(_numbers(data)[4]))
        case b"p", length if length % 24 == 1:
            return "POLYGON", tuple(number for vertex in vertices_of(data) for number in _degrees(vertex))
    raise ValueError("give the bytes of Region.encode, or of encode of sphgeom")


def vertices_of(data: bytes) -> list[Vector]:
    """Return the unit vectors of a polygon of sphgeom, or of the centre of its circle.

    Raises
    ------
    ValueError
        One is not of unit length.
    """
    numbers = _numbers(data) if data[:1] == b"p" else _numbers(data)[:3]
    vectors = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    for number, vector in enumerate(vectors, 1):
        if not abs(math.hypot(*vector) - 1) < 1e-14:
            raise ValueError(f"vector {number} must be of unit length")
    return vectors


def _numbers(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 8}d", data[1:])


def _degrees(vector: Vector) -> tuple[float, float]:
    x, y, z = vector
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))
