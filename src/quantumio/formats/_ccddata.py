"""The parts that a CCDData is made of, and the one way in which it is made of them."""

from __future__ import annotations

import functools
from typing import Any, SupportsIndex

import numpy as np
from astropy import units
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from attrs import evolve, field, frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._arrays import bulk
from quantumio.formats._fits_cards import Cards, cards_of, format_card, header_of
from quantumio.formats._fits_pixels import BITPIX, PixelArray, is_pixel_dtype
from quantumio.formats._fits_wcs import cards_of_wcs, given_wcs, split_wcs
from quantumio.formats._fits_wcs_cards import has_wcs
from quantumio.ports import CopyArray

__all__ = [
    "UNCERTAINTIES",
    "Parts",
    "canonical_ccddata",
    "check_ccddata",
    "image_of",
    "parse_unit",
    "parts_of",
    "snapshot_ccddata",
]

UNCERTAINTIES: dict[str, type[NDUncertainty]] = {
    kind.__name__: kind for kind in (StdDevUncertainty, VarianceUncertainty, InverseVariance)
}
"""Names as astropy writes them into the card UTYPE."""


@frozen(kw_only=True)
class Parts:
    """A CCDData as texts and arrays, for formats.

    Attributes
    ----------
    data, mask, uncertainty, flags, psf
        Its arrays; the mask is of bool.
    uncertainty_type, uncertainty_unit
        Name in `UNCERTAINTIES`, and the text of a unit that does not follow from that of the data.
    unit
        Text that `parse_unit` reads.
    meta, wcs
        Its header and world coordinates as cards; those in the header may give the world coordinates.
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
        result = CCDData(
            self.data,
            unit=parse_unit(self.unit),
            meta=header_of(meta),
            wcs=wcs,
            mask=self.mask,
            uncertainty=self._uncertainty(),
            psf=self.psf,
            copy=False,
        )
        if self.flags is not None:
            result.flags = self.flags
        return result

    def with_arrays(self, copy_array: CopyArray) -> Parts:
        """Return the same with every array as ``copy_array`` gives it."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        copies: dict[str, Any] = {
            name: bulk(array, copy_array) for name, array in arrays.items() if array is not None
        }
        return evolve(self, **copies)

    def _uncertainty(self) -> NDUncertainty | None:
        if self.uncertainty is None:
            return None
        unit = None if self.uncertainty_unit is None else parse_unit(self.uncertainty_unit)
        return UNCERTAINTIES[self.uncertainty_type or ""](self.uncertainty, unit=unit, copy=False)


_ARRAYS = ("data", "mask", "uncertainty", "flags", "psf")


class _Unassembled(CCDData):  # type: ignore[misc]  # astropy's classes have no types
    """Parts that become a plain CCDData at the first look at it.

    Making the object and its WCS takes astropy longer than the copy of many an image. What is put is often
    written from its parts and never looked at.
    """

    @classmethod
    def of(cls, parts: Parts) -> _Unassembled:
        """Return one that has its parts and no attribute of a CCDData."""
        value = cls.__new__(cls)
        value.__dict__["unassembled"] = parts
        return value

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # astropy makes results by calling the class of an operand
        object.__setattr__(self, "__class__", CCDData)

    def __setattr__(self, name: str, value: object) -> None:
        if "unassembled" not in self.__dict__:  # being made
            super().__setattr__(name, value)
            return
        _ = self.wcs  # a look: what is set now is not to be made of the parts later
        setattr(self, name, value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        _ = self.wcs  # a look: others unpickle a CCDData of astropy
        reduced: str | tuple[Any, ...] = self.__reduce_ex__(protocol)
        return reduced

    def __getattr__(self, name: str) -> object:
        unassembled = self.__dict__.get("unassembled")
        if unassembled is not None:  # else another thread was quicker
            made = unassembled.assemble()
            self.__dict__.update(made.__dict__)
            if made.uncertainty is not None:
                made.uncertainty.parent_nddata = self  # it knows its image by a weak reference
            object.__setattr__(self, "__class__", CCDData)
            self.__dict__.pop("unassembled", None)
        return object.__getattribute__(self, name)


def _unassembled(value: object) -> Parts | None:
    """Return what a value will be made of that nobody has looked at yet."""
    return value.__dict__.get("unassembled") if isinstance(value, _Unassembled) else None


def image_of(value: CCDData) -> PixelArray:
    """Return the image alone, without a look at the rest."""
    unassembled = _unassembled(value)
    image: PixelArray = value.data if unassembled is None else unassembled.data
    return image


def parts_of(value: CCDData) -> Parts:
    """Return the parts of a canonical CCDData; arrays are shared."""
    parts = _unassembled(value)
    if parts is not None and not has_wcs(parts.meta):
        return parts
    uncertainty = value.uncertainty
    return Parts(
        data=value.data,
        unit=_unit_text(value.unit, "unit"),
        meta=cards_of(value.meta),
        wcs=[] if value.wcs is None else cards_of_wcs(value.wcs),
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
    parts = _unassembled(value) or _taken_apart(value, _as_is)
    return parts.with_arrays(copy_array).assemble()


def snapshot_ccddata(value: object, copy_array: CopyArray) -> CCDData:
    """Return what becomes `canonical_ccddata` at the first look, with the arrays as they are now.

    Raises
    ------
    InvalidInputError
        A part cannot be held; the message names it, or the keyword of the header.
    """
    return _Unassembled.of(_taken_apart(value, copy_array))


def _as_is(array: PixelArray) -> PixelArray:
    return array


def _taken_apart(value: object, copy_array: CopyArray) -> Parts:
    """Return the parts of a CCDData of somebody else."""
    ccd = check_ccddata(value)
    meta = cards_of(ccd.meta if ccd.meta is not None else {})
    wcs: Cards = []
    if ccd.wcs is not None:
        meta, wcs = given_wcs(ccd.wcs, meta)
    uncertainty = ccd.uncertainty
    return Parts(
        unit=_canonical_unit_text(ccd.unit),
        meta=meta,
        wcs=wcs,
        mask=None if ccd.mask is None or ccd.mask is np.ma.nomask else bulk(ccd.mask, copy_array),
        uncertainty=None if uncertainty is None else bulk(uncertainty.array, copy_array),
        uncertainty_type=None if uncertainty is None else type(uncertainty).__name__,
        uncertainty_unit=_own_unit(uncertainty, ccd.unit),
        flags=None if ccd.flags is None else bulk(ccd.flags, copy_array),
        psf=None if ccd.psf is None else bulk(ccd.psf, copy_array),
        data=bulk(ccd.data, copy_array),  # last: copying drives the interpreter out of the processor's caches
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
def _canonical_unit_text(unit: object) -> str:
    return _unit_text(unit, "unit")


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
