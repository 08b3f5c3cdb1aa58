"""Simulated nights: nothing that was promised is lost, whatever dies, stalls or loses its answer, and when.

A seed that failed is looked at with ``python -m tests.simulation --seed N``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.nights import nights

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

SEEDS = int(os.environ.get("QUANTUMIO_SIMULATION_SEEDS", "800"))
FIRST = int(os.environ.get("QUANTUMIO_SIMULATION_FIRST", "1"))
AT_ONCE = 100


def simulate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, AT_ONCE))
def test_nothing_is_lost_in_the_nights_of_these_seeds(first):
    done = simulate("--seed", first, "--count", AT_ONCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-4000:]


@pytest.mark.parametrize("seed", [7, 9])
def test_a_seed_is_the_same_night_every_time(seed):
    first, second = (re.sub(r"qio-nights-\w+", "", simulate("--seed", seed).stdout) for _ in range(2))
    assert first == second
    assert first.count("\n") > 200


def test_a_seed_does_not_depend_on_what_ran_before():
    traces = []
    nights([3, 4, 3], lambda seed, found: traces.append(found.trace))
    assert cut(traces[0]) == cut(traces[2]) != cut(traces[1])


def cut(trace):
    return [re.sub(r"qio-nights-\w+", "", line) for line in trace]


def test_everything_that_can_go_wrong_does():
    seen = []
    nights(range(200, 240), lambda seed, found: seen.extend(found.trace))
    text = "\n".join(seen)
    for what in (
        "is killed",
        "the power fails",
        "stands still",
        "the registry is away",
        "the answer of a COMMIT is lost, it is undone",
        "the answer of a COMMIT is lost, it is done",
        "a late request arrives",
        ": lost answer",
        ": refused",
        ": stalled",
        "reached journaled",
        "reached settled",
        " version",
    ):
        assert what in text, what
