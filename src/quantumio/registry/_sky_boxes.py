"""Boxes between two meridians and two parallels, against points, polygons and each other.

The sides of a box are arcs of great circles. Its south and north are arcs of small circles, which no polygon
has: of all their points the nearest to another point is the one on its meridian, or an end.
"""

from __future__ import annotations

import numpy as np

from quantumio.registry._sky_polygons import edges_cross, polygon_distances
from quantumio.registry._sky_vectors import Bools, Floats, angles, arc_distances, cross, dot, to_vectors

__all__ = ["box_distances", "boxes_overlap", "polygons_overlap_boxes"]

_TURN = 2 * np.pi


def _sides(boxes: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the southern ends, northern ends and normals of the west and the east sides: box, side, xyz."""
    west, width, south, north = np.moveaxis(boxes, -1, 0)
    meridians = np.stack([west, west + width], -1)
    normal = np.stack([np.sin(meridians), -np.cos(meridians), np.zeros_like(meridians)], -1)
    return to_vectors(meridians, south[..., None]), to_vectors(meridians, north[..., None]), normal


def _between_meridians(boxes: Floats, points: Floats) -> Bools:
    """Tell which points lie between the meridians of their boxes."""
    _, _, normal = _sides(boxes)
    east_of_west, west_of_east = dot(normal[..., 0, :], points) <= 0, dot(normal[..., 1, :], points) >= 0
    narrow, whole = boxes[..., 1] <= np.pi, boxes[..., 1] >= _TURN
    return whole | np.where(narrow, east_of_west & west_of_east, east_of_west | west_of_east)


def box_distances(boxes: Floats, points: Floats) -> Floats:
    """Return the distance of each point from its box, 0 within."""
    declinations = np.arctan2(points[..., 2], np.hypot(points[..., 0], points[..., 1]))
    from_parallels = np.maximum(np.maximum(boxes[..., 2] - declinations, declinations - boxes[..., 3]), 0)
    from_sides = arc_distances(points[..., None, :], *_sides(boxes)).min(-1)
    return np.where(_between_meridians(boxes, points), from_parallels, from_sides)


def boxes_overlap(a: Floats, b: Floats, within: float) -> Bools:
    """Tell which pairs of boxes have a point in common."""
    low, high = np.maximum(a[:, 2], b[:, 2]), np.minimum(a[:, 3], b[:, 3])
    eastwards, westwards = (b[:, 0] - a[:, 0]) % _TURN, (a[:, 0] - b[:, 0]) % _TURN
    apart = np.maximum(np.minimum(eastwards - a[:, 1], westwards - b[:, 1]), 0)
    nearest = apart * np.cos(np.maximum(np.abs(low), np.abs(high)))  # meridians meet at the poles
    return (low - high <= within) & (nearest <= within)


def polygons_overlap_boxes(vertices: Floats, normals: Floats, boxes: Floats, within: float) -> Bools:
    """Tell which polygons (pair, vertex, xyz) have a point in common with their boxes.

    They have if a vertex, or the northernmost or southernmost point of an edge, lies in the box; if a corner
    lies in the polygon; or if an edge crosses a side or a parallel.
    """
    tangents = cross(normals, vertices)
    lengths = angles(vertices, np.roll(vertices, -1, 1))
    # Along an edge sin(declination) = height * cos(t - top), t being the angle from its start.
    height, top = np.hypot(vertices[..., 2], tangents[..., 2]), np.arctan2(tangents[..., 2], vertices[..., 2])

    def along(t: Floats) -> Floats:
        return vertices * np.cos(t)[..., None] + tangents * np.sin(t)[..., None]

    found = np.zeros(len(boxes), np.bool_)
    for t in (np.zeros_like(top), top % _TURN, (top + np.pi) % _TURN):
        points = along(np.where(t <= lengths, t, 0))
        found |= (box_distances(boxes[:, None], points) <= within).any(1)
    for parallel in (boxes[:, 2:3], boxes[:, 3:4]):
        reached = np.abs(np.sin(parallel)) < height
        from_top = np.arccos(np.divide(np.sin(parallel), height, where=reached, out=np.ones_like(height)))
        for t in ((top + from_top) % _TURN, (top - from_top) % _TURN):
            crossed = reached & (t <= lengths) & _between_meridians(boxes[:, None], along(t))
            found |= crossed.any(1)
    starts, ends, side_normals = _sides(boxes)
    for side in (0, 1):
        corners = np.stack([starts[:, side], ends[:, side]], 1)
        there_and_back = np.stack([side_normals[:, side], -side_normals[:, side]], 1)
        over_polygon = np.matmul(normals, corners.swapaxes(1, 2))
        found |= edges_cross(over_polygon, np.matmul(there_and_back, vertices.swapaxes(1, 2)))
        for corner in (0, 1):
            found |= polygon_distances(vertices, normals, corners[:, corner]) <= within
    return found
