"""Pixels of one HDU of a scanned file."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits

from quantumio.formats._arrays import owned
from quantumio.formats._fits_pixels import BITPIX, OFFSETS, PixelArray, is_pixel_dtype, pixels_from_file
from quantumio.formats._fits_scan import Hdu
from quantumio.formats._fits_write import primary_header
from quantumio.formats._guards import damaged

__all__ = ["image_of"]

_CODES: dict[tuple[float, float], str] = {
    (bitpix, OFFSETS.get(code, 0)): code for code, bitpix in BITPIX.items()
}


def image_of(data: memoryview, hdu: Hdu) -> PixelArray:
    """Return the pixels of an image HDU as a new native array.

    Unsigned integers and signed bytes come back as such. Other scaled pixels, and integers with BLANK,
    become floats (float32 for up to 16 bits) as astropy makes them.
    """
    code = None if hdu.is_compressed else _CODES.get((hdu.number("BITPIX"), hdu.number("BZERO", 0)))
    if code is None or hdu.number("BSCALE", 1) != 1 or _has_blank(hdu) or hdu.text("GROUPS") == "T":
        return _by_astropy(data, hdu)
    return pixels_from_file(data[hdu.data_start : hdu.stop], code, hdu.shape())


def _has_blank(hdu: Hdu) -> bool:
    return hdu.number("BITPIX") > 0 and hdu.text("BLANK") is not None


def _by_astropy(data: memoryview, hdu: Hdu) -> PixelArray:
    end = hdu.data_start + -(-(hdu.stop - hdu.data_start) // 2880) * 2880
    single = bytes(data[hdu.start : end])
    if hdu.text("XTENSION") is not None:
        single = primary_header([]) + single
    single = single.ljust(-(-len(single) // 2880) * 2880, b"\0")
    with fits.open(io.BytesIO(single), memmap=False, lazy_load_hdus=False, uint=True) as hdus:
        pixels = hdus[-1].data
        if not isinstance(pixels, np.ndarray):
            raise damaged("fits", "an image has no pixels")
        result = owned(np.asarray(pixels))
    if not is_pixel_dtype(result.dtype):
        raise damaged("fits", f"its pixels are {result.dtype}")
    return result
