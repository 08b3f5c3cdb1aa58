"""Unit vectors, and arcs of great circles between them, in arrays: the last axis is x, y, z.

Every function is as accurate for 1e-9 radians as for 3: differences and sums of unit vectors are exact where
they cancel, so angles come from the arc tangent of both and normals from the cross product of both.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "ROUNDING",
    "Bools",
    "Floats",
    "Ints",
    "angles",
    "arc_distances",
    "cross",
    "dot",
    "normals",
    "to_vectors",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

ROUNDING = 1e-15
"""What lies nearer than this, in radians, touches: a few times the rounding of a unit vector in float64."""


def to_vectors(longitudes: npt.ArrayLike, latitudes: npt.ArrayLike) -> Floats:
    """Return the unit vectors of directions in radians."""
    longitudes, latitudes = np.broadcast_arrays(longitudes, latitudes)
    across = np.cos(latitudes)
    return np.stack([across * np.cos(longitudes), across * np.sin(longitudes), np.sin(latitudes)], -1)


def dot(a: Floats, b: Floats) -> Floats:
    """Return the scalar products along the last axis."""
    product: Floats = np.einsum("...i,...i->...", a, b)
    return product


def cross(a: Floats, b: Floats) -> Floats:
    """Return the vector products along the last axis."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def _lengths(a: Floats) -> Any:
    return np.sqrt(dot(a, a))


def angles(a: Floats, b: Floats) -> Floats:
    """Return the angles between unit vectors."""
    angle: Floats = 2 * np.arctan2(_lengths(a - b), _lengths(a + b))
    return angle


def normals(starts: Floats, ends: Floats) -> Floats:
    """Return the unit normals of the arcs between vectors, to the left of who walks along them."""
    normal = cross(starts + ends, ends - starts)
    unit: Floats = normal / _lengths(normal)[..., None]
    return unit


def arc_distances(points: Floats, starts: Floats, ends: Floats, normal: Floats) -> Floats:
    """Return the distances of points from arcs of great circles that are shorter than half of one.

    Shapes are broadcast. An arc whose ends are opposite is taken as well, since its normal is given.
    """
    beside = (dot(cross(normal, starts), points) >= 0) & (dot(cross(ends, normal), points) >= 0)
    from_circle = np.abs(np.pi / 2 - angles(points, normal))
    from_ends = np.minimum(angles(points, starts), angles(points, ends))
    return np.where(beside, from_circle, from_ends)
