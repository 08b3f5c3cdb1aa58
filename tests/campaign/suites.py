"""What a campaign consists of: suites, each of numbered steps that take a minute or so of one processor.

``python -m tests.campaign.suites crashes 17`` does one step and prints what came of it as a line of JSON. The
number of a step decides what it does, so that a step that failed can be done again.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import attrs

from quantumio.testing import crash_everywhere, power_loss
from tests import in_memory
from tests.campaign.slow_syncs import slowly
from tests.crash import scenarios, test_every_operation
from tests.planted.bugs import BUGS
from tests.planted.trials import try_bug
from tests.power_loss import test_every_state

PROJECT = Path(__file__).parents[2]

RECOVERIES, MORE_RECOVERIES = 3, 8
"""How many recoveries of each crash are killed: more where recovery has most to do."""
CRASHES = [
    (name, *case, test_every_operation.KILLED_AGAIN.get(case[0]))
    for name, *case in test_every_operation.CASES + test_every_operation.IN_TURN
    if case[1] is not scenarios.remote  # there is no server here; the tests have one
]
CRASHES += [("busy", scenarios.busy, scenarios.local, scenarios.check, None)]
CRASHES.sort(key=lambda case: case[-1] is None)
STATES_AT_ONCE, STATES_OF_MANY_AT_ONCE = 500, 25
"""How many states after one operation a step looks at: fewer where there are many operations."""
POWER_CUTS = [(name, *case, STATES_AT_ONCE) for name, case in test_every_state.CASES.items()]
POWER_CUTS += [
    (scenario.__name__, scenario, prepare, test_every_state.check, STATES_AT_ONCE)
    for scenario, prepare in (
        (scenarios.conflict_in_a_group, scenarios.local),
        (scenarios.depends, scenarios.local),
        (scenarios.replaces, scenarios.local),
        (scenarios.replaces, scenarios.immediate),
    )
]
POWER_CUTS += [
    (f"busy, {prepare.__name__}", scenarios.busy, prepare, test_every_state.check, STATES_OF_MANY_AT_ONCE)
    for prepare in (scenarios.local, scenarios.second, scenarios.packs)
]
SEEDS = 200
FIRST_SEED = 1_000_000  # those below belong to the tests
NIGHTS = 100
FAULTS = ("tests/network", "tests/syscalls", "tests/space")


def crashes(step):
    name, scenario, prepare, check, again = CRASHES[step % len(CRASHES)]
    with in_memory.room() as directory:
        report = crash_everywhere(
            scenario,
            prepare=prepare,
            check=check,
            recover=again or scenarios.recover,
            recoveries=RECOVERIES if again is None else MORE_RECOVERIES,
            points=scenario is not scenarios.busy,  # its threads come by others every time
            random_kills=100 + step // len(CRASHES),  # at other moments each time
            rehearse=True,
            directory=Path(directory),
            processes=1,
        )
    return {
        "counts": {
            "crashes at a point": report.kills,
            "crashes at any moment": report.random_kills,
            "crashes in recovery": report.double_kills,
        },
        "violations": [
            {"what": f"{name}, killed at {one.crash.name} {one.crash.occurrence}", "message": one.message}
            for one in report.violations
        ],
    }


def power_cuts(step):
    name, scenario, prepare, check, at_once = POWER_CUTS[step % len(POWER_CUTS)]
    part = step // len(POWER_CUTS)
    with in_memory.room() as directory:
        report = power_loss(
            slowly(scenario, step),
            prepare=prepare,
            check=check,
            directory=Path(directory),
            states_at_once=at_once,
            part=part,
        )
    return {
        "counts": {"states after power cuts": report.states},
        "violations": [
            {"what": f"{name}, states_at_once={at_once}, part={part}, {cut}", "message": message}
            for cut, message in report.violations
        ],
    }


def simulated_nights(step):
    first = FIRST_SEED + step * SEEDS
    done = python("tests.simulation", "--seed", str(first), "--count", str(SEEDS))
    failed = {} if done.returncode == 0 else json.loads(done.stdout)
    return {
        "counts": {"simulated nights": SEEDS},
        "violations": [
            {"what": f"python -m tests.simulation --seed {seed}", "message": "\n".join(messages)}
            for seed, messages in failed.items()
        ],
    }


def nights(step):
    count = {"steps of random nights": 30 * NIGHTS}  # the test holds that it lives through so many
    return pytest(count, "tests/stateful", QUANTUMIO_NIGHTS=str(NIGHTS), QUANTUMIO_NIGHTS_SEED=str(step + 1))


def faults(step):
    count = {"runs of failing networks, system calls and disks": 1}
    return pytest(count, FAULTS[step % len(FAULTS)], QUANTUMIO_NETWORK_STEP="1")


def planted(step):
    name = sorted(BUGS)[step % len(BUGS)]
    trial = try_bug(name)
    missed = [] if trial.found_by else [{"what": f"{name} is not found", "message": trial.output}]
    return {"counts": {"planted bugs tried": 1}, "planted": {name: trial.found_by}, "violations": missed}


@attrs.frozen
class Suite:
    """What a round wants of it: so many of what it counts, and so many steps at least.

    One that has an end, such as all points of all scenarios, begins anew in each round: the code is another
    by then.
    """

    step: Callable[[int], dict[str, object]]
    counts: str
    target: int
    fewest_steps: int = 1
    anew: bool = False


SUITES = {
    "planted": Suite(planted, "planted bugs tried", len(BUGS), len(BUGS), anew=True),
    "crashes": Suite(crashes, "crashes in recovery", 10_000, len(CRASHES), anew=True),
    "power cuts": Suite(power_cuts, "states after power cuts", 100_000, len(POWER_CUTS), anew=True),
    "simulation": Suite(simulated_nights, "simulated nights", 50_000),
    "random nights": Suite(nights, "steps of random nights", 60_000),
    "faults": Suite(faults, "runs of failing networks, system calls and disks", 2 * len(FAULTS)),
}


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def pytest(counts, *arguments, **environment):
    done = python("pytest", "-q", "-p", "no:cacheprovider", *arguments, **environment)
    command = " ".join([*(f"{name}={value}" for name, value in environment.items()), "pytest", *arguments])
    failed = [] if done.returncode == 0 else [{"what": command, "message": done.stdout + done.stderr}]
    return {"counts": counts, "violations": failed}


def tell(suite, step):
    """Do one step; whatever goes wrong is a violation, and names no place of this machine."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            told = SUITES[suite].step(step)
    except Exception:  # noqa: BLE001  a step that fails by itself has found something, too
        told = {"violations": [{"what": "the step failed", "message": traceback.format_exc()}]}
    times = os.times()
    told["cpu_s"] = times.user + times.system + times.children_user + times.children_system
    for violation in told["violations"]:
        violation["message"] = without_places(violation["message"])[-4000:]
    return told


def without_places(text):
    for place, name in (
        (PROJECT, "."),
        (sys.prefix, "venv"),
        (sys.base_prefix, "python"),
        (Path.home(), "~"),
    ):
        text = text.replace(str(place), name) if len(str(place)) > 1 else text
    return re.sub(r"/\S*/(?=tmp\w+/)", ".../", text)


if __name__ == "__main__":
    print(json.dumps(tell(sys.argv[1], int(sys.argv[2]))))
