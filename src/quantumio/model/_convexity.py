"""Whether the vertices of a polygon on the sphere make a convex one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Vector", "unit_vector", "why_not_convex"]

Vector: TypeAlias = tuple[float, float, float]

# Radians. Unit vectors in float64 are off by a tenth of the first; what is narrower than the second is flat.
_ROUNDING = 1e-15
_NARROWEST = 1e-14


def unit_vector(ra: float, dec: float) -> Vector:
    """Return the unit vector of a direction in degrees."""
    ra, dec = math.radians(ra), math.radians(dec)
    return (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _normal(start: Vector, end: Vector) -> Vector:
    """Return a normal of the arc between vectors, as accurate where they are near as where they are far."""
    (ax, ay, az), (bx, by, bz) = start, end
    sx, sy, sz, dx, dy, dz = ax + bx, ay + by, az + bz, bx - ax, by - ay, bz - az
    return (sy * dz - sz * dy, sz * dx - sx * dz, sx * dy - sy * dx)


def why_not_convex(vertices: Sequence[Vector]) -> tuple[str, str] | None:
    """Return what is wrong with the vertices of a convex polygon, and the mend; None if nothing is.

    A polygon is convex if it turns to one side at each vertex and goes once around its middle. It may be
    given in either sense; vertices on a straight line are taken. Vertices are counted from 1 in what is told.
    """
    count = len(vertices)
    x, y, z = (math.fsum(axis) for axis in zip(*vertices, strict=True))
    length = math.sqrt(x * x + y * y + z * z)
    middle = (x / length, y / length, z / length) if length else (0.0, 0.0, 0.0)
    turns, beside, area = [], [], 0.0
    for number, start in enumerate(vertices, 1):
        end = vertices[number % count]
        normal = _normal(start, end)
        size = math.sqrt(_dot(normal, normal))
        if size < 2 * _ROUNDING:
            if _dot(start, end) > 0:
                return f"vertex {number % count + 1} repeats vertex {number}", "leave one of the two out"
            opposite = f"vertices {number} and {number % count + 1} are opposite points"
            return opposite, "put a vertex between them"
        height = _dot(normal, middle)
        area += height
        beside.append(height / size)
        turns.append(_dot(normal, vertices[(number + 1) % count]) / size)  # at this edge's end
    if max(map(abs, turns)) < _NARROWEST:
        return "its vertices lie on one great circle, so it has no area", "write a CIRCLE, or more vertices"
    if length < _NARROWEST:
        return "its vertices lie all around the sky", "write a polygon within half of the sky"
    side = math.copysign(1, area)
    for number, turn in enumerate(turns, 1):
        if side * turn < -_ROUNDING:
            at = number % count + 1
            return f"it turns the other way at vertex {at}", "split it there into convex polygons"
    for number, height in enumerate(beside, 1):
        if side * height <= 0:
            return f"it goes back after vertex {number}", "order the vertices along its border"
    # Every edge goes on around the middle, so the border passes the first vertex once for each time around.
    first = _normal(middle, vertices[0])
    ahead = [side * _dot(first, vertex) >= 0 for vertex in vertices]
    if sum(now and not before for before, now in zip([ahead[-1], *ahead], ahead, strict=False)) != 1:
        return "it goes more than once around", "order the vertices along its border"
    return None
