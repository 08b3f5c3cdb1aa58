"""Which quanta there are."""

import numpy as np
import pytest
from astropy.time import Time

from quantumio import (
    Calibration,
    ConflictError,
    ErrorKind,
    Input,
    InvalidInputError,
    NotFoundError,
    Output,
    Pipeline,
    SuperTask,
    Timespan,
)
from tests.unit.supertask.conftest import HOUR
from tests.unit.supertask.tasks import EXPOSURE, NIGHT, VISIT, Copy, Mean, Night, Scale, put_raws


def moment(hours):
    return Timespan(int(hours * HOUR), 10**18).begin


def visits(plan, task):
    return [quantum.data_id["visit"] for quantum in plan.quanta if quantum.task == task]


def test_every_quantum_and_its_refs_are_predicted(butler):
    plan = Pipeline([Scale(), Mean(), Night()]).plan(butler, run="u/out", collections=["raw", "calib"])
    assert plan.counts() == {"Scale": 4, "Mean": 4, "Night": 2}
    assert len(plan) == 10
    first = plan.quanta[0]
    assert first.data_id == {"instrument": "T", "exposure": 1, "visit": 1, "detector": 0}
    assert first.key == "Scale(instrument='T', detector=0, exposure=1, visit=1)"
    assert [ref.version for ref in first.inputs["raw"]] == [1]
    assert first.calibrations["bias"].run == "masters"
    predicted = first.outputs["scaled"]
    assert predicted.id.version == 7
    assert predicted.run == "u/out"
    assert predicted.version is None
    assert predicted.data_id == {"instrument": "T", "visit": 1, "detector": 0}
    mean = next(quantum for quantum in plan if quantum.task == "Mean")
    assert mean.inputs["scaled"] == (predicted,)
    assert mean.requires == (first.key,)
    night = plan.quanta[-1]
    assert night.data_id["day_obs"] == 20260102
    assert [ref.data_id["visit"] for ref in night.inputs["mean"]] == [3, 4]
    assert len(night.requires) == 2


def test_a_plan_can_be_looked_at(butler):
    plan = Pipeline([Copy()]).plan(butler, run="u/out", collections="raw")
    assert repr(plan) == "<Plan for run 'u/out': 4 quanta (Copy 4)>"
    assert plan.table()[0]["outputs"] == "scaled"
    assert plan.quantum(plan.quanta[2].key) is plan.quanta[2]
    with pytest.raises(NotFoundError):
        plan.quantum("Copy()")


def test_the_order_of_the_plan_is_topological(butler):
    plan = Pipeline([Night(), Mean(), Copy()]).plan(butler, run="u/out", collections="raw")
    seen = set()
    for quantum in plan:
        assert seen.issuperset(quantum.requires)
        seen.add(quantum.key)


@pytest.mark.parametrize(
    ("where", "keys", "expected"),
    [
        ("exposure > 2", {}, [3, 4]),
        ("visit > 2", {}, [3, 4]),
        ("visit IN (1, 4) AND exposure < 4", {}, [1]),
        ("day_obs = 20260101", {}, [1, 2]),
        ("exposure.obs_id = 'T3'", {}, [3]),
        ("visit.name = 'T3' OR exposure = 1", {}, [1, 3]),
        (None, {"exposure": 2}, [2]),
        (None, {"visit": 2}, [2]),
        (None, {"day_obs": 20260102}, [3, 4]),
        (None, {"band": "r", "visit": np.int64(4)}, [4]),
        ("visit < 4", {"day_obs": 20260102}, [3]),
    ],
)
def test_expressions_and_keys_choose_quanta(butler, where, keys, expected):
    plan = Pipeline([Copy(), Mean()]).plan(butler, where, run="u/out", collections="raw", **keys)
    assert visits(plan, "Copy") == expected
    assert visits(plan, "Mean") == expected


def test_parameters_of_the_expression_are_bound(butler):
    plan = Pipeline([Copy()]).plan(
        butler, "exposure >= :first", bind={"first": 4}, run="u/out", collections="raw"
    )
    assert visits(plan, "Copy") == [4]


def test_visit_definitions_say_which_exposure_is_which_visit(butler):
    butler.insert_dimension(
        "visit", [{"visit": 70, "name": "V70", "physical_filter": "R", "day_obs": 20260101}]
    )
    butler.insert_dimension("visit_definition", [{"exposure": 1, "visit": 70}, {"exposure": 3, "visit": 3}])
    plan = Pipeline([Copy()]).plan(butler, run="u/out", collections="raw")
    assert [(one.data_id["exposure"], one.data_id["visit"]) for one in plan] == [(1, 70), (3, 3)]


def test_quanta_exist_without_any_dimension_record(empty):
    put_raws(empty, [7, 8], detectors=(0, 1))
    plan = Pipeline([Copy(), Mean()]).plan(empty, run="u/out", collections="raw")
    assert plan.counts() == {"Copy": 4, "Mean": 4}
    assert sorted(visits(plan, "Mean")) == [7, 7, 8, 8]


def test_the_calibration_is_the_one_that_is_valid_at_the_time(butler):
    with butler.context(run="masters2") as ctx:
        ctx.put(np.full(4, 2.0), "bias", detector=0)
    butler.decertify("calib", "bias", moment(3), None)
    butler.certify("calib", ctx.refs, moment(3), None)
    plan = Pipeline([Scale()]).plan(butler, run="u/out", collections=["raw", "calib"])
    assert [one.calibrations["bias"].run for one in plan] == ["masters", "masters", "masters2", "masters2"]


def test_a_missing_calibration_names_the_quantum_and_the_candidates(butler):
    butler.decertify("calib", "bias", moment(2), moment(3))
    with pytest.raises(NotFoundError) as caught:
        Pipeline([Scale()]).plan(butler, run="u/out", collections=["raw", "calib"])
    message = str(caught.value)
    assert "Scale(instrument='T', detector=0, exposure=2, visit=2)" in message
    assert "'bias'" in message
    assert "candidates: bias(instrument='T', detector=0) in masters v1" in message


def test_a_calibration_outside_of_calibration_collections_is_not_valid(butler):
    with pytest.raises(NotFoundError, match="no calibration 'bias' is valid"):
        Pipeline([Scale()]).plan(butler, run="u/out", collections=["raw", "masters"])


def test_several_valid_calibrations_are_an_error_that_names_them(butler):
    butler.decertify("calib", "bias", moment(2.5), None)
    with butler.context(run="masters2") as ctx:
        ctx.put(np.full(4, 2.0), "bias", detector=0)
    butler.certify("calib", ctx.refs, moment(2.5), None)
    with pytest.raises(ConflictError) as caught:
        Pipeline([Scale()]).plan(butler, run="u/out", collections=["raw", "calib"])
    assert caught.value.kind is ErrorKind.AMBIGUOUS_CALIBRATION
    for part in ("exposure=2", "in masters v1", "in masters2 v1"):
        assert part in str(caught.value)


def test_a_calibration_without_a_time_to_look_it_up_at_says_so(empty):
    put_raws(empty, [7])
    with empty.context(run="masters") as ctx:
        ctx.put(np.ones(4), "bias", detector=0)
    empty.certify("calib", ctx.refs, Time("2026-01-01"), None)
    with pytest.raises(NotFoundError, match=r"Scale\(.*exposure=7.*insert"):
        Pipeline([Scale()]).plan(empty, run="u/out", collections=["raw", "calib"])


def test_quanta_exist_only_where_all_required_inputs_are(butler):
    class Both(SuperTask):
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
        scaled = Input("scaled", dimensions=VISIT, storage_class="NDArray")
        mean = Output("mean", dimensions=VISIT, storage_class="Mapping")

        def run(self, ctx): ...

    class Either(Both):
        scaled = Input("scaled", dimensions=VISIT, storage_class="NDArray", optional=True)

    with butler.context(run="u/scaled") as ctx:
        ctx.put(np.zeros(4), "scaled", visit=2, detector=0)
    collections = ["raw", "u/scaled"]
    assert visits(Pipeline([Both()]).plan(butler, run="u/out", collections=collections), "Both") == [2]
    plan = Pipeline([Either()]).plan(butler, run="u/out", collections=collections)
    assert [len(one.inputs["scaled"]) for one in plan] == [0, 1, 0, 0]


def test_a_day_gathers_only_its_own_visits_and_unknown_days_are_skipped(butler):
    put_raws(butler, [9])
    plan = Pipeline([Copy(), Mean(), Night()]).plan(butler, run="u/out", collections="raw")
    assert plan.counts() == {"Copy": 5, "Mean": 5, "Night": 2}
    assert [len(one.inputs["mean"]) for one in plan if one.task == "Night"] == [2, 2]


def test_nothing_to_do_says_what_is_missing(butler):
    with pytest.raises(InvalidInputError) as caught:
        Pipeline([Copy(), Mean()]).plan(butler, "exposure > 9", run="u/out", collections="raw")
    assert "there is no 'raw' with exposure > 9" in str(caught.value)
    assert "raw" in str(caught.value.hint)


def test_a_task_without_quanta_is_noted(butler):
    class Lonely(SuperTask):
        debug = Input("scaled_debug", dimensions=VISIT, storage_class="NDArray")
        night = Output("lonely", dimensions=VISIT, storage_class="Mapping")

        def run(self, ctx): ...

    pipeline = Pipeline([Copy(), Lonely()])
    pipeline.register_dataset_types(butler)
    plan = pipeline.plan(butler, run="u/out", collections="raw")
    assert plan.counts() == {"Copy": 4, "Lonely": 0}
    assert plan.notes == ("Lonely: there is no 'scaled_debug'",)


def test_an_output_that_several_quanta_would_write_is_refused(butler):
    class Coarse(SuperTask):
        dimensions = EXPOSURE
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
        day = Output("bias", dimensions=("instrument", "detector"), storage_class="NDArray")

        def run(self, ctx): ...

    with pytest.raises(InvalidInputError, match="would both write bias"):
        Pipeline([Coarse()]).plan(butler, run="u/out", collections="raw")


def test_what_cannot_be_predicted_cannot_be_planned_with(butler):
    class Split(SuperTask):
        dimensions = NIGHT
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray", multiple=True)
        scaled = Output("scaled", dimensions=VISIT, storage_class="NDArray")

        def run(self, ctx): ...

    assert [one.outputs for one in Pipeline([Split()]).plan(butler, run="u/out", collections="raw")] == [
        {},
        {},
    ]
    with pytest.raises(InvalidInputError, match="'Mean' reads 'scaled'.*'Split'"):
        Pipeline([Split(), Mean()]).plan(butler, run="u/out", collections="raw")


def test_a_task_without_inputs_runs_over_dimension_records_or_given_keys(butler):
    class Simulate(SuperTask):
        dimensions = ("instrument", "exposure", "detector")
        raw = Output("raw", dimensions=EXPOSURE, storage_class="NDArray")

        def run(self, ctx): ...

    pipeline = Pipeline([Simulate()])
    assert len(pipeline.plan(butler, run="u/sim", collections="raw")) == 4
    assert len(pipeline.plan(butler, "exposure > 2", run="u/sim", collections="raw")) == 2
    given = pipeline.plan(butler, run="u/sim", collections="raw", instrument="N", exposure=99, detector=5)
    assert [one.data_id for one in given] == [{"instrument": "N", "exposure": 99, "detector": 5}]


def test_a_declaration_that_differs_from_the_registered_type_is_refused(butler):
    class Other(SuperTask):
        raw = Input("raw", dimensions=EXPOSURE, storage_class="Text")
        out = Calibration("bias", dimensions=("instrument",), storage_class="NDArray")

        def run(self, ctx): ...

    with pytest.raises(InvalidInputError, match="task 'Other' declares 'raw'.*registered"):
        Pipeline([Other()]).plan(butler, run="u/out", collections="raw")


def test_unknown_names_are_errors(butler):
    class Unknown(SuperTask):
        raw = Input("not_there", dimensions=EXPOSURE, storage_class="NDArray")

        def run(self, ctx): ...

    with pytest.raises(NotFoundError, match="not_there"):
        Pipeline([Unknown()]).plan(butler, run="u/out", collections="raw")
    with pytest.raises(NotFoundError, match="nowhere"):
        Pipeline([Copy()]).plan(butler, run="u/out", collections="nowhere")
    with pytest.raises(InvalidInputError, match="run"):
        Pipeline([Copy()]).plan(butler, collections="raw")
    with pytest.raises(InvalidInputError):
        Pipeline([Copy()]).plan(butler, "exposure >", run="u/out", collections="raw")
    with pytest.raises(InvalidInputError, match="exposre"):
        Pipeline([Copy()]).plan(butler, run="u/out", collections="raw", exposre=1)
