"""Instrument signature removal: master frames, and science frames corrected with them.

The model of a raw pixel, in ADU, is ``raw = bias + dark * exposure + flat * sky_and_stars``. All noise
follows from the read noise and from the gain (header card EGAIN, electrons per ADU) and is propagated into
the uncertainties; see Howell, "Handbook of CCD Astronomy", 2nd edition, chapters 3 and 4.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.stats import sigma_clipped_stats
from numpy.typing import NDArray

from .cosmic_rays import fill_masked, pixel_mask, reject_cosmic_rays

OUTLIER_SIGMA = 5.0
"""A pixel of one frame this far above the others is a cosmic ray and left out of the master."""

DEAD_PIXEL_RESPONSE = 0.2
"""Pixels with less of the median response than this carry no useful signal."""


def read_noise(bias_frames: Sequence[CCDData]) -> float:
    """Measure the read noise from the differences of pairs of bias frames.

    A difference of two frames is free of the bias pattern and has twice the variance of one.

    Parameters
    ----------
    bias_frames
        At least two bias frames of the same shape, in ADU; neighbours are paired.

    Returns
    -------
    float
        Standard deviation of one frame in ADU, the mean over all pairs.

    Raises
    ------
    ValueError
        There are fewer than two frames.

    Notes
    -----
    The standard deviation is clipped at 3 sigma, which rejects cosmic rays and costs 1.3 % of a Gaussian's
    width. The median absolute deviation is no choice here: raw frames are whole numbers, so it moves in
    steps of 1.05 ADU.
    """
    if len(bias_frames) < 2:
        raise ValueError(f"the read noise needs two bias frames or more, there are {len(bias_frames)}")
    deviations = [
        sigma_clipped_stats(_pixels(second) - _pixels(first), sigma=3.0)[2]
        for first, second in itertools.pairwise(bias_frames)
    ]
    return float(np.mean(deviations) / np.sqrt(2.0))


def master_bias(frames: Sequence[CCDData]) -> CCDData:
    """Combine bias frames into the master bias.

    Parameters
    ----------
    frames
        At least two bias frames of the same shape, in ADU.

    Returns
    -------
    CCDData
        Mean in ADU (float32) with its standard error; the header is the first frame's with NCOMBINE (number
        of frames) and RDNOISE (read noise of one frame in ADU) added.
    """
    noise = read_noise(frames)
    mean, error = _combine([_pixels(frame) for frame in frames], noise, np.inf)
    header = _master_header(frames)
    header["RDNOISE"] = (round(noise, 4), "[adu] read noise of one frame")
    return CCDData(mean, unit=u.adu, uncertainty=StdDevUncertainty(error), header=header)


def master_dark(frames: Sequence[CCDData], bias: CCDData, exposure_time_s: float) -> CCDData:
    """Combine dark frames of one exposure time into the master dark current.

    Parameters
    ----------
    frames
        Dark frames of the same shape, in ADU.
    bias
        Master bias, as `master_bias` makes it.
    exposure_time_s
        Exposure time of every dark frame, in seconds.

    Returns
    -------
    CCDData
        Dark current in ADU per second (float32). Its uncertainty is that of the mean dark frame alone: the
        bias that was subtracted comes back when a science frame of the same exposure time is corrected.
    """
    if not exposure_time_s > 0.0:
        raise ValueError(f"a dark frame has an exposure time above 0 s, not {exposure_time_s} s")
    counts = [_pixels(frame) - bias.data for frame in frames]
    mean, error = _combine(counts, float(bias.meta["RDNOISE"]), _gain(frames[0]))
    header = _master_header(frames)
    header["EXPTIME"] = (float(exposure_time_s), "[s] exposure time of one frame")
    scale = np.float32(exposure_time_s)
    return CCDData(
        mean / scale, unit=u.adu / u.s, uncertainty=StdDevUncertainty(error / scale), header=header
    )


def master_flat(frames: Sequence[CCDData], bias: CCDData, dark: CCDData) -> CCDData:
    """Combine flat-field frames of one filter into the normalised master flat.

    Parameters
    ----------
    frames
        Flat-field frames of the same shape, in ADU, with EXPTIME in their headers. Their levels may differ:
        each is divided by its own median before they are averaged.
    bias, dark
        Master bias and master dark.

    Returns
    -------
    CCDData
        Relative response, dimensionless (float32), median 1, with its standard error. Pixels with less than
        `DEAD_PIXEL_RESPONSE` are masked.
    """
    counts = [_pixels(frame) - bias.data - dark.data * _exposure_time(frame) for frame in frames]
    levels = [np.float32(np.median(count)) for count in counts]
    level = float(np.mean(levels))
    responses = [count / level_ for count, level_ in zip(counts, levels, strict=True)]
    mean, error = _combine(responses, float(bias.meta["RDNOISE"]) / level, _gain(frames[0]) * level)
    median = np.median(mean)
    mean, error = mean / median, error / median
    return CCDData(
        mean,
        unit=u.dimensionless_unscaled,
        mask=~(mean > DEAD_PIXEL_RESPONSE),
        uncertainty=StdDevUncertainty(error),
        header=_master_header(frames),
    )


def reduce_image(
    raw: CCDData,
    bias: CCDData,
    dark: CCDData,
    flat: CCDData,
    *,
    saturation_adu: float = 55_000.0,
    hot_pixel_adu: float = 1_000.0,
    cosmic_ray_sigma: float | None = 5.0,
) -> CCDData:
    """Remove the instrument's signature from one science frame.

    Parameters
    ----------
    raw
        Science frame in ADU with EXPTIME (seconds) and EGAIN (electrons per ADU) in its header.
    bias, dark, flat
        Masters, as `master_bias`, `master_dark` and `master_flat` make them.
    saturation_adu
        Raw pixels at or above this are saturated.
    hot_pixel_adu
        Pixels that collect more dark signal than this during the exposure are bad: the current of hot
        pixels is not stable enough to be subtracted.
    cosmic_ray_sigma
        Significance from which `reject_cosmic_rays` masks cosmic rays; None leaves them in.

    Returns
    -------
    CCDData
        Image in ADU (float32) with header and WCS of `raw`. The mask is True for bad, saturated and
        cosmic-ray pixels; all but the saturated ones hold the median of their good neighbours. The
        uncertainty (standard deviation, float32) holds read noise, Poisson noise and the masters' noise.
    """
    exposure_time_s = _exposure_time(raw)
    counts = _pixels(raw) - bias.data
    dark_signal = dark.data * exposure_time_s
    dead = pixel_mask(flat)
    bad = dead | (dark_signal > hot_pixel_adu)
    saturated = (np.asarray(raw.data) >= saturation_adu) & ~bad
    response = np.where(dead, np.float32(1.0), flat.data)
    data = (counts - dark_signal) / response
    variance = _variance(raw, counts, bias, dark) + (data * flat.uncertainty.array) ** 2
    calexp = CCDData(
        fill_masked(data, bad, saturated),
        unit=u.adu,
        mask=bad | saturated,
        uncertainty=StdDevUncertainty(np.sqrt(variance) / response),
        header=_calibrated_header(raw, bias),
        wcs=raw.wcs,
    )
    if cosmic_ray_sigma is None:
        return calexp
    return reject_cosmic_rays(calexp, saturated=saturated, threshold_sigma=cosmic_ray_sigma)


def _variance(raw: CCDData, counts: NDArray[np.float32], bias: CCDData, dark: CCDData) -> NDArray[np.float32]:
    """Variance in ADU^2 of a frame after bias and dark, before the flat.

    The result is ``raw - (1 - t) bias - t dark_frame`` with t the ratio of the exposure times, so for t = 1
    the master bias adds no noise.
    """
    exposure_time_s = _exposure_time(raw)
    ratio = exposure_time_s / _exposure_time(dark)
    variance = float(bias.meta["RDNOISE"]) ** 2 + np.maximum(counts, 0) / _gain(raw)
    variance += ((1.0 - ratio) * bias.uncertainty.array) ** 2
    variance += (exposure_time_s * dark.uncertainty.array) ** 2
    return np.asarray(variance, dtype=np.float32)


def _combine(
    frames: Sequence[NDArray[np.float32]], noise: float, gain: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average frames without their cosmic rays.

    Cosmic rays only add charge. So the reference of a pixel is its lower median, and values more than
    `OUTLIER_SIGMA` above it are left out: this works from two frames on.

    Parameters
    ----------
    frames
        Images of one shape and scale.
    noise
        Read noise in the unit of the images.
    gain
        Electrons per unit of the images.

    Returns
    -------
    tuple of numpy.ndarray
        Mean and its standard error (float32).
    """
    stack = np.stack(frames)
    middle = (len(frames) - 1) // 2
    reference = np.partition(stack, middle, axis=0)[middle]
    deviation = np.sqrt(noise**2 + np.maximum(reference, 0) / gain)
    kept = stack <= reference + np.sqrt(2.0) * OUTLIER_SIGMA * deviation
    number = np.count_nonzero(kept, axis=0)
    mean = np.sum(stack, axis=0, where=kept) / number
    error = np.sqrt((noise**2 + np.maximum(mean, 0) / gain) / number)
    return mean.astype(np.float32), error.astype(np.float32)


def _pixels(frame: CCDData) -> NDArray[np.float32]:
    return np.asarray(frame.data, dtype=np.float32)


def _exposure_time(frame: CCDData) -> float:
    return float(frame.meta["EXPTIME"])


def _gain(frame: CCDData) -> float:
    return float(frame.meta["EGAIN"])


def _master_header(frames: Sequence[CCDData]) -> fits.Header:
    header = fits.Header(frames[0].meta, copy=True)
    header["NCOMBINE"] = (len(frames), "number of frames combined")
    return header


def _calibrated_header(raw: CCDData, bias: CCDData) -> fits.Header:
    header = fits.Header(raw.meta, copy=True)
    header["RDNOISE"] = (float(bias.meta["RDNOISE"]), "[adu] read noise of one frame")
    return header
