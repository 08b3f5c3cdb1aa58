"""Any text becomes a harmless file name, and only harmless paths are taken."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.destinations._names import check_path
from quantumio.errors import InvalidInputError
from quantumio.model import decode_component, encode_component

texts = st.text(max_size=60) | st.sampled_from(
    ["", ".", "..", "~", "-", "a/b", "CON", "a\0b", "é", "e\u0301", "\u017f"]
)


@given(texts, texts)
def test_different_texts_have_different_names(one, other):
    assert (encode_component(one) == encode_component(other)) == (one == other)


@given(texts)
def test_names_are_decoded(text):
    name = encode_component(text)
    if "%-" not in name:
        assert decode_component(name) == text


@given(st.text(max_size=400))
def test_names_are_short_ascii_components_of_legal_paths(text):
    name = encode_component(text)
    assert 0 < len(name.encode()) <= 200
    assert re.fullmatch(r"[A-Za-z0-9._=+%-]+", name)
    assert check_path(f"run/{name}") == f"run/{name}"


@given(texts, texts)
def test_names_collide_under_case_folding_only_where_texts_do(one, other):
    if encode_component(one).casefold() == encode_component(other).casefold():
        assert one.casefold() == other.casefold()


def test_case_variants_of_escapes_never_meet():
    assert encode_component("É").casefold() != encode_component("é").casefold()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HSC-R", "HSC-R"),
        ("33", "33"),
        ("..", "%2E."),
        ("-x", "%2Dx"),
        ("~a", "%7Ea"),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
        ("", "%_"),
    ],
)
def test_names_that_are_promised(text, name):
    assert encode_component(text) == name


def test_long_texts_with_a_common_beginning_stay_apart():
    one, other = encode_component("é" * 300 + "1"), encode_component("é" * 300 + "2")
    assert one != other
    assert len(one) <= 200
    with pytest.raises(InvalidInputError):
        decode_component(one)


@pytest.mark.parametrize("name", ["%", "%4", "a b", "%zz", "%FF", "%e9", "é"])
def test_names_of_nobody_are_refused(name):
    with pytest.raises(InvalidInputError):
        decode_component(name)


@given(st.text(max_size=40))
def test_accepted_paths_stay_below_their_root(path):
    try:
        check_path(path)
    except InvalidInputError:
        return
    components = path.split("/")
    assert not path.startswith("/")
    assert all(component not in ("", ".", "..") for component in components)
    assert path.isascii()
    assert path.isprintable()
