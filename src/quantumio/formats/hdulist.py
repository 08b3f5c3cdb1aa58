"""Storage class ``HDUList``: a whole FITS file as astropy has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.formats._hdulist import read_hdulist, write_hdulist
from quantumio.ports import CopyArray

__all__ = ["HDUListDelegate"]


class HDUListDelegate(WholeValueDelegate):
    """Storage class ``HDUList``.

    An HDUList has no snapshot but its file: it is encoded inside put. Canonical is what astropy reads from
    the file that it writes of the value; pixels are therefore big-endian, as astropy has them.
    """

    name = "HDUList"

    def check(self, value: object) -> None:
        """Take an `astropy.io.fits.HDUList` with an HDU.

        Raises
        ------
        InvalidInputError
            It is something else, or empty.
        """
        if not isinstance(value, fits.HDUList):
            raise InvalidInputError(
                f"an HDUList dataset takes an astropy.io.fits.HDUList, not {type(value).__qualname__}",
                hint="put fits.HDUList([fits.PrimaryHDU(), hdu])",
                kind=ErrorKind.PYTHON_TYPE,
            )
        if len(value) == 0:
            raise InvalidInputError(
                "the HDUList is empty", hint="give it a fits.PrimaryHDU()", kind=ErrorKind.VALUE
            )

    def has_snapshot(self, value: object) -> bool:
        """Return False: it is encoded inside put."""
        return False

    def nbytes(self, value: object) -> int:
        """Size of the data that its headers describe."""
        assert isinstance(value, fits.HDUList)
        return sum(int(hdu.size) + len(hdu.header) * 80 for hdu in value)

    def canonical(self, value: object, copy_array: CopyArray) -> fits.HDUList:
        """Return the HDUList that is read from the file of the value.

        Raises
        ------
        InvalidInputError
            astropy cannot write it.
        """
        self.check(value)
        assert isinstance(value, fits.HDUList)
        try:
            data = write_hdulist(value)
        except MemoryError:
            raise
        except Exception as error:
            raise InvalidInputError(
                f"astropy cannot write this HDUList: {' '.join(str(error).split())[:200]}",
                hint="repair it by value.verify('fix')",
                kind=ErrorKind.VALUE,
            ) from error
        return read_hdulist(data)

    def arrays(self, value: object) -> Sequence[np.ndarray[Any, Any]]:
        """Return the images and the records of tables."""
        assert isinstance(value, fits.HDUList)
        return tuple(np.asarray(hdu.data).view(np.ndarray) for hdu in value if hdu.data is not None)
