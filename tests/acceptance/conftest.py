"""Repositories for the acceptance tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quantumio import Butler, DatasetType

DATASET_TYPES = (
    DatasetType("calexp", dimensions=["instrument", "visit", "detector"], storage_class="CCDData"),
    DatasetType("pixels", dimensions=["visit", "detector"], storage_class="NDArray"),
    DatasetType("source", dimensions=["visit", "detector"], storage_class="AstropyTable"),
    DatasetType("stats", dimensions=["visit"], storage_class="Mapping"),
    DatasetType("log", dimensions=["visit"], storage_class="Text"),
    DatasetType("blob", dimensions=["visit"], storage_class="Bytes"),
    DatasetType("raw", dimensions=["exposure", "detector"], storage_class="CCDData"),
    DatasetType("flat", dimensions=["detector", "physical_filter"], storage_class="NDArray"),
)


@pytest.fixture
def make_butler(tmp_path: Path) -> Iterator[Callable[..., Butler]]:
    """Make repositories with the dataset types above, and close their Butlers at the end."""
    opened: list[Butler] = []

    def make(name: str = "night", config: dict | None = None, **options: object) -> Butler:
        with Butler.create(tmp_path / name, config) as created:
            for dataset_type in DATASET_TYPES:
                created.register_dataset_type(dataset_type)
        options = {"instrument": "ST8", **options}
        opened.append(Butler(tmp_path / name, **options))
        return opened[-1]

    yield make
    for butler in opened:
        butler.errors(acknowledge=True)
        butler.close()


@pytest.fixture
def butler(make_butler: Callable[..., Butler]) -> Butler:
    """Open a repository with local files only, run ``u/ada/isr``."""
    return make_butler(run="u/ada/isr")
