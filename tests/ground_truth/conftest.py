"""What the registry is held to: answers over real survey data that were found by others.

The data are where `test_data` says (QUANTUMIO_TEST_DATA); without them these tests are skipped, and say so.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantumio.registry import SqlCatalog, create_registry, sqlite_url
from tests.unit.registry.conftest import Database


@pytest.fixture(scope="session")
def registry_truth(test_data: Path) -> Path:
    """Directory of survey data with exact answers."""
    directory = test_data / "registry"
    if not directory.is_dir():
        pytest.skip(f"no ground truth of registries: there is no {directory}")
    return directory


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlCatalog]:
    """A new registry with the default dimensions, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        catalog = create_registry(
            sqlite_url(tmp_path / "registry.sqlite3"), universe_tables=None, lock_path=tmp_path / "lock"
        )
        yield catalog
        catalog.close()
        return
    with Database(request.getfixturevalue("postgresql_url"), None) as url:
        catalog = create_registry(url, universe_tables=None, lock_path=tmp_path / "lock")
        yield catalog
        catalog.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
