"""Validity: what may be certified, what a look-up by an exposure or visit finds, and decertifying."""

import pytest

from tests.peer.registries import Why, answer, refuses
from tests.peer.world import HOURS

CAM = {"instrument": "Cam"}


@pytest.fixture
def put(registry):
    """Put a bias of a detector into a run."""
    return lambda run, detector=0: registry.put("bias", run, **CAM, detector=detector)


def of_visit(registry, visit, detector=0, collections="calib"):
    """Look the bias up at the time of a visit; visit n lasts from hour n to hour n + 1."""
    return registry.find("bias", CAM, collections=collections, visit=visit, detector=detector)


def valid_for(registry, detector=0):
    """Return the visits that a bias is valid for."""
    return [visit for visit in (1, 2, 3, 4) if of_visit(registry, visit, detector) is not None]


def test_calibration_is_found_at_a_time_at_which_it_is_valid(registry, put):
    ref = put("made")
    registry.certify("calib", [ref], HOURS[0], HOURS[9])
    assert registry.collections()["calib"] == "CALIBRATION"
    assert of_visit(registry, 2) == ref
    assert of_visit(registry, 2, detector=1) is None


def test_validity_begins_at_its_begin_and_ends_before_its_end(registry, put):
    registry.certify("calib", [put("made")], HOURS[2], HOURS[4])
    assert valid_for(registry) == [2, 3]


def test_part_of_a_visit_is_enough(registry, put):
    ref = put("made")
    middle = HOURS[2] + (HOURS[3] - HOURS[2]) / 2
    registry.certify("calib", [ref], middle, HOURS[3])
    assert valid_for(registry) == [2]


@pytest.mark.parametrize(
    ("begin", "end", "visits"), [(None, None, [1, 2, 3, 4]), (None, 3, [1, 2]), (3, None, [3, 4])]
)
def test_validity_may_have_no_begin_or_no_end(registry, put, begin, end, visits):
    registry.certify("calib", [put("made")], begin and HOURS[begin], end and HOURS[end])
    assert valid_for(registry) == visits


def test_flat_for_a_raw_follows_from_the_exposures_time_and_filter(registry):
    flats = {
        name: registry.put("flat", "made", **CAM, detector=0, physical_filter=name) for name in ("R1", "R2")
    }
    later = registry.put("flat", "later", **CAM, detector=0, physical_filter="R1")
    registry.certify("calib", list(flats.values()), HOURS[0], HOURS[4])
    registry.certify("calib", [later], HOURS[4], None)
    raw = registry.put("raw", "raws", **CAM, exposure=1, detector=0)
    found = {
        exposure: registry.find("flat", CAM, collections="calib", exposure=exposure, detector=0)
        for exposure in (1, 2, 3, 4)
    }
    assert found == {1: flats["R1"], 2: flats["R2"], 3: None, 4: later}
    assert raw not in found.values()


def test_one_collection_holds_validities_one_after_the_other(registry, put):
    one, two = put("one"), put("two")
    registry.certify("calib", [one], HOURS[1], HOURS[3])
    registry.certify("calib", [two], HOURS[3], HOURS[5])
    assert [of_visit(registry, visit) for visit in (1, 2, 3, 4)] == [one, one, two, two]


def test_same_calibration_may_be_valid_twice(registry, put):
    ref = put("one")
    registry.certify("calib", [ref], HOURS[1], HOURS[2])
    registry.certify("calib", [ref], HOURS[4], HOURS[5])
    assert valid_for(registry) == [1, 4]


def test_overlapping_validities_of_a_data_id_conflict_and_change_nothing(registry, put):
    one, two, other = put("one"), put("two"), put("two", detector=1)
    registry.certify("calib", [one], HOURS[1], HOURS[3])
    with refuses(Why.CONFLICT):
        registry.certify("calib", [other, two], HOURS[2], HOURS[4])
    assert of_visit(registry, 2) == one
    assert valid_for(registry) == [1, 2]
    assert valid_for(registry, detector=1) == []


def test_validities_of_other_data_ids_do_not_conflict(registry, put):
    registry.certify("calib", [put("one", 0)], HOURS[1], HOURS[3])
    registry.certify("calib", [put("one", 1)], HOURS[2], HOURS[4])
    assert valid_for(registry, 0) == [1, 2]
    assert valid_for(registry, 1) == [2, 3]


def test_validities_in_other_collections_do_not_conflict(registry, put):
    one, two = put("one"), put("two")
    registry.certify("calib", [one], None, None)
    registry.certify("others", [two], None, None)
    assert of_visit(registry, 1, collections=["calib", "others"]) == one
    assert of_visit(registry, 1, collections=["others", "calib"]) == two


def test_very_same_certification_again(registry, put):
    """Documented difference: here it is no error, as after a lost answer; the peer refuses."""
    ref = put("one")
    registry.certify("calib", [ref], HOURS[1], HOURS[3])
    if registry.name == "peer":
        with refuses(Why.CONFLICT):
            registry.certify("calib", [ref], HOURS[1], HOURS[3])
    else:
        registry.certify("calib", [ref], HOURS[1], HOURS[3])
    with refuses(Why.CONFLICT):
        registry.certify("calib", [ref], HOURS[2], HOURS[4])
    assert valid_for(registry) == [1, 2]


def test_two_that_are_valid_in_a_timespan_are_ambiguous(registry, put):
    registry.insert("visit", **CAM, visit=9, name="long", physical_filter="G", day_obs=20250620,
                    timespan=(HOURS[1], HOURS[4]))  # fmt: skip
    registry.certify("calib", [put("one")], HOURS[1], HOURS[2])
    registry.certify("calib", [put("two")], HOURS[2], HOURS[4])
    with refuses(Why.AMBIGUOUS):
        of_visit(registry, 9)


def test_first_collection_with_a_valid_one_decides(registry, put):
    one, two = put("one"), put("two")
    registry.certify("early", [one], HOURS[1], HOURS[3])
    registry.certify("always", [two], None, None)
    registry.chain("calibs", ["early", "always"])
    found = [of_visit(registry, visit, collections="calibs") for visit in (1, 2, 3, 4)]
    assert found == [one, one, two, two]


def test_run_after_a_calibration_collection_is_searched_at_any_time(registry, put):
    one, two = put("one"), put("two")
    registry.certify("calib", [one], HOURS[1], HOURS[2])
    registry.chain("all", ["calib", "two"])
    assert of_visit(registry, 1, collections="all") == one
    assert of_visit(registry, 3, collections="all") == two


def test_run_takes_no_certification(registry, put):
    ref = put("one")
    with refuses(Why.CONFLICT, Why.INVALID):
        registry.certify("one", [ref], None, None)


def test_dataset_type_that_was_not_declared_a_calibration(registry):
    """Documented difference: here any dataset may be valid for a time; the peer's types must say so."""
    ref = registry.put("image", "made", **CAM, visit=1, detector=0)
    if registry.name == "peer":
        with refuses(Why.INVALID):
            registry.certify("calib", [ref], None, None)
    else:
        registry.certify("calib", [ref], None, None)


# ---------------------------------------------------------------------------- decertify


@pytest.mark.parametrize(
    ("begin", "end", "left"),
    [
        (0, 2, [2, 3, 4]),  # its begin
        (4, 9, [1, 2, 3]),  # its end
        (2, 3, [1, 3, 4]),  # from its middle: it is split
        (0, 9, []),
        (None, None, []),
        (None, 3, [3, 4]),
        (3, None, [1, 2]),
        (6, 9, [1, 2, 3, 4]),  # elsewhere
    ],
)
def test_decertify_takes_its_timespan_out_of_a_validity(registry, put, begin, end, left):
    ref = put("one")
    registry.certify("calib", [ref], HOURS[1], HOURS[5])
    registry.decertify(
        "calib", "bias", None if begin is None else HOURS[begin], None if end is None else HOURS[end]
    )
    assert valid_for(registry) == left
    assert all(of_visit(registry, visit) == ref for visit in left)


def test_decertify_of_some_data_ids_leaves_the_others(registry, put):
    registry.certify("calib", [put("one", 0), put("one", 1)], HOURS[1], HOURS[5])
    registry.decertify("calib", "bias", HOURS[2], HOURS[3], [CAM | {"detector": 1}])
    assert valid_for(registry, 0) == [1, 2, 3, 4]
    assert valid_for(registry, 1) == [1, 3, 4]


def test_decertify_of_one_dataset_type_leaves_the_others(registry, put):
    flat = registry.put("flat", "one", **CAM, detector=0, physical_filter="R1")
    registry.certify("calib", [put("one"), flat], HOURS[1], HOURS[5])
    registry.decertify("calib", "bias", None, None)
    assert valid_for(registry) == []
    assert registry.find("flat", CAM, collections="calib", visit=1, detector=0) == flat


def test_gap_of_a_split_validity_may_be_filled(registry, put):
    one, two = put("one"), put("two")
    registry.certify("calib", [one], HOURS[1], HOURS[5])
    registry.decertify("calib", "bias", HOURS[2], HOURS[4])
    registry.certify("calib", [two], HOURS[2], HOURS[4])
    assert [of_visit(registry, visit) for visit in (1, 2, 3, 4)] == [one, two, two, one]


def test_decertify_leaves_the_dataset_in_its_run(registry, put):
    ref = put("one")
    registry.certify("calib", [ref], None, None)
    registry.decertify("calib", "bias", None, None)
    assert registry.find("bias", CAM, collections="one", detector=0) == ref


def test_removing_calibrations_leaves_the_datasets(registry, put):
    ref = put("one")
    registry.certify("calib", [ref], None, None)
    registry.remove_collection("calib")
    assert answer(lambda: of_visit(registry, 1)) == "missing"
    assert registry.find("bias", CAM, collections="one", detector=0) == ref
