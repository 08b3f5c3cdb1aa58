"""A simulated CCD camera: its fixed pattern, its noise and the cosmic rays that hit it.

A pixel of a raw frame, in ADU, is ``bias + (Poisson(flat * light + dark * time) + cosmic rays) / gain +
read noise``, rounded to 16 bits; light and dark in electrons.
"""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

IONISATION_ELECTRON_PER_UM = 80.0
"""Electrons that a minimum-ionising particle frees per micrometre of silicon; Groom 2002, Experimental
Astronomy 14, 45 ("Cosmic rays and other nonsense in astronomical CCD imagers")."""

CHARGE_DIFFUSION_PIX = 0.3
"""Standard deviation by which charge spreads before it is collected."""

FULL_RANGE_ADU = 65_535

Image = NDArray[np.float64]


@frozen(kw_only=True)
class Camera:
    """What a camera and its site are like; the defaults are a cooled small camera under a dark sky."""

    name: str = "Simulated SIM-1 CCD Camera"
    gain_electron_per_adu: float = 2.0
    read_noise_adu: float = 6.0
    bias_adu: float = 1_000.0
    dark_current_adu_per_s: float = 0.03
    hot_pixel_fraction: float = 1e-3
    hot_pixel_adu_per_s: float = 2.0
    """Mean dark current of hot pixels; theirs is distributed exponentially."""
    vignetting: float = 0.15
    """Light lost in the corners, as a fraction."""
    pixel_response_scatter: float = 0.01
    sky_adu_per_s: float = 5.0
    zero_point_mag: float = 21.0
    """Magnitude of a star that gives 1 ADU per second."""
    least_seeing_pix: float = 3.0
    greatest_seeing_pix: float = 4.2
    """Limits of the full width at half maximum of a frame's stars."""
    pixel_scale_arcsec: float = 1.2
    pixel_size_um: float = 9.0
    depletion_depth_um: float = 20.0
    """Path of a particle that crosses the detector at a right angle."""
    cosmic_rays_per_cm2_s: float = 0.35
    """Some ten times the rate at sea level, so that a short exposure has as many as a long one."""
    physical_filter: str = "V"


@frozen(kw_only=True, eq=False)
class Detector:
    """The fixed pattern of one detector (float64)."""

    bias_adu: Image
    dark_adu_per_s: Image
    response: Image

    @classmethod
    def make(cls, camera: Camera, random: np.random.Generator, shape: tuple[int, int]) -> "Detector":
        """Draw a detector.

        Parameters
        ----------
        camera
            What it belongs to.
        random
            Source of randomness; it alone decides the pattern.
        shape
            Rows and columns.
        """
        column_offsets = random.normal(0.0, 1.0, shape[1])
        dark = np.full(shape, camera.dark_current_adu_per_s)
        hot = random.random(shape) < camera.hot_pixel_fraction
        dark[hot] += random.exponential(camera.hot_pixel_adu_per_s, np.count_nonzero(hot))
        response = (1.0 - camera.vignetting * _corner_distance(shape) ** 2) * _dust(random, shape)
        response *= random.normal(1.0, camera.pixel_response_scatter, shape)
        bias = np.broadcast_to(camera.bias_adu + column_offsets, shape)
        return cls(bias_adu=bias, dark_adu_per_s=dark, response=response)


def expose(
    camera: Camera, detector: Detector, random: np.random.Generator, light_adu: Image, exposure_time_s: float
) -> NDArray[np.uint16]:
    """Take one frame.

    Parameters
    ----------
    camera, detector
        What takes it.
    random
        Source of randomness of this frame.
    light_adu
        Light that falls on each pixel during the exposure, in ADU.
    exposure_time_s
        Exposure time, in seconds; decides dark current and number of cosmic rays.

    Returns
    -------
    numpy.ndarray
        Raw pixels in ADU (uint16), cut at 65535.
    """
    gain = camera.gain_electron_per_adu
    collected_adu = detector.response * light_adu + detector.dark_adu_per_s * exposure_time_s
    electrons = random.poisson(collected_adu * gain).astype(np.float64)
    electrons += _cosmic_rays(camera, random, light_adu.shape, exposure_time_s)
    adu = detector.bias_adu + electrons / gain
    adu += random.normal(0.0, camera.read_noise_adu, adu.shape)
    return np.clip(np.rint(adu), 0, FULL_RANGE_ADU).astype(np.uint16)


def _cosmic_rays(
    camera: Camera, random: np.random.Generator, shape: tuple[int, ...], exposure_time_s: float
) -> Image:
    """Electrons left by particles that cross the detector on straight tracks, from all directions alike."""
    electrons = np.zeros(shape)
    area_cm2 = electrons.size * (camera.pixel_size_um * 1e-4) ** 2
    for _ in range(random.poisson(camera.cosmic_rays_per_cm2_s * area_cm2 * exposure_time_s)):
        zenith_angle = np.arcsin(np.sqrt(random.random()) * 0.99)
        depth_pix = camera.depletion_depth_um / camera.pixel_size_um
        length_pix = depth_pix * np.tan(zenith_angle)
        path_um = camera.depletion_depth_um / np.cos(zenith_angle)
        charge = IONISATION_ELECTRON_PER_UM * path_um * random.lognormal(0.0, 0.3)
        _add_track(electrons, random, length_pix, charge)
    return electrons


def _add_track(electrons: Image, random: np.random.Generator, length_pix: float, charge: float) -> None:
    rows, columns = electrons.shape
    direction = random.uniform(0.0, 2.0 * np.pi)
    number = int(20 * (length_pix + 1.0))
    along = np.linspace(0.0, length_pix, number)
    x = (
        random.uniform(0, columns)
        + along * np.cos(direction)
        + random.normal(0, CHARGE_DIFFUSION_PIX, number)
    )
    y = random.uniform(0, rows) + along * np.sin(direction) + random.normal(0, CHARGE_DIFFUSION_PIX, number)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    np.add.at(electrons, (y[inside].astype(int), x[inside].astype(int)), charge / number)


def _corner_distance(shape: tuple[int, int]) -> Image:
    """Distance from the centre, 1 in the corners."""
    y, x = (np.linspace(-1.0, 1.0, size) for size in shape)
    return np.asarray(np.hypot(y[:, np.newaxis], x) / np.sqrt(2.0))


def _dust(random: np.random.Generator, shape: tuple[int, int], number: int = 6) -> Image:
    """Relative light behind dust on the window: rings, as the telescope's pupil is one."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    light = np.ones(shape)
    for _ in range(number):
        radius = random.uniform(10.0, 30.0)
        distance = np.hypot(y - random.uniform(0, shape[0]), x - random.uniform(0, shape[1])) / radius
        light -= random.uniform(0.01, 0.04) * ((distance > 0.4) & (distance < 1.0))
    return light
