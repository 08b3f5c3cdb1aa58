"""The SuperTasks of the night: masters from calibration frames, then Isr -> Detect -> Summary.

A task declares what it reads and writes, and computes. Where outputs go, in which format, and whether
anybody waits for them is not its business: see the policy in `run.py`.
"""

import numpy as np
from astropy.nddata import CCDData
from astropy.table import QTable
from attrs import field, frozen, validators

from quantumio import Calibration, Input, Output, Pipeline, SuperTask
from quantumio.supertask import QuantumContext

from . import science
from .frames import KIND_WORDS, FrameKind

EXPOSURE = ("instrument", "exposure", "detector")
VISIT = ("instrument", "visit", "detector")
DETECTOR = ("instrument", "detector")
FLAT = ("instrument", "detector", "physical_filter")
NIGHT = ("instrument", "day_obs")

NO_FILTER = "none"
"""Physical filter of frames whose header names none, as `frames.find_frames` has it."""


class MasterCalibrations(SuperTask):
    """Combine the bias, dark and flat frames of a detector into masters, one flat for each filter."""

    dimensions = DETECTOR

    raws = Input("raw", dimensions=EXPOSURE, storage_class="CCDData", multiple=True)
    bias = Output("bias", dimensions=DETECTOR, storage_class="CCDData")
    dark = Output("dark", dimensions=DETECTOR, storage_class="CCDData")
    flat = Output("flat", dimensions=FLAT, storage_class="CCDData")

    def run(self, ctx: QuantumContext) -> None:
        """Combine what the detector has, each kind of frame on its own."""
        frames: dict[FrameKind, list[CCDData]] = {kind: [] for kind in FrameKind}
        for handle in ctx.get(self.raws):
            raw = handle.get()
            frames[_kind(raw)].append(raw)
        bias = science.master_bias(frames[FrameKind.BIAS])
        darks = frames[FrameKind.DARK]
        dark = science.master_dark(darks, bias, float(darks[0].meta["EXPTIME"]))
        ctx.put(bias, self.bias)
        ctx.put(dark, self.dark)
        for physical_filter in sorted({_filter(flat) for flat in frames[FrameKind.FLAT]}):
            flats = [flat for flat in frames[FrameKind.FLAT] if _filter(flat) == physical_filter]
            ctx.put(science.master_flat(flats, bias, dark), self.flat, physical_filter=physical_filter)


@frozen
class IsrConfig:
    """Limits of the instrument signature removal; see `science.reduce_image`."""

    saturation_adu: float = field(default=55_000.0, validator=validators.gt(0))
    hot_pixel_adu: float = field(default=1_000.0, validator=validators.gt(0))
    cosmic_ray_sigma: float = field(default=5.0, validator=validators.gt(0))


class Isr(SuperTask):
    """Remove the instrument's signature from one science frame."""

    raw = Input("raw", dimensions=EXPOSURE, storage_class="CCDData")
    bias = Calibration("bias", dimensions=DETECTOR, storage_class="CCDData")
    dark = Calibration("dark", dimensions=DETECTOR, storage_class="CCDData")
    flat = Calibration("flat", dimensions=FLAT, storage_class="CCDData")
    calexp = Output("calexp", dimensions=VISIT, storage_class="CCDData")
    removed = Output("isr_debug", dimensions=VISIT, storage_class="NDArray")
    config: IsrConfig

    def run(self, ctx: QuantumContext) -> None:
        """Correct the frame; what was removed from it is for those who debug."""
        raw = ctx.get(self.raw)
        calexp = science.reduce_image(
            raw,
            ctx.get(self.bias),
            ctx.get(self.dark),
            ctx.get(self.flat),
            saturation_adu=self.config.saturation_adu,
            hot_pixel_adu=self.config.hot_pixel_adu,
            cosmic_ray_sigma=self.config.cosmic_ray_sigma,
        )
        ctx.put(calexp, self.calexp)
        ctx.put(np.asarray(raw.data, dtype=np.float32) - calexp.data, self.removed)


@frozen
class DetectConfig:
    """What counts as a source; see `science.detect_sources`."""

    threshold_sigma: float = field(default=5.0, validator=validators.gt(0))
    min_area_pix: int = field(default=6, validator=validators.gt(0))


class Detect(SuperTask):
    """Find the sources of a calibrated frame, and put the frame into figures."""

    calexp = Input("calexp", dimensions=VISIT, storage_class="CCDData")
    removed = Input("isr_debug", dimensions=VISIT, storage_class="NDArray")
    sources = Output("source", dimensions=VISIT, storage_class="AstropyTable")
    statistics = Output("frame_statistics", dimensions=VISIT, storage_class="Mapping")
    config: DetectConfig

    def run(self, ctx: QuantumContext) -> None:
        """Detect on the calibrated frame."""
        calexp = ctx.get(self.calexp)
        sources = science.detect_sources(calexp, self.config.threshold_sigma, self.config.min_area_pix)
        ctx.put(sources, self.sources)
        # A temporary of Isr: never on disk, gone when this has committed.
        removed = float(np.median(ctx.get(self.removed)))
        ctx.put(science.frame_statistics(calexp, sources) | {"removed_adu": removed}, self.statistics)


class Summary(SuperTask):
    """Gather a night: the table of its frames, and a picture of the richest one."""

    dimensions = NIGHT

    raws = Input("raw", dimensions=EXPOSURE, storage_class="CCDData", multiple=True)
    calexps = Input("calexp", dimensions=VISIT, storage_class="CCDData", multiple=True)
    catalogues = Input("source", dimensions=VISIT, storage_class="AstropyTable", multiple=True)
    statistics = Input("frame_statistics", dimensions=VISIT, storage_class="Mapping", multiple=True)
    night = Output("night_summary", dimensions=NIGHT, storage_class="AstropyTable")
    quick_look = Output("quick_look", dimensions=NIGHT, storage_class="Bytes")

    def run(self, ctx: QuantumContext) -> None:
        """Put the table of all frames, and the picture of one."""
        frames = [{"visit": one.data_id["visit"]} | one.get() for one in ctx.get(self.statistics)]
        frames.sort(key=lambda frame: frame["visit"])
        ctx.put(science.night_table(frames), self.night)
        visit = max(frames, key=lambda frame: frame["sources"])["visit"]
        raw, calexp, sources = (
            next(iter(ctx.get(several, **which))).get()
            for several, which in (
                (self.raws, {"exposure": visit}),  # in this example a visit is one exposure
                (self.calexps, {"visit": visit}),
                (self.catalogues, {"visit": visit}),
            )
        )
        assert isinstance(sources, QTable)
        ctx.put(science.quick_look(raw, calexp, sources), self.quick_look)


def calibrations() -> Pipeline:
    """Return the pipeline that makes the masters; its outputs are to be certified."""
    return Pipeline([MasterCalibrations()])


def reduction() -> Pipeline:
    """Return the pipeline that reduces the science frames of a night."""
    return Pipeline([Isr(), Detect(), Summary()])


def _kind(raw: CCDData) -> FrameKind:
    return KIND_WORDS[str(raw.meta["IMAGETYP"]).split()[0].lower()]


def _filter(raw: CCDData) -> str:
    return str(raw.meta.get("FILTER", "")).strip() or NO_FILTER
