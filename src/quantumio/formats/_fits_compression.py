"""Tile-compressed images, written by astropy (FITS standard 4.0, section 10)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping

from astropy.io import fits

from quantumio.errors import FormatError
from quantumio.formats._fits_cards import Cards, header_of
from quantumio.formats._fits_pixels import PixelArray
from quantumio.formats._fits_scan import BLOCK, Hdu, scan

__all__ = ["COMPRESSIONS", "check_compression", "compressed_hdu"]

COMPRESSIONS = ("none", "gzip", "rice")

_COLUMN = re.compile(r"(\d*)([PQBIJKED])")
_WIDTHS = {"P": 8, "Q": 16, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8}
_GZIP = b"\x1f\x8b\x08"


def check_compression(array: PixelArray, options: Mapping[str, object]) -> None:
    """Refuse pixels that the tile compression of the options does not take.

    Raises
    ------
    FormatError
        Rice compression takes integers of up to 32 bits, and floats (which it quantises).
    """
    if options.get("compression") == "rice" and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        raise FormatError(
            f"rice compression takes integers of up to 32 bits, not {array.dtype}",
            hint="use compression = 'gzip', or convert with .astype('int32')",
        )


def compressed_hdu(array: PixelArray, cards: Cards, compression: str, *, name: str | None) -> memoryview:
    """Return a tile-compressed image extension.

    ``gzip`` keeps every bit (GZIP_2, floats not quantised). ``rice`` keeps every bit of integers, and
    quantises floats to 1/16 of the noise, without dithering.
    """
    hdu = fits.CompImageHDU(
        array,
        header=header_of(cards),
        name=name,
        compression_type="GZIP_2" if compression == "gzip" else "RICE_1",
        quantize_level=0.0 if compression == "gzip" else 16.0,
        quantize_method=fits.hdu.compressed.NO_DITHER,
        dither_seed=1,  # unused without dithering; the default would be the clock
    )
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file, output_verify="exception")
    data = file.getbuffer()
    _remove_times(data, scan(data)[1])
    return data[BLOCK:]


def _remove_times(data: memoryview, hdu: Hdu) -> None:
    """Set the modification times in the headers of gzip streams (RFC 1952, section 2.3.1) to "none".

    Equal images must give equal files, whenever they are written.
    """
    for start in _streams(data, hdu):
        if data[start : start + 3] == _GZIP:
            data[start + 4 : start + 8] = bytes(4)


def _streams(data: memoryview, hdu: Hdu) -> Iterator[int]:
    """Yield where the compressed tiles begin: the descriptors of the table say it (section 7.3.5)."""
    width, rows = hdu.count("NAXIS1"), hdu.count("NAXIS2")
    heap = hdu.data_start + hdu.count("THEAP", width * rows)
    position = hdu.data_start
    for column in range(1, hdu.count("TFIELDS") + 1):
        match = _COLUMN.match(hdu.text(f"TFORM{column}") or "")
        assert match is not None
        half = _WIDTHS[match[2]] // 2
        if match[2] in "PQ":
            for row in range(position, position + rows * width, width):
                if any(data[row : row + half]):
                    yield heap + int.from_bytes(data[row + half : row + 2 * half], "big")
        position += int(match[1] or 1) * _WIDTHS[match[2]]
