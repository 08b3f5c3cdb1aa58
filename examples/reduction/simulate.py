"""A night that never was: raw FITS frames of a simulated CCD camera, with the truth beside them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable, vstack
from astropy.time import Time, TimeDelta
from astropy.wcs import WCS
from attrs import frozen

from .frames import FITS_NAME, FrameKind
from .simulated_camera import Camera, Detector, expose
from .simulated_sky import field_of_stars, observe, pointing

TRUTH_FILE = "truth.ecsv"
"""Name of the truth catalogue beside the frames."""

FIRST_EXPOSURE = "2026-03-15T01:30:00"
"""Beginning of the first frame, UTC."""

READOUT_TIME_S = 5.0

FLAT_EXPOSURE_TIME_S = 2.0

STARS_PER_PIXEL = 4e-4
"""Density of the field, down to a magnitude that is well below the detection limit."""

DITHER_PIX = 15.0
"""Science frames point this far off the field's centre at most, in x and in y."""

IMAGE_TYPES = {
    FrameKind.BIAS: "Bias Frame",
    FrameKind.DARK: "Dark Frame",
    FrameKind.FLAT: "Flat Field",
    FrameKind.SCIENCE: "Light Frame",
}


@frozen(kw_only=True)
class _Exposure:
    """One frame of the plan of the night."""

    number: int
    kind: FrameKind
    exposure_time_s: float
    begin: Time
    random: np.random.Generator


def simulate_night(
    directory: Path,
    seed: int,
    n_science: int = 4,
    shape: tuple[int, int] = (1024, 1024),
    *,
    n_bias: int = 5,
    n_dark: int = 3,
    n_flat: int = 3,
    n_stars: int | None = None,
    exposure_time_s: float = 120.0,
    camera: Camera | None = None,
) -> QTable:
    """Write the raw frames of a night into a directory.

    Parameters
    ----------
    directory
        Made where it is missing. The files are named by running number and kind, as ``0004-science.fits``.
    seed
        Decides everything: the same seed gives the same bytes.
    n_science, n_bias, n_dark, n_flat
        Number of frames of each kind. Flats are taken at dusk, bias and dark frames at the end.
    shape
        Rows and columns of a frame.
    n_stars
        Number of stars in the field, which is somewhat larger than a frame; by default `STARS_PER_PIXEL`
        times the pixels of a frame.
    exposure_time_s
        Exposure time of science and dark frames, in seconds.
    camera
        What takes the frames; by default `Camera` as it is.

    Returns
    -------
    QTable
        The truth, one row for each star on each science frame, also written to `TRUTH_FILE`: ``exposure``
        (int64, number of the frame) and the columns of `simulated_sky.observe`.

    Raises
    ------
    FileExistsError
        The directory has FITS files already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(FITS_NAME.search(path.name) for path in directory.iterdir()):
        raise FileExistsError(f"{str(directory)!r} has FITS files already: choose an empty directory")
    camera = camera or Camera()
    detector = Detector.make(camera, np.random.default_rng((seed, 0)), shape)
    if n_stars is None:
        n_stars = round(STARS_PER_PIXEL * shape[0] * shape[1])
    stars = field_of_stars(camera, np.random.default_rng((seed, 1)), shape, n_stars)
    counts = {
        FrameKind.FLAT: (n_flat, FLAT_EXPOSURE_TIME_S),
        FrameKind.SCIENCE: (n_science, exposure_time_s),
        FrameKind.BIAS: (n_bias, 0.0),
        FrameKind.DARK: (n_dark, exposure_time_s),
    }
    truths = [_take(directory, camera, detector, stars, exposure) for exposure in _plan(seed, counts)]
    truth = vstack([truth for truth in truths if truth is not None])
    truth.write(directory / TRUTH_FILE, overwrite=True)
    return truth


def _plan(seed: int, counts: dict[FrameKind, tuple[int, float]]) -> Iterator[_Exposure]:
    begin = Time(FIRST_EXPOSURE, scale="utc")
    kinds = [(kind, seconds) for kind, (count, seconds) in counts.items() for _ in range(count)]
    for number, (kind, seconds) in enumerate(kinds, start=1):
        random = np.random.default_rng((seed, 2, number))
        yield _Exposure(number=number, kind=kind, exposure_time_s=seconds, begin=begin, random=random)
        begin = begin + TimeDelta(seconds + READOUT_TIME_S, format="sec")


def _take(
    directory: Path, camera: Camera, detector: Detector, stars: QTable, exposure: _Exposure
) -> QTable | None:
    """Take one frame and write it; the truth about its stars where it is a science frame."""
    shape, random, seconds = detector.response.shape, exposure.random, exposure.exposure_time_s
    header, truth = _header(camera, exposure), None
    light = np.zeros(shape)
    if exposure.kind is FrameKind.FLAT:
        light += random.uniform(20_000.0, 30_000.0)
    elif exposure.kind is FrameKind.SCIENCE:
        dither_x, dither_y = random.uniform(-DITHER_PIX, DITHER_PIX, 2)
        wcs = pointing(camera, shape, (dither_x, dither_y))
        light, truth = observe(camera, detector, random, stars, wcs, seconds)
        truth.add_column(np.full(len(truth), exposure.number, dtype=np.int64), name="exposure", index=0)
        header.update(_field_header(wcs))
    pixels = expose(camera, detector, random, light, seconds)
    fits.PrimaryHDU(pixels, header).writeto(directory / f"{exposure.number:04d}-{exposure.kind}.fits")
    return truth


def _header(camera: Camera, exposure: _Exposure) -> fits.Header:
    header = fits.Header()
    header["IMAGETYP"] = (IMAGE_TYPES[exposure.kind], "type of image")
    header["DATE-OBS"] = (exposure.begin.isot, "UTC at the beginning of the exposure")
    header["EXPTIME"] = (exposure.exposure_time_s, "[s] exposure time")
    header["INSTRUME"] = (camera.name, "camera")
    header["TELESCOP"] = ("Simulated 0.35 m", "telescope")
    header["EGAIN"] = (camera.gain_electron_per_adu, "[electron/adu] gain")
    header["CCD-TEMP"] = (round(exposure.random.normal(-20.0, 0.1), 3), "[Celsius] temperature of the CCD")
    header["SET-TEMP"] = (-20.0, "[Celsius] temperature set")
    header["XBINNING"] = (1, "binning in x")
    header["YBINNING"] = (1, "binning in y")
    header["XPIXSZ"] = (camera.pixel_size_um, "[um] pixel width")
    header["YPIXSZ"] = (camera.pixel_size_um, "[um] pixel height")
    if exposure.kind in (FrameKind.FLAT, FrameKind.SCIENCE):
        header["FILTER"] = (camera.physical_filter, "filter")
    return header


def _field_header(wcs: WCS) -> fits.Header:
    header = wcs.to_header()
    header["OBJECT"] = ("Simulated field", "target")
    return header
