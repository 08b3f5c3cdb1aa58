"""HDUs as chunks: headers from cards, and pixels as views."""

from __future__ import annotations

from quantumio.formats._fits_cards import Cards, format_card
from quantumio.formats._fits_pixels import BITPIX, OFFSETS, PixelArray, pixels_to_file
from quantumio.formats._fits_scan import BLOCK
from quantumio.ports import Buffer

__all__ = ["image_hdu", "primary_header"]

_END = "END".ljust(80)


def primary_header(cards: Cards) -> bytes:
    """Return a primary HDU without data."""
    structure = [
        format_card("SIMPLE", True, "conforms to FITS standard"),
        format_card("BITPIX", 8, "array data type"),
        format_card("NAXIS", 0, "number of array dimensions"),
        format_card("EXTEND", True),
    ]
    return _header(structure + cards)


def image_hdu(array: PixelArray, cards: Cards, *, name: str | None = None) -> list[Buffer]:
    """Return an image HDU: the primary one, or an extension of this name."""
    code = array.dtype.str[1:]
    structure = [
        format_card("SIMPLE", True, "conforms to FITS standard")
        if name is None
        else format_card("XTENSION", "IMAGE", "Image extension"),
        format_card("BITPIX", BITPIX[code], "array data type"),
        format_card("NAXIS", array.ndim, "number of array dimensions"),
    ]
    structure.extend(
        format_card(f"NAXIS{axis}", length) for axis, length in enumerate(reversed(array.shape), 1)
    )
    if name is None:
        structure.append(format_card("EXTEND", True))
    else:
        structure.extend([format_card("PCOUNT", 0), format_card("GCOUNT", 1), format_card("EXTNAME", name)])
    if code in OFFSETS:
        structure.extend([format_card("BSCALE", 1), format_card("BZERO", OFFSETS[code])])
    pixels = pixels_to_file(array)
    return [_header(structure + cards), pixels, b"\0" * (-pixels.nbytes % BLOCK)]


def _header(cards: Cards) -> bytes:
    text = "".join(text for _, text in cards) + _END
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")
