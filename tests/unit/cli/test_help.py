"""Help, names and start: what the command says of itself, and that it says so at once."""

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

import quantumio as package
from quantumio import Butler, DataContext, Pipeline, Plan
from quantumio.cli import main
from quantumio.cli._main import _SECTIONS

HEAVY = {"pyarrow", "astropy", "sqlalchemy", "alembic", "pandas", "polars", "rich", "fsspec", "numpy", "yaml"}


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    for name, one in group.commands.items():
        full = (*path, name)
        yield " ".join(full), one
        if isinstance(one, click.Group):
            yield from commands(one, full)


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_says_what_it_is(name):
    one = COMMANDS[name]
    assert one.help
    first = one.help.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 58, "the list of commands cuts it off on 80 columns"
    options = [option for option in one.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help or not option.help.endswith(".")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_fits_80_columns_of_text(command, name):
    help_ = command(*name.split(), "--help", COLUMNS="80").stdout
    assert f"Usage: quantumio {name}" in help_
    text = [line for line in help_.splitlines() if not line.strip().startswith("quantumio ")]
    assert [line for line in text if len(line) > 80] == []


def test_every_command_takes_json_and_a_repository():
    leaves = {name: one for name, one in COMMANDS.items() if not isinstance(one, click.Group)}
    for name, one in leaves.items():
        options = {flag for parameter in one.params for flag in parameter.opts}
        assert {"--json", "--repository", "-r", "--traceback"} <= options, name


def test_help_lists_every_command_in_a_section(command):
    text = command("--help").stdout
    assert {one for section in _SECTIONS.values() for one in section} == set(main.commands.values())
    for section in _SECTIONS:
        assert f"\n{section}:\n" in text
    assert "Examples:" in text
    assert "_QUANTUMIO_COMPLETE" in text


# Options of the terminal itself.
ONLY_HERE = {"as_json", "repository", "with_traceback", "help", "output", "overwrite", "policy"}
# The Python function that a command calls, and what it has besides its parameters.
PYTHON = {
    "create": (Butler.create, set()),
    "put": (
        DataContext.put,
        {"run", "key", "format_"},
    ),  # of its context and of its file
    "get": (Butler.get, {"format_"}),
    "ingest": (Butler.ingest, {"pattern", "list_", "table"}),
    "versions": (Butler.versions, {"format_"}),
    "query": (Butler.query, {"format_", "long", "columns"}),  # of its table
    "certify": (Butler.certify, {"collections"}),
    "decertify": (Butler.decertify, set()),
    "associate": (Butler.associate, {"collections"}),
    "disassociate": (Butler.disassociate, {"collections"}),
    "chain": (Butler.chain, {"prepend", "append", "remove"}),  # its edits
    "insert-dimension": (Butler.insert_dimension, set()),
    "policy explain": (Butler.explain_put, set()),
    "run": (Pipeline.run, {"dry_run", "register_dataset_types"}),
    "ls records": (Butler.query_dimension_records, {"format_", "order_by", "limit", "columns"}),
    "ls data-ids": (Butler.query_data_ids, {"format_", "order_by", "limit"}),
    "ls collections": (Butler.collections, {"format_", "counts", "removed"}),
    "certifications": (Butler.certifications, {"format_"}),
    "ls dataset-types": (Butler.dataset_types, {"format_"}),
    "import dimensions": (Butler.import_dimensions, set()),
    "import datasets": (Butler.import_datasets, set()),
    "status": (Butler.status, set()),
}


@pytest.mark.parametrize("name", PYTHON)
def test_words_are_those_of_python(name):
    function, more = PYTHON[name]
    parameters = set(inspect.signature(function).parameters)
    options = {option.name for option in COMMANDS[name].params if isinstance(option, click.Option)}
    here = {option.rstrip("_") for option in options - ONLY_HERE - more}
    assert here <= {parameter.rstrip("_") for parameter in parameters}


def test_names_of_commands_are_those_of_methods():
    owners = (Butler, DataContext, Pipeline, Plan)
    spelled = {name.replace("-", "_") for name in main.commands}
    other = {name for name in spelled if not any(hasattr(owner, name) for owner in owners)}
    # `register` is register_dataset_type, `policy explain` explain_put, `import datasets` import_datasets;
    # the others show what Python prints.
    assert other == {"register", "show", "ls", "policy", "import"}


def test_version_is_that_of_the_package(command):
    assert command("--version").stdout == f"quantumio {package.__version__}\n"


def run_python(code: str) -> str:
    """Run Python code in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


def test_help_loads_no_heavy_library():
    code = """
import json, sys
from quantumio.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert not end.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = set(json.loads(run_python(code).splitlines()[-1]))
    assert loaded & HEAVY == set()
