"""Whoever holds the lock of the registry for too long is named, and holds up nothing that can wait."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from quantumio import (
    Butler,
    CommitFailedError,
    CommitParked,
    Committed,
    CommitUnknown,
    CommitUnknownError,
    DatasetType,
    ErrorKind,
)
from quantumio.butler import _ingest
from quantumio.destinations.files import FilesDestination
from quantumio.engine import _recoverer
from quantumio.engine._committer import Committer
from quantumio.errors import DestinationError

pytestmark = pytest.mark.on_disk

HOLDER = """
    import sys
    from pathlib import Path
    from quantumio.system.locks import FileLock
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
    other = Butler(tmp_path / "night", run="r", instrument="ST8")
    assert other.get("stats", visit=0) == {"visit": 0}  # who has nothing to write waits for nobody
    with pytest.raises(DestinationError, match=f"process {holder.pid} "):
        other.recover()
    with contextlib.suppress(ExceptionGroup):  # if it came to what was parked
        other.close()
    holder.communicate("\n")
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        butler.recover()
        assert butler.get("stats", visit=1) == {"visit": 1}


STOPPED = """
    import os, signal, sys
    from quantumio import Butler
    butler = Butler(sys.argv[1], run="r", instrument="ST8")
    catalog = butler._session.repositories[0].catalog
    with catalog._database.edit("a test") as connection:
        catalog._clock.advance(connection)
        print("within", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    butler.close()
"""


def test_repository_is_opened_and_read_beside_a_process_that_is_stopped_within_a_write(night, tmp_path):
    put(night, 0).wait("committed", 60)
    night.close()
    root = tmp_path / "night"
    stopped = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STOPPED), str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stopped.stdout.readline() == "within\n"
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        with Butler(root, run="r", instrument="ST8") as butler:
            assert butler.get("stats", visit=0) == {"visit": 0}
            ticket = put(butler, 1)
            with pytest.raises(Exception, match=f"process {stopped.pid} "):
                ticket.wait("committed", 60)
            os.kill(stopped.pid, signal.SIGCONT)
            assert stopped.wait(60) == 0
            butler.recover()
            assert butler.get("stats", visit=1) == {"visit": 1}
            butler.errors(acknowledge=True)
    finally:
        stopped.kill()
        stopped.communicate()


def test_waiting_may_be_as_long_as_anybody_likes(tmp_path):
    """A lock of Python takes no more than some 300 years."""
    with Butler.create(tmp_path / "night", {"runtime": {"registry_lock_timeout_s": 1e30}}) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        with butler.context() as ctx:
            ctx.put({"a": 1}, "stats", visit=1)
        assert butler.get("stats", visit=1) == {"a": 1}


# -- what could not be ended while the lock was held


def end_in_time(butler, root):
    """Wait until nothing is on its way any more, and nothing of it is left; a timeout ends the test."""
    catalog = butler._session.repositories[0].catalog
    while catalog.preparing() or catalog.outbox():
        butler._session.repositories[0].runtime.wait_idle(0.01)
        time.sleep(0.01)
    assert not [path for path in (root / "data").rglob("*.npy") if "_qio" not in path.parts]


@pytest.fixture
def locked_after_prepare(monkeypatch, make_butler, hold, tmp_path):
    """Ingest a file while somebody takes the registry's lock as soon as the intent is there."""
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 0.01)
    monkeypatch.setattr(_recoverer, "_LONGEST_DELAY_S", 0.01)
    butler = make_butler(config={"runtime": {"registry_lock_timeout_s": 1}}, run="r")
    image = tmp_path / "image.npy"
    np.save(image, np.ones(3))
    holders, adopt = [], FilesDestination.adopt

    def hold_first(self, *arguments):
        holders.append(hold())
        return adopt(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FilesDestination, "adopt", hold_first)
        with pytest.raises(CommitFailedError) as caught:
            butler.ingest(image, "pixels", visit=1, detector=0)
    assert caught.value.kind is ErrorKind.LOCKED
    assert "once the registry can be reached" in caught.value.__notes__[0]
    (record,) = butler._session.repositories[0].catalog.preparing()
    assert record.lease_over is False
    return butler, holders[0]


def test_ingest_that_met_a_locked_registry_is_ended_when_the_lock_comes_free(locked_after_prepare, tmp_path):
    butler, holder = locked_after_prepare
    holder.kill()
    end_in_time(butler, tmp_path / "night")
    assert list(butler.query("pixels")) == []
    butler.ingest(tmp_path / "image.npy", "pixels", visit=1, detector=0)
    assert butler.recover().is_clean


def test_ingest_without_an_answer_is_ended_unless_it_is_visible(make_butler, monkeypatch, tmp_path):
    butler = make_butler(run="r")
    image = tmp_path / "image.npy"
    np.save(image, np.ones(3))
    flip, visits_flipped = Committer._flip, [2]

    def no_answer(self, group, unknown_before=0):
        if group[0].outputs[0].ref.data_id["visit"] in visits_flipped:
            flip(self, group, unknown_before)
        return [CommitUnknown(txid=one.txid, reason="no answer") for one in group]

    monkeypatch.setattr(Committer, "_flip", no_answer)
    for visit in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(_ingest, "known_outcome", lambda *known: None)
            with pytest.raises(CommitUnknownError):
                butler.ingest(image, "pixels", visit=visit, detector=0)
        actions = [item.action for item in butler.recover().items]
        assert actions == ([] if visit in visits_flipped else ["ended", "done"])
        assert butler._session.repositories[0].catalog.preparing() == []
    assert [ref.data_id["visit"] for ref in butler.query("pixels")] == [2]
    assert (butler.get("pixels", visit=2, detector=0) == 1).all()
    assert len(list((tmp_path / "night" / "data").rglob("*.npy"))) == 1


def test_context_that_met_a_locked_registry_is_ended_and_a_token_may_go_on(make_butler, monkeypatch):
    butler = make_butler(config={"rules": [{"mode": "immediate"}]}, run="r")
    runtime = butler._session.repositories[0].runtime

    def locked(self, *ending):
        raise DestinationError("locked", kind=ErrorKind.LOCKED)

    contexts = [butler.context() for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(Committer, "abort_here", locked)
        for visit, context in enumerate(contexts):
            context.put({"visit": visit}, "stats", visit=visit)
            context.abort()
        assert len(runtime.catalog.preparing()) == 2
        assert butler.recover().items == [], "it is locked still"
    runtime._endings.forget(contexts[0].txid)  # as whoever resumes it does
    report = butler.recover()
    assert (report.items[0].txid, report.items[0].action) == (contexts[1].txid, "ended")
    assert [record.txid for record in runtime.catalog.preparing()] == [contexts[0].txid]
    butler.errors(acknowledge=True)
