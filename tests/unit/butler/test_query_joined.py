"""Datasets that belong together, through a Butler."""

import numpy as np
import pytest

from quantumio import AsyncButler, ConflictError, InvalidInputError, NotFoundError, Timespan
from quantumio.errors import ErrorKind


@pytest.fixture
def night(butler):
    """Three exposures of a filter each, raws of all, images of two of them, flats that are certified."""
    for number, name in ((1, "R"), (2, "I"), (3, "R")):
        record = {"instrument": "ST8", "physical_filter": name}
        span = Timespan(number * 10, number * 10 + 1)
        butler.insert_dimension("exposure", [{**record, "exposure": number, "timespan": span}])
    with butler.context(run="raws") as context:
        for number in (1, 2, 3):
            context.put(np.array([number]), "raw", exposure=number, detector=0)
    with butler.context(run="r") as context:
        for number in (1, 3):
            context.put(np.array([number]), "calexp", visit=number, detector=0)
    with butler.context(run="gen") as context:
        context.put({}, "flat", detector=0, physical_filter="R")
        context.put({}, "bias", detector=0)
    butler.certify("calib", list(butler.query("flat", collections="gen")), None, None)
    (bias,) = butler.query("bias", collections="gen")
    assert butler.certify_each("calib", [bias, str(bias.id)], None, Timespan(0, 25).end) == 1
    return butler


def test_each_image_comes_with_its_raw(night):
    pairs = night.query_joined(["calexp", "raw"], collections=["r", "raws"])
    assert [(one.data_id["visit"], other.data_id["exposure"]) for one, other in pairs] == [(1, 1), (3, 3)]
    assert [[ref.dataset_type.name for ref in pair] for pair in pairs] == [["calexp", "raw"]] * 2
    assert (pairs.count(), pairs.exists()) == (2, True)
    none = night.query_joined(["calexp", "raw"], collections=["r"])
    assert (list(none), none.count(), none.exists()) == ([], 0, False)
    one = night.query_joined(["calexp", "raw"], collections=["r", "raws"], limit=1)
    assert (len(list(one)), one.count()) == (1, 1)
    chosen = night.query_joined(
        ["calexp", "raw"],
        collections="*",
        where="raw.committed <= calexp.committed AND exposure > :n",
        bind={"n": 1},
    )
    assert [pair[1].data_id["exposure"] for pair in chosen] == [3]
    assert len(list(night.query_joined(["raw"], collections="raws", exposure=2))) == 1


def test_each_raw_comes_with_its_calibrations(night):
    rows = list(night.query_joined(["raw"], calibrations=["flat", "bias"], collections=["raws", "calib"]))
    for raw, flat, bias in rows:
        for name, found in (("flat", flat), ("bias", bias)):
            there = night.find(name, raw.data_id, collections=["calib"])
            assert found == there
    assert [[ref is not None for ref in row] for row in rows] == [
        [True, True, True],
        [True, False, True],  # no flat for this filter
        [True, True, False],  # the bias is valid no more
    ]


def test_several_valid_calibrations_are_an_error(night):
    with night.context(run="again") as context:
        context.put({}, "bias", detector=0)
    (bias,) = night.query("bias", collections="again")
    night.certify("calib2", [bias], None, None)
    rows = list(
        night.query_joined(["raw"], calibrations="bias", collections=["raws", "calib2", "calib"], exposure=1)
    )
    assert rows[0][1] == bias  # the first collection that has any
    spans = [Timespan(0, 5), Timespan(10, 11)]
    night.certify("calib3", [bias], spans[0].begin, spans[0].end)
    (old,) = night.query("bias", collections="gen")
    night.certify("calib3", [old], spans[0].end, None)
    night.insert_dimension(
        "exposure",
        [{"instrument": "ST8", "exposure": 9, "physical_filter": "R", "timespan": Timespan(0, 10)}],
    )
    with night.context(run="raws") as context:
        context.put(np.array([9]), "raw", exposure=9, detector=0)
    with pytest.raises(ConflictError, match="2 datasets 'bias' are valid for") as error:
        list(night.query_joined(["raw"], calibrations=["bias"], collections=["raws", "calib3"], exposure=9))
    assert error.value.kind is ErrorKind.AMBIGUOUS_CALIBRATION


def test_joins_are_tables(night):
    join = night.query_joined(["raw"], calibrations=["bias"], collections=["raws", "calib"])
    rows = list(join)
    table = join.table()
    assert table.column_names == [
        *("instrument", "detector", "exposure", "raw.id", "raw.run", "raw.version"),
        *("bias.id", "bias.run", "bias.version"),
    ]
    assert table["raw.id"].to_pylist() == [str(raw.id) for raw, _ in rows]
    assert table["bias.id"].to_pylist() == [bias and str(bias.id) for _, bias in rows]
    assert table["bias.version"].to_pylist() == [1, 1, None]
    assert len(join.table("astropy")) == len(join.table("pandas")) == 3
    with pytest.raises(InvalidInputError):
        join.table("list")


def test_joins_and_look_ups_look_back(night):
    then = night.snapshot("then").seq
    night.remove_snapshot("then")
    night.decertify("calib", "flat", None, None)
    (raw, *_) = night.query("raw", collections="raws")
    night.delete(raw, dry_run=False)
    night.insert_dimension("visit", [{"instrument": "ST8", "visit": 7}])
    join = night.query_joined(["raw"], calibrations=["flat"], collections=["raws", "calib"], as_of=then)
    assert [flat is not None for _, flat in join] == [True, False, True]
    now = night.query_joined(["raw"], calibrations=["flat"], collections=["raws", "calib"])
    assert [flat for _, flat in now] == [None, None]
    data_ids = [{"instrument": "ST8", "exposure": 3, "detector": 0}]
    for as_of, matches in ((then, [1]), (None, [0])):
        table = night.find_each("flat", data_ids, collections="calib", as_of=as_of)
        assert table["matches"].to_pylist() == matches
    assert len(night.query_dimension_records("visit")) == 1
    assert night.query_dimension_records("visit", as_of=then) == []
    ids = night.query_data_ids(["exposure"], datasets="raw", collections="raws", as_of=then)
    assert [one["exposure"] for one in ids] == [1, 2, 3]
    now_ids = night.query_data_ids(["exposure"], datasets=["raw"], collections="raws")
    assert [one["exposure"] for one in now_ids] == [2, 3]


def test_calibrations_that_were_deleted_since_are_there_then(night):
    """Their refs are those of the moment."""
    join = ["raw"], ["flat"]
    then = night.snapshot("then").seq
    night.remove_snapshot("then")
    before = list(night.query_joined(join[0], calibrations=join[1], collections=["raws", "calib"]))
    night.delete(night.query("flat", collections="gen"), unlink=True, dry_run=False)
    now = night.query_joined(join[0], calibrations=join[1], collections=["raws", "calib"])
    assert [flat for _, flat in now] == [None, None, None]
    back = night.query_joined(join[0], calibrations=join[1], collections=["raws", "calib"], as_of=then)
    assert list(back) == before
    assert [flat is None for _, flat in back] == [False, True, False]


def test_run_that_is_not_there_yet_has_nothing(make_root, open_butler):
    butler = open_butler(make_root(), run="new")
    butler.insert_dimension("exposure", [{"instrument": "ST8", "exposure": 1}])
    assert butler.query_data_ids(["exposure"]) == [{"instrument": "ST8", "exposure": 1}]
    assert butler.query_data_ids(["exposure"], datasets="raw") == []
    join = butler.query_joined(["raw"])
    assert (list(join), join.count(), join.exists()) == ([], 0, False)
    with pytest.raises(NotFoundError):
        butler.query_data_ids(["exposure"], datasets="raw", collections="nowhere")


def test_wrong_joins_are_refused(night):
    with pytest.raises(NotFoundError):
        list(night.query_joined(["raw", "nothing"], collections="raws"))
    with pytest.raises(NotFoundError):
        list(night.query_joined(["raw"], collections="nowhere"))
    for wrong in ({"limit": -1}, {"bind": 5}, {"exposure": "x"}):
        with pytest.raises(InvalidInputError):
            list(night.query_joined(["raw"], collections="raws", **wrong))
    with pytest.raises(InvalidInputError):
        night.query_joined(5)


@pytest.mark.asyncio
async def test_joins_on_event_loops(make_root, open_butler):
    root = make_root()
    butler = open_butler(root, run="r")
    with butler.context() as context:
        context.put(np.array([1]), "raw", exposure=1, detector=0)
        context.put(np.array([1]), "calexp", visit=1, detector=0)
    (ref,) = butler.query("raw")
    async with AsyncButler(root) as other:
        join = other.query_joined(["calexp", "raw"], collections="r")
        assert [pair[1] async for pair in join] == [ref]
        assert (await join.count(), await join.exists()) == (1, True)
        assert (await join.table())["raw.id"].to_pylist() == [str(ref.id)]
        assert await other.certify_each("calib", [ref]) == 1
        found = await other.query_data_ids(["exposure"], datasets="raw", collections="r", as_of=None)
        assert [one["exposure"] for one in found] == [1]
