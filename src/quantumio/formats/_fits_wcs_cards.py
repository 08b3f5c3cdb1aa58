"""Which header cards are world coordinates, and the cards of a WCS with every digit of its numbers."""

from __future__ import annotations

import re

import numpy as np
from astropy.wcs import Sip, Wcsprm

from quantumio.formats._fits_cards import Cards, format_card

__all__ = ["check_sizes", "field_of", "has_wcs", "is_read", "is_sip", "wcs_cards", "without_wcs"]

_TEXTS = re.compile(r"WCSNAME|(?:CTYPE|CUNIT|CNAME)\d+|PS\d+_\d+|RADESYS|RADECSYS|SPECSYS|SSYSOBS|SSYSSRC")
_NUMBERS = re.compile(
    r"WCSAXES|(?:CRPIX|CRVAL|CDELT|CROTA|CRDER|CSYER|CZPHS|CPERI|PROJP)\d+|(?:PC|CD)0*\d+_0*\d+"
    r"|(?:PC|CD)\d{6}|PV\d+_\d+|LONPOLE|LATPOLE|EQUINOX|VELOSYS|ZSOURCE|RESTFRQ|RESTFREQ|RESTWAV|VELANGL"
)
"""Keywords that world coordinates are made of: a value with a WCS does not have them in its header."""

_SIP = re.compile(r"(?:A|B|AP|BP)_(?:ORDER|\d+_\d+)")

_OBSERVATION = re.compile(
    r"(?:DATE|MJD)-(?:OBS|BEG|AVG|END)|DATEREF|MJDREF[IF]?|[JB]EPOCH|TSTART|TSTOP|TELAPSE|XPOSURE"
    r"|TIME(?:SYS|UNIT|OFFS|DEL|PIXR)|TIM[RS](?:D|Y)ER|TREF(?:POS|DIR)|PLEPHEM|OBSGEO-.|OBSORBIT|EPOCH|VELREF"
    r"|[ABC]_RADIUS|RSUN_REF|DSUN_OBS|(?:CR|HG)L[NT]_OBS|BL[AO][NT]_OBS|BDIS_OBS"
)
"""Keywords of the header that world coordinates also read."""

_MATRIX = re.compile(r"(?:PC|CD)\d+(?:_\d+)?|CROTA\d+")
_RENAMED = re.compile(r"RADECSYS|RESTFREQ|PROJP\d+")
_TABLES = re.compile(r"(?:CPDIS|CQDIS|D2IMDIS|DP|DQ|D2IM|DVERR)\d+(?:\..+)?")
_OF_AXIS = re.compile(r"(CRPIX|CRVAL|CRDER|CSYER|CZPHS|CPERI|CDELT|PC|PV)(\d+)(?:_(\d+))?")
_LATITUDE = "HGLT_OBS"
_SKIPPED = ("", "COMMENT", _LATITUDE, "CRLT_OBS")  # the two latitudes are the same number
_CARD = 80
_MOST_AXES = 16
_HIGHEST_ORDER = 20
_INDEX = re.compile(r"\d+")


def field_of(text: str) -> str:
    """Return the value of a card as text, without quotes."""
    return text[10:].split(" /", 1)[0].strip(" '")


def has_wcs(cards: Cards) -> bool:
    """Whether there is any (non-blank) CTYPE of the primary WCS."""
    return any(keyword[:5] == "CTYPE" and keyword[5:].isdigit() and field_of(text) for keyword, text in cards)


def is_read(keyword: str, text: str) -> bool:
    """Whether world coordinates read this card."""
    return _is_wcs_card(keyword, text) or _OBSERVATION.fullmatch(keyword) is not None


def _is_wcs_card(keyword: str, text: str) -> bool:
    """Whether world coordinates are made of this card: not of one with a value of another type."""
    if _TABLES.fullmatch(keyword):
        return True
    value = text[10:].lstrip()
    if value.startswith("'"):
        return _TEXTS.fullmatch(keyword) is not None
    return value[:1] not in ("", "/") and (_NUMBERS.fullmatch(keyword) is not None or is_sip(keyword))


def is_sip(keyword: str) -> bool:
    """Whether it is a keyword of SIP polynomials."""
    return _SIP.fullmatch(keyword) is not None


def without_wcs(cards: Cards, written: Cards | None = None) -> Cards:
    """Return the cards that no WCS is made of.

    Those stay, too, of which a WCS that is ``written`` so says nothing, such as RADESYS of galactic axes.
    """
    said = {keyword for keyword, _ in written or ()}
    return [card for card in cards if not (_is_wcs_card(*card) and (written is None or _says(said, *card)))]


def _says(written: set[str], keyword: str, text: str) -> bool:
    """Whether a WCS that is written as these keywords says what this card says."""
    return (
        keyword in written
        or _TABLES.fullmatch(keyword) is not None
        or _MATRIX.fullmatch(keyword) is not None
        or _RENAMED.fullmatch(keyword) is not None
        or keyword.endswith("_ORDER")
        or field_of(text).strip("-0.") == ""
    )


def check_sizes(cards: Cards) -> None:
    """Refuse tables, and numbers of axes and orders for which libraries would allocate without bound.

    Raises
    ------
    ValueError
        The message names the keyword.
    """
    for keyword, text in cards:
        if _is_wcs_card(keyword, text):
            _check_size(keyword, text)


def _check_size(keyword: str, text: str) -> None:
    if _TABLES.fullmatch(keyword):
        raise ValueError(f"{keyword}: distortion by look-up table")
    limit = _HIGHEST_ORDER if keyword.startswith(("A", "B")) else _MOST_AXES
    if keyword.endswith("_ORDER") or keyword == "WCSAXES":
        if not 0 <= float(field_of(text)) <= limit:
            raise ValueError(f"{keyword} = {field_of(text)}")
    elif keyword.startswith(("PV", "PS")):
        axis, parameter = (int(index) for index in _INDEX.findall(keyword))
        if axis > _MOST_AXES or parameter > 99:
            raise ValueError(f"parameter {keyword}")
    elif any(int(index) > limit for index in _INDEX.findall(keyword)):
        raise ValueError(f"{keyword}: more than {limit}")


def wcs_cards(parameters: Wcsprm, sip: Sip | None) -> tuple[Cards, Cards]:
    """Return the cards of a WCS: those that it is made of, and those of the observation.

    Raises
    ------
    InvalidInputError
        A number is not finite; the message names the keyword.
    """
    cards: Cards = []
    observation: Cards = []
    matrix = _matrix(parameters)
    text = parameters.to_header(relax=True)
    for start in range(0, len(text), _CARD):
        card = text[start : start + _CARD].ljust(_CARD)
        keyword = card[:8].rstrip()
        if keyword in _SKIPPED or _is_origin(keyword, card) or (matrix and keyword[:2] == "PC"):
            continue
        of = cards if _is_wcs_card(keyword, card) else observation
        of.append(_with_every_digit(keyword, card, parameters))
    observation += _left_out(parameters)
    return cards + matrix + _sip_cards(sip), observation


def _left_out(parameters: Wcsprm) -> Cards:
    """Return cards of places that wcslib does not write, or only beside others."""
    cards = [
        format_card(f"OBSGEO-{axis}", float(number), f"[{unit}] observatory {name}")
        for axis, number, unit, name in zip(
            "LBH",
            parameters.obsgeo[3:],
            ("deg", "deg", "m"),
            ("longitude", "latitude", "height"),
            strict=True,
        )
        if np.isfinite(number)
    ]
    if parameters.aux.hglt_obs is not None:
        cards.append(
            format_card(_LATITUDE, parameters.aux.hglt_obs, "[deg] Heliographic latitude of observer")
        )
    return cards


def _is_origin(keyword: str, text: str) -> bool:
    """Whether it is the default origin of MJD, which wcslib writes whether or not it was set."""
    return keyword.startswith(("MJDREF", "DATEREF")) and field_of(text) in ("0.0", "0", "1858-11-17")


def _with_every_digit(keyword: str, card: str, parameters: Wcsprm) -> tuple[str, str]:
    """Return a card of wcslib, which writes 12 to 15 digits, with the number that reads back as the same."""
    if card[10] == "'":
        return keyword, card
    number = _number(keyword, parameters)
    if number is None or number == float(field_of(card)):
        return keyword, card
    return format_card(keyword, number, card.partition(" / ")[2])


def _number(keyword: str, parameters: Wcsprm) -> float | None:
    """Return what wcslib has for a keyword; None if it does not tell (parameters of TPV)."""
    if match := _OF_AXIS.fullmatch(keyword):
        name, axis, index = match[1], int(match[2]), int(match[3] or 0)
        if name == "PV":
            return next((value for i, m, value in parameters.get_pv() if (i, m) == (axis, index)), None)
        if name == "PC":
            return float(parameters.get_pc()[axis - 1, index - 1])
        array = parameters.get_cdelt() if name == "CDELT" else getattr(parameters, name.lower())
        return float(array[axis - 1])
    if keyword.startswith("OBSGEO-"):
        return float(parameters.obsgeo["XYZLBH".index(keyword[-1])])
    if keyword.startswith("MJDREF") and keyword != "MJDREF":
        return float(parameters.mjdref["IF".index(keyword[-1])])
    name = keyword.replace("-", "").lower()
    number = getattr(parameters, name, getattr(parameters.aux, name, None))
    return number if isinstance(number, float) else None


def _matrix(parameters: Wcsprm) -> Cards:
    """Return the cards CDi_j or CROTAi: wcslib would write them as PCi_j, with CDELTi = 1 for CDi_j."""
    if parameters.has_pc():
        return []
    if parameters.has_cd():
        return [
            format_card(f"CD{row}_{column}", float(element), "Linear transformation matrix element")
            for row, elements in enumerate(parameters.cd, 1)
            for column, element in enumerate(elements, 1)
        ]
    return [
        format_card(f"CROTA{axis}", float(angle), "[deg] Coordinate rotation")
        for axis, angle in enumerate(parameters.crota, 1)
    ]


def _sip_cards(sip: Sip | None) -> Cards:
    if sip is None:
        return []
    cards: Cards = []
    for name, matrix in (("A", sip.a), ("B", sip.b), ("AP", sip.ap), ("BP", sip.bp)):
        if matrix is None:
            continue
        cards.append(format_card(f"{name}_ORDER", len(matrix) - 1, "SIP polynomial order"))
        cards += [
            format_card(f"{name}_{i}_{j}", float(matrix[i, j]), "SIP distortion coefficient")
            for i, j in np.argwhere(matrix)
        ]
    return cards
