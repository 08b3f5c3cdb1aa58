"""Repositories with the dataset types of a night, copied from one template."""

import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w

from quantumio import Butler, DatasetType
from quantumio.butler._settings import merge

DATASET_TYPES = (
    DatasetType("raw", dimensions=["exposure", "detector"], storage_class="NDArray"),
    DatasetType("calexp", dimensions=["visit", "detector"], storage_class="NDArray"),
    DatasetType("flat", dimensions=["detector", "physical_filter"], storage_class="Mapping"),
    DatasetType("bandflat", dimensions=["detector", "band"], storage_class="Mapping"),
    DatasetType("bias", dimensions=["detector"], storage_class="Mapping"),
    DatasetType("stats", dimensions=["visit"], storage_class="Mapping"),
)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("butler") / "template"
    with Butler.create(root) as butler:
        for dataset_type in DATASET_TYPES:
            butler.register_dataset_type(dataset_type)
    return root


@pytest.fixture
def make_root(_template: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the repository under a name, with further settings."""

    def make(name: str = "night", config: dict | None = None) -> Path:
        root = tmp_path / name
        shutil.copytree(_template, root)
        if config:
            tables = tomllib.loads((root / "butler.toml").read_text())
            (root / "butler.toml").write_text(tomli_w.dumps(merge(tables, config)))
        return root

    return make


@pytest.fixture
def open_butler() -> Iterator[Callable[..., Butler]]:
    """Open Butlers that are closed at the end."""
    opened: list[Butler] = []

    def open_(roots: object, **options: object) -> Butler:
        opened.append(Butler(roots, **{"instrument": "ST8", **options}))
        return opened[-1]

    yield open_
    for butler in opened:
        if not butler._session.is_closed:
            butler.errors(acknowledge=True)
            butler.close()


@pytest.fixture
def butler(make_root: Callable[..., Path], open_butler: Callable[..., Butler]) -> Butler:
    """Open a repository, run ``r``."""
    return open_butler(make_root(), run="r")
