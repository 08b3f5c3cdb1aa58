"""A repository with a small night: exposures 1 to 4 of an instrument T, in two nights."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quantumio import Butler, Timespan
from tests.unit.supertask.tasks import DATASET_TYPES, put_raws

HOUR = 3600 * 10**9
NIGHT_OF = {1: 20260101, 2: 20260101, 3: 20260102, 4: 20260102}
CONFIG = {"rules": [{"datasets": "*_debug", "to": "temporary"}]}


@pytest.fixture(scope="session")
def _empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository once; tests copy it."""
    root = tmp_path_factory.mktemp("supertask") / "empty"
    with Butler.create(root, CONFIG) as butler:
        for dataset_type in DATASET_TYPES:
            butler.register_dataset_type(dataset_type)
    return root


@pytest.fixture(scope="session")
def _night_repository(_empty_repository: Path) -> Path:
    root = _empty_repository.with_name("night")
    shutil.copytree(_empty_repository, root)
    with Butler(root, instrument="T") as butler:
        _observe(butler)
    return root


def _observe(butler: Butler) -> None:
    butler.insert_dimension("instrument", [{"instrument": "T"}])
    butler.insert_dimension("detector", [{"detector": 0, "full_name": "D0"}])
    butler.insert_dimension("band", [{"band": "r"}])
    butler.insert_dimension("physical_filter", [{"physical_filter": "R", "band": "r"}])
    butler.insert_dimension("day_obs", [{"day_obs": day} for day in sorted(set(NIGHT_OF.values()))])
    for element, unique in (("exposure", "obs_id"), ("visit", "name")):
        butler.insert_dimension(
            element,
            [
                {
                    element: number,
                    unique: f"T{number}",
                    "physical_filter": "R",
                    "day_obs": night,
                    "timespan": Timespan(number * HOUR, (number + 1) * HOUR),
                }
                for number, night in NIGHT_OF.items()
            ],
        )
    put_raws(butler, NIGHT_OF)
    with butler.context(run="masters") as ctx:
        ctx.put(np.ones(4), "bias", detector=0)
    butler.certify("calib", ctx.refs, None, None)


def _opened(template: Path, root: Path) -> Iterator[Butler]:
    shutil.copytree(template, root)
    butler = Butler(root, instrument="T")
    yield butler
    butler.errors(acknowledge=True)
    butler.close()


@pytest.fixture
def empty(_empty_repository: Path, tmp_path: Path) -> Iterator[Butler]:
    """Open a repository that knows the dataset types, and nothing else."""
    yield from _opened(_empty_repository, tmp_path / "repository")


@pytest.fixture
def butler(_night_repository: Path, tmp_path: Path) -> Iterator[Butler]:
    """Open one with records, raws 1 to 4 of one detector in run ``raw``, and a bias valid for all of them."""
    yield from _opened(_night_repository, tmp_path / "repository")
