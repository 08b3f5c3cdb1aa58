"""Plant bugs, and write which test found each to docs/reference/planted-bugs.md: ``make planted``."""

import argparse
import datetime as dt
import re
import sys
from pathlib import Path

from tests.planted.bugs import BUGS
from tests.planted.trials import try_bug

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "planted-bugs.md"

_ROW = re.compile(r"^\| ([a-z0-9 ]+) \| (`.+`|\*\*nobody\*\*) \| .+ \|$", re.MULTILINE)


def row(trial):
    found_by = f"`{trial.found_by}`" if trial.found_by else "**nobody**"
    day = dt.datetime.now(dt.UTC).date()
    return f"| {trial.name.replace('_', ' ')} | {found_by} | {trial.seconds:.0f} | {day} |"


def known_rows():
    """Return the rows of the page, by bug; those of bugs that are no more are left out."""
    page = PAGE.read_text() if PAGE.exists() else ""
    rows = {found[1].replace(" ", "_"): found[0] for found in _ROW.finditer(page)}
    return {name: text for name, text in rows.items() if name in BUGS}


def write(rows):
    found = sum("**nobody**" not in text for text in rows.values())
    table = "\n".join(text for _, text in sorted(rows.items()))
    PAGE.write_text(
        f"""# Planted bugs

Written by `make planted`: each bug is planted alone, and the suite that is named for it in
`tests/planted/bugs.py` runs until its first failure. Of {len(BUGS)} bugs {len(rows)} were tried, and
{found} of these were found. Each run of the tests plants some of them, others every day.

| bug | found by | seconds | last tried |
|---|---|---|---|
{table}
"""
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    names = parser.parse_args().names or sorted(BUGS)
    rows, missed = known_rows(), 0
    for name in names:
        trial = try_bug(name)
        missed += trial.found_by is None
        print(f"{trial.seconds:6.1f} s  {name}: {trial.found_by or 'NOT FOUND'}", flush=True)
        if trial.found_by is None:
            print(trial.output, file=sys.stderr)
        rows[name] = row(trial)
        write(rows)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
