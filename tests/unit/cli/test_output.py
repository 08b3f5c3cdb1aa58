"""What commands write."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.cli._output import json_pieces, json_text, print_pairs, print_table, printable, printable_lines


def test_columns_are_aligned_and_numbers_stand_right(capsys):
    print_table(("name", "size"), [("a", 1), ("longer", 1000), (None, 2.0)], right=("size",))
    assert capsys.readouterr().out == "name    size\na          1\nlonger  1000\n           2\n"


def test_table_without_rows_shows_its_headings(capsys):
    print_table(("name", "size"), [])
    assert capsys.readouterr().out == "name  size\n"


def test_pairs_are_aligned(capsys):
    print_pairs({"a": [1, "x"], "longer": datetime(2025, 6, 24, 3, 16, tzinfo=UTC)}, title="Pairs")
    assert capsys.readouterr().out == "Pairs\na       1, x\nlonger  2025-06-24 03:16:00\n"


def test_json_has_iso_moments_and_no_nan():
    document = {
        "when": datetime(2025, 6, 24, 3, 16, tzinfo=UTC),
        "nan": float("nan"),
        "list": (1.5, [float("inf")]),
        3: UUID(int=0),
    }
    assert json.loads(json_text(document)) == {
        "when": "2025-06-24T03:16:00Z",
        "nan": "nan",
        "list": [1.5, ["inf"]],
        "3": "00000000-0000-0000-0000-000000000000",
    }


@given(st.text())
def test_no_control_character_reaches_the_terminal(text):
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"), [("M 13 ±", "M 13 ±"), ("\x1b[2J\n", "\\x1b[2J\\n"), ("\x00", "\\x00")]
)
def test_control_characters_are_escaped_and_the_rest_is_left(text, shown):
    assert printable(text) == shown


def test_rows_are_written_while_they_come(capsys):
    came = []

    def rows():
        for number in range(5_000):
            came.append(number)
            yield number, "x" * (number % 7)
            if number == 3_000:
                assert capsys.readouterr().out.count("\n") > 2_000

    assert print_table(("number", "text"), rows(), right=("number",)) == len(came) == 5_000


def test_rows_that_are_wider_than_the_first_thousand_are_whole(capsys):
    print_table(("text", "number"), (("x" * (number // 1000 + 1), number) for number in range(2_001)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [["x" * (n // 1000 + 1), str(n)] for n in range(2_001)]


@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    )
)
def test_pieces_of_a_document_are_the_document(document):
    pieces = json_pieces(
        (name, iter(value) if isinstance(value, list) else value) for name, value in document.items()
    )
    text = "".join(pieces)
    assert text == json_text(document)
    assert json.loads(text) == document


@given(st.text())
def test_no_terminal_obeys_what_is_written(text):
    assert printable_lines(text).replace("\n", "").isprintable()
    assert json_text([text]).replace("\n", "").isprintable()
