"""Regions of real and simulated surveys, and the overlaps that are known of them."""

import csv
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from quantumio.registry._sky_cells import cover, levels_of, near
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def polygons(path: Path, keys: tuple[str, ...]) -> tuple[list[tuple[str, ...]], Regions]:
    """Return the keys of records, and their polygons of unit vectors."""
    rows = read_csv(path)
    encoded = []
    for row in rows:
        numbers = [float(number) for vertex in row["region_xyz"].split(";") for number in vertex.split(",")]
        encoded.append(struct.pack(f"<c{len(numbers)}d", b"p", *numbers))
    return [tuple(row[key] for key in keys) for row in rows], Regions.decode(encoded)


def circles(ra, dec, radius) -> Regions:
    """Return circles of degrees."""
    return Regions.decode(
        [struct.pack("<c3d", b"C", *circle) for circle in zip(ra, dec, radius, strict=True)]
    )


def every_pair(a: Regions, b: Regions):
    """Return the pairs that overlap, asking all."""
    i, j = np.indices((len(a), len(b))).reshape(2, -1)
    found = overlaps(a, b, i, j)
    return i[found], j[found]


def by_cells(a: Regions, b: Regions):
    """Return the pairs that overlap, asking those whose covers meet."""
    i, j = near(cover(a, levels_of(a)), cover(b, levels_of(b)))
    found = overlaps(a, b, i, j)
    return i[found], j[found]


def columns(path: Path, *names: str) -> list[np.ndarray]:
    table = pq.read_table(path, columns=list(names))
    return [table[name].to_numpy() for name in names]
