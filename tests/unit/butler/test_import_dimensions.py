"""Dimension records of an export of the Rubin Data Butler."""

import math
import struct
from pathlib import Path

import pytest

from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
)
from quantumio.formats.butler_exports import read_butler_export
from quantumio.model import Region, Timespan

EIGHTH = struct.pack("<9d", 1, 0, 0, 0, 1, 0, 0, 0, 1)  # of the sky
POLYGON = b"p" + EIGHTH
VISIT = f"""
- type: dimension
  element: visit
  records:
  - instrument: Cam
    id: 7
    name: seventh
    day_obs: 20250620
    physical_filter: R1
    exposure_time: 30.0
    azimuth: 12.5
    seq_num: null
    region: !<lsst.sphgeom.ConvexPolygon>
      encoded: {POLYGON.hex()}
    datetime_begin: !butler_time/tai/iso '2025-06-20 01:02:03.000000001'
    datetime_end: !butler_time/tai/iso '2025-06-20 01:02:33'
"""


@pytest.fixture
def write(tmp_path):
    def write_(entries: str, name: str = "export.yaml") -> Path:
        path = tmp_path / name
        path.write_text(f"description: Butler Data Repository Export\nversion: 1.0.2\ndata:\n{entries}")
        return path

    return write_


def test_records_get_the_names_and_units_of_this_repository(butler, write):
    result = butler.import_dimensions(write(VISIT))
    assert result.inserted == {"visit": 1}
    assert result.left_out == ("visit.azimuth",)
    (visit,) = butler.query_dimension_records("visit")
    assert (visit["instrument"], visit["visit"], visit["name"]) == ("Cam", 7, "seventh")
    assert (visit["physical_filter"], visit["exposure_time_s"], visit["seq_num"]) == ("R1", 30.0, None)
    assert visit["region"] == Region("POLYGON", (0.0, 0.0, 90.0, 0.0, 0.0, 90.0))
    begin = 1_750_381_323 * 10**9  # 2025-06-20 01:02:03, days of 86,400 seconds since 1970
    assert visit["timespan"] == Timespan(begin + 1, begin + 30 * 10**9)


def test_import_again_inserts_nothing(butler, write):
    butler.import_dimensions(str(write(VISIT)))
    assert butler.import_dimensions(write(VISIT)).inserted == {"visit": 0}


def test_texts_hashes_relations_and_unbounded_times(butler, write):
    result = butler.import_dimensions(
        write("""
- type: dimension
  element: physical_filter
  records:
  - {instrument: Cam, name: R1, band: r}
- type: dimension
  element: skymap
  records:
  - name: rings
    hash: !!binary |
      AQL/
- type: dimension
  element: group
  records:
  - {instrument: Cam, name: '1'}
- type: dimension
  element: visit_definition
  records:
  - {instrument: Cam, exposure: 7, visit_system: 0, visit: 7}
- type: dimension
  element: day_obs
  records:
  - instrument: Cam
    id: 20250620
    datetime_begin: !butler_time/tai/iso '2025-06-20 12:00:37.5'
    datetime_end: null
- type: dimension
  element: day_obs
  records:
  - {instrument: Cam, id: 20250621}
- type: collection
  collection_type: CHAINED
  name: best
  children: [a]
  validity: !<!lsst.daf.butler.Timespan> {begin: null, end: !butler_time/tai/iso '2025-06-20 00:00:00'}
  never: !<!lsst.daf.butler.Timespan> EMPTY
  id: !uuid e15ab039-bc8b-4135-87c5-90902a7c0b22
""")
    )
    assert result.inserted == {"physical_filter": 1, "day_obs": 2, "skymap": 1, "visit_definition": 1}
    assert result.left_out == ("group", "visit_definition.visit_system")
    assert butler.query_dimension_records("physical_filter")[0]["band"] == "r"
    assert butler.query_dimension_records("skymap")[0]["hash"] == "0102ff"
    first, second = butler.query_dimension_records("day_obs")
    assert first["timespan"] == Timespan(begin_ns=1_750_420_837_500_000_000)
    assert second["timespan"] is None


def test_real_export_is_taken_whole(butler, test_data):
    """The HSC subset of the Rubin Data Butler: its visits, regions of detectors and patches."""
    path = test_data / "registry" / "hsc-rc2-subset.yaml"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    result = butler.import_dimensions(path)
    assert result.inserted == {
        "instrument": 1,
        "physical_filter": 5,
        "detector": 111,
        "day_obs": 15,
        "exposure": 1,
        "visit": 160,
        "skymap": 1,
        "tract": 2,
        "patch": 2,
        "visit_detector_region": 1132,
    }
    assert {"group", "visit_system", "visit_system_membership", "visit.azimuth"} < set(result.left_out)
    (exposure,) = butler.query_dimension_records("exposure", instrument="HSC")
    assert exposure["obs_id"] == "HSCA90334200"
    assert exposure["timespan"].end_ns - exposure["timespan"].begin_ns == 32_172_000_000
    assert exposure["exposure_time_s"] == 30.0
    region = butler.query_dimension_records("visit", instrument="HSC", visit=318)[0]["region"]
    assert region.shape == "POLYGON"
    assert len(butler.query_data_ids(["visit", "detector"], where="band = 'r'", instrument="HSC")) > 0


# ---------------------------------------------------------------------------- regions


def test_regions_are_the_very_vectors_of_the_export(write):
    (entry,) = read_butler_export(write(VISIT).read_bytes())
    assert entry["records"][0]["region"].encode() == b"p" + EIGHTH


def test_circles_are_taken(butler, write):
    ra, dec, radius = (math.radians(angle) for angle in (350.25, -61.5, 1.75))
    centre = (math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec))
    circle = b"c" + struct.pack("<5d", *centre, 4 * math.sin(radius / 2) ** 2, radius)
    butler.import_dimensions(
        write(VISIT.replace("ConvexPolygon", "Circle").replace(POLYGON.hex(), circle.hex()))
    )
    region = butler.query_dimension_records("visit")[0]["region"]
    assert region.shape == "CIRCLE"
    assert region.coordinates == pytest.approx((350.25, -61.5, 1.75), abs=1e-12)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"p",
        b"x" + EIGHTH,
        b"p" + EIGHTH[:48],
        b"p" + EIGHTH + b"\0",
        b"p" + EIGHTH + b"\0" * 8,
        b"c" + struct.pack("<5d", 1, 0, 0, -1, -1),  # empty
        b"p" + struct.pack("<9d", math.nan, *range(8)),
    ],
)
def test_regions_that_are_none_are_refused(butler, write, encoded):
    with pytest.raises(FormatError, match="region"):
        butler.import_dimensions(write(VISIT.replace(POLYGON.hex(), encoded.hex())))


# ---------------------------------------------------------------------------- what is refused

RECORD = (
    "- type: dimension\n  element: day_obs\n  records:\n  - instrument: Cam\n    id: 1\n    datetime_begin: "
)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("- [", "parsing"),
        ("- !!python/object/apply:os.system ['touch made']", "python"),
        ("- !unknown 1", "unknown"),
        ("- 1", "entry 1 has no type"),
        ("- {type: 1}", "entry 1 has no type"),
        ("- {type: dimension, records: []}", "entry 1 has no element"),
        ("- {type: dimension, element: visit, records: {}}", "entry 1 has no element"),
        ("- {type: dimension, element: visit, records: [1]}", "entry 1 has a record"),
        (RECORD + "!butler_time/tai/iso 'soon'", "ISO"),
        (RECORD + "!butler_time/tai/iso '2025-02-30 00:00:00'", "day"),
        (RECORD + "!butler_time/tai/iso [1]", "no text"),
        (RECORD + "yesterday", "no time"),
        (RECORD + "1.5", "no time"),
        (RECORD + "!<lsst.sphgeom.ConvexPolygon> {encoded: '7000'}", "region"),
        (RECORD + "!<lsst.sphgeom.ConvexPolygon> {encoded: 'zz'}", "region"),
        (RECORD + "!<lsst.sphgeom.Box> {}", "region"),
        (RECORD + "!<lsst.sphgeom.Box> 1", "region"),
        (RECORD + "!<!lsst.daf.butler.Timespan> {begin: soon}", "no time"),
        (RECORD + "!<!lsst.daf.butler.Timespan> {begin: 5, end: 4}", "ends before"),
        (RECORD + "!uuid 1", "UUID"),
        ("- " + "[" * 100_000 + "]" * 100_000, "nested"),
    ],
)
def test_what_is_no_export_is_refused_and_nothing_is_inserted(butler, write, entries, message):
    with pytest.raises(FormatError, match=message) as caught:
        butler.import_dimensions(write(VISIT.lstrip() + entries))
    assert caught.value.kind is ErrorKind.DECODE
    assert butler.query_dimension_records("visit") == []


@pytest.mark.parametrize("text", ["", "data: 1", "[]", "data: {}"])
def test_other_documents_are_refused(butler, tmp_path, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match="no list 'data'"):
        butler.import_dimensions(path)


def test_bytes_that_are_no_text_are_refused(butler, tmp_path):
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"data: \xff\xfe\x00")
    with pytest.raises(FormatError):
        butler.import_dimensions(path)


def test_record_that_contradicts_is_a_conflict(butler, write):
    butler.import_dimensions(write(VISIT))
    with pytest.raises(ConflictError, match="seventh"):
        butler.import_dimensions(write(VISIT.replace("seventh", "other")))


def test_record_without_a_key_is_named(butler, write):
    with pytest.raises(InvalidInputError, match="record 0 of day_obs"):
        butler.import_dimensions(write("- {type: dimension, element: day_obs, records: [{instrument: Cam}]}"))


def test_missing_file_and_directory_are_told(butler, tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere\.yaml"):
        butler.import_dimensions(tmp_path / "nowhere.yaml")
    with pytest.raises(DestinationError):
        butler.import_dimensions(tmp_path)
    with pytest.raises(InvalidInputError, match="path"):
        butler.import_dimensions(3)


def test_dry_run_inserts_nothing_and_tells_what_is_new_there_and_refused(butler, write):
    told = butler.import_dimensions(write(VISIT), dry_run=True)
    assert (told.dry_run, told.inserted, told.there, told.refused) == (True, {"visit": 1}, {"visit": 0}, ())
    assert told.left_out == ("visit.azimuth",)
    assert butler.query_dimension_records("visit") == []
    butler.import_dimensions(write(VISIT))
    other = VISIT + VISIT.replace("id: 7", "id: 8").replace("seventh", "eighth")
    other += VISIT.replace("30.0", "31.0") + VISIT.replace("id: 7", "id: 9")
    told = butler.import_dimensions(write(other), dry_run=True)
    assert (told.inserted, told.there) == ({"visit": 1}, {"visit": 1})
    changed, twin = told.refused
    assert "exposure_time_s=30.0, not 31.0" in changed
    assert (
        "name 'seventh' of visit (instrument='Cam', visit=9) belongs to (instrument='Cam', visit=7)" in twin
    )
    wrong = butler.import_dimensions(write(VISIT.replace("30.0", "long")), dry_run=True)
    assert (wrong.inserted, wrong.there) == ({"visit": 0}, {"visit": 0})
    assert "exposure_time_s" in wrong.refused[0]
    assert len(butler.query_dimension_records("visit")) == 1
