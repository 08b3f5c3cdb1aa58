"""Each behaviour runs against quantumio and against the Rubin Data Butler, so that it is known to be real.

The peer is no dependency: where `lsst.daf.butler` cannot be imported, what is asked of it is skipped. To run
all: ``pip install 'quantumio[peer]'``.
"""

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peer.registries import BOTH

_ADAPTERS = {"quantumio": ("quantumio_adapter", "Quantumio"), "peer": ("peer_adapter", "Peer")}


def _adapter(name: str) -> Any:
    module, class_name = _ADAPTERS[name]
    if name == "peer":
        pytest.importorskip("lsst.daf.butler", reason="no lsst-daf-butler (quantumio[peer]) to compare with")
    return getattr(importlib.import_module(f"tests.peer.{module}"), class_name)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def template(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp("peer") / name
            _adapter(name).create(root)
            made[name] = root
        return made[name]

    return template


@pytest.fixture(params=BOTH)
def registry(
    request: pytest.FixtureRequest, _template: Callable[[str], Path], tmp_path: Path
) -> Iterator[Any]:
    """Open a copy of the small observatory in one of the two."""
    adapter = _adapter(request.param)
    shutil.copytree(_template(request.param), tmp_path / "repository")
    registry = adapter(tmp_path / "repository")
    yield registry
    registry.close()
