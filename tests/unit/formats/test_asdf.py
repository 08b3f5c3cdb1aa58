"""Tables in ASDF, and what others see in our files."""

import io

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import MaskedColumn, QTable
from astropy.time import Time

from quantumio.errors import FormatError, InvalidInputError

asdf = pytest.importorskip("asdf")


def table():
    result = QTable(
        {
            "zeta": [1.0, 2.0, np.nan] * units.Jy,
            "time": Time([2460000.123456789, 2460001.5, 2460002.25], format="jd", scale="tai"),
            "sky": SkyCoord([10.0, 20.0, 30.0], [1.0, 2.0, 3.0], unit="deg"),
            "alpha": MaskedColumn([1, 2, 3], mask=[False, True, False]),
            "name": ["a", "b\u00e9", ""],
            "vector": np.arange(6, dtype="f4").reshape(3, 2),
        }
    )
    result.meta["night"] = {"seeing": 1.5, "list": [1, 2]}
    return result


def test_tables_are_given_back(round_trip):
    canonical, back = round_trip(table(), "AstropyTable", "asdf")
    assert type(back) is QTable
    assert back.colnames == ["zeta", "time", "sky", "alpha", "name", "vector"]
    assert back.meta == canonical.meta
    assert back["zeta"].unit == units.Jy
    np.testing.assert_array_equal(back["zeta"].value, canonical["zeta"].value)
    assert (back["time"] == canonical["time"]).all()
    assert (back["sky"].ra == canonical["sky"].ra).all()
    assert back["alpha"].mask.tolist() == [False, True, False]
    assert list(back["name"]) == list(canonical["name"])
    np.testing.assert_array_equal(back["vector"], canonical["vector"])
    assert [back[name].dtype for name in ("alpha", "vector")] == [np.dtype("i8"), np.dtype("f4")]


def test_columns_of_tables_are_selected(formats):
    delegate, format_ = formats.delegate("AstropyTable"), formats.format("asdf")
    data = b"".join(format_.encode(delegate.canonical(table(), np.array), "AstropyTable", {}))
    assert format_.decode(data, "AstropyTable", columns=["name", "zeta"]).colnames == ["name", "zeta"]
    with pytest.raises(InvalidInputError, match="nothing"):
        format_.decode(data, "AstropyTable", columns=["nothing"])


def test_files_are_plain_trees_for_others(formats):
    value = formats.delegate("CCDData").canonical(
        CCDData(np.arange(6.0).reshape(2, 3), unit="adu", meta={"A": (1, "x")}), np.array
    )
    data = b"".join(formats.format("asdf").encode(value, "CCDData", {}))
    with asdf.open(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(file["data"], value.data)
        assert file["unit"] == "adu"
        assert file["header"] == ["A       =                    1 / x"]
        assert file["quantumio"] == {"storage_class": "CCDData", "version": 1}


def test_views_write_only_what_they_show(formats):
    whole = np.arange(100_000.0)
    data = b"".join(formats.format("asdf").encode(whole[10:20], "NDArray", {}))
    assert len(data) < 5000
    np.testing.assert_array_equal(formats.format("asdf").decode(data, "NDArray"), whole[10:20])


def test_other_asdf_files_and_storage_classes_are_refused(formats):
    format_ = formats.format("asdf")
    file = io.BytesIO()
    asdf.AsdfFile({"array": np.arange(3)}).write_to(file)
    with pytest.raises(FormatError, match="no quantumio"):
        format_.decode(file.getvalue(), "NDArray")
    data = b"".join(format_.encode({"a": 1}, "Mapping", {}))
    with pytest.raises(FormatError, match="holds a Mapping"):
        format_.decode(data, "NDArray")
    with pytest.raises(InvalidInputError, match="no columns"):
        format_.decode(data, "Mapping", columns=["a"])
