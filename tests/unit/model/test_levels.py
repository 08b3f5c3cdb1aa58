"""Acknowledgement levels, moments, expectations, ownership and targets, as callers spell them."""

import itertools

import numpy as np
import pytest

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Ack, FormatChoice, Moment, Ownership, Target, check_expectation


def test_levels_are_ordered_from_the_weakest_to_the_strongest():
    names = ["buffered", "journaled", "committed", "settled"]
    levels = [Ack.make(name) for name in names]
    assert [str(level) for level in levels] == names
    assert all(weaker < stronger for weaker, stronger in itertools.pairwise(levels))
    assert max(Ack.make("journaled"), Ack.make("settled")) is Ack.SETTLED


@pytest.mark.parametrize("ack", list(Ack))
def test_level_is_itself(ack):
    assert Ack.make(ack) is ack
    assert Ack.make(str(ack)) is ack


@pytest.mark.parametrize("value", ["", "Committed", "commit", None, 2, True, 0, "2", b"committed"], ids=repr)
def test_what_is_no_level_lists_the_levels(value):
    with pytest.raises(InvalidInputError, match="'buffered', 'journaled', 'committed', 'settled'"):
        Ack.make(value)


@pytest.mark.parametrize("moment", list(Moment))
def test_moment_is_itself(moment):
    assert Moment.make(moment) is Moment.make(str(moment)) is moment


def test_moments_are_those_of_the_contract():
    assert [str(moment) for moment in Moment] == [
        "accepted",
        "released",
        "durable",
        "journaled",
        "committed",
        "settled",
    ]


@pytest.mark.parametrize("value", ["", "DURABLE", "done", None, 2], ids=repr)
def test_what_is_no_moment_lists_the_moments(value):
    with pytest.raises(InvalidInputError, match="'released', 'durable'"):
        Moment.make(value)


@pytest.mark.parametrize(("given", "meant"), [(None, None), ("create", 0), (0, 0), (1, 1), (12, 12)])
def test_expectations(given, meant):
    assert check_expectation(given) == meant


@pytest.mark.parametrize("value", [-1, True, False, "0", "Create", 1.0, [], "1"], ids=repr)
def test_what_is_no_expectation_is_refused_with_the_mend(value):
    with pytest.raises(InvalidInputError, match="'create'"):
        check_expectation(value)


def test_version_that_numpy_counted_is_a_version():
    """The latest version may come out of a table."""
    assert check_expectation(np.int64(3)) == 3


@pytest.mark.parametrize("value", ["", "Copy", None, 1], ids=repr)
def test_what_is_no_ownership_lists_them(value):
    with pytest.raises(InvalidInputError, match="'copy', 'freeze', 'borrow', 'encode'"):
        Ownership.make(value)
    assert all(Ownership.make(str(one)) is one for one in Ownership)


@pytest.mark.parametrize(
    ("text", "name", "required"), [("local", "local", True), ("archive?", "archive", False)]
)
def test_targets(text, name, required):
    target = Target.parse(text)
    assert (target.destination, target.required, str(target)) == (name, required, text)


@pytest.mark.parametrize("value", ["", "?", "a??", "a ?", "?a", None, 3, ["local"], b"local"], ids=repr)
def test_what_is_no_target_is_refused(value):
    with pytest.raises(InvalidInputError) as caught:
        Target.parse(value)
    assert caught.value.kind in (ErrorKind.NAME, ErrorKind.POLICY)


def test_formats_with_options():
    choice = FormatChoice.parse({"format": "fits", "compression": "rice"})
    assert (choice.name, dict(choice.options), str(choice)) == (
        "fits",
        {"compression": "rice"},
        "fits(compression=rice)",
    )
    assert FormatChoice.parse("fits") == FormatChoice("fits")
    assert FormatChoice.parse(choice) is choice
    # The same name with other options is another choice: each is encoded for itself.
    assert len({choice, FormatChoice("fits"), FormatChoice("fits", {"compression": "gzip"})}) == 3
    assert len({FormatChoice("fits"), FormatChoice("fits")}) == 1


@pytest.mark.parametrize("value", [None, 3, {}, {"compression": "rice"}, {"format": 3}, "no name", ["fits"]])
def test_what_is_no_format_is_refused(value):
    with pytest.raises(InvalidInputError):
        FormatChoice.parse(value)
