"""Cells of the sky: every region lies in its cover, and regions that overlap share a cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.model import Region
from quantumio.registry._sky_cells import FINEST, cell_range, cell_vertices, cover, levels_of, near
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from tests.unit.registry.test_sky_overlaps import (
    MANY,
    encoded_circle,
    encoded_polygon,
    pairs_of_polygons,
    places,
    sizes,
    text,
)

ZERO = np.zeros(1, np.int64)


def cells_of(encoded, level=None):
    regions = Regions.decode([encoded])
    where, cells = cover(regions, levels_of(regions) if level is None else level)
    assert set(where) == {0}
    return where, cells


def test_the_octants_are_those_of_the_mesh_and_tile_the_sky():
    vertices = cell_vertices(np.arange(8, 16))
    assert vertices[0].tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # S0
    assert vertices[4].tolist() == [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # N0
    assert sorted(map(tuple, vertices.sum(1).tolist())) == sorted(
        (x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)
    )
    assert (np.linalg.det(vertices) > 0).all()


@pytest.mark.parametrize("level", [0, 1, 5])
def test_cells_of_a_level_tile_the_sky(level):
    cells = np.arange(8 << 2 * level, 16 << 2 * level)
    a, b, c = cell_vertices(cells).swapaxes(0, 1)
    solid = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c)))
    beside = 1 + np.einsum("ij,ij->i", a, b) + np.einsum("ij,ij->i", b, c) + np.einsum("ij,ij->i", c, a)
    areas = 2 * np.arctan2(solid, beside)
    assert areas.sum() == pytest.approx(4 * np.pi, rel=1e-12)
    assert areas.max() < 2.2 * areas.min()


@MANY
@given(pairs_of_polygons())
def test_regions_that_overlap_share_a_cell(pair):
    a, b = (Regions.decode([encoded_polygon(one)]) for one in pair)
    cover_a, cover_b = cover(a, levels_of(a)), cover(b, levels_of(b))
    i, j = near(cover_a, cover_b)
    assert len(i) == len(j) <= 1
    if overlaps(a, b, ZERO, ZERO)[0]:
        assert (i.tolist(), j.tolist()) == ([0], [0])
    assert [found.tolist() for found in near(cover_b, cover_a)] == [j.tolist(), i.tolist()]


@MANY
@given(places, sizes, st.data())
def test_points_of_a_circle_lie_in_cells_of_its_cover(centre, radius, data):
    _, cells = cells_of(encoded_circle(centre, radius))
    direction = data.draw(places)
    tangent = direction - centre * (direction @ centre)
    if np.linalg.norm(tangent) > 0.1:
        away = data.draw(st.sampled_from([0.0, 0.5, 1.0])) * radius
        centre = np.cos(away) * centre + np.sin(away) * tangent / np.linalg.norm(tangent)
    level = data.draw(st.integers(0, FINEST))
    _, exact = cells_of(encoded_circle(centre / np.linalg.norm(centre), 0.0), level)
    assert 1 <= len(exact) <= 6  # cells meet in their corners
    first, last = cell_range(cells, level)
    assert any((first <= cell).dot(cell <= last) for cell in exact)


@MANY
@given(places, sizes)
def test_a_region_meets_few_cells_of_its_level(centre, radius):
    _, cells = cells_of(encoded_circle(centre, radius))
    assert len(cells) <= 24
    assert len(set(cells.tolist())) == len(cells)


@pytest.mark.parametrize(
    "region",
    [
        "CIRCLE 0 0 180",
        "CIRCLE 10 90 120",
        "RANGE 0 360 -90 90",
        "RANGE 0 300 -10 10",
        "POLYGON 0 1 120 1 240 1",
    ],
)
def test_what_is_large_is_covered_by_octants(region):
    regions = Regions.make([Region.make(region)])
    assert levels_of(regions).tolist() == [0]
    _, cells = cover(regions, 0)
    assert set(cells.tolist()) <= set(range(8, 16))
    assert len(cells) == (8 if region[-2:] not in ("10", " 1") else len(set(cells.tolist())))


def test_covers_of_several_levels_come_with_their_regions():
    regions = Regions.decode(
        [text("CIRCLE", 10, 10, 30), text("CIRCLE", 10, 10, 0.1), text("CIRCLE", 200, 0, 0.1)]
    )
    levels = levels_of(regions)
    assert levels[0] < levels[1] == levels[2] < FINEST
    where, cells = cover(regions, levels)
    for number in range(3):
        alone = cover(Regions.decode([regions_text(number)]), levels[number])[1]
        assert sorted(cells[where == number]) == sorted(alone)
    i, j = near((where, cells), (where, cells))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]


def regions_text(number):
    return [text("CIRCLE", 10, 10, 30), text("CIRCLE", 10, 10, 0.1), text("CIRCLE", 200, 0, 0.1)][number]


def test_nothing_is_near_nothing():
    nothing = cover(Regions.decode([]), 3)
    assert [len(part) for part in nothing] == [0, 0]
    some = cells_of(text("CIRCLE", 10, 10, 30))
    for a, b in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert [len(part) for part in near(a, b)] == [0, 0]


def test_ranges_of_cells_are_their_parts_or_what_holds_them():
    cells = np.array([8, 35, 15])
    assert [bound.tolist() for bound in cell_range(cells, 1)] == [[32, 35, 60], [35, 35, 63]]
    assert [bound.tolist() for bound in cell_range(cells, 0)] == [[8, 8, 15], [8, 8, 15]]
    assert cell_range(np.array([9]), FINEST)[0].tolist() == [9 << 28]
    _, deep = cells_of(text("CIRCLE", 10, 10, 0), FINEST)
    assert cell_range(deep, FINEST)[1].tolist() == deep.tolist()
