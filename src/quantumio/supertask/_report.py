"""What a run did: per quantum, and per task."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from attrs import field, frozen

from quantumio.errors import QuantumioError
from quantumio.model import CommitOutcome, DataId, DatasetRef, Mode
from quantumio.supertask._quantum import Quantum

__all__ = ["QuantumResult", "QuantumState", "RunReport", "TaskSummary"]

_WIRE_VERSION: Final = 1


class QuantumState(StrEnum):
    """Where a quantum stands, or how it ended."""

    SEALED = "sealed"
    SUCCEEDED = "succeeded"
    REUSED = "reused"
    FAILED = "failed"
    BLOCKED = "blocked"
    CONFLICT = "conflict"
    PARKED = "parked"
    UNKNOWN = "unknown"

    @property
    def is_good(self) -> bool:
        """Whether everything that the quantum was to write is there, or under way."""
        return self in (QuantumState.SEALED, QuantumState.SUCCEEDED, QuantumState.REUSED)


@frozen(kw_only=True)
class QuantumResult:
    """What became of one quantum.

    Attributes
    ----------
    quantum
        Which one.
    state
        ``succeeded``; ``reused``: an earlier attempt had committed it; ``failed``; ``blocked``: a quantum
        before it failed; ``conflict``, ``parked``, ``unknown``: what its commit's outcome says; ``sealed``:
        nobody waited for its commit.
    error
        What it raised, or what keeps it from being committed.
    outcome
        Of its commit; None where there was none.
    refs
        What it wrote; with versions once committed.
    compute_s, put_s, get_s
        Seconds in ``run`` without waiting, blocked in ``put``, and in ``get``.
    outputs, output_bytes
        Number of outputs, and their size in memory.
    destinations
        Names of where they went.
    """

    quantum: Quantum
    state: QuantumState
    error: BaseException | None = None
    outcome: CommitOutcome | None = None
    refs: tuple[DatasetRef, ...] = ()
    compute_s: float = 0.0
    put_s: float = 0.0
    get_s: float = 0.0
    outputs: int = 0
    output_bytes: int = 0
    destinations: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """Label of its task."""
        return self.quantum.task

    @property
    def data_id(self) -> DataId:
        """Data ID of the quantum."""
        return self.quantum.data_id


@frozen(kw_only=True)
class TaskSummary:
    """What a run did for one task; sizes in bytes, times in seconds, summed over its quanta."""

    task: str
    quanta: int
    states: dict[str, int]
    compute_s: float
    put_s: float
    get_s: float
    outputs: int
    output_bytes: int
    destinations: tuple[str, ...]

    @property
    def failures(self) -> int:
        """Number of quanta that did not end well."""
        return sum(number for state, number in self.states.items() if not QuantumState(state).is_good)

    @classmethod
    def of(cls, task: str, results: Iterable[QuantumResult]) -> TaskSummary:
        """Sum the results of a task up."""
        own = [result for result in results if result.task == task]
        states = [str(result.state) for result in own]
        return cls(
            task=task,
            quanta=len(own),
            states={state: states.count(state) for state in dict.fromkeys(states)},
            compute_s=sum(result.compute_s for result in own),
            put_s=sum(result.put_s for result in own),
            get_s=sum(result.get_s for result in own),
            outputs=sum(result.outputs for result in own),
            output_bytes=sum(result.output_bytes for result in own),
            destinations=tuple(dict.fromkeys(name for result in own for name in result.destinations)),
        )


@frozen(kw_only=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    run
        RUN collection of its outputs.
    mode
        Write mode of the whole run; None where the policy decided for each output.
    jobs
        Number of quanta that ran at the same time.
    tasks
        Labels of the tasks, in order.
    results
        Of every quantum, in the order of the plan.
    sealed_s
        Seconds from the start until no quantum was computing any more.
    committed_s
        Seconds from the start until every commit was decided (as far as was waited for).
    """

    run: str
    mode: Mode | None
    jobs: int
    tasks: tuple[str, ...]
    results: tuple[QuantumResult, ...] = field(repr=False)
    sealed_s: float
    committed_s: float

    @property
    def ok(self) -> bool:
        """Whether every quantum ended well."""
        return all(result.state.is_good for result in self.results)

    @property
    def failures(self) -> tuple[QuantumResult, ...]:
        """Quanta that did not end well, in the order of the plan."""
        return tuple(result for result in self.results if not result.state.is_good)

    @property
    def states(self) -> dict[str, int]:
        """Number of quanta by state."""
        states = [str(result.state) for result in self.results]
        return {state: states.count(state) for state in QuantumState if str(state) in states}

    @property
    def summaries(self) -> tuple[TaskSummary, ...]:
        """Sums for each task."""
        return tuple(TaskSummary.of(task, self.results) for task in self.tasks)

    def table(self) -> list[dict[str, object]]:
        """Return a row for each task, to be printed; numbers are numbers."""
        return [
            {
                "task": summary.task,
                "quanta": summary.quanta,
                "failures": summary.failures,
                "compute_s": summary.compute_s,
                "put_s": summary.put_s,
                "get_s": summary.get_s,
                "outputs": summary.outputs,
                "bytes": summary.output_bytes,
                "destinations": ", ".join(summary.destinations),
            }
            for summary in self.summaries
        ]

    def raise_for_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises
        ------
        ExceptionGroup
            The errors of the quanta that failed, each with a note that names the quantum; those that were
            only blocked by others are counted in the message.
        """
        if self.ok:
            return
        blocked = sum(result.state is QuantumState.BLOCKED for result in self.results)
        errors = []
        for result in self.failures:
            if result.state is QuantumState.BLOCKED and blocked < len(self.failures):
                continue
            error = result.error if isinstance(result.error, Exception) else _stand_in(result)
            error.add_note(f"quantum {result.quantum.key}: {result.state}")
            errors.append(error)
        also = f" and {blocked} that wait for them" if blocked and blocked < len(self.failures) else ""
        raise ExceptionGroup(f"{len(errors)} of {len(self.results)} quanta{also} failed", errors)

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping."""
        return {
            "version": _WIRE_VERSION,
            "run": self.run,
            "mode": None if self.mode is None else str(self.mode),
            "jobs": self.jobs,
            "sealed_s": self.sealed_s,
            "committed_s": self.committed_s,
            "states": self.states,
            "tasks": self.table(),
            "failures": [
                {
                    "quantum": result.quantum.key,
                    "task": result.task,
                    "data_id": dict(result.data_id),
                    "state": str(result.state),
                    "error": _described(result.error),
                }
                for result in self.failures
            ],
        }

    def __str__(self) -> str:
        said = ", ".join(f"{number} {state}" for state, number in self.states.items())
        return f"run {self.run!r}: {said} in {self.committed_s:.2f} s ({self.sealed_s:.2f} s computing)"


def _stand_in(result: QuantumResult) -> QuantumioError:
    return QuantumioError(_described(result.error) or f"{result.quantum.key} was {result.state}")


def _described(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return str(error) if isinstance(error, QuantumioError) else f"{type(error).__name__}: {error}"
