"""A registry of each kind for each test, and transactions to put into it.

Tests that take `catalog` run on SQLite and on PostgreSQL: one code path, one set of expectations.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs
import pytest

from quantumio.model import Artifact, DataId, DatasetRef, DatasetType, OutputRecord, Transaction
from quantumio.registry import SqlCatalog, create_registry, open_registry, sqlite_url
from quantumio.system import environment

TABLES: dict[str, dict[str, object]] = {
    "beam": {
        "key": "int",
        "requires": ["instrument"],
        "metadata": {"label": "str", "gain": "float", "good": "bool"},
    },
    "Beam": {"key": "str", "requires": []},  # SQLite does not tell it from the other one by itself
}
CALEXP = DatasetType("calexp", dimensions=("instrument", "detector", "visit"), storage_class="CCDData")
RAW = DatasetType("raw", dimensions=("instrument", "detector", "exposure"), storage_class="CCDData")
FLAT = DatasetType("flat", dimensions=("instrument", "physical_filter", "detector"), storage_class="CCDData")
NOTE = DatasetType("note", dimensions=(), storage_class="Text")


@attrs.frozen
class Place:
    """Where a registry is."""

    url: str
    lock_path: Path

    def create(self, **options: Any) -> SqlCatalog:
        options.setdefault("universe_tables", TABLES)
        return create_registry(self.url, lock_path=self.lock_path, **options)

    def open(self, *, readonly: bool = False) -> SqlCatalog:
        return open_registry(self.url, lock_path=self.lock_path, readonly=readonly)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    """An empty place for an embedded registry."""
    directory = tmp_path / "reg ?#%41 '\" ü;--"  # a path may hold anything
    directory.mkdir()
    return Place(sqlite_url(directory / "registry.sqlite3"), directory / "lock")


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registry")
    path = directory / "registry.sqlite3"
    with_types(create_registry(f"sqlite:///{path}", universe_tables=TABLES, lock_path=directory / "lock"))
    return path


@pytest.fixture(scope="session")
def _postgresql_template(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Database(postgresql_url, None) as url:
        lock = tmp_path_factory.mktemp("registry") / "lock"
        with_types(create_registry(url, universe_tables=TABLES, lock_path=lock))
        yield url


def with_types(catalog: SqlCatalog) -> None:
    for dataset_type in (CALEXP, RAW, FLAT, NOTE):
        catalog.register_dataset_type(dataset_type)
    catalog.close()


class Database:
    """A database of the server that only one test uses."""

    def __init__(self, server_url: str, template: str | None) -> None:
        self._parts = urlsplit(server_url)
        self._template = "" if template is None else f' TEMPLATE "{urlsplit(template).path[1:]}"'
        self._name = f"registry_{uuid.uuid4().hex}"

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(
            urlunsplit(self._parts._replace(scheme="postgresql")), autocommit=True
        ) as connection:
            connection.execute(statement)

    def __enter__(self) -> str:
        self._run(f'CREATE DATABASE "{self._name}"{self._template}')
        return urlunsplit(self._parts._replace(path=f"/{self._name}"))

    def __exit__(self, *_: object) -> None:
        self._run(f'DROP DATABASE "{self._name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A registry with the dataset types of this file, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "registry.sqlite3"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield Place(f"sqlite:///{path}", tmp_path / "lock")
        return
    server = request.getfixturevalue("postgresql_url")
    with Database(server, request.getfixturevalue("_postgresql_template")) as url:
        yield Place(url, tmp_path / "lock")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place without a registry, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path / 'registry.sqlite3'}", tmp_path / "lock")
        return
    with Database(request.getfixturevalue("postgresql_url"), None) as url:
        yield Place(url, tmp_path / "lock")


@pytest.fixture
def catalog(place: Place) -> Iterator[SqlCatalog]:
    """An open registry with the dataset types of this file."""
    opened = place.open()
    yield opened
    opened.close()


@pytest.fixture
def owner(catalog: SqlCatalog) -> uuid.UUID:
    """A registered owner of transactions."""
    identity = environment.uuid7()
    catalog.register_owner(identity, "node7", "boot-1")
    return identity


@pytest.fixture
def sqlite_catalog(sqlite_place: Place) -> Iterator[SqlCatalog]:
    """An open registry on SQLite, for what only SQLite has."""
    with_types(sqlite_place.create())
    opened = sqlite_place.open()
    yield opened
    opened.close()


def artifact(path: str, *, store: str = "local", **options: Any) -> Artifact:
    return Artifact(
        destination=store, path=path, format="fits", digest="ab" * 32, nbytes=len(path), **options
    )


def make_transaction(
    dataset_type: DatasetType,
    data_ids: Sequence[dict[str, Any]],
    *,
    run: str = "u/ada/isr",
    key: str | None = None,
    expect: int | None = None,
    **options: Any,
) -> Transaction:
    """A transaction with one placed output per data ID."""
    txid = environment.uuid7()
    outputs = tuple(
        OutputRecord(
            ref=DatasetRef(environment.uuid7(), dataset_type, DataId(data_id), run),
            expect=expect,
            artifacts=(artifact(f"{dataset_type.name}/{txid}.0.{number}.fits"),),
        )
        for number, data_id in enumerate(data_ids)
    )
    return Transaction(txid=txid, run=run, key=key, outputs=outputs, **options)


def until(condition: Callable[[], object], *, timeout_s: float = 120.0) -> None:
    """Wait until a condition holds that only the database's clock, or another thread, can bring about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        threading.Event().wait(0.01)


def columns_of(dataset_type: DatasetType, data_ids: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return data IDs of a dataset type column by column."""
    return {name: [one[name] for one in data_ids] for name in dataset_type.dimensions}


def visit(number: int, detector: int = 0, instrument: str = "ST8") -> dict[str, Any]:
    return {"instrument": instrument, "detector": detector, "visit": number}


def exposure(number: int, detector: int = 0, instrument: str = "ST8") -> dict[str, Any]:
    return {"instrument": instrument, "detector": detector, "exposure": number}


Commit = Callable[..., list[DatasetRef]]


@pytest.fixture
def commit(catalog: SqlCatalog) -> Commit:
    """Commit outputs and return their refs."""

    def run(
        dataset_type: DatasetType, data_ids: Sequence[dict[str, Any]], **options: Any
    ) -> list[DatasetRef]:
        (outcome,) = catalog.flip([make_transaction(dataset_type, data_ids, **options)])
        return list(outcome.refs)

    return run
