"""The large counts: states, crashes, power cuts, nights, planted bugs, for as long as there is time.

Run by ``make campaign``. What was counted is written to docs/reference/campaign.md.
"""

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from quantumio.testing import crash_everywhere, power_loss
from tests.crash import scenarios, test_every_operation
from tests.planted.bugs import BUGS
from tests.power_loss import test_every_state
from tests.specification.explorer import Violation, explore
from tests.specification.invariants import ACTIONS, Holds, each_step
from tests.specification.test_specification import WIDE

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "campaign.md"


def specified(counts, round_):
    for name, (start, _) in WIDE.items() if round_ == 0 else ():
        try:
            explored = explore(start, ACTIONS, always=Holds(ACTIONS), each_step=each_step)
            counts["states of the specification"] += explored.states
        except Violation as violation:
            note(counts, f"specification {name}", [str(violation)])
        yield


def crashes(counts, round_):
    for name, scenario, prepare, check in test_every_operation.CASES:
        if prepare is scenarios.remote:
            continue  # the tests have a server for it
        with room() as directory:
            report = crash_everywhere(
                scenario,
                prepare=prepare,
                check=check,
                recover=scenarios.recover,
                recoveries=4 + round_,
                random_kills=50,
                directory=directory,
                processes=os.cpu_count() or 1,
            )
        counts["crashes"] += report.kills
        counts["crashes at any moment"] += report.random_kills
        counts["crashes in recovery"] += report.double_kills
        note(counts, f"crash {name}", [violation.message for violation in report.violations])
        yield


def power_cuts(counts, round_):
    for name, (scenario, prepare, check) in test_every_state.CASES.items():
        with room() as directory:
            report = power_loss(
                scenario, prepare=prepare, check=check, directory=directory, states_at_once=500, seed=round_
            )
        counts["states after power cuts"] += report.states
        note(counts, f"power cut {name}", [message for _, message in report.violations])
        yield


def nights(counts, round_):
    count = 500
    done = pytest("tests/stateful", QUANTUMIO_NIGHTS=str(count), QUANTUMIO_NIGHTS_SEED=str(round_ + 1))
    counts["steps of nights"] += 30 * count
    note(counts, "night", [] if done.returncode == 0 else [done.stdout])
    yield


def simulated_nights(counts, round_):
    for step in range(20):
        processes, each = os.cpu_count() or 1, 100
        first = 1_000_000 * (round_ + 1) + step * processes * each
        running = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.simulation",
                    "--seed",
                    str(first + n * each),
                    "--count",
                    str(each),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(processes)
        ]
        for one in running:
            failed, _ = one.communicate()
            counts["simulated nights"] += each
            note(counts, "simulated night", [] if one.returncode == 0 else [failed])
        yield


def faults(counts, round_):
    done = pytest("tests/network", "tests/syscalls", "tests/space", QUANTUMIO_NETWORK_STEP="1")
    counts["rounds of failing networks, system calls and disks"] += 1
    note(counts, "fault", [] if done.returncode == 0 else [done.stdout])
    yield


def planted(counts, round_):
    for name, bug in BUGS.items() if round_ == 0 else ():
        found = pytest("-x", "-p", "tests.planted.plugin", *bug.suite, QUANTUMIO_PLANTED=name).returncode == 1
        counts["planted bugs found"] += found
        note(counts, f"planted {name}", [] if found else ["its suite did not find it"])
        yield


def pytest(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class room(tempfile.TemporaryDirectory):  # noqa: N801  used as a function
    def __enter__(self):
        return Path(super().__enter__())


def note(counts, what, messages):
    counts["violations"] += len(messages)
    for message in messages:
        print(f"\n{what}: {message}", file=sys.stderr)


def run(hours):
    begin, counts, round_ = time.monotonic(), Counter(violations=0), 0
    while True:
        for suite in (specified, planted, crashes, power_cuts, nights, simulated_nights, faults):
            for _ in suite(counts, round_):
                passed_s = time.monotonic() - begin
                print(f"\r{passed_s / 60:6.1f} min  {dict(counts)}", end="", flush=True)
                if passed_s > 3600 * hours:
                    print()
                    return counts, passed_s
        round_ += 1


def write(counts, seconds):
    rows = "\n".join(f"| {name} | {count:,} |" for name, count in counts.items())
    day = dt.datetime.now(dt.UTC).date()
    PAGE.write_text(
        f"""# The last campaign

Written by `make campaign` on {day}: {seconds / 60:.0f} minutes on {os.cpu_count()} cores
({platform.machine()}, Python {platform.python_version()}). What the suites do is told in
[What is promised](../explanations/durability.md).

| | |
|---|---|
{rows}
"""
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    counts, seconds = run(parser.parse_args().hours)
    write(counts, seconds)
    return 1 if counts["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
