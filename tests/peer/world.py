"""A small observatory that both registries are given: what is there before each behaviour."""

from typing import Any

from astropy.time import Time

INSTRUMENT = "Cam"
HOURS = [Time(f"2025-06-20T{hour:02}:00:00", scale="tai") for hour in range(24)]

# Exposures and visits 1 to 4 last an hour each, from 1:00, 2:00, 3:00 and 4:00 on.
FILTERS = {1: "R1", 2: "R2", 3: "G", 4: "R1"}

# Squares of one degree along the equator. Visits 1 and 2 lie over the border of the two tracts, visit 3 in
# the second one, visit 4 elsewhere. The region of detector 1 in visit 3 does not reach patch 1 of tract 2.
VISIT_BEGINS_DEG = {1: 10.5, 2: 10.6, 3: 11.3, 4: 40.0}


def square(ra_deg: float, width_deg: float = 1.0) -> str:
    """Return the IVOA text of a square on the equator."""
    right, top = ra_deg + width_deg, width_deg / 2
    return f"POLYGON {ra_deg} {-top} {right} {-top} {right} {top} {ra_deg} {top}"


def records() -> dict[str, list[dict[str, Any]]]:
    """Return the dimension records by element; keys are named as their dimension is."""
    cam = {"instrument": INSTRUMENT}
    observed = {
        number: {
            **cam,
            "day_obs": 20250620,
            "physical_filter": FILTERS[number],
            "timespan": (HOURS[number], HOURS[number + 1]),
        }
        for number in FILTERS
    }
    in_map = {"skymap": "sky"}
    return {
        "instrument": [cam | {"detector_max": 10}],
        "physical_filter": [
            cam | {"physical_filter": "R1", "band": "r"},
            cam | {"physical_filter": "R2", "band": "r"},
            cam | {"physical_filter": "G", "band": "g"},
        ],
        "detector": [
            cam | {"detector": number, "full_name": f"chip_{number}", "raft": "AB"[number // 2]}
            for number in range(4)
        ],
        "day_obs": [cam | {"day_obs": 20250620}],
        "exposure": [
            {**fields, "exposure": number, "obs_id": f"exp-{number}", "seq_num": number * 10}
            for number, fields in observed.items()
        ],
        "visit": [
            {**fields, "visit": number, "name": f"vis-{number}", "region": square(VISIT_BEGINS_DEG[number])}
            for number, fields in observed.items()
        ],
        "visit_definition": [cam | {"exposure": number, "visit": number} for number in observed],
        "visit_detector_region": [
            cam | {"visit": 3, "detector": 0, "region": square(11.3, 0.9)},
            cam | {"visit": 3, "detector": 1, "region": square(11.3, 0.1)},
        ],
        "skymap": [in_map],
        "tract": [
            in_map | {"tract": 1, "region": square(10)},
            in_map | {"tract": 2, "region": square(11.05)},
        ],
        "patch": [
            in_map | {"tract": 1, "patch": 0, "region": square(10, 0.45)},
            in_map | {"tract": 1, "patch": 1, "region": square(10.45, 0.55)},
            in_map | {"tract": 2, "patch": 0, "region": square(11.05, 0.5)},
            in_map | {"tract": 2, "patch": 1, "region": square(11.55, 0.5)},
        ],
    }


# name: dimensions, and whether its datasets are valid for a time
DATASET_TYPES = {
    "raw": (("instrument", "exposure", "detector"), False),
    "image": (("instrument", "visit", "detector"), False),
    "coadd": (("skymap", "tract", "patch"), False),
    "bias": (("instrument", "detector"), True),
    "flat": (("instrument", "detector", "physical_filter"), True),
}
