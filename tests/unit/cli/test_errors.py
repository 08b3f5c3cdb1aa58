"""Errors: one paragraph or one document, and the exit code of their class."""

import json

import click
import pytest

from quantumio import errors
from quantumio.cli import main
from quantumio.cli._errors import report
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError

KEYS = {"class", "kind", "message", "hint", "exit_code", "notes", "failures"}


def described(error: BaseException, capsys) -> tuple[int, str, dict]:
    """Exit code, paragraph and document of an error."""
    code = report(error, as_json=False, with_traceback=False)
    text = capsys.readouterr().err
    assert report(error, as_json=True, with_traceback=False) == code
    document = json.loads(capsys.readouterr().err)["error"]
    assert set(document) == KEYS
    assert document["exit_code"] == code
    return code, text, document


def test_error_says_what_which_object_and_what_to_do(capsys):
    error = NotFoundError("there is no calexp(visit=33) in u/ada", hint="look with `quantumio query`")
    error.add_note("in run u/ada")
    code, text, document = described(error, capsys)
    assert code == 3
    assert text == (
        "Error: there is no calexp(visit=33) in u/ada. (in run u/ada) Look with `quantumio query`.\n"
    )
    assert document["kind"] == "no_dataset"
    assert document["notes"] == ["in run u/ada"]


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_exit_code_is_that_of_the_class(name, capsys):
    cls = getattr(errors, name)
    if name.startswith("Commit"):
        error = cls("m", outcome=None)
    elif name == "MissingExtraError":
        error = cls("asdf", "asdf", purpose="this")
    else:
        error = cls("m")
    code, _, document = described(error, capsys)
    assert code == cls.exit_code
    assert document["class"] == name


def test_group_tells_every_failure_and_a_group_of_one_tells_it(capsys):
    one, two = ConflictError("a is there", hint="wait"), InvalidInputError("b is wrong", kind=ErrorKind.NAME)
    code, text, document = described(ExceptionGroup("2 failures", [one, ExceptionGroup("", [two])]), capsys)
    assert code == 4
    assert text == "Error: 2 failures. a is there. Wait. b is wrong.\n"
    assert [failure["kind"] for failure in document["failures"]] == ["exists", "name"]
    assert described(ExceptionGroup("1 failure", [two]), capsys)[2]["kind"] == "name"


def test_unforeseen_error_asks_for_a_report(capsys):
    code, text, document = described(ZeroDivisionError("division by zero"), capsys)
    assert code == 70
    assert text.startswith(
        "Error: this is a bug in quantumio: ZeroDivisionError: division by zero. Please report it"
    )
    assert document["kind"] == "internal"


def test_traceback_comes_first_if_wanted(capsys):
    try:
        raise ConflictError("a is there")
    except ConflictError as error:
        report(error, as_json=False, with_traceback=True)
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.endswith("Error: a is there.\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["query", "--nonsense"], "--nonsense"),
        (["put", "a.fits"], "DATASET_TYPE"),
        (["query", "--limit", "x"], "'x'"),
        (["put", "a.fits", "calexp"], "--run"),
    ],
)
def test_usage_errors_are_one_paragraph_with_exit_code_2(command, arguments, named):
    done = command(*arguments, fails=True)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert "--help` says how it is used" in done.stderr
    assert command(*arguments, "--json", fails=True).error["class"] in ("UsageError",)


def test_interrupt_ends_with_130(command, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.commands["query"], "callback", lambda **_: interrupt())
    done = command("query", fails=True)
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "Interrupted."


def test_warnings_of_libraries_are_one_line(command, monkeypatch):
    import warnings

    def warn(**_: object) -> None:
        warnings.warn("two\n  lines", UserWarning, stacklevel=2)

    monkeypatch.setattr(main.commands["query"], "callback", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert command("query").stderr == "Warning: two lines\n"


def test_group_can_be_called_without_ending_the_process():
    with pytest.raises(click.UsageError):
        main(["nonsense"], standalone_mode=False)
