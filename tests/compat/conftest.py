"""Registries as earlier versions left them, on both databases."""

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import psycopg
import pytest

from tests.compat.contents import name_of
from tests.compat.older import KEPT, UNPROVEN, change, kept_for, put_sqlite
from tests.unit.registry.conftest import Database, Place


@contextmanager
def placed(request: pytest.FixtureRequest, directory: Path, revision: str, kind: str) -> Iterator[Place]:
    """Give a registry of a schema."""
    if kind == "sqlite":
        put_sqlite(directory / "registry.sqlite3", revision)
        yield Place(f"sqlite:///{directory / 'registry.sqlite3'}", directory / "lock")
        return
    with Database(request.getfixturevalue("postgresql_url"), None) as url:
        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
            connection.execute(lzma.decompress(name_of(kept_for(revision), kind).read_bytes()))
            connection.execute("SET search_path = public")
            change(connection.execute, revision)
        yield Place(url, directory / "lock")


@pytest.fixture(params=["sqlite", "postgresql"])
def unproven_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A registry of the last schema whose transactions do not prove it."""
    with placed(request, tmp_path, UNPROVEN, request.param) as place:
        yield place


@pytest.fixture(params=["-".join(pair) for pair in product(KEPT[-2:], ("sqlite", "postgresql"))])
def kept_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A registry of that schema, and one of the newest that is kept."""
    with placed(request, tmp_path, *request.param.split("-")) as place:
        yield place
