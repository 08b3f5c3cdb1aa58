"""What a task declares, and how it is configured."""

import copy

import attrs
import pytest

from quantumio import Calibration, DatasetType, ErrorKind, Input, InvalidInputError, Output, SuperTask
from tests.unit.supertask.tasks import EXPOSURE, MASTER, VISIT, Mean, Night, Scale, ScaleConfig


@attrs.frozen
class Needy:
    threshold: float
    pixels: int = 3
    names: list[str] = attrs.field(factory=list)


class NeedyTask(SuperTask):
    raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
    config: Needy

    def run(self, ctx): ...


def test_a_connection_is_the_name_of_its_dataset_type():
    assert Scale.raw == "raw"
    assert {"raw": 1}[Scale.raw] == 1
    assert str(Scale.raw) == "raw"
    assert Scale.raw.dataset_type == DatasetType("raw", dimensions=EXPOSURE, storage_class="NDArray")
    assert not Scale.raw.multiple
    assert copy.deepcopy(Night.means).multiple


@pytest.mark.parametrize("kind", [Input, Calibration, Output])
def test_a_connection_cannot_be_changed_and_refuses_names_that_are_none(kind):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kind("raw", dimensions=EXPOSURE, storage_class="NDArray").storage_class = "Text"
    for name, dimensions, storage_class in (
        ("no name", EXPOSURE, "NDArray"),
        ("raw", "exposure", "NDArray"),
        ("raw", EXPOSURE, ""),
    ):
        with pytest.raises(InvalidInputError):
            kind(name, dimensions=dimensions, storage_class=storage_class)


def test_quanta_are_over_the_dimensions_of_all_that_there_is_one_of():
    assert Scale.dimensions == ("instrument", "exposure", "detector", "visit")
    assert Night.dimensions == ("instrument", "day_obs")


def test_declared_dimensions_beat_those_of_the_connections():
    class Wide(Night):
        dimensions = ["instrument"]  # noqa: RUF012  a list is as good as a tuple

    assert Wide.dimensions == ("instrument",)
    with pytest.raises(InvalidInputError, match="is a text"):

        class Wrong(Night):
            dimensions = "instrument"


def test_connections_are_inherited_and_can_be_replaced():
    class Sharper(Mean):
        mean = Output("sharp_mean", dimensions=VISIT, storage_class="Mapping")

    assert [one.name for one in Sharper.connections.values()] == ["scaled", "sharp_mean"]
    assert [one.name for one in Mean().inputs] == ["scaled"]
    assert [one.name for one in Scale().calibrations] == ["bias"]
    assert [one.name for one in Scale().outputs] == ["scaled", "scaled_debug"]


def test_two_connections_of_one_dataset_type_are_refused_when_the_class_is_defined():
    with pytest.raises(InvalidInputError, match="first and second both name the dataset type 'raw'"):

        class Twice(SuperTask):
            first = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
            second = Output("raw", dimensions=EXPOSURE, storage_class="NDArray")

            def run(self, ctx): ...


def test_configuration_defaults_objects_mappings_and_overrides():
    assert Scale().config == ScaleConfig()
    assert Scale(ScaleConfig(factor=3.0)).config.factor == 3.0
    assert Scale({"factor": 3}).config.factor == 3.0
    assert Scale(ScaleConfig(factor=3.0), debug=True).config == ScaleConfig(factor=3.0, debug=True)
    assert NeedyTask(threshold="5.5", pixels="6", names=["a"]).config == Needy(5.5, 6, ["a"])
    assert Scale(debug="true").config.debug


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scale(faktor=2.0), "no field 'faktor' (it has factor, debug)"),
        (lambda: Scale(factor="much"), "factor='much'"),
        (lambda: Scale(factor=True), "factor=True"),
        (lambda: Scale(factor=-1.0), "'factor' must be > 0"),
        (lambda: Scale(debug=1), "debug=1"),
        (lambda: Scale(Needy(1.0)), "is no ScaleConfig"),
        (lambda: NeedyTask(), "lacks threshold"),
        (lambda: NeedyTask(threshold=1.0, pixels=2.5), "pixels=2.5"),
        (lambda: NeedyTask(threshold=1.0, names=[1]), "names=[1]"),
        (lambda: Mean(factor=1.0), "Mean has no configuration"),
    ],
)
def test_a_wrong_configuration_names_the_field(make, message):
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert message in str(caught.value)
    assert caught.value.kind is ErrorKind.VALUE


def test_a_configuration_that_is_no_attrs_class_is_refused():
    class Odd(Mean):
        config: dict

    with pytest.raises(InvalidInputError, match="no attrs class"):
        Odd()


def test_a_label_is_the_name_of_the_class_or_an_identifier():
    assert Mean().label == "Mean"
    assert Mean(label="other").label == "other"
    with pytest.raises(InvalidInputError, match="no name for a task"):
        Mean(label="no label")


def test_a_task_without_run_cannot_be_made():
    class Lazy(SuperTask):
        bias = Calibration("bias", dimensions=MASTER, storage_class="NDArray")

    with pytest.raises(TypeError, match="run"):
        Lazy()
