"""Cosmic rays, told from stars by their sharp edges.

The method is L.A.Cosmic: P. G. van Dokkum 2001, PASP 113, 1420. Charge that a particle leaves has edges
sharper than the point spread function allows, so it stands out in the Laplacian of the image; a star as
bright has a smooth profile and shows in the fine-structure image as well.
"""

import numpy as np
from astropy.nddata import CCDData
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

CONTRAST = 2.0
"""Least ratio of the Laplacian to the fine structure: the paper's f_lim for stars that are sampled well."""

NEIGHBOUR_FRACTION = 0.3
"""Pixels beside a cosmic ray are masked from this fraction of the threshold on; van Dokkum's sigfrac."""

MAX_ITERATIONS = 4
"""Masked pixels are filled and the search repeated, since thick tracks hide their inner pixels."""

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def find_cosmic_rays(ccd: CCDData, *, saturated: Mask | None = None, threshold_sigma: float = 5.0) -> Mask:
    """Find the pixels hit by cosmic rays.

    Parameters
    ----------
    ccd
        Calibrated image with a standard deviation as its uncertainty, in the same unit.
    saturated
        Saturated pixels; they and their surroundings within two pixels are left alone.
    threshold_sigma
        Least significance of the Laplacian, in standard deviations of the pixel.

    Returns
    -------
    numpy.ndarray
        bool, True where a cosmic ray was found.

    Notes
    -----
    Needs stars that are sampled well: a full width at half maximum of 2.5 pixels or more.
    """
    noise = np.asarray(ccd.uncertainty.array, dtype=np.float32)
    untouchable = np.zeros(noise.shape, dtype=bool) if saturated is None else _grow(_grow(saturated))
    data = np.asarray(ccd.data, dtype=np.float32)
    found = np.zeros(noise.shape, dtype=bool)
    for _ in range(MAX_ITERATIONS):
        new = _find_once(data, noise, threshold_sigma) & ~untouchable & ~found
        if not new.any():
            break
        found |= new
        data = fill_masked(data, found)
    return found


def reject_cosmic_rays(
    ccd: CCDData, *, saturated: Mask | None = None, threshold_sigma: float = 5.0
) -> CCDData:
    """Mask the cosmic rays of an image and fill their pixels from the good neighbours.

    Parameters
    ----------
    ccd, saturated, threshold_sigma
        As in `find_cosmic_rays`.

    Returns
    -------
    CCDData
        A new image; its mask is that of `ccd` or a cosmic ray.
    """
    mask = pixel_mask(ccd)
    found = find_cosmic_rays(ccd, saturated=saturated, threshold_sigma=threshold_sigma)
    return CCDData(
        fill_masked(ccd.data, found, mask),
        unit=ccd.unit,
        mask=mask | found,
        uncertainty=ccd.uncertainty,
        header=ccd.header.copy(),
        wcs=ccd.wcs,
    )


def pixel_mask(ccd: CCDData) -> Mask:
    """Tell which pixels of an image are masked.

    Parameters
    ----------
    ccd
        Image; without a mask no pixel is masked.

    Returns
    -------
    numpy.ndarray
        bool, of the image's shape.
    """
    return np.zeros(ccd.data.shape, dtype=bool) if ccd.mask is None else np.asarray(ccd.mask, dtype=bool)


def fill_masked(data: Image, fill: Mask, avoid: Mask | None = None) -> Image:
    """Replace pixels by the median of their good neighbours.

    Parameters
    ----------
    data
        Image (float32).
    fill
        Pixels to be replaced.
    avoid
        Further pixels that are not good, but keep their values.

    Returns
    -------
    numpy.ndarray
        A copy of `data`. The neighbourhood is 5 x 5 pixels, and 11 x 11 where the smaller one has no good
        pixel; where that has none either, the median of all good pixels.
    """
    filled = np.array(data, dtype=np.float32)
    good = np.where(fill if avoid is None else fill | avoid, np.float32(np.nan), filled)
    rows, columns = np.nonzero(fill)
    for size in (5, 11):
        values = _window_median(good, rows, columns, size)
        known = np.isfinite(values)
        filled[rows[known], columns[known]] = values[known]
        rows, columns = rows[~known], columns[~known]
    if rows.size:
        filled[rows, columns] = np.nanmedian(good) if np.isfinite(good).any() else 0.0
    return filled


def _find_once(data: Image, noise: Image, threshold_sigma: float) -> Mask:
    """One pass of L.A.Cosmic; medians are taken at the candidate pixels only."""
    significance = _laplacian(data) / (2.0 * noise)
    found = np.zeros(data.shape, dtype=bool)
    rows, columns = np.nonzero(significance > threshold_sigma)
    sharpness = _sharpness(significance, rows, columns)
    sharp = sharpness > threshold_sigma
    rows, columns, sharpness = rows[sharp], columns[sharp], sharpness[sharp]
    smooth = _median_of_nine(data)
    structure = smooth[rows, columns] - _window_median(smooth, rows, columns, 7)
    contrast = sharpness / np.maximum(structure / noise[rows, columns], 0.01)
    cosmic = contrast > CONTRAST
    found[rows[cosmic], columns[cosmic]] = True
    for limit in (threshold_sigma, NEIGHBOUR_FRACTION * threshold_sigma):
        found |= _sharp_neighbours(found, significance, limit)
    return found


def _sharp_neighbours(found: Mask, significance: Image, limit: float) -> Mask:
    neighbours = np.zeros_like(found)
    rows, columns = np.nonzero(_grow(found) & ~found & (significance > limit))
    sharp = _sharpness(significance, rows, columns) > limit
    neighbours[rows[sharp], columns[sharp]] = True
    return neighbours


def _sharpness(significance: Image, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Image:
    """Significance less its median over 5 x 5 pixels, which removes extended objects (S' of the paper)."""
    return significance[rows, columns] - _window_median(significance, rows, columns, 5)


def _laplacian(data: Image) -> Image:
    """Laplacian of the image sampled twice as fine, negative parts cut, averaged back to pixels.

    Each quarter of a pixel has two neighbours of its own pixel's value, one beside and one above or below.
    """
    padded = np.pad(data, 1, mode="edge")
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    below, above = padded[:-2, 1:-1], padded[2:, 1:-1]
    total = np.zeros_like(data)
    for beside in (left, right):
        for over in (below, above):
            total += np.maximum(2.0 * data - beside - over, 0.0)
    return total / 4.0


def _window_median(image: Image, rows: NDArray[np.intp], columns: NDArray[np.intp], size: int) -> Image:
    """Median over size x size pixels around each named pixel; NaN pixels do not count."""
    if rows.size == 0:
        return np.empty(0, dtype=np.float32)
    padded = np.pad(image, size // 2, mode="reflect")
    values = sliding_window_view(padded, (size, size))[rows, columns].reshape(rows.size, -1)
    values = np.sort(values, axis=1)  # NaN last
    number = np.count_nonzero(np.isfinite(values), axis=1)
    each = np.arange(rows.size)
    lower, upper = values[each, np.maximum(number - 1, 0) // 2], values[each, number // 2]
    return np.asarray((lower + upper) / 2.0, dtype=np.float32)


def _median_of_nine(image: Image) -> Image:
    """Median over 3 x 3 pixels, by Paeth's exchange of columns: exact and without sorting each pixel."""
    padded = np.pad(image, 1, mode="edge")
    low, middle, high = _sort_three(padded[:-2], padded[1:-1], padded[2:])
    width = image.shape[1]

    def shifted(array: Image) -> tuple[Image, Image, Image]:
        return array[:, :width], array[:, 1 : width + 1], array[:, 2 : width + 2]

    largest_low = np.maximum.reduce(shifted(low))
    median_middle = _sort_three(*shifted(middle))[1]
    smallest_high = np.minimum.reduce(shifted(high))
    return _sort_three(largest_low, median_middle, smallest_high)[1]


def _sort_three(first: Image, second: Image, third: Image) -> tuple[Image, Image, Image]:
    smaller, larger = np.minimum(first, second), np.maximum(first, second)
    return (
        np.minimum(smaller, third),
        np.maximum(smaller, np.minimum(larger, third)),
        np.maximum(larger, third),
    )


def _grow(mask: Mask) -> Mask:
    """Add the eight neighbours of each pixel."""
    padded = np.pad(mask, 1)
    tall = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:])
