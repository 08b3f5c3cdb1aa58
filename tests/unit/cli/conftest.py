"""The command in this process, a repository, and files to put into it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from click.testing import CliRunner

from quantumio import Butler, DatasetType
from quantumio.cli import main


@attrs.frozen(kw_only=True)
class Done:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document that it wrote."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error that it wrote as JSON."""
        return json.loads(self.stderr)["error"]

    @property
    def lines(self) -> list[str]:
        """Lines of its output."""
        return self.stdout.splitlines()


Run = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, with no setting of the environment but those that are given."""
    for name in ("QUANTUMIO_REPOSITORY", "QUANTUMIO_POLICY", "QUANTUMIO_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, stdin: bytes | None = None, fails: bool = False, **environment: str) -> Done:
        done = CliRunner(env=environment).invoke(main, [str(one) for one in arguments], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        result = Done(exit_code=done.exit_code, stdout=done.stdout, stderr=done.stderr)
        assert (result.exit_code != 0) is fails, result.stdout + result.stderr
        return result

    return run


DATASET_TYPES = (
    ("calexp", ["visit", "detector"], "CCDData"),
    ("raw", ["exposure", "detector"], "CCDData"),
    ("bias", ["detector"], "CCDData"),
    ("source", ["visit"], "AstropyTable"),
    ("stats", ["visit"], "Mapping"),
    ("log", ["visit"], "Text"),
    ("blob", ["visit"], "Bytes"),
    ("psf", ["visit"], "NDArray"),
    ("frames", ["visit"], "HDUList"),
    ("matches", ["visit"], "ArrowTable"),
    ("forced", ["visit"], "DataFrame"),
)


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with a dataset type of each kind, once: the tests copy it."""
    root = tmp_path_factory.mktemp("template") / "night1"
    with Butler.create(root) as butler:
        for name, dimensions, storage_class in DATASET_TYPES:
            butler.register_dataset_type(
                DatasetType(name, dimensions=dimensions, storage_class=storage_class)
            )
    return root


@pytest.fixture
def repository(tmp_path: Path, empty_repository: Path) -> Path:
    """Make a repository with a dataset type of each kind."""
    return Path(shutil.copytree(empty_repository, tmp_path / "night1"))


@pytest.fixture
def quantumio(command: Run, repository: Path) -> Run:
    """Run the command on the repository."""

    def run(*arguments: object, **options: Any) -> Done:
        return command(*arguments, QUANTUMIO_REPOSITORY=str(repository), **options)

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Write a small FITS image with a unit and a header."""
    from astropy.io import fits

    pixels = np.arange(12, dtype="f4").reshape(3, 4)
    hdu = fits.PrimaryHDU(pixels)
    hdu.header["BUNIT"] = "adu"
    hdu.header["OBJECT"] = ("M 13", "what it shows")
    path = tmp_path / "image.fits"
    hdu.writeto(path)
    return path


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    """Write a JSON file."""
    path = tmp_path / "stats.json"
    path.write_text('{"seeing": 1.5, "name": "M 13"}')
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Write an ECSV table with a unit."""
    from astropy import units as u
    from astropy.table import QTable

    path = tmp_path / "catalog.ecsv"
    QTable({"number": np.arange(7), "flux": np.linspace(1, 2, 7) * u.Jy}).write(path)
    return path


@pytest.fixture
def put_stats(quantumio: Run, stats: Path) -> Callable[..., dict[str, Any]]:
    """Put the JSON file as ``stats`` of a visit; returns what the command says."""

    def put(visit: int = 33, run: str = "u/ada", *more: object) -> dict[str, Any]:
        arguments = ("put", stats, "stats", "instrument=ST8", f"visit={visit}", "--run", run, "--json", *more)
        return quantumio(*arguments).document

    return put
