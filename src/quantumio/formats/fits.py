"""Format ``fits``: images with what belongs to them, plain arrays, and whole files (FITS standard 4.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from quantumio.errors import FormatError
from quantumio.formats._ccddata import UNCERTAINTIES, Parts, parts_of
from quantumio.formats._ccddata import image_of as image_of_ccddata
from quantumio.formats._fits_cards import STRUCTURAL, Cards, format_card
from quantumio.formats._fits_compression import COMPRESSIONS, check_compression, compressed_hdu
from quantumio.formats._fits_pixels import PixelArray, is_pixel_dtype
from quantumio.formats._fits_read import image_of
from quantumio.formats._fits_scan import Hdu, scan, unzipped
from quantumio.formats._fits_write import image_hdu, primary_header
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    damaged,
    decoding,
    encoding,
    refuse_columns,
)
from quantumio.formats._hdulist import read_hdulist, write_hdulist
from quantumio.ports import Buffer, Chunks

__all__ = ["FitsFormat"]

_OPTIONS = {"compression": COMPRESSIONS}
_MOST_AXES = 32


class FitsFormat:
    """Format ``fits``.

    Options: ``compression`` = ``"none"`` (default), ``"gzip"`` (tiles, every bit kept) or ``"rice"`` (tiles;
    integers keep every bit, floats are quantised to 1/16 of the noise, so it does not count as lossless).

    Files are laid out as `astropy.nddata.CCDData.write` does: image first, extensions MASK, UNCERT (with
    UTYPE), FLAGS and PSFIMAGE. Compressed files have the header in the primary HDU and unit, world
    coordinates and pixels in the next one.
    """

    name = "fits"
    extension = ".fits"
    endings = (".fits", ".fit", ".fts", ".fits.fz", ".fit.fz", ".fits.gz", ".fit.gz")
    storage_classes = frozenset({"CCDData", "HDUList", "NDArray"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return whether every bit is kept: not with ``rice``, which quantises floats."""
        return storage_class == "HDUList" or options.get("compression", "none") != "rice"

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse arrays of other number types, and options that do not fit.

        Raises
        ------
        FormatError
            FITS, or the compression, does not have this number type; an NDArray is 0-d.
        InvalidInputError
            There is no such option.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, _OPTIONS if storage_class != "HDUList" else {})
        if storage_class == "HDUList":
            return
        array = value if isinstance(value, np.ndarray) else image_of_ccddata(value)
        if not is_pixel_dtype(array.dtype):
            raise FormatError(
                f"FITS has no images of {array.dtype}",
                hint="store it as npy, or convert to integers of 8 to 64 bits, float32 or float64",
            )
        if not 0 < array.ndim <= _MOST_AXES:
            raise FormatError(
                f"FITS images have 1 to {_MOST_AXES} axes, not {array.ndim}", hint="store it as npy"
            )
        check_compression(array, options)

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return headers, and pixels as views of one big-endian copy.

        Raises
        ------
        FormatError
            FITS cannot hold it.
        """
        self.check(value, storage_class, options)
        compression = str(options.get("compression", "none"))
        with encoding(self.name, storage_class):
            if isinstance(value, fits.HDUList):
                return [write_hdulist(value)]
            if isinstance(value, np.ndarray):
                return _write([(None, value, [])], [], compression)
            return _write_ccddata(parts_of(value), compression)

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> object:
        """Read a file of this or another program, also one compressed by tiles or as a whole by gzip.

        A CCDData is the first image of the file with the extensions MASK, UNCERT, FLAGS and PSFIMAGE; the
        cards of the primary HDU are added to those of an image in an extension. Without BUNIT its unit is
        adu. Cards that do not follow the standard are kept as COMMENT.

        Raises
        ------
        FormatError
            ``kind="decode"``: it is no FITS file, damaged, cut off, or has no image.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        with decoding(self.name):
            if storage_class == "HDUList":
                return read_hdulist(data)
            view = unzipped(data)
            hdus = scan(view)
            image = _first_image(hdus)
            if storage_class == "NDArray":
                return image_of(view, hdus[image])
            return _read_ccddata(view, hdus, image).assemble()


def _write_ccddata(parts: Parts, compression: str) -> Chunks:
    images: list[tuple[str | None, PixelArray, Cards]] = [
        (None, parts.data, [format_card("BUNIT", parts.unit), *parts.wcs])
    ]
    if parts.mask is not None:
        images.append(("MASK", parts.mask.view(np.uint8), []))
    if parts.uncertainty is not None:
        cards = [format_card("UTYPE", parts.uncertainty_type)]
        if parts.uncertainty_unit is not None:
            cards.append(format_card("BUNIT", parts.uncertainty_unit))
        images.append(("UNCERT", parts.uncertainty, cards))
    if parts.flags is not None:
        images.append(("FLAGS", parts.flags, []))
    if parts.psf is not None:
        images.append(("PSFIMAGE", parts.psf, []))
    return _write(images, parts.meta, compression)


def _write(images: list[tuple[str | None, PixelArray, Cards]], meta: Cards, compression: str) -> Chunks:
    chunks: list[Buffer] = []
    if compression == "none":
        for name, array, cards in images:
            chunks.extend(image_hdu(array, cards if name else meta + cards, name=name))
        return chunks
    chunks.append(primary_header(meta))
    for name, array, cards in images:
        if array.size == 0:
            chunks.extend(image_hdu(array, cards, name=name or "IMAGE"))
        else:
            # only the image itself may lose bits: a quantised uncertainty of 0 would be another fact
            how = compression if name is None else "gzip"
            chunks.append(compressed_hdu(array, cards, how, name=name))
    return chunks


def _first_image(hdus: list[Hdu]) -> int:
    for index, hdu in enumerate(hdus):
        if hdu.is_image:
            return index
    raise damaged("fits", "it has no image")


def _read_ccddata(view: memoryview, hdus: list[Hdu], image: int) -> Parts:
    main = hdus[image]
    meta = _meta(main)
    if image > 0:
        present = {keyword for keyword, _ in meta}
        commentary = {"", "COMMENT", "HISTORY"}
        meta += [card for card in _meta(hdus[0]) if card[0] in commentary or card[0] not in present]
    unit = next((text for hdu in (main, hdus[0]) if (text := hdu.text("BUNIT")) is not None), "adu")
    data = image_of(view, main)
    named = {hdu.text("EXTNAME"): hdu for hdu in reversed(hdus[image + 1 :]) if hdu.is_image}
    planes: dict[str, Any] = {
        part: image_of(view, named[name])
        for part, name in (("mask", "MASK"), ("uncertainty", "UNCERT"), ("flags", "FLAGS"))
        if name in named
    }
    for part, array in planes.items():
        if array.shape != data.shape:
            raise damaged("fits", f"the {part} has the shape {array.shape}, the image {data.shape}")
    if "mask" in planes:
        planes["mask"] = planes["mask"] != 0
    if "uncertainty" in planes:
        planes["uncertainty_type"] = _uncertainty_type(named["UNCERT"])
        planes["uncertainty_unit"] = named["UNCERT"].text("BUNIT")
    psf = image_of(view, named["PSFIMAGE"]) if "PSFIMAGE" in named else None
    return Parts(data=data, unit=unit, meta=meta, psf=psf, **planes)


def _meta(hdu: Hdu) -> Cards:
    cards = [card for card in hdu.cards if not STRUCTURAL.fullmatch(card[0])]
    if hdu.text("EXTNAME") in ("COMPRESSED_IMAGE", "IMAGE"):
        cards = [card for card in cards if card[0] != "EXTNAME"]
    while cards and not cards[-1][1].strip():
        cards.pop()
    return cards


def _uncertainty_type(hdu: Hdu) -> str:
    name = hdu.text("UTYPE") or "StdDevUncertainty"  # as astropy reads files without the card
    if name not in UNCERTAINTIES:
        raise damaged("fits", f"UTYPE = {name!r} is no kind of uncertainty")
    return name
