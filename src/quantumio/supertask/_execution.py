"""Executing one quantum: open its context, run its task, seal it; and later, see how its commit ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

import anyio
from attrs import evolve, frozen

from quantumio.butler import Butler
from quantumio.engine import PlanScope, PolicyResolver
from quantumio.errors import (
    CommitConflictError,
    CommitParkedError,
    CommitUnknownError,
    ErrorKind,
    InternalError,
    QuantumioError,
)
from quantumio.model import Ack, Committed
from quantumio.supertask._async_context import AsyncQuantumContext
from quantumio.supertask._context import QuantumContext
from quantumio.supertask._opening import open_quantum
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._report import QuantumResult, QuantumState
from quantumio.supertask._task import SuperTask
from quantumio.system import environment

__all__ = ["Execution", "Sealed"]


@frozen
class Sealed:
    """A quantum that ran well, and whose commit is under way."""

    context: QuantumContext
    result: QuantumResult


class Execution:
    """Executes quanta of one plan; thread-safe.

    Parameters
    ----------
    butler, tasks, run, collections
        Of the plan.
    scope
        What its quanta may read of each other.
    policies
        Of the run; None where the Butler's hold.
    ack
        What is waited for.
    """

    def __init__(
        self,
        butler: Butler,
        *,
        tasks: Mapping[str, SuperTask],
        run: str,
        collections: Sequence[str],
        scope: PlanScope,
        policies: PolicyResolver | None,
        ack: Ack,
    ) -> None:
        self._butler = butler
        self._tasks = tasks
        self._run = run
        self._collections = collections
        self._scope = scope
        self._policies = policies
        self._ack = ack
        self._temporaries: dict[str, list[UUID]] = defaultdict(list)

    def temporaries(self, quantum: Quantum) -> list[UUID]:
        """Return the temporaries that a quantum wrote."""
        return self._temporaries.get(quantum.key, [])

    def execute(self, quantum: Quantum) -> tuple[QuantumResult, Sealed | None]:
        """Run a quantum and hand its context to the runtime; never raises."""
        task = self._tasks[quantum.task]
        try:
            context = open_quantum(
                self._butler,
                task,
                quantum,
                run=self._run,
                collections=self._collections,
                scope=self._scope,
                policies=self._policies,
            )
        except Exception as error:  # noqa: BLE001  whatever it is, it is the end of this quantum only
            return QuantumResult(quantum=quantum, state=QuantumState.FAILED, error=error), None
        begin = environment.perf_counter()
        trouble = _run_and_seal(task, context, self._ack)
        seconds = environment.perf_counter() - begin
        self._temporaries[quantum.key] = [ref.id for ref in context.temporaries]
        result = QuantumResult(
            quantum=quantum,
            state=QuantumState.SEALED,
            compute_s=max(0.0, seconds - context.put_seconds - context.get_seconds),
            put_s=context.put_seconds,
            get_s=context.get_seconds,
            outputs=context.output_count,
            output_bytes=context.output_bytes,
            destinations=tuple(context.destinations),
            refs=context.refs,
        )
        if trouble is None:
            return result, Sealed(context, result)
        state = QuantumState.BLOCKED if context.has_lost_input else QuantumState.FAILED
        failed = evolve(result, state=state, error=trouble, outcome=context.ticket.outcome, refs=())
        return failed, None

    def decide(self, sealed: Sealed) -> QuantumResult:
        """Wait for the commit of a sealed quantum, as far as is asked for; never raises."""
        context, result = sealed.context, sealed.result
        level = max(self._ack, context.level(Ack.BUFFERED))
        if level is Ack.BUFFERED:
            return result
        try:
            outcome = context.ticket.wait(str(level))
        except Exception as error:  # noqa: BLE001  the collector must go on for the others
            return evolve(result, state=_state_of(error), error=error, outcome=context.ticket.outcome)
        if not isinstance(outcome, Committed):  # journaled: it is decided in the background
            return result
        state = QuantumState.REUSED if outcome.reused else QuantumState.SUCCEEDED
        return evolve(result, state=state, outcome=outcome, refs=outcome.refs)


def _run_and_seal(task: SuperTask, context: QuantumContext, ack: Ack) -> BaseException | None:
    """Run a task and commit its context; returns what went wrong."""
    try:
        if task.is_async:
            anyio.run(_await_run, task, AsyncQuantumContext(context))
        else:
            task.run(context)
        if context.is_open:
            context.hand_over(max(ack, context.level(Ack.BUFFERED)))
        elif context.ticket.outcome is not None and not isinstance(context.ticket.outcome, Committed):
            context.ticket.wait()  # the task aborted it, or did not care how its own commit ended
    except BaseException as error:  # noqa: BLE001  also a task's sys.exit() ends its quantum only
        try:
            context.abort()
        except QuantumioError as trouble:
            error.add_note(f"while aborting {context!r}: {trouble}")
        return error
    return None


async def _await_run(task: SuperTask, context: AsyncQuantumContext) -> None:
    running = task.run(context)
    assert running is not None
    await running


def _state_of(error: Exception) -> QuantumState:
    match error:
        case CommitConflictError():
            return QuantumState.CONFLICT
        case CommitParkedError():
            return QuantumState.PARKED
        case CommitUnknownError() | InternalError():
            return QuantumState.UNKNOWN
        case QuantumioError(kind=ErrorKind.UPSTREAM):
            return QuantumState.BLOCKED
        case _:
            return QuantumState.FAILED
