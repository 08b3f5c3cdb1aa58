"""A real repository for each test: SQLite registry, two destinations in memory, and what they hold."""

import shutil
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import tomli_w

from quantumio import Butler, DatasetType
from quantumio.butler._repository import Repository
from quantumio.butler._settings import merge
from quantumio.destinations import OpenedDestinations
from quantumio.destinations.memory import MemoryDestination
from quantumio.engine import Runtime
from quantumio.errors import DestinationError, ErrorKind

DATASET_TYPES = (
    DatasetType("pixels", dimensions=["visit", "detector"], storage_class="NDArray"),
    DatasetType("calexp", dimensions=["visit", "detector"], storage_class="CCDData"),
    DatasetType("source", dimensions=["visit", "detector"], storage_class="AstropyTable"),
    DatasetType("stats", dimensions=["visit"], storage_class="Mapping"),
    DatasetType("log", dimensions=["visit"], storage_class="Text"),
)
CONFIG = {"destinations": {"a": {"kind": "memory"}, "b": {"kind": "memory"}}}


@attrs.define(eq=False)
class Place:
    """A repository, looked at from behind."""

    butler: Butler

    @property
    def repository(self) -> Repository:
        return self.butler._session.repositories[0]

    @property
    def runtime(self) -> Runtime:
        return self.repository.runtime

    def install(self, destination: object) -> object:
        """Put a destination in the place of the one of its name."""
        opened = self.repository.destinations
        assert isinstance(opened, OpenedDestinations)
        opened._open[destination.name] = destination
        return destination

    def objects(self, *names: str) -> list[str]:
        """Return the paths of all objects at these destinations, looked at around what makes them fail."""
        found = [self.repository.destinations.get(name) for name in names]
        return [item.path for one in found for item in getattr(one, "_inner", one).objects()]

    def run_on_loop(self, function: Callable[[], object]) -> object:
        """Call a function on the runtime's thread, after all that was submitted before; return its result."""
        done, results = threading.Event(), []

        async def job() -> None:
            try:
                results.append(function())
            except Exception as error:  # noqa: BLE001  whatever it is belongs to the test
                results.append(error)
            finally:
                done.set()

        self.runtime._soon(job, done.set)
        assert done.wait(10), "the runtime's loop does not run any more"
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def assert_idle_and_empty(self) -> None:
        """Hold that nothing stays under way and that every charged byte was given back."""
        assert self.runtime.wait_idle(20)
        status = self.butler.status()[0]
        assert (status.contexts_in_flight, status.buffer_used_bytes) == (0, 0)


class Gate(MemoryDestination):
    """A destination in memory whose writes wait until the gate is open, and then fail if so planned."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        super().__init__(name)
        self._fails = fails
        self.opened, self.reached = threading.Event(), threading.Event()

    def place(self, placements):
        self.reached.set()
        assert self.opened.wait(60)
        if self._fails:
            raise DestinationError(f"destination {self.name!r} is full", kind=ErrorKind.DISK_FULL)
        return super().place(placements)


class WrappedCatalog:
    """The real registry, with a function of the test before or around some of its calls."""

    def __init__(self, inner, **calls) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        wrapper = self._calls.get(name)
        return method if wrapper is None else lambda *arguments: wrapper(method, *arguments)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("engine") / "template"
    with Butler.create(root, CONFIG) as butler:
        for dataset_type in DATASET_TYPES:
            butler.register_dataset_type(dataset_type)
    return root


@pytest.fixture
def make_place(_template: Path, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Open copies of one repository, with further settings, and close them at the end."""
    places: list[Place] = []

    def make(config: dict | None = None, name: str = "night", **options: object) -> Place:
        root = tmp_path / name
        shutil.copytree(_template, root)
        if config:
            tables = tomllib.loads((root / "butler.toml").read_text())
            (root / "butler.toml").write_text(tomli_w.dumps(merge(tables, config)))
        places.append(Place(Butler(root, **{"run": "r", "instrument": "ST8", **options})))
        return places[-1]

    yield make
    for place in places:
        if not place.butler._session.is_closed:
            place.butler.errors(acknowledge=True)
            place.butler.close()


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    """Open a repository whose outputs go to ``a`` and ``b``."""
    return make_place({"rules": [{"to": ["a", "b"]}]})
