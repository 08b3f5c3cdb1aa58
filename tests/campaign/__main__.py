"""Crashes, power cuts, nights, simulations and planted bugs in large numbers: ``make campaign``.

Goes on until the targets of a round are reached, or for some hours. Each run begins where the last one
ended, and adds what it counts to docs/reference/campaign.json and campaign.md whenever a step ends: it may be
stopped at any time.
"""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from tests.campaign import ledger as ledgers
from tests.campaign import page
from tests.campaign.ledger import Ledger, Run
from tests.campaign.suites import PROJECT, SUITES

CORES = len(os.sched_getaffinity(0))
LONGEST_STEP_S = 4 * 3600.0
"""A few minutes are usual; a machine that has much else to do is no violation."""
PATIENCE_S = 20.0
"""How long a step that is broken off may take to end its own processes."""


class Campaign:
    """One run: keeps every core busy with a step of the suite that is farthest from its target."""

    def __init__(self, ledger, suites, *, hours=None, command, write_page=page.write, cores=CORES):
        self.ledger, self.suites, self.hours, self.command = ledger, suites, hours, command
        self.write_page, self.cores = write_page, cores
        number = ledger.round
        if number == 0 or not self.unfinished(number):
            number += 1
            for name, suite in suites.items():
                if suite.anew:
                    ledger.steps.pop(name, None)
        self.run = Run(round=number, begin=ledgers.now(), machine=machine())
        ledger.runs.append(self.run)
        self.running = {}
        self.is_interrupted = False
        self.begin = time.monotonic()

    # -- what is next
    def done(self, name, number):
        runs = self.ledger.of_round(number)
        if name == "planted":  # different ones
            return len(page.tried(runs))
        return ledgers.counts(runs)[self.suites[name].counts]

    def share(self, name, number=None):
        suite, steps = self.suites[name], self.ledger.steps_of(name)
        share = self.done(name, number or self.run.round) / suite.target
        return min(share, steps.count / suite.fewest_steps) if suite.anew else share

    def unfinished(self, number):
        return [name for name in self.suites if self.share(name, number) < 1]

    def choose(self):
        """Return the suite of the next step; None when all is done."""
        steps = Counter(name for name, _, _ in self.running.values())
        names = self.unfinished(self.run.round) or (list(self.suites) if self.hours is not None else [])
        return min(names, key=lambda name: (self.share(name), steps[name]), default=None)

    # -- doing it
    def go_on(self):
        """Run until the targets or the hours are reached, or somebody interrupts; return the exit code."""
        with ThreadPoolExecutor(self.cores) as pool:
            try:
                self.save()
                while not self.is_interrupted and self.start(pool):
                    finished, _ = wait(self.running, timeout=1, return_when=FIRST_COMPLETED)
                    for future in finished:
                        name, step, _ = self.running.pop(future)
                        self.add(name, step, future.result())
            finally:
                self.break_off()
                if not (self.run.counts or self.run.violations):
                    self.ledger.runs.remove(self.run)
                self.save()
        return 1 if self.run.violations else 0

    def interrupt(self, number, frame):
        """Handle a signal: between two changes of the ledger, not within one."""
        self.is_interrupted = True

    def start(self, pool):
        """Give every idle core a step, if there is one; return whether any runs."""
        while len(self.running) < self.cores and not self.is_over() and (name := self.choose()) is not None:
            busy = {step for other, step, _ in self.running.values() if other == name}
            step = self.ledger.steps_of(name).next(busy)
            # A group of its own: what a terminal interrupts is this process, which then ends its steps.
            process = subprocess.Popen(
                [*self.command, name, str(step)],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self.running[pool.submit(result, process)] = name, step, process
        return bool(self.running)

    def is_over(self):
        return self.hours is not None and time.monotonic() - self.begin >= 3600 * self.hours

    def add(self, name, step, told):
        for one in told.get("violations", []):
            print(
                f"\nVIOLATION: {name} step {step}: {one['what']}\n{one['message']}",
                file=sys.stderr,
                flush=True,
            )
        self.run.add(name, step, told)
        self.ledger.steps_of(name).finish(step)
        self.save()
        shares = "  ".join(f"{other} {self.share(other):.0%}" for other in self.suites)
        print(f"{self.run.minutes:6.1f} min  {shares}", flush=True)

    def save(self):
        self.run.minutes = (time.monotonic() - self.begin) / 60
        if (code := version()) not in self.run.code:
            self.run.code.append(code)
        self.ledger.write()
        self.write_page(self.ledger)

    def break_off(self):
        """End the steps that still run; they are not counted, and a later run begins them anew."""
        for _, _, process in self.running.values():
            kill(process, signal.SIGINT)
        for _, _, process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
            kill(process, signal.SIGKILL)


def result(process):
    """Return what a step told; one that does not end, or tells nothing, is a violation."""
    try:
        output, errors = process.communicate(timeout=LONGEST_STEP_S)
        return json.loads(output.splitlines()[-1])
    except subprocess.TimeoutExpired:
        kill(process, signal.SIGKILL)
        output, errors = process.communicate()
        what = "the step did not end in time"
    except (ValueError, IndexError):
        what = f"the step ended with {process.returncode}"
    return {"violations": [{"what": what, "message": (output + errors)[-4000:]}]}


def kill(process, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def version():
    """Return which code is tested: its commit, and whether files differ from it."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout

    try:
        changed = git("status", "--porcelain", "--", ".", ":(exclude)docs/reference/campaign.*")
        return git("rev-parse", "--short=10", "HEAD").strip() + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine():
    said = f"{CORES} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    return f"{said}, nice {os.nice(0)}" if os.nice(0) else said


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--hours", type=float, help="end after so long; without it, when the targets are reached"
    )
    hours = parser.parse_args().hours
    directory = os.open(ledgers.LEDGER.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another campaign is running here", file=sys.stderr)
        return 2
    campaign = Campaign(
        Ledger.read(), SUITES, hours=hours, command=[sys.executable, "-m", "tests.campaign.suites"]
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, campaign.interrupt)
    until = "until its targets are reached" if hours is None else f"for {hours:g} hours"
    print(
        f"round {campaign.run.round}, {until}; it may be interrupted, and called again to go on", flush=True
    )
    return campaign.go_on()


if __name__ == "__main__":
    sys.exit(main())
