"""A small night that the acceptance tests put and get."""

from pathlib import Path
from uuid import UUID

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from astropy.time import Time

from quantumio import Butler
from quantumio.engine import RecoveryReport
from quantumio.testing import Fault, FaultyDestination


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


def lose(butler: Butler, visit: int = 1, *, with_blob: bool = True, **options: object) -> UUID:
    """Commit a context at the level journaled that another is quicker than; return its transaction."""
    with butler.context() as winner:
        winner.put({"late": False}, "stats", visit=visit)
    context = butler.context(ack="journaled", **options)
    context.put({"late": True}, "stats", visit=visit, expect="create")
    if with_blob:
        context.put(b"late", "blob", visit=visit)
    context.commit()
    with pytest.raises(ExceptionGroup):
        butler.drain()
    butler.errors(acknowledge=True)
    return context.txid


def told(report: RecoveryReport) -> list[tuple[UUID | None, str]]:
    """Return what a report says of each transaction."""
    return [(item.txid, item.action) for item in report.items]


def with_failed_copy(make_butler):
    """Return a Butler, its destinations, the second of them, and a context whose copy there has failed."""
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second?"]}],
    }
    butler = make_butler(config=config, run="r")
    opened = butler._session.repositories[0].destinations
    whole = opened.get("second")
    opened._open["second"] = FaultyDestination(whole, Fault(at=1, forever=True))
    with butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    with pytest.raises(ExceptionGroup):
        butler.drain()
    return butler, opened, whole, ctx
