"""Plant every bug once, and write which test found it to docs/reference/planted-bugs.md: ``make planted``."""

import argparse
import datetime as dt
import os
import platform
import sys
from pathlib import Path

from tests.planted.bugs import BUGS
from tests.planted.trials import try_bug

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "planted-bugs.md"


def write(trials):
    rows = "\n".join(
        f"| {one.name.replace('_', ' ')} | {f'`{one.found_by}`' if one.found_by else '**nobody**'} "
        f"| {one.seconds:.0f} |"
        for one in trials
    )
    found = sum(one.found_by is not None for one in trials)
    day = dt.datetime.now(dt.UTC).date()
    PAGE.write_text(
        f"""# Planted bugs

Written by `make planted` on {day}, on {os.cpu_count()} cores ({platform.machine()}, Python
{platform.python_version()}): each bug was planted alone, and the suite that is named for it in
`tests/planted/bugs.py` ran until its first failure. {found} of {len(trials)} were found. Each run of
the tests plants five of them, others every day.

| bug | found by | seconds |
|---|---|---|
{rows}
"""
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(BUGS), help="only these, and write no page")
    names = parser.parse_args().names
    trials = []
    for name in names:
        one = try_bug(name)
        trials.append(one)
        print(f"{one.seconds:6.1f} s  {name}: {one.found_by or 'NOT FOUND'}", flush=True)
        if one.found_by is None:
            print(one.output, file=sys.stderr)
    if names == sorted(BUGS):
        write(trials)
    return 0 if all(one.found_by for one in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
