"""Every object destination passes the suite that plug-in authors use."""

import uuid

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.model import DestinationSettings
from quantumio.testing import Fault, FaultyDestination, ObjectDestinationSuite
from tests.unit.destinations.fsspec_stores import GoogleFileSystem, PlainFileSystem, registered

REPOSITORY = uuid.uuid4()


@pytest.fixture
def opened(tmp_path):
    """Open one destination from its settings."""
    all_opened = []

    def open_one(kind, name="place", **options):
        settings = {name: DestinationSettings(name=name, kind=kind, options=options)}
        destinations = OpenedDestinations(settings, repository_root=tmp_path, repository_id=REPOSITORY)
        all_opened.append(destinations)
        return destinations.get(name)

    yield open_one
    for destinations in all_opened:
        destinations.close()


class TestFiles(ObjectDestinationSuite):
    transfers = ("copy", "link", "move")

    @pytest.fixture
    def destination(self, opened):
        return opened("files", root="data")


class TestFileUrl(ObjectDestinationSuite):
    transfers = ("copy", "link", "move")

    @pytest.fixture
    def destination(self, opened, tmp_path):
        return opened("objects", root=(tmp_path / "objects").as_uri())


class TestMemory(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened):
        return opened("memory")


class TestMemoryUrl(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened):
        return opened("objects", root=f"memory://{uuid.uuid4().hex}/store")


class TestGoogleUrl(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened, monkeypatch):
        registered(monkeypatch, "gs", GoogleFileSystem)
        return opened("objects", root="gs://bucket/night1")


class TestUrlOfAStoreThatOverwrites(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened, monkeypatch):
        registered(monkeypatch, "plain", PlainFileSystem)
        return opened("objects", root="plain://host/night1")


class TestS3(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened, s3_bucket):
        return opened("objects", root=f"s3://{s3_bucket}/night1", insecure=True)


class TestWorkspace(ObjectDestinationSuite):
    transfers = ("copy", "link", "move")

    @pytest.fixture
    def destination(self, opened):
        return opened("workspace", root="ws/{user}", quota="20 MiB")


class TestWorkspaceUrl(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened):
        return opened("workspace", root=f"memory://{uuid.uuid4().hex}/{{user}}", quota="20 MiB")


class TestFaultyWithoutFault(ObjectDestinationSuite):
    @pytest.fixture
    def destination(self, opened):
        return FaultyDestination(opened("memory"), Fault(at=0))
