"""Which regions of the sky overlap: exact up to the rounding of unit vectors, many pairs at once.

Caps about the regions and within them decide most pairs. Of the rest, two polygons are apart when the plane
of one edge has all of the other polygon on its far side. Where no plane does, they overlap if one hemisphere
holds both; in general (and within rounding) they overlap if a vertex of one lies in the other or on an edge
of it, or if two edges cross. A circle overlaps what is no farther from its centre than its radius, up to 180
degrees.
"""

from __future__ import annotations

import numpy as np

from quantumio.registry._sky_boxes import box_distances, boxes_overlap, polygons_overlap_boxes
from quantumio.registry._sky_polygons import edges_cross, nearest_edges, polygon_distances
from quantumio.registry._sky_regions import BOX, CIRCLE, Regions
from quantumio.registry._sky_vectors import ROUNDING, Bools, Floats, Ints, angles, dot

__all__ = ["overlaps"]

_NUMBERS_AT_ONCE = 1 << 18
_SAFE = 1e-9  # an angle that decides only which way a pair is tested


def overlaps(a: Regions, b: Regions, i: Ints, j: Ints, within: float = ROUNDING) -> Bools:
    """Tell for each pair whether regions ``a[i]`` and ``b[j]`` have a point in common.

    Parameters
    ----------
    a, b
        Regions.
    i, j
        Positions in them: one pair for each.
    within
        Regions that are no farther apart than this, in radians, overlap.
    """
    chords = a.centres[i] - b.centres[j]
    chords = np.sqrt(dot(chords, chords))
    outer, inner = a.outer[i] + b.outer[j], a.inner[i] + b.inner[j]
    found: Bools = chords <= _chords(inner) - 4 * ROUNDING
    open_ = np.flatnonzero(~found & (chords <= _chords(outer + within) + 4 * ROUNDING))
    corners_a, corners_b = a.corners[i[open_]], b.corners[j[open_]]
    kinds, kind_of = np.unique(np.stack([corners_a, corners_b], 1), axis=0, return_inverse=True)
    for number, (corners, others) in enumerate(kinds.tolist()):
        pairs = open_[kind_of == number]
        step = max(1, _NUMBERS_AT_ONCE // (max(corners, 1) * max(others, 1)))
        for start in range(0, len(pairs), step):
            part = pairs[start : start + step]
            if corners >= others:
                found[part] = _decide(a, b, i[part], j[part], corners, others, within)
            else:
                found[part] = _decide(b, a, j[part], i[part], others, corners, within)
    return found


def _chords(angle: Floats) -> Floats:
    return 2 * np.sin(np.minimum(angle, np.pi) / 2)


def _decide(a: Regions, b: Regions, i: Ints, j: Ints, corners: int, others: int, within: float) -> Bools:
    """Decide pairs of one kind, of which polygons come first and boxes last."""
    if others > CIRCLE:
        return _polygons_overlap(a, b, i, j, corners, others, within)
    if corners == BOX:
        return boxes_overlap(a.boxes[i], b.boxes[j], within)
    if corners > CIRCLE:
        polygons, slots = a.polygons[corners], a.slots[i]
        vertices, normals = polygons.vertices[slots], polygons.normals[slots]
        if others == BOX:
            return polygons_overlap_boxes(vertices, normals, b.boxes[j], within)
        return polygon_distances(vertices, normals, b.centres[j]) <= b.outer[j] + within
    if others == BOX:
        return box_distances(b.boxes[j], a.centres[i]) <= a.outer[i] + within
    return angles(a.centres[i], b.centres[j]) <= a.outer[i] + b.outer[j] + within


def _polygons_overlap(
    a: Regions, b: Regions, i: Ints, j: Ints, corners: int, others: int, within: float
) -> Bools:
    of_a, of_b, slots_a, slots_b = a.polygons[corners], b.polygons[others], a.slots[i], b.slots[j]
    # Heights of the vertices of one polygon above the planes of the edges of the other: pair, edge, vertex.
    over_a = np.matmul(of_a.normals[slots_a], of_b.vertices[slots_b].swapaxes(1, 2))
    gap = -over_a.max(2).min(1)
    found = np.zeros(len(i), np.bool_)
    open_ = np.flatnonzero(gap <= within)
    i, j, over_a, gap = i[open_], j[open_], over_a[open_], gap[open_]
    slots_a, slots_b = slots_a[open_], slots_b[open_]
    over_b = np.matmul(of_b.normals[slots_b], of_a.vertices[slots_a].swapaxes(1, 2))
    gap = np.maximum(gap, -over_b.max(2).min(1))
    between = angles(a.centres[i], b.centres[j])
    in_one_hemisphere = between + a.outer[i] + b.outer[j] < np.pi - _SAFE
    found[open_] = (gap < -ROUNDING) & in_one_hemisphere
    hard = np.flatnonzero((gap <= within) & ~found[open_])
    if len(hard):
        vertices_a, normals_a = of_a.vertices[slots_a[hard]], of_a.normals[slots_a[hard]]
        vertices_b, normals_b = of_b.vertices[slots_b[hard]], of_b.normals[slots_b[hard]]
        found[open_[hard]] = (
            (over_a[hard].min(1) >= 0).any(1)
            | (over_b[hard].min(1) >= 0).any(1)
            | edges_cross(over_a[hard], over_b[hard])
            | (nearest_edges(vertices_a, normals_a, vertices_b) <= within)
            | (nearest_edges(vertices_b, normals_b, vertices_a) <= within)
        )
    return found
