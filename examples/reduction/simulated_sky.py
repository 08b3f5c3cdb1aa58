"""A simulated field of stars, seen through a telescope with an atmosphere above it."""

import numpy as np
from astropy import units as u
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.typing import NDArray

from .simulated_camera import Camera, Detector

MOFFAT_BETA = 3.0
"""Exponent of the stellar profile, between the 2.5 that is usual in practice and the 4.765 that the theory of
turbulence gives (Trujillo et al. 2001, MNRAS 328, 977)."""

BRIGHTEST_MAG, FAINTEST_MAG = 11.0, 19.0

COUNT_SLOPE = 0.3
"""Growth of log10(number of stars) per magnitude, as at mid galactic latitudes."""

FIELD_MARGIN = 0.02
"""The field is larger than the frame by this fraction on each side, as frames are dithered."""

FIELD_CENTRE_DEG = (150.0, 22.0)
"""ICRS right ascension and declination of the field."""

Image = NDArray[np.float64]


def field_of_stars(
    camera: Camera, random: np.random.Generator, shape: tuple[int, int], number: int
) -> QTable:
    """Draw the stars of the field.

    Parameters
    ----------
    camera
        Gives the pixel scale.
    random
        Source of randomness; it alone decides the stars.
    shape
        Rows and columns of a frame.
    number
        Number of stars.

    Returns
    -------
    QTable
        ``star`` (int64, from 1, the brightest first), ``ra`` and ``dec`` (float64, deg, ICRS) and
        ``magnitude`` (float64, mag).
    """
    rows, columns = shape
    y, x = (
        random.uniform(-FIELD_MARGIN * size, (1 + FIELD_MARGIN) * size, number) for size in (rows, columns)
    )
    position = pointing(camera, shape, (0.0, 0.0)).pixel_to_world(x, y)
    lowest = 10.0 ** (COUNT_SLOPE * (BRIGHTEST_MAG - FAINTEST_MAG))
    magnitude = FAINTEST_MAG + np.log10(random.uniform(lowest, 1.0, number)) / COUNT_SLOPE
    return QTable(
        {
            "star": np.arange(1, number + 1, dtype=np.int64),
            "ra": position.ra.to(u.deg),
            "dec": position.dec.to(u.deg),
            "magnitude": np.sort(magnitude) * u.mag,
        }
    )


def pointing(camera: Camera, shape: tuple[int, int], offset_pix: tuple[float, float]) -> WCS:
    """Tangential WCS of a frame, north up and east to the left but for a rotation of 2 degrees.

    Parameters
    ----------
    camera
        Gives the pixel scale.
    shape
        Rows and columns of the frame.
    offset_pix
        By how much the field's centre lies off the frame's centre, in x and y.
    """
    wcs = WCS(naxis=2)
    scale, angle = camera.pixel_scale_arcsec / 3600.0, np.radians(2.0)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = FIELD_CENTRE_DEG
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + offset_pix[0], (shape[0] + 1) / 2 + offset_pix[1]]
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    wcs.wcs.cd = [[-cosine, sine], [sine, cosine]]
    wcs.wcs.radesys = "ICRS"
    return wcs


def observe(
    camera: Camera,
    detector: Detector,
    random: np.random.Generator,
    stars: QTable,
    wcs: WCS,
    exposure_time_s: float,
) -> tuple[Image, QTable]:
    """Let the light of sky and stars fall on the detector.

    Parameters
    ----------
    camera, detector
        What observes.
    random
        Source of randomness of this frame: seeing and slope of the sky.
    stars
        As `field_of_stars` makes them.
    wcs
        Where the frame points.
    exposure_time_s
        Exposure time, in seconds.

    Returns
    -------
    light : numpy.ndarray
        Light on each pixel in ADU (float64).
    truth : QTable
        The stars whose centres are on the frame: `stars` with ``x``, ``y`` (pix, the centre of the first
        pixel is 0, 0), ``flux`` and ``peak`` (adu above the sky, without vignetting) and ``peak_snr``: the
        expected peak over the background's standard deviation at that place.
    """
    shape = detector.response.shape
    seeing_pix = random.uniform(camera.least_seeing_pix, camera.greatest_seeing_pix)
    light = _sky(camera, random, shape) * exposure_time_s
    x, y = wcs.wcs_world2pix(stars["ra"].to_value(u.deg), stars["dec"].to_value(u.deg), 0)
    flux = exposure_time_s * 10.0 ** (0.4 * (camera.zero_point_mag - stars["magnitude"].to_value(u.mag)))
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    pixels = (row[inside], column[inside])
    noise = _background_noise(camera, detector, light, exposure_time_s)[pixels]
    for star_x, star_y, star_flux in zip(x[inside], y[inside], flux[inside], strict=True):
        _add_star(light, star_x, star_y, star_flux, seeing_pix)
    truth = stars[inside]
    truth["x"], truth["y"] = x[inside] * u.pix, y[inside] * u.pix
    truth["flux"] = flux[inside] * u.adu
    peak = flux[inside] * _moffat((x - column)[inside], (y - row)[inside], seeing_pix)
    truth["peak"] = peak * u.adu
    truth["peak_snr"] = peak * detector.response[pixels] / noise
    return light, truth


def _sky(camera: Camera, random: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Brightness of the sky in ADU per second: level and slope differ from frame to frame."""
    level = camera.sky_adu_per_s * random.uniform(0.9, 1.1)
    slope_y, slope_x = random.uniform(-0.05, 0.05, 2)
    y, x = (np.linspace(-1.0, 1.0, size) for size in shape)
    return np.asarray(level * (1.0 + slope_y * y[:, np.newaxis] + slope_x * x))


def _background_noise(camera: Camera, detector: Detector, sky_adu: Image, exposure_time_s: float) -> Image:
    collected_adu = detector.response * sky_adu + detector.dark_adu_per_s * exposure_time_s
    return np.sqrt(collected_adu / camera.gain_electron_per_adu + camera.read_noise_adu**2)


def _add_star(light: Image, x: float, y: float, flux: float, seeing_pix: float) -> None:
    """Add a star out to where less than 0.1 ADU per pixel is left."""
    core = _moffat(0.0, 0.0, seeing_pix)
    reach = int(np.clip(seeing_pix * (flux * core / 0.1) ** (0.5 / MOFFAT_BETA), 8, 150))
    first_row, first_column = max(round(y) - reach, 0), max(round(x) - reach, 0)
    stamp = light[first_row : round(y) + reach + 1, first_column : round(x) + reach + 1]
    rows, columns = np.ogrid[: stamp.shape[0], : stamp.shape[1]]
    stamp += flux * _moffat(columns + first_column - x, rows + first_row - y, seeing_pix)


def _moffat(dx: float | Image, dy: float | Image, seeing_pix: float) -> Image:
    """Moffat 1969 (A&A 3, 455) profile with unit sum, the pixel's own width being part of the seeing."""
    alpha = seeing_pix / (2.0 * np.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))
    centre = (MOFFAT_BETA - 1.0) / (np.pi * alpha**2)
    return np.asarray(centre * (1.0 + (np.square(dx) + np.square(dy)) / alpha**2) ** -MOFFAT_BETA)
