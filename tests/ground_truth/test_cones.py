"""Cones, times and filters of two surveys, asked of dimensions that a repository has for itself.

With QUANTUMIO_TEST_ALL_VISITS all 216,233 and 123,768 records are inserted; else all that are to be found,
and 5,000 others.
"""

import hashlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantumio.model import Region, Timespan
from quantumio.registry import SqlCatalog, create_registry, sqlite_url
from tests.ground_truth import sky_data
from tests.ground_truth.conftest import rows_of
from tests.unit.registry.conftest import Database

_MJD_OF_1970 = 40587
_DAY_NS = 86_400 * 10**9
_UNIVERSE = {
    "pointing": {"key": "int", "metadata": {"label": "str"}, "temporal": True, "spatial": "pointing"}
}
_CHUNK = 20_000


def _of_mjd(mjd: float, seconds: float = 0) -> int:
    """Return nanoseconds of two floats, rounded once."""
    return round((Fraction(float(mjd)) - _MJD_OF_1970) * _DAY_NS + Fraction(float(seconds)) * 10**9)


@pytest.fixture(params=["sqlite", "postgresql"])
def pointings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlCatalog]:
    """A new registry with a dimension of pointings, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path / "registry.sqlite3")
        catalog = create_registry(url, universe_tables=_UNIVERSE, lock_path=tmp_path / "lock")
        yield catalog
        catalog.close()
        return
    with Database(request.getfixturevalue("postgresql_url"), None) as url:
        catalog = create_registry(url, universe_tables=_UNIVERSE, lock_path=tmp_path / "lock")
        yield catalog
        catalog.close()


def _chosen(queries: list[dict[str, str]], ra: Any, dec: Any, labels: Any, begin: Any, end: Any) -> Any:
    """Return positions of records: of those near what is asked for, and of some others."""
    if os.environ.get("QUANTUMIO_TEST_ALL_VISITS"):
        return np.arange(len(ra))

    def vectors(longitude: Any, latitude: Any) -> Any:
        longitude, latitude = np.radians(longitude), np.radians(latitude)
        across = np.cos(latitude)
        return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)], -1)

    chosen = np.zeros(len(ra), np.bool_)
    chosen[np.random.default_rng(5).choice(len(ra), 5_000, replace=False)] = True
    places = vectors(ra, dec)
    for query in queries:
        reach = float(query["radius_deg"]) + float(query["object_radius_deg"]) + 1e-6
        towards = places @ vectors(float(query["ra_deg"]), float(query["dec_deg"]))
        near = towards >= np.cos(np.radians(reach))
        if query["t_begin"]:
            near &= (end >= float(query["t_begin"])) & (begin <= float(query["t_end"]))
        if query["equals"]:
            near &= labels == query["equals"].partition("=")[2]
        chosen |= near
    return np.flatnonzero(chosen)


def _insert(catalog: SqlCatalog, keys: Any, places: Any, radius: float, labels: Any, spans: Any) -> None:
    records = [
        {
            "pointing": key,
            "region": Region("CIRCLE", (ra, dec, radius)),
            "label": str(label),
            "timespan": Timespan(*span),
        }
        for key, (ra, dec), label, span in zip(keys, places, labels, spans, strict=True)
    ]
    for start in range(0, len(records), _CHUNK):
        part = records[start : start + _CHUNK]
        assert catalog.insert_dimension("pointing", part) == len(part)


def _check(catalog: SqlCatalog, keys: list[int], queries: list[dict[str, str]], of_time: Any) -> None:
    assert len(queries) == 60
    for query in queries:
        cone = {name: float(query[f"{name}_deg"]) for name in ("ra", "dec", "radius")}
        where, bind = "pointing.region OVERLAPS CIRCLE(:ra, :dec, :radius)", dict[str, object](cone)
        if query["t_begin"]:
            where += " AND pointing.timespan OVERLAPS :span"
            bind["span"] = Timespan(of_time(query["t_begin"]), of_time(query["t_end"]))
        if query["equals"]:
            where += " AND pointing.label = :label"
            bind["label"] = query["equals"].partition("=")[2]
        found = {data_id["pointing"] for data_id in catalog.data_ids(["pointing"], {}, where, bind)}
        assert len(found) == int(query["count"]), query["query"]
        listed = "\n".join(str(key) for key in keys if key in found)
        assert hashlib.sha256(listed.encode()).hexdigest() == query["sha256_of_keys"], query["query"]


def test_visits_of_a_simulated_survey(pointings: SqlCatalog, registry_truth: Path) -> None:
    queries = rows_of(registry_truth / "gt_rubin_cone_time_band.csv")
    names = ("observationId", "fieldRA", "fieldDec", "filter", "observationStartMJD", "visitTime")
    columns = sky_data.columns(registry_truth / "rubin_baseline_v2.0_1yr_visits.parquet", *names)
    *_, start, length = columns
    chosen = _chosen(queries, *columns[1:5], start + length / 86_400)
    keys, ra, dec, bands, begin, seconds = (column[chosen].tolist() for column in columns)
    spans = [(_of_mjd(mjd), _of_mjd(mjd, length)) for mjd, length in zip(begin, seconds, strict=True)]
    radius = float(queries[0]["object_radius_deg"])
    _insert(pointings, keys, zip(ra, dec, strict=True), radius, bands, spans)
    _check(pointings, keys, queries, lambda mjd: _of_mjd(float(mjd)))


def test_beams_of_a_radio_survey(pointings: SqlCatalog, registry_truth: Path) -> None:
    queries = rows_of(registry_truth / "gt_askap_beam_cone_time.csv")
    names = ("row", "ra_deg", "dec_deg", "epoch", "begin_unix_us", "end_unix_us")
    columns = sky_data.columns(registry_truth / "askap_vast_beams_even_epochs.parquet", *names)
    chosen = _chosen(queries, *columns[1:])
    keys, ra, dec, epochs, begin, end = (column[chosen].tolist() for column in columns)
    spans = [(int(since) * 1000, int(until) * 1000) for since, until in zip(begin, end, strict=True)]
    radius = float(queries[0]["object_radius_deg"])
    _insert(pointings, keys, zip(ra, dec, strict=True), radius, epochs, spans)
    _check(pointings, keys, queries, lambda microseconds: int(microseconds) * 1000)
