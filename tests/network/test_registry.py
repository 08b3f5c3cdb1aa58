"""A registry on PostgreSQL behind a network that fails: every outcome is one of the five, and true."""

import contextlib
import os

import psycopg
import pytest

from quantumio.model import CommitParked, Committed, CommitUnknown
from quantumio.registry import _postgresql
from quantumio.registry._engine import Database
from quantumio.system import failpoints
from tests.network.conftest import Night, blob, create, stats, transactions
from tests.network.proxy import Fault, How

pytestmark = [pytest.mark.on_disk, pytest.mark.timeout(900)]  # long, and longer beside other work

COMMIT = b"COMMIT\x00"
ENOUGH = 400  # messages, more than any commit sends
STEP = int(os.environ.get("QUANTUMIO_NETWORK_STEP", "3"))  # 1: every message
THE_FLIP = 2  # commits before it: of the owner, of the intent


def everything(data):
    return True


def commits(data):
    return COMMIT in data


@pytest.fixture
def night(tmp_path, database_proxy, database_url):
    repository = tmp_path / "repository"
    create(repository, repository={"registry": database_url})
    return Night(repository, database_proxy, {"stats": stats, "blob": blob})


@pytest.mark.parametrize(
    ("how", "ack"),
    [(How.CUT_BEFORE, "journaled"), (How.CUT_AFTER, "committed"), (How.CUT_AFTER, "journaled")],
)
def test_connection_lost_at_any_message(night, how, ack):
    for after in range(how is How.CUT_AFTER, ENOUGH, STEP):
        fault = Fault(how, everything, after=after)
        outcome = night.suffers(fault, ack=ack)
        if not fault.hits:
            break
        assert isinstance(outcome, (Committed, CommitParked)), (
            outcome
        )  # it passes: nothing is given up for it
    assert isinstance(outcome, Committed)  # it met no fault
    assert 10 <= after < ENOUGH - STEP


@pytest.mark.parametrize("how", [How.CUT_BEFORE, How.CUT_AFTER])
def test_reply_to_the_commit_is_lost(night, how, direct):
    outcome = night.suffers(Fault(how, commits, after=THE_FLIP))
    assert isinstance(outcome, Committed)
    assert transactions(direct)[outcome.txid] == "COMMITTED"


@pytest.mark.parametrize("ack", ["committed", "journaled"])
@pytest.mark.parametrize(("how", "state"), [(How.CUT_BEFORE, "PREPARING"), (How.CUT_AFTER, "COMMITTED")])
def test_reply_to_the_commit_is_lost_and_nobody_tells_more(night, how, state, ack, direct):
    found = {}

    @contextlib.contextmanager
    def looking():
        yield
        found.update(transactions(direct))

    fault = Fault(how, commits, after=THE_FLIP, down=True)
    outcome = night.suffers(fault, ack=ack, begin=looking)
    assert isinstance(outcome, CommitUnknown)
    assert found[outcome.txid] == state


@pytest.mark.parametrize("ack", ["committed", "journaled"])
@pytest.mark.parametrize("point", ["registry.begin.after", "registry.commit.before", "registry.commit.after"])
def test_backend_is_terminated_in_the_flip(night, point, ack, direct):
    outcome = night.suffers(None, ack=ack, begin=lambda: terminating(direct, point))
    assert isinstance(outcome, (Committed, CommitParked))


@contextlib.contextmanager
def terminating(direct, point):
    """End the server's side of all connections at a point of the first flip."""
    left = ["flip.before", point]

    def reached(name):
        if left and name == left[0]:
            left.pop(0)
            if not left:
                with psycopg.connect(direct) as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )

    with failpoints.watched(reached):
        yield
    assert not left


@pytest.mark.parametrize("how", [How.STALL_BEFORE, How.STALL_AFTER])
@pytest.mark.parametrize("after", [0, THE_FLIP])
def test_server_that_falls_silent_is_given_up(night, monkeypatch, how, after):
    monkeypatch.setattr(_postgresql, "_ANSWER_S", 8.0)
    fault = Fault(how, commits, after=after)
    outcome = night.suffers(fault, ack="journaled")
    assert fault.hits
    assert isinstance(outcome, (Committed, CommitParked, CommitUnknown))


def test_server_that_falls_silent_within_an_answer_is_given_up(night, monkeypatch):
    monkeypatch.setattr(_postgresql, "_ANSWER_S", 8.0)
    fault = Fault(How.STALL_REPLY, everything, after=3)
    assert isinstance(night.suffers(fault, ack="journaled"), (Committed, CommitParked))
    assert fault.hits


def test_slow_answers_change_nothing(night):
    assert isinstance(night.suffers(Fault(How.SLOW, everything, times=ENOUGH)), Committed)


def test_registry_that_is_down_for_a_while(night):
    @contextlib.contextmanager
    def down():
        night.proxy.go_down()
        yield

    assert isinstance(night.suffers(None, ack="journaled", begin=down), CommitParked)
    assert isinstance(night.suffers(None), (Committed, CommitParked))  # parked: this process was too slow


def test_write_transactions_are_durable_and_end_by_themselves(night, database_url):
    database = Database(database_url, night.repository / "unused", readonly=False)
    try:
        with database.write("looking") as connection:
            said = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
                for name in (
                    "synchronous_commit",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                    "transaction_isolation",
                )
            }
            parameters = connection.connection.driver_connection.info.get_parameters()
    finally:
        database.close()
    assert said == {
        "synchronous_commit": "on",
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "20s",
        "transaction_isolation": "read committed",
    }
    limits = ("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval")
    assert all(int(parameters[name]) > 0 for name in limits)
    assert parameters.get("keepalives", "1") == "1"
