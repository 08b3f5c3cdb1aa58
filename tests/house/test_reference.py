"""The reference knows every public name, error, cause, exit code, entry point and command."""

import ast
import builtins
import functools
import importlib
import re
import tomllib

import attrs
import click
import pytest

from quantumio import errors
from quantumio.engine import RuntimeSettings
from quantumio.model import parse_bytes
from tests.house import source

REFERENCE = source.reference_text()
ERRORS_PAGE = source.REFERENCE / "errors.md"


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the table below a heading of the errors page: first cell -> other cells, without backticks."""
    text = ERRORS_PAGE.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return {row[0]: row[1:] for row in rows}


def error_classes() -> dict[str, type[errors.QuantumioError]]:
    """Every public class of the error tree."""
    found = {name: getattr(errors, name) for name in errors.__all__}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, type) and issubclass(value, errors.QuantumioError)
    }


def test_every_error_class_is_in_the_reference_with_its_exit_code_and_default_kind():
    documented = {name: (cells[0], cells[1]) for name, cells in table("Classes").items()}
    actual = {
        name: (str(value.exit_code), value.default_kind.value) for name, value in error_classes().items()
    }
    assert documented == actual


def test_every_kind_is_in_the_reference_and_no_other():
    assert sorted(table("Kinds")) == sorted(kind.value for kind in errors.ErrorKind)


def test_exit_codes_tell_apart_what_the_caller_does():
    """A class shares the exit code of its parent or has its own, never that of a stranger."""
    classes = sorted(error_classes().values(), key=lambda value: len(value.__mro__))
    owner: dict[int, type[errors.QuantumioError]] = {}
    for value in classes:
        first = owner.setdefault(value.exit_code, value)
        assert issubclass(value, first), f"{value.__name__} has the exit code of {first.__name__}"


@pytest.mark.parametrize("module", ["quantumio", "quantumio.testing"])
def test_every_public_name_is_in_the_reference(module):
    names = importlib.import_module(module).__all__
    missing = [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", REFERENCE)]
    assert sorted(missing) == []


def test_every_entry_point_is_in_the_reference():
    project = tomllib.loads((source.PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    missing = [
        f"{group}: {name}"
        for group, points in project.get("entry-points", {}).items()
        for name in points
        if f"`{name}`" not in REFERENCE
    ]
    assert sorted(missing) == []


def test_every_extra_is_in_the_reference():
    project = tomllib.loads((source.PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    for_users = set(project["optional-dependencies"]) - {"dev", "docs", "lint", "peer", "test"}
    assert sorted(name for name in for_users if f"`{name}`" not in REFERENCE) == []


def test_every_command_and_option_is_in_the_reference():
    """The page is made from the commands themselves, so none can be missing; each says what it does."""
    page = (source.REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert re.search(r"click:: quantumio\.cli:main\n(\s+:.*\n)*\s+:nested: full", page)
    assert undescribed(importlib.import_module("quantumio.cli").main, ("quantumio",)) == []


def undescribed(command: click.Command, path: tuple[str, ...]) -> list[str]:
    """Commands and options that have no help text."""
    found = [] if command.help else [" ".join(path)]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.help and not parameter.hidden:
            found.append(" ".join((*path, parameter.opts[0])))
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += undescribed(child, (*path, name))
    return found


# ---------------------------------------------------------------------------- docstrings


def raises_of(docstring: str) -> list[str]:
    """Names in the Raises section of a numpydoc docstring."""
    match = re.search(r"^Raises\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if match is None:
        return []
    lines = [line for line in match[1].splitlines() if line and not line[0].isspace()]
    return [name.strip() for line in lines for name in line.split(",")]


@functools.cache
def exceptions() -> frozenset[str]:
    """Names of all exceptions: Python's, those of the error tree, and the signals that rooms have inside."""
    known = {
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    known |= set(error_classes())
    classes = [
        node
        for path in source.modules()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    while True:
        more = {
            node.name
            for node in classes
            if node.name not in known
            and {base.id for base in node.bases if isinstance(base, ast.Name)} & known
        }
        if not more:
            return frozenset(known)
        known |= more


def test_every_name_under_raises_is_an_exception():
    found = []
    for path in source.modules():
        for node in ast.walk(source.tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                for name in raises_of(ast.get_docstring(node) or ""):
                    if name not in exceptions():
                        where = f"{path.relative_to(source.PROJECT_ROOT)}:{getattr(node, 'lineno', 1)}"
                        found.append(f"{where} says that {name!r} is raised")
    assert not found


def parameters_of(docstring: str) -> list[str]:
    """Names in the Parameters section of a numpydoc docstring."""
    match = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if match is None:
        return []
    lines = [line for line in match[1].splitlines() if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for line in lines for name in line.partition(" : ")[0].split(",")]


def test_every_documented_parameter_of_a_function_is_one():
    found = []
    for path in source.modules():
        for node in ast.walk(source.tree(path)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            arguments = node.args
            names = {
                argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            }
            names |= {argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument}
            for name in parameters_of(ast.get_docstring(node) or ""):
                if name not in names:
                    found.append(f"{path.relative_to(source.PROJECT_ROOT)}:{node.lineno} documents {name!r}")
    assert not found


def test_every_setting_of_the_runtime_is_in_the_reference_with_its_default():
    text = (source.REFERENCE / "settings.md").read_text(encoding="utf-8")
    documented = {
        cells[0].strip("` "): cells[1].strip("` ")
        for cells in (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `"))
    }
    fields = attrs.fields(RuntimeSettings)
    assert list(documented) == [field.name for field in fields]
    for field in fields:
        if isinstance(field.default, bool):
            assert documented[field.name] == str(field.default).lower()
        elif field.default is None:
            assert documented[field.name] == "no limit"
        elif field.name in ("pack_bytes", "journal_min_free_bytes"):
            assert parse_bytes(documented[field.name].strip('"'), field.name) == field.default
        elif field.default is not attrs.NOTHING:
            assert float(documented[field.name]) == field.default
