"""The runtime of one repository in one process: a thread with an event loop that carries outputs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import anyio
from attrs import evolve, frozen

from quantumio.engine._budget import ByteBudget
from quantumio.engine._committer import Committer
from quantumio.engine._context import Context, ContextState
from quantumio.engine._flush import Flusher, FlushFailure
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._loop_thread import Job, LoopThread
from quantumio.engine._output import Output
from quantumio.engine._plan_scope import PlanScope
from quantumio.engine._policy import PolicyResolver
from quantumio.engine._pool import BufferPool
from quantumio.engine._waiting import Reply, Waiters
from quantumio.errors import ErrorKind, InternalError, QuantumioError, StateError
from quantumio.model import (
    Ack,
    CommitFailed,
    CommitOutcome,
    Committed,
    CommitUnknown,
    DataId,
    Moment,
    Transaction,
)
from quantumio.ports import Catalog, Destinations, Formats
from quantumio.system import environment
from quantumio.system.failpoints import reach

__all__ = ["Runtime", "RuntimeSettings", "RuntimeStatus"]

_IDLE_SHARE: Final = 4
"""The pool keeps at most this fraction (one in ...) of the byte budget idle."""

_CLOSED: Final = "the Butler is closed"

_ABANDON_AFTER_S: Final = 5.0
"""After contexts were given up at close, how long their running calls may still take, in seconds."""


@frozen(kw_only=True)
class RuntimeSettings:
    """What an operator sets in ``[runtime]`` of ``butler.toml``.

    Attributes
    ----------
    max_buffer_bytes
        Byte budget of accepted outputs in memory.
    put_timeout_s
        How long a put waits for the budget before `BufferFull`, in seconds.
    encoders
        Encodings that run at the same time.
    verify_borrowed
        Whether borrowed arrays are digested at put and checked at flush.
    """

    max_buffer_bytes: int
    put_timeout_s: float = 60.0
    encoders: int = 2
    verify_borrowed: bool = True


@frozen(kw_only=True)
class RuntimeStatus:
    """What a runtime is doing now; sizes in bytes, times in seconds."""

    contexts_open: int
    contexts_in_flight: int
    buffer_used_bytes: int
    buffer_max_bytes: int
    put_waited_s: float
    temporaries: int


class Runtime:
    """Carries the outputs of contexts to their destinations and into the registry.

    Started at first use. Every public method may be called from any thread; those that wait must not be
    called on the runtime's own thread.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        destinations: Destinations,
        formats: Formats,
        settings: RuntimeSettings,
    ) -> None:
        self.catalog = catalog
        self.destinations = destinations
        self.formats = formats
        self.settings = settings
        self.budget = ByteBudget(settings.max_buffer_bytes)
        self.pool = BufferPool(settings.max_buffer_bytes // _IDLE_SHARE)
        self.ledger = ErrorLedger()
        self._pid = environment.pid()
        self._lock = threading.RLock()  # the garbage collector may abandon a context under it
        self._changed = Waiters()
        self._closed = False
        self._open: dict[UUID, Context] = {}
        self._in_flight: dict[UUID, Context] = {}
        self._decided: dict[UUID, CommitOutcome] = {}
        self._temporaries: dict[tuple[str, str, DataId], Output] = {}
        self._scopes: dict[UUID, anyio.CancelScope] = {}
        self._loop = LoopThread("quantumio-runtime", self._main)

    # -- life
    def check_usable(self) -> None:
        """Refuse to be used after a fork or after closing.

        Raises
        ------
        StateError
            ``kind="forked"`` or ``"closed"``.
        """
        if environment.pid() != self._pid:
            raise StateError(
                "this Butler was opened before a fork: its threads are not in this process",
                hint="open another Butler in the child, and start workers by 'spawn'",
                kind=ErrorKind.FORKED,
            )
        if self._closed:
            raise StateError(_CLOSED, hint="open another one")

    def check_may_wait(self) -> None:
        """Refuse to wait on the runtime's own thread, which would wait for itself.

        Raises
        ------
        StateError
            ``kind="runtime_thread"``.
        """
        if self._loop.is_current:
            raise StateError(
                "the runtime's own thread cannot wait for the runtime",
                hint="call it from another thread",
                kind=ErrorKind.RUNTIME_THREAD,
            )

    async def _main(self, serve: Callable[[], Awaitable[None]]) -> None:
        self._flusher = Flusher(self.destinations, self.formats, self.settings.encoders)
        self._committer = Committer(self.catalog)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._committer.run)
            await serve()
            tasks.cancel_scope.cancel()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work; a bug in it must not end the loop that carries the others."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001
            self.ledger.add(ErrorKind.INTERNAL, f"a bug in quantumio: {error!r}")

    def _soon(self, work: Callable[[], Awaitable[None]], refuse: Callable[[], None]) -> None:
        """Have the loop do work, from any thread; where it has ended, refuse it."""
        self._loop.hand_over(Job(functools.partial(self._guarded, work), refuse))

    # -- contexts
    def open(
        self,
        *,
        run: str,
        key: str | None,
        ack: Ack,
        policies: PolicyResolver,
        plan: PlanScope | None = None,
        txid: UUID | None = None,
    ) -> Context:
        """Open a context."""
        self.check_usable()
        if txid is not None and isinstance(known := self.ticketed(txid), Context | Committed):
            raise StateError(
                f"transaction {txid} is {'open' if isinstance(known, Context) else 'committed'} already",
                hint="resume a token once",
            )
        context = Context(self, run=run, key=key, ack=ack, policies=policies, plan=plan, txid=txid)
        with self._lock:
            self._open[context.txid] = context
        return context

    def submit(self, context: Context) -> None:
        """Decide a sealed context in the background. An interrupt hands it over whole, or not at all."""
        partial = functools.partial
        self._loop.hand_over(
            Job(
                run=partial(self._guarded, partial(self._carry, context)),
                refuse=partial(self._refuse, context),
                take=partial(self._take, context),
                owner=context,
            )
        )

    def _take(self, context: Context) -> None:
        with self._lock:
            self._in_flight[context.txid] = context
            self._open.pop(context.txid, None)
        context.state = ContextState.CARRIED

    def _refuse(self, context: Context) -> None:
        """Fail a context that was handed over after the end; nothing of it is on its way."""
        context.decide(CommitFailed(txid=context.txid, kind=ErrorKind.CLOSED, message=_CLOSED))
        self.discard(context.outputs)
        self.forget_open(context)
        self._changed.wake()

    def has(self, context: Context) -> bool:
        """Whether a context was submitted and is not decided yet."""
        # The queue first: what has left it is carried already.
        return self._loop.holds(context) or context.state is ContextState.CARRIED

    def cancel(self, context: Context) -> None:
        """Give a context up unless it is becoming visible already; its outcome says which."""
        self._soon(functools.partial(self._cancel, context), _nothing)

    async def _cancel(self, context: Context) -> None:
        if scope := self._scopes.get(context.txid):
            scope.cancel()

    async def _carry(self, context: Context) -> None:
        """Bring one context from sealed to decided, and then to settled."""
        outcome: CommitOutcome = CommitFailed(
            txid=context.txid, kind=ErrorKind.CANCELLED, message="the commit was cancelled"
        )
        try:
            with anyio.CancelScope() as scope:
                self._scopes[context.txid] = scope
                outcome = await self._decide(context)
            with anyio.CancelScope(shield=True):
                await self._conclude(context, outcome)
        except Exception as error:  # noqa: BLE001  a bug must not end the loop that carries the others
            if context.outcome is None:
                self._conclude_bug(context, error)
        finally:
            del self._scopes[context.txid]
            for output in context.outputs:
                if not (output.resolution.is_temporary and isinstance(context.outcome, Committed)):
                    output.release()
            context.finish()
            with self._lock:
                del self._in_flight[context.txid]
            self._changed.wake()

    def _conclude_bug(self, context: Context, error: Exception) -> None:
        outcome = CommitUnknown(txid=context.txid, reason=f"a bug in quantumio: {error!r}")
        self.ledger.add(ErrorKind.INTERNAL, outcome.reason, txid=context.txid)
        self._remember(context.txid, outcome)
        context.decide(outcome)

    async def _decide(self, context: Context) -> CommitOutcome:
        if failed := await self._upstream_failure(context):
            return failed
        outputs = context.persistent_outputs
        try:
            await self._flusher.flush(outputs, required=True)
        except ExceptionGroup as group:
            return self._flush_failed(context, group)
        if not outputs and context.key is None:
            return Committed(txid=context.txid, refs=(), commit_seq=None)
        with anyio.CancelScope(shield=True):  # the point of no return
            outcome = await self._committer.flip(context.transaction())
        if isinstance(outcome, Committed) and {ref.id for ref in outcome.refs} != {o.ref.id for o in outputs}:
            # The same transaction, resumed in another process, was first.
            outcome = evolve(outcome, reused=True)
        return outcome

    async def _upstream_failure(self, context: Context) -> CommitOutcome | None:
        """Wait until what the context read is visible; no registry ever holds an output without its input."""
        for upstream in context.requires:
            await upstream.progress.wait_async(Moment.COMMITTED)
            if not isinstance(upstream.outcome, Committed):
                return CommitFailed(
                    txid=context.txid,
                    kind=ErrorKind.UPSTREAM,
                    message=f"an input comes from transaction {upstream.txid}, which did not commit: "
                    f"{upstream.outcome}",
                )
        return None

    def _flush_failed(self, context: Context, group: ExceptionGroup[Exception]) -> CommitOutcome:
        failures = _flush_failures(group)
        for failure in failures:
            self.ledger.add(
                failure.error.kind,
                str(failure.error),
                txid=context.txid,
                ref=failure.ref,
                destination=failure.destination,
            )
        first = failures[0]
        return CommitFailed(txid=context.txid, kind=first.error.kind, message=str(first.error), ref=first.ref)

    async def _conclude(self, context: Context, outcome: CommitOutcome) -> None:
        """Tell the outcome, and do what follows from it."""
        if isinstance(outcome, Committed):
            if outcome.reused:
                await self._remove(context.persistent_outputs, context.txid)
            self._keep_temporaries(context)
        elif not isinstance(outcome, CommitUnknown):  # on unknown delete nothing
            await self._remove(context.persistent_outputs, context.txid)
        if not isinstance(outcome, Committed):
            self._note_failure(context, outcome)
        self._remember(context.txid, outcome)
        reach("decide.before")
        context.decide(outcome)
        reach("decide.after")
        if isinstance(outcome, Committed) and (outcome.reused or await self._settle(context)):
            context.settle()

    def _remember(self, txid: UUID, outcome: CommitOutcome) -> None:
        """Keep an outcome that the registry does not know."""
        if not (isinstance(outcome, Committed) and outcome.commit_seq is not None):
            with self._lock:
                self._decided[txid] = outcome

    def _note_failure(self, context: Context, outcome: CommitOutcome) -> None:
        if any(entry.txid == context.txid for entry in self.ledger.entries()):
            return  # the flush failures say it better
        match outcome:
            case CommitFailed(kind=kind, message=message, ref=ref):
                self.ledger.add(kind, message, txid=context.txid, ref=ref)
            case Committed():
                pass
            case _:
                reason = getattr(outcome, "message", None) or getattr(outcome, "reason", "")
                kind = getattr(outcome, "kind", ErrorKind.REGISTRY)
                self.ledger.add(kind, str(reason), txid=context.txid, ref=getattr(outcome, "ref", None))

    async def _settle(self, context: Context) -> bool:
        """Reveal rows and bring best-effort copies; failures go to the ledger, False if there are any."""
        outputs = context.persistent_outputs
        settled = True
        reach("settle.before")
        for step in (self._flusher.reveal, self._flusher.export, self._settle_copies):
            try:
                await step(outputs)
            except ExceptionGroup as group:
                settled = False
                self._flush_failed(context, group)
            except QuantumioError as error:
                settled = False
                self.ledger.add(error.kind, str(error), txid=context.txid)
            except Exception as error:  # noqa: BLE001  it is visible; what is left must not undo that
                settled = False
                self.ledger.add(ErrorKind.INTERNAL, f"a bug in quantumio: {error!r}", txid=context.txid)
        reach("settle.after")
        return settled

    async def _settle_copies(self, outputs: Sequence[Output]) -> None:
        wanting = [o for o in outputs if any(not target.required for target in o.resolution.targets)]
        if not wanting:
            return
        try:
            await self._flusher.flush(wanting, required=False)
            await self._flusher.reveal(wanting)
            await self._flusher.export(wanting)
        finally:
            copies = {
                output.ref.id: [
                    output.artifacts[target.destination]
                    for target in output.resolution.targets
                    if not target.required and target.destination in output.artifacts
                ]
                for output in wanting
            }
            placed = {dataset_id: artifacts for dataset_id, artifacts in copies.items() if artifacts}
            if placed:
                reach("settle.record.before")
                await anyio.to_thread.run_sync(self.catalog.record_artifacts, placed)
                reach("settle.record.after")

    async def _remove(self, outputs: Sequence[Output], txid: UUID | None = None) -> None:
        self._note_left(await self._flusher.remove(outputs), txid)

    def _note_left(self, failures: Sequence[FlushFailure], txid: UUID | None = None) -> None:
        """Note what could not be removed."""
        failed = {entry.destination for entry in self.ledger.entries() if txid and entry.txid == txid}
        for failure in failures:
            if failure.destination not in failed:  # else its first failure says why
                self.ledger.add(
                    failure.error.kind, str(failure.error), ref=failure.ref, destination=failure.destination
                )

    # -- outputs outside of a commit
    def place_now(self, output: Output) -> None:
        """Place one output of an open context at its required destinations and wait until it is durable.

        Raises
        ------
        QuantumioError
            It did not arrive.
        """
        self.check_may_wait()
        done: Reply[None] = Reply()
        self._soon(
            functools.partial(self._place_now, output, done),
            lambda: done.fail(StateError(_CLOSED, hint="open another one")),
        )
        done.result()

    async def _place_now(self, output: Output, done: Reply[None]) -> None:
        try:
            await self._flusher.flush([output], required=True)
        except ExceptionGroup as group:
            done.fail(_flush_failures(group)[0].error)
        except BaseException as error:
            done.fail(InternalError(f"{type(error).__name__}: {error}"))
            raise
        else:
            done.give(None)

    def commit_now(self, transaction: Transaction) -> Reply[CommitOutcome]:
        """Make a transaction visible whose artifacts are placed already; the reply is its outcome.

        It happens on the runtime's thread: an interrupt of the caller only ends the waiting.
        """
        self.check_usable()
        self.check_may_wait()
        done: Reply[CommitOutcome] = Reply()
        refused = CommitFailed(txid=transaction.txid, kind=ErrorKind.CLOSED, message=_CLOSED)
        self._soon(functools.partial(self._commit_now, transaction, done), lambda: done.give(refused))
        return done

    async def _commit_now(self, transaction: Transaction, done: Reply[CommitOutcome]) -> None:
        with anyio.CancelScope(shield=True):
            done.give(await self._committer.flip(transaction))

    def discard(self, outputs: Sequence[Output], *, wait: bool = True) -> None:
        """Forget outputs that will never be committed; what was placed of them is removed."""
        placed = [output for output in outputs if output.attempts]
        for output in outputs:
            output.release()
        if placed:
            done: Reply[None] = Reply()
            self._soon(
                functools.partial(self._discard, placed, done), lambda: self._discard_here(placed, done)
            )
            if wait:
                done.result()

    async def _discard(self, outputs: Sequence[Output], done: Reply[None]) -> None:
        try:
            await self._remove(outputs)
        finally:
            done.give(None)

    def _discard_here(self, outputs: Sequence[Output], done: Reply[None]) -> None:
        """Remove what was placed in this thread: the loop has ended."""
        try:
            self._note_left(self._flusher.remove_here(outputs))
        finally:
            done.give(None)

    def forget_open(self, context: Context) -> None:
        """Note that a context was aborted."""
        with self._lock:
            self._open.pop(context.txid, None)
        if context.outcome is not None:
            self._remember(context.txid, context.outcome)

    # -- temporaries
    def _keep_temporaries(self, context: Context) -> None:
        for output in context.outputs:
            if output.resolution.is_temporary:
                key = output.ref.run, output.ref.dataset_type.name, output.ref.data_id
                with self._lock:
                    replaced = self._temporaries.get(key)
                    self._temporaries[key] = output
                if replaced is not None:
                    replaced.release()

    def temporary(self, run: str, dataset_type: str, data_id: DataId) -> Output | None:
        """Return a committed temporary that is still alive."""
        return self._temporaries.get((run, dataset_type, data_id))

    def temporaries(self) -> list[Output]:
        """All committed temporaries that are still alive."""
        with self._lock:
            return list(self._temporaries.values())

    def forget(self, dataset_id: UUID) -> bool:
        """Let a temporary go; False if there is none of this id."""
        with self._lock:
            for key, output in self._temporaries.items():
                if output.ref.id == dataset_id:
                    del self._temporaries[key]
                    break
            else:
                return False
        output.release()
        return True

    # -- looking at it, and the end
    def ticketed(self, txid: UUID) -> Context | CommitOutcome | None:
        """Return the context of an undecided transaction, or the outcome of one that this process decided."""
        with self._lock:
            return self._in_flight.get(txid) or self._open.get(txid) or self._decided.get(txid)

    def pending(self) -> list[Context]:
        """Contexts that are sealed and not settled."""
        with self._lock:
            in_flight = list(self._in_flight.values())
        return in_flight + [context for context in self._submitted() if context not in in_flight]

    def _submitted(self) -> list[Context]:
        return [owner for owner in self._loop.owners() if isinstance(owner, Context)]

    def status(self) -> RuntimeStatus:
        """Tell what it is doing."""
        with self._lock:
            return RuntimeStatus(
                contexts_open=len(self._open),
                contexts_in_flight=len(self._in_flight) + len(self._submitted()),
                buffer_used_bytes=self.budget.used_bytes,
                buffer_max_bytes=self.budget.max_bytes,
                put_waited_s=self.budget.waited_s,
                temporaries=len(self._temporaries),
            )

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until every committed context is settled; False on timeout."""
        self.check_may_wait()
        return self._changed.wait(lambda: not self._submitted() and not self._in_flight, timeout_s)

    def drain(self, timeout_s: float | None) -> None:
        """Wait until every committed context is settled, and raise what nobody was told yet.

        Raises
        ------
        StateError
            ``kind="timeout"``; names what is not done.
        ExceptionGroup
            Background failures, with a note per dataset.
        """
        if not self.wait_idle(timeout_s):
            pending = ", ".join(str(context.txid) for context in self.pending())
            raise StateError(
                f"after {timeout_s:g} s these transactions are not settled: {pending}",
                hint="wait longer; they go on in the background",
                kind=ErrorKind.TIMEOUT,
            )
        self.ledger.raise_undelivered()

    def close(self, timeout_s: float | None) -> None:
        """Take nothing more, drain, give up what is left, and end the thread; again goes on where it was.

        Raises
        ------
        ExceptionGroup
            Background failures, also those of contexts that had to be given up.
        """
        if environment.pid() != self._pid:
            self._closed = True
            return
        self.check_may_wait()
        self._closed = True
        self.budget.close()
        with self._lock:
            forgotten = list(self._open.values())
        for context in forgotten:
            context.abort(ErrorKind.CLOSED, "the Butler was closed before the context was committed")
        if not self.wait_idle(timeout_s):
            for context in self.pending():
                self.cancel(context)
            self.wait_idle(_ABANDON_AFTER_S)
        for output in self.temporaries():
            output.release()
        self._loop.stop(_ABANDON_AFTER_S)
        self.ledger.raise_undelivered()


def _flush_failures(group: ExceptionGroup[Exception]) -> list[FlushFailure]:
    return [error for error in group.exceptions if isinstance(error, FlushFailure)]


def _nothing() -> None:
    pass
