"""Storage class ``CCDData``: one image with what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.nddata import CCDData

from quantumio.formats._ccddata import canonical_ccddata, check_ccddata, snapshot_ccddata
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.formats._guards import refuse_component
from quantumio.ports import CopyArray

__all__ = ["CCDDataDelegate"]

_HEADER_CARD_BYTES = 80


class CCDDataDelegate(WholeValueDelegate):
    """Storage class ``CCDData``.

    Canonical: arrays in C order and native byte order with their dtypes (those that FITS has); a mask of
    bool; the header a `astropy.io.fits.Header` in the order of its cards, without those that describe the
    file and without those that the WCS is made of; the WCS by FITS keywords (SIP and TPV included); the unit
    as astropy reads its text. A header that holds world coordinates while ``wcs`` is None gives them, unless
    they could not be given back as the same: then they stay in the header. Dates and places are one for the
    WCS and its header: each gets those that only the other has; a WCS that contradicts its header is refused.
    """

    name = "CCDData"

    def check(self, value: object) -> None:
        """Take an `astropy.nddata.CCDData` of arrays that FITS can hold.

        Raises
        ------
        InvalidInputError
            The message names the part.
        """
        check_ccddata(value)

    def nbytes(self, value: object) -> int:
        """Size of its arrays and header."""
        assert isinstance(value, CCDData)
        nbytes: int = value.data.nbytes + _HEADER_CARD_BYTES * len(value.meta)
        for part in (value.mask, value.uncertainty, value.flags, value.psf):
            if part is not None:
                nbytes += (part.array if part is value.uncertainty else part).nbytes
        return nbytes

    def canonical(self, value: object, copy_array: CopyArray) -> CCDData:
        """Return a new CCDData.

        Raises
        ------
        InvalidInputError
            A part cannot be held; the message names it, or the keyword of the header.
        """
        return canonical_ccddata(value, copy_array)

    def snapshot(self, value: object, copy_array: CopyArray) -> CCDData:
        """Return what becomes the canonical CCDData when somebody looks at it; see `canonical`.

        Raises
        ------
        InvalidInputError
            A part cannot be held; the message names it, or the keyword of the header.
        """
        return snapshot_ccddata(value, copy_array)

    def arrays(self, value: object) -> Sequence[np.ndarray[Any, Any]]:
        """Return data, mask, uncertainty, flags and psf, as far as they are there."""
        assert isinstance(value, CCDData)
        uncertainty = None if value.uncertainty is None else value.uncertainty.array
        parts = (value.data, value.mask, uncertainty, value.flags, value.psf)
        return tuple(part for part in parts if isinstance(part, np.ndarray))

    def convert(self, value: object, form: str) -> object:
        """Return the value itself, or its data (``numpy``: without mask and unit)."""
        self.check_form(form)
        assert isinstance(value, CCDData)
        return value.data if form == "numpy" else value

    def component(self, value: object, name: str) -> object:
        """Return a part; None if the value does not have it.

        Raises
        ------
        InvalidInputError
            ``kind="component"``; lists the components there are.
        """
        components = self.storage_class.components
        if name not in components:
            raise refuse_component(self.name, name, tuple(components))
        return getattr(value, "data" if name == "image" else name)
