"""FITS files as they are: whole HDULists, compressed files, real frames."""

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

from quantumio.errors import ErrorKind, FormatError, InvalidInputError


@pytest.fixture
def encode(formats):
    def run(value, storage_class="CCDData", **options):
        canonical = formats.delegate(storage_class).canonical(value, np.array)
        return b"".join(
            bytes(chunk) for chunk in formats.format("fits").encode(canonical, storage_class, options)
        )

    return run


@pytest.fixture
def decode(formats):
    return lambda data, storage_class="CCDData": formats.format("fits").decode(data, storage_class)


def hdulist():
    columns = [
        fits.Column("ra", "D", unit="deg", array=np.array([1.0, 2.0])),
        fits.Column("name", "5A", array=np.array(["a", "bb"])),
        fits.Column("list", "PJ()", array=np.array([np.array([1, 2]), np.array([3])], dtype=object)),
        fits.Column("good", "L", array=np.array([True, False])),
    ]
    rng = np.random.default_rng(3)
    return fits.HDUList(
        [
            fits.PrimaryHDU(header=fits.Header([("OBJECT", "M 13", "target"), ("HISTORY", "made")])),
            fits.ImageHDU(np.arange(12, dtype="u2").reshape(3, 4), name="SCI"),
            fits.ImageHDU(np.arange(3.0, dtype="f4"), name="ERR"),
            fits.BinTableHDU.from_columns(columns, name="CAT"),
            fits.CompImageHDU(rng.integers(0, 100, (20, 20), dtype="i2"), name="COMP"),
        ]
    )


def same_hdus(one, other):
    assert [hdu.name for hdu in one] == [hdu.name for hdu in other]
    for a, b in zip(one, other, strict=True):
        assert type(a) is type(b)
        assert repr(a.header) == repr(b.header)
        if a.data is None:
            assert b.data is None
        elif a.data.dtype.names is None:
            assert a.data.dtype == b.data.dtype
            np.testing.assert_array_equal(a.data, b.data)
        else:
            assert a.data.names == b.data.names
            for name in a.data.names:
                for x, y in zip(a.data[name], b.data[name], strict=True):
                    np.testing.assert_array_equal(x, y)


def test_hdulists_are_given_back_whole(round_trip):
    source = hdulist()
    canonical, back = round_trip(source, "HDUList", "fits")
    same_hdus(canonical, back)
    assert back["CAT"].data["list"][0].tolist() == [1, 2]
    assert back["SCI"].data.dtype == "uint16"
    assert back[0].header["OBJECT"] == "M 13"
    assert not {"DATE", "CHECKSUM"} & set(back[0].header)
    back["SCI"].data[0, 0] = 7  # the caller's own
    back["ERR"].data[0] = 7


def test_hdulists_are_encoded_inside_put(formats):
    delegate = formats.delegate("HDUList")
    assert not delegate.has_snapshot(hdulist())
    assert delegate.nbytes(hdulist()) > 800
    assert delegate.convert(source := hdulist(), "astropy") is source
    assert len(delegate.arrays(hdulist())) == 4


@pytest.mark.parametrize(
    ("value", "named"), [(fits.PrimaryHDU(), "not PrimaryHDU"), (fits.HDUList(), "empty")]
)
def test_what_is_no_file_is_refused(formats, value, named):
    with pytest.raises(InvalidInputError, match=named):
        formats.delegate("HDUList").check(value)


def test_hdulist_takes_no_compression(formats):
    with pytest.raises(InvalidInputError, match="no option 'compression'"):
        formats.format("fits").check(hdulist(), "HDUList", {"compression": "gzip"})


def test_hdulist_that_astropy_cannot_write_is_refused(formats):
    hdu = fits.PrimaryHDU(np.zeros((2, 2)))
    hdu.header.append(fits.Card.fromstring("BAD     = 'unclosed"))
    with pytest.raises(InvalidInputError, match="cannot write"):
        formats.delegate("HDUList").canonical(fits.HDUList([hdu]), np.array)


@pytest.mark.parametrize("compression", ["none", "gzip", "rice"])
def test_equal_values_give_equal_bytes_whenever_they_are_written(encode, monkeypatch, compression):
    rng = np.random.default_rng(5)
    image = rng.normal(100, 5, (30, 40)).astype("f4")
    image[3] = 1.0  # a row without noise, which rice leaves to gzip
    value = CCDData(image, unit="adu", mask=image > 105)
    first = encode(value, compression=compression)
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 1_000_000_000.0)
        patch.setattr("time.time_ns", lambda: 10**18)
        assert encode(value, compression=compression) == first


def test_pixels_are_chunks_without_another_copy(formats):
    value = formats.delegate("CCDData").canonical(
        CCDData(np.zeros((64, 64), "u1"), unit="adu", mask=np.zeros((64, 64), bool)), np.array
    )
    chunks = formats.format("fits").encode(value, "CCDData", {})
    for array in (value.data, value.mask):
        assert any(np.shares_memory(np.frombuffer(chunk, np.uint8), array) for chunk in chunks if len(chunk))


def test_primary_header_belongs_to_an_image_in_an_extension(decode):
    primary = fits.PrimaryHDU(header=fits.Header([("OBJECT", "M 13"), ("EXPTIME", 1.0)]))
    image = fits.ImageHDU(
        np.ones((2, 3), "f4"), header=fits.Header([("EXPTIME", 2.0), ("CCDNUM", 4)]), name="S4"
    )
    file = io.BytesIO()
    fits.HDUList([primary, image]).writeto(file)
    meta = decode(file.getvalue()).meta
    assert (meta["OBJECT"], meta["EXPTIME"], meta["CCDNUM"], meta["EXTNAME"]) == ("M 13", 2.0, 4, "S4")


def test_files_compressed_as_a_whole_are_read(encode, decode):
    value = CCDData(np.arange(12.0).reshape(3, 4), unit="adu")
    zipped = gzip.compress(encode(value))
    np.testing.assert_array_equal(decode(zipped).data, value.data)
    for damage in (zipped[:-20], gzip.compress(bytes(200 << 20))):
        with pytest.raises(FormatError):
            decode(damage)


def _header(*cards):
    return "".join(card.ljust(80) for card in (*cards, "END")).ljust(2880).encode()


IMAGE = ("SIMPLE  =                    T", "BITPIX  =                  -32", "NAXIS   =                    2")
TABLE = (
    "XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 8", "NAXIS2  = 1", "PCOUNT  = 0",
    "GCOUNT  = 1", "TFIELDS = 1", "TTYPE1  = 'COMPRESSED_DATA'", "TFORM1  = '1PB(0)'", "ZIMAGE  = T",
    "ZBITPIX = 16", "ZCMPTYPE= 'RICE_1'",
)  # fmt: skip
EMPTY = _header("SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SIMPLE",
        b"not FITS" * 1000,
        b"SIMPLE  " + b" " * 100_000,
        EMPTY,
        EMPTY + b"x" * 2880,
        _header(*IMAGE, "NAXIS1  = 1000000", "NAXIS2  = 1000000"),
        _header(*IMAGE, "NAXIS1  = 10", "NAXIS2  = -10"),
        _header(*IMAGE, "NAXIS1  = 'ten'", "NAXIS2  = 10"),
        _header(*IMAGE, "NAXIS1  = 10"),
        _header(*IMAGE[:2], "NAXIS   = 999"),
        _header(IMAGE[0], "BITPIX  = 7", "NAXIS   = 0"),
        _header(*IMAGE, f"NAXIS1  = {2**62}", f"NAXIS2  = {2**62}"),
        EMPTY + _header(*TABLE, "ZNAXIS  = 2", "ZNAXIS1 = 100000", "ZNAXIS2 = 100000", "ZTILE1  = 100000",
                        "ZTILE2  = 100000") + bytes(2880),
        EMPTY + _header(*TABLE, "ZNAXIS  = 2", "ZNAXIS1 = 10", "ZNAXIS2 = 10", "ZTILE1  = 0") + bytes(2880),
        EMPTY + _header(*TABLE, "ZNAXIS  = 1", "ZNAXIS1 = 10", "ZTILE1  = 10") + bytes(2880),
    ],
)  # fmt: skip
@pytest.mark.parametrize("storage_class", ["CCDData", "NDArray", "HDUList"])
def test_hostile_files_are_refused(decode, data, storage_class):
    if storage_class == "HDUList" and data == EMPTY:
        assert len(decode(data, storage_class)) == 1
        return
    with pytest.raises(FormatError) as caught:
        decode(data, storage_class)
    assert caught.value.kind is ErrorKind.DECODE
    assert caught.value.hint


@pytest.mark.parametrize(
    "cards",
    [
        ("WCSAXES = 100000", "CTYPE1  = 'RA---TAN'"),
        ("CTYPE1  = 'RA---TAN'", "CRPIX99999 = 1."),
        ("CTYPE1  = 'RA---TAN-SIP'", "CTYPE2  = 'DEC--TAN-SIP'", "A_ORDER = 30000", "B_ORDER = 30000"),
        ("CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CPDIS1  = 'LOOKUP'", "DP1     = 'EXTVER: 1.0'"),
        ("CTYPE1  = 'RA---TAB'", "CTYPE2  = 'DEC--TAB'", "PS1_0   = 'WCS-TAB'"),
        ("CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CDELT1  = 0.", "CDELT2  = 0."),
    ],
)
def test_hostile_world_coordinates_stay_in_the_header(decode, cards, caplog):
    data = _header(*IMAGE, "NAXIS1  = 2", "NAXIS2  = 2", *cards) + bytes(2880)
    value = decode(data)
    assert value.wcs is None
    assert value.meta["CTYPE1"].startswith("RA")
    assert "cannot be read" in caplog.text


# ---------------------------------------------------------------------------- real frames


def real_frames(test_data, pattern):
    found = sorted((test_data / "observing").rglob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {test_data}")
    return found


def test_real_raw_frames_are_read_as_astropy_reads_them(test_data, formats, decode, round_trip):
    for path in real_frames(test_data, "*.fit.fz")[:6]:
        value = decode(path.read_bytes())
        with fits.open(path) as hdus:
            image = next(hdu for hdu in hdus if hdu.header["NAXIS"] == 2)
            np.testing.assert_array_equal(value.data, image.data)
            assert value.data.dtype == "uint16"
            for card in image.header.copy(strip=True).cards:
                if card.keyword not in ("", "COMMENT", "HISTORY", "EXTNAME"):
                    assert value.meta[card.keyword] == card.value
        canonical, back = round_trip(value, "CCDData", "fits", {"compression": "rice"})
        np.testing.assert_array_equal(back.data, value.data)
        assert repr(back.meta) == repr(canonical.meta)
        assert [c.value for c in canonical.meta.cards] == [c.value for c in value.meta.cards]


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("format_name", ["fits", "asdf"])
def test_real_calibrated_frames_keep_their_world_coordinates(test_data, decode, round_trip, format_name):
    for path in real_frames(test_data, "*_ooi_*_ls9.S4.fits")[:6]:
        with fits.open(path) as hdus:
            header = hdus[0].header + hdus[1].header
            wcs, pixels = WCS(hdus[1].header), hdus[1].data.astype("f4")
        value = decode(path.read_bytes())
        canonical, back = round_trip(value, "CCDData", format_name)
        np.testing.assert_array_equal(back.data, pixels)
        assert back.data.dtype == "float32"
        grid = np.array([0.0, 50.0, 99.0])
        expected = wcs.all_pix2world(grid, grid[::-1], 0)
        for result in (value.wcs, canonical.wcs, back.wcs):
            np.testing.assert_allclose(result.all_pix2world(grid, grid[::-1], 0), expected, rtol=0, atol=1e-9)
        assert repr(back.meta) == repr(canonical.meta)
        assert back.meta["FILTER"] == header["FILTER"]


def test_every_real_fits_file_is_read_or_refused_with_a_reason(test_data, decode):
    read = 0
    for path in real_frames(test_data, "*.fits*"):
        if path.stat().st_size < 4 << 20:
            try:
                decode(path.read_bytes())
            except FormatError as error:
                assert "no image" in str(error)  # noqa: PT017
            else:
                read += 1
    assert read > 10
