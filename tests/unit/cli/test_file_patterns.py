"""Which dataset a file is, by its name or by a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.cli._file_patterns import FilePattern, split_list
from quantumio.errors import InvalidInputError
from quantumio.model import default_universe

UNIVERSE = default_universe()


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("UB17-{exposure}-*.fit*", "/data/science/UB17-033-c.fit.fz", {"exposure": 33}),
        ("{instrument}/{exposure}.fits", "/data/ST8/7.fits", {"instrument": "ST8", "exposure": 7}),
        (
            "d{detector}_{physical_filter}_?.fits",
            "d3_g DECam_x.fits",
            {"detector": 3, "physical_filter": "g DECam"},
        ),
        ("{visit}/{visit}.fits", "12/12.fits", {"visit": 12}),
    ],
)
def test_pattern_finds_values_in_the_end_of_a_path(pattern, path, expected):
    assert FilePattern(pattern, UNIVERSE).data_id(path) == expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("UB17-{exposure}.fit", "UB17-abc.fit"),
        ("UB17-{exposure}.fit", "UB17-033Xfit"),
        ("{visit}/{visit}.fits", "12/13.fits"),
        ("{instrument}/{exposure}.fits", "7.fits"),
    ],
)
def test_file_that_does_not_match_is_named(pattern, path):
    with pytest.raises(InvalidInputError, match="does not match the pattern") as caught:
        FilePattern(pattern, UNIVERSE).data_id(path)
    assert path in str(caught.value)


@pytest.mark.parametrize("pattern", ["*.fits", "{}.fits", "{vist}.fits", "{a-b}"])
def test_pattern_without_a_dimension_is_refused(pattern):
    with pytest.raises(InvalidInputError):
        FilePattern(pattern, UNIVERSE)


@given(
    st.integers(0, 10**9),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20),
)
def test_values_come_back_whatever_stands_around_them(exposure, around):
    escaped = around.translate({ord(character): "?" for character in "*?{}"})
    pattern = FilePattern(f"{escaped}_{{exposure}}.fits", UNIVERSE)
    assert pattern.data_id(f"somewhere/{around}_{exposure}.fits") == {"exposure": exposure}


def test_list_gives_paths_and_typed_data_ids():
    rows = [
        {"path": "a.fits", "exposure": "3", "instrument": "ST8", "band": ""},
        {"path": "b.fits", "exposure": 4},
    ]
    assert split_list(rows, UNIVERSE, "files.csv") == [
        ("a.fits", {"exposure": 3, "instrument": "ST8"}),
        ("b.fits", {"exposure": 4}),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"exposure": 1}, "record 0 has no path"),
        ({"path": "a", "vist": 1}, "vist"),
        ({"path": "a", "visit": "x"}, "visit=x"),
    ],
)
def test_wrong_record_of_a_list_is_named(row, message):
    with pytest.raises(InvalidInputError, match=message):
        split_list([row], UNIVERSE, "files.csv")
