"""Dimension records, timespans and the data IDs that they make."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, StateError
from quantumio.model import DataId, Region, Timespan
from quantumio.ports import RecordComparison
from quantumio.registry import SqlCatalog
from quantumio.registry._universe import universe_from_wire
from tests.unit.registry.conftest import Place

VISIT = {
    "instrument": "ST8",
    "visit": 33,
    "physical_filter": "R",
    "day_obs": 20250624,
    "name": 'ada\'s "visit"; DROP TABLE txn; -- 100% ü',
    "exposure_time_s": 30.0,
    "timespan": Timespan(10, 20),
    "region": Region.make("CIRCLE 10 2 0.5"),
}


def records(
    catalog: SqlCatalog, element: str, where: str | None = None, **data_id: Any
) -> list[dict[str, Any]]:
    return list(catalog.dimension_records(element, data_id, where, {}))


def test_record_comes_back_with_all_its_fields(catalog: SqlCatalog) -> None:
    assert catalog.insert_dimension("visit", [VISIT]) == 1
    (found,) = records(catalog, "visit")
    assert {key: found[key] for key in VISIT} == VISIT
    assert found["seq_num"] is None
    assert set(found) == {
        *(
            "instrument",
            "visit",
            "physical_filter",
            "day_obs",
            "name",
            "exposure_time_s",
            "observation_reason",
        ),
        *("science_program", "target_name", "seq_num", "zenith_angle_deg", "timespan", "region"),
    }


def test_same_record_again_is_no_error_and_a_different_one_changes_nothing(catalog: SqlCatalog) -> None:
    new = {"instrument": "ST8", "visit": 34}
    assert catalog.insert_dimension("visit", [VISIT, new, VISIT]) == 2
    assert catalog.insert_dimension("visit", [VISIT]) == 0
    for field, value in (
        ("exposure_time_s", 31.0),
        ("timespan", Timespan(10, 21)),
        ("timespan", None),
        ("region", Region.make("CIRCLE 10 2 0.6")),
        ("day_obs", 20250625),
    ):
        with pytest.raises(ConflictError) as error:
            catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": 35}, {**VISIT, field: value}])
        assert field in str(error.value)
        assert "visit=33" in str(error.value)
    assert [record["visit"] for record in records(catalog, "visit")] == [33, 34]
    with pytest.raises(ConflictError, match="exposure_time_s"):
        catalog.insert_dimension("visit", [{**new, "visit": 1}, {**new, "visit": 1, "exposure_time_s": 1.0}])


def test_metadata_that_identifies_belongs_to_one_record(catalog: SqlCatalog) -> None:
    first = {"instrument": "ST8", "exposure": 1, "obs_id": "a"}
    catalog.insert_dimension(
        "exposure", [first, {"instrument": "ST8", "exposure": 2}, {**first, "instrument": "X"}]
    )
    with pytest.raises(ConflictError, match=r"obs_id 'a' .*exposure=3.*belongs to .*exposure=1"):
        catalog.insert_dimension("exposure", [{**first, "exposure": 3}])
    with pytest.raises(ConflictError, match="obs_id 'b'"):
        catalog.insert_dimension("exposure", [{**first, "exposure": n, "obs_id": "b"} for n in (4, 5)])
    assert len(records(catalog, "exposure")) == 3


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"visit": 1}, "record 1 of visit: field 'instrument' is missing"),
        ({"instrument": "ST8", "visit": 1, "colour": "red"}, "record 1 of visit: unknown field 'colour'"),
        ({"instrument": "ST8", "visit": "1"}, "field 'visit': '1'"),
        ({"instrument": "ST8", "visit": True}, "field 'visit': True"),
        ({"instrument": "", "visit": 1}, "field 'instrument': ''"),
        ({"instrument": "ST8", "visit": 1 << 63}, "field 'visit'"),
        ({"instrument": "ST8", "visit": 1, "physical_filter": 5}, "field 'physical_filter': 5"),
        ({"instrument": "ST8", "visit": 1, "exposure_time_s": "30"}, "field 'exposure_time_s': '30'"),
        ({"instrument": "ST8", "visit": 1, "exposure_time_s": float("nan")}, "field 'exposure_time_s': nan"),
        ({"instrument": "ST8", "visit": 1, "name": "a\0b"}, "field 'name'"),
        ({"instrument": "ST8", "visit": 1, "name": "\ud800"}, "field 'name'"),
        ({"instrument": "ST8", "visit": 1, "seq_num": 1.5}, "field 'seq_num': 1.5"),
        ({"instrument": "ST8", "visit": 1, "timespan": 5}, "5 is no timespan"),
        ({"instrument": "ST8", "visit": 1, "region": "BLOB 1 2 3"}, "'BLOB 1 2 3' is no region"),
        (5, "record 1 of visit: 5 is no mapping"),
    ],
)
def test_wrong_record_is_named_with_its_field_and_nothing_is_inserted(
    sqlite_catalog: SqlCatalog, record: Any, words: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        sqlite_catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": 7}, record])
    assert words in str(error.value)
    assert error.value.hint
    assert records(sqlite_catalog, "visit") == []


def test_wrong_element_or_records_are_refused(sqlite_catalog: SqlCatalog) -> None:
    with pytest.raises(InvalidInputError, match="'vizit' is no dimension"):
        sqlite_catalog.insert_dimension("vizit", [])
    for wrong in ({"visit": 1}, "visit", 5):
        with pytest.raises(InvalidInputError, match="give a list of mappings"):
            sqlite_catalog.insert_dimension("visit", wrong)  # type: ignore[arg-type]
    assert sqlite_catalog.insert_dimension("visit", []) == 0


def test_key_is_told_by_metadata_that_identifies(catalog: SqlCatalog) -> None:
    for instrument in ("A", "B"):
        names = [{"instrument": instrument, "detector": n, "full_name": f"{instrument}{n}"} for n in range(3)]
        catalog.insert_dimension("detector", names)
    key = catalog.record_key
    assert key("detector", "full_name", {"instrument": "A"}, "A2") == 2
    assert key("detector", "full_name", {"instrument": "B"}, "A2") is None
    assert key("detector", "full_name", {"instrument": "A"}, "A2' OR '1'='1") is None
    with pytest.raises(InvalidInputError, match="2"):
        key("detector", "full_name", {"instrument": "A"}, 2)


def test_records_of_a_repositorys_own_dimension_keep_their_types(catalog: SqlCatalog) -> None:
    given = {
        "instrument": "ST8",
        "beam": np.int32(3),
        "label": np.str_("é"),
        "gain": np.float32(0.5),
        "good": np.True_,
    }
    catalog.insert_dimension("beam", [given, {"instrument": "ST8", "beam": 4, "gain": 2, "good": False}])
    first, second = records(catalog, "beam")
    assert first == {"instrument": "ST8", "beam": 3, "label": "é", "gain": 0.5, "good": True}
    assert [type(value) for value in first.values()] == [str, int, str, float, bool]
    assert second == {"instrument": "ST8", "beam": 4, "label": None, "gain": 2.0, "good": False}
    assert [found["beam"] for found in records(catalog, "beam", "beam.good = TRUE")] == [3]
    assert [found["beam"] for found in records(catalog, "beam", "beam.label IS NULL")] == [4]


def test_many_records_are_listed_in_order_of_their_keys(catalog: SqlCatalog) -> None:
    numbers = list(range(1500, 0, -1))
    given = [{"instrument": "ST8", "exposure": number, "seq_num": number % 7} for number in numbers]
    assert catalog.insert_dimension("exposure", given) == 1500
    assert [found["exposure"] for found in records(catalog, "exposure")] == numbers[::-1]
    some = records(catalog, "exposure", "exposure.seq_num = 3 AND exposure <= 100", instrument="ST8")
    assert [found["exposure"] for found in some] == [number for number in range(1, 101) if number % 7 == 3]
    assert records(catalog, "exposure", instrument="other") == []


def test_records_may_be_asked_for_by_what_they_imply(catalog: SqlCatalog) -> None:
    catalog.insert_dimension("visit", [VISIT])
    catalog.insert_dimension("physical_filter", [{"instrument": "ST8", "physical_filter": "R", "band": "r"}])
    assert len(records(catalog, "visit", physical_filter="R")) == 1
    assert len(records(catalog, "visit", band="r")) == 1
    assert len(records(catalog, "visit", "band = 'g'")) == 0
    with pytest.raises(InvalidInputError, match="'detector'"):
        records(catalog, "visit", detector=1)


def test_same_records_from_two_threads_are_inserted_once(place: Place) -> None:
    catalogs = [place.open(), place.open()]
    given = [{"instrument": "ST8", "detector": number} for number in range(300)]
    counts: list[int] = []
    threads = [
        threading.Thread(
            target=lambda catalog=catalog: counts.append(catalog.insert_dimension("detector", given))
        )
        for catalog in catalogs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 300]
    for catalog in catalogs:
        catalog.close()


# -- timespans


def test_timespan_is_that_of_what_the_data_id_names(catalog: SqlCatalog) -> None:
    catalog.insert_dimension("visit", [VISIT])
    catalog.insert_dimension("exposure", [{"instrument": "ST8", "exposure": 1, "timespan": Timespan(5, 6)}])
    catalog.insert_dimension("exposure", [{"instrument": "ST8", "exposure": 2}])
    catalog.insert_dimension("day_obs", [{"instrument": "ST8", "day_obs": 1, "timespan": Timespan(0, 99)}])
    span = catalog.timespan
    assert span(DataId({"instrument": "ST8", "detector": 1, "visit": 33})) == Timespan(10, 20)
    assert span(DataId({"instrument": "ST8", "exposure": 1})) == Timespan(5, 6)
    assert span(DataId({"instrument": "ST8", "exposure": 1, "day_obs": 1})) == Timespan(5, 6)
    assert span(DataId({"instrument": "ST8", "exposure": 2, "day_obs": 1})) == Timespan(0, 99)
    assert span(DataId({"instrument": "ST8", "exposure": 2})) is None
    assert span(DataId({"instrument": "ST8", "exposure": 3})) is None
    assert span(DataId({"exposure": 1})) is None
    assert span(DataId({})) is None


# -- data IDs


def test_timespans_of_many_are_those_of_each(catalog: SqlCatalog) -> None:
    instruments, numbers = ("ST8", "O'\"\\ü"), range(4)
    for instrument in instruments:
        for element in ("day_obs", "exposure", "visit"):
            keys = [{"instrument": instrument, element: number} for number in numbers]
            spans = [Timespan(number, 1 << 60) for number in numbers]
            catalog.insert_dimension(
                element,
                # of one there is no time, and of the last no record
                [keys[0], *({**key, "timespan": span} for key, span in zip(keys[1:3], spans, strict=False))],
            )
    named = [
        DataId({"instrument": instrument, **dict.fromkeys(elements, number)})
        for instrument in (*instruments, "none")
        for elements in (
            ("visit",),
            ("exposure",),
            ("day_obs", "visit"),
            ("detector",),
            ("exposure", "visit"),
        )
        for number in (*numbers, 1)
    ]
    named += [DataId({"instrument": "ST8", "day_obs": 2, "visit": 3}), DataId({}), DataId({"visit": 1})]
    assert catalog.timespans(named) == [catalog.timespan(one) for one in named]
    assert len({*catalog.timespans(named)}) > 2
    assert catalog.timespans([]) == []


def ids(
    catalog: SqlCatalog, dimensions: list[str], where: str | None = None, **data_id: Any
) -> list[tuple[Any, ...]]:
    return [tuple(found.values()) for found in catalog.data_ids(dimensions, data_id, where, {})]


def insert_night(catalog: SqlCatalog) -> None:
    catalog.insert_dimension(
        "detector", [{"instrument": "ST8", "detector": n, "purpose": "S"} for n in (0, 1)]
    )
    catalog.insert_dimension("detector", [{"instrument": "X", "detector": 0}])
    catalog.insert_dimension(
        "exposure",
        [
            {"instrument": "ST8", "exposure": 1, "physical_filter": "R", "exposure_time_s": 30.0},
            {"instrument": "ST8", "exposure": 2, "physical_filter": "G", "exposure_time_s": 60.0},
        ],
    )
    catalog.insert_dimension(
        "physical_filter",
        [{"instrument": "ST8", "physical_filter": f, "band": f.lower()} for f in ("R", "G")],
    )


def test_data_ids_join_records_on_shared_keys(catalog: SqlCatalog) -> None:
    insert_night(catalog)
    assert ids(catalog, ["exposure", "detector"]) == [
        ("ST8", 0, 1),
        ("ST8", 0, 2),
        ("ST8", 1, 1),
        ("ST8", 1, 2),
    ]
    assert ids(catalog, ["detector"]) == [("ST8", 0), ("ST8", 1), ("X", 0)]
    assert ids(catalog, ["exposure", "detector"], "band = 'g' AND detector.purpose = 'S'", detector=1) == [
        ("ST8", 1, 2)
    ]
    assert ids(catalog, ["exposure"], "exposure.exposure_time_s > 30") == [("ST8", 2)]
    assert ids(catalog, ["exposure"], band="r") == [("ST8", 1)]
    assert ids(catalog, []) == [()]


def test_implied_dimensions_follow_their_record(catalog: SqlCatalog) -> None:
    insert_night(catalog)
    assert ids(catalog, ["exposure", "physical_filter"]) == [("ST8", "G", 2), ("ST8", "R", 1)]
    assert ids(catalog, ["band", "physical_filter"]) == [("ST8", "g", "G"), ("ST8", "r", "R")]
    assert ids(catalog, ["physical_filter"], "band != 'r'") == [("ST8", "G")]


def test_dimension_without_records_is_named(catalog: SqlCatalog) -> None:
    with pytest.raises(InvalidInputError, match="no records of dimension 'exposure'") as error:
        ids(catalog, ["exposure"])
    assert error.value.kind is ErrorKind.DIMENSION
    assert "insert_dimension" in str(error.value.hint)
    with pytest.raises(InvalidInputError, match="no list of dimensions"):
        catalog.data_ids("exposure", {}, None, {})


def test_exposures_and_visits_belong_together_by_definition_or_by_number(catalog: SqlCatalog) -> None:
    insert_night(catalog)
    assert ids(catalog, ["exposure", "visit"]) == [("ST8", 1, 1), ("ST8", 2, 2)]
    catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": n} for n in (2, 3)])
    assert ids(catalog, ["exposure", "visit"]) == [("ST8", 2, 2)]
    catalog.insert_dimension(
        "visit_definition", [{"instrument": "ST8", "exposure": n, "visit": 3} for n in (1, 2)]
    )
    assert ids(catalog, ["exposure", "visit"]) == [("ST8", 1, 3), ("ST8", 2, 3)]
    assert ids(catalog, ["exposure", "visit", "detector"], detector=1) == [("ST8", 1, 1, 3), ("ST8", 1, 2, 3)]


def test_visits_without_exposures_stand_for_them(catalog: SqlCatalog) -> None:
    catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": 7}])
    assert ids(catalog, ["exposure", "visit"]) == [("ST8", 7, 7)]


def test_regions_of_visits_and_detectors_restrict_their_pairs(catalog: SqlCatalog) -> None:
    insert_night(catalog)
    catalog.insert_dimension("visit", [{"instrument": "ST8", "visit": n} for n in (1, 2)])
    assert len(ids(catalog, ["visit", "detector"])) == 4
    region = "POLYGON 10 2 10.1 2 10.1 2.1"
    catalog.insert_dimension(
        "visit_detector_region", [{"instrument": "ST8", "visit": 1, "detector": 0, "region": region}]
    )
    assert ids(catalog, ["visit", "detector"]) == [("ST8", 0, 1)]
    assert records(catalog, "visit_detector_region")[0]["region"] == Region.make(region)


def test_records_of_a_real_survey_are_inserted_and_joined(catalog: SqlCatalog, test_data: Path) -> None:
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Takes regions and times as they are written."""

    Loader.add_multi_constructor("", lambda loader, _, node: None)
    export = yaml.load((test_data / "registry" / "hsc-rc2-subset.yaml").read_text(), Loader)
    elements = {part["element"]: part["records"] for part in export["data"] if part["type"] == "dimension"}
    visits = [
        {"instrument": "HSC", "visit": record["id"], "physical_filter": record["physical_filter"]}
        for record in elements["visit"]
    ]
    pairs = [
        {"instrument": "HSC", "visit": record["visit"], "detector": record["detector"]}
        for record in elements["visit_detector_region"]
    ]
    detectors = [{"instrument": "HSC", "detector": record["id"]} for record in elements["detector"]]
    filters = [
        {"instrument": "HSC", "physical_filter": record["name"], "band": record["band"]}
        for record in elements["physical_filter"]
    ]
    for element, given in (("visit", visits), ("detector", detectors), ("physical_filter", filters)):
        assert catalog.insert_dimension(element, given) == len(given)
    catalog.insert_dimension("visit_detector_region", pairs)
    assert len(ids(catalog, ["visit", "detector"])) == len(pairs) == 1132
    bands = {record["physical_filter"]: record["band"] for record in filters}
    expected = sorted(record["visit"] for record in visits if bands[record["physical_filter"]] == "i")
    assert [found[1] for found in ids(catalog, ["visit"], "band = 'i'")] == expected
    assert expected


def test_integer_that_no_database_takes_is_refused(empty_place: Place) -> None:
    catalog = empty_place.create(universe_tables={"lamp": {"key": "int", "metadata": {"hours": "int"}}})
    with pytest.raises(InvalidInputError, match="an integer of 64 bits"):
        catalog.insert_dimension("lamp", [{"lamp": 1, "hours": 1 << 63}])
    catalog.close()


def test_dimensions_of_a_newer_quantumio_are_refused() -> None:
    with pytest.raises(StateError, match="upgrade quantumio") as error:
        universe_from_wire('{"version": 99, "elements": []}')
    assert error.value.kind is ErrorKind.NEWER_SCHEMA


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq_num", 1 << 63),
        ("seq_num", True),
        ("seq_num", 1.0),
        ("exposure_time_s", float("nan")),
        ("exposure_time_s", "1"),
        ("target_name", "a\0b"),
        ("target_name", "\ud800"),
        ("target_name", b"x"),
        ("physical_filter", ""),
        ("visit", None),
        ("colour", "red"),
        ("timespan", 5),
        ("region", "CIRCLE 1 2"),
    ],
)
def test_wrong_record_among_many_is_named(catalog: SqlCatalog, field: str, value: object) -> None:
    many: list[dict[str, Any]] = [
        {"instrument": "ST8", "visit": number, "seq_num": number, "exposure_time_s": 1.0}
        for number in range(50)
    ]
    many[37][field] = value
    with pytest.raises(InvalidInputError, match="record 37 of visit") as error:
        catalog.insert_dimension("visit", many)
    assert field in error.value.message or error.value.kind is not ErrorKind.DIMENSION
    assert records(catalog, "visit") == []


def test_values_of_many_records_are_taken_as_those_of_one(catalog: SqlCatalog) -> None:
    odd = {
        "instrument": np.str_("ST8"),
        "visit": np.int64(7),
        "seq_num": np.int32(3),
        "exposure_time_s": 30,
        "timespan": Timespan(1, 2),
        "region": Region.make("CIRCLE 1 2 3"),
        "target_name": "",
    }
    many: list[dict[str, Any]] = [odd | {"visit": number} for number in range(10)]
    plain = [one | {"instrument": "ST8", "seq_num": 3, "exposure_time_s": 30.0} for one in many]
    assert catalog.insert_dimension("visit", [plain[0], odd]) == 2
    assert catalog.insert_dimension("visit", many) == 8  # not plain: one by one
    assert catalog.insert_dimension("visit", plain) == 0
    found = records(catalog, "visit")
    assert len(found) == 10
    assert {tuple(sorted((name, str(one[name])) for name in odd if name != "visit")) for one in found} == {
        tuple(sorted((name, str(plain[0][name])) for name in odd if name != "visit"))
    }


def test_records_are_compared_and_nothing_is_changed(catalog: SqlCatalog) -> None:
    def record(visit: int, name: str, **fields: object) -> dict[str, object]:
        return {"instrument": "ST8", "visit": visit, "name": name, **fields}

    catalog.insert_dimension("visit", [record(1, "one"), record(2, "two", exposure_time_s=30.0)])
    seq = catalog.moment((1 << 63) - 1)
    told = catalog.compare_dimension(
        "visit",
        [record(1, "one"), record(2, "two"), record(3, "one"), record(4, "four"), record(4, "four")],
    )
    assert (told.new, told.there) == (1, 2)
    changed, twin = told.conflicts
    assert "exposure_time_s=30.0, not None" in changed
    assert "name 'one' of visit" in twin
    assert catalog.compare_dimension("visit", []) == RecordComparison(new=0, there=0)
    with pytest.raises(InvalidInputError, match="record 0 of visit"):
        catalog.compare_dimension("visit", [{"visit": 1}])
    with pytest.raises(InvalidInputError):
        catalog.compare_dimension("visit", "records")  # type: ignore[arg-type]
    assert catalog.moment((1 << 63) - 1) == seq
    assert len(list(catalog.dimension_records("visit", {}, None, {}))) == 2
