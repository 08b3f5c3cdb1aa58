"""Overlaps of real regions, as the Rubin Data Butler and independent programs found them: no difference."""

import hashlib
import os

import numpy as np
import pytest

from quantumio.registry._sky_cells import cell_vertices, cover
from quantumio.registry._sky_geometry import overlaps
from quantumio.registry._sky_regions import Regions
from tests.ground_truth import sky_data

VISIT = ("instrument", "visit")
DETECTOR = ("instrument", "visit", "detector")
PATCH = ("skymap", "tract", "patch")
TRACT = ("skymap", "tract")


@pytest.mark.parametrize("join", [sky_data.every_pair, sky_data.by_cells])
@pytest.mark.parametrize(
    ("survey", "element", "other", "count"),
    [
        ("hsc-rc2/hsc", "visit", "patch", 160),
        ("hsc-rc2/hsc", "visit", "tract", 160),
        ("hsc-rc2/hsc", "visit_detector", "patch", 1132),
        ("hsc-rc2/hsc", "visit_detector", "tract", 1132),
        ("hsc-rc2-grid/hscgrid", "visit", "patch", 11381),
        ("hsc-rc2-grid/hscgrid", "visit", "tract", 320),
        ("hsc-rc2-grid/hscgrid", "visit_detector", "patch", 16563),
        ("hsc-rc2-grid/hscgrid", "visit_detector", "tract", 2264),
    ],
)
def test_overlaps_of_a_real_survey(test_data, survey, element, other, count, join):
    def file(what):
        return test_data / "registry" / f"{survey}_{what}.csv"

    truth = {tuple(row.values()) for row in sky_data.read_csv(file(f"gt_{element}_{other}"))}
    assert len(truth) == count
    detectors = element == "visit_detector"
    of_a, a = sky_data.polygons(
        file(f"dim_{element}{'_region' if detectors else ''}"), DETECTOR if detectors else VISIT
    )
    of_b, b = sky_data.polygons(file(f"dim_{other}"), PATCH if other == "patch" else TRACT)
    found = [of_a[i] + of_b[j] for i, j in zip(*join(a, b), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == truth


def test_circles_of_a_simulated_survey_meet_cells_of_the_mesh(test_data):
    """1,419,011 pairs of 216,233 visits with QUANTUMIO_TEST_ALL_VISITS; else those of 8,000 visits."""
    registry = test_data / "registry"
    visit, ra, dec = sky_data.columns(
        registry / "rubin_baseline_v2.0_1yr_visits.parquet", "observationId", "fieldRA", "fieldDec"
    )
    truth_visit, truth_cell = sky_data.columns(
        registry / "gt_rubin_visit_htm5.parquet", "observationId", "htm5"
    )
    assert len(truth_visit) == 1_419_011
    chosen = np.arange(len(visit))
    if not os.environ.get("QUANTUMIO_TEST_ALL_VISITS"):
        chosen = np.sort(np.random.default_rng(5).choice(chosen, 8000, replace=False))
    expected = np.isin(truth_visit, visit[chosen])
    expected = set(zip(truth_visit[expected].tolist(), truth_cell[expected].tolist(), strict=True))
    names = [f"v{vertex}{axis}" for vertex in range(3) for axis in "xyz"]
    cell, *numbers = sky_data.columns(registry / "htm5_triangles.parquet", "htm5", *names)
    triangles = np.stack(numbers, 1)
    assert np.allclose(cell_vertices(cell), triangles.reshape(-1, 3, 3), atol=1e-15)
    cells = Regions.decode([b"p" + triangle.astype("<f8").tobytes() for triangle in triangles])
    order = np.argsort(cell)
    found = set()
    for start in range(0, len(chosen), 8000):
        part = chosen[start : start + 8000]
        circles = sky_data.circles(ra[part], dec[part], np.full(len(part), 1.75))
        i, covering = cover(circles, 5)
        j = order[np.searchsorted(cell, covering, sorter=order)]
        met = overlaps(circles, cells, i, j)
        found.update(zip(visit[part][i[met]].tolist(), cell[j[met]].tolist(), strict=True))
    assert found == expected


@pytest.mark.parametrize(
    ("truth", "table", "names", "times"),
    [
        (
            "gt_rubin_cone_time_band.csv",
            "rubin_baseline_v2.0_1yr_visits.parquet",
            ("observationId", "fieldRA", "fieldDec", "filter"),
            ("observationStartMJD", "visitTime"),
        ),
        (
            "gt_askap_beam_cone_time.csv",
            "askap_vast_beams_even_epochs.parquet",
            ("row", "ra_deg", "dec_deg", "epoch"),
            ("begin_unix_us", "end_unix_us"),
        ),
    ],
)
def test_cones_and_times_of_surveys(test_data, truth, table, names, times):
    registry = test_data / "registry"
    key, ra, dec, group, begin, end = sky_data.columns(registry / table, *names, *times)
    if times[1] == "visitTime":
        end = begin + end / 86400
    queries = sky_data.read_csv(registry / truth)
    assert len(queries) == 60
    (radius,) = {float(query["object_radius_deg"]) for query in queries}
    objects = sky_data.circles(ra, dec, np.full(len(key), radius))
    for query in queries:
        cone = sky_data.circles(
            [float(query["ra_deg"])], [float(query["dec_deg"])], [float(query["radius_deg"])]
        )
        found = overlaps(cone, objects, np.zeros(len(key), np.int64), np.arange(len(key)))
        if query["t_begin"]:
            since, until = (float(query[name]) for name in ("t_begin", "t_end"))
            found &= (end > since) & (begin < until)
        if query["equals"]:
            column, value = query["equals"].split("=")
            assert column == names[3]
            found &= group.astype(str) == value
        assert found.sum() == int(query["count"]), query["query"]
        listed = "\n".join(map(str, key[found].tolist()))
        assert hashlib.sha256(listed.encode()).hexdigest() == query["sha256_of_keys"], query["query"]
