"""Nights for the tests of the reduction: a real one and simulated ones."""

from pathlib import Path

import pytest
from astropy.nddata import CCDData
from astropy.table import QTable
from attrs import frozen

from examples.reduction import science
from examples.reduction.frames import Frame, FrameKind, find_frames, read_frame
from examples.reduction.simulate import simulate_night

REAL_NIGHT = Path("observing") / "umd_st8_20250624"


@frozen(kw_only=True, eq=False)
class Night:
    """A night's frames and the masters made of them."""

    frames: list[Frame]
    bias: CCDData
    dark: CCDData
    flat: CCDData

    def of_kind(self, kind: FrameKind) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind is kind]

    def reduce(self, frame: Frame, **options: float | None) -> CCDData:
        return science.reduce_image(read_frame(frame.path), self.bias, self.dark, self.flat, **options)


@frozen(kw_only=True, eq=False)
class Reduced:
    """One simulated science frame, its catalogue, and the stars that are on it."""

    calexp: CCDData
    sources: QTable
    truth: QTable


def prepare(directory: Path) -> Night:
    frames = find_frames(directory)
    images = {kind: [read_frame(frame.path) for frame in frames if frame.kind is kind] for kind in FrameKind}
    bias = science.master_bias(images[FrameKind.BIAS])
    exposure_time_s = float(images[FrameKind.DARK][0].meta["EXPTIME"])
    dark = science.master_dark(images[FrameKind.DARK], bias, exposure_time_s)
    flat = science.master_flat(images[FrameKind.FLAT], bias, dark)
    return Night(frames=frames, bias=bias, dark=dark, flat=flat)


@pytest.fixture(scope="session")
def real_night(test_data: Path) -> Night:
    directory = test_data / REAL_NIGHT
    if not directory.is_dir():
        pytest.skip(f"no real telescope data: {test_data} lacks {REAL_NIGHT}")
    return prepare(directory)


@pytest.fixture(scope="session", params=[1, 2, 3], ids="seed {}".format)
def simulated_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("night")
    simulate_night(directory, request.param)
    return directory


@pytest.fixture(scope="session")
def simulated_night(simulated_directory: Path) -> Night:
    return prepare(simulated_directory)


@pytest.fixture(scope="session")
def reduced_frames(simulated_directory: Path, simulated_night: Night) -> list[Reduced]:
    truth = QTable.read(simulated_directory / "truth.ecsv")
    reduced = []
    for frame in simulated_night.of_kind(FrameKind.SCIENCE):
        calexp = simulated_night.reduce(frame)
        stars = truth[truth["exposure"] == frame.exposure]
        reduced.append(Reduced(calexp=calexp, sources=science.detect_sources(calexp), truth=stars))
    return reduced


@pytest.fixture(scope="session")
def small_night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A quick one, for what needs no statistics."""
    directory = tmp_path_factory.mktemp("small-night")
    simulate_night(directory, 5, 1, (256, 320), n_bias=2, n_dark=2, n_flat=2)
    return prepare(directory)
