"""Importing quantumio is quick: heavy libraries come when they are used."""

import subprocess
import sys

import pytest

HEAVY = {
    "alembic", "asdf", "astropy", "fsspec", "matplotlib", "numpy", "pandas", "polars", "psycopg", "pyarrow",
    "s3fs", "sqlalchemy", "yaml",
}  # fmt: skip


@pytest.mark.parametrize("statement", ["import quantumio", "import quantumio.cli", "import quantumio.errors"])
def test_import_loads_no_heavy_library(statement):
    code = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(output.split())
