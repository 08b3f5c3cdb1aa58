"""Names, and file names for people."""

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DatasetRef, DatasetType, check_identifier, check_run, human_path

FILTERS = DatasetType("flat", dimensions=["band", "physical_filter"], storage_class="NDArray")
# Whatever a survey may call its filters, with what the names themselves are made of.
texts = st.text("aB+=%._-/ é\n'", min_size=1, max_size=6) | st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=300
)


def ref(band: str, physical_filter: str, run: str = "u/ada", version: int | None = 2) -> DatasetRef:
    data_id = DataId({"band": band, "physical_filter": physical_filter})
    return DatasetRef(uuid.uuid4(), FILTERS, data_id, run, version)


def test_name_for_people_says_what_it_is():
    assert human_path(ref("r", "HSC-R"), ".fits") == "u/ada/flat/band=r+physical_filter=HSC-R.v2.fits"
    note = DatasetRef(
        uuid.uuid4(), DatasetType("note", dimensions=[], storage_class="Text"), DataId({}), "r", 1
    )
    assert human_path(note, ".txt") == "r/note/note.v1.txt"


@given(texts, texts)
def test_name_for_people_is_one_legal_file_name_in_its_directory(band, physical_filter):
    path = human_path(ref(band, physical_filter), ".fits")
    assert path.startswith("u/ada/flat/")
    name = path.removeprefix("u/ada/flat/")
    assert "/" not in name
    assert name.isascii()
    assert len(name) <= 255
    assert not name.startswith((".", "-"))
    assert name.endswith(".v2.fits")


@given(texts, texts, texts, texts)
@example("A+physical_filter=B", "C", "A", "B+physical_filter=C")
def test_different_data_ids_have_different_names_for_people(band, physical_filter, band2, physical_filter2):
    same = (band, physical_filter) == (band2, physical_filter2)
    one, other = ref(band, physical_filter), ref(band2, physical_filter2)
    assert (human_path(one, ".fits") == human_path(other, ".fits")) is same


def test_versions_have_different_names_for_people():
    assert human_path(ref("r", "R", version=1), ".fits") != human_path(ref("r", "R", version=11), ".fits")


@pytest.mark.parametrize("name", ["a", "calexp", "Z9_", "a" * 63])
def test_identifiers(name):
    assert check_identifier(name, "dataset type") == name


@pytest.mark.parametrize(
    "name", ["", "9a", "_a", "a-b", "a b", "a.b", "a/b", "é", "a\n", "a" * 64, None, 3, b"a"], ids=repr
)
def test_what_is_no_identifier_is_named_with_what_it_should_have_named(name):
    with pytest.raises(InvalidInputError, match="no name for a destination") as caught:
        check_identifier(name, "destination")
    assert repr(name) in str(caught.value)
    assert caught.value.kind is ErrorKind.NAME


@pytest.mark.parametrize("name", ["r", "u/ada/isr", "2025-06-24", "_x/a.b+c=d@e", "a" * 200])
def test_runs(name):
    assert check_run(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        ".hidden",
        "-rf",
        "a b",
        "a\n",
        "a\0",
        "é",
        "a*",
        "a?",
        "a" * 201,
        None,
        7,
        b"a",
    ],
    ids=repr,
)
def test_what_is_no_run_is_refused_with_the_mend(name):
    with pytest.raises(InvalidInputError, match="no name for a run") as caught:
        check_run(name)
    assert caught.value.kind is ErrorKind.NAME
    assert caught.value.hint
