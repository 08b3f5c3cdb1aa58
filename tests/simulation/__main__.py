"""``python -m tests.simulation --seed 4711`` prints what happens in one simulated night."""

import argparse
import json
import logging
import os
import sys

from tests.simulation.nights import nights


def main():
    logging.getLogger("quantumio").addHandler(logging.NullHandler())  # what goes wrong does so on purpose
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1, help="so many seeds from there on; prints JSON")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what a seed means
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    failed = {}

    def report(seed, found):
        if arguments.count == 1:
            print("\n".join(found.trace))
        if found.violations:
            failed[seed] = found.violations

    nights(range(arguments.seed, arguments.seed + arguments.count), report)
    print(json.dumps(failed, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
