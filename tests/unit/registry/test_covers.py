"""Records with regions: their numbers, their bytes, and the cells that they are listed under."""

import struct

import numpy as np
import sqlalchemy as sa

from quantumio.model import Region
from quantumio.registry._sky_cells import cell_vertices, cover
from quantumio.registry._sky_cover import ANYWHERE, covered, fitting_level
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from tests.unit.registry.conftest import Place

CAMERA = {"instrument": "ST8"}
SMALL, WHOLE = Region.make("CIRCLE 10 20 0.1"), Region.make("CIRCLE 0 0 180")


def rows(place: Place, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(statement)]
    engine.dispose()
    return found


def test_records_with_regions_are_numbered_and_carry_their_bytes(place: Place) -> None:
    catalog = place.open()
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 5, "region": SMALL}, {**CAMERA, "visit": 3}])
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 5, "region": SMALL}, {**CAMERA, "visit": 4}])
    catalog.close()
    found = rows(place, "SELECT d_visit, record_id, geometry FROM record_visit ORDER BY record_id")
    assert found == [(5, 1, SMALL.encode()), (3, 2, None), (4, 3, None)]


def test_records_are_listed_under_the_cells_that_they_meet(place: Place) -> None:
    catalog = place.open()
    other = Region.make("CIRCLE 200 -20 0.2")
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 1}])
    assert rows(place, "SELECT * FROM cover_level") == []
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 5, "region": SMALL}])
    catalog.insert_dimension(
        "visit", [{**CAMERA, "visit": 6, "region": other}, {**CAMERA, "visit": 7, "region": WHOLE}]
    )
    catalog.close()
    [(element, level)] = rows(place, "SELECT element, level FROM cover_level")
    assert element == "visit"
    expected = {
        (int(cell), number)
        for number, region in ((2, SMALL), (3, other))
        for cell in cover(Regions.make([region]), level)[1]
    }
    assert set(rows(place, "SELECT cell, record_id FROM cover_visit")) == expected | {(ANYWHERE, 4)}


def test_region_of_another_program_comes_back_to_the_last_bit(place: Place) -> None:
    vertices = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0.28, 0.96]]) @ np.array(
        [[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]]
    )
    encoded = struct.pack("<c9d", b"p", *vertices.ravel())
    catalog = place.open()
    catalog.insert_dimension("visit", [{**CAMERA, "visit": 1, "region": Region.decode(encoded)}])
    [record] = catalog.dimension_records("visit", {}, None, {})
    catalog.close()
    assert isinstance(record["region"], Region)
    assert record["region"].encode() == encoded


def test_cover_holds_regions_of_very_different_sizes() -> None:
    radii = np.geomspace(1e-7, 30, 40)
    regions = [Region.make(f"CIRCLE {7 * number} {2 * number - 40} {r}") for number, r in enumerate(radii)]
    encoded = [region.encode() for region in regions]
    where, cells = covered(encoded, fitting_level(encoded))
    large = cells == ANYWHERE
    assert 0 < large.sum() < len(regions)
    assert set(where.tolist()) == set(range(len(regions)))
    assert np.bincount(where).max() < 500
    met = overlaps(
        Regions.decode(encoded),
        Regions.triangles(cell_vertices(cells[~large])),
        where[~large],
        np.arange((~large).sum()),
        1e-11,
    )
    assert met.all()
