"""Rows of a database on PostgreSQL behind a network that fails: whole or absent, to quantumio and to SQL."""

import gc

import psycopg
import pytest

from quantumio.destinations import _sql_engine
from quantumio.model import CommitParked, Committed
from tests.network.conftest import ROWS, Night, create, stats, table
from tests.network.proxy import Fault, How
from tests.network.test_registry import ENOUGH, STEP, commits, everything

pytestmark = [pytest.mark.on_disk, pytest.mark.timeout(900)]  # long, and longer beside other work


@pytest.fixture
def night(tmp_path, database_proxy, database_url):
    repository = tmp_path / "repository"
    level3 = {
        "kind": "database",
        "url": database_url.replace("+psycopg", "").partition("?")[0],
        "insecure": True,
        "timeout_s": 8,
    }
    create(
        repository,
        destinations={"level3": level3},
        rules=[{"datasets": "table", "to": ["local", "level3"]}, {"datasets": "*", "to": "local"}],
    )
    night = Night(repository, database_proxy, {"table": table, "stats": stats})
    assert isinstance(night.suffers(None), Committed)  # its tables are made
    return night


def check_rows(direct, night):
    """Hold that plain SQL sees nothing but whole versions that are visible."""
    with psycopg.connect(direct) as connection:
        found = connection.execute('SELECT visit, count(*) FROM "table" GROUP BY visit').fetchall()
    assert {count for _, count in found} == {ROWS}
    assert {visit for visit, _ in found} <= set(range(1, night.visit + 1))


# psycopg warns of a cursor whose connection was lost, which nobody can close any more
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*ServerCursor:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore:.*ServerCursor.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("how", [How.CUT_BEFORE, How.CUT_AFTER])
def test_connection_lost_at_any_message(night, how, direct):
    for after in range(how is How.CUT_AFTER, ENOUGH, STEP):
        fault = Fault(how, everything, after=after)
        outcome = night.suffers(fault, ack="journaled")
        check_rows(direct, night)
        if not fault.hits:
            break
        assert isinstance(outcome, (Committed, CommitParked)), outcome
    gc.collect()  # what is warned of is warned of here
    assert isinstance(outcome, Committed)  # it met no fault
    assert 10 <= after < ENOUGH - STEP


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("how", [How.STALL_BEFORE, How.STALL_AFTER])
def test_server_that_falls_silent_is_given_up(night, monkeypatch, how, after, direct):
    monkeypatch.setattr(_sql_engine, "_CONNECT_S", 5)
    fault = Fault(how, commits, after=after)
    outcome = night.suffers(fault, ack="journaled")
    assert fault.hits
    assert isinstance(outcome, (Committed, CommitParked))
    check_rows(direct, night)
