"""Triangular cells of the sky (HTM): which of them a region meets, and which regions share one.

A cell of the Hierarchical Triangular Mesh (Kunszt, Szalay & Thakar 2001) is a number: 8 to 15 are the
octants, and the four parts of cell ``c`` are ``4 * c`` to ``4 * c + 3``. So a cell tells its level, and an
ancestor is a shift. Cells only find the pairs worth asking; `overlaps` decides them.
"""

from __future__ import annotations

import numpy as np

from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from quantumio.registry._sky_vectors import Bools, Floats, Ints, angles, dot

__all__ = ["FINEST", "cell_range", "cell_vertices", "cover", "levels_of", "near"]

FINEST = 14
"""The finest level: cells of 20 seconds of arc."""

_SLACK = 1e-12  # radians: more than all that rounding can hide
_LARGEST_RADIUS = 0.9554  # of the cap about an octant; it halves with each level, or nearly so

_X, _Y, _Z = np.eye(3)
_OCTANTS = np.array([
    (_X, -_Z, _Y), (_Y, -_Z, -_X), (-_X, -_Z, -_Y), (-_Y, -_Z, _X),
    (_X, _Z, -_Y), (-_Y, _Z, -_X), (-_X, _Z, _Y), (_Y, _Z, _X),
])  # fmt: skip


def levels_of(regions: Regions) -> Ints:
    """Return for each region the finest level whose cells are no smaller than it: it meets a few of them."""
    radii = np.clip(regions.outer, _LARGEST_RADIUS / 2**FINEST, _LARGEST_RADIUS)
    levels: Ints = np.floor(np.log2(_LARGEST_RADIUS / radii)).astype(np.int64)
    return levels


def _parts(vertices: Floats) -> Floats:
    """Return the four parts of each cell: cell, part, vertex, xyz."""
    between = np.roll(vertices, -1, 1) + np.roll(
        vertices, 1, 1
    )  # the middle of the side opposite of each vertex
    between /= np.sqrt((between**2).sum(2))[..., None]
    (a, b, c), (ab, bc, ca) = vertices.swapaxes(0, 1), between[:, (2, 0, 1)].swapaxes(0, 1)
    parts = ((a, ab, ca), (b, bc, ab), (c, ca, bc), (bc, ca, ab))
    return np.stack([np.stack(part, 1) for part in parts], 1)


def cell_vertices(cells: Ints) -> Floats:
    """Return the vertices of cells of one level: cell, vertex, xyz."""
    level = (int(cells.max(initial=8)).bit_length() - 4) // 2
    vertices: Floats = _OCTANTS[(cells >> (2 * level)) - 8]
    for shift in range(2 * (level - 1), -1, -2):
        vertices = _parts(vertices)[np.arange(len(cells)), (cells >> shift) & 3]
    return vertices


def cover(regions: Regions, levels: Ints | int) -> tuple[Ints, Ints]:
    """Return cells that together hold each region.

    Parameters
    ----------
    regions
        Regions.
    levels
        Level of the cells of each region, or of all.

    Returns
    -------
    tuple
        Position of a region, and a cell that meets it: ordered by level, then by region.
    """
    levels = np.broadcast_to(levels, len(regions))
    where = np.repeat(np.arange(len(regions)), 8)
    cells, vertices = np.tile(np.arange(8, 16), len(regions)), np.tile(_OCTANTS, (len(regions), 1, 1))
    done_where, done_cells = [], []
    for level in range(int(levels.max(initial=0)) + 1):
        maybe = np.flatnonzero(_caps_meet(regions, where, vertices))
        where, cells, vertices = where[maybe], cells[maybe], vertices[maybe]
        done = levels[where] == level
        ends, last = where[done], cells[done]
        met = overlaps(regions, Regions.triangles(vertices[done]), ends, np.arange(len(ends)), _SLACK)
        done_where.append(ends[met])
        done_cells.append(last[met])
        where = np.repeat(where[~done], 4)
        cells = (cells[~done, None] * 4 + np.arange(4)).ravel()
        vertices = _parts(vertices[~done]).reshape(-1, 3, 3)
    return np.concatenate(done_where), np.concatenate(done_cells)


def _caps_meet(regions: Regions, where: Ints, vertices: Floats) -> Bools:
    """Tell which regions may meet their cells, by the caps about both."""
    middles = vertices.sum(1)
    middles /= np.sqrt(dot(middles, middles))[:, None]
    radii = angles(vertices, middles[:, None]).max(1)
    meet: Bools = angles(middles, regions.centres[where]) <= regions.outer[where] + radii + _SLACK
    return meet


def _level(cells: Ints) -> Ints:
    """Return the level of each cell."""
    levels: Ints = (np.frexp(cells)[1].astype(np.int64) - 4) // 2
    return levels


def cell_range(cells: Ints, level: int) -> tuple[Ints, Ints]:
    """Return the first and last cells of a level that lie in each cell, or that each cell lies in."""
    finer = 2 * (level - _level(cells))
    down, up = np.maximum(finer, 0), np.maximum(-finer, 0)
    first = (cells >> up) << down
    return first, first + (np.int64(1) << down) - 1


def near(of_a: tuple[Ints, Ints], of_b: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Return the pairs of regions whose covers meet, each once.

    Parameters
    ----------
    of_a, of_b
        Covers as `cover` makes them.
    """
    (where_a, cells_a), (where_b, cells_b) = of_a, of_b
    width = int(where_b.max(initial=0)) + 1
    pairs = [np.empty(0, np.int64)]
    levels_a, levels_b = _level(cells_a), _level(cells_b)
    for level_a in np.unique(levels_a):
        for level_b in np.unique(levels_b):
            common = min(level_a, level_b)
            ones, others = levels_a == level_a, levels_b == level_b
            order = np.argsort(cells_b[others], kind="stable")
            sought = cells_a[ones] >> (2 * (level_a - common))
            found = cells_b[others][order] >> (2 * (level_b - common))
            first, last = np.searchsorted(found, sought), np.searchsorted(found, sought, "right")
            count = last - first
            # Positions first, first + 1 ... last - 1 of each, in a row.
            steps = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            met = where_b[others][order][np.repeat(first, count) + steps]
            pairs.append(np.repeat(where_a[ones], count) * width + met)
    i, j = np.divmod(np.unique(np.concatenate(pairs)), width)
    return i, j
