"""Headers that are parsed at the first look: like any header of astropy, from then on one."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from astropy.io import fits

from quantumio.formats._fits_cards import cards_of, header_of

HEADER = fits.Header([("OBJECT", "M13", "target"), ("EXPTIME", 30.5, "[s]"), ("COMMENT", "cloudy")])
CARDS = cards_of(HEADER)

LOOKS = {
    "item": lambda header: header["OBJECT"] == "M13",
    "length": lambda header: len(header) == 3,
    "membership": lambda header: "EXPTIME" in header,
    "keys": lambda header: next(iter(header)) == "OBJECT",
    "comments": lambda header: header.comments["EXPTIME"] == "[s]",
    "items": lambda header: list(header.items()) == list(HEADER.items()),
    "text": lambda header: "M13" in repr(header),
    "copy": lambda header: copy.copy(header)["OBJECT"] == "M13",
    "plain copy": lambda header: type(header.copy()) is fits.Header,
    "deep copy": lambda header: copy.deepcopy(header)["OBJECT"] == "M13",
    "pickle": lambda header: pickle.loads(pickle.dumps(header))["OBJECT"] == "M13",
    "setting": lambda header: header.set("FILTER", "V") or header["FILTER"] == "V",
    "deleting": lambda header: header.remove("OBJECT") or "OBJECT" not in header,
    "file": lambda header: fits.PrimaryHDU(header=header).header["EXPTIME"] == 30.5,
}


@pytest.mark.parametrize("look", LOOKS)
def test_first_look_finds_every_card(look: str) -> None:
    header = header_of(CARDS)
    assert LOOKS[look](header)
    assert header["EXPTIME"] == 30.5
    assert type(header) is fits.Header


def test_cards_are_had_without_parsing_and_are_the_callers_own() -> None:
    header = header_of(CARDS)
    cards = cards_of(header)
    assert cards == CARDS
    cards.clear()
    assert cards_of(header) == CARDS
    assert type(header) is not fits.Header


def test_changes_show_in_its_cards() -> None:
    header = header_of(CARDS)
    header["OBJECT"] = "M31"
    assert cards_of(header)[0][1].startswith("OBJECT  = 'M31")
    assert cards_of(header_of(CARDS)) == CARDS


def test_missing_attribute_is_told_as_always() -> None:
    header = header_of(CARDS)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = header.nonsense
    assert header["OBJECT"] == "M13"


def test_many_threads_may_look_first() -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            header = header_of(CARDS)
            assert all(pool.map(lambda _, header=header: header["OBJECT"] == "M13", range(8)))


def test_clearing_without_a_look_forgets_the_cards() -> None:
    header = header_of(CARDS)
    header.clear()
    assert cards_of(header) == []
    header["NEW"] = 5
    assert [keyword for keyword, _ in cards_of(header)] == ["NEW"]
    assert list(header) == ["NEW"]


def test_pickle_needs_nothing_of_ours() -> None:
    assert b"quantumio" not in pickle.dumps(header_of(CARDS))
