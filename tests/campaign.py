"""The large counts: crashes, power cuts, nights, simulations and planted bugs, for as long as there is time.

Run by ``make campaign``. What was counted is written to docs/reference/campaign.md.
"""

import argparse
import datetime as dt
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from quantumio.testing import crash_everywhere, power_loss
from tests.crash import scenarios, test_every_operation
from tests.planted.bugs import BUGS
from tests.planted.trials import try_bug
from tests.power_loss import test_every_state

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "campaign.md"


def crashes(counts, round_):
    for name, scenario, prepare, check in test_every_operation.CASES + test_every_operation.IN_TURN:
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
    names = sorted(BUGS)
    start = dt.datetime.now(dt.UTC).date().toordinal() * 7 % len(names)  # others every day, if time is short
    for name in (names + names)[start : start + len(names)]:
        found = try_bug(name).found_by is not None
        counts["planted bugs tried"] += 1
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


SUITES = (planted, crashes, power_cuts, nights, simulated_nights, faults)


def run(hours):
    """Give every suite the same time: the next step is one of the suite that has had the least so far."""
    begin, counts = time.monotonic(), Counter(violations=0)
    used_s = dict.fromkeys(SUITES, 0.0)
    steps = {
        suite: itertools.chain.from_iterable(map(partial(suite, counts), itertools.count()))
        for suite in SUITES
    }
    while True:
        suite = min(SUITES, key=used_s.get)
        step_begin = time.monotonic()
        next(steps[suite])
        now = time.monotonic()
        used_s[suite] += now - step_begin
        print(f"\r{(now - begin) / 60:6.1f} min  {dict(counts)}", end="", flush=True)
        if now - begin > 3600 * hours:
            print()
            return counts, now - begin


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
