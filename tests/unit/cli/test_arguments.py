"""Arguments: data IDs, names and parameters."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.cli._arguments import (
    data_id_text,
    is_pair,
    names,
    parse_bind,
    parse_data_id,
    split_pairs,
    uuid_or_none,
)
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import default_universe

UNIVERSE = default_universe()


def test_values_have_the_type_of_their_dimension():
    given_ = parse_data_id(UNIVERSE, ["instrument=007", "visit=0033", "detector=-1", "band="])
    assert given_ == {"instrument": "007", "visit": 33, "detector": -1, "band": ""}


@given(
    st.dictionaries(
        st.sampled_from(["instrument", "physical_filter", "skymap"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1),
    ),
    st.dictionaries(st.sampled_from(["visit", "detector"]), st.integers(-(2**63), 2**63 - 1)),
)
def test_what_is_shown_can_be_typed(texts, numbers):
    data_id = texts | numbers
    assert parse_data_id(UNIVERSE, shlex.split(data_id_text(data_id))) == data_id


def test_json_objects_and_pairs_go_together():
    assert parse_data_id(UNIVERSE, ['{"visit": 33, "instrument": "ST8"}', "detector=0", "visit=33"]) == {
        "visit": 33,
        "instrument": "ST8",
        "detector": 0,
    }


@pytest.mark.parametrize(
    ("tokens", "kind", "named"),
    [
        (["visit=abc"], ErrorKind.DATA_ID, "visit=abc"),
        (["visit="], ErrorKind.DATA_ID, "visit="),
        (["visit=1_0"], ErrorKind.DATA_ID, "1_0"),
        (["visit=3.0"], ErrorKind.DATA_ID, "3.0"),
        (["visit=٣"], ErrorKind.DATA_ID, "٣"),
        (["vist=3"], ErrorKind.DIMENSION, "vist"),
        (["visit=3", "visit=4"], ErrorKind.DATA_ID, "visit"),
        (['{"visit": 3'], ErrorKind.DATA_ID, "JSON"),
        (["calexp"], ErrorKind.DATA_ID, "calexp"),
    ],
)
def test_wrong_data_id_names_the_argument_and_the_mend(tokens, kind, named):
    with pytest.raises(InvalidInputError, match=named) as caught:
        parse_data_id(UNIVERSE, tokens)
    assert caught.value.kind is kind
    assert caught.value.hint


def test_words_and_pairs_are_told_apart():
    tokens = ["a.fits", "visit=3", "./odd=name.fits", '{"detector": 1}', "calexp"]
    assert split_pairs(tokens) == (["a.fits", "./odd=name.fits", "calexp"], ["visit=3", '{"detector": 1}'])
    assert not is_pair("=3")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [((), None), (("a,b", "c"), ["a", "b", "c"]), (("a, b,",), ["a", "b"])],
)
def test_names_come_with_commas_or_one_by_one(given_, expected):
    assert names(given_) == expected


@pytest.mark.parametrize("given_", [(",",), ("",), (" , ", "")])
def test_option_that_names_nothing_is_refused(given_):
    with pytest.raises(InvalidInputError, match="has no name"):
        names(given_)


def test_json_data_id_with_a_key_twice_is_refused_unless_it_says_the_same():
    universe = default_universe()
    with pytest.raises(InvalidInputError, match="visit"):
        parse_data_id(universe, ['{"visit": 1, "visit": 2}'])
    assert parse_data_id(universe, ['{"visit": 1, "visit": 1}']) == {"visit": 1}


def test_parameters_of_expressions_are_numbers_where_they_look_like_it():
    assert parse_bind(["n=3", "x=1.5", "band=g", 'text="3"']) == {"n": 3, "x": 1.5, "band": "g", "text": "3"}
    with pytest.raises(InvalidInputError, match="no name=value"):
        parse_bind(["three"])


def test_uuids_are_recognised():
    assert str(uuid_or_none("01971f5e-7c3a-7d2a-9d2c-0a1b2c3d4e5f")) == "01971f5e-7c3a-7d2a-9d2c-0a1b2c3d4e5f"
    assert uuid_or_none("calexp") is None


def test_value_without_a_name_is_refused():
    with pytest.raises(InvalidInputError, match="'=3' is no name=value") as error:
        split_pairs(["raw", "=3"])
    assert error.value.kind is ErrorKind.DATA_ID
