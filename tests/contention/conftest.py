"""Eight processes that work on one repository at the same time, and the latencies of their commits."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantumio import Butler, DatasetType
from tests.contention.worker import RUN, TYPE

PROCESSES = 8
_LATENCIES = pytest.StashKey[dict[str, list[float]]]()


class Team:
    """Processes that wait for tasks; started once, since loading the libraries takes longer than a test."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.contention.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(PROCESSES)
        ]
        self._room = Path(tempfile.mkdtemp(prefix="qio-team-"))
        self._at_work: set[int] = set()

    def start(self, work, repository, count, *, stop=None):
        """Have all do the same, from the same moment on.

        Parameters
        ----------
        work
            Method of the worker.
        stop
            Point of which, and the how manieth time at which, the first process stops itself.
        """
        self._at_work = set(range(PROCESSES))
        barrier = Path(tempfile.mkdtemp(dir=self._room))
        for number, process in enumerate(self.processes):
            task = {
                "work": work,
                "repository": str(repository),
                "number": number,
                "count": count,
                "barrier": str(barrier),
                "stop": stop if number == 0 else None,
            }
            print(json.dumps(task), file=process.stdin, flush=True)
        while len(list(barrier.iterdir())) < PROCESSES:
            assert all(process.poll() is None for process in self.processes), "a process died"
            time.sleep(0.001)
        (barrier / "go").touch()

    def finish(self, *numbers):
        """Wait for these processes, or for all, and return what they told."""
        numbers = numbers or range(PROCESSES)
        answers = [self._answer(self.processes[number]) for number in numbers]
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert not errors, errors[0]
        self._at_work -= set(numbers)
        return answers

    @staticmethod
    def _answer(process):
        return json.loads(process.stdout.readline() or '{"error": "it died"}')

    @property
    def is_busy(self):
        """Whether some have not finished, or failed."""
        return bool(self._at_work)

    def run(self, work, repository, count):
        self.start(work, repository, count)
        return self.finish()

    def wait_until_stopped(self, number):
        """Wait until a process has stopped itself."""
        flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT
        status = os.waitid(os.P_PID, self.processes[number].pid, flags)
        assert status.si_code == os.CLD_STOPPED, f"process {number} ended"

    def let_go_on(self, number):
        os.kill(self.processes[number].pid, signal.SIGCONT)

    def close(self):
        for process in self.processes:
            if self.is_busy:
                process.kill()
            process.stdin.close()
            process.wait(20)
            process.stdout.close()
        shutil.rmtree(self._room)


@pytest.fixture(scope="session")
def _teams() -> Iterator[list[Team]]:
    teams: list[Team] = []
    yield teams
    for team in teams:
        team.close()


@pytest.fixture
def team(_teams):
    """Eight processes; new ones where a test before left some of them at work."""
    if _teams and _teams[-1].is_busy:
        _teams.pop().close()
    if not _teams:
        _teams.append(Team())
    return _teams[-1]


def _make(root, registry=None):
    with Butler.create(root, registry=registry) as butler:
        butler.register_dataset_type(DatasetType(TYPE, dimensions=["visit"], storage_class="Mapping"))
    return root


@pytest.fixture
def on_sqlite(tmp_path):
    """A repository whose registry is SQLite."""
    return _make(tmp_path / "repository")


@pytest.fixture
def on_postgresql(tmp_path, postgresql_database):
    """A repository whose registry is PostgreSQL."""
    return _make(tmp_path / "repository", postgresql_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def repository(request):
    """A repository of each kind."""
    return request.getfixturevalue(f"on_{request.param}")


@pytest.fixture
def butler(repository):
    """The test's own look at it."""
    with Butler(repository, run=RUN, instrument="X") as butler:
        yield butler


# ---------------------------------------------------------------------------- latencies, for the summary


@pytest.fixture
def report(request):
    """Note how long commits or edits took; it is printed at the end, and held to nothing."""

    def note(steps):
        latencies = request.config.stash.setdefault(_LATENCIES, {})
        latencies[request.node.name] = [1e3 * (step["end"] - step["begin"]) for step in steps]

    return note


def pytest_terminal_summary(terminalreporter, config):
    if latencies := config.stash.get(_LATENCIES, None):
        terminalreporter.section(f"latency of commits and edits, {PROCESSES} processes")
        for name, values in latencies.items():
            cuts = statistics.quantiles(values, n=100)
            terminalreporter.line(
                f"{name}: {len(values)} of them, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms"
            )
