"""The process that a crash harness forks from: it loads libraries, and has nothing open."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import operator
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import define, field

from quantumio.system import failpoints
from quantumio.testing._crash import Acknowledge, Crash

_LIKELY: Final = ("quantumio.registry", "quantumio.formats", "quantumio.destinations.files", "sqlalchemy.orm")
"""Modules that nearly every scenario loads: loaded at once, so that this process need not learn of them."""


_FIRST_GUESS: Final = 40
"""How many points a recovery is thought to reach before one has told."""

_ENDING_S: Final = 5.0
"""How long a thread of a rehearsal that has nothing left to do may take to end, in seconds."""

_EARLIER: Final = 6
"""How often a run is tried that is to be killed at a random time: earlier, where it had ended by then."""

_WHOLE_RUNS: Final = 2
"""How many runs end by themselves, to tell how often each point is reached."""


def _load(name: str) -> Callable[..., None]:
    module, _, qualified = name.partition(":")
    function: Callable[..., None] = operator.attrgetter(qualified)(importlib.import_module(module))
    return function


def _end_others() -> list[str]:
    """Wait for the threads that have nothing left to do, and return the names of those that go on."""
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    for other in others:
        other.join(_ENDING_S)
    return [other.name for other in others if other.is_alive()]


def _here(work: Callable[[], None], timeout_s: float) -> str | None:
    """Run what leaves nothing behind in a thread that ends; return what it raised, or None."""
    raised: list[str] = []

    def told() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001  whatever it is, it is what is wrong with this run
            raised.append(traceback.format_exc())

    thread = threading.Thread(target=told, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        return _TOO_LONG
    if raised:
        return raised[0]
    left = _end_others()
    return f"it has left threads behind, which the next run would not have: {left}" if left else None


def _in_a_fork(work: Callable[[], None], report: Path, timeout_s: float) -> str | None:
    """Run something in a child; return what it raised, or None. Killed by SIGKILL is no failure here."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, timeout_s)  # nobody catches SIGALRM: it ends the process
            work()
            code = 0
        except BaseException:  # noqa: BLE001  told by the parent; nothing may leave a fork but os._exit
            report.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGALRM:
            return _TOO_LONG
        return None if number == signal.SIGKILL else f"it died of {signal.Signals(number).name}"
    if os.WEXITSTATUS(status) == 0:
        return None
    return report.read_text() if report.exists() else f"it ended with {os.WEXITSTATUS(status)}"


_TOO_LONG: Final = "it did not end in time"

_ANY_MOMENT: Final = "any moment"
"""Name of the place of a run that was killed at a random time."""

_Place: TypeAlias = tuple[str, int]
"""The name of a point, and how often the run has reached it then."""


@define
class _Killer:
    """Counts points, and kills the process at one of them: the n-th of a name, or the n-th of all."""

    note: Path
    at: _Place | int | None
    lock: threading.RLock = field(factory=threading.RLock)
    reached: Counter[str] = field(factory=Counter)

    def __call__(self, name: str) -> None:
        with self.lock:  # nobody passes another point while it dies
            self.reached[name] += 1
            if self.at in ((name, self.reached[name]), self.reached.total()):
                self.note.write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)


@define
class _Template:
    scenario: Callable[[Path, Acknowledge], None]
    prepare: Callable[[Path], None]
    check: Callable[[Path, Crash], None]
    recover: Callable[[Path], None] | None
    recoveries: int
    room: Path
    timeout_s: int
    longest: int = _FIRST_GUESS
    rehearsed: bool = False

    @property
    def prepared(self) -> Path:
        return self.room / "prepared"

    def warm(self) -> None:
        """Prepare the repository, do everything once, and load what that loaded."""
        loaded = self.room / "loaded"

        def all_once() -> None:
            self.prepare(self.prepared)
            self._try_out("trial")
            loaded.write_text("\n".join(list(sys.modules)))

        if failure := _in_a_fork(all_once, self.room / "failure", self.timeout_s):
            raise RuntimeError(failure)
        for name in loaded.read_text().splitlines():
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def rehearse(self) -> None:
        """Do everything once here, in a thread that ends: nothing is open, and no thread left, at a fork."""
        failure = _here(lambda: self._try_out("rehearsal"), self.timeout_s)
        if failure is not None:
            raise RuntimeError(f"in the rehearsal, {failure}")
        self.rehearsed = True

    def _try_out(self, name: str) -> None:
        repository = self.room / name
        shutil.copytree(self.prepared, repository)
        acknowledged: list[str] = []
        # Failures are found, and told, by the runs that count.
        with contextlib.suppress(Exception):
            self.scenario(repository, acknowledged.append)
            self.check(repository, Crash(name=None, occurrence=0, acknowledged=tuple(acknowledged)))

    def kill_at(self, number: int, place: _Place | float) -> dict[str, Any]:
        """Kill one run at one place; at a random time that came too late, earlier."""
        told = self.run(number, place)
        if isinstance(place, float):
            for time_s in (place / 2**earlier for earlier in range(1, _EARLIER)):
                if told["name"] is not None or told["message"]:
                    break
                told = self.run(number, time_s)
        return told

    def run(self, number: int, place: _Place | float | None) -> dict[str, Any]:
        """Kill one run at one place, or after so many seconds, or not at all, and check what it left."""
        room = self.room / f"{number:05}"
        room.mkdir()
        repository = room / "repository"
        shutil.copytree(self.prepared, repository)
        name_note, reached_note, acknowledged_note = room / "name", room / "reached", room / "acknowledged"
        acknowledged_note.touch()

        def dying() -> None:
            killer = _Killer(name_note, place if isinstance(place, tuple) else None)
            descriptor = os.open(acknowledged_note, os.O_WRONLY | os.O_APPEND)
            with failpoints.watched(killer):
                self.scenario(repository, lambda text: _write_line(descriptor, text))
            reached_note.write_text(json.dumps(killer.reached))

        begin = time.monotonic()
        lasts_s = place if isinstance(place, float) else self.timeout_s
        message = _in_a_fork(dying, room / "failure", lasts_s)
        seconds = time.monotonic() - begin
        acknowledged = tuple(acknowledged_note.read_text().splitlines())
        name, occurrence = place if isinstance(place, tuple) and name_note.exists() else (None, 0)
        if isinstance(place, float) and message == _TOO_LONG:
            name, message = _ANY_MOMENT, None
        crash = Crash(name=name, occurrence=occurrence, acknowledged=acknowledged)
        if crash.name is None and message is None and not reached_note.exists():
            message = "it was killed by somebody else"
        killed_again = 0
        if message is None and crash.name is not None:
            killed_again, message = self._kill_recoveries(room, repository, crash, number)
        if message is None:
            message = self._look(room, repository, crash)
        told = {
            "killed_again": killed_again,
            "name": crash.name,
            "occurrence": crash.occurrence,
            "acknowledged": list(crash.acknowledged),
            "reached": json.loads(reached_note.read_text()) if reached_note.exists() else {},
            "seconds": seconds,
            "message": message,
            "repository": str(repository),
        }
        if message is None:
            shutil.rmtree(room)
        return told

    def _look(self, room: Path, repository: Path, crash: Crash) -> str | None:
        """Check what is left; here where that leaves nothing behind, which spares a fork and its pages."""
        if self.rehearsed:
            return _here(lambda: self.check(repository, crash), self.timeout_s)
        return _in_a_fork(lambda: self.check(repository, crash), room / "check-failure", self.timeout_s)

    def _kill_recoveries(
        self, room: Path, repository: Path, crash: Crash, seed: int
    ) -> tuple[int, str | None]:
        """Recover copies of what a crash left, kill each recovery somewhere, and check what that leaves."""
        killed = 0
        choice = random.Random(seed)  # noqa: S311  the same points in every run
        for once_more in range(self.recoveries if self.recover else 0):
            again = room / f"again-{once_more}"
            again.mkdir()
            shutil.copytree(repository, again / "repository")
            was_killed, message = self._kill_recovery(again, choice.randint(1, self.longest), crash)
            killed += was_killed
            if message is not None:
                return killed, message
            shutil.rmtree(again)
        return killed, None

    def _kill_recovery(self, room: Path, at: int, crash: Crash) -> tuple[bool, str | None]:
        repository, note, reached = room / "repository", room / "name", room / "reached"
        message = _in_a_fork(
            lambda: self._recover_and_die(repository, note, reached, at), room / "failure", self.timeout_s
        )
        if reached.exists():
            self.longest = max(1, int(reached.read_text()))
        if message is None:
            message = self._look(room, repository, crash)
        if message is None:
            return note.exists(), None
        name = note.read_text() if note.exists() else "nothing"
        return note.exists(), f"recovery killed at its point {at}, {name}:\n{message}"

    def _recover_and_die(self, repository: Path, note: Path, reached: Path, at: int) -> None:
        assert self.recover is not None
        killer = _Killer(note, at)
        with failpoints.watched(killer):
            self.recover(repository)
        reached.write_text(str(killer.reached.total()))


def _write_line(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{' '.join(text.splitlines())}\n".encode())


def _main(task: Mapping[str, Any]) -> int:
    # What scenarios print must not get between the lines of the report.
    with os.fdopen(os.dup(1), "w") as report:
        os.dup2(2, 1)
        directory = Path(task["directory"])
        try:
            for name in _LIKELY:
                importlib.import_module(name)
            template = _Template(
                scenario=_load(task["scenario"]),
                prepare=_load(task["prepare"]),
                check=_load(task["check"]),
                recover=None if task["recover"] is None else _load(task["recover"]),
                recoveries=task["recoveries"],
                room=directory,
                timeout_s=task["timeout_s"],
            )
            template.warm()
            if task["rehearse"]:
                template.rehearse()
            gc.collect()
            gc.freeze()  # a collection in a child would copy every page that it shares with this process
            whole = [template.run(number, None) for number in range(_WHOLE_RUNS)]
            places: list[_Place | float] = []
            if task["points"]:
                which, parts = task["part"]
                places += _places(run["reached"] for run in whole)[which::parts]
            places += _moments(task["random_kills"], max(run["seconds"] for run in whole))
            plan = list(enumerate(places, start=_WHOLE_RUNS))
            processes = task["processes"]
            workers = [_start_worker(template, n, plan[n::processes], task) for n in range(processes)]
            statuses = [os.waitpid(worker, 0)[1] for worker in workers]
        except Exception:  # noqa: BLE001  whatever it is, the harness tells it
            print(json.dumps({"fatal": traceback.format_exc()}), file=report)
            return 1
        print(json.dumps({"points": len(places) - task["random_kills"]}), file=report)
        for run in whole:
            print(json.dumps(run), file=report)
        for number in range(processes):
            report.write(_report_of(directory, number).read_text())
    return 1 if any(statuses) else 0


def _report_of(directory: Path, number: int) -> Path:
    return directory / f"worker-{number}.jsonl"


def _places(counts: Iterable[Mapping[str, int]]) -> list[_Place]:
    """Return every place that one of some whole runs came by."""
    most: Counter[str] = Counter()
    for count in counts:
        most |= Counter(count)
    return [(name, occurrence) for name, times in most.items() for occurrence in range(1, times + 1)]


def _moments(count: int, whole_s: float) -> list[float]:
    """Return random times within a whole run, in seconds: the same shares of it in every call."""
    choice = random.Random(count)  # noqa: S311
    return [max(1e-6, choice.random() * whole_s) for _ in range(count)]


def _start_worker(
    template: _Template, number: int, plan: Sequence[tuple[int, _Place | float]], task: Mapping[str, Any]
) -> int:
    """Fork a process that tries its share of the places, and return its id."""
    parent = os.getpid()
    worker = os.fork()
    if worker:
        return worker
    code = 1
    try:
        with _report_of(template.room, number).open("w", buffering=1) as report:
            for run, place in plan:
                if os.getppid() != parent:  # nobody wants to know any more
                    break
                told = template.kill_at(run, place)
                print(json.dumps(told), file=report)
                threads_left = threading.active_count() > 1  # of a check that failed; forks would lack them
                if told["message"] and (task["stop_at_first"] or threads_left):
                    break
        code = 0
    except BaseException:  # noqa: BLE001  as in every fork: told, and nothing but os._exit leaves it
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(_main(json.loads(sys.argv[1])))
