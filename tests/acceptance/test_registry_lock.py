"""Whoever holds the lock of the registry for too long is named, and holds up nothing that can wait."""

import subprocess
import sys
import textwrap

import pytest

from quantumio import Butler, CommitParked, Committed, DatasetType, ErrorKind
from quantumio.errors import DestinationError

HOLDER = """
    import sys
    from pathlib import Path
    from quantumio.system.files import FileLock
    with FileLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def hold(tmp_path):
    """Have another process hold the registry's lock, as one that was stopped within a transaction does."""
    processes = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "night" / "registry.lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def night(make_butler):
    return make_butler(config={"runtime": {"registry_lock_timeout_s": 1}}, run="r")


def put(butler, visit, **options):
    ctx = butler.context(**options)
    ctx.put({"visit": visit}, "stats", visit=visit)
    return ctx.commit("buffered")


def test_commit_is_parked_with_the_holders_pid_and_goes_on_when_it_is_gone(night, hold):
    with night.context() as ctx:
        ctx.put({"visit": 0}, "stats", visit=0)
    holder = hold()
    tickets = [put(night, visit, ack=ack) for visit, ack in [(1, "committed"), (2, "journaled")]]
    for ticket in tickets:
        with pytest.raises(Exception, match=f"process {holder.pid} ") as raised:
            ticket.wait("committed", 60)
        assert isinstance(raised.value.outcome, CommitParked)
    assert night.get("stats", visit=0) == {"visit": 0}  # who reads waits for nobody
    holder.communicate("\n")
    night.recover()
    assert [type(night.ticket(ticket.txid)) for ticket in tickets] == [Committed] * 2
    assert [night.get("stats", visit=visit) for visit in (1, 2)] == [{"visit": 1}, {"visit": 2}]


def test_registration_and_opening_name_the_holder(night, hold, tmp_path):
    holder = hold()
    with pytest.raises(DestinationError, match=f"process {holder.pid} ") as raised:
        night.register_dataset_type(DatasetType("other", dimensions=["visit"], storage_class="Mapping"))
    assert raised.value.kind is ErrorKind.LOCKED
    with pytest.raises(DestinationError, match=f"process {holder.pid} "):
        night.recover()
    with Butler(tmp_path / "night", readonly=True) as reader:
        assert reader.query("stats").count() == 0


def test_closing_ends_while_somebody_holds_the_lock(night, hold, tmp_path):
    put(night, 0).wait("committed", 60)
    holder = hold()
    ticket = put(night, 1)
    with pytest.raises(ExceptionGroup, match="1 background failure"):
        night.close(0)
    assert isinstance(ticket.outcome, CommitParked)
    with pytest.raises(DestinationError, match=f"process {holder.pid} "):
        Butler(tmp_path / "night")
    holder.communicate("\n")
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        butler.recover()
        assert butler.get("stats", visit=1) == {"visit": 1}


def test_waiting_may_be_as_long_as_anybody_likes(tmp_path):
    """A lock of Python takes no more than some 300 years."""
    with Butler.create(tmp_path / "night", {"runtime": {"registry_lock_timeout_s": 1e30}}) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        with butler.context() as ctx:
            ctx.put({"a": 1}, "stats", visit=1)
        assert butler.get("stats", visit=1) == {"a": 1}
