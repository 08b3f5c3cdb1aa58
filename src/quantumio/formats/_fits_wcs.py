"""World coordinates as header cards, and back (FITS standard 4.0, sections 8 and 9; SIP and TPV conventions).

A WCS is the cards that it is read from. One that is given as an object is written and read again before its
put returns; one that stands in a header is taken out of it only if it can be written and read as the same. So
none is accepted that a file does not give back.
"""

from __future__ import annotations

import logging
from copy import deepcopy

import numpy as np
from astropy.wcs import WCS, WCSCOMPARE_ANCILLARY, Sip, Wcsprm

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._fits_cards import Cards, cards_of, header_of
from quantumio.formats._fits_wcs_cards import (
    check_sizes,
    field_of,
    has_wcs,
    is_read,
    is_sip,
    wcs_cards,
    without_wcs,
)

__all__ = ["cards_of_wcs", "given_wcs", "split_wcs"]

_logger = logging.getLogger(__name__)

_HIGHEST_OF_TAN = 4
"""Projection parameters of TAN; those from here on are of its distortion, as SCAMP wrote it before TPV."""


def given_wcs(wcs: WCS, header: Cards) -> tuple[Cards, Cards]:
    """Return the cards of header and WCS from which a file gives back this WCS.

    It is the only one of the value: an alternate one becomes the primary one, and the header keeps no cards
    of another one. Date and place of the observation are cards of the header, which gets those that only the
    WCS has; and the WCS gets those that only the header has.

    Raises
    ------
    InvalidInputError
        FITS keywords alone cannot hold it, or the header says another date or place.
    """
    try:
        _check(wcs)
        copy = _settled(wcs.deepcopy())
        cards, observation = wcs_cards(copy.wcs, copy.sip)
        check_sizes(cards)
        kept = [card for card in without_wcs(header, cards) if not is_sip(card[0])]
        if not _is_read_back(copy.wcs, cards + kept):
            cards, kept = _joined(copy, cards, observation, without_wcs(header))
    except InvalidInputError:
        raise
    except Exception as error:  # wcslib's errors share no root
        raise _refused(f"an inconsistency ({str(error).strip()})", "repair it") from error
    return kept, cards


def _joined(wcs: WCS, cards: Cards, observation: Cards, header: Cards) -> tuple[Cards, Cards]:
    """Return the cards of a WCS, and of a header that does not have the same cards of the observation."""
    kept = header + _missing(observation, header, wcs_cards(_parameters(cards + header), None)[1])
    back = _parameters(cards + kept)
    canonical, said = wcs_cards(back, wcs.sip)
    _check_observation(observation, said)
    is_kept = set(cards) <= set(canonical) and _is_same_transformation(wcs.wcs, back)
    if not is_kept or not _is_read_back(back, canonical + kept):
        raise _refused("a part", "put WCS(wcs.to_header(relax=True)), if that is the same")
    return canonical, kept


def cards_of_wcs(wcs: WCS) -> Cards:
    """Return the cards of a canonical WCS, without those of the observation."""
    return wcs_cards(wcs.wcs, wcs.sip)[0]


def split_wcs(cards: Cards, shape: tuple[int, ...]) -> tuple[Cards, WCS | None]:
    """Return the cards that are no world coordinates, and the world coordinates.

    Without any (non-blank) CTYPE there are none and all cards stay. Those that astropy cannot read, or not
    write as the same, stay cards, too; that is logged.
    """
    if not has_wcs(cards):
        return cards, None
    try:
        check_sizes(cards)
        wcs = _read(cards)
        written = cards_of_wcs(wcs)
        kept = without_wcs(cards, written)
        if any(is_sip(keyword) for keyword, _ in kept) or not _is_read_back(wcs.wcs, written + kept):
            raise ValueError("they are not read as the same when written anew")
    except Exception as error:  # noqa: BLE001  # wcslib's errors share no root; the cards are kept
        _logger.warning("the WCS keywords stay in the header, they cannot be read: %s", error)
        return cards, None
    if wcs.naxis == len(shape):
        wcs.pixel_shape = shape[::-1]
    return kept, wcs


def _read(cards: Cards) -> WCS:
    wcs = WCS(header_of([card for card in cards if is_read(*card)]), fix=False, _do_set=False)
    _settled(wcs)
    if wcs.sip is not None:
        _check_sip(wcs.sip, wcs.wcs)
    return wcs


def _parameters(cards: Cards) -> Wcsprm:
    """Return what `_read` gives of a WCS, but for its SIP polynomials, in a tenth of the time."""
    used = (text for keyword, text in cards if is_read(keyword, text) and not is_sip(keyword))
    return _repaired(Wcsprm(header="".join(used).encode(), relax=True, warnings=False))


def _settled(wcs: WCS) -> WCS:
    """Make a WCS the primary one, in the units of the standard, with the one matrix that counts."""
    parameters = wcs.wcs
    if wcs.sip is not None:
        parameters.ctype = [name if name.endswith("-SIP") else f"{name}-SIP" for name in parameters.ctype]
    if parameters.has_pc() and parameters.has_cd():
        del parameters.cd
    if parameters.has_crota() and (parameters.has_pc() or parameters.has_cd()):
        del parameters.crota
    _repaired(parameters)
    return wcs


def _repaired(parameters: Wcsprm) -> Wcsprm:
    """Make what is not standard standard, as ``WCS(fix=True)`` does, but without warnings."""
    # warnings are no thread's own
    for _ in range(2):  # what is done in the second time is done in no third one
        parameters.alt = " "
        parameters.fix()
        parameters.set()
    return parameters


def _is_read_back(parameters: Wcsprm, cards: Cards) -> bool:
    """Whether this is what the cards are read as."""
    try:
        back = _parameters(cards)
    except Exception:  # noqa: BLE001  # wcslib's errors share no root
        return False
    return (
        _is_same_transformation(parameters, back)
        # wcslib's own text: all the rest, in 12 digits or more
        and parameters.to_header(relax=True) == back.to_header(relax=True)
        and _same(parameters, back, ("mjdobs", "mjdbeg", "mjdavg", "mjdend", "obsgeo"))
        and parameters.aux.hglt_obs == back.aux.hglt_obs
    )


def _is_same_transformation(one: Wcsprm, other: Wcsprm) -> bool:
    return one.compare(other, WCSCOMPARE_ANCILLARY) and _same(one, other, ("phi0", "theta0", "cel_offset"))


def _same(one: Wcsprm, other: Wcsprm, names: tuple[str, ...]) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in names)


def _missing(observation: Cards, header: Cards, seen: Cards) -> Cards:
    """Return the cards without which the header does not say the date and place of the WCS."""
    present = {keyword for keyword, _ in header}
    has_place = any(keyword.startswith("OBSGEO-") for keyword in present)
    said = {keyword: field_of(text) for keyword, text in seen}
    missing = [
        (keyword, text)
        for keyword, text in observation
        if keyword not in present
        and said.get(keyword) != field_of(text)
        and not (has_place and keyword.startswith("OBSGEO-"))  # it is said whole or not at all
    ]
    return cards_of(header_of(missing).copy())  # written as all cards of headers are


def _check_observation(observation: Cards, seen: Cards) -> None:
    own, said = _dates_and_places(observation), _dates_and_places(seen)
    for keyword, value in own.items():
        if said.get(keyword) != value:
            raise InvalidInputError(
                f"the WCS has {keyword} = {value}, the header {said.get(keyword)}: FITS has one for both",
                hint=f"remove {keyword} from the header, or let the WCS say the same",
                kind=ErrorKind.VALUE,
            )


def _dates_and_places(cards: Cards) -> dict[str, str]:
    """Return what cards of an observation say, in 12 digits, as many as wcslib writes."""
    fields = {keyword: field_of(text) for keyword, text in cards}
    if any(keyword.startswith(("DATE-", "MJD-")) for keyword in fields):
        fields.setdefault("TIMESYS", "UTC")
    # longitude, latitude and height follow from X, Y and Z
    return {keyword: _in_12_digits(value) for keyword, value in fields.items() if keyword not in _GEODETIC}


_GEODETIC = ("OBSGEO-L", "OBSGEO-B", "OBSGEO-H")


def _in_12_digits(value: str) -> str:
    try:
        return f"{float(value):.12G}"
    except ValueError:
        return value.upper()


def _check(wcs: WCS) -> None:
    if type(wcs) is not WCS:
        raise _refused(f"the type {type(wcs).__qualname__}", "put an astropy.wcs.WCS")
    if any(part is not None for part in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise _refused("a distortion by look-up table", "fit it with SIP or TPV")
    if wcs.wcs.tab:
        raise _refused("coordinates by look-up table (-TAB)", "approximate them by a projection")
    if not any(ctype.strip() for ctype in wcs.wcs.ctype):
        raise _refused("axes without types", "set wcs.wcs.ctype (LINEAR for a linear axis), or wcs=None")
    if wcs.preserve_units:
        raise _refused("units that are preserved", "make it without preserve_units")
    if wcs.pixel_bounds is not None:
        raise _refused("pixel bounds", "set wcs.pixel_bounds = None")
    if _is_scamp(wcs.wcs):
        raise _refused("PV parameters of a distortion with the projection TAN", "use the projection TPV")
    if wcs.sip is not None:
        _check_sip(wcs.sip, wcs.wcs)


def _is_scamp(parameters: Wcsprm) -> bool:
    """Whether astropy would read it as TPV (and a header with SIP polynomials, too, without these)."""
    highest = max((index for _, index, _ in parameters.get_pv()), default=0)
    return highest > _HIGHEST_OF_TAN and any(name.endswith("-TAN") for name in parameters.ctype)


def _check_sip(sip: Sip, parameters: Wcsprm) -> None:
    if parameters.naxis != 2:
        raise _refused(f"SIP polynomials and {parameters.naxis} axes", "use wcs.celestial")
    if "-TPV" in _repaired(deepcopy(parameters)).to_header(relax=True):  # its CTYPE says TAN then
        raise _refused("SIP polynomials and those of TPV", "use one of the two")
    if not np.array_equal(sip.crpix, parameters.crpix):
        raise _refused(f"SIP polynomials around another pixel ({sip.crpix}) than CRPIX", "make a new Sip")
    for matrix in (sip.a, sip.b, sip.ap, sip.bp):
        if matrix is not None and (len(matrix) < 3 or np.tril(matrix[:, ::-1], -1).any()):
            raise _refused("SIP polynomials that are not of the order 2 or more", "fill them up with zeros")


def _refused(what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"the WCS has {what}, which FITS keywords alone cannot hold", hint=hint, kind=ErrorKind.VALUE
    )
