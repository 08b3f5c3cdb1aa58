"""What all campaigns have counted: docs/reference/campaign.json, to which each run adds itself.

The file is kept in the repository, so that the counts add up over days and machines. A round is what it takes
to reach every target; steps are numbered over all runs, so that no run repeats what an earlier one did.
"""

import datetime as dt
import json
import os
from collections import Counter
from pathlib import Path

import attrs

LEDGER = Path(__file__).parents[2] / "docs" / "reference" / "campaign.json"


@attrs.define
class Steps:
    """Which steps of a suite are done: all below ``below``, and those of ``beyond``."""

    below: int = 0
    beyond: list[int] = attrs.field(factory=list)

    @property
    def count(self):
        return self.below + len(self.beyond)

    def next(self, running):
        """Return the first step that is neither done nor running: one that was broken off comes again."""
        number = self.below
        while number in self.beyond or number in running:
            number += 1
        return number

    def finish(self, number):
        self.beyond = sorted([*self.beyond, number])
        while self.below in self.beyond:
            self.beyond.remove(self.below)
            self.below += 1


@attrs.define
class Run:
    """One call of ``make campaign``."""

    round: int
    begin: str
    machine: str
    code: list[str] = attrs.field(factory=list)
    """Versions that were tested; several, if the code was changed meanwhile."""
    minutes: float = 0.0
    counts: Counter[str] = attrs.field(factory=Counter, converter=Counter)
    cpu_s: Counter[str] = attrs.field(factory=Counter, converter=Counter)
    """Processor time of each suite."""
    planted: dict[str, str | None] = attrs.field(factory=dict)
    """Which test found each planted bug that was tried; None: nobody did."""
    violations: list[dict[str, str]] = attrs.field(factory=list)

    def add(self, suite, step, told):
        """Take what a step tells: ``counts``, ``cpu_s``, ``planted``, ``violations``, or some of them."""
        self.counts.update(told.get("counts", {}))
        self.cpu_s[suite] += told.get("cpu_s", 0.0)
        self.planted.update(told.get("planted", {}))
        self.violations += [{"suite": suite, "step": str(step), **one} for one in told.get("violations", [])]


@attrs.define
class Ledger:
    """All runs, oldest first, and how far each suite has come."""

    path: Path
    runs: list[Run] = attrs.field(factory=list)
    steps: dict[str, Steps] = attrs.field(factory=dict)

    @classmethod
    def read(cls, path=LEDGER):
        if not path.exists():
            return cls(path)
        kept = json.loads(path.read_text())
        return cls(
            path,
            [Run(**run) for run in kept["runs"]],
            {suite: Steps(**steps) for suite, steps in kept["steps"].items()},
        )

    def write(self):
        kept = attrs.asdict(self, filter=attrs.filters.exclude(attrs.fields(Ledger).path))
        for run in kept["runs"]:
            run["minutes"] = round(run["minutes"], 1)
            run["cpu_s"] = {suite: round(seconds, 1) for suite, seconds in run["cpu_s"].items()}
        write_whole(self.path, json.dumps(kept, indent=1) + "\n")

    @property
    def round(self):
        """Number of the round that is going on; 0 before the first run."""
        return self.runs[-1].round if self.runs else 0

    def of_round(self, number):
        return [run for run in self.runs if run.round == number]

    def steps_of(self, suite):
        return self.steps.setdefault(suite, Steps())


def now():
    return dt.datetime.now(dt.UTC).isoformat(" ", "minutes").removesuffix("+00:00")


def counts(runs):
    """Add up what some runs have counted."""
    return sum((run.counts for run in runs), Counter())


def cpu_s(runs):
    return sum((run.cpu_s for run in runs), Counter())


def planted(runs):
    """Return who found each planted bug that was tried in some runs, as the newest try has it."""
    return {name: found_by for run in runs for name, found_by in run.planted.items()}


def write_whole(path, text):
    """Replace a file at once: whoever is killed meanwhile leaves the old one or the new one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
