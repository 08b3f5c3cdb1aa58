"""The runtime of one repository in one process: a thread with an event loop that carries outputs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import anyio

from quantumio.engine._budget import ByteBudget, Charge
from quantumio.engine._carrier import Carrier
from quantumio.engine._committer import Committer
from quantumio.engine._context import Context, ContextState
from quantumio.engine._endings import Endings
from quantumio.engine._flush import Flusher
from quantumio.engine._follow_ups import FollowUps, clean_up
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalEntry
from quantumio.engine._journal_manifest import JournalManifest
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._loop_thread import Job, LoopThread
from quantumio.engine._output import Output
from quantumio.engine._owner import OWNERS, Owner
from quantumio.engine._packs import PackRules
from quantumio.engine._plan_scope import PlanScope
from quantumio.engine._policy import PolicyResolver
from quantumio.engine._pool import BufferPool
from quantumio.engine._recoverer import Recoverer
from quantumio.engine._recovery import Recovery
from quantumio.engine._recovery_report import RecoveryItem, RecoveryReport
from quantumio.engine._restored import restored
from quantumio.engine._runtime_settings import RuntimeSettings, RuntimeStatus
from quantumio.engine._sessions import StoreSessions
from quantumio.engine._spill import Spill
from quantumio.engine._temporaries import Temporaries
from quantumio.engine._unexpected import outcome_after, unexpected
from quantumio.engine._waiting import Reply, Waiters
from quantumio.errors import ErrorKind, QuantumioError, StateError
from quantumio.model import (
    Ack,
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    CommitUnknown,
    FollowUp,
    Transaction,
)
from quantumio.ports import REUSED, Catalog, Destinations, Formats
from quantumio.system import environment, threads
from quantumio.system.failpoints import reach

__all__ = ["Runtime"]

_ERRORS: Final = "errors"
"""Directory of the repository with the failures that nobody has acknowledged."""

_JOURNAL: Final = "journal"
"""Directory of the repository with what was accepted and is not placed yet."""

_IDLE_SHARE: Final = 4
"""The pool keeps at most this fraction (one in ...) of the byte budget idle."""

_RENEWALS: Final = 4
"""How often the lease is renewed while it lasts."""

_T = TypeVar("_T")

_CLOSED: Final = "the Butler is closed"
_LEFT_BEHIND: Final = "the Butler was closed while a call for it had not returned; it is not in the journal"
_PARKED: Final = "the Butler was closed before it was decided; it is in the journal, for `recover` to go on"

_ABANDON_AFTER_S: Final = 5.0
"""After contexts were given up at close, how long their running calls may still take, in seconds."""


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
        policies: PolicyResolver,
        settings: RuntimeSettings,
        directory: Path,
        readonly: bool = False,
    ) -> None:
        self.catalog = catalog
        self.destinations = destinations
        self.formats = formats
        self.settings = settings
        self.budget = ByteBudget(settings.max_buffer_bytes)
        self.pool = BufferPool(settings.max_buffer_bytes // _IDLE_SHARE)
        self.ledger = ErrorLedger(directory / _ERRORS, readonly=readonly)
        self._pid = environment.pid()
        self._lock = threading.RLock()  # the garbage collector may abandon a context under it
        self._changed = Waiters()
        self._closed = False
        self._open: dict[UUID, Context] = {}
        self._in_flight: dict[UUID, Context] = {}
        self._decided: dict[UUID, CommitOutcome] = {}
        self._followed: set[UUID] = set()
        self.temporaries = Temporaries()
        self._owners = directory / OWNERS
        self._owner = Owner(self._owners)
        self.journal = Journal(
            directory / _JOURNAL,
            allow_volatile=settings.allow_volatile_journal,
            min_free_bytes=settings.journal_min_free_bytes,
            max_bytes=settings.journal_max_bytes,
        )
        self._spill = Spill(
            directory, self.budget, self._open_contexts, min_free_bytes=settings.journal_min_free_bytes
        )
        self.sessions = StoreSessions(self._owner, catalog)
        self._follow_ups = FollowUps(catalog, destinations, formats, self.sessions, policies)
        self._recovery = Recovery(
            catalog=catalog,
            journal=self.journal,
            owner=self._owner,
            owners=self._owners,
            follow_ups=self._follow_ups,
            ledger=self.ledger,
            carry=self._carry_entry,
        )
        self.way_back = self._recovery.way_back
        self._endings = Endings(self._end_prepared)
        self._recoverer = Recoverer(self._recovery, catalog, self._owner, self.ledger, self._endings)
        # By context, not by transaction: while one that was parked is concluded, recovery may carry it again.
        self._scopes: dict[Context, anyio.CancelScope] = {}
        self._parked: set[Context] = set()
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
                hint="start workers by 'spawn', or close the Butler before the fork",
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
        self._flusher = Flusher(self.destinations, self.formats, self.settings.encoders, self.sessions)
        self._committer = Committer(
            self.catalog,
            self._owner,
            lease_s=self.settings.lease_s,
            journaled_lease_s=self.settings.journaled_lease_s,
            under_way=self._in_flight.__len__,
        )
        self._carrier = Carrier(
            catalog=self.catalog,
            destinations=self.destinations,
            flusher=self._flusher,
            committer=self._committer,
            journal=self.journal,
            ledger=self.ledger,
            packs=PackRules(largest_bytes=self.settings.pack_bytes, fewest=self.settings.pack_fewest),
            endings=self._endings,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._committer.run)
            tasks.start_soon(self._renew_lease)
            tasks.start_soon(self._recoverer.run)
            await serve()
            tasks.cancel_scope.cancel()

    async def _renew_lease(self) -> None:
        """Say that this process lives, often enough that one lost renewal does not end its lease."""
        while True:
            await anyio.sleep(self.settings.lease_s / _RENEWALS)
            try:
                await threads.run(self._owner.renew, self.catalog)
            except Exception as error:  # noqa: BLE001  whatever it is must not end the loop
                problem = unexpected(error)
                self.ledger.add(problem.kind, f"the lease was not renewed: {problem}")
                await self.ledger.save_from_loop()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work; a bug in it must not end the loop that carries the others."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001
            problem = unexpected(error)
            self.ledger.add(problem.kind, str(problem))
        await self.ledger.save_from_loop()

    def _soon(self, work: Callable[[], Awaitable[None]], refuse: Callable[[], None]) -> None:
        """Have the loop do work, from any thread; where it has ended, refuse it."""
        self._loop.hand_over(Job(functools.partial(self._guarded, work), refuse))

    def _ask(self, work: Callable[[], Awaitable[_T]]) -> Reply[_T]:
        """Have the loop do work, from any thread; the reply is what comes of it.

        An interrupt of the caller only ends the waiting. Where the loop has ended it is a `StateError`.
        """
        reply: Reply[_T] = Reply()

        async def answer() -> None:
            try:
                reply.give(await self._saved(work))
            except QuantumioError as error:
                reply.fail(error)
            except BaseException as error:
                reply.fail(unexpected(error))
                raise

        self._soon(answer, lambda: reply.fail(StateError(_CLOSED, hint="open another one")))
        return reply

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
        self._endings.forget(context.txid)  # a token that is resumed: it goes on
        with self._lock:
            self._open[context.txid] = context
        return context

    def start(self) -> None:
        """Start the thread, unless it runs.

        Raises
        ------
        QuantumioError
            It could not be started; may be tried again.
        """
        self.check_usable()
        self._loop.start()

    def make_room(self, nbytes: int, what: str) -> Charge:
        """Charge what does not fit into the buffer now: spill what may be spilled, and wait for the rest.

        Raises
        ------
        BufferFull
            It did not fit in time; nothing was charged.
        StateError
            The Butler was closed meanwhile (``kind="closed"``).
        """
        self._spill.make_room(nbytes)
        return self.budget.charge(nbytes, self.settings.put_timeout_s, what)

    def _open_contexts(self) -> list[Context]:
        with self._lock:
            return list(self._open.values())

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
        self.end(context, str(ErrorKind.CLOSED))
        self.forget_open(context)
        self._changed.wake()

    def has(self, context: Context) -> bool:
        """Whether a context was submitted and is not decided yet."""
        is_carried = context.state is ContextState.CARRIED  # the usual case, and quick
        # The queue before the last look: what has left it is carried already.
        return is_carried or self._loop.holds(context) or context.state is ContextState.CARRIED

    def cancel(self, context: Context) -> None:
        """Give a context up unless it is becoming visible already; its outcome says which."""
        self._soon(functools.partial(self._cancel, context), _nothing)

    async def _cancel(self, context: Context) -> None:
        if scope := self._scopes.get(context):
            scope.cancel()

    async def _park(self, context: Context) -> None:
        """Put a context that is not decided in time into the journal, and stop carrying it."""
        if context.outcome is None:
            await self._carrier.journal(context)
        self._parked.add(context)
        await self._cancel(context)

    async def _carry(self, context: Context) -> None:
        """Bring one context from sealed to decided, and then to settled."""
        outcome: CommitOutcome | None = None
        try:
            with anyio.CancelScope() as scope:
                self._scopes[context] = scope
                outcome = await self._carrier.decide(context)
            if outcome is None:
                outcome = CommitFailed(
                    txid=context.txid, kind=ErrorKind.CANCELLED, message="the commit was cancelled"
                )
            if scope.cancelled_caught and context.entry is not None and context in self._parked:
                outcome = CommitParked(txid=context.txid, reason=_PARKED)
            with anyio.CancelScope(shield=True):
                await self._conclude(context, outcome)
        except Exception as error:  # noqa: BLE001  a bug must not end the loop that carries the others
            if context.outcome is None:
                await self._conclude_bug(context, outcome, error)
            else:
                problem = unexpected(error)
                self.ledger.add(problem.kind, str(problem), txid=context.known_as)
        finally:
            del self._scopes[context]
            self._parked.discard(context)
            for output in context.outputs:
                if not (output.resolution.is_temporary and isinstance(context.outcome, Committed)):
                    output.release()
            context.finish()
            with self._lock:
                if self._in_flight.get(context.txid) is context:
                    del self._in_flight[context.txid]
            self._changed.wake()

    async def _saved(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do work; what has failed in it is kept before anybody hears of its end."""
        try:
            return await work()
        finally:
            await self.ledger.save_from_loop()

    async def _conclude_bug(self, context: Context, known: CommitOutcome | None, error: Exception) -> None:
        """Tell what is known of a context that a bug, or want of memory, has kept from going on."""
        problem = unexpected(error)
        self.ledger.add(problem.kind, str(problem), txid=context.known_as)
        outcome = known or outcome_after(context, problem)
        try:
            if known is None:
                with anyio.CancelScope(shield=True):
                    await self._conclude(context, outcome, is_noted=True)
        except Exception as again:  # noqa: BLE001  what is told is true all the same
            problem = unexpected(again)
            self.ledger.add(problem.kind, str(problem), txid=context.known_as)
        finally:
            if context.outcome is None:
                self._remember(context.txid, outcome)
                context.decide(outcome)

    async def _conclude(self, context: Context, outcome: CommitOutcome, *, is_noted: bool = False) -> None:
        """Tell the outcome, and do what follows from it."""
        if isinstance(outcome, Committed):
            if context.is_restored:  # why it was parked before is over
                await threads.run(self.ledger.withdraw, context.known_as)
            if outcome.reused:
                await self._carrier.end(context, REUSED)
            self.temporaries.keep(context.outputs)
        else:
            if not is_noted:
                self._carrier.note_outcome(context, outcome)
            if isinstance(outcome, CommitFailed | CommitConflict):  # on unknown delete nothing
                await self._carrier.end(context, outcome.kind)
        self._remember(context.txid, outcome)  # before recovery may carry it again, and remember another
        await self.ledger.save_from_loop()  # before another process may carry it, and withdraw what is kept
        try:
            await self._carrier.close_entry(context, outcome)
        except (QuantumioError, OSError) as error:  # recovery closes it; the outcome is what it is
            kind = error.kind if isinstance(error, QuantumioError) else ErrorKind.UNREACHABLE
            self.ledger.add(kind, f"its journal entry was not closed: {error}", txid=context.known_as)
            await self.ledger.save_from_loop()
        reach("decide.before")
        context.decide(outcome)
        reach("decide.after")
        if isinstance(outcome, Committed) and (outcome.reused or await self._carrier.settle(context)):
            context.settle()
        else:
            self._recoverer.is_left_over |= isinstance(outcome, Committed | CommitParked)
        await self.ledger.save_from_loop()

    def _remember(self, txid: UUID, outcome: CommitOutcome) -> None:
        """Keep an outcome that the registry does not know."""
        with self._lock:
            if isinstance(outcome, Committed) and outcome.commit_seq is not None:
                self._decided.pop(txid, None)  # it may have been parked before
            else:
                self._decided[txid] = outcome

    # -- outputs outside of a commit
    def place_now(self, context: Context, output: Output) -> None:
        """Place one output of an open context at its required destinations and wait until it is durable.

        Raises
        ------
        QuantumioError
            It did not arrive.
        """
        self.check_may_wait()
        self._ask(lambda: self._carrier.place_now(context, output)).result()  # the loop makes the carrier

    def prepare_now(self, transaction: Transaction) -> None:
        """Write the intent of a transaction whose artifacts the caller will place.

        Raises
        ------
        QuantumioError
            The registry did not take it; nothing may be placed.
        """
        self.check_usable()
        self.check_may_wait()
        answer = self._ask(lambda: _shielded(self._committer.prepare(transaction))).result()
        if isinstance(answer, QuantumioError):
            raise answer

    def commit_now(self, transaction: Transaction) -> Reply[CommitOutcome]:
        """Make a transaction visible whose artifacts are placed already; the reply is its outcome.

        It happens on the runtime's thread: an interrupt of the caller only ends the waiting.
        """
        self.check_usable()
        self.check_may_wait()
        return self._ask(lambda: _shielded(self._committer.flip(transaction)))

    def follow_soon(self, txid: UUID) -> None:
        """Do in the background what follows a transaction of `commit_now`; `drain` waits for it."""
        with self._lock:
            self._followed.add(txid)
        self._soon(functools.partial(self._follow, txid), functools.partial(self._end_following, txid))

    async def _follow(self, txid: UUID) -> None:
        try:
            for destination, error in await threads.run(self._follow_ups.do_all_of, txid):
                self._recoverer.is_left_over = True
                self.ledger.add(error.kind, str(error), txid=txid, destination=destination)
        except QuantumioError as error:  # the registry cannot be reached: the outbox keeps it
            self._recoverer.is_left_over = True
            self.ledger.add(error.kind, str(error), txid=txid)
        finally:
            self._end_following(txid)

    def _end_following(self, txid: UUID) -> None:
        with self._lock:
            self._followed.discard(txid)
        self._changed.wake()

    def end_now(self, transaction: Transaction, reason: str) -> bool:
        """End a prepared transaction in this thread; whether what was placed of it may be removed.

        Raises
        ------
        QuantumioError
            The registry cannot be reached: nobody knows.
        """
        return self._end_prepared(transaction.txid, reason, ())

    def _end_prepared(self, txid: UUID, reason: str, clean: Sequence[FollowUp]) -> bool:
        return self._committer.abort_here(txid, reason, clean)

    def end_later(self, transaction: Transaction, reason: str) -> None:
        """End a prepared transaction as soon as the registry can be reached, unless it is visible.

        What was placed of it is removed then.
        """
        places = (artifact.destination for output in transaction.outputs for artifact in output.artifacts)
        self._endings.end_later(transaction.txid, reason, clean_up(places))

    # -- what will never be committed
    def discard(self, outputs: Sequence[Output]) -> None:
        """Forget outputs of a context that goes on; what was placed of them is removed."""
        placed = [output for output in outputs if output.attempts]
        for output in outputs:
            output.release()
        if placed:
            self._on_loop(
                functools.partial(self._carrier.remove, placed),
                lambda: self._carrier.note_left(self._flusher.remove_here(placed)),
            )

    def end(self, context: Context, reason: str, *, wait: bool = True) -> None:
        """Forget a context that was not handed over; what was placed of it is removed."""
        for output in context.outputs:
            output.release()
        if context.asked_registry:
            self._on_loop(
                functools.partial(self._carrier.end, context, reason),
                functools.partial(self._carrier.end_here, context, reason),
                wait=wait,
            )

    def _on_loop(
        self,
        work: Callable[[], Awaitable[object]],
        otherwise: Callable[[], object],
        *,
        wait: bool = True,
    ) -> None:
        """Have the loop do work, or do it otherwise in this thread where the loop has ended."""
        done: Reply[None] = Reply()

        async def run() -> None:
            try:
                await work()
            finally:
                done.give(None)

        def run_here() -> None:
            try:
                otherwise()
            finally:
                done.give(None)

        self._soon(run, run_here)
        if wait:
            done.result()

    def forget_open(self, context: Context) -> None:
        """Note that a context was aborted."""
        with self._lock:
            self._open.pop(context.txid, None)
        assert context.outcome is not None
        self._remember(context.txid, context.outcome)

    # -- recovery
    def recover(self, timeout_s: float | None = None) -> RecoveryReport:
        """Finish or end what deaths have left, and wait until that is done; see `Recovery`.

        The report has also what recovery in the background has done since the last one. It is empty where it
        takes longer than the timeout: then it goes on in the background.

        Raises
        ------
        QuantumioError
            The registry cannot be reached.
        """
        self.check_usable()
        self.check_may_wait()
        done = self._ask(self._recoverer.recover)
        if not done.wait(timeout_s):
            return RecoveryReport()
        report = done.result()
        self._deliver(report.items)
        return report

    def _deliver(self, items: Sequence[RecoveryItem]) -> None:
        """Note that a report tells why these are not visible; of copies of what is, it tells nothing."""
        for txid in {item.txid for item in items if item.txid is not None and item.action != "committed"}:
            self.ledger.deliver(txid)

    def flush(self, timeout_s: float | None) -> None:
        """Carry now what is pending, parked or postponed, and wait for that at most until the timeout.

        Raises
        ------
        QuantumioError
            The registry cannot be reached.
        """
        deadline = None if timeout_s is None else environment.monotonic() + timeout_s
        if self.wait_idle(timeout_s):
            self.catalog.release_claims(self._owner.id)  # what failed here: nobody is at it now
        self.recover(None if deadline is None else max(0.0, deadline - environment.monotonic()))

    def look_for_left(self) -> RecoveryReport:
        """Tell what `recover` would do, and do nothing."""
        return self._recovery.look()

    def unfinished(self) -> RecoveryReport:
        """Tell all that is on its way, here and elsewhere."""
        report = self._recovery.unfinished()
        # Last: what the registry had not heard of when it was asked is in memory still, or settled.
        known = {item.txid for item in report.items}
        report.items += [
            RecoveryItem(
                what="context", txid=context.txid, action="carried", detail="in the memory of this process"
            )
            for context in self.pending()
            if context.txid not in known
        ]
        return report

    def quarantine(self) -> RecoveryReport:
        """Set aside what is on its way in a registry that was put back from a backup; see `Recovery`."""
        self.check_usable()
        return self._recovery.quarantine()

    # -- what was set aside
    def retry_set_aside(self, txids: Sequence[UUID], *, as_next: bool) -> list[RecoveryItem]:
        """Take in again what was set aside, and wait until that is decided; see `WayBack`.

        Raises
        ------
        QuantumioError
            The registry or the journal cannot be read.
        """
        self.check_usable()
        self.check_may_wait()
        items = self._ask(lambda: self.way_back.retry(txids, as_next=as_next)).result()
        self._deliver(items)
        return items

    def drop_set_aside(self, txids: Sequence[UUID]) -> list[RecoveryItem]:
        """Give up what was set aside, for good."""
        self.check_usable()
        items = [item for txid in txids for item in self.way_back.drop(txid)]
        self.ledger.save()
        self._deliver(items)
        return items

    def recover_soon(self) -> None:
        """Recover in the background, if there is anything to be recovered."""
        if not self._recovery.is_needed():
            return
        try:
            self._soon(self._recoverer.recover_left, _nothing)
        except QuantumioError as error:  # it cannot start now: what is there can be read all the same
            self._recoverer.is_left_over = True
            self.ledger.add(error.kind, f"recovery did not begin: {error}")
            self.ledger.save()

    async def _carry_entry(
        self, manifest: JournalManifest, entry: JournalEntry, epoch: int, generation: int
    ) -> CommitOutcome:
        """Carry what a journal has kept, as if it had just been sealed."""
        context = await threads.run(restored, self, manifest, entry)
        context.epoch = epoch
        if entry.txid != context.txid or generation != manifest.transaction.generation:
            context.begin_again(epoch, generation)
        self._take(context)
        await self._carry(context)
        assert context.outcome is not None
        return context.outcome

    # -- looking at it, and the end
    def ticketed(self, txid: UUID) -> Context | CommitOutcome | None:
        """Return the context of an undecided transaction, or the outcome of one that this process decided."""
        with self._lock:
            return self._in_flight.get(txid) or self._open.get(txid) or self._decided.get(txid)

    def pending(self) -> list[Context]:
        """Contexts that are sealed and not settled."""
        with self._lock:
            in_flight = list(self._in_flight.values())
        return list(dict.fromkeys([*in_flight, *self._submitted()]))

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
                buffer_spilled_bytes=self._spill.spilled_bytes,
                put_waited_s=self.budget.waited_s,
                temporaries=len(self.temporaries),
            )

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until every committed context is settled; False on timeout."""
        self.check_may_wait()
        return self._changed.wait(
            lambda: not (self._submitted() or self._in_flight or self._followed), timeout_s
        )

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
            with self._lock:
                followed = list(self._followed)
            pending = ", ".join(map(str, [*(context.txid for context in self.pending()), *followed]))
            raise StateError(
                f"after {timeout_s:g} s these transactions are not settled: {pending}",
                hint="wait longer; they go on in the background",
                kind=ErrorKind.TIMEOUT,
            )
        self.ledger.raise_undelivered()

    def close(self, timeout_s: float | None) -> None:
        """Take nothing more, drain, park what is left, and end the thread; again goes on where it was.

        What is not decided in time is put into the journal, and goes on when the repository is recovered;
        what the journal does not take either is given up.

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
                self._soon(functools.partial(self._park, context), _nothing)
            self.wait_idle(_ABANDON_AFTER_S)
            for context in self.pending():
                self._leave_behind(context)
        self.temporaries.release()
        self._loop.stop(_ABANDON_AFTER_S)
        self._owner.release()
        self.ledger.save()
        self.ledger.raise_undelivered()

    def _leave_behind(self, context: Context) -> None:
        """Tell what is known of a context of which a call does not return."""
        outcome: CommitParked | CommitUnknown
        if context.entry is not None:  # recovery will go on
            outcome = CommitParked(txid=context.txid, reason=_PARKED)
        else:
            outcome = CommitUnknown(txid=context.txid, reason=_LEFT_BEHIND)
        context.decide(outcome)
        if context.outcome is outcome:
            self._remember(context.txid, outcome)
            self._carrier.note_outcome(context, outcome)


async def _shielded(work: Awaitable[_T]) -> _T:
    """Do work to its end, also where the loop is being ended."""
    with anyio.CancelScope(shield=True):
        result = await work
    return result  # noqa: RET504  a scope may end without


def _nothing() -> None:
    pass
