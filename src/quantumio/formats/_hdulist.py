"""A whole FITS file to and from astropy's HDUList."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits

from quantumio.formats._fits_scan import scan, unzipped
from quantumio.ports import Buffer

__all__ = ["read_hdulist", "write_hdulist"]


def write_hdulist(value: fits.HDUList) -> memoryview:
    """Return the file of an HDUList; dates and checksums are not added."""
    file = io.BytesIO()
    value.writeto(file, output_verify="exception", checksum=False)
    return file.getbuffer()


def read_hdulist(data: Buffer) -> fits.HDUList:
    """Return the HDUList of a file, all of it read.

    Raises
    ------
    FormatError
        The structure of the file is damaged.
    """
    view = unzipped(data)
    scan(view)
    hdus = fits.open(io.BytesIO(bytes(view)), memmap=False, lazy_load_hdus=False)
    for hdu in hdus:
        _load(hdu)
    return hdus


def _load(hdu: fits.hdu.base._BaseHDU) -> None:
    """Read the data now, so that no damage shows later."""
    data = hdu.data
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        for name in data.dtype.names:
            column = hdu.columns[name] if name in hdu.columns.names else None
            if column is not None and (
                isinstance(hdu, fits.TableHDU) or column.format[-1:] not in "L1BIJKEDCM"
            ):
                _ = data[name]  # texts of numbers, and arrays in the heap, are parsed on access
    elif isinstance(data, np.ndarray) and not data.flags.writeable:
        hdu.data = data.copy()
