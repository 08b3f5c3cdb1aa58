"""Look-ups of many data IDs at once, through a Butler."""

from types import MappingProxyType

import numpy as np
import pytest

from quantumio import ConflictError, InvalidInputError, NotFoundError, Timespan


@pytest.fixture
def night(butler):
    for visit, band in ((1, "R"), (2, "I"), (3, "R")):
        butler.insert_dimension(
            "visit",
            [
                {
                    "instrument": "ST8",
                    "visit": visit,
                    "physical_filter": band,
                    "timespan": Timespan(visit * 10, visit * 10 + 1),
                }
            ],
        )
    with butler.context(run="gen") as context:
        for detector in (0, 1):
            for band in ("R", "I"):
                context.put({"flat": band}, "flat", detector=detector, physical_filter=band)
            context.put({"bias": detector}, "bias", detector=detector)
    with butler.context(run="again") as context:
        context.put({"bias": 1}, "bias", detector=1)
    with butler.context() as context:
        context.put({"visit": 1}, "stats", visit=1)
    for name, timespan in (("flat", (None, None)), ("bias", (None, None))):
        butler.certify("calib", list(butler.query(name, collections="gen")), *timespan)
    return butler


def expected(butler, name, data_ids, collections):
    rows = []
    for data_id in data_ids:
        try:
            found = butler.find(name, data_id, collections=collections)
        except NotFoundError:
            found = None
        except ConflictError:
            found = "several"
        rows.append(None if found is None or found == "several" else str(found.id))
    return rows


@pytest.mark.parametrize("collections", [["calib"], ["again", "calib"], ["gen"], ["r"]])
def test_each_is_what_find_gives(night, collections):
    by_visit = [{"instrument": "ST8", "visit": v, "detector": d} for v in (1, 2, 3, 9) for d in (0, 1, 5)]
    complete = [{"instrument": "ST8", "detector": d, "physical_filter": "R"} for d in (0, 1, 5)]
    for name, data_ids in (("flat", by_visit), ("bias", by_visit), ("flat", complete)):
        if collections in (["gen"], ["r"]) and data_ids is by_visit:
            continue  # a visit means nothing in a run of calibrations
        if collections == ["again", "calib"] and name == "flat" and data_ids is by_visit:
            data_ids = by_visit[:9]
        table = night.find_each(name, data_ids, collections=collections)
        assert table.column("id").to_pylist() == expected(night, name, data_ids, collections)
        assert table.column("detector").to_pylist() == [one["detector"] for one in data_ids]


def test_data_ids_of_records_are_looked_up(night):
    night.insert_dimension("detector", [{"instrument": "ST8", "detector": number} for number in (0, 1)])
    data_ids = night.query_data_ids(["visit", "detector"])
    assert len(data_ids) == 6
    frame = night.find_each("flat", data_ids, collections="calib", as_="pandas")
    assert list(frame["matches"]) == [1] * 6
    assert len(set(frame["id"])) == 4


def test_data_ids_of_different_dimensions_are_looked_up_together(night):
    """They come in the order in which they were given, whatever their types."""
    data_ids = [
        {"instrument": "ST8", "visit": 1, "detector": 0},
        {"instrument": "ST8", "detector": 1, "physical_filter": "R"},
        {"visit": np.int64(2), "detector": np.int32(1)},
        MappingProxyType({"visit": 3, "detector": 0, "instrument": "ST8"}),
        {"detector": 1, "visit": 9, "instrument": "ST8"},
        {"visit": 2, "detector": 0},
    ]
    table = night.find_each("flat", data_ids, collections="calib")
    # without a time a calibration is not found, not even by its whole data ID
    assert table.column("id").to_pylist() == expected(night, "flat", data_ids, ["calib"])
    assert table.column("matches").to_pylist() == [1, 0, 1, 1, 0, 1]
    assert table.column("visit").to_pylist() == [1, None, 2, 3, 9, 2]
    assert table.column("detector").to_pylist() == [0, 1, 1, 0, 1, 0]
    assert table.column("instrument").to_pylist() == ["ST8", "ST8", None, "ST8", "ST8", None]
    assert table.column("physical_filter").to_pylist() == [None, "R", None, None, None, None]


@pytest.mark.parametrize(
    "wrong", [{"visit": True}, {"visit": "1a"}, {"visit": 1 << 63}, {"visit": 1.5}, {"visit": None}]
)
def test_a_wrong_value_among_right_ones_is_named(night, wrong):
    right = [{"instrument": "ST8", "visit": visit, "detector": 0} for visit in (1, 2, 3)]
    with pytest.raises(InvalidInputError, match="is no value of dimension 'visit'"):
        night.find_each("flat", [*right, {**right[0], **wrong}], collections="calib")


def test_what_cannot_be_looked_up_is_refused(night):
    assert night.find_each("flat", [], collections="calib").num_rows == 0
    for wrong in ({"detector": 1}, "flat", 3):
        with pytest.raises(InvalidInputError, match="no list of data IDs"):
            night.find_each("flat", wrong, collections="calib")
    with pytest.raises(InvalidInputError):
        night.find_each("flat", [{"instrument": "ST8", "detector": 1, "colour": 3}], collections="calib")
    with pytest.raises(NotFoundError):
        night.find_each("flat", [], collections="nothing")
    with pytest.raises(NotFoundError):
        night.find_each("nothing", [], collections="calib")


def test_visits_of_the_type_itself_have_their_own_times(night):
    late = night.find("stats", visit=1, collections="r")
    night.certify("of_stats", [late], Timespan(10, 11).begin, Timespan(10, 11).end)
    night.certify("never", [night.find("bias", detector=0, collections="gen")], None, None)
    data_ids = [{"instrument": "ST8", "visit": visit, "detector": 0} for visit in (99, 2, 1)]
    for collections in (["of_stats"], ["never", "r"]):
        table = night.find_each("stats", data_ids, collections=collections)
        assert table.column("id").to_pylist() == [None, None, str(late.id)]


def test_filter_that_its_visit_contradicts_is_refused(night):
    data_ids = [{"instrument": "ST8", "visit": visit, "physical_filter": "R"} for visit in (1, 2)]
    with pytest.raises(InvalidInputError, match="contradict"):
        night.find("stats", data_ids[1], collections=["calib", "r"])
    with pytest.raises(InvalidInputError, match="contradict"):
        night.find_each("stats", data_ids, collections=["calib", "r"])


def test_default_visit_is_one_of_each_instrument(night, open_butler):
    night.insert_dimension(
        "visit",
        [{"instrument": "B", "visit": 1, "physical_filter": "R", "timespan": Timespan(100, 101)}],
    )
    for run in ("old", "new"):
        with night.context(run=run) as context:
            for instrument in ("ST8", "B"):
                context.put({"run": run}, "bias", instrument=instrument, detector=7)
    edge = Timespan(50, 51).begin
    for instrument in ("ST8", "B"):
        for run, valid in (("old", (None, edge)), ("new", (edge, None))):
            refs = list(night.query("bias", collections=run, instrument=instrument))
            night.certify("changed", refs, *valid)
    by_default = open_butler(night._session.repositories[0].root, run="r", visit=1)
    for instruments in (["ST8", "B"], ["B", "ST8"]):
        data_ids = [{"instrument": instrument, "detector": 7} for instrument in instruments]
        table = by_default.find_each("bias", data_ids, collections="changed")
        expected = [str(by_default.find("bias", one, collections="changed").id) for one in data_ids]
        assert table.column("id").to_pylist() == expected


def test_several_repositories_are_searched_in_turn(night, make_root, open_butler):
    second = make_root("second")
    with open_butler(second, run="r") as other:
        with other.context(run="gen") as context:
            context.put({"bias": 7}, "bias", detector=7)
        other.certify("calib", list(other.query("bias", collections="gen")), None, None)
    both = open_butler([night._session.repositories[0].root, second], run="r")
    data_ids = [{"instrument": "ST8", "visit": 1, "detector": detector} for detector in (0, 7, 8)]
    table = both.find_each("bias", data_ids, collections="calib")
    assert table.column("matches").to_pylist() == [1, 1, 0]
