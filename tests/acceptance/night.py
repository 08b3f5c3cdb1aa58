"""A small night that the acceptance tests put and get."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from astropy.time import Time

from quantumio import Butler


def image(seed: int = 0, shape: tuple[int, int] = (40, 30)) -> CCDData:
    """Make an image with mask, uncertainty and header."""
    random = np.random.default_rng(seed)
    data = random.normal(1000, 10, shape).astype(np.float32)
    header = fits.Header([("EXPTIME", 300.0, "seconds"), ("OBJECT", "UB17"), ("GAIN", 2.3)])
    return CCDData(
        data,
        unit=u.adu,
        mask=data > 1020,
        uncertainty=StdDevUncertainty(np.full(shape, 10.0, dtype=np.float32)),
        meta=header,
    )


def catalogue(rows: int = 20, seed: int = 0) -> QTable:
    """Make a table with units, times and metadata."""
    random = np.random.default_rng(seed)
    return QTable(
        {
            "number": np.arange(rows),
            "x": random.uniform(0, 100, rows) * u.pix,
            "flux": random.lognormal(5, 1, rows) * u.adu,
            "seen": Time("2025-06-24T03:16:00", scale="utc") + np.arange(rows) * u.s,
        },
        meta={"threshold": 5.0},
    )


def assert_same_image(one: CCDData, other: CCDData) -> None:
    """Hold two images to be the same in every bit and card."""
    assert one.data.dtype == other.data.dtype
    assert np.array_equal(one.data, other.data, equal_nan=True)
    assert np.array_equal(one.mask, other.mask)
    assert np.array_equal(one.uncertainty.array, other.uncertainty.array)
    assert type(one.uncertainty) is type(other.uncertainty)
    assert one.unit == other.unit
    assert list(one.meta.items()) == list(other.meta.items())


def files_of(butler: Butler) -> list[Path]:
    """Return every data file below a repository."""
    root = Path(repr(butler).split()[1].rstrip(">"))
    return [path for path in (root / "data").rglob("*") if path.is_file() and "_qio" not in path.parts]
