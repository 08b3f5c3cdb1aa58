"""The reference page tells every command, document, exit code and variable, and no other."""

import re

import click
import pytest

from quantumio import errors
from quantumio.cli import main
from quantumio.cli._errors import EXIT_INTERRUPTED


@pytest.fixture(scope="module")
def page(project_root):
    """Text of the reference page."""
    return (project_root / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")


def words(text: str) -> set[str]:
    """Words in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def rows(page: str, first_cell: str) -> dict[str, str]:
    """First and second cell of the rows of the table whose heading begins with a word."""
    table = page.partition(f"\n| {first_cell} |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|]*) \| ([^|]*) \|$", table, re.MULTILINE)
    return {first: second for first, second in found if not first.startswith("---")}


def test_every_command_is_told_and_no_other(page):
    told = words(" ".join(rows(page, "command")))
    listings = main.commands["ls"]
    assert isinstance(listings, click.Group)
    actual = set(main.commands)
    for group in ("policy", "import"):
        below = main.commands[group]
        assert isinstance(below, click.Group)
        actual = actual - {group} | {f"{group} {name}" for name in below.commands}
    assert told == actual
    assert words(rows(page, "command")["`ls`"]) == set(listings.commands)


def test_every_exit_code_is_told_and_no_other(page):
    codes = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.QuantumioError)
    }
    assert {int(code) for code in rows(page, "code")} == codes | {0, EXIT_INTERRUPTED}


def test_every_variable_is_told(page):
    def variables(command: click.Command) -> set[str]:
        own = {option.envvar for option in command.params if isinstance(option.envvar, str)}
        below = command.commands.values() if isinstance(command, click.Group) else ()
        return own.union(*map(variables, below))

    assert words(" ".join(rows(page, "variable"))) == variables(main) | {"NO_COLOR", "COLUMNS"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("`status`", ["status"]),
        ("`query`", ["query"]),
        ("`versions`", ["versions", "stats", "instrument=ST8", "visit=33"]),
        ("`show`", ["show", "stats", "instrument=ST8", "visit=33", "-c", "u/ada", "--header"]),
        ("`get`", ["get", "stats", "instrument=ST8", "visit=33", "-c", "u/ada"]),
        ("`put`", ["put", "-", "stats", "instrument=ST8", "visit=33", "--run", "u/ada", "--format", "json"]),
        ("`policy explain`", ["policy", "explain", "stats"]),
        ("`policy check`", ["policy", "check"]),
        ("`fsck`", ["fsck"]),
        ("`chain`", ["chain", "best", "u/ada"]),
        ("`insert-dimension`", ["insert-dimension", "instrument", "instrument=ST8"]),
        ("`certify`, `associate`, `disassociate`", ["associate", "tag", "stats"]),
    ],
)
def test_documents_have_the_keys_that_are_told(quantumio, put_stats, page, name, arguments):
    put_stats()
    told = words(rows(page, "document of")[name]) | words(
        page.partition("\nA ref is ")[2].partition("\n\n")[0]
    )
    document = quantumio(*arguments, "--json", stdin=b"{}").document
    keys = set(document)
    for value in document.values():
        if isinstance(value, list) and value and isinstance(value[0], dict) and "keyword" not in value[0]:
            keys |= set(value[0])
    assert keys - told == set()


def test_keys_of_errors_are_told(quantumio, page):
    error = quantumio("get", "nope", "--json", "-c", "u", fails=True).error
    assert set(error) <= words(page.partition("\n## Errors\n")[2])
