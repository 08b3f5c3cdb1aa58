"""Plant one bug, and look what its suite says."""

import os
import re
import subprocess
import sys
import time

import attrs
import pytest

from tests.planted.bugs import BUGS, VARIABLE

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@attrs.frozen
class Trial:
    """What came of one bug.

    Attributes
    ----------
    found_by
        The test that failed, None where none did.
    output
        What pytest has said at last.
    """

    name: str
    found_by: str | None
    seconds: float
    output: str


def try_bug(name, *, timeout_s=None):
    """Run the suite of a bug with the bug in it."""
    begin = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
            *("-p", "tests.planted.plugin", *BUGS[name].suite),
        ],
        env={**os.environ, VARIABLE: name, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    failed = _FAILED.search(done.stdout)
    found = done.returncode == pytest.ExitCode.TESTS_FAILED and failed is not None
    return Trial(
        name=name,
        found_by=failed[1] if found else None,
        seconds=time.monotonic() - begin,
        output=(done.stdout + done.stderr)[-2000:],
    )
