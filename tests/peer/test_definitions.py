"""Dataset types and dimension records."""

import numpy as np
import pytest

from tests.peer.registries import Why, refuses
from tests.peer.world import HOURS

CAM = {"instrument": "Cam"}


def test_dataset_type_is_there_as_it_was_registered(registry):
    assert registry.register_type("stars", ["detector", "instrument", "visit"])
    assert registry.dimensions_of("stars") in (
        ("instrument", "detector", "visit"),
        ("instrument", "visit", "detector"),
    )
    assert "stars" in registry.types()


def test_required_dimensions_of_a_dataset_type_need_not_be_named(registry):
    registry.register_type("outline", ["patch"])
    assert set(registry.dimensions_of("outline")) == {"skymap", "tract", "patch"}


def test_dataset_type_that_is_registered_again_is_the_same(registry):
    registry.register_type("stars", ["visit"])
    assert not registry.register_type("stars", ["instrument", "visit"])


def test_other_definition_of_a_dataset_type_is_a_conflict(registry):
    with refuses(Why.CONFLICT):
        registry.register_type("raw", ["exposure"])
    assert set(registry.dimensions_of("raw")) == {"instrument", "exposure", "detector"}


@pytest.mark.parametrize("name", ["", "two words", "7up", "semi;colon", "slash/ed"])
def test_names_that_dataset_types_cannot_have_are_refused(registry, name):
    with refuses(Why.INVALID):
        registry.register_type(name, ["visit"])


def test_dataset_type_over_an_unknown_dimension_is_refused(registry):
    with refuses(Why.INVALID):
        registry.register_type("stars", ["instrument", "telescope"])


def test_unknown_dataset_type_is_missing(registry):
    with refuses(Why.MISSING):
        registry.dimensions_of("nothing")
    registry.register_run("r")
    with refuses(Why.MISSING):
        registry.find("nothing", collections="r", **CAM)


# ---------------------------------------------------------------------------- records


def test_record_is_inserted_once(registry):
    record = CAM | {"detector": 9, "full_name": "chip_9"}
    assert registry.insert("detector", **record)
    assert not registry.insert("detector", **record)
    assert len(registry.records("detector", **CAM)) == 5


def test_other_record_under_a_key_is_a_conflict_and_changes_nothing(registry):
    with refuses(Why.CONFLICT):
        registry.insert("detector", **CAM, detector=1, full_name="another")
    (there,) = registry.records("detector", **CAM, detector=1)
    assert there["full_name"] == "chip_1"


def test_metadata_that_identifies_belongs_to_one_record(registry):
    with refuses(Why.CONFLICT):
        registry.insert("detector", **CAM, detector=9, full_name="chip_1")
    assert registry.records("detector", **CAM, detector=9) == []


@pytest.mark.parametrize("record", [{"detector": 9, "full_name": "chip_9"}, CAM | {"full_name": "chip_9"}])
def test_record_without_one_of_its_keys_is_refused(registry, record):
    with refuses(Why.INVALID):
        registry.insert("detector", **record)


def test_unknown_field_of_a_record_is_refused(registry):
    with refuses(Why.INVALID):
        registry.insert("detector", **CAM, detector=9, full_name="chip_9", colour="blue")


def test_numpy_integers_are_keys(registry):
    (found,) = registry.records("detector", **CAM, detector=np.int64(2))
    assert found["full_name"] == "chip_2"


def test_numpy_integers_are_keys_of_records(registry):
    """Documented difference: the peer takes them, and finds its record no more."""
    assert registry.insert("detector", **CAM, detector=np.int64(9), full_name="chip_9")
    assert len(registry.records("detector", **CAM, detector=9)) == (0 if registry.name == "peer" else 1)


def test_timespans_come_back_to_the_nanosecond(registry):
    (visit,) = registry.records("visit", **CAM, visit=2)
    for given, kept in zip(HOURS[2:4], (visit["timespan"].begin, visit["timespan"].end), strict=True):
        assert abs((kept - given).to_value("s")) < 1e-9


def test_records_of_part_of_a_key_are_all_that_have_it(registry):
    assert len(registry.records("patch", skymap="sky")) == 4
    assert [record["patch"] for record in registry.records("patch", skymap="sky", tract=2)] == [0, 1]
