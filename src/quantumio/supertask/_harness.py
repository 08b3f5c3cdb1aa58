"""The threads executor: runs quanta when what they read is sealed, and waits for all commits at the end."""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from uuid import UUID

from attrs import frozen

from quantumio.butler import Butler
from quantumio.engine import PlanScope
from quantumio.errors import ErrorKind, StateError
from quantumio.model import Ack, Mode
from quantumio.supertask._execution import Execution, Sealed
from quantumio.supertask._opening import run_policies
from quantumio.supertask._progress import ProgressEvent, ProgressKind
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._report import QuantumResult, QuantumState, RunReport
from quantumio.supertask._task import SuperTask
from quantumio.system import environment, threads

__all__ = ["run_in_threads"]

_log = logging.getLogger(__name__)


def run_in_threads(
    butler: Butler,
    *,
    tasks: Sequence[SuperTask],
    quanta: Sequence[Quantum],
    run: str,
    collections: Sequence[str],
    jobs: int | None,
    progress: Callable[[ProgressEvent], object] | bool | None,
    mode: Mode | None,
    ack: Ack,
) -> RunReport:
    """Execute quanta in threads of this process; see `Plan.run`."""
    callback = _log_event if progress is True else progress if callable(progress) else None
    execution = Execution(
        butler,
        tasks={task.label: task for task in tasks},
        run=run,
        collections=collections,
        scope=PlanScope(),
        policies=run_policies(butler, mode),
        ack=ack,
    )
    harness = _Harness(
        butler, execution, [task.label for task in tasks], quanta, jobs or os.cpu_count() or 1, callback
    )
    sealed_s, committed_s = harness.run()
    return RunReport(
        run=run,
        mode=mode,
        jobs=harness.jobs,
        tasks=tuple(task.label for task in tasks),
        results=harness.results,
        sealed_s=sealed_s,
        committed_s=committed_s,
    )


def _log_event(event: ProgressEvent) -> None:
    state = "" if event.result is None else f": {event.result.state}"
    _log.info("%s %s%s (%d of %d)", event.quantum.key, event.kind, state, event.decided, event.total)


@frozen
class _Message:
    """What threads tell the one that called `Plan.run`, which alone keeps the books."""

    kind: ProgressKind
    quantum: Quantum
    result: QuantumResult | None = None
    sealed: Sealed | None = None


class _Harness:
    """Keeps the books of one run: what waits, what is ready, what runs, and how it ended.

    Only the calling thread changes them. Workers run quanta; one collector waits for commits in the order in
    which they were sealed, in which inputs come before what was made of them.
    """

    def __init__(
        self,
        butler: Butler,
        execution: Execution,
        labels: Sequence[str],
        quanta: Sequence[Quantum],
        jobs: int,
        callback: Callable[[ProgressEvent], object] | None,
    ) -> None:
        self.jobs = jobs
        self._butler = butler
        self._execution = execution
        self._quanta = {quantum.key: quantum for quantum in quanta}
        # What is deepest in the pipeline goes first: it lets go of temporaries soonest.
        depth = {label: index for index, label in enumerate(labels)}
        self._rank = {q.key: (-depth[q.task], number) for number, q in enumerate(quanta)}
        self._waits_for = {q.key: len(q.requires) for q in quanta}
        self._dependents: dict[str, list[str]] = defaultdict(list)
        self._readers: dict[UUID, int] = defaultdict(int)
        for quantum in quanta:
            for key in quantum.requires:
                self._dependents[key].append(quantum.key)
            for ref in quantum.refs():
                self._readers[ref.id] += 1
        self._ready = [(self._rank[q.key], q.key) for q in quanta if not q.requires]
        heapq.heapify(self._ready)
        self._results: dict[str, QuantumResult] = {}
        self._temporaries: dict[UUID, None] = {}
        self._callback = callback
        self._messages: SimpleQueue[_Message] = SimpleQueue()
        self._sealed: SimpleQueue[Sealed | None] = SimpleQueue()
        self._running = self._undecided = 0
        self._counts = dict.fromkeys(ProgressKind, 0)

    @property
    def results(self) -> tuple[QuantumResult, ...]:
        """Results in the order of the plan."""
        return tuple(self._results[key] for key in self._quanta if key in self._results)

    def run(self) -> tuple[float, float]:
        """Run everything; returns the seconds until all was sealed, and until all was decided."""
        begin = environment.perf_counter()
        collector = threading.Thread(target=self._collect, name="quantumio-collector")
        threads.start(collector)
        try:
            with contextlib.closing(threads.Pool(self.jobs, "quantumio-quantum")) as pool:
                try:
                    self._serve(pool)
                    sealed_s = environment.perf_counter() - begin
                    self._await_decisions()
                except BaseException as error:  # the user's interrupt, or an error of his callback
                    self._wind_down()
                    said = ", ".join(f"{n} {kind}" for kind, n in self._counts.items())
                    error.add_note(f"of {len(self._quanta)} quanta: {said}; the rest was cancelled")
                    raise
        finally:
            self._sealed.put(None)
            collector.join()
            self._forget_all()
        return sealed_s, environment.perf_counter() - begin

    # -- in the calling thread
    def _serve(self, pool: threads.Pool) -> None:
        while self._ready or self._running:
            while self._ready and self._running < self.jobs:
                _, key = heapq.heappop(self._ready)
                pool.submit(self._work, self._quanta[key])
                self._running += 1
            self._handle(self._messages.get())

    def _await_decisions(self) -> None:
        while self._undecided:
            self._handle(self._messages.get())

    def _wind_down(self) -> None:
        """Start nothing more, and see what runs through to the end."""
        self._callback = None
        self._ready.clear()
        while self._running or self._undecided:
            self._handle(self._messages.get())
            self._ready.clear()

    def _handle(self, message: _Message) -> None:
        quantum, result = message.quantum, message.result
        if message.kind is ProgressKind.FINISHED:
            assert result is not None
            self._running -= 1
            self._results[quantum.key] = result
            if message.sealed is not None:
                self._undecided += 1
                self._sealed.put(message.sealed)
                self._release_dependents(quantum)
        elif message.kind is ProgressKind.DECIDED:
            assert result is not None
            self._undecided -= 1
            self._results[quantum.key] = result
            self._forget_read(quantum, result)
        self._tell(message.kind, quantum, result)
        if message.kind is ProgressKind.FINISHED and message.sealed is None:
            assert result is not None
            self._forget_read(quantum, result)
            self._block_dependents(quantum, result)

    def _tell(self, kind: ProgressKind, quantum: Quantum, result: QuantumResult | None) -> None:
        self._counts[kind] += 1
        if kind is ProgressKind.FINISHED and result is not None and result.state is not QuantumState.SEALED:
            self._counts[ProgressKind.DECIDED] += 1
        if self._callback is not None:
            self._callback(
                ProgressEvent(
                    kind=kind,
                    quantum=quantum,
                    result=result,
                    started=self._counts[ProgressKind.STARTED],
                    finished=self._counts[ProgressKind.FINISHED],
                    decided=self._counts[ProgressKind.DECIDED],
                    total=len(self._quanta),
                )
            )

    def _release_dependents(self, quantum: Quantum) -> None:
        for key in self._dependents[quantum.key]:
            self._waits_for[key] -= 1
            if not self._waits_for[key] and key not in self._results:
                heapq.heappush(self._ready, (self._rank[key], key))

    def _block_dependents(self, quantum: Quantum, result: QuantumResult) -> None:
        for key in self._dependents[quantum.key]:
            if key in self._results:
                continue
            error = StateError(
                f"{key} was not run: {quantum.key} {result.state}",
                hint=f"mend the cause in task {quantum.task!r} and run the pipeline again",
                kind=ErrorKind.UPSTREAM,
            )
            blocked = QuantumResult(quantum=self._quanta[key], state=QuantumState.BLOCKED, error=error)
            self._results[key] = blocked
            self._tell(ProgressKind.FINISHED, self._quanta[key], blocked)
            self._forget_read(self._quanta[key], blocked)
            self._block_dependents(self._quanta[key], result)

    # -- temporaries
    def _forget_read(self, quantum: Quantum, result: QuantumResult) -> None:
        """Let go of the temporaries whose last declared reader this was."""
        self._temporaries |= dict.fromkeys(self._execution.temporaries(quantum))
        if result.state is QuantumState.SEALED:
            return  # nobody waits for the commits: what they read must stay
        for ref in quantum.refs():
            self._readers[ref.id] -= 1
            if not self._readers[ref.id] and ref.id in self._temporaries:
                self._butler.forget(ref.id)
                del self._temporaries[ref.id]

    def _forget_all(self) -> None:
        if any(result.state is QuantumState.SEALED for result in self._results.values()):
            return
        for ref_id in self._temporaries:
            self._butler.forget(ref_id)

    # -- in other threads
    def _work(self, quantum: Quantum) -> None:
        self._messages.put(_Message(ProgressKind.STARTED, quantum))
        result, sealed = self._execution.execute(quantum)
        self._messages.put(_Message(ProgressKind.FINISHED, quantum, result, sealed))

    def _collect(self) -> None:
        while (sealed := self._sealed.get()) is not None:
            result = self._execution.decide(sealed)
            self._messages.put(_Message(ProgressKind.DECIDED, sealed.result.quantum, result))
