"""Every table destination passes the suite that plug-in authors use."""

import sqlite3
import uuid

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.model import DestinationSettings
from quantumio.testing import Fault, FaultyTableDestination, TableDestinationSuite


@pytest.fixture
def opened(tmp_path):
    all_opened = []

    def open_one(**options):
        settings = {"level3": DestinationSettings(name="level3", kind="database", options=options)}
        destinations = OpenedDestinations(settings, repository_root=tmp_path, repository_id=uuid.uuid4())
        all_opened.append(destinations)
        return destinations.get("level3")

    yield open_one
    for destinations in all_opened:
        destinations.close()


class TestSqlite(TableDestinationSuite):
    @pytest.fixture
    def destination(self, opened, tmp_path):
        self.path = tmp_path / "level3.db"
        return opened(url="sqlite:///level3.db")

    def sql(self, destination, statement):
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement).fetchall()
        finally:
            connection.close()


class TestPostgresql(TableDestinationSuite):
    @pytest.fixture
    def destination(self, opened, postgresql_database):
        self.url = postgresql_database
        return opened(url=postgresql_database)

    def sql(self, destination, statement):
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", "")) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class TestFaultyWithoutFault(TestSqlite):
    @pytest.fixture
    def destination(self, opened, tmp_path):
        self.path = tmp_path / "level3.db"
        return FaultyTableDestination(opened(url="sqlite:///level3.db"), Fault(at=0))
