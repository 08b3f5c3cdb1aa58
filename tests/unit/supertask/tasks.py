"""Tiny tasks: frames of four numbers, a master, a mean, a sum of a night."""

import threading

import attrs
import numpy as np

from quantumio import Calibration, DatasetType, Input, Output, SuperTask

EXPOSURE = ("instrument", "exposure", "detector")
VISIT = ("instrument", "visit", "detector")
NIGHT = ("instrument", "day_obs")
MASTER = ("instrument", "detector")


@attrs.frozen
class ScaleConfig:
    factor: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    debug: bool = False


class Scale(SuperTask):
    """Raw minus bias, times a factor."""

    raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
    bias = Calibration("bias", dimensions=MASTER, storage_class="NDArray")
    scaled = Output("scaled", dimensions=VISIT, storage_class="NDArray")
    debug = Output("scaled_debug", dimensions=VISIT, storage_class="NDArray")
    config: ScaleConfig

    def run(self, ctx):
        image = (ctx.get(self.raw) - ctx.get(self.bias)) * self.config.factor
        ctx.put(image, self.scaled)
        if self.config.debug:
            ctx.put(image + 1000, self.debug)


class Copy(SuperTask):
    """Raw as it is."""

    raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
    scaled = Output("scaled", dimensions=VISIT, storage_class="NDArray")

    def run(self, ctx):
        ctx.put(ctx.get(self.raw), self.scaled)


class Mean(SuperTask):
    """The mean of each scaled frame."""

    scaled = Input("scaled", dimensions=VISIT, storage_class="NDArray")
    mean = Output("mean", dimensions=VISIT, storage_class="Mapping")

    def run(self, ctx):
        ctx.put({"mean": float(ctx.get(self.scaled).mean())}, self.mean)


class Night(SuperTask):
    """All means of a night."""

    means = Input("mean", dimensions=VISIT, storage_class="Mapping", multiple=True)
    night = Output("night", dimensions=NIGHT, storage_class="Mapping")

    def run(self, ctx):
        handles = ctx.get(self.means)
        ctx.put({str(one.data_id["visit"]): one.get()["mean"] for one in handles}, self.night)


class AsyncMean(Mean):
    """The mean of each scaled frame, asked for on an event loop."""

    async def run(self, ctx):
        image = await ctx.get(self.scaled)
        receipt = await ctx.put({"mean": float(image.mean())}, self.mean)
        assert receipt.ref.data_id["visit"] == ctx.data_id["visit"]


class AsyncNight(Night):
    async def run(self, ctx):
        found = {str(one.data_id["visit"]): (await one.get())["mean"] for one in await ctx.get(self.means)}
        await ctx.put(found, self.night)


class Failing(Mean):
    """Cannot do visit 2."""

    def run(self, ctx):
        if ctx.data_id["visit"] == 2:
            ctx.put({"mean": 0.0}, self.mean)
            raise ZeroDivisionError("no light in visit 2")
        super().run(ctx)


DATASET_TYPES = (
    DatasetType("raw", dimensions=EXPOSURE, storage_class="NDArray"),
    DatasetType("bias", dimensions=MASTER, storage_class="NDArray"),
    DatasetType("scaled", dimensions=VISIT, storage_class="NDArray"),
    DatasetType("scaled_debug", dimensions=VISIT, storage_class="NDArray"),
    DatasetType("mean", dimensions=VISIT, storage_class="Mapping"),
    DatasetType("night", dimensions=NIGHT, storage_class="Mapping"),
)


def frame(exposure, detector=0):
    return np.full(4, exposure * 10 + detector, dtype=np.float64)


def put_raws(butler, exposures, detectors=(0,), run="raw"):
    with butler.context(run=run) as ctx:
        for exposure in exposures:
            for detector in detectors:
                ctx.put(frame(exposure, detector), "raw", exposure=exposure, detector=detector)


class Gate:
    """Holds the writing of files whose path contains a text until it is opened."""

    def __init__(self, monkeypatch, butler, text, error=None):
        self.opened = threading.Event()
        self.reached = threading.Event()
        kind = type(butler._session.repositories[0].destinations.get("local"))
        place = kind.place

        def gated(destination, placements):
            if any(text in placement.path for placement in placements):
                self.reached.set()
                if error is not None:
                    raise error
                assert self.opened.wait(30)
            return place(destination, placements)

        monkeypatch.setattr(kind, "place", gated)
