"""Which tasks fit together."""

import pytest

from quantumio import Calibration, ErrorKind, Input, InvalidInputError, Output, Pipeline, SuperTask
from tests.unit.supertask.tasks import DATASET_TYPES, MASTER, VISIT, Copy, Mean, Night, Scale


class Back(SuperTask):
    night = Input("mean", dimensions=VISIT, storage_class="Mapping")
    scaled = Output("scaled", dimensions=VISIT, storage_class="NDArray")

    def run(self, ctx): ...


class Coarse(SuperTask):
    scaled = Input("scaled", dimensions=("instrument", "visit"), storage_class="NDArray")

    def run(self, ctx): ...


class Texts(SuperTask):
    scaled = Input("scaled", dimensions=VISIT, storage_class="Text")

    def run(self, ctx): ...


class MakesBias(SuperTask):
    bias = Output("bias", dimensions=MASTER, storage_class="NDArray")

    def run(self, ctx): ...


class NeedsScaled(SuperTask):
    scaled = Calibration("scaled", dimensions=VISIT, storage_class="NDArray")

    def run(self, ctx): ...


def test_tasks_are_sorted_so_that_producers_come_first():
    pipeline = Pipeline([Night(), Mean(), Scale()])
    assert [task.label for task in pipeline] == ["Scale", "Mean", "Night"]
    assert pipeline.inputs == ("raw",)
    assert pipeline.calibrations == ("bias",)
    assert pipeline.outputs == ("scaled", "scaled_debug", "mean", "night")
    assert {one.name for one in pipeline.dataset_types} == {one.name for one in DATASET_TYPES}
    assert len(pipeline) == 3
    assert repr(pipeline) == "<Pipeline Scale -> Mean -> Night>"


def test_declarations_that_differ_in_implied_keys_only_agree():
    class Short(SuperTask):
        scaled = Input("scaled", dimensions=("visit", "detector"), storage_class="NDArray")

        def run(self, ctx): ...

    assert len(Pipeline([Copy(), Short()])) == 2


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ([Copy(), Scale()], ["'Copy' and 'Scale' both write 'scaled'"]),
        ([Mean(), Mean()], ["two tasks", "'Mean'", "label="]),
        ([Copy(), Coarse()], ["'Copy'", "'Coarse'", "dimensions", "'scaled'"]),
        ([Copy(), Texts()], ["'Copy'", "'Texts'", "storage class NDArray and Text"]),
        ([MakesBias(), Scale()], ["'MakesBias' writes 'bias'", "'Scale'", "certify"]),
        ([Copy(), NeedsScaled()], ["'Copy' writes 'scaled'", "'NeedsScaled'", "calibration"]),
        ([Copy], ["is no SuperTask", "Copy()"]),
        ([], ["no task"]),
    ],
)
def test_tasks_that_do_not_fit_are_named(tasks, parts):
    with pytest.raises(InvalidInputError) as caught:
        Pipeline(tasks)
    for part in parts:
        assert part in str(caught.value)


def test_a_circle_is_named():
    with pytest.raises(InvalidInputError) as caught:
        Pipeline([Mean(), Back()])
    assert caught.value.kind is ErrorKind.CYCLE
    assert "Mean -> Back -> Mean" in str(caught.value) or "Back -> Mean -> Back" in str(caught.value)


def test_dataset_types_of_a_pipeline_are_registered_once(empty):
    class Other(SuperTask):
        mean = Input("mean", dimensions=VISIT, storage_class="Mapping")
        text = Output("text", dimensions=VISIT, storage_class="Text")

        def run(self, ctx): ...

    pipeline = Pipeline([Mean(), Other()])
    assert pipeline.register_dataset_types(empty) == ["text"]
    assert pipeline.register_dataset_types(empty) == []
