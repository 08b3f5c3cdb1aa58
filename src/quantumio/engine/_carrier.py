"""The way of one context from sealed to settled, step by step as the commit protocol names them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import anyio
from attrs import evolve

from quantumio.engine._committer import Committer
from quantumio.engine._context import Context
from quantumio.engine._endings import Endings
from quantumio.engine._flush import Flusher, FlushFailure
from quantumio.engine._follow_ups import clean_up, what_follows
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalEntry, JournalState
from quantumio.engine._journal_manifest import JournalTarget
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._output import Output
from quantumio.engine._packs import PackRules, assign_packs
from quantumio.engine._standing import outcome_of_another
from quantumio.engine._unexpected import unexpected
from quantumio.errors import ErrorKind, QuantumioError, StateError
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    CommitUnknown,
    FollowUp,
    FollowUpKind,
    Moment,
    TransactionRecord,
)
from quantumio.ports import Catalog, Destinations
from quantumio.system import threads
from quantumio.system.failpoints import reach

__all__ = ["Carrier", "flush_failures"]

_MOST_REOPENED: Final = 3
"""How often a context is placed anew that others ended because this process was silent for too long."""


_MAY_PASS: Final = frozenset(
    {
        *(ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT, ErrorKind.LOCKED, ErrorKind.REGISTRY, ErrorKind.CLOSED),
        *(ErrorKind.THREADS, ErrorKind.MEMORY, ErrorKind.NEWER_SCHEMA, ErrorKind.OLDER_SCHEMA),
    }
)
"""Failures that are none of the outputs': the work is kept, and tried again. ``closed``: a Butler that
is closed does not wait without end for what is carried in the background. ``newer_schema``: the repository
was upgraded under this process, and another one carries on; ``older_schema``: it was put back from a
backup."""

_CAN_BE_MENDED: Final = frozenset({ErrorKind.DISK_FULL, ErrorKind.PERMISSION, ErrorKind.CLOSED})
"""Failures that last until somebody does something (opens it again): a promise waits for that."""


class Carrier:
    """Carries contexts. Lives on the runtime's loop; keeps nothing of a context itself."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        destinations: Destinations,
        flusher: Flusher,
        committer: Committer,
        journal: Journal,
        ledger: ErrorLedger,
        packs: PackRules,
        endings: Endings,
    ) -> None:
        self._endings = endings
        self._journal = journal
        self._catalog = catalog
        self._destinations = destinations
        self._flusher = flusher
        self._committer = committer
        self._ledger = ledger
        self._packs = packs

    # -- sealed to decided
    async def decide(self, context: Context) -> CommitOutcome:
        """Bring a context to its outcome; nobody is told yet."""
        if not context.is_restored:  # else the journal keeps what was planned
            assign_packs(context.persistent_outputs, self._destinations, self._packs)
        if context.wants_journal and (not_journaled := await self.journal(context)):
            return not_journaled
        if failed := await self._upstream_failure(context):
            return failed
        if not context.persistent_outputs:
            if context.key is None:
                return Committed(txid=context.txid, refs=(), commit_seq=None)
            return await self._flip(context)
        outcome = await self._place_and_flip(context)
        for _ in range(_MOST_REOPENED):
            # Who took it for dead may have removed under its hands what it was placing.
            if not isinstance(outcome, CommitParked | CommitFailed) or not await self._reopen(context):
                break
            outcome = await self._place_and_flip(context)
        return await self._keep(context, outcome) if isinstance(outcome, CommitParked) else outcome

    async def _keep(self, context: Context, parked: CommitParked) -> CommitOutcome:
        """Have the journal keep what the registry does not let become visible now: it has no bytes."""
        failed = await self.journal(context)
        unknown = failed and CommitUnknown(txid=context.txid, reason=f"{parked.reason}; {failed.message}")
        return unknown or parked

    async def journal(self, context: Context) -> CommitFailed | None:
        """Make the bytes of a sealed context survive this process; returns why that was not possible.

        What it has read of others that is not visible yet comes first: a journal must never promise an
        output whose input may be lost.
        """
        if context.entry is not None or not context.persistent_outputs:
            return None
        context.journaling = context.journaling or anyio.Lock()
        async with context.journaling:  # `close` may ask for what is being parked
            return await self._journal_once(context)

    async def _journal_once(self, context: Context) -> CommitFailed | None:
        if context.entry is not None:
            return None
        for upstream in context.requires:
            await upstream.progress.wait_async(Moment.JOURNALED)
        try:
            await self._flusher.encode(context.persistent_outputs)
        except ExceptionGroup as group:
            return _failed(context, group)
        try:
            with anyio.CancelScope(shield=True):  # or an entry could stay behind that nobody knows of
                context.entry = await threads.run(self._write_entry, context)
        except QuantumioError as error:
            return CommitFailed(txid=context.txid, kind=error.kind, message=str(error))
        context.note_journaled()
        return None

    def _write_entry(self, context: Context) -> JournalEntry:
        outputs = context.persistent_outputs
        encodings = [
            (number, choice, output.encode(choice))
            for number, output in enumerate(outputs)
            for choice in output.journal_formats()
        ]
        reach("journal.before")
        entry = self._journal.write(
            transaction=evolve(context.intent(), journaled=True),
            targets=[JournalTarget.all_of(output.resolution) for output in outputs],
            encodings=encodings,
        )
        reach("journal.after")
        return entry

    async def close_entry(self, context: Context, outcome: CommitOutcome) -> None:
        """Do with the journal entry of a context what its outcome says."""
        if context.entry is not None:
            await threads.run(_close_entry, context.entry, outcome)

    async def _upstream_failure(self, context: Context) -> CommitOutcome | None:
        """Wait until what the context read is visible; no registry ever holds an output without its input."""
        for upstream in context.requires:
            await upstream.progress.wait_async(Moment.COMMITTED)
            if isinstance(upstream.outcome, Committed):
                continue
            failed = CommitFailed(
                txid=context.txid,
                kind=ErrorKind.UPSTREAM,
                message=f"an input comes from transaction {upstream.txid}, which did not commit: "
                f"{upstream.outcome}",
            )
            is_parked = isinstance(upstream.outcome, CommitParked)
            return await self._park(context, failed) if is_parked else failed
        return None

    async def _place_and_flip(self, context: Context) -> CommitOutcome:
        try:
            intent = await self._place(context, context.persistent_outputs)
        except ExceptionGroup as group:
            return await self._park_if_it_may_pass(context, _failed(context, group))
        if isinstance(intent, QuantumioError):
            failed = CommitFailed(txid=context.txid, kind=intent.kind, message=str(intent))
            return await self._park_if_it_may_pass(context, failed)
        if not self._committer.is_ours(intent, context.epoch):
            return await threads.run(outcome_of_another, intent, self._catalog.outcome)
        outcome = await self._flip(context)
        if isinstance(outcome, CommitFailed):
            return await self._park_if_it_may_pass(context, outcome)
        return outcome

    async def _place(
        self, context: Context, outputs: Sequence[Output], *more: Output
    ) -> TransactionRecord | QuantumioError:
        """Place outputs as soon as the registry has their intent, and meanwhile encode them.

        Returns
        -------
        TransactionRecord or QuantumioError
            What the registry has, or why nothing is known of it; then nothing was placed.

        Raises
        ------
        ExceptionGroup
            Of `FlushFailure`.
        """
        asked = self._committer.prepare_soon(context.intent(*more))

        async def may_place() -> bool:
            answer = await asked.result()
            return isinstance(answer, TransactionRecord) and self._committer.is_ours(answer, context.epoch)

        try:
            await self._flusher.flush([*outputs, *more], required=True, may_place=may_place)
        finally:
            with anyio.CancelScope(shield=True):  # or the intent could come after the end of its context
                answer = await asked.result()
        return answer

    async def _park_if_it_may_pass(self, context: Context, failed: CommitFailed) -> CommitOutcome:
        """Keep in the journal what failed only for now: a destination, or the registry, cannot be reached.

        What is in the journal already was promised: it waits for a full disk, too, for a refused permission,
        or for whoever opens a Butler again that was closed meanwhile.
        """
        may_pass = _MAY_PASS | _CAN_BE_MENDED if context.entry is not None else _MAY_PASS
        return await self._park(context, failed) if failed.kind in may_pass else failed

    async def _park(self, context: Context, failed: CommitFailed) -> CommitOutcome:
        """Keep a context in the journal; it fails where the journal cannot take it either."""
        not_journaled = await self.journal(context)
        return failed if not_journaled else CommitParked(txid=context.txid, reason=failed.message)

    async def _reopen(self, context: Context) -> bool:
        """Own a transaction again that was ended over our silence; its outputs get other names."""
        try:
            record = await self._committer.reopen(context.txid)
        except QuantumioError:
            return False
        if record is None:
            return False
        context.begin_again(record.epoch, record.generation)
        return True

    async def _flip(self, context: Context) -> CommitOutcome:
        outputs = context.persistent_outputs
        transaction = context.transaction([output.record() for output in outputs], self._follow_ups(outputs))
        with anyio.CancelScope(shield=True):  # the point of no return
            context.asked_flip = True
            outcome = await self._committer.flip(transaction)
        if isinstance(outcome, Committed) and {ref.id for ref in outcome.refs} != {o.ref.id for o in outputs}:
            # The same transaction, resumed in another process, was first.
            outcome = evolve(outcome, reused=True)
        return outcome

    # -- what is to be done after
    def _follow_ups(self, outputs: Sequence[Output]) -> tuple[FollowUp, ...]:
        resolutions = {id(output.resolution): output.resolution for output in outputs}
        return what_follows(resolutions.values(), self._destinations)

    async def settle(self, context: Context) -> bool:
        """Reveal rows, export and bring best-effort copies; failures go to the ledger, False if any."""
        outputs = context.persistent_outputs
        left: set[str] = set()
        follow_ups = self._follow_ups(outputs)
        reach("settle.before")
        for kind, step in (
            (FollowUpKind.FLIP_TABLE, self._flusher.reveal),
            (FollowUpKind.EXPORT, self._flusher.export),
            (FollowUpKind.REPLICATE, self._bring_copies),
        ):
            wanted = {one for one in follow_ups if one.kind is kind}
            if not wanted:
                continue
            failed = await self._followed(context, partial(step, outputs))
            left |= failed
            done = {one for one in wanted if "" not in failed and one.destination not in failed}
            left |= await self._followed(context, partial(self._committer.finish, context.txid, done))
        reach("settle.after")
        return not left

    async def _followed(self, context: Context, step: Callable[[], Awaitable[None]]) -> set[str]:
        """Do one step; returns the destinations where it failed, an empty name for everywhere."""
        try:
            await step()
        except ExceptionGroup as group:
            failures = flush_failures(group)
            self._note(context, failures)
            return {failure.destination or "" for failure in failures}
        except QuantumioError as error:
            self._ledger.add(error.kind, str(error), txid=context.known_as)
        except Exception as error:  # noqa: BLE001  it is visible; what is left must not undo that
            problem = unexpected(error)
            self._ledger.add(problem.kind, str(problem), txid=context.known_as)
        else:
            return set()
        return {""}

    async def _bring_copies(self, outputs: Sequence[Output]) -> None:
        wanting = [o for o in outputs if any(not target.required for target in o.resolution.targets)]
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
                await threads.run(self._catalog.record_artifacts, placed)
                reach("settle.record.after")

    # -- one output of an open context
    async def place_now(self, context: Context, output: Output) -> None:
        """Place one output before its context is sealed.

        Raises
        ------
        QuantumioError
            It did not arrive.
        """
        try:
            intent = await self._place(context, (), output)
        except ExceptionGroup as group:
            raise flush_failures(group)[0].error from None
        if isinstance(intent, QuantumioError):
            raise intent
        if not self._committer.is_ours(intent, context.epoch):
            raise StateError(
                f"transaction {context.txid} is not this process's any more", hint="open another context"
            )

    # -- what never becomes visible
    async def end(self, context: Context, reason: str) -> bool:
        """End the transaction of a context that is not committed, then remove what was placed of it.

        Returns
        -------
        bool
            False if the registry did not say that it may be removed: it was left where it is.
        """
        outputs = context.persistent_outputs
        clean = clean_up(_places(outputs))
        if context.asked_registry:
            may_remove = await threads.run(self._end_transaction, context, reason, clean)
            if not may_remove:
                return False
        left = await self.remove(outputs, context)
        # A flip that met a conflict has noted best-effort destinations, too, where nothing was placed yet.
        everywhere = clean_up(target.destination for one in outputs for target in one.resolution.targets)
        done = [one for one in everywhere if one.destination not in left and "" not in left]
        if context.asked_registry:
            await self._followed(context, partial(self._committer.finish, context.txid, done))
        return True

    def end_here(self, context: Context, reason: str) -> None:
        """Do it in this thread: the loop has ended. What was cleaned up is cleaned up once more later."""
        outputs = context.persistent_outputs
        if self._end_transaction(context, reason, clean_up(_places(outputs))):
            self.note_left(self._flusher.remove_here(outputs), context)

    def _end_transaction(self, context: Context, reason: str, clean: Sequence[FollowUp]) -> bool:
        try:
            return self._committer.abort_here(context.txid, reason, clean)
        except QuantumioError as error:
            self._ledger.add(
                error.kind, f"what was placed was left for later: {error}", txid=context.known_as
            )
            self._endings.end_later(context.txid, reason, clean)
            return False

    async def remove(self, outputs: Sequence[Output], context: Context | None = None) -> set[str]:
        """Remove what was placed of outputs; returns the destinations where something is left."""
        failures = await self._flusher.remove(outputs)
        self.note_left(failures, context)
        return {failure.destination or "" for failure in failures}

    # -- failures
    def _note(self, context: Context, failures: Sequence[FlushFailure]) -> None:
        for failure in failures:
            self._ledger.add(
                failure.error.kind,
                str(failure.error),
                txid=context.known_as,
                ref=failure.ref,
                destination=failure.destination,
            )

    def note_left(self, failures: Sequence[FlushFailure], context: Context | None = None) -> None:
        """Note what could not be removed."""
        told = self._ledger.of(context.known_as) if context is not None else []
        known = {entry.destination for entry in told}
        for failure in failures:
            if failure.destination not in known:  # else its first failure says why
                self._ledger.add(
                    failure.error.kind, str(failure.error), ref=failure.ref, destination=failure.destination
                )

    def note_outcome(
        self, context: Context, outcome: CommitConflict | CommitFailed | CommitParked | CommitUnknown
    ) -> None:
        """Note an outcome that is no commit: by what has failed, where that is known."""
        if context.failures:
            self._note(context, context.failures)
            return
        if isinstance(outcome, CommitParked):
            self._ledger.add(ErrorKind.TIMEOUT, outcome.reason, txid=context.known_as)
        elif isinstance(outcome, CommitUnknown):
            self._ledger.add(ErrorKind.REGISTRY, outcome.reason, txid=context.known_as)
        else:
            self._ledger.add(outcome.kind, outcome.message, txid=context.known_as, ref=outcome.ref)


def _close_entry(entry: JournalEntry, outcome: CommitOutcome) -> None:
    if entry.state is JournalState.CONFLICT:
        return  # it was set aside, and who tries it again holds it: what the outcome means is said there
    match outcome:
        case Committed():
            entry.finish()
        case CommitConflict(message=message) | CommitFailed(message=message):
            entry.keep_as_conflict(message)
        case _:
            entry.release()


def _failed(context: Context, group: ExceptionGroup[Exception]) -> CommitFailed:
    """Return the outcome that failures mean for a context that is not decided; it remembers them."""
    failures = flush_failures(group)
    context.failures += failures
    first = failures[0]
    return CommitFailed(txid=context.txid, kind=first.error.kind, message=str(first.error), ref=first.ref)


def flush_failures(group: ExceptionGroup[Exception]) -> list[FlushFailure]:
    """Return the failures of a group."""
    return [error for error in group.exceptions if isinstance(error, FlushFailure)]


def _places(outputs: Sequence[Output]) -> Iterator[str]:
    return (
        target.destination for output in outputs for target in output.resolution.targets if target.required
    )
