"""Level 3 databases for the tests of this directory."""

import uuid

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.model import DestinationSettings


@pytest.fixture
def opened(tmp_path):
    all_opened = []

    def open_one(url="sqlite:///level3.db", readonly=False, **options):
        settings = DestinationSettings(name="level3", kind="database", options={"url": url, **options})
        destinations = OpenedDestinations(
            {"level3": settings},
            repository_root=tmp_path,
            repository_id=uuid.UUID(int=1),
            readonly=readonly,
        )
        all_opened.append(destinations)
        return destinations.get("level3")

    yield open_one
    for destinations in all_opened:
        destinations.close()
