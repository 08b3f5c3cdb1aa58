"""The universe of dimensions: closure, implication, order, and what an added table may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Dimension, DimensionUniverse, default_universe

UNIVERSE = default_universe()
subsets = st.lists(st.sampled_from(UNIVERSE.names), max_size=6)


def test_default_dimensions_are_those_of_the_contract():
    assert set(UNIVERSE.names) == {
        "instrument",
        "detector",
        "physical_filter",
        "band",
        "exposure",
        "visit",
        "day_obs",
        "skymap",
        "tract",
        "patch",
    }


@pytest.mark.parametrize(
    ("names", "required"),
    [
        ([], ()),
        (["detector"], ("instrument", "detector")),
        (["detector", "visit"], ("instrument", "detector", "visit")),
        (["patch"], ("skymap", "tract", "patch")),
        (["band"], ("band",)),
    ],
)
def test_required_brings_what_identifies_a_record(names, required):
    assert UNIVERSE.required(names) == required


@pytest.mark.parametrize(
    ("names", "implied"),
    [
        ([], set()),
        (["detector"], set()),
        (["physical_filter"], {"band"}),
        (["visit"], {"physical_filter", "band", "day_obs"}),
        (["exposure", "band"], {"physical_filter", "day_obs"}),  # what is required is not implied as well
    ],
)
def test_implied_follows_records_over_several_steps(names, implied):
    assert set(UNIVERSE.implied(names)) == implied


@given(subsets)
def test_required_is_a_closure(names):
    required = UNIVERSE.required(names)
    assert set(names) <= set(required)
    assert UNIVERSE.required(required) == required
    assert UNIVERSE.required(reversed(names)) == required
    for name in required:
        assert set(UNIVERSE[name].requires) <= set(required)


@given(subsets, subsets)
def test_required_of_more_is_never_less(names, more):
    assert set(UNIVERSE.required(names)) <= set(UNIVERSE.required([*names, *more]))


@given(subsets)
def test_implied_and_required_are_apart_and_complete(names):
    required, implied = set(UNIVERSE.required(names)), set(UNIVERSE.implied(names))
    assert not required & implied
    for name in required | implied:
        assert set(UNIVERSE[name].implies) <= required | implied


@given(subsets)
def test_order_is_the_universes_whatever_was_given(names):
    position = list(UNIVERSE).index
    for ordered in (UNIVERSE.sort(names), UNIVERSE.required(names), UNIVERSE.implied(names)):
        assert list(ordered) == sorted(set(ordered), key=position)


def test_unknown_dimension_lists_those_there_are():
    for call in (UNIVERSE.element, lambda name: UNIVERSE.required([name])):
        with pytest.raises(InvalidInputError, match="'detecter'.*detector") as caught:
            call("detecter")
        assert caught.value.kind is ErrorKind.DIMENSION


def test_a_relation_is_no_axis():
    with pytest.raises(InvalidInputError, match=r"visit_definition.*instrument, exposure, visit"):
        UNIVERSE.required(["visit_definition"])
    assert "visit_definition" not in UNIVERSE.names
    assert UNIVERSE["visit_definition"].record_keys == ("instrument", "exposure", "visit")
    assert UNIVERSE["detector"].record_keys == ("instrument", "detector")


def test_added_dimension_works_like_a_built_in_one_and_leaves_the_first_universe():
    larger = UNIVERSE.extended(
        {
            "beam": {
                "key": "int",
                "requires": ["instrument"],
                "implies": ["band"],
                "metadata": {"gain": "float"},
            }
        }
    )
    assert larger.required(["beam"]) == ("instrument", "beam")
    assert larger.implied(["beam"]) == ("band",)
    assert "beam" not in UNIVERSE
    assert larger.names[: len(UNIVERSE.names)] == UNIVERSE.names


def test_added_dimension_may_build_on_one_added_with_it():
    larger = UNIVERSE.extended(
        {"beam": {"key": "int", "requires": ["instrument"]}, "feed": {"key": "str", "requires": ["beam"]}}
    )
    assert "beam" in larger.required(["feed"])


def test_requirements_of_requirements_are_completed():
    """A feed that names its beam alone is still identified by the beam's instrument."""
    larger = UNIVERSE.extended(
        {"beam": {"key": "int", "requires": ["instrument"]}, "feed": {"key": "str", "requires": ["beam"]}}
    )
    required = larger.required(["feed"])
    assert larger.required(required) == required
    assert required == ("instrument", "beam", "feed")


@pytest.mark.parametrize(
    ("table", "mention"),
    [
        ({"key": "float"}, "key"),
        ({}, "key"),
        ({"key": "int", "kye": 1}, "kye"),
        ({"key": "int", "requires": "instrument"}, "instrument"),
        ({"key": "int", "requires": [1]}, "names"),
        ({"key": "int", "requires": ["nowhere"]}, "nowhere"),
        ({"key": "int", "implies": ["nowhere"]}, "nowhere"),
        ({"key": "int", "requires": ["visit_definition"]}, "visit_definition"),
        ({"key": "int", "metadata": {"gain": "double"}}, "metadata"),
        ({"key": "int", "metadata": ["gain"]}, "metadata"),
        ({"key": "int", "metadata": {"no name": "int"}}, "no name"),
        ({"key": "int", "unique": "gain"}, "gain"),
        ({"key": "int", "unique": ["gain"]}, "gain"),
        ({"key": "int", "temporal": "yes"}, "temporal"),
        ({"key": "int", "spatial": "the sky"}, "the sky"),
        ({"key": "int", "requires": ["beam"]}, "beam"),
    ],
    ids=str,
)
def test_wrong_table_names_the_dimension_and_the_key(table, mention):
    with pytest.raises(InvalidInputError) as caught:
        UNIVERSE.extended({"beam": table})
    assert mention in str(caught.value)
    assert caught.value.kind in (ErrorKind.DIMENSION, ErrorKind.NAME)


@pytest.mark.parametrize("name", ["visit", "", "no name", "1st", "a" * 64, "é"])
def test_name_that_is_taken_or_none_is_refused(name):
    with pytest.raises(InvalidInputError) as caught:
        UNIVERSE.extended({name: {"key": "int"}})
    assert repr(name) in str(caught.value)


def test_dimension_defined_before_what_it_requires_is_refused():
    with pytest.raises(InvalidInputError, match="'a' refers to 'b'"):
        DimensionUniverse([Dimension(name="a", key="int", requires=("b",)), Dimension(name="b", key="int")])
