"""A night in a repository: what was observed, where its files are, and from when to when its masters hold."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from astropy.time import TimeDelta

from quantumio import Butler, DatasetRef
from quantumio.supertask import RunReport

from .frames import Frame, FrameKind
from .tasks import NO_FILTER, calibrations, reduction

DETECTOR = 0
RAW_RUN = "raw"
MASTER_RUN = "masters"
CALIBRATIONS = "calibrations"
"""CALIBRATION collection in which masters are certified."""

BANDS = {"none": "white", "clear": "white", "c": "white"}
"""Bands of filters that pass everything; of the others the name of the filter stands for the band."""

VALID_HOURS = 12.0
"""Masters hold from so long before the first frame of their night to so long after the last."""

POLICY = {
    "destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.sqlite"}},
    "policies": {"catalogues": {"to": ["local", "level3"], "formats": {"local": "parquet"}}},
    "rules": [
        {"datasets": "*_debug", "to": "temporary"},
        {"datasets": "source", "to": "catalogues"},
        {"datasets": "calexp", "formats": {"local": "fits"}},
    ],
}
"""Tables of ``butler.toml``: where outputs go is the repository's business, not the tasks'."""

_logger = logging.getLogger(__name__)


def create_repository(root: Path, instrument: str) -> Butler:
    """Make a repository for nights, and open it."""
    with Butler.create(root, POLICY) as butler:
        for pipeline in (calibrations(), reduction()):
            pipeline.register_dataset_types(butler)
    return Butler(root, instrument=instrument)


def observe(butler: Butler, frames: Sequence[Frame]) -> None:
    """Insert the dimension records of a night, and ingest its raw frames where they are.

    Parameters
    ----------
    butler
        Opened with the instrument of the frames.
    frames
        As `find_frames` finds them.
    """
    night = day_obs(frames)
    filters = sorted({frame.physical_filter or NO_FILTER for frame in frames})
    butler.insert_dimension("instrument", {"class_name": "CCD camera"} | _instrument(frames))
    butler.insert_dimension("detector", {"detector": DETECTOR, "full_name": "CCD"})
    butler.insert_dimension("band", [{"band": band} for band in sorted({_band(name) for name in filters})])
    butler.insert_dimension(
        "physical_filter", [{"physical_filter": name, "band": _band(name)} for name in filters]
    )
    butler.insert_dimension("day_obs", {"day_obs": night})
    butler.insert_dimension("exposure", [_exposure(frame, night) for frame in frames])
    science = of_kind(frames, FrameKind.SCIENCE)
    butler.insert_dimension("visit", [_visit(frame, night) for frame in science])
    butler.insert_dimension(
        "visit_definition", [{"exposure": frame.exposure, "visit": frame.exposure} for frame in science]
    )
    butler.ingest(
        [(frame.path, {"exposure": frame.exposure}) for frame in frames],
        "raw",
        detector=DETECTOR,
        run=RAW_RUN,
        transfer="direct",
        format="fits",
    )


def certify_masters(butler: Butler, frames: Sequence[Frame], jobs: int) -> RunReport:
    """Make the masters of a night, and certify them for its time.

    Returns
    -------
    RunReport
        Of the run that made them.
    """
    plan = calibrations().plan(
        butler, "exposure.observation_type IN ('bias', 'dark', 'flat')", run=MASTER_RUN, collections=RAW_RUN
    )
    report = plan.run(jobs=jobs)
    report.raise_for_failures()
    margin = TimeDelta(VALID_HOURS * 3600.0, format="sec")
    begin = min(frame.timespan[0] for frame in frames) - margin
    end = max(frame.timespan[1] for frame in frames) + margin
    masters: list[DatasetRef] = [ref for result in report.results for ref in result.refs]
    butler.certify(CALIBRATIONS, masters, begin, end)
    return report


def of_kind(frames: Iterable[Frame], kind: FrameKind) -> list[Frame]:
    """Return the frames of a kind."""
    return [frame for frame in frames if frame.kind is kind]


def day_obs(frames: Sequence[Frame]) -> int:
    """Return the night as a number YYYYMMDD: the UTC date twelve hours before the first frame."""
    evening = min(frame.timespan[0] for frame in frames).utc - TimeDelta(0.5, format="jd")
    return int(evening.strftime("%Y%m%d"))


def _instrument(frames: Sequence[Frame]) -> dict[str, object]:
    return {"instrument": frames[0].instrument}


def _band(physical_filter: str) -> str:
    return BANDS.get(physical_filter.lower(), physical_filter)


def _exposure(frame: Frame, night: int) -> dict[str, object]:
    return {
        "exposure": frame.exposure,
        "obs_id": frame.path.name,
        "physical_filter": frame.physical_filter or NO_FILTER,
        "day_obs": night,
        "exposure_time_s": frame.exposure_time_s,
        "observation_type": str(frame.kind),
        "timespan": frame.timespan,
    }


def _visit(frame: Frame, night: int) -> dict[str, object]:
    return {
        "visit": frame.exposure,
        "name": frame.path.name,
        "physical_filter": frame.physical_filter or NO_FILTER,
        "day_obs": night,
        "exposure_time_s": frame.exposure_time_s,
        "timespan": frame.timespan,
    }
