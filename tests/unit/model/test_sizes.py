"""Sizes as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import InvalidInputError
from quantumio.model import format_bytes, parse_bytes

POWERS = {"B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}


@given(st.integers(1, 10**15), st.sampled_from(sorted(POWERS)), st.sampled_from(["", " ", "  "]))
def test_whole_numbers_are_exact(number, unit, space):
    assert parse_bytes(f"{number}{space}{unit}", "quota") == number * POWERS[unit]


@given(st.integers(1, 1 << 80))
def test_number_is_bytes(number):
    assert parse_bytes(number, "quota") == number
    assert parse_bytes(str(number), "quota") == number


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("20 GiB", 20 * 1024**3),
        ("1.5KiB", 1536),
        ("500 MB", 500_000_000),
        ("2 TiB", 2 << 40),
        ("1 PB", 10**15),
    ],
)
def test_sizes(text, nbytes):
    assert parse_bytes(text, "quota") == nbytes


@pytest.mark.parametrize(
    "value",
    [
        "",
        "GiB",
        "-1 GiB",
        "0",
        0,
        -5,
        "0.1 B",
        "1 gib",
        "1 XB",
        "1,5 GiB",
        "1e3",
        "٣ GiB",
        1.5,
        True,
        None,
        [1],
    ],
    ids=repr,
)
def test_what_is_no_size_names_the_key_and_the_mend(value):
    with pytest.raises(InvalidInputError, match=r"quota = .*'4 GiB'"):
        parse_bytes(value, "quota")


@pytest.mark.parametrize("value", [0, "0", "0 GiB"])
def test_nothing_is_a_size_where_it_may_be_one(value):
    assert parse_bytes(value, "reserve", least=0) == 0
    with pytest.raises(InvalidInputError, match="reserve = "):
        parse_bytes(-1, "reserve", least=0)


def test_size_with_hundreds_of_digits_is_no_crash():
    for text in ("9" * 400 + " GiB", "1" + "0" * 308 + ".5 PiB", "9" * 5000, "1." + "9" * 5000):
        with contextlib.suppress(InvalidInputError):
            parse_bytes(text, "quota")


@given(st.integers(0, 1 << 60))
def test_written_size_is_within_half_a_percent_and_reads_back(nbytes):
    text = format_bytes(nbytes)
    number, unit = text.split()
    assert "e" not in number  # nobody reads 1.02e+03 KiB
    if nbytes:
        assert abs(parse_bytes(text, "size") - nbytes) <= 0.006 * nbytes + 1
    assert unit in ("B", "KiB", "MiB", "GiB", "TiB")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1 << 30, "1 GiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_written_sizes(nbytes, text):
    assert format_bytes(nbytes) == text


@pytest.mark.parametrize("nbytes", [1000 * 1024, 1023 * 1024, 1010 << 20])
def test_numbers_just_below_the_next_unit_are_written_plainly(nbytes):
    assert "e" not in format_bytes(nbytes)
