"""World coordinates as header cards, and back (FITS standard 4.0, section 8; SIP and TPV conventions)."""

from __future__ import annotations

import logging
import re

import numpy as np
from astropy.wcs import WCS

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._fits_cards import Cards, format_card, header_of

__all__ = ["canonical_wcs", "has_wcs", "snapshot_wcs", "split_wcs", "wcs_cards", "without_wcs"]

_logger = logging.getLogger(__name__)

_POSITIONAL = re.compile(
    r"WCSAXES|WCSNAME|(?:CRPIX|CRVAL|CDELT|CTYPE|CUNIT|CROTA|CRDER|CSYER|CNAME)\d+|(?:PC|CD)0*\d+_0*\d+"
    r"|(?:PC|CD)\d{6}|P[VS]\d+_\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|SPECSYS|SSYSOBS|SSYSSRC"
    r"|VELOSYS|ZSOURCE|RESTFRQ|RESTFREQ|RESTWAV|VELANGL|(?:A|B|AP|BP)_(?:ORDER|\d+_\d+)"
)
"""Keywords that the world coordinates are made of; a value with a WCS does not have them in its header."""

_OBSERVATION = re.compile(
    r"(?:DATE|MJD)(?:-OBS|-BEG|-AVG|-END|REF|REFI|REFF)|TIMESYS|TREFPOS|TREFDIR|PLEPHEM|TIMEUNIT|OBSGEO-."
)
"""Keywords of the header that world coordinates also read."""

_TIME = re.compile(r"DATE-|MJD|TIMESYS|TREF|PLEPHEM|TSTART|TSTOP|[JB]EPOCH|XPOSURE|TELAPSE")
_INSTANTS = {"MJD-OBS": "mjdobs", "MJD-BEG": "mjdbeg", "MJD-AVG": "mjdavg", "MJD-END": "mjdend"}
_TABLES = re.compile(r"(?:CPDIS|CQDIS|D2IMDIS|DP|DQ|D2IM|DVERR)\d+(?:\..+)?")
_CARD = 80
_MOST_AXES = 16
_HIGHEST_ORDER = 20
_INDEX = re.compile(r"\d+")


def snapshot_wcs(wcs: WCS) -> WCS:
    """Return a copy that `canonical_wcs` takes, in the units of the standard (deg, Hz, m).

    Raises
    ------
    InvalidInputError
        FITS keywords alone cannot hold it.
    """
    _check(wcs)
    copy = wcs.deepcopy()
    copy.wcs.alt = " "
    try:
        copy.wcs.fix()
        copy.wcs.set()
    except Exception as error:
        raise _refused(f"an inconsistency ({str(error).strip()})", "repair it") from error
    return copy


def canonical_wcs(snapshot: WCS, meta: Cards, shape: tuple[int, ...]) -> tuple[WCS, Cards]:
    """Return the WCS that a file gives back, and the cards that it adds to the header.

    ``meta`` has no cards of another WCS. The WCS is the only one of the value (an alternate one becomes the
    primary one), its pixel shape that of the data. Date and place of the observation belong to the header: it
    keeps its own where it has them, and gets those of the WCS where it has none.
    """
    copy = snapshot.deepcopy()
    positional, others = _cards(copy)
    added = _added(copy, others, meta)
    complete = meta + added
    if not added and copy.sip is None and not copy.wcs.has_crota() and _agrees(others, complete):
        copy.pixel_bounds = None
    else:
        copy = _read(positional + complete)
    copy.pixel_shape = shape[::-1] if copy.naxis == len(shape) else None
    return copy, added


def wcs_cards(wcs: WCS) -> Cards:
    """Return the cards of a canonical WCS, without those of the observation."""
    return _cards(wcs.deepcopy())[0]


def _check(wcs: WCS) -> None:
    if any(part is not None for part in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise _refused("a distortion by look-up table", "fit it with SIP or TPV")
    if wcs.wcs.tab:
        raise _refused("coordinates by look-up table (-TAB)", "approximate them by a projection")
    if not any(ctype.strip() for ctype in wcs.wcs.ctype):
        raise _refused("axes without types", "set wcs.wcs.ctype (LINEAR for a linear axis), or wcs=None")
    if wcs.naxis > _MOST_AXES:
        raise _refused(f"{wcs.naxis} axes", f"use at most {_MOST_AXES}")


def _refused(what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"the WCS has {what}, which FITS keywords alone cannot hold", hint=hint, kind=ErrorKind.VALUE
    )


def _cards(wcs: WCS) -> tuple[Cards, Cards]:
    """Return the cards of a WCS: those that it is made of, and the others."""
    # wcslib's own text: fast, and in 14 digits or more; astropy adds the SIP polynomials to it
    text = wcs.wcs.to_header(relax=True) if wcs.sip is None else wcs.to_header(relax=True).tostring()
    positional: Cards = []
    others: Cards = []
    has_cd = wcs.wcs.has_cd() and not wcs.wcs.has_pc()  # with both, wcslib computes by PCi_j
    for start in range(0, len(text), _CARD):
        card = text[start : start + _CARD]
        keyword = card[:8].strip()
        if _TABLES.fullmatch(keyword):
            raise _refused("a distortion by look-up table", "fit it with SIP or TPV")
        if keyword in ("", "COMMENT", "HISTORY", "END") or (has_cd and keyword[:2] in ("PC", "CD")):
            continue
        (positional if _POSITIONAL.fullmatch(keyword) else others).append((keyword, card.ljust(_CARD)))
    if has_cd:
        # wcslib writes CDi_j as PCi_j with CDELTi = 1: keep the matrix that the user has
        positional.extend(_matrix(wcs.wcs.cd))
    return positional, others


def _matrix(matrix: np.ndarray) -> Cards:
    return [
        format_card(f"CD{row}_{column}", float(element), "Linear transformation matrix element")
        for row, elements in enumerate(matrix, 1)
        for column, element in enumerate(elements, 1)
    ]


def _added(wcs: WCS, others: Cards, meta: Cards) -> Cards:
    present = {keyword for keyword, _ in meta}
    has_time = any(_TIME.match(keyword) for keyword in present)
    added: Cards = []
    for keyword, text in others:
        if keyword in present or (has_time and _TIME.match(keyword)) or _is_origin(keyword, text):
            continue
        if keyword in _INSTANTS:
            # wcslib writes no more than 1 ms
            added.append(format_card(keyword, float(getattr(wcs.wcs, _INSTANTS[keyword])), "[d] MJD"))
        else:
            added.append((keyword, text))
    return added


def _is_origin(keyword: str, text: str) -> bool:
    """Whether it is the default origin of MJD, which wcslib writes whether or not it was set."""
    return keyword.startswith(("MJDREF", "DATEREF")) and _field(text) in ("0.0", "0", "1858-11-17")


def _agrees(others: Cards, meta: Cards) -> bool:
    """Whether a WCS read with this header would have the dates and places that it has."""
    own = {keyword: _field(text) for keyword, text in others}
    return all(own.get(keyword) == _field(text) for keyword, text in meta if _OBSERVATION.fullmatch(keyword))


def _field(text: str) -> str:
    return text[10:].split(" /", 1)[0].strip(" '")


def has_wcs(cards: Cards) -> bool:
    """Whether there is any (non-blank) CTYPE."""
    return any(_field(text) for keyword, text in cards if keyword.startswith("CTYPE"))


def split_wcs(cards: Cards, shape: tuple[int, ...]) -> tuple[Cards, WCS | None]:
    """Return the cards that are no world coordinates, and the world coordinates.

    Without any (non-blank) CTYPE there are none and all cards stay. Those that astropy cannot read stay
    cards, too; that is logged.
    """
    if not has_wcs(cards):
        return cards, None
    try:
        _check_sizes(cards)
        wcs = _read(cards)
    except Exception as error:  # noqa: BLE001  # wcslib's errors share no root; the cards are kept
        _logger.warning("the WCS keywords stay in the header, they cannot be read: %s", error)
        return cards, None
    if wcs.naxis == len(shape):
        wcs.pixel_shape = shape[::-1]
    return without_wcs(cards), wcs


def without_wcs(cards: Cards) -> Cards:
    """Return the cards that no WCS is made of, or that it brings by itself."""
    return [card for card in cards if not (_is_positional(card[0]) or _is_origin(*card))]


def _is_positional(keyword: str) -> bool:
    return _POSITIONAL.fullmatch(keyword) is not None or _TABLES.fullmatch(keyword) is not None


def _read(cards: Cards) -> WCS:
    used = [card for card in cards if _POSITIONAL.fullmatch(card[0]) or _OBSERVATION.fullmatch(card[0])]
    # fix=False and Wcsprm.fix: the same repairs without warnings, which are no thread's own
    wcs = WCS(header_of(used), fix=False)
    wcs.wcs.fix()
    wcs.wcs.set()
    return wcs


def _check_sizes(cards: Cards) -> None:
    """Refuse numbers of axes and orders for which libraries would allocate without bound."""
    for keyword, text in cards:
        if _TABLES.fullmatch(keyword):
            raise ValueError(f"{keyword}: distortion tables are not read")
        if _POSITIONAL.fullmatch(keyword):
            _check_size(keyword, text)


def _check_size(keyword: str, text: str) -> None:
    limit = _HIGHEST_ORDER if keyword.startswith(("A", "B")) else _MOST_AXES
    if keyword.endswith("_ORDER") or keyword == "WCSAXES":
        if not 0 <= float(_field(text)) <= limit:
            raise ValueError(f"{keyword} = {_field(text)}")
    elif keyword.startswith(("PV", "PS")):
        axis, parameter = (int(index) for index in _INDEX.findall(keyword))
        if axis > _MOST_AXES or parameter > 99:
            raise ValueError(keyword)
    elif any(int(index) > limit for index in _INDEX.findall(keyword)):
        raise ValueError(keyword)
