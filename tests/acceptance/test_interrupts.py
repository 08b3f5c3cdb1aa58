"""Ctrl-C at any moment of opening, putting, reading and committing: nothing hangs, nothing is half there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from quantumio import Butler, DatasetType
from quantumio.model import Committed

_PROGRAM = """
import os, random, signal, sys
import numpy as np
from quantumio import Butler
from quantumio.errors import QuantumioError

def interrupt(*_):
    raise KeyboardInterrupt

random.seed(int(sys.argv[2]))
butler = Butler(sys.argv[1], run="interrupted", instrument="ST8")
pixels = np.ones((64, 64))
with butler.context() as ctx:  # an interrupt within Python's own import system can leave its lock taken
    ctx.put(pixels, "image", visit=-2)
    ctx.put({}, "stats", visit=-2)
    ctx.get("stats", visit=-2)
signal.signal(signal.SIGALRM, interrupt)
tickets, broken_off = {}, 0
for visit in range(int(sys.argv[3])):
    ctx = None
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00005, 0.004), 0.0003)
            ctx = butler.context()
            ctx.put(pixels, "image", visit=visit)
            ctx.put({"visit": visit}, "stats", visit=visit)
            ctx.get("stats", visit=visit)
            if visit % 7 == 0:
                ctx.abort()
            else:
                ctx.commit(random.choice(["buffered", "committed", "settled"]))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        broken_off += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if ctx is not None:
        tickets[visit] = ctx.ticket
with butler.context() as ctx:  # everything still works
    ctx.put(pixels, "image", visit=-1)
butler.drain(timeout=30)
butler.close(timeout=30)
for visit, ticket in tickets.items():
    print(visit, type(ticket.outcome).__name__)
print("broken off", broken_off, flush=True)
"""


def test_interrupts_at_any_moment_hang_nothing_and_tear_nothing(tmp_path: Path) -> None:
    root = tmp_path / "night"
    with Butler.create(root) as butler:
        butler.register_dataset_type(DatasetType("image", dimensions=["visit"], storage_class="NDArray"))
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(root), "1", "400"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    outcomes = dict(line.split() for line in lines)
    assert int(last.removeprefix("broken off ")) > 100
    assert set(outcomes.values()) == {"Committed", "CommitFailed"}, "every context was decided"
    with Butler(root, readonly=True, instrument="ST8") as butler:
        for visit, outcome in outcomes.items():
            for name in ("image", "stats"):
                found = butler.exists(name, visit=int(visit), collections="interrupted")
                assert found is (outcome == Committed.__name__), (name, visit, outcome)
        for ref in butler.query("*"):
            butler.get(ref)


_CLOSING = """
import signal, sys, time
from quantumio import Butler

def interrupt(*_):
    raise KeyboardInterrupt

butler = Butler(sys.argv[1], run="closing", instrument="ST8")
for visit in range(20):
    ctx = butler.context()
    ctx.put({"visit": visit}, "stats", visit=visit)
    ctx.commit("buffered")
signal.signal(signal.SIGALRM, interrupt)
for _ in range(int(sys.argv[2])):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            butler.close()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
if sys.argv[3] == "again":
    butler.close()
"""


# Python cannot raise an interrupt out of a callback of its search for garbage, and says so.
_IN_A_CALLBACK = re.compile(r"^Exception ignored in: .*?^KeyboardInterrupt: *\n", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("end", ["again", "exit"])
def test_close_that_is_broken_off_goes_on_by_the_next_or_at_exit(tmp_path: Path, end: str) -> None:
    root = tmp_path / "night"
    with Butler.create(root) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    done = subprocess.run(
        [sys.executable, "-c", _CLOSING, str(root), "3", end],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = _IN_A_CALLBACK.sub("", done.stderr)
    assert (done.returncode, told) == (0, "")
    with Butler(root, readonly=True, instrument="ST8") as butler:
        assert butler.query("stats", collections="closing").count() == 20
