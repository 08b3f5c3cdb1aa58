"""Data IDs: many spellings of one identity, and one error per mistake."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, check_data_id_value, data_id_of_keys, default_universe, make_data_id

UNIVERSE = default_universe()
integers = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@st.composite
def values(draw):
    names = draw(st.lists(st.sampled_from(UNIVERSE.names), unique=True))
    return {name: draw(integers if UNIVERSE[name].key == "int" else texts) for name in names}


@given(values())
def test_of_a_row_is_the_same_data_id(given_values):
    def of_row():
        return DataId.of_row(tuple(given_values), tuple(given_values.values()))

    same = DataId(given_values)
    assert of_row() == same == of_row()
    assert hash(of_row()) == hash(same)
    assert dict(of_row()) == given_values
    assert list(of_row()) == list(given_values)
    assert len(of_row()) == len(given_values)
    assert str(of_row()) == str(same)
    assert pickle.loads(pickle.dumps(of_row())) == same
    for name, value in given_values.items():
        assert of_row()[name] == value
        assert of_row().subset([name]) == {name: value}


def test_of_a_row_has_no_other_attributes():
    made = DataId.of_row(("visit",), (3,))
    assert not hasattr(made, "visit")
    with pytest.raises(AttributeError, match="no attribute 'visit'"):
        _ = made.visit
    with pytest.raises(AttributeError):
        made.visit = 3


@given(values(), st.randoms())
def test_every_spelling_is_the_same_data_id(given_values, random):
    names = list(given_values)
    random.shuffle(names)
    cut = random.randint(0, len(names))
    mapping = {name: given_values[name] for name in names[:cut]}
    keywords = {name: given_values[name] for name in names[cut:]}
    one = make_data_id(UNIVERSE, given_values, {})
    other = make_data_id(UNIVERSE, mapping, keywords)
    twice = make_data_id(UNIVERSE, given_values, given_values)
    assert one == other == twice == given_values
    assert hash(one) == hash(other) == hash(twice)
    assert list(one) == list(other)  # universe order, not the caller's
    assert len({one, other, twice}) == 1


@given(values())
def test_pickled_data_id_is_equal_and_hashes_the_same(given_values):
    one = make_data_id(UNIVERSE, given_values, {})
    hash(one)
    back = pickle.loads(pickle.dumps(one))
    assert type(back) is DataId
    assert back == one
    assert hash(back) == hash(one)
    assert list(back) == list(one)


@given(values(), values())
def test_equal_exactly_if_the_values_are(one, other):
    left, right = make_data_id(UNIVERSE, one, {}), make_data_id(UNIVERSE, other, {})
    assert (left == right) == (one == other)
    assert (left != right) == (one != other)


@pytest.mark.parametrize(
    "number",
    [np.int8(33), np.uint16(33), np.int64(33), np.uint64(33), np.array(33)[()], np.array(33)],
    ids=lambda n: type(n).__name__ + str(getattr(n, "dtype", "")),
)
def test_numpy_integers_become_int(number):
    data_id = make_data_id(UNIVERSE, None, {"visit": number})
    assert type(data_id["visit"]) is int
    assert data_id == make_data_id(UNIVERSE, {"visit": 33}, {})


def test_numpy_and_subclassed_texts_become_str():
    class Loud(str):
        __slots__ = ()

    for text in (np.str_("ST8"), Loud("ST8")):
        value = make_data_id(UNIVERSE, {"instrument": text}, {})["instrument"]
        assert type(value) is str
        assert value == "ST8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("visit", "33"),
        ("visit", 33.0),
        ("visit", np.float64(33)),
        ("visit", True),
        ("visit", np.True_),
        ("visit", None),
        ("visit", b"33"),
        ("visit", 1 << 63),
        ("visit", -(1 << 63) - 1),
        ("visit", np.uint64(1 << 63)),
        ("visit", np.array([33])),
        ("visit", np.array([33, 34])),
        ("visit", [33]),
        ("instrument", 8),
        ("instrument", b"ST8"),
        ("instrument", ""),
        ("instrument", "ST8\0"),
        ("instrument", "\ud800"),
        ("instrument", "é" * 513),
        ("instrument", None),
        ("visit_definition", 1),
        ("visi", 1),
    ],
    ids=repr,
)
def test_value_of_the_wrong_type_names_dimension_and_value(name, value):
    with pytest.raises(InvalidInputError) as caught:
        check_data_id_value(UNIVERSE, name, value)
    assert name in str(caught.value)
    assert caught.value.hint
    assert caught.value.kind in (ErrorKind.DATA_ID, ErrorKind.DIMENSION)


def test_longest_text_is_taken():
    assert check_data_id_value(UNIVERSE, "instrument", "é" * 512) == "é" * 512


def test_value_given_twice_must_be_the_same():
    assert make_data_id(UNIVERSE, {"visit": 33}, {"visit": np.int32(33)}) == {"visit": 33}
    with pytest.raises(InvalidInputError, match="calexp: visit is given as both 33 and 34"):
        make_data_id(UNIVERSE, {"visit": 33}, {"visit": 34}, what="calexp")


@pytest.mark.parametrize("given_value", [[("visit", 33)], "visit=33", 33, {"visit"}], ids=repr)
def test_what_is_no_mapping_is_refused(given_value):
    with pytest.raises(InvalidInputError, match="is no data ID"):
        make_data_id(UNIVERSE, given_value, {})


@pytest.mark.parametrize("name", [33, None, ("visit",), b"visit"], ids=repr)
def test_key_that_is_no_text_is_refused(name):
    with pytest.raises(InvalidInputError, match="no dimension"):
        make_data_id(UNIVERSE, {name: 1}, {})


def test_missing_and_unwanted_keys_are_named():
    wanted = UNIVERSE.required(["visit", "detector"])
    with pytest.raises(InvalidInputError, match="calexp: the data ID lacks instrument, detector"):
        make_data_id(UNIVERSE, None, {"visit": 1}, dimensions=wanted, what="calexp")
    with pytest.raises(InvalidInputError, match="calexp has no dimension 'tract'"):
        make_data_id(
            UNIVERSE,
            {"instrument": "a", "detector": 1, "tract": 1},
            {"visit": 1},
            dimensions=wanted,
            what="calexp",
        )
    assert make_data_id(UNIVERSE, None, {"visit": 1}, dimensions=wanted, partial=True) == {"visit": 1}


@given(values(), values(), st.lists(st.sampled_from(UNIVERSE.names), unique=True))
def test_defaults_fill_only_what_is_wanted_and_not_given(given_values, defaults, names):
    wanted = UNIVERSE.required(names)
    given_values = {name: value for name, value in given_values.items() if name in wanted}
    made = make_data_id(UNIVERSE, given_values, {}, defaults=defaults, dimensions=wanted, partial=True)
    expected = {
        name: given_values.get(name, defaults.get(name))
        for name in wanted
        if name in given_values or name in defaults
    }
    assert made == expected
    assert list(made) == [name for name in wanted if name in expected]


def test_falsy_values_are_values():
    data_id = make_data_id(UNIVERSE, {"detector": 0}, {}, defaults={"detector": 5, "visit": 0})
    assert data_id["detector"] == 0
    filled = make_data_id(
        UNIVERSE, None, {}, defaults={"visit": 0, "instrument": "a"}, dimensions=["instrument", "visit"]
    )
    assert filled == {"instrument": "a", "visit": 0}


def test_data_id_cannot_be_changed_through_what_it_was_made_of():
    source = {"visit": 33}
    data_id = DataId(source)
    source["visit"] = 34
    assert data_id["visit"] == 33
    with pytest.raises(TypeError):
        data_id["visit"] = 34


def test_subset_is_in_the_order_that_was_asked():
    data_id = make_data_id(UNIVERSE, {"instrument": "a", "visit": 1, "detector": 2}, {})
    assert list(data_id.subset(["visit", "instrument"]).items()) == [("visit", 1), ("instrument", "a")]
    with pytest.raises(KeyError):
        data_id.subset(["tract"])


def test_keywords_and_defaults_that_say_all_make_the_data_id_at_once():
    dimensions = ("instrument", "visit")
    quick = data_id_of_keys(UNIVERSE, {"visit": 3}, {"instrument": "ST8", "detector": 1}, dimensions)
    assert quick == {"instrument": "ST8", "visit": 3}
    assert tuple(quick) == dimensions
    assert data_id_of_keys(UNIVERSE, {"visit": 3}, {}, dimensions) is None  # one is missing
    assert data_id_of_keys(UNIVERSE, {"visit": 3, "day": 1}, {"instrument": "ST8"}, dimensions) is None
    with pytest.raises(InvalidInputError, match="no value of dimension 'visit'"):
        data_id_of_keys(UNIVERSE, {"visit": "three"}, {"instrument": "ST8"}, dimensions)
