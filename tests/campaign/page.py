"""docs/reference/campaign.md: what the ledger holds, for readers."""

from pathlib import Path

from tests.campaign import ledger as ledgers
from tests.campaign.suites import SUITES
from tests.planted.bugs import BUGS

PAGE = ledgers.LEDGER.with_suffix(".md")
RUNS = 20
"""How many runs are shown, the newest first."""


def write(ledger, path: Path = PAGE):
    ledgers.write_whole(path, text(ledger))


def text(ledger):
    runs = ledger.of_round(ledger.round)
    return f"""# Campaigns

Written by `make campaign` from `campaign.json` beside this page, to which each run adds what it has counted.
What the suites do is told in [What is promised](../explanations/durability.md). Each run goes on where the
last one ended.

{summary(ledger, runs)}

| round {ledger.round} | counted | asked for | | processor time for one |
|---|--:|--:|---|--:|
{table(runs)}

Planted bugs found: {found(runs)}

## Violations

{violations(ledger.runs)}

## Runs

{table_of_runs(ledger.runs)}
"""


def summary(ledger, runs):
    if not runs:
        return "Nothing has been counted yet."
    versions = list(dict.fromkeys(version for run in runs for version in run.code))
    hours = sum(run.minutes for run in runs) / 60
    said = (
        f"Round {ledger.round} began {runs[0].begin[:10]}: {hours:.1f} hours of runs ({len(runs)}) so far, "
        f"with {sum(len(run.violations) for run in runs)} violations."
    )
    if len(versions) == 1:
        return f"{said} All of it tested one version of the code, {versions[0]}."
    return (
        f"{said} The counts span {len(versions)} versions of the code, {versions[0]} to {versions[-1]}: what "
        f"an early run did not find in its version is no proof for the newest. The last run tested "
        f"{', '.join(runs[-1].code)}."
    )


def table(runs):
    counts, cpu_s = ledgers.counts(runs), ledgers.cpu_s(runs)
    rows, named = [], set()
    for name, suite in SUITES.items():
        done = len(tried(runs)) if name == "planted" else counts[suite.counts]
        reached = "reached" if done >= suite.target else f"{done / suite.target:.0%}"
        each = f"{cpu_s[name] / counts[suite.counts]:.3g} s" if counts[suite.counts] else ""
        rows.append(f"| {suite.counts} | {done:,} | {suite.target:,} | {reached} | {each} |")
        named.add(suite.counts)
    rows += [f"| {name} | {count:,} | | | |" for name, count in counts.items() if name not in named]
    return "\n".join(rows)


def tried(runs):
    return {name: found_by for name, found_by in ledgers.planted(runs).items() if name in BUGS}


def found(runs):
    bugs = tried(runs)
    names = sorted(name for name, found_by in bugs.items() if found_by)
    missed = sorted(set(bugs) - set(names))
    said = f"{len(names)} of {len(BUGS)}. "
    said += f"**Tried and not found: {words(missed)}.** " if missed else ""
    said += f"Not tried yet in this round: {len(BUGS) - len(bugs)}. " if len(bugs) < len(BUGS) else ""
    return (said + (f"Found were {words(names)}." if names else "")).strip()


def words(names):
    return ", ".join(name.replace("_", " ") for name in names)


def violations(runs):
    shown = [
        f"* {run.begin[:10]}, {', '.join(run.code)}, {one['suite']} step {one['step']}: {one['what']}\n\n"
        + "\n".join(f"      {line}" for line in one["message"].splitlines()[-12:])
        for run in reversed(runs)
        for one in run.violations
    ]
    return "\n\n".join(shown) or "None in any run."


def table_of_runs(runs):
    if not runs:
        return "None yet."
    crashes, cuts, seeds = (SUITES[name].counts for name in ("crashes", "power cuts", "simulation"))
    rows = [
        f"| {run.begin} | {', '.join(run.code)} | {run.minutes:.0f} | {run.machine} "
        f"| {run.counts[crashes]:,} | {run.counts[cuts]:,} | {run.counts[seeds]:,} "
        f"| {sum(bool(found_by) for found_by in run.planted.values())} | {len(run.violations)} |"
        for run in reversed(runs[-RUNS:])
    ]
    older = len(runs) - len(rows)
    return "\n".join(
        [
            f"| begun (UTC) | code | minutes | on | {crashes} | {cuts} | {seeds} | bugs found | violations |",
            "|---|---|--:|---|--:|--:|--:|--:|--:|",
            *rows,
            *(["", f"{older} older ones are in `campaign.json`."] if older else []),
        ]
    )
