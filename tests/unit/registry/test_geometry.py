"""Regions in numbers, beside their text."""

import math
import struct

import numpy as np
import pytest
import sqlalchemy as sa

from quantumio.model import Region
from quantumio.registry._geometry import SHAPES, geometry
from tests.unit.registry.conftest import Place


def numbers(region: str) -> tuple[int, list[float]]:
    made = geometry(Region.make(region))
    return made[0], np.frombuffer(made, "<f8", offset=1).tolist()


def test_circle_is_its_centre_and_its_radius() -> None:
    shape, (x, y, z, radius) = numbers("CIRCLE 90 30 180")
    assert shape == SHAPES["CIRCLE"]
    assert (x, y, z) == pytest.approx((0, math.sqrt(3) / 2, 0.5), abs=1e-15)
    assert radius == math.pi


def test_polygon_is_its_vertices_in_their_order() -> None:
    shape, parts = numbers("POLYGON 0 0 90 0 12 90")
    assert shape == SHAPES["POLYGON"]
    assert np.reshape(parts, (3, 3)) == pytest.approx(np.eye(3), abs=1e-15)


def test_range_is_its_limits() -> None:
    shape, limits = numbers("RANGE 350 10 -90 -45")
    assert shape == SHAPES["RANGE"]
    assert limits == [math.radians(350), math.radians(10), -math.pi / 2, -math.pi / 4]


def test_records_with_regions_are_numbered_and_carry_their_geometry(place: Place) -> None:
    catalog = place.open()
    camera = {"instrument": "ST8"}
    circle = Region.make("CIRCLE 1 2 3")
    catalog.insert_dimension("visit", [{**camera, "visit": 5, "region": circle}, {**camera, "visit": 3}])
    catalog.insert_dimension("visit", [{**camera, "visit": 5, "region": circle}, {**camera, "visit": 4}])
    catalog.close()
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT d_visit, record_id, geometry FROM record_visit ORDER BY record_id"
        ).all()
    engine.dispose()
    assert [tuple(row[:2]) for row in found] == [(5, 1), (3, 2), (4, 3)]
    assert found[0][2] == geometry(circle)
    assert struct.unpack_from("<B", found[0][2]) == (1,)
    assert [row[2] for row in found[1:]] == [None, None]
