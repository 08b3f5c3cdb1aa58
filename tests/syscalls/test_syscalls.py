"""System calls that kill the process or fail, also those of SQLite, which no failpoint knows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from quantumio import errors
from tests.crash import scenarios
from tests.syscalls.child import LABELS

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

PROJECT = Path(__file__).resolve().parents[2]
EVERY = int(os.environ.get("QUANTUMIO_SYSCALLS", "1"))  # how many times as many points as usual
KILLED = 128 + 9
ACKS = ("committed", "journaled")

# strace counts the calls of each thread by itself: the first few of each are all that a thread makes.
KILLS = [
    ("fsync", 2),
    ("fdatasync", 3),
    ("pwrite64", 4),
    ("link", 1),
    ("unlink", 2),
    ("rename", 1),
    ("mkdir", 1),
]
ERRORS = [
    ("fsync", "EIO", 4),  # the first two are those of directories
    ("fdatasync", "EIO", 3),
    ("pwrite64", "ENOSPC", 2),
    ("link", "EDQUOT", 1),
    ("unlink", "EIO", 1),
    ("rename", "EIO", 1),
    ("flock", "EIO", 1),
    ("mkdir", "ENOSPC", 1),
]


@pytest.fixture(scope="module")
def strace():
    """Find a strace that may trace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    tried = subprocess.run([program, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()[-200:]}")
    return program


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    repository = tmp_path_factory.mktemp("template") / "repository"
    scenarios.local(repository)
    return repository


def run(strace, repository, directory, *options, ack="committed"):
    """Run the child under strace; returns its exit code, what it was told, and the trace."""
    told, trace = directory / "told", directory / "trace"
    done = subprocess.run(
        [
            *(strace, "-f", "-qq", "-y", "-o", trace, *options),
            *(sys.executable, "-m", "tests.syscalls.child", repository, told, ack),
        ],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = told.read_text().splitlines() if told.exists() else []
    return done, lines, trace.read_text(errors="replace").splitlines()


def check(repository, told):
    """Hold that what a reader sees is whole and all that was promised, before recovery and after."""
    lost = list((repository / "journal").glob("*.conflict"))
    assert len(lost) <= sum(line.startswith("failed ") for line in told)
    for entry in lost:  # it was promised and refused for good: it is kept until somebody has looked
        shutil.rmtree(entry)
    acknowledged = [line for line in told if line.partition(" ")[0] in ("committed", "journaled")]
    scenarios.check(repository, SimpleNamespace(acknowledged=acknowledged))
    with scenarios.opened(repository, readonly=True) as butler:
        visible = scenarios.look(butler, repository, [])
    assert not visible & {line.partition(" ")[2] for line in told if line.startswith("failed ")}


def points(table):
    """Return each point, with one kind of acknowledgement or the other; in a campaign with both."""
    found = [(*names, n) for *names, most in table for n in range(1, most * EVERY + 1)]
    if EVERY > 1:
        return [(*point, ack) for point in found for ack in ACKS]
    return [(*point, ACKS[number % 2]) for number, point in enumerate(found)]


@pytest.mark.parametrize(("call", "n", "ack"), points(KILLS))
def test_killed_in_a_system_call_it_leaves_what_was_promised(strace, template, tmp_path, call, n, ack):
    repository = shutil.copytree(template, tmp_path / "repository")
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"]
    done, told, trace = run(strace, repository, tmp_path, *inject, ack=ack)
    assert done.returncode in (0, KILLED, -9), done.stderr[-2000:]
    assert any("SIGKILL" in line for line in trace) == (done.returncode != 0)
    check(repository, told)


@pytest.mark.parametrize(("call", "error", "n", "ack"), points(ERRORS))
def test_system_call_that_fails_is_told_truly(strace, template, tmp_path, call, error, n, ack):
    repository = shutil.copytree(template, tmp_path / "repository")
    inject = ["-e", f"trace={call},openat,close", "-e", f"inject={call}:error={error}:when={n}"]
    done, told, trace = run(strace, repository, tmp_path, *inject, ack=ack)
    # what could not be opened or closed says so in an error of ours; anything else is a bug
    last = (done.stderr.strip().splitlines() or [""])[-1].partition(":")[0]
    kind = getattr(errors, last.rpartition(".")[2], object)
    assert done.returncode == 0 or issubclass(kind, errors.QuantumioError), done.stderr
    if call == "fsync":
        assert_never_repeated(trace)
    check(repository, told)


def assert_never_repeated(trace):
    """Hold that a file whose fsync has failed is closed before anything is synced through that descriptor."""
    failed = set()
    for line in trace:
        process, _, call = line.partition(" ")
        call = call.strip()
        name, _, rest = call.partition("(")
        number = rest.partition("<")[0]
        if name == "close":
            failed.discard(number)
        elif name in ("fsync", "fdatasync"):
            assert number not in failed, f"synced again by {process}: {line}"
            if "(INJECTED)" in call:
                failed.add(number)


def test_each_commit_of_the_registry_is_synced(strace, template, tmp_path):
    repository = shutil.copytree(template, tmp_path / "repository")
    done, told, trace = run(strace, repository, tmp_path, "-e", "trace=fsync,fdatasync")
    assert told == [f"committed {label}" for label in LABELS], done.stderr[-2000:]
    syncs = [line for line in trace if "-wal>" in line]
    assert len(syncs) >= 2 * len(LABELS)  # of each context the intent and the flip
