"""Kill a scenario at every point at which it could die, and look at what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from quantumio.errors import InternalError, InvalidInputError

__all__ = ["Acknowledge", "Crash", "CrashReport", "Violation", "crash_everywhere"]

Acknowledge: TypeAlias = Callable[[str], None]
"""Given to a scenario: notes one line that survives the death of the process."""


@frozen(kw_only=True)
class Crash:
    """One run of a scenario, ended by SIGKILL at one point, or by itself.

    Attributes
    ----------
    name
        Of the point at which it was killed, as in ``quantumio.system.failpoints``; ``any moment`` where it
        was killed at a random time, None where the scenario ended by itself.
    occurrence
        How often it had reached that point then, the first time being 1; else 0.
    acknowledged
        What the scenario had acknowledged by then, oldest first.
    """

    name: str | None
    occurrence: int
    acknowledged: tuple[str, ...]


@frozen(kw_only=True)
class Violation:
    """Something that must not be after a crash.

    Attributes
    ----------
    crash
        After which one.
    message
        Traceback of the check, or of a scenario that failed by itself.
    repository
        What the crash left, and the check did to it; kept.
    """

    crash: Crash
    message: str
    repository: Path


@frozen(kw_only=True)
class CrashReport:
    """What came of killing a scenario everywhere.

    Attributes
    ----------
    points
        How many the scenario reaches, a point that it reaches twice being two, of the part that is tried.
    kills
        How many of them it was killed at; less than all where its threads came by fewer in a run.
    random_kills
        How many runs were killed at a random time.
    double_kills
        How many recoveries of what they left were killed, too.
    names
        How many of them at each name.
    violations
        What must not be.
    seconds
        How long it took.
    """

    points: int
    kills: int
    random_kills: int
    double_kills: int
    names: Mapping[str, int] = field(repr=False)
    violations: tuple[Violation, ...]
    seconds: float


def crash_everywhere(
    scenario: Callable[[Path, Acknowledge], None],
    *,
    prepare: Callable[[Path], None],
    check: Callable[[Path, Crash], None],
    directory: Path,
    recover: Callable[[Path], None] | None = None,
    recoveries: int = 1,
    points: bool = True,
    part: tuple[int, int] = (0, 1),
    random_kills: int = 0,
    rehearse: bool = False,
    processes: int = 2,
    timeout_s: int = 60,
    stop_at_first: bool = False,
) -> CrashReport:
    """Run a scenario again and again, killing it at each point the first time, the second, and so on.

    Two runs that end by themselves tell how often it reaches each. Every run has a copy of one prepared
    repository and a process of its own, forked from one that has loaded the libraries and has nothing open.
    The check runs once it is dead, in another fork, or after a rehearsal in the process that forks.

    Parameters
    ----------
    scenario
        Opens the repository that it is given, does something and closes it. What it acknowledges it takes for
        durable: call ``acknowledge`` after the call that promised it has returned.
    prepare
        Makes the repository at the path it is given, and closes it.
    check
        Looks at what a crash left and raises if it must not be. Open read-only first: opening for writing may
        mend things.
    recover
        Opens the repository that it is given, recovers it and closes it. It is run on copies of what each
        crash left, killed somewhere itself, and then that is checked, too.
    recoveries
        How many recoveries of each crash are killed, at points that are the same in every run.
    points
        Whether it is killed at its points; else at random times alone.
    part
        Which part of them is tried, counted from 0, and of how many: those of ``(0, 3)`` are the first, the
        fourth, and so on.
    random_kills
        How many runs are killed at a random time, in the midst of whatever they do.
    rehearse
        Whether the process that all are forked from does everything once itself, so that each of them finds
        statements compiled and caches filled, and a check needs no process of its own: quicker.
        Only for functions that leave nothing behind in memory: neither threads nor connections nor replaced
        attributes.
    directory
        An existing directory for the repositories. Those without violations are removed.
    processes
        How many runs go on at the same time.
    timeout_s
        How long one run, or one check, may take, in seconds; more is a violation.
    stop_at_first
        Whether each process ends at its first violation.

    Raises
    ------
    InvalidInputError
        A function cannot be imported by its name, in another process; or there is no such part.
    InternalError
        The repository could not be prepared, or a rehearsal has left threads behind.

    Notes
    -----
    Points are counted by name, over all threads. Where worker threads of a destination, or of several
    destinations, work at the same time, their order varies from run to run: every operation is the last once,
    after every interleaving it is not.

    SIGKILL leaves the page cache: a missing fsync is not found.
    """
    which, parts = part
    if not 0 <= which < parts:
        raise InvalidInputError(
            f"there is no part {which} of {parts}", hint="parts are counted from 0: (0, 3), (1, 3), (2, 3)"
        )
    task = {
        "scenario": _importable(scenario),
        "prepare": _importable(prepare),
        "check": _importable(check),
        "recover": None if recover is None else _importable(recover),
        "recoveries": recoveries,
        "points": points,
        "part": part,
        "random_kills": random_kills,
        "rehearse": rehearse,
        "processes": processes,
        "timeout_s": timeout_s,
        "stop_at_first": stop_at_first,
    }
    begin = time.monotonic()
    planned, *runs = _run_template({**task, "directory": str(directory)})
    killed = [run for run in runs if run["name"] is not None]
    at_random = sum(run["occurrence"] == 0 for run in killed)
    return CrashReport(
        points=int(str(planned["points"])),
        kills=len(killed) - at_random,
        random_kills=at_random,
        double_kills=sum(int(str(run["killed_again"])) for run in runs),
        names=Counter(str(run["name"]) for run in killed),
        violations=tuple(_violation(run) for run in runs if run["message"]),
        seconds=time.monotonic() - begin,
    )


def _importable(function: Callable[..., object]) -> str:
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "<" in name:
        raise InvalidInputError(
            f"{name} of {module} cannot be imported by another process",
            hint="define it at the top of a module",
        )
    return f"{module}:{name}"


def _violation(run: Mapping[str, object]) -> Violation:
    acknowledged = run["acknowledged"]
    assert isinstance(acknowledged, list)
    crash = Crash(
        name=None if run["name"] is None else str(run["name"]),
        occurrence=int(str(run["occurrence"])),
        acknowledged=tuple(acknowledged),
    )
    return Violation(crash=crash, message=str(run["message"]), repository=Path(str(run["repository"])))


def _run_template(task: Mapping[str, object]) -> list[dict[str, object]]:
    """Have a process of its own do it all, and return what it tells; a line of JSON for each run."""
    with subprocess.Popen(
        [sys.executable, "-m", "quantumio.testing._crash_template", json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as process:
        try:
            assert process.stdout is not None
            told = [json.loads(line) for line in process.stdout]
        except BaseException:
            process.terminate()  # its workers see that it is gone
            raise
    if process.returncode != 0:
        reason = told[-1].get("fatal") if told else None
        raise InternalError(
            f"the crash harness ended with {process.returncode}: {reason or 'see standard error'}",
            hint="do `prepare` and `scenario` run by themselves?",
        )
    return told
