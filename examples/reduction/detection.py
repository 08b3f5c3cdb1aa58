"""Source detection and photometry with sep, the library form of Source Extractor.

Bertin and Arnouts 1996, A&AS 117, 393; Barbary 2016, JOSS 1(6), 58.
"""

import numpy as np
import sep
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.typing import NDArray

from .cosmic_rays import pixel_mask

APERTURE_RADIUS_FWHM = 2.0
"""Radius of the photometric aperture, in units of the stars' full width at half maximum.

It is the same for all sources of an image, so that all stars lose the same fraction of their light (Howell
1989, PASP 101, 616): 8 % for the Moffat profiles of the simulated night."""

HEADER_CARDS = ("OBJECT", "FILTER", "DATE-OBS", "EXPTIME")
"""What the catalogue keeps of the image's header, where it is there."""


def detect_sources(ccd: CCDData, threshold_sigma: float = 5.0, min_area: int = 6) -> QTable:
    """Find the sources of a calibrated image and measure them.

    Parameters
    ----------
    ccd
        Image in ADU with a standard deviation as its uncertainty. Masked pixels must hold usable values, as
        `reduce_image` leaves them; they do not count for the background.
    threshold_sigma
        Detection threshold above the background, in units of the background's global RMS. The image is first
        smoothed with sep's 3 x 3 pixel kernel.
    min_area
        Least number of connected pixels above the threshold.

    Returns
    -------
    QTable
        One row for each source, the brightest first:

        - ``source`` (int64): running number from 1;
        - ``x``, ``y`` (float64, pix): barycentre, the centre of the first pixel being (0, 0);
        - ``ra``, ``dec`` (float64, deg, ICRS): only where the image has a celestial WCS;
        - ``flux``, ``flux_error`` (float64, adu): in a circular aperture of
          `APERTURE_RADIUS_FWHM`, background subtracted;
        - ``peak`` (float64, adu): brightest pixel above the background;
        - ``background`` (float64, adu): background level at the source;
        - ``fwhm``, ``a``, ``b`` (float64, pix), ``theta`` (float64, rad): full width at half maximum of a
          Gaussian with the source's second moments, the moments' ellipse, its angle from the x axis;
        - ``area`` (int64), ``masked`` (int64): pixels above the threshold, and how many of them are masked;
        - ``flags`` (int32): sep's extraction flags.

        ``meta`` has the threshold, the level and RMS of the background, the typical FWHM, the radius of the
        aperture, and `HEADER_CARDS`.
    """
    mask = pixel_mask(ccd)
    background = sep.Background(_contiguous(ccd.data), mask=mask)
    level = background.back()
    signal = _contiguous(ccd.data) - level
    sources, segments = sep.extract(
        signal, threshold_sigma, err=background.globalrms, minarea=min_area, segmentation_map=True
    )
    fwhm_pix = _typical_fwhm_pix(sources)
    radius_pix = APERTURE_RADIUS_FWHM * fwhm_pix
    table = QTable(
        _sky_positions(ccd, sources)
        | _photometry(signal, ccd, sources, segments, radius_pix)
        | _shapes(sources, level)
        | _quality(sources, segments, mask)
    )
    table.sort("flux", reverse=True)
    table.add_column(np.arange(1, len(table) + 1, dtype=np.int64), name="source", index=0)
    table.meta = {
        "threshold_sigma": float(threshold_sigma),
        "min_area_pix": int(min_area),
        "background_adu": float(background.globalback),
        "background_rms_adu": float(background.globalrms),
        "fwhm_pix": fwhm_pix,
        "aperture_radius_pix": radius_pix,
    } | {card: ccd.meta[card] for card in HEADER_CARDS if ccd.meta.get(card, "") != ""}
    return table


def _sky_positions(ccd: CCDData, sources: NDArray[np.void]) -> dict[str, u.Quantity]:
    x, y = sources["x"], sources["y"]
    columns = {"x": x * u.pix, "y": y * u.pix}
    if ccd.wcs is not None and ccd.wcs.has_celestial:
        position = ccd.wcs.celestial.pixel_to_world(x, y).icrs
        columns |= {"ra": position.ra.to(u.deg), "dec": position.dec.to(u.deg)}
    return {name: u.Quantity(value) for name, value in columns.items()}


def _photometry(
    signal: NDArray[np.float32],
    ccd: CCDData,
    sources: NDArray[np.void],
    segments: NDArray[np.int32],
    radius_pix: float,
) -> dict[str, u.Quantity]:
    """Aperture photometry; pixels of neighbouring sources are replaced by the mean of the others."""
    error = _contiguous(ccd.uncertainty.array)
    numbers = np.arange(1, len(sources) + 1, dtype=np.int32)
    flux, flux_error, _ = sep.sum_circle(
        signal, sources["x"], sources["y"], radius_pix, err=error, segmap=segments, seg_id=numbers
    )
    return {"flux": flux * u.adu, "flux_error": flux_error * u.adu}


def _shapes(sources: NDArray[np.void], level: NDArray[np.float32]) -> dict[str, u.Quantity]:
    a, b = sources["a"], sources["b"]
    rows = np.clip(np.rint(sources["y"]).astype(int), 0, level.shape[0] - 1)
    columns = np.clip(np.rint(sources["x"]).astype(int), 0, level.shape[1] - 1)
    return {
        "peak": sources["peak"].astype(np.float64) * u.adu,
        "background": level[rows, columns].astype(np.float64) * u.adu,
        "fwhm": _fwhm_pix(sources) * u.pix,
        "a": a * u.pix,
        "b": b * u.pix,
        "theta": sources["theta"] * u.rad,
    }


def _quality(
    sources: NDArray[np.void], segments: NDArray[np.int32], mask: NDArray[np.bool_]
) -> dict[str, NDArray[np.integer]]:
    masked = np.bincount(segments[mask], minlength=len(sources) + 1)[1:]
    return {
        "area": sources["npix"].astype(np.int64),
        "masked": masked.astype(np.int64),
        "flags": sources["flag"].astype(np.int32),
    }


def _fwhm_pix(sources: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(2.0 * np.sqrt(np.log(2.0) * (sources["a"] ** 2 + sources["b"] ** 2)))


def _typical_fwhm_pix(sources: NDArray[np.void]) -> float:
    """Median of the brighter half: the wings of the fainter half are below the threshold."""
    if len(sources) == 0:
        return 0.0
    bright = sources["peak"] >= np.median(sources["peak"])
    return float(np.median(_fwhm_pix(sources[bright])))


def _contiguous(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give sep what it takes: native byte order, rows one after the other."""
    return np.ascontiguousarray(image, dtype=np.float32)
