"""The transaction of one quantum: everything put in it becomes visible together, or never."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import anyio

from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._outcome_errors import outcome_error
from quantumio.engine._output import Output
from quantumio.engine._ownership import choose_ownership, take_snapshot
from quantumio.engine._plan_scope import PlanScope
from quantumio.engine._policy import ROWS, PolicyResolver
from quantumio.engine._progress import Progress
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    QuantumioError,
    StateError,
)
from quantumio.model import (
    TEMPORARY,
    Ack,
    CommitFailed,
    CommitOutcome,
    Committed,
    DataId,
    DatasetRef,
    DatasetType,
    FollowUp,
    Mode,
    Moment,
    OutputRecord,
    Ownership,
    Resolution,
    Transaction,
    check_expectation,
)
from quantumio.ports import Chunks, StorageClassDelegate, is_table
from quantumio.system import environment
from quantumio.system.os_errors import out_of_memory

if TYPE_CHECKING:
    from quantumio.engine._flush import FlushFailure
    from quantumio.engine._runtime import Runtime

__all__ = ["MOMENT_OF_ACK", "Context", "ContextState"]

MOMENT_OF_ACK = {
    Ack.BUFFERED: Moment.ACCEPTED,
    Ack.JOURNALED: Moment.JOURNALED,
    Ack.COMMITTED: Moment.COMMITTED,
    Ack.SETTLED: Moment.SETTLED,
}


class ContextState(Enum):
    """Where a context stands."""

    OPEN = auto()
    SEALED = auto()
    """It takes nothing more."""
    CARRIED = auto()
    """The runtime has it."""
    DECIDED = auto()


class Context:
    """One transaction: its outputs, what it read, and how it ended. Thread-safe.

    Attributes
    ----------
    txid
        UUIDv7, stable over everything that happens to it.
    run, key
        Where its outputs go; its idempotency key, None without.
    progress
        Its moments.
    outcome
        None while undecided.
    failures
        Why its outputs did not arrive; of what is placed again under other names, only since then.
    put_s
        Seconds that callers were blocked in `put`.
    epoch, generation
        Which ownership of the transaction this is, and which names its objects have.
    asked_registry
        Whether the registry may know of it: then nothing may be removed before it was asked again.
    asked_flip
        Whether the registry was asked to make it visible; before that it cannot be.
    wants_journal, journaling, entry
        Whether its bytes go to the journal; held by whoever writes them there; its place there, None without.
    is_restored
        Whether a journal brought it here, with what was planned for its outputs.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        run: str,
        key: str | None,
        ack: Ack,
        policies: PolicyResolver | None,
        plan: PlanScope | None = None,
        txid: UUID | None = None,
    ) -> None:
        self.txid = txid or environment.uuid7()
        self.run = run
        self.key = key
        self.progress = Progress()
        self.outcome: CommitOutcome | None = None
        self.failures: list[FlushFailure] = []
        self.put_s = 0.0
        self.output_count = 0
        self.output_bytes = 0
        self.state = ContextState.OPEN
        self._runtime = runtime
        self._ack = ack
        self._plan = plan
        self._policies = policies
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self.epoch = 0
        # A token may be resumed twice, here or elsewhere: files of the one must never be the other's.
        self.generation = 0 if txid is None else 1 + int(environment.random_token(4), 16)
        self.asked_registry = False
        self.asked_flip = False
        self.wants_journal = False
        self.is_restored = False
        self.journaling: anyio.Lock | None = None
        self.entry: JournalEntry | None = None
        self._is_handed_over = False
        self._name = f"{self.txid}.{self.generation}"
        self._outputs: dict[tuple[str, DataId], Output] = {}
        self._persistent: tuple[Output, ...] | None = None  # of them, once somebody has asked
        self._inputs: dict[UUID, DatasetRef] = {}
        self._unchanged: dict[tuple[str, DataId], DatasetRef] = {}
        self._requires: dict[UUID, Context] = {}
        self._planned_inputs: list[Output] = []
        self._input_ids: tuple[UUID, ...] = ()
        self._required_txids: tuple[UUID, ...] = ()

    @classmethod
    def from_journal(cls, runtime: Runtime, transaction: Transaction, entry: JournalEntry) -> Context:
        """Make a sealed context of what a journal kept of it; `restore` gives it its outputs."""
        context = cls(
            runtime,
            run=transaction.run,
            key=transaction.key,
            ack=Ack.COMMITTED,
            policies=None,
            txid=transaction.txid,
        )
        context.state = ContextState.SEALED
        context.is_restored = True
        context.entry = entry
        context.epoch, context.generation = transaction.epoch, transaction.generation
        context._name = f"{transaction.txid}.{transaction.generation}"
        context._input_ids = transaction.inputs
        context._required_txids = transaction.requires
        context._unchanged = {(ref.dataset_type.name, ref.data_id): ref for ref in transaction.unchanged}
        return context

    def restore(self, outputs: Sequence[Output]) -> None:
        """Take the outputs that a journal kept."""
        self._outputs = {(one.ref.dataset_type.name, one.ref.data_id): one for one in outputs}
        self._persistent = None
        self.output_count = len(outputs)
        self.progress.reach(Moment.ACCEPTED, Moment.JOURNALED)

    # -- what is in it
    @property
    def outputs(self) -> tuple[Output, ...]:
        """Accepted outputs in the order of their puts."""
        with self._lock:
            return tuple(self._outputs.values())

    @property
    def persistent_outputs(self) -> tuple[Output, ...]:
        """Accepted outputs that the registry will know."""
        persistent = self._persistent
        if persistent is None:
            with self._lock:
                outputs = self._outputs.values()
                persistent = tuple(output for output in outputs if not output.resolution.is_temporary)
                self._persistent = persistent
        return persistent

    @property
    def requires(self) -> tuple[Context, ...]:
        """Contexts whose accepted outputs it read: they must commit first."""
        with self._lock:
            return tuple(self._requires.values())

    @property
    def ack(self) -> Ack:
        """What its commit waits for: as asked, or stronger where a policy of an output says so."""
        return max(self._ack, self.policy_ack)

    @property
    def policy_ack(self) -> Ack:
        """The strongest level that a policy demands for one of its outputs."""
        return max((output.resolution.ack or Ack.BUFFERED for output in self.outputs), default=Ack.BUFFERED)

    def own_output(self, dataset_type: str, data_id: DataId) -> Output | None:
        """Return an output of this context."""
        return self._outputs.get((dataset_type, data_id))

    def find_planned(self, dataset_type: str, data_id: DataId) -> Output | None:
        """Return an accepted output of another context of the same plan, and depend on that context."""
        if self._plan is None or (found := self._plan.find(dataset_type, data_id)) is None:
            return None
        output, context = found
        with self._lock:
            self._requires[context.txid] = context
            self._planned_inputs.append(output)
        return output

    def note_read(self, ref: DatasetRef, *, as_latest: bool) -> None:
        """Record a committed dataset as an input.

        One of the own run that was read as the latest must still be the latest at commit.
        """
        with self._lock:
            self._inputs[ref.id] = ref
            if as_latest and ref.run == self.run and ref.version is not None:
                self._unchanged.setdefault((ref.dataset_type.name, ref.data_id), ref)

    # -- put
    def put(
        self,
        value: object,
        dataset_type: DatasetType,
        data_id: DataId,
        *,
        ref_id: UUID | None = None,
        to: object = None,
        own: object = None,
        expect: int | Literal["create"] | None = None,
        replace: bool = False,
    ) -> Output:
        """Accept one output: everything that can be known to be wrong with it is raised now.

        Returns when the object was taken as its ownership says; in immediate mode when its bytes are durable
        at every required destination.
        """
        begin = environment.perf_counter()
        try:
            output = self._prepare(value, dataset_type, data_id, ref_id, to, own, expect, replace)
            if output.resolution.mode is Mode.IMMEDIATE and not output.resolution.is_temporary:
                self._place_now(output)
            self._take(output, replace)
            return output
        except MemoryError as error:
            raise out_of_memory(f"in the put of {dataset_type.name}({data_id})") from error
        finally:
            self.put_s += environment.perf_counter() - begin

    def _prepare(
        self,
        value: object,
        dataset_type: DatasetType,
        data_id: DataId,
        ref_id: UUID | None,
        to: object,
        own: object,
        expect: int | Literal["create"] | None,
        replace: bool,
    ) -> Output:
        """Check one output and take its snapshot; it is not in the context yet."""
        runtime = self._runtime
        runtime.check_usable()
        key = dataset_type.name, data_id
        self._check_open()
        self._check_new(key, replace)
        expectation = check_expectation(expect)
        delegate = runtime.formats.delegate(dataset_type.storage_class)
        delegate.check(value)
        assert self._policies is not None  # only a context of a journal has none, and that is sealed
        resolution = self._policies.resolve(dataset_type, self.run, to=to, own=own)
        ownership = choose_ownership(value, delegate, resolution.own)
        load_ids = {}
        for name, choice in resolution.formats.items():
            if choice is ROWS:
                load_ids[name] = environment.uuid7()
        ref = DatasetRef(ref_id or environment.uuid7(), dataset_type, data_id, self.run)
        name = f"{self._name}.{next(self._numbers)}"
        nbytes = delegate.nbytes(value)
        charge = runtime.budget.charge_now(nbytes) or runtime.make_room(
            nbytes, f"{dataset_type.name}({data_id})"
        )
        try:
            snapshot = take_snapshot(
                value, delegate, ownership, runtime.pool, verify_borrowed=runtime.settings.verify_borrowed
            )
        except BaseException:
            runtime.budget.release(charge)
            raise
        output = Output(
            ref,
            name=name,
            snapshot=snapshot,
            nbytes=nbytes,
            expect=expectation,
            resolution=resolution,
            delegate=delegate,
            formats=runtime.formats,
            budget=runtime.budget,
            charge=charge,
            load_ids=load_ids,
        )
        try:
            self._check_holdable(output, snapshot.value, delegate, resolution)
            if ownership is Ownership.ENCODE:
                output.encode_and_drop()
            snapshot.watch()
        except BaseException:
            output.release()
            raise
        if not snapshot.is_lent:
            output.progress.reach(Moment.RELEASED)
        return output

    def _take(self, output: Output, replace: bool) -> None:
        """Make a prepared output one of the context, in the place of the one it replaces."""
        key = output.ref.dataset_type.name, output.ref.data_id
        try:
            with self._lock:
                self._check_open()
                replaced = self._check_new(key, replace)
                self._persistent = None  # before: an interrupt in between leaves none that is not true
                self._outputs[key] = output
                self.output_count += replaced is None
                self.output_bytes += output.snapshot_bytes
        except BaseException:
            if self._outputs.get(key) is not output:  # else an interrupt came too late: it is taken
                self._runtime.discard([output])
            raise
        output.progress.reach(Moment.ACCEPTED)
        if replaced is not None:
            self._runtime.discard([replaced])

    @property
    def known_as(self) -> UUID:
        """Transaction that people know it as: if it takes in again what was set aside, that one."""
        return self.txid if self.entry is None else self.entry.txid

    @property
    def spillable_bytes(self) -> int:
        """Bytes in memory that `spill` could move to a file."""
        if self.state is not ContextState.OPEN:
            return 0
        return sum(output.charged_bytes for output in self.persistent_outputs)

    def spill(self, store: Callable[[Chunks], memoryview], is_enough: Callable[[], bool]) -> int:
        """Move outputs to files, the largest first, until it is enough; returns the bytes given back.

        One that cannot be moved stays in memory: if something is wrong with it, its commit will tell.
        """
        given_back = 0
        with self._lock:  # it is not handed over meanwhile: what is on its way must not move
            if self.state is not ContextState.OPEN:
                return 0
            for output in sorted(self.persistent_outputs, key=lambda one: one.charged_bytes, reverse=True):
                if is_enough():
                    break
                with contextlib.suppress(OSError, QuantumioError):
                    given_back += output.spill(store)
        return given_back

    def give_up_waiting(self, given_up: threading.Event) -> None:
        """End the waiting for the buffer of the put whose ``GIVEN_UP`` is this event."""
        self._runtime.budget.give_up(given_up)

    def _check_open(self) -> None:
        if self.state is not ContextState.OPEN:
            raise StateError(
                f"context {self.txid} of run {self.run!r} takes nothing more: it was committed or aborted",
                hint="open another context",
            )

    def _check_new(self, key: tuple[str, DataId], replace: bool) -> Output | None:
        existing = self._outputs.get(key)
        if existing is not None and not replace:
            raise ConflictError(
                f"{key[0]}({key[1]}) was put in this context already",
                hint="put it with replace=True, or under another data ID",
                kind=ErrorKind.DUPLICATE_OUTPUT,
            )
        return existing

    def _check_holdable(
        self, output: Output, value: object, delegate: StorageClassDelegate, resolution: Resolution
    ) -> None:
        """Refuse what a format or a table of the output cannot hold, as far as it shows without a scan."""
        formats, destinations = self._runtime.formats, self._runtime.destinations
        for name, choice in resolution.formats.items():
            if name == TEMPORARY:
                continue
            if name not in output.load_ids:
                formats.format(choice.name).check(value, output.storage_class, choice.options)
                continue
            try:
                table = destinations.get(name)
                assert is_table(table)
                table.check(output.ref.dataset_type.name, delegate.convert(value, "arrow"))
            except DestinationError:
                pass  # it cannot be reached now; flushing will tell, and try again

    def _place_now(self, output: Output) -> None:
        try:
            self._runtime.place_now(self, output)
        except BaseException:
            self._runtime.discard([output])
            raise

    # -- the end
    def seal(self) -> None:
        """Take nothing more; quanta of the same plan may read the outputs from now on."""
        with self._lock:
            self._check_open()
            self.state = ContextState.SEALED
        if self._plan is not None:
            self._plan.publish(self)
        self.progress.reach(Moment.ACCEPTED)

    def commit(self, *, journaled: bool = False) -> None:
        """Seal it and hand it to the runtime, which decides it in the background.

        Parameters
        ----------
        journaled
            Whether its bytes go to the journal first.

        Raises
        ------
        QuantumioError
            The runtime cannot start; the context is open still.
        """
        self._runtime.start()  # while it is open: where that fails, nothing of it is lost
        self.wants_journal = journaled
        with self._lock:  # so that whoever aborts sees it handed over, or broken off by an interrupt
            self.seal()
            self._runtime.submit(self)
            self._is_handed_over = True  # where an interrupt comes before this, the runtime knows

    def _give_up(self) -> bool:
        """Take nothing more and never commit; False if it was handed over, or has an outcome, already.

        True again where an interrupt broke an earlier abort off.
        """
        with self._lock:
            if self.outcome is not None or self._is_handed_over or self._runtime.has(self):
                return False
            self.state = ContextState.DECIDED
            return True

    def abort(self, kind: ErrorKind = ErrorKind.ABORTED, message: str = "the context was aborted") -> None:
        """Forget everything that was put; on a context that is committed or aborted it does nothing."""
        if any(output.attempts for output in self.outputs):
            self._runtime.check_may_wait()
        if self._give_up():
            self._runtime.end(self, str(kind))
            self.decide(CommitFailed(txid=self.txid, kind=kind, message=message))
            self._runtime.forget_open(self)

    def cancel(self) -> None:
        """Give a sealed context up unless it is becoming visible already; its outcome says which."""
        self._runtime.cancel(self)

    def abandon(self) -> None:
        """Abort it without waiting: nobody has it any more. The garbage collector calls this."""
        if self._give_up():
            self._runtime.end(self, str(ErrorKind.ABORTED), wait=False)
            message = "the context was dropped without commit"
            self.decide(CommitFailed(txid=self.txid, kind=ErrorKind.ABORTED, message=message))
            self._runtime.forget_open(self)

    def intent(self, *more: Output) -> Transaction:
        """Return what the registry is to know before the first byte is placed.

        Parameters
        ----------
        *more
            Outputs that are not in the context yet.
        """
        self.asked_registry = True
        planned = [
            OutputRecord(
                ref=output.ref,
                expect=output.expect,
                artifacts=tuple(
                    output.plan(target.destination) for target in output.resolution.targets if target.required
                ),
            )
            for output in (*self.persistent_outputs, *more)
        ]
        return self.transaction(planned, ())

    def transaction(self, outputs: Sequence[OutputRecord], follow_ups: Sequence[FollowUp]) -> Transaction:
        """Return what the registry is to make visible."""
        with self._lock:
            # Upstream outputs have their final refs only now: an earlier attempt's, where that was reused.
            planned = [output.ref.id for output in self._planned_inputs]
            inputs = tuple(dict.fromkeys([*self._input_ids, *self._inputs, *planned]))
            unchanged = tuple(self._unchanged.values())
            requires = self._required_txids + self._required()
        return Transaction(
            txid=self.txid,
            run=self.run,
            key=self.key,
            outputs=tuple(outputs),
            inputs=inputs,
            unchanged=unchanged,
            requires=requires,
            follow_ups=tuple(follow_ups),
            epoch=self.epoch,
            generation=self.generation,
            journaled=self.is_promised,
        )

    def _required(self) -> tuple[UUID, ...]:
        """Return what must be visible first: of an upstream context that reused another's, that is."""
        return tuple(txid for txid, upstream in self._requires.items() if not upstream.needs_no_commit)

    @property
    def needs_no_commit(self) -> bool:
        """Whether nothing of it will ever be in the registry under its own name."""
        if self.key is None and not self.persistent_outputs:
            return True
        return isinstance(self.outcome, Committed) and self.outcome.reused

    @property
    def is_promised(self) -> bool:
        """Whether its bytes are in the journal for whoever goes on with it; not those that were set aside."""
        return self.entry is not None and self.entry.state is not JournalState.CONFLICT

    def note_journaled(self) -> None:
        """Say that its bytes survive this process."""
        for output in self.persistent_outputs:
            output.progress.reach(Moment.JOURNALED)
        self.progress.reach(Moment.JOURNALED)

    def begin_again(self, epoch: int, generation: int) -> None:
        """Go on under other names: what was placed before was ended."""
        self.epoch, self.generation = epoch, generation
        self._name = f"{self.txid}.{generation}"
        self.failures.clear()
        for output in self.persistent_outputs:
            output.move_to(self._name)

    def decide(self, outcome: CommitOutcome) -> None:
        """Set the outcome, once, and tell everybody who waits."""
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            self.state = ContextState.DECIDED
        if isinstance(outcome, Committed):
            by_key = {(ref.dataset_type.name, ref.data_id): ref for ref in outcome.refs}
            for output in self.outputs:
                ref = by_key.get((output.ref.dataset_type.name, output.ref.data_id))
                output.ref = ref or output.ref
                output.progress.reach(Moment.RELEASED, Moment.JOURNALED, Moment.COMMITTED)
            self.progress.reach(Moment.JOURNALED, Moment.COMMITTED)
        else:
            self.finish()

    def finish(self) -> None:
        """Say that nothing more will happen to it."""
        for progress in self._progresses():
            progress.finish()

    def settle(self) -> None:
        """Say that every destination has everything."""
        for progress in self._progresses():
            progress.reach(Moment.SETTLED)
            progress.finish()

    def _progresses(self) -> Iterator[Progress]:
        for output in self.outputs:
            output.progress.reach(Moment.RELEASED)
            yield output.progress
        yield self.progress

    # -- waiting
    def check_may_wait(self) -> None:
        """Refuse to wait on the runtime's own thread; see `Runtime.check_may_wait`."""
        self._runtime.check_may_wait()

    def raise_unless(self, moment: Moment, in_time: bool, progress: Progress | None = None) -> None:
        """Raise what keeps a moment from having come.

        Raises
        ------
        CommitConflictError, CommitFailedError, CommitParkedError, CommitUnknownError
            What the outcome says.
        StateError
            ``kind="timeout"``: it has not come yet; it may still come.
        """
        if (progress or self.progress).has_reached(moment):
            return
        if not in_time:
            raise StateError(
                f"context {self.txid} of run {self.run!r} is not {moment} yet",
                hint="wait longer, or look at `status`",
                kind=ErrorKind.TIMEOUT,
            )
        self._runtime.ledger.deliver(self.txid)
        raise outcome_error(self.outcome, self.txid, moment)
