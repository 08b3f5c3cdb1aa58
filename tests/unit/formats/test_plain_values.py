"""Text, bytes and mappings."""

import enum
import json
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, FormatError, InvalidInputError

texts = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: text != "$ref")  # see asdf
scalars = st.none() | st.booleans() | texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def mappings_of(leaves):
    deeper = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    )
    return st.dictionaries(texts, deeper, max_size=5)


mappings = mappings_of(scalars)
narrow_mappings = mappings_of(
    scalars.filter(lambda value: not isinstance(value, int) or abs(value) < 2**63 - 1)
)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def exactly(value):
    """Text that differs for values of other types, order or sign of zero."""
    return json.dumps(value) + repr(value)


@given(texts)
def test_text_is_given_back(round_trip, text):
    canonical, back = round_trip(text, "Text", "text")
    assert canonical == text == back


def test_text_without_encoding_is_refused_by_its_values(formats):
    with pytest.raises(FormatError, match="position 1") as caught:
        formats.format("text").encode("a\ud800", "Text", {})
    assert caught.value.kind is ErrorKind.VALUE


@given(st.binary())
def test_bytes_are_given_back(round_trip, data):
    for value in (data, bytearray(data), memoryview(data)):
        canonical, back = round_trip(value, "Bytes", "bytes")
        assert type(canonical) is bytes
        assert canonical == data == back


def test_immutable_values_are_not_copied(formats):
    for value, storage_class in ((b"x" * 100, "Bytes"), ("y" * 100, "Text")):
        delegate = formats.delegate(storage_class)
        assert delegate.is_immutable(value)
        assert delegate.canonical(value, np.copy) is value
        assert list(delegate.arrays(value)) == []
    assert not formats.delegate("Bytes").is_immutable(bytearray(b"x"))


@pytest.mark.parametrize(
    ("value", "storage_class"),
    [(3, "Text"), (b"x", "Text"), ("x", "Bytes"), ([1], "Mapping"), ("x", "Mapping"), (None, "Mapping")],
)
def test_wrong_types_are_refused(formats, value, storage_class):
    with pytest.raises(InvalidInputError, match=f"a {storage_class} dataset takes") as caught:
        formats.delegate(storage_class).check(value)
    assert caught.value.kind is ErrorKind.PYTHON_TYPE
    assert caught.value.hint


@given(mappings)
def test_mappings_are_given_back_by_json_and_yaml(round_trip, value):
    for format_name in ("json", "yaml"):
        canonical, back = round_trip(value, "Mapping", format_name)
        assert exactly(back) == exactly(canonical)
        assert list(map(str, back)) == list(map(str, canonical))


@given(narrow_mappings)
def test_mappings_are_given_back_by_asdf(round_trip, value):
    pytest.importorskip("asdf")
    canonical, back = round_trip(value, "Mapping", "asdf")
    assert exactly(back) == exactly(canonical)


@pytest.mark.parametrize(("value", "path"), [({"a": [2**63 - 1]}, r"a\[0\]"), ({"b": {"$ref": 1}}, "^b")])
def test_asdf_refuses_what_it_reads_as_something_else(formats, value, path):
    pytest.importorskip("asdf")
    with pytest.raises(FormatError, match=path) as caught:
        formats.format("asdf").encode(value, "Mapping", {})
    assert caught.value.kind is ErrorKind.VALUE


def test_mapping_becomes_what_json_holds(formats):
    value = {
        "tuple": (1, 2),
        7: "int key",
        None: "none key",
        True: "bool key",
        2.5: "float key",
        "np": [np.int16(3), np.float32(0.5), np.bool_(True), np.str_("s"), np.float64(0.1)],
        "enum": [Colour.RED, Level.HIGH],
        "big": 10**30,
    }
    canonical = formats.delegate("Mapping").canonical({**value}, np.copy)
    expected = {
        "tuple": [1, 2],
        "7": "int key",
        "null": "none key",
        "true": "bool key",
        "2.5": "float key",
        "np": [3, 0.5, True, "s", 0.1],
        "enum": ["red", 3],
        "big": 10**30,
    }
    assert canonical == expected
    assert list(canonical) == list(expected)
    assert {type(item) for item in [*canonical["np"], *canonical["enum"]]} == {int, float, bool, str}
    assert json.loads(json.dumps(canonical)) == canonical


def test_canonical_mapping_shares_nothing(formats):
    inner = [1]
    canonical = formats.delegate("Mapping").canonical({"a": inner, "b": inner}, np.copy)
    inner.append(2)
    canonical["a"].append(3)
    assert canonical == {"a": [1, 3], "b": [1]}


CIRCLE: dict = {}
CIRCLE["again"] = [CIRCLE]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"stats": {"mean": [1, 2, 3, math.nan]}}, r"stats\.mean\[3\]"),
        ({"a": math.inf}, "^a "),
        ({"when": date(2025, 1, 1)}, "when.*isoformat"),
        ({"raw": b"x"}, "raw.*hex"),
        ({"pixels": np.zeros(3)}, "pixels.*tolist"),
        ({"set": {1}}, "set.*sorted"),
        ({"o": object()}, "^o is a builtins.object"),
        ({1: "a", "1": "b"}, "two keys that are '1'"),
        ({(1, 2): 3}, "tuple"),
        ({"x": {math.nan: 1}}, "^x"),
        ({"s": ["\udc00"]}, r"s\[0\].*surrogate"),
        ({"big": 10**5000}, "big"),
        (CIRCLE, r"again\[0\] contains itself"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_path(formats, value, path):
    with pytest.raises(InvalidInputError, match=path) as caught:
        formats.delegate("Mapping").canonical(value, np.copy)
    assert caught.value.kind is ErrorKind.VALUE
    assert caught.value.hint


def test_deep_mappings_are_refused_and_those_at_the_limit_are_given_back(formats, round_trip):
    value: dict = {}
    for _ in range(98):
        value = {"a": value}
    for format_name in ("json", "yaml", "asdf"):
        canonical, back = round_trip({"a": value}, "Mapping", format_name)
        assert back == canonical
    for _ in range(3):
        value = {"a": value}
    with pytest.raises(InvalidInputError, match="nested deeper than 100"):
        formats.delegate("Mapping").canonical(value, np.copy)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": 1} x',
    ],
)
def test_what_is_no_strict_json_is_refused(formats, data):
    with pytest.raises(FormatError) as caught:
        formats.format("json").decode(data, "Mapping")
    assert caught.value.kind is ErrorKind.DECODE


LAUGHS = "\n".join(
    ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)
MERGES = "\n".join(
    ["a0: &a0 {k: 1, l: 2}"]
    + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"- 1",
        b"a: [1",
        b"a: !!python/object/apply:os.system [echo]",
        b"a: !!python/name:os.system",
        b"a: !!binary aGVsbG8=",
        b"a: .nan",
        b"a: 1\n---\nb: 2",
        b"a: &a [*a]",
        b"a: *nothing",
        b"a: " + b"[" * 50_000,
        b"\xff\xfe\x00",
        LAUGHS.encode(),
        MERGES.encode(),
    ],
)
def test_what_is_no_safe_yaml_is_refused(formats, data):
    with pytest.raises(FormatError) as caught:
        formats.format("yaml").decode(data, "Mapping")
    assert caught.value.kind is ErrorKind.DECODE


def test_yaml_of_people_is_read(formats):
    data = b"base: &b {x: 1}\nnight:\n  date: 2025-06-24\n  <<: *b\n3: [~, yes, 1.5e3]\n"
    assert formats.format("yaml").decode(data, "Mapping") == {
        "base": {"x": 1},
        "night": {"date": "2025-06-24", "x": 1},
        "3": [None, True, "1.5e3"],
    }


@pytest.mark.parametrize("storage_class", ["Text", "Bytes", "Mapping", "NDArray", "HDUList"])
def test_what_has_no_columns_components_or_other_forms_says_so(formats, storage_class):
    delegate = formats.delegate(storage_class)
    with pytest.raises(InvalidInputError, match="no columns"):
        delegate.select(None, ["a"])
    with pytest.raises(InvalidInputError, match="no component 'wcs'") as caught:
        delegate.component(None, "wcs")
    assert caught.value.kind is ErrorKind.COMPONENT
    with pytest.raises(InvalidInputError, match="'native'") as caught:
        delegate.check_form("polars")
    assert caught.value.kind is ErrorKind.FORM


@pytest.mark.parametrize("name", ["bytes", "json", "npy", "text", "yaml"])
def test_unknown_options_and_storage_classes_are_refused(formats, name):
    format_ = formats.format(name)
    (held,) = format_.storage_classes
    value = {"Bytes": b"", "Mapping": {}, "NDArray": np.zeros(1), "Text": ""}[held]
    with pytest.raises(InvalidInputError, match="no option 'compression'"):
        format_.check(value, held, {"compression": "gzip"})
    with pytest.raises(FormatError, match=f"it holds {held}"):
        format_.check(value, "CCDData", {})
    with pytest.raises(InvalidInputError, match="no columns"):
        format_.decode(b"", held, columns=["a"])
