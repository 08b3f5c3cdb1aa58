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


def _add(a: Vector, b: Vector, factor: float = 1) -> Vector:
    return (a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2])


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def why_not_convex(vertices: Sequence[Vector]) -> tuple[str, str] | None:
    """Return what is wrong with the vertices of a convex polygon, and the mend; None if nothing is.

    A polygon is convex if it turns to one side at each vertex and goes once around its middle. It may be
    given in either sense; vertices on a straight line are taken. Vertices are counted from 1 in what is told.
    """
    count = len(vertices)
    x, y, z = zip(*vertices, strict=True)
    middle = (math.fsum(x), math.fsum(y), math.fsum(z))
    normals = []
    for number, start in enumerate(vertices, 1):
        end, follower = vertices[number % count], number % count + 1
        between, sum_ = _add(end, start, -1), _add(start, end)
        if math.hypot(*between) < _ROUNDING:
            return f"vertex {follower} repeats vertex {number}", "leave one of the two out"
        if math.hypot(*sum_) < _ROUNDING:
            return f"vertices {number} and {follower} are opposite points", "put a vertex between them"
        normal = _cross(sum_, between)  # as accurate for short edges as for long ones
        normals.append(_add((0, 0, 0), normal, 1 / math.hypot(*normal)))
    turns = [_dot(normals[number - 1], vertices[(number + 1) % count]) for number in range(count)]
    if max(map(abs, turns)) < _NARROWEST:
        return "its vertices lie on one great circle, so it has no area", "write a CIRCLE, or more vertices"
    length = math.hypot(*middle)
    if length < _NARROWEST:
        return "its vertices lie all around the sky", "write a polygon within half of the sky"
    side = 1 if math.fsum(_dot(normal, middle) for normal in normals) > 0 else -1
    for number, turn in enumerate(turns, 1):  # of the edge from this vertex at the next
        if side * turn < -_ROUNDING:
            at = number % count + 1
            return f"it turns the other way at vertex {at}", "split it there into convex polygons"
    middle = _add((0, 0, 0), middle, 1 / length)
    around = 0.0
    flat = [_add(v, middle, -_dot(v, middle)) for v in vertices]
    for number, start in enumerate(flat, 1):
        end = flat[number % count]
        angle = math.atan2(side * _dot(middle, _cross(start, end)), _dot(start, end))
        if angle <= 0:
            return f"it goes back after vertex {number}", "order the vertices along its border"
        around += angle
    if around > 3 * math.pi:
        return "it goes more than once around", "order the vertices along its border"
    return None
