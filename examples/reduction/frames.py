"""What the FITS files of a directory are: bias, dark, flat or science, when, and by which instrument.

Works on the headers as camera software writes them (MaxIm DL and its kin): IMAGETYP in words, DATE-OBS in
UTC at the beginning of the exposure, EXPTIME in seconds.
"""

import logging
import re
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.time import Time, TimeDelta
from astropy.wcs import WCS, FITSFixedWarning
from attrs import evolve, frozen

FITS_NAME = re.compile(r"\.(fits?|fts)(\.(fz|gz))?$", re.IGNORECASE)
"""Names of FITS files; ``.fz`` is tile-compressed (pixels in the second HDU), ``.gz`` is gzipped."""

ANCILLARY_NAME = re.compile(r"(^|[-_ ])(ancillary|focus|fov|test|pointing)([-_ .0-9]|$)", re.IGNORECASE)
"""Files, or their directories, that hold no frame of the programme: focus runs, fields of view, tests."""

_logger = logging.getLogger(__name__)


class FrameKind(StrEnum):
    """Purpose of an exposure."""

    BIAS = "bias"
    DARK = "dark"
    FLAT = "flat"
    SCIENCE = "science"


KIND_WORDS = {
    "bias": FrameKind.BIAS,
    "zero": FrameKind.BIAS,
    "dark": FrameKind.DARK,
    "flat": FrameKind.FLAT,
    "light": FrameKind.SCIENCE,
    "object": FrameKind.SCIENCE,
    "science": FrameKind.SCIENCE,
}
"""First word of IMAGETYP, in lower case, to what the frame is for."""


@frozen(kw_only=True)
class Frame:
    """One raw frame on disk."""

    path: Path
    kind: FrameKind
    instrument: str
    """Model designation as an identifier, as "ST8" for "SBIG ST-8 3 CCD Camera"."""
    exposure: int
    """Running number from 1, over all frames of the directory in the order of their beginnings."""
    exposure_time_s: float
    timespan: tuple[Time, Time]
    """Begin and end of the exposure in TAI; they are equal for a bias frame."""
    physical_filter: str | None
    """None for frames taken with the shutter closed."""


def find_frames(directory: Path) -> list[Frame]:
    """Classify the FITS files in a directory and the directories below it.

    Parameters
    ----------
    directory
        Where the night is.

    Returns
    -------
    list of Frame
        In the order of time, and of names for frames of the same second. Ancillary frames (`ANCILLARY_NAME`)
        and images of a kind that is not in `KIND_WORDS` are left out; the log says which.

    Raises
    ------
    FileNotFoundError
        There is no such directory, or no frame in it.
    OSError
        A file is named like a FITS file and is none.

    Notes
    -----
    Exposures are numbered by time as the names and headers of small cameras hold no number that is unique:
    bias, dark and science frames each count from 1. The numbers are stable as long as no earlier frame is
    added to the directory.
    """
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and FITS_NAME.search(path.name))
    frames = [frame for path in paths if (frame := _classify(path, directory)) is not None]
    if not frames:
        raise FileNotFoundError(f"no bias, dark, flat or science frame in {str(directory)!r}")
    frames.sort(key=lambda frame: (frame.timespan[0].isot, frame.path.name))
    return [evolve(frame, exposure=number) for number, frame in enumerate(frames, start=1)]


def read_frame(path: Path) -> CCDData:
    """Read one raw frame.

    Parameters
    ----------
    path
        FITS file with one image.

    Returns
    -------
    CCDData
        Pixels in ADU with native byte order, the header without its structural cards, and the WCS where the
        header has a celestial one.
    """
    with fits.open(path, memmap=False) as hdus:
        hdu = _image_hdu(hdus)
        data = np.asarray(hdu.data)
        header = hdu.header.copy(strip=True)
    wcs = _celestial_wcs(header)
    return CCDData(data.astype(data.dtype.newbyteorder("=")), unit=u.adu, header=header, wcs=wcs)


def _classify(path: Path, directory: Path) -> Frame | None:
    if any(ANCILLARY_NAME.search(part) for part in path.relative_to(directory).parts):
        _logger.info("%s is ancillary: ignored", path.name)
        return None
    try:
        with fits.open(path) as hdus:
            header = _image_hdu(hdus).header
    except OSError as error:
        raise OSError(f"{str(path)!r} is no FITS file with an image: {error}") from error
    word = re.match(r"[a-z]*", str(header.get("IMAGETYP", "")).strip().lower())
    kind = KIND_WORDS.get(word.group() if word else "")
    if kind is None or "DATE-OBS" not in header or "EXPTIME" not in header:
        _logger.info("%s lacks a known IMAGETYP, DATE-OBS or EXPTIME: ignored", path.name)
        return None
    return _frame(path, kind, header)


def _frame(path: Path, kind: FrameKind, header: fits.Header) -> Frame:
    exposure_time_s = float(header["EXPTIME"])
    begin = Time(header["DATE-OBS"], scale="utc").tai
    has_filter = kind in (FrameKind.FLAT, FrameKind.SCIENCE)
    return Frame(
        path=path,
        kind=kind,
        instrument=instrument_name(str(header.get("INSTRUME", ""))),
        exposure=0,
        exposure_time_s=exposure_time_s,
        timespan=(begin, begin + TimeDelta(exposure_time_s, format="sec")),
        physical_filter=str(header.get("FILTER", "")).strip() or "none" if has_filter else None,
    )


def instrument_name(words: str) -> str:
    """Make an identifier of the INSTRUME card.

    Parameters
    ----------
    words
        Text of the card.

    Returns
    -------
    str
        The model designation (letters and a number, as "ST8") where there is one, else all letters and
        digits; "unknown" for an empty card.

    Examples
    --------
    >>> instrument_name("SBIG ST-8 3 CCD Camera")
    'ST8'
    >>> instrument_name("Orion SSDSI")
    'OrionSSDSI'
    """
    designation = re.search(r"\b([A-Za-z]+)-?(\d+)\b", words)
    if designation is not None:
        return "".join(designation.groups())
    return re.sub(r"[^A-Za-z0-9]", "", words) or "unknown"


def _image_hdu(hdus: fits.HDUList) -> Any:
    """First HDU with an image: the second one of a tile-compressed file."""
    for hdu in hdus:
        if hdu.header.get("NAXIS", 0) == 2 and hdu.is_image:
            return hdu
    raise OSError("no HDU has two dimensions")


def _celestial_wcs(header: fits.Header) -> WCS | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    return wcs if wcs.has_celestial else None
