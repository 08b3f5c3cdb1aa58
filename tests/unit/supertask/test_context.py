"""What a task can do with its context."""

import numpy as np
import pytest

from quantumio import (
    ConflictError,
    ErrorKind,
    Input,
    InvalidInputError,
    NotFoundError,
    Output,
    Pipeline,
    SuperTask,
)
from tests.unit.supertask.tasks import EXPOSURE, NIGHT, VISIT, Copy, Mean, Night, Scale


def run(butler, *tasks, collections=("raw", "calib"), **keys):
    """Run tasks over everything and raise what they raise."""
    report = Pipeline(tasks).run(butler, run="u/out", collections=list(collections), jobs=1, **keys)
    if not report.ok:
        raise report.failures[0].error
    return report


def test_data_ids_default_to_that_of_the_quantum(butler):
    seen = []

    class Looks(Scale):
        def run(self, ctx):
            seen.append(ctx.data_id)
            assert ctx.quantum.data_id == ctx.data_id
            assert ctx.get(self.raw)[0] == ctx.data_id["exposure"] * 10
            assert ctx.get("raw", exposure=ctx.data_id["exposure"])[0] == ctx.data_id["exposure"] * 10
            assert ctx.get(self.bias).tolist() == [1.0] * 4
            assert ctx.get(ctx.quantum.calibrations["bias"]).tolist() == [1.0] * 4
            assert ctx.get(ctx.quantum.inputs["raw"][0].id).shape == (4,)
            receipt = ctx.put(np.zeros(4), self.scaled, {"visit": ctx.data_id["visit"]})
            assert receipt.ref == ctx.quantum.outputs["scaled"]

    run(butler, Looks(), exposure=3)
    assert seen == [{"instrument": "T", "exposure": 3, "visit": 3, "detector": 0}]


def test_forms_and_parts_are_passed_on(butler):
    class Forms(Mean):
        def run(self, ctx):
            assert isinstance(ctx.get(self.scaled, as_="numpy"), np.ndarray)
            with pytest.raises(InvalidInputError):
                ctx.get(self.scaled, component="wcs")
            with pytest.raises(InvalidInputError, match="versions that its plan found"):
                ctx.get(self.scaled, version=1)

    run(butler, Copy(), Forms(), exposure=1)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("raw", {}),
        ("bias", {}),
        ("night", {}),
        ("unheard", {}),
        ("scaled", {"visit": 77}),
        ("scaled", {"detector": 1}),
    ],
)
def test_undeclared_puts_are_refused(butler, name, keys):
    class Puts(Scale):
        def run(self, ctx):
            ctx.put(np.zeros(4), name, **keys)

    with pytest.raises(InvalidInputError) as caught:
        run(butler, Puts(), exposure=1)
    message = str(caught.value)
    assert caught.value.kind is ErrorKind.UNDECLARED
    assert "quantum Scale" in message or "quantum Puts(" in message
    assert name in message
    assert "inputs raw; calibrations bias; outputs scaled, scaled_debug" in message
    assert list(butler.query("scaled")) == []


def test_undeclared_gets_are_refused_also_by_ref(butler):
    other = next(iter(butler.query("raw", collections="raw", exposure=4)))

    class Gets(Scale):
        def run(self, ctx):
            for target, keys in (("mean", {}), (other, {}), (other.id, {}), ("raw", {"exposure": 4})):
                with pytest.raises(InvalidInputError) as caught:
                    ctx.get(target, **keys)
                assert caught.value.kind is ErrorKind.UNDECLARED
            with pytest.raises(InvalidInputError) as caught:
                ctx.put(np.zeros(4), other)
            assert caught.value.kind is ErrorKind.UNDECLARED

    run(butler, Gets(), exposure=1)


def test_wrong_keys_are_wrong_input(butler):
    class Gets(Scale):
        def run(self, ctx):
            for keys in ({"exposre": 1}, {"exposure": "one"}):
                with pytest.raises(InvalidInputError) as caught:
                    ctx.get(self.raw, **keys)
                assert caught.value.kind in (ErrorKind.DATA_ID, ErrorKind.DIMENSION)
            with pytest.raises(InvalidInputError):
                ctx.put("no array", self.scaled)

    run(butler, Gets(), exposure=1)


def test_own_outputs_can_be_read_back_but_not_before_they_were_put(butler):
    class Reads(Copy):
        def run(self, ctx):
            with pytest.raises(NotFoundError, match="has not put scaled"):
                ctx.get(self.scaled)
            receipt = ctx.put(np.arange(4.0), self.scaled)
            assert ctx.get(self.scaled).tolist() == [0, 1, 2, 3]
            assert ctx.get(receipt.ref).tolist() == [0, 1, 2, 3]
            with pytest.raises(ConflictError):
                ctx.put(np.arange(4.0), self.scaled)
            ctx.put(np.ones(4), self.scaled, replace=True)

    run(butler, Reads(), exposure=1)
    assert butler.get("scaled", visit=1, detector=0, collections="u/out").tolist() == [1.0] * 4


def test_multiple_inputs_are_lazy_handles(butler):
    class Looks(Night):
        def run(self, ctx):
            handles = ctx.get(self.means)
            assert [one.data_id["visit"] for one in handles] == [1, 2]
            assert [one.ref.dataset_type.name for one in handles] == ["mean", "mean"]
            assert handles[1].get() == {"mean": 20.0}
            assert [one.data_id["visit"] for one in ctx.get(self.means, visit=2)] == [2]
            with pytest.raises(InvalidInputError) as caught:
                ctx.get(self.means, visit=3)
            assert caught.value.kind is ErrorKind.UNDECLARED
            super().run(ctx)

    run(butler, Copy(), Mean(), Looks(), day_obs=20260101)


def test_optional_inputs_that_are_not_there_are_none(butler):
    class Maybe(SuperTask):
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
        debug = Input("scaled_debug", dimensions=VISIT, storage_class="NDArray", optional=True)
        several = Input("scaled", dimensions=VISIT, storage_class="NDArray", optional=True, multiple=True)
        mean = Output("mean", dimensions=VISIT, storage_class="Mapping")

        def run(self, ctx):
            assert ctx.get(self.debug) is None
            assert ctx.get(self.several) == []
            ctx.put({}, self.mean)

    run(butler, Maybe(), exposure=1)


def test_what_a_quantum_did_not_put_is_not_found_and_left_out_of_many(butler):
    class Picky(Mean):
        def run(self, ctx):
            if ctx.data_id["visit"] != 1:
                super().run(ctx)

    class Reads(SuperTask):
        mean = Input("mean", dimensions=VISIT, storage_class="Mapping")
        debug = Output("scaled_debug", dimensions=VISIT, storage_class="NDArray")

        def run(self, ctx):
            ctx.get(self.mean)

    report = Pipeline([Copy(), Picky(), Night(), Reads()]).run(
        butler, run="u/out", collections="raw", jobs=1, day_obs=20260101
    )
    assert butler.get("night", day_obs=20260101, collections="u/out") == {"2": 20.0}
    (failed,) = report.failures
    assert isinstance(failed.error, NotFoundError)
    assert "did not put it" in str(failed.error)


def test_outputs_over_finer_dimensions_are_put_with_extra_keys(butler):
    class Split(SuperTask):
        dimensions = NIGHT
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray", multiple=True)
        scaled = Output("scaled", dimensions=VISIT, storage_class="NDArray")

        def run(self, ctx):
            for one in ctx.get(self.raw):
                ctx.put(one.get(), self.scaled, visit=one.data_id["exposure"], detector=0)
            assert ctx.get(self.scaled, visit=one.data_id["exposure"], detector=0).shape == (4,)
            with pytest.raises(InvalidInputError, match="lacks"):
                ctx.put(one.get(), self.scaled, visit=5)

    run(butler, Split())
    assert butler.query("scaled", collections="u/out").count() == 4


def test_what_a_task_changes_of_what_it_read_is_not_saved_nor_seen_by_others(butler):
    class Spoils(Mean):
        def run(self, ctx):
            image = ctx.get(self.scaled)
            image[:] = -1
            assert ctx.get(self.scaled)[0] == 10.0
            super().run(ctx)

    run(butler, Copy(), Spoils(), exposure=1)
    assert butler.get("mean", visit=1, detector=0, collections="u/out") == {"mean": 10.0}
