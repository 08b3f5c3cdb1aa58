"""Overlaps of real regions, asked of a registry: as the Rubin Data Butler found them, no difference."""

import struct
from pathlib import Path

import pytest

from quantumio.model import Region
from quantumio.registry import SqlCatalog
from tests.ground_truth.conftest import rows_of

_INTEGERS = {"visit", "detector", "tract", "patch"}
_SURVEYS = {
    "hsc-rc2/hsc": {
        ("visit", "patch"): 160,
        ("visit", "tract"): 160,
        ("visit", "detector", "patch"): 1132,
        ("visit", "detector", "tract"): 1132,
    },
    "hsc-rc2-grid/hscgrid": {
        ("visit", "patch"): 11381,
        ("visit", "tract"): 320,
        ("visit", "detector", "patch"): 16563,
        ("visit", "detector", "tract"): 2264,
    },
}


def _values(row: dict[str, str], names: list[str]) -> dict[str, int | str]:
    return {name: int(row[name]) if name in _INTEGERS else row[name] for name in names}


def _region(text: str) -> Region:
    numbers = [float(number) for vertex in text.split(";") for number in vertex.split(",")]
    return Region.decode(struct.pack(f"<c{len(numbers)}d", b"p", *numbers))


def insert_survey(catalog: SqlCatalog, survey: Path) -> None:
    """Insert the records of a survey, with their regions."""
    for element, keys in (
        ("visit", ["instrument", "visit"]),
        ("visit_detector_region", ["instrument", "visit", "detector"]),
        ("tract", ["skymap", "tract"]),
        ("patch", ["skymap", "tract", "patch"]),
    ):
        rows = rows_of(survey.parent / f"{survey.name}_dim_{element}.csv")
        records = [{**_values(row, keys), "region": _region(row["region_xyz"])} for row in rows]
        assert catalog.insert_dimension(element, records) == len(records)
        if element == "visit_detector_region":
            detectors = sorted({record["detector"] for record in records})
            catalog.insert_dimension(
                "detector", [{"instrument": "HSC", "detector": detector} for detector in detectors]
            )


@pytest.mark.parametrize("survey", _SURVEYS)
def test_data_ids_of_two_families_are_joined_by_overlap(
    empty_catalog: SqlCatalog, registry_truth: Path, survey: str
) -> None:
    insert_survey(empty_catalog, registry_truth / survey)
    for dimensions, count in _SURVEYS[survey].items():
        rows = rows_of(registry_truth / f"{survey}_gt_{'_'.join(dimensions)}.csv")
        truth = {tuple(sorted(_values(row, list(row)).items())) for row in rows}
        assert len(truth) == count
        found = empty_catalog.data_ids(dimensions, {}, None, {})
        assert len(found) == count
        assert {tuple(sorted(data_id.items())) for data_id in found} == truth
        names = list(found[0])
        values = [tuple(data_id[name] for name in names) for data_id in found]
        assert values == sorted(values)
