"""Tables for the tests of formats: strategies, and what "the same table" means."""

import string
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.table import Column, MaskedColumn, QTable
from astropy.time import Time, TimeDelta
from astropy.utils.masked import Masked
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantumio.formats._plain_table import take_apart

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
FLOATS = ["f2", "f4", "f8"]
UNITS = [u.m, u.s, u.deg, u.adu, u.mag, u.Jy / u.beam, u.electron / u.s, u.dimensionless_unscaled]

names = st.text(string.ascii_letters + string.digits + "_ -", min_size=1, max_size=8).map(
    lambda s: s.strip() or "x"
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
plain_texts = st.text(string.ascii_letters + string.digits + "äß'\",;", max_size=6).map(str.strip)


@st.composite
def masks(draw, shape):
    return draw(hnp.arrays(bool, shape))


@st.composite
def numbers(draw, rows, kinds=tuple(INTEGERS + FLOATS + ["?"]), axes=True):
    shape = (rows, *draw(st.sampled_from([(), (), (2,), (2, 3)] if axes else [()])))
    dtype = np.dtype(draw(st.sampled_from(kinds))).newbyteorder(draw(st.sampled_from("<>")))
    return draw(hnp.arrays(dtype, shape))


@st.composite
def text_arrays(draw, rows, values=texts):
    width = draw(st.integers(1, 8))
    return np.array(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=f"U{width}")


@st.composite
def byte_arrays(draw, rows):
    return np.array(draw(st.lists(st.binary(max_size=4), min_size=rows, max_size=rows)), dtype="S4")


@st.composite
def times(draw, rows):
    scale = draw(st.sampled_from(["utc", "tai", "tt", "tdb", "tcg", "tcb", "ut1"]))
    day = draw(hnp.arrays("f8", rows, elements=st.floats(40000, 70000)))
    rest = draw(hnp.arrays("f8", rows, elements=st.floats(-0.5, 0.5)))
    time = Time(day, rest, format="mjd", scale=scale, precision=draw(st.integers(0, 9)))
    formats = ["mjd", "jd", "iso", "isot", "unix", "jyear", "fits", "yday", "cxcsec", "gps"]
    time.format = draw(st.sampled_from(formats if scale == "utc" else ["mjd", "jd", "iso", "isot", "jyear"]))
    if draw(st.booleans()):
        time[draw(masks(rows))] = np.ma.masked
    return time


@st.composite
def coordinates(draw, rows):
    lon = draw(hnp.arrays("f8", rows, elements=st.floats(0, 359.9)))
    lat = draw(hnp.arrays("f8", rows, elements=st.floats(-90, 90)))
    frame = draw(st.sampled_from(["icrs", "fk5", "galactic", "fk4"]))
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more["distance"] = draw(hnp.arrays("f8", rows, elements=st.floats(1, 1e6))) * u.pc
    if frame == "icrs" and draw(st.booleans()):
        more["obstime"] = Time(np.full(rows, 60000.25), format="mjd")
    return SkyCoord(lon * u.deg, lat * u.deg, frame=frame, **more)


@st.composite
def columns(draw, rows, ecsv=False):
    kind = draw(
        st.sampled_from(
            [
                "number",
                "text",
                "masked",
                "quantity",
                "masked quantity",
                "time",
                "sky",
                "bytes",
                "delta",
                "masked text",
                "location",
                "log",
            ]
        )
    )
    if kind == "bytes" and ecsv:
        kind = "text"
    values = plain_texts if ecsv else texts
    match kind:
        case "number":
            return Column(draw(numbers(rows)))
        case "text":
            return Column(draw(text_arrays(rows, values)))
        case "bytes":
            return Column(draw(byte_arrays(rows)))
        case "masked":
            array = draw(numbers(rows, (*INTEGERS, "f4", "f8", "?")))  # numpy warns of masked 16-bit floats
            return MaskedColumn(array, mask=draw(masks(array.shape)))
        case "masked text":
            return MaskedColumn(draw(text_arrays(rows, values)), mask=draw(masks(rows)))
        case "quantity":
            array = draw(numbers(rows, tuple(INTEGERS + FLOATS)))
            return u.Quantity(array, draw(st.sampled_from(UNITS)), dtype=array.dtype)
        case "masked quantity":
            array = draw(numbers(rows, tuple(INTEGERS + FLOATS)))
            masked = Masked(array, mask=draw(masks(array.shape)))
            return u.Quantity(masked, draw(st.sampled_from(UNITS)), dtype=array.dtype, subok=True)
        case "time":
            return draw(times(rows))
        case "delta":
            return TimeDelta(
                draw(hnp.arrays("f8", rows, elements=st.floats(-1e5, 1e5))), format="sec", scale="tai"
            )
        case "location":
            return EarthLocation.from_geocentric(
                *draw(hnp.arrays("f8", (3, rows), elements=st.floats(1, 1e7))), unit="m"
            )
        case "log":
            return draw(hnp.arrays("f8", rows, elements=st.floats(0, 30))) * u.ABmag
        case _:
            return draw(coordinates(rows))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.binary(max_size=5),
    st.sampled_from(
        [
            np.float32(0.1),
            np.int16(3),
            np.bool_(True),
            1.5 * u.m,
            u.km / u.s,
            Time(60000.1, 1e-9, format="mjd"),
            [1.0, 2.0] * u.s,
            np.arange(6.0).reshape(2, 3),
            SkyCoord(1 * u.deg, 2 * u.deg),
        ]
    ),
)
metas = st.dictionaries(
    texts.filter(lambda key: not key.startswith("__")),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3) | st.tuples(inner, inner)
        ),
        max_leaves=5,
    ),
    max_size=3,
)


@st.composite
def astropy_tables(draw, ecsv=False):
    rows = draw(st.integers(0, 4))
    table = QTable()
    for name in draw(st.lists(names, min_size=1, max_size=4, unique_by=str.lower)):
        table[name] = column = draw(columns(rows, ecsv=ecsv))
        table[name].info.description = draw(st.none() | texts)
        if isinstance(column, Column):
            table[name].info.format = draw(st.sampled_from([None, "%s"]))
        table[name].info.meta = draw(metas)
    table.meta = draw(metas)
    return table


def same_arrays(left, right) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
        and (
            left.dtype.kind != "f"
            or np.array_equal(np.signbit(left), np.signbit(right))
            or bool(np.isnan(left).any())
        )
    )


def same_meta(left, right) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same_meta(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_meta, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, Time):
        return (left.jd1, left.jd2, left.scale, left.format) == (
            right.jd1,
            right.jd2,
            right.scale,
            right.format,
        )
    if isinstance(left, np.ndarray):
        unit = getattr(left, "unit", None) == getattr(right, "unit", None)
        return unit and same_arrays(np.asarray(left), np.asarray(right))
    return left.is_equivalent_frame(right) if isinstance(left, SkyCoord) else bool(left == right)


def assert_same_table(left, right) -> None:
    assert type(left) is type(right) is QTable
    assert left.colnames == right.colnames
    assert same_meta(dict(left.meta), dict(right.meta)), (left.meta, right.meta)
    for name in left.colnames:
        one, two = left[name], right[name]
        assert type(one) is type(two), name
        assert same_meta(dict(one.info.meta or {}), dict(two.info.meta or {})), name
        assert (one.info.description, one.info.format) == (two.info.description, two.info.format), name
        assert one.unit == two.unit if hasattr(one, "unit") else True, name
    first, second = take_apart(left), take_apart(right)
    assert [column.name for column in first.columns] == [column.name for column in second.columns]
    assert repr(first.entries) == repr(second.entries)
    for one, two in zip(first.columns, second.columns, strict=True):
        assert same_arrays(one.values, two.values), one.name
        assert (one.mask is None) == (two.mask is None), one.name
        assert one.mask is None or np.array_equal(one.mask, two.mask), one.name
        assert one.unit == two.unit, one.name
