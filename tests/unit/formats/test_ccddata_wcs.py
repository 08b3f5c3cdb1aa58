"""World coordinates of a CCDData: given back as they are, or refused at the put."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS, Sip
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from tests.unit.formats.wcs_headers import headers

TAN = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 359.123456789123,
    "CRVAL2": -45.5,
    "CRPIX1": 15.25,
    "CRPIX2": 20.0,
    "CDELT1": -1.2345678901234e-4,
    "CDELT2": 1.3e-4,
}
TPV = TAN | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
SIP = {"A_ORDER": 2, "A_2_0": 1.2345678901234567e-6, "B_ORDER": 2, "B_0_2": -2.5e-7}
NIGHT = "2025-06-24T03:16:00"


def header(*parts, **cards):
    return fits.Header([item for part in (*parts, cards) for item in part.items()])


def read(cards):
    """What astropy reads, without its warnings of what it mends or wonders at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(cards, fix=False, _do_set=False)
    wcs.wcs.fix()
    wcs.wcs.set()
    return wcs


def wcs_of(*parts, **cards):
    return read(header(*parts, **cards))


def ccd(wcs=None, meta=None, shape=(40, 30)):
    return CCDData(np.zeros(shape, "f4"), unit="adu", wcs=wcs, meta=meta)


def put(round_trip, value, format_name="fits"):
    """What is given back; the same as what the put keeps."""
    canonical, back = round_trip(value, "CCDData", format_name)
    assert back.meta.tostring() == canonical.meta.tostring()
    if canonical.wcs is None:
        assert back.wcs is None
    else:
        same_wcs(canonical.wcs, back.wcs)
    return back


def same_wcs(one, other):
    assert one.naxis == other.naxis
    pixels = [np.array([0.0, 3.0, 7.5, 29.0])] * one.naxis
    for a, b in zip(one.all_pix2world(*pixels, 0), other.all_pix2world(*pixels, 0), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=0)
    for name in (
        "dateobs",
        "mjdobs",
        "timesys",
        "radesys",
        "equinox",
        "mjdref",
        "obsgeo",
        "specsys",
        "restfrq",
    ):
        np.testing.assert_array_equal(getattr(one.wcs, name), getattr(other.wcs, name), err_msg=name)


def refused(formats, value, named):
    with pytest.raises(InvalidInputError, match=named) as caught:
        formats.delegate("CCDData").snapshot(value, np.copy)
    assert caught.value.kind is ErrorKind.VALUE
    assert caught.value.hint


@pytest.mark.parametrize(
    "card",
    [("XPOSURE", 30.0), ("TELAPSE", 31.0), ("TIMESYS", "UTC"), ("MJDREFI", 51544), ("JD-OBS", 2460850.6)],
)
def test_date_of_the_wcs_is_kept_beside_other_cards_of_time(round_trip, card):
    wcs = wcs_of(TAN)
    wcs.wcs.dateobs, wcs.wcs.mjdobs = NIGHT, 60850.136111111
    back = put(round_trip, ccd(wcs, fits.Header([card])))
    assert back.wcs.wcs.dateobs == back.meta["DATE-OBS"] == NIGHT
    assert back.wcs.wcs.mjdobs == back.meta["MJD-OBS"] == 60850.136111111
    assert back.meta[card[0]] == card[1]


@pytest.mark.parametrize("card", [{"DATE-OBS": NIGHT}, {"MJD-OBS": 60850.136111111}, {"JEPOCH": 2025.4}])
def test_header_that_says_the_date_of_the_wcs_gets_no_card(round_trip, card):
    back = put(round_trip, ccd(wcs_of(TAN, card), header(card, TAN)))
    assert dict(back.meta) == card
    same_wcs(wcs_of(TAN, card), back.wcs)


@pytest.mark.parametrize(
    ("card", "other", "named"),
    [
        ({"DATE-OBS": NIGHT}, {"DATE-OBS": "2020-01-01T00:00:00"}, "DATE-OBS = 2025.*2020-01-01"),
        ({"MJD-OBS": 60850.25}, {"MJD-OBS": 60850.26}, "60850.25.*60850.26"),
        ({"DATE-OBS": NIGHT}, {"TIMESYS": "TAI"}, "TIMESYS = UTC.*TAI"),
        ({"OBSGEO-X": 1e6, "OBSGEO-Y": 2e6, "OBSGEO-Z": 6e6}, {"OBSGEO-X": 3e6}, "OBSGEO-X"),
    ],
)
def test_header_that_says_another_date_or_place_than_the_wcs_is_refused(formats, card, other, named):
    refused(formats, ccd(wcs_of(TAN, card), header(other)), named)


def test_alternate_world_coordinates_alone_stay_in_the_header(round_trip):
    cards = {f"{keyword}A": value for keyword, value in TAN.items()}
    back = put(round_trip, ccd(meta=header(cards)))
    assert back.wcs is None
    assert dict(back.meta) == cards


def test_part_of_a_second_matrix_counts_for_nothing(round_trip):
    matrix = {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}
    back = put(round_trip, ccd(meta=header(TAN, matrix, {"CD1_1": 5.0, "OBJECT": "M 13"})))
    same_wcs(wcs_of(TAN, matrix), back.wcs)
    assert list(back.meta) == ["OBJECT"]


@pytest.mark.parametrize(
    "cards", [{"WCSAXES": 3, "PV1_1": 1.0}, {"WCSAXES": 3}, {"PV1_50": 3.0}, {"WCSAXES": 99}]
)
def test_malformed_tpv_stays_in_the_header(round_trip, caplog, cards):
    meta = header({"WCSAXES": 2} | cards, TPV, {"PV1_1": 1.0, "PV2_1": 1.0} | cards)
    back = put(round_trip, ccd(meta=meta))
    if back.wcs is None:
        assert dict(back.meta) == dict(meta)
        assert "stay in the header" in caplog.text
    else:
        same_wcs(read(meta), back.wcs)


def test_origin_of_times_stays_in_the_header(round_trip):
    cards = {"MJDREFI": 0, "MJDREFF": 0.0, "DATEREF": "1858-11-17"}
    for value in (ccd(meta=header(cards)), ccd(wcs_of(TAN), header(cards)), ccd(meta=header(TAN, cards))):
        assert dict(put(round_trip, value).meta) == cards


def test_cards_that_the_world_coordinates_do_not_take_stay_in_the_header(round_trip):
    cards = {"EQUINOX": "J2000", "A_DMAX": 3.5, "CRVAL1A": 3.0, "EPOCH": 2000.0}
    back = put(
        round_trip, ccd(meta=header(TAN, SIP, {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}, cards))
    )
    assert dict(back.meta) == cards
    np.testing.assert_array_equal(back.wcs.sip.a, [[0, 0, 0], [0, 0, 0], [SIP["A_2_0"], 0, 0]])


@pytest.mark.parametrize("cards", [{"A_3_0": 1e-9}, {"AP_ORDER": 1, "BP_ORDER": 1, "AP_1_0": 1e-9}])
def test_polynomials_that_astropy_does_not_read_stay_in_the_header(round_trip, cards):
    meta = header(TAN, SIP, cards)
    back = put(round_trip, ccd(meta=meta))
    assert back.wcs is None
    assert dict(back.meta) == dict(meta)


PV = {f"PV{axis}_{index}": 1e-3 for axis in (1, 2) for index in (1, 2, 5)}


@pytest.mark.parametrize("types", [TPV, TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}])
def test_polynomials_of_two_conventions_stay_in_the_header(round_trip, types):
    meta = header(types, PV, SIP)
    back = put(round_trip, ccd(meta=meta))
    assert back.wcs is None
    assert dict(back.meta) == dict(meta)


def test_frame_of_galactic_axes_stays_in_the_header(round_trip):
    galactic, frame = (
        TAN | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
        {"RADESYS": "FK5", "EQUINOX": 2000.0},
    )
    back = put(round_trip, ccd(meta=header(galactic, frame)))
    assert dict(back.meta) == frame
    assert dict(put(round_trip, back).meta) == frame


def other_pixel():
    wcs = wcs_of(TAN)
    a = np.zeros((3, 3))
    a[2, 0] = 1e-6
    wcs.sip = Sip(a, a, None, None, [1.0, 2.0])
    return wcs


def linear_sip():
    wcs = wcs_of(TAN)
    wcs.sip = Sip(np.eye(2), np.eye(2), None, None, wcs.wcs.crpix)
    return wcs


def two_distortions():
    wcs = wcs_of(TPV, {"PV1_1": 1.0, "PV2_1": 1.0})
    wcs.sip = wcs_of(TAN, SIP).sip
    return wcs


def scamp():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.set_pv([(1, 1, 1.0), (1, 7, 1e-3)])
    return wcs


def bounded():
    wcs = wcs_of(TAN)
    wcs.pixel_bounds = [(0, 5), (0, 5)]
    return wcs


def one_celestial_axis():
    wcs = WCS(naxis=1)
    wcs.wcs.ctype = ["RA---TAN"]
    return wcs


def not_finite():
    wcs = wcs_of(TAN)
    wcs.wcs.crval = [np.nan, 2]
    return wcs


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (other_pixel, "SIP.*CRPIX"),
        (linear_sip, "SIP.*order"),
        (two_distortions, "SIP.*TPV"),
        (scamp, "PV"),
        (bounded, "pixel bounds"),
        (not_finite, "WCS|CRVAL1"),
        (lambda: WCS(header(TAN, {"CUNIT1": "arcsec", "CUNIT2": "arcsec"}), preserve_units=True), "units"),
        (one_celestial_axis, "inconsistency"),
        (lambda: type("Mine", (WCS,), {})(header(TAN)), "Mine"),
    ],
)
def test_world_coordinates_that_fits_cannot_hold_are_refused_at_put(formats, make, named):
    refused(formats, ccd(make()), named)


ANCILLARY = [
    *("dateobs", "datebeg", "dateavg", "dateend", "mjdobs", "mjdbeg", "mjdavg", "mjdend", "jepoch", "bepoch"),
    *(
        "timesys",
        "timeunit",
        "timedel",
        "trefpos",
        "plephem",
        "tstart",
        "tstop",
        "telapse",
        "xposure",
        "obsgeo",
    ),
    *("radesys", "equinox", "specsys", "ssysobs", "ssyssrc", "velosys", "velangl", "zsource", "restfrq"),
    *("restwav", "name", "cname", "crder", "csyer"),
]


def holds(one, other):
    """Whether all that one WCS says is said by the other, and the coordinates are the same."""
    assert one.naxis == other.naxis
    pixels = [np.array([0.0, 3.0, 7.5, 29.0])] * one.naxis
    for a, b in zip(one.all_pix2world(*pixels, 0), other.all_pix2world(*pixels, 0), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=0)
    for name in ANCILLARY:
        own, said = getattr(one.wcs, name), getattr(other.wcs, name)
        if isinstance(own, str):
            assert own.upper() in ("", said.upper()), name
        else:
            for a, b in zip(np.atleast_1d(own), np.atleast_1d(said), strict=True):
                assert a in ("", b) or np.isnan(a), name
    aux = [line for line in str(one.wcs.aux).splitlines() if not line.endswith(":")]
    assert set(aux) <= set(str(other.wcs.aux).splitlines())


def astropy_reads(meta):
    try:
        wcs = read(meta)
    except Exception:  # noqa: BLE001  # wcslib's errors share no root
        return None
    return wcs if any(name.strip() for name in wcs.wcs.ctype) else None


def texts(meta):
    return [(card.keyword, repr(card.value).rstrip(" '"), card.comment) for card in meta.cards]


@given(headers())
def test_any_header_is_given_back_with_the_wcs_that_astropy_reads(round_trip, meta):
    expected = astropy_reads(meta)
    back = put(round_trip, ccd(meta=meta))
    if expected is None or back.wcs is None:  # what cannot be given back the same stays, whole
        assert back.wcs is None
        assert sorted(texts(back.meta)) == sorted(texts(meta))
    else:
        holds(expected, back.wcs)
        holds(back.wcs, expected)
        assert [card for card in texts(meta) if card in texts(back.meta)] == texts(back.meta)


@pytest.mark.parametrize("beside", ["its header", "another header", "no header"])
@given(st.data())
def test_any_wcs_is_given_back_beside_any_header_or_refused(round_trip, beside, data):
    source = data.draw(headers())
    wcs = astropy_reads(source)
    if wcs is None:
        return
    meta = source if beside == "its header" else fits.Header()
    if beside == "another header":
        meta = data.draw(headers())
    try:
        back = put(round_trip, ccd(wcs, meta))
    except InvalidInputError as error:
        refusal = "FITS has one for both" if beside == "another header" else "NULL error object"
        assert refusal in str(error)  # noqa: PT017  # wcslib cannot copy some WCS
        return
    holds(wcs, back.wcs)
    if beside == "its header":
        holds(back.wcs, wcs)
        assert [card for card in texts(meta) if card in texts(back.meta)] == texts(back.meta)
    with_one_more_look = put(round_trip, back)
    assert texts(with_one_more_look.meta) == texts(back.meta)
    holds(back.wcs, with_one_more_look.wcs)
