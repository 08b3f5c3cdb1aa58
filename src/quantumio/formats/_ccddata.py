"""The parts that a CCDData is made of, and the one way in which it is made of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from astropy import units
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from attrs import field, frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._arrays import bulk
from quantumio.formats._fits_cards import Cards, cards_of, format_card, header_of
from quantumio.formats._fits_pixels import BITPIX, PixelArray, is_pixel_dtype
from quantumio.formats._fits_wcs import canonical_wcs, split_wcs, wcs_cards, without_wcs
from quantumio.ports import CopyArray

__all__ = ["UNCERTAINTIES", "Parts", "canonical_ccddata", "check_ccddata", "parse_unit", "parts_of"]

UNCERTAINTIES: dict[str, type[NDUncertainty]] = {
    kind.__name__: kind for kind in (StdDevUncertainty, VarianceUncertainty, InverseVariance)
}
"""Names as astropy writes them into the card UTYPE."""


@frozen(kw_only=True)
class Parts:
    """A canonical CCDData as texts and arrays, for formats.

    Attributes
    ----------
    data, mask, uncertainty, flags, psf
        Its arrays; the mask is of bool.
    uncertainty_type, uncertainty_unit
        Name in `UNCERTAINTIES`, and the text of a unit that does not follow from that of the data.
    unit
        Text that `parse_unit` reads.
    meta, wcs
        Its header and world coordinates as cards.
    """

    data: PixelArray
    unit: str
    meta: Cards
    wcs: Cards = field(factory=list)
    mask: PixelArray | None = None
    uncertainty: PixelArray | None = None
    uncertainty_type: str | None = None
    uncertainty_unit: str | None = None
    flags: PixelArray | None = None
    psf: PixelArray | None = None

    def assemble(self) -> CCDData:
        """Make the CCDData; it shares the arrays."""
        meta, wcs = split_wcs(self.meta + self.wcs, self.data.shape)
        return _assemble(
            self.data,
            unit=parse_unit(self.unit),
            meta=header_of(meta),
            wcs=wcs,
            mask=self.mask,
            uncertainty=self._uncertainty(),
            flags=self.flags,
            psf=self.psf,
        )

    def _uncertainty(self) -> NDUncertainty | None:
        if self.uncertainty is None:
            return None
        unit = None if self.uncertainty_unit is None else parse_unit(self.uncertainty_unit)
        return UNCERTAINTIES[self.uncertainty_type or ""](self.uncertainty, unit=unit, copy=False)


def _assemble(data: PixelArray, *, flags: PixelArray | None, **parts: Any) -> CCDData:
    result = CCDData(data, copy=False, **parts)
    if flags is not None:
        result.flags = flags
    return result


def parts_of(value: CCDData) -> Parts:
    """Return the parts of a canonical CCDData; arrays are shared."""
    uncertainty = value.uncertainty
    return Parts(
        data=value.data,
        unit=_unit_text(value.unit, "unit"),
        meta=cards_of(value.meta),
        wcs=[] if value.wcs is None else wcs_cards(value.wcs),
        mask=value.mask,
        uncertainty=None if uncertainty is None else uncertainty.array,
        uncertainty_type=None if uncertainty is None else type(uncertainty).__name__,
        uncertainty_unit=_own_unit(uncertainty, value.unit),
        flags=value.flags,
        psf=value.psf,
    )


def check_ccddata(value: object) -> CCDData:
    """Refuse what is no CCDData of arrays that FITS can hold; looks at types, shapes and dtypes alone.

    Raises
    ------
    InvalidInputError
        The message names the part.
    """
    if type(value) is not CCDData:  # a subclass would come back as a CCDData
        raise InvalidInputError(
            f"a CCDData dataset takes an astropy.nddata.CCDData, not {type(value).__qualname__}",
            hint="put CCDData(value, unit=...)",
            kind=ErrorKind.PYTHON_TYPE,
        )
    ccd: Any = value
    _check_pixels(ccd.data, "data", None)
    _check_mask(ccd.mask, ccd.data.shape)
    if ccd.uncertainty is not None:
        _check_uncertainty(ccd.uncertainty, ccd.data.shape)
    if ccd.flags is not None:
        _check_pixels(ccd.flags, "flags", ccd.data.shape)
    if ccd.psf is not None:
        _check_pixels(ccd.psf, "psf", None)
    return value


def _check_mask(mask: object, shape: tuple[int, ...]) -> None:
    if mask is None or mask is np.ma.nomask:
        return
    if not isinstance(mask, np.ndarray) or mask.dtype.kind != "b":
        raise _refused("mask", "is no array of bool", "put bits as flags, and mask != 0 as mask")
    if mask.shape != shape:
        raise _refused("mask", f"has the shape {mask.shape}, the data {shape}", "broadcast it")


def _check_uncertainty(uncertainty: Any, shape: tuple[int, ...]) -> None:
    if type(uncertainty) not in UNCERTAINTIES.values():
        raise _refused(
            "uncertainty", f"is a {type(uncertainty).__qualname__}", f"use {', '.join(UNCERTAINTIES)}"
        )
    _check_pixels(uncertainty.array, "uncertainty", shape)


def _check_pixels(array: object, part: str, shape: tuple[int, ...] | None) -> None:
    if type(array) is not np.ndarray and type(array) is not np.memmap:
        raise _refused(
            part, f"is a {type(array).__qualname__}, no numpy.ndarray", "compute it, or numpy.asarray(...)"
        )
    assert isinstance(array, np.ndarray)
    if not is_pixel_dtype(array.dtype):
        numbers = ", ".join(sorted(str(np.dtype(code)) for code in BITPIX))
        raise _refused(part, f"is of {array.dtype}", f"convert with .astype(...) to one of {numbers}")
    if array.ndim == 0:
        raise _refused(part, "is 0-d", "put a scalar in a Mapping, or reshape(1) it")
    if shape is not None and array.shape != shape:
        raise _refused(part, f"has the shape {array.shape}, the data {shape}", "broadcast it")


def _refused(part: str, what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"the {part} of the CCDData {what}", hint=hint, kind=ErrorKind.VALUE)


def canonical_ccddata(value: object, copy_array: CopyArray) -> CCDData:
    """Return the CCDData that every lossless format gives back.

    Raises
    ------
    InvalidInputError
        A part cannot be held; the message names it, or the keyword of the header.
    """
    ccd = check_ccddata(value)
    unit = _canonical_unit(ccd.unit, "unit")
    meta = cards_of(ccd.meta if ccd.meta is not None else {})
    if ccd.wcs is None:
        meta, wcs = split_wcs(meta, ccd.data.shape)
    else:
        wcs, added = canonical_wcs(ccd.wcs, meta, ccd.data.shape)
        meta = without_wcs(meta) + added
    return _assemble(
        bulk(ccd.data, copy_array),
        unit=unit,
        meta=header_of(meta),
        wcs=wcs,
        mask=None if ccd.mask is None or ccd.mask is np.ma.nomask else bulk(ccd.mask, copy_array),
        uncertainty=_canonical_uncertainty(ccd.uncertainty, unit, copy_array),
        flags=None if ccd.flags is None else bulk(ccd.flags, copy_array),
        psf=None if ccd.psf is None else bulk(ccd.psf, copy_array),
    )


def _canonical_uncertainty(
    uncertainty: NDUncertainty | None, unit: units.UnitBase, copy_array: CopyArray
) -> NDUncertainty | None:
    if uncertainty is None:
        return None
    own = _own_unit(uncertainty, unit)
    return type(uncertainty)(
        bulk(uncertainty.array, copy_array), unit=None if own is None else parse_unit(own), copy=False
    )


def _own_unit(uncertainty: NDUncertainty | None, unit: units.UnitBase) -> str | None:
    """Return the unit of an uncertainty if it does not follow from that of the data."""
    if uncertainty is None or uncertainty.unit is None:
        return None
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[type(uncertainty)]
    try:
        if uncertainty.unit == unit**power:
            return None
    except units.UnitsError:  # magnitudes have no square
        pass
    return _unit_text(uncertainty.unit, "uncertainty")


@functools.lru_cache(maxsize=256)  # images of one night have the same unit
def _canonical_unit(unit: object, part: str) -> units.UnitBase:
    return parse_unit(_unit_text(unit, part))


def _unit_text(unit: object, part: str) -> str:
    text = "" if unit is None else str(unit)
    try:
        readable = unit is not None and text.isascii() and parse_unit(text) == unit
        format_card("BUNIT", text)
    except (ValueError, TypeError):
        readable = False
    if not readable:
        raise _refused(part, f"has the unit {unit!r}, whose text astropy cannot read back", "convert it")
    return text


def parse_unit(text: str) -> units.UnitBase:
    """Read a unit as canonical values and FITS files have it; unknown words stay what they are."""
    plain = text.strip()
    if plain.lower() == "adu":
        return units.adu
    known = CCDData.known_invalid_fits_unit_strings.get(plain, plain)
    return units.Unit(known, parse_strict="silent")
