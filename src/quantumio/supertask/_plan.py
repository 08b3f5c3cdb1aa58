"""Plan: every quantum, before any of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import field, frozen

from quantumio.butler import Butler
from quantumio.errors import InvalidInputError, NotFoundError
from quantumio.model import Ack, Mode
from quantumio.supertask._harness import run_in_threads
from quantumio.supertask._progress import ProgressEvent
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._report import RunReport
from quantumio.supertask._task import SuperTask

__all__ = ["EXECUTORS", "Plan"]

EXECUTORS = ("threads",)
"""Executors that there are."""


@frozen(eq=False)
class Plan:
    """The quanta of a pipeline, in an order in which each comes after those it depends on.

    Made by `Pipeline.plan`.

    Attributes
    ----------
    tasks
        Of the pipeline, in order.
    run_name
        RUN collection that outputs go to.
    collections
        Where inputs were looked for.
    quanta
        All of them.
    notes
        Why a task has no quanta, where it has none.
    """

    _butler: Butler = field(repr=False)
    tasks: tuple[SuperTask, ...] = field(kw_only=True)
    run_name: str = field(kw_only=True, alias="run")
    collections: tuple[str, ...] = field(kw_only=True)
    quanta: tuple[Quantum, ...] = field(kw_only=True, repr=False)
    notes: tuple[str, ...] = field(kw_only=True, default=())

    def __len__(self) -> int:
        return len(self.quanta)

    def __iter__(self) -> Iterator[Quantum]:
        return iter(self.quanta)

    def counts(self) -> dict[str, int]:
        """Return the number of quanta of each task."""
        return {task.label: sum(one.task == task.label for one in self.quanta) for task in self.tasks}

    def quantum(self, key: str) -> Quantum:
        """Return a quantum by its key, such as ``"Isr(instrument='ST8', exposure=33)"``.

        Raises
        ------
        NotFoundError
            There is none.
        """
        for one in self.quanta:
            if one.key == key:
                return one
        raise NotFoundError(f"the plan has no quantum {key}", hint="see Plan.quanta")

    def table(self) -> list[dict[str, object]]:
        """Return a row for each quantum, to be printed or made a table of."""
        return [
            {
                "task": one.task,
                "data_id": str(one.data_id),
                "inputs": sum(len(refs) for refs in one.inputs.values()),
                "calibrations": len(one.calibrations),
                "outputs": ", ".join(one.outputs),
                "requires": len(one.requires),
            }
            for one in self.quanta
        ]

    def run(
        self,
        executor: str = "threads",
        *,
        jobs: int | None = None,
        progress: Callable[[ProgressEvent], object] | bool | None = None,
        mode: str | Mode | None = None,
        ack: str | Ack = "committed",
    ) -> RunReport:
        """Execute the quanta.

        A quantum starts when those it depends on are sealed; it is committed ``buffered``, and one barrier at
        the end waits for all commits. One that raises is aborted, those that depend on it are not run, and
        everything else goes on. Each has an idempotency key, so that a second run of the same pipeline into
        the same RUN collection commits only what is missing.

        Parameters
        ----------
        executor
            ``threads``.
        jobs
            Number of quanta that run at the same time; None is the number of processors.
        progress
            Called with a `ProgressEvent` for each step, in this thread; True logs them.
        mode
            ``deferred`` or ``immediate`` for every output; None leaves it to the policy.
        ack
            What the barrier waits for: ``committed``, ``settled``, or ``buffered`` (nothing; then temporaries
            live on until `Butler.forget`).

        Raises
        ------
        InvalidInputError
            There is no such executor, mode or level, or ``jobs`` is no number from 1 on.
        KeyboardInterrupt
            What had not started was cancelled; what ran was finished and committed.

        Notes
        -----
        Failures of quanta are not raised: see `RunReport.raise_for_failures`.
        """
        if executor not in EXECUTORS:
            raise InvalidInputError(
                f"there is no executor {executor!r}", hint=f"use one of {', '.join(map(repr, EXECUTORS))}"
            )
        if jobs is not None and (type(jobs) is not int or jobs < 1):
            raise InvalidInputError(f"jobs={jobs!r}", hint="give a number from 1 on, or None")
        if mode is not None and mode not in tuple(Mode):
            raise InvalidInputError(f"mode={mode!r}", hint="use 'deferred', 'immediate', or None")
        return run_in_threads(
            self._butler,
            tasks=self.tasks,
            quanta=self.quanta,
            run=self.run_name,
            collections=self.collections,
            jobs=jobs,
            progress=progress,
            mode=None if mode is None else Mode(mode),
            ack=Ack.make(ack),
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{label} {number}" for label, number in self.counts().items())
        return f"<Plan for run {self.run_name!r}: {len(self.quanta)} quanta ({counts})>"
