"""What a put keeps of a CCDData: parts that become a plain CCDData at the first look."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

from quantumio.formats import _ccddata
from quantumio.formats._ccddata import canonical_ccddata, image_of, parts_of, snapshot_ccddata


def tan() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10, 20]
    wcs.wcs.set()
    return wcs


def image(**parts: object) -> CCDData:
    data = np.arange(12, dtype="f4").reshape(3, 4)
    header = fits.Header([("OBJECT", "M13", "target"), ("EXPTIME", 30.5, "[s]")])
    return CCDData(data, unit=u.electron, meta=header, uncertainty=StdDevUncertainty(data + 1), **parts)


def kept(**parts: object) -> CCDData:
    return snapshot_ccddata(image(**parts), np.copy)


def is_image(value: CCDData) -> bool:
    whole = value.wcs is None or list(value.wcs.wcs.crval) == [10, 20]
    whole = whole and type(value) is CCDData and value.meta["OBJECT"] == "M13" and value.unit == u.electron
    return whole and value.data[2, 3] == 11 and value.uncertainty.array[2, 3] == 12


LOOKS = {
    "header": lambda value: value.header["OBJECT"] == "M13",
    "shape": lambda value: value.shape == (3, 4),
    "mask": lambda value: value.mask is None,
    "uncertainty": lambda value: value.uncertainty.array.shape == (3, 4),
    "slice": lambda value: value[1:].shape == (2, 4),
    "arithmetic": lambda value: value.multiply(2).data[2, 3] == 22,
    "copy": lambda value: is_image(copy.copy(value)),
    "deep copy": lambda value: is_image(copy.deepcopy(value)),
    "pickle": lambda value: is_image(pickle.loads(pickle.dumps(value))),
    "file": lambda value: value.to_hdu()[0].header["OBJECT"] == "M13",
    "text": lambda value: "11." in repr(value),
}


@pytest.mark.parametrize("look", LOOKS)
def test_first_look_finds_every_part(look: str) -> None:
    value = kept()
    assert LOOKS[look](value)
    assert is_image(value)


def test_image_and_parts_are_had_without_a_look() -> None:
    value = kept()
    assert image_of(value)[2, 3] == 11
    assert parts_of(value).unit == "electron"
    assert type(value) is not CCDData
    assert isinstance(value, CCDData)


def test_what_is_set_stays() -> None:
    value = kept()
    value.mask = np.ones((3, 4), dtype=bool)
    assert is_image(value)
    assert value.mask.all()


def test_copy_of_it_is_plain_and_shares_nothing() -> None:
    value = kept(wcs=tan())
    own = canonical_ccddata(value, np.copy)
    own.data[:] = 0
    own.uncertainty.array[:] = 0
    own.meta["OBJECT"] = "M31"
    own.wcs.wcs.crval = [1, 2]
    assert type(own) is CCDData
    assert list(canonical_ccddata(value, np.copy).wcs.wcs.crval) == [10, 20]
    assert is_image(value)


def test_canonical_value_is_plain_at_once() -> None:
    assert type(canonical_ccddata(image(wcs=tan()), np.copy)) is CCDData


def test_what_the_caller_changes_later_does_not_show() -> None:
    given = image(wcs=tan())
    value = snapshot_ccddata(given, np.copy)
    given.meta["OBJECT"] = "M31"
    given.wcs.wcs.crval = [1, 2]
    given.data[:] = 0
    given.uncertainty.array[:] = 0
    assert list(value.wcs.wcs.crval) == [10, 20]
    assert is_image(value)


@pytest.mark.parametrize("given_as", ["object", "cards"])
def test_world_coordinates_are_read_at_the_first_look(given_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = image(wcs=tan() if given_as == "object" else None)
    if given_as == "cards":
        given.meta.update(tan().to_header())
    reads: list[object] = []
    split = _ccddata.split_wcs
    monkeypatch.setattr(
        _ccddata, "split_wcs", lambda *arguments: reads.append(arguments) or split(*arguments)
    )
    value = snapshot_ccddata(given, np.copy)
    assert reads == []
    assert [keyword for keyword, _ in parts_of(value).meta if keyword.startswith("CTYPE")] == []
    assert len(reads) == (0 if given_as == "object" else 1)  # one in the header must be taken out of it
    assert list(value.wcs.wcs.crval) == [10, 20]
    assert is_image(value)


def test_threads_may_look_at_the_same_time() -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            value = kept(wcs=tan())
            assert all(pool.map(lambda _, value=value: value.wcs.wcs.crval[0] == 10, range(8)))
            assert is_image(value)


def test_missing_attribute_is_told_as_always() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kept().nonsense
