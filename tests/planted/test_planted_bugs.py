"""Each planted bug is found by its suite: some in each run, in turn; all with QUANTUMIO_PLANTED_ALL."""

import datetime as dt
import os
import subprocess
import sys

import pytest

from tests.planted.bugs import BUGS
from tests.planted.trials import try_bug

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

AT_ONCE = 2


def chosen():
    """Return the bugs of today: every one comes again after some weeks."""
    names = sorted(BUGS)
    if os.environ.get("QUANTUMIO_PLANTED_ALL"):
        return names
    day = dt.datetime.now(dt.UTC).date().toordinal()
    start = day * AT_ONCE % len(names)
    return (names + names)[start : start + AT_ONCE]


def test_there_are_enough():
    assert len(BUGS) >= 25
    assert len(chosen()) >= AT_ONCE


def test_every_bug_can_be_planted():
    command = [sys.executable, "-m", "tests.planted.all_plantable"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", chosen())
def test_planted_bug_is_found_by_its_suite(name):
    trial = try_bug(name, timeout_s=800)
    assert trial.found_by is not None, trial.output
