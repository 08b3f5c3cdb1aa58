"""Convex polygons with great circles as edges."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from quantumio.registry._sky_vectors import ROUNDING, Bools, Floats, arc_distances, dot, normals

__all__ = ["Polygons", "edges_cross", "nearest_edges", "polygon_distances"]


@frozen(eq=False)
class Polygons:
    """Convex polygons of one number of vertices, counterclockwise as seen from outside of the sphere.

    Attributes
    ----------
    vertices
        Unit vectors: polygons x vertices x 3.
    normals
        Of the edges from each vertex to the next, into the polygon.
    """

    vertices: Floats
    normals: Floats

    @classmethod
    def make(cls, vertices: Floats) -> Polygons:
        """Make them from vertices in either sense."""
        normal = normals(vertices, np.roll(vertices, -1, 1))
        clockwise = np.flatnonzero(dot(normal.sum(1), vertices.sum(1)) < 0)
        if len(clockwise):
            vertices = vertices.copy()
            vertices[clockwise] = vertices[clockwise, ::-1]
            normal[clockwise] = normals(vertices[clockwise], np.roll(vertices[clockwise], -1, 1))
        return cls(vertices, normal)


def polygon_distances(vertices: Floats, normals: Floats, points: Floats) -> Floats:
    """Return the distance of each point from its polygon, 0 within."""
    points = points[:, None]
    inside = (dot(normals, points) >= 0).all(1)
    edges = arc_distances(points, vertices, np.roll(vertices, -1, 1), normals)
    distances: Floats = np.where(inside, 0.0, edges.min(1))
    return distances


def edges_cross(over_a: Floats, over_b: Floats) -> Bools:
    """Tell for each pair of polygons whether an edge of one crosses an edge of the other.

    Parameters
    ----------
    over_a, over_b
        Heights of the vertices of b above the edges of a, and the other way round: pair, edge, vertex.

    Notes
    -----
    Two arcs cross if the ends of each lie on either side of the other, in such a sense that they do not meet
    each other's antipode. An end within rounding of the other's great circle is on either side. Where both
    ends of an arc are, no sense can be told: whether such arcs touch is left to the distances of their ends.
    """
    b_start, b_end = over_a, np.roll(over_a, -1, 2)
    a_start, a_end = over_b.swapaxes(1, 2), np.roll(over_b, -1, 2).swapaxes(1, 2)
    b_told = np.maximum(np.abs(b_start), np.abs(b_end)) > ROUNDING
    a_told = np.maximum(np.abs(a_start), np.abs(a_end)) > ROUNDING
    above, below = -ROUNDING, ROUNDING
    inwards = (b_start < below) & (b_end > above) & (a_start > above) & (a_end < below)
    outwards = (b_start > above) & (b_end < below) & (a_start < below) & (a_end > above)
    crossed: Bools = np.any((inwards | outwards) & a_told & b_told, axis=(1, 2))
    return crossed


def nearest_edges(vertices: Floats, normals: Floats, points: Floats) -> Floats:
    """Return the least distance between an edge of each polygon and one of its points: pair, point, xyz."""
    starts, ends = vertices[:, :, None], np.roll(vertices, -1, 1)[:, :, None]
    nearest: Floats = arc_distances(points[:, None], starts, ends, normals[:, :, None]).min((1, 2))
    return nearest
