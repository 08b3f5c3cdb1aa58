"""Many regions of the sky as arrays, and the caps that enclose them and lie within them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from attrs import field, frozen

from quantumio.model import Region
from quantumio.registry._sky_polygons import Polygons
from quantumio.registry._sky_vectors import ROUNDING, Floats, Ints, angles, dot, to_vectors

__all__ = ["BOX", "CIRCLE", "Regions"]

CIRCLE, BOX = 0, -1
"""What ``Regions.corners`` says of regions that are no polygons."""


@frozen(eq=False)
class Regions:
    """Regions in arrays of one length; the vertices of polygons, which differ in number, stand aside.

    Attributes
    ----------
    centres
        Unit vectors.
    outer
        Radius about the centre, in radians, of a cap that encloses the region; of a circle its own.
    inner
        Radius of a cap within the region.
    corners
        Number of vertices of a polygon, or `CIRCLE`, or `BOX`.
    slots
        Where a polygon stands in ``polygons[corners]``.
    boxes
        Of a box: west, width (eastwards), south, north; radians.
    polygons
        By the number of vertices.
    """

    centres: Floats
    outer: Floats
    inner: Floats
    corners: Ints
    slots: Ints
    boxes: Floats
    polygons: dict[int, Polygons] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.centres)

    @classmethod
    def make(cls, regions: Iterable[Region]) -> Regions:
        """Make them from regions; the polygons must be convex, as those of `Region.make` are."""
        return cls.decode([region.encode() for region in regions])

    @classmethod
    def decode(cls, encoded: Sequence[bytes]) -> Regions:
        """Make them from what `Region.encode` gave."""
        alike: defaultdict[tuple[bytes, int], list[int]] = defaultdict(list)
        for number, data in enumerate(encoded):
            alike[data[:1], len(data)].append(number)
        regions = _empty(len(encoded))
        vertices: defaultdict[int, list[tuple[list[int], Floats]]] = defaultdict(list)
        for (kind, _), where in alike.items():
            joined = b"".join(encoded[number][1:] for number in where)
            values = np.frombuffer(joined, "<f8").astype(np.float64).reshape(len(where), -1)
            match kind:
                case b"P":
                    points = np.radians(values).reshape(len(where), -1, 2)
                    vertices[points.shape[1]].append((where, to_vectors(points[..., 0], points[..., 1])))
                case b"p":
                    vertices[values.shape[1] // 3].append((where, values.reshape(len(where), -1, 3)))
                case b"C":
                    ra, dec, radius = np.radians(values).T
                    _put_circles(regions, where, to_vectors(ra, dec), radius)
                case b"c":
                    _put_circles(regions, where, values[:, :3], values[:, 4])
                case b"R":
                    _put_boxes(regions, where, np.radians(_widths(values, 360)))
                case _:  # b"b", of sphgeom
                    _put_boxes(regions, where, _widths(values, 2 * np.pi))
        for parts in vertices.values():
            numbers = [number for where, _ in parts for number in where]
            _put_polygons(regions, numbers, np.concatenate([points for _, points in parts]))
        return regions

    @classmethod
    def triangles(cls, vertices: Floats) -> Regions:
        """Make them from the vertices of as many triangles."""
        regions = _empty(len(vertices))
        _put_polygons(regions, np.arange(len(vertices)), vertices)
        return regions


def _empty(count: int) -> Regions:
    zeros, whole = np.zeros(count), np.zeros(count, np.int64)
    return Regions(np.zeros((count, 3)), zeros, zeros.copy(), whole, whole.copy(), np.zeros((count, 4)))


def _put_circles(regions: Regions, where: Sequence[int], centres: Floats, radii: Floats) -> None:
    regions.centres[where], regions.outer[where], regions.inner[where] = centres, radii, radii


def _put_polygons(regions: Regions, where: Sequence[int] | Ints, vertices: Floats) -> None:
    count = vertices.shape[1]
    polygons = regions.polygons[count] = Polygons.make(vertices)
    centres = polygons.vertices.sum(1)
    centres /= np.sqrt(dot(centres, centres))[:, None]
    outer = angles(polygons.vertices, centres[:, None]).max(1)
    regions.centres[where] = centres
    # A cap of less than half of the sphere is convex: it holds the edges between vertices that it holds.
    regions.outer[where] = np.where(outer < np.pi / 2 - ROUNDING, outer, np.pi)
    regions.inner[where] = np.maximum(0, np.pi / 2 - angles(polygons.normals, centres[:, None]).max(1))
    regions.corners[where] = count
    regions.slots[where] = np.arange(len(vertices))


def _put_boxes(regions: Regions, where: Sequence[int], boxes: Floats) -> None:
    west, width, south, north = boxes.T
    centres = to_vectors(west + width / 2, (south + north) / 2)
    ends = [angles(centres, to_vectors(west, declination)) for declination in (south, north)]
    regions.centres[where] = centres
    # The farthest point of a box no wider than half a circle is a corner; others need no bound.
    regions.outer[where] = np.where(width <= np.pi, np.maximum(*ends), np.pi)
    regions.corners[where] = BOX
    regions.boxes[where] = boxes


def _widths(boxes: Floats, turn: float) -> Floats:
    """Return west, width, south, north of west, east, south, north; to the east of a whole turn is all."""
    west, east, south, north = boxes.T
    width = np.where(east - west >= turn, turn, (east - west) % turn)
    return np.stack([west, width, south, north], 1)
