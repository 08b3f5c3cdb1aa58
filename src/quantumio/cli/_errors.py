"""Errors as a terminal shows them: one paragraph or one JSON document, and an exit code by their class."""

from __future__ import annotations

import json
import sys
import textwrap
import traceback
from collections.abc import Iterator
from shutil import get_terminal_size
from typing import Final

import click

from quantumio.cli._output import printable_lines
from quantumio.errors import ErrorKind, InternalError, InvalidInputError, QuantumioError

__all__ = ["EXIT_INTERRUPTED", "report"]

EXIT_INTERRUPTED: Final = 130
"""What shells expect of a process that was interrupted: 128 + SIGINT."""

_REPORT: Final = "please report it with this message; --traceback shows where it happened"


def report(error: BaseException, *, as_json: bool, with_traceback: bool) -> int:
    """Write an error to standard error and return the exit code that says which kind it is.

    Parameters
    ----------
    error
        Of quantumio, of the command line's own usage, a group of them, or something unforeseen.
    as_json
        Whether a program reads it: one JSON document instead of a paragraph.
    with_traceback
        Whether the traceback comes first.
    """
    if with_traceback:
        traceback.print_exception(error, file=sys.stderr)
    document = _document(error)
    if as_json:
        click.echo(json.dumps({"error": document}), err=True)
    else:
        click.echo(_wrapped(printable_lines(_paragraph(document))), err=True)
    code = document["exit_code"]
    assert isinstance(code, int)
    return code


def _document(error: BaseException) -> dict[str, object]:
    """Return what there is to say about an error; the keys never change."""
    failures = list(_leaves(error)) if isinstance(error, BaseExceptionGroup) else []
    if len(failures) == 1:
        return _document(failures[0])
    if failures:
        described = [_document(failure) for failure in failures]
        return _entry(
            type(error).__name__,
            str(described[0]["kind"]),
            str(error.args[0]),
            None,
            described[0]["exit_code"],
            failures=described,
        )
    notes = list(getattr(error, "__notes__", ()))
    if isinstance(error, QuantumioError):
        name, kind = type(error).__name__, str(error.kind)
        return _entry(name, kind, error.message, error.hint, error.exit_code, notes=notes)
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "quantumio"
        hint = f"`{command} --help` says how it is used"
        return _entry(
            "UsageError", ErrorKind.ARGUMENT, error.format_message(), hint, InvalidInputError.exit_code
        )
    if isinstance(error, click.ClickException):
        return _entry(type(error).__name__, ErrorKind.ARGUMENT, error.format_message(), None, error.exit_code)
    message = f"this is a bug in quantumio: {type(error).__name__}: {error}"
    return _entry(
        type(error).__name__, ErrorKind.INTERNAL, message, _REPORT, InternalError.exit_code, notes=notes
    )


def _entry(
    name: str,
    kind: str,
    message: str,
    hint: str | None,
    exit_code: object,
    *,
    notes: list[str] | None = None,
    failures: list[dict[str, object]] | None = None,
) -> dict[str, object]:
    return {
        "class": name,
        "kind": str(kind),
        "message": message,
        "hint": hint,
        "exit_code": exit_code,
        "notes": notes or [],
        "failures": failures or [],
    }


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _paragraph(document: dict[str, object]) -> str:
    """Return an error as sentences: what, which object, and what to do."""
    sentences = [f"Error: {_sentence(str(document['message']))}"]
    notes, failures = document["notes"], document["failures"]
    assert isinstance(notes, list)
    assert isinstance(failures, list)
    sentences += [f"({note})" for note in notes]
    sentences += [_paragraph(failure).removeprefix("Error: ") for failure in failures]
    if hint := document["hint"]:
        sentences.append(_sentence(_capital(str(hint))))
    return " ".join(sentences)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "\n")) else f"{text}."


def _capital(text: str) -> str:
    """Begin a sentence, unless its first word is a name in code."""
    word = text.split(maxsplit=1)[0].rstrip(",;:") if text.strip() else ""
    return text[:1].upper() + text[1:] if word.isalpha() else text


def _wrapped(text: str) -> str:
    """Fold for a terminal; a message that has lines of its own (it points at a character) keeps them."""
    if "\n" in text or sys.stderr is None or not sys.stderr.isatty():
        return text
    width = get_terminal_size().columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
