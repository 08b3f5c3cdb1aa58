"""Damaged and cut-off bytes: a FormatError of kind ``decode`` or a value, never anything else."""

import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

from quantumio.errors import ErrorKind, FormatError

FLIPS = 80
MOST_MEMORY = 300 << 20


def image():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-1e-4, 1e-4]
    return CCDData(
        np.random.default_rng(1).normal(100, 5, (20, 30)).astype("f4"),
        unit="electron / s",
        mask=np.eye(20, 30, dtype=bool),
        uncertainty=StdDevUncertainty(np.ones((20, 30), "f4")),
        meta={"OBJECT": ("M 13", "target"), "LONG": "x" * 200, "HIERARCH ESO TEL": 1.5, "HISTORY": ["y"]},
        wcs=wcs,
    )


def table_file():
    columns = [
        fits.Column("ra", "D", array=np.array([1.0, 2.0])),
        fits.Column("list", "PJ()", array=np.array([np.array([1, 2]), np.array([3])], dtype=object)),
    ]
    text = fits.TableHDU.from_columns([fits.Column("x", "F8.3", array=np.array([1.5, 2.5]))])
    return fits.HDUList(
        [
            fits.PrimaryHDU(np.arange(4.0)),
            fits.BinTableHDU.from_columns(columns),
            text,
            fits.CompImageHDU(np.arange(400, dtype="i4").reshape(20, 20)),
        ]
    )


MAPPING = {"a": [1, 2.5, None, {"b": "text", "c": [True, "é"]}], "d": {"e": "x" * 50}}
CASES = {
    "fits": (image, "CCDData", "fits", {}),
    "fits-gzip": (image, "CCDData", "fits", {"compression": "gzip"}),
    "fits-rice": (image, "CCDData", "fits", {"compression": "rice"}),
    "fits-array": (lambda: np.arange(60, dtype="u2").reshape(6, 10), "NDArray", "fits", {}),
    "hdulist": (table_file, "HDUList", "fits", {}),
    "npy": (lambda: np.zeros(7, [("a", "i4"), ("b", "f8", (2,))]), "NDArray", "npy", {}),
    "json": (lambda: MAPPING, "Mapping", "json", {}),
    "yaml": (lambda: MAPPING, "Mapping", "yaml", {}),
    "text": (lambda: "Grüße " * 20, "Text", "text", {}),
    "asdf": (image, "CCDData", "asdf", {}),
    "asdf-array": (lambda: np.arange(60.0).reshape(6, 10), "NDArray", "asdf", {}),
    "asdf-mapping": (lambda: MAPPING, "Mapping", "asdf", {}),
}


@pytest.fixture(params=CASES)
def case(request, formats):
    """Bytes of a value, and a function that reads them or says why not."""
    if request.param.startswith("asdf"):
        pytest.importorskip("asdf")
    make, storage_class, format_name, options = CASES[request.param]
    delegate, format_ = formats.delegate(storage_class), formats.format(format_name)
    value = delegate.canonical(make(), np.array)
    data = b"".join(bytes(chunk) for chunk in format_.encode(value, storage_class, options))

    def read(damaged):
        try:
            return format_.decode(damaged, storage_class)
        except FormatError as error:
            return error if error.kind is ErrorKind.DECODE and error.hint else pytest.fail(repr(error))

    assert not isinstance(read(data), FormatError)
    return data, read


@pytest.mark.filterwarnings("error")
def test_cut_off_bytes_are_refused_or_read(case):
    data, read = case
    step = max(1, len(data) // 40)
    for length in [*range(0, len(data), step), len(data) - 1]:
        read(data[:length])


@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_are_refused_or_read(case):
    data, read = case
    rng = np.random.default_rng(1)
    tracemalloc.start()
    try:
        for _ in range(FLIPS):
            damaged = bytearray(data)
            for position in rng.integers(0, len(data), rng.integers(1, 4)):
                damaged[position] ^= 1 << int(rng.integers(0, 8))
            read(bytes(damaged))
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore")
def test_replaced_bytes_are_refused_or_read(case):
    data, read = case
    rng = np.random.default_rng(3)
    head = min(len(data), 6000)  # headers and trees, where the claims are
    for _ in range(FLIPS):
        damaged = bytearray(data)
        start = int(rng.integers(0, head))
        junk = rng.choice(list(b"0123456789 ='\"/.-+EDTF\0\xff{}[]&*!:,\n"), int(rng.integers(1, 12)))
        damaged[start : start + len(junk)] = bytes(junk.astype("u1"))
        read(bytes(damaged))


@pytest.mark.parametrize("name", ["fits", "npy", "json", "yaml", "asdf"])
def test_random_bytes_are_refused(formats, name):
    rng = np.random.default_rng(4)
    storage_class = {"fits": "CCDData", "npy": "NDArray"}.get(name, "Mapping")
    for length in (1, 10, 100, 5000):
        with pytest.raises(FormatError) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formats.format(name).decode(rng.bytes(length), storage_class)
        assert caught.value.kind is ErrorKind.DECODE


ARRAY = b"""#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
quantumio: {storage_class: NDArray, version: 1}
array: !core/ndarray-1.1.0
  source: SOURCE
  datatype: float64
  byteorder: little
  shape: SHAPE
...
"""


@pytest.mark.parametrize(
    "tree",
    [
        ARRAY.replace(b"SOURCE", b"/etc/passwd").replace(b"SHAPE", b"[10]"),
        ARRAY.replace(b"SOURCE", b"http://127.0.0.1:1/x.asdf").replace(b"SHAPE", b"[10]"),
        ARRAY.replace(b"SOURCE", b"0").replace(b"SHAPE", b"[1000000000000]"),
        ARRAY.replace(b"SOURCE", b"0").replace(b"SHAPE", b"[1000000000000]\n  strides: [0]"),
        ARRAY.replace(b"!core/ndarray-1.1.0", b"!!python/name:os.system").replace(b"SOURCE", b"0"),
        ARRAY.replace(b"!core/ndarray-1.1.0", b"!<tag:astropy.org:astropy/table/table-1.1.0>"),
        ARRAY.replace(b"source: SOURCE", b"$ref: other.asdf"),
        ARRAY.replace(b"SOURCE", b"[1, 2]").replace(b"SHAPE", b"[2]"),
    ],
)
def test_hostile_asdf_is_refused(formats, tree):
    pytest.importorskip("asdf")
    block = b"\xd3BLK" + (48).to_bytes(2, "big") + bytes(8) + 3 * (16).to_bytes(8, "big") + bytes(16)
    for data in (tree, tree + block + bytes(16), tree + block[:20]):
        with pytest.raises(FormatError) as caught:
            formats.format("asdf").decode(data, "NDArray")
        assert caught.value.kind is ErrorKind.DECODE
