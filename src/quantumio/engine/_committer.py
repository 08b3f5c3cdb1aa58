"""Group commit: intents, flips and finished follow-ups reach the registry in short transactions for many."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import anyio
from attrs import evolve

from quantumio.engine._batches import Batches, Waiting
from quantumio.engine._owner import Owner
from quantumio.engine._standing import (
    Ending,
    Resolution,
    how_to_end,
    is_carried_by,
    may_place,
    may_reopen,
    resolve,
    set_aside,
)
from quantumio.engine._unexpected import unexpected
from quantumio.errors import CommitUnknownError, ErrorKind, InternalError, QuantumioError
from quantumio.model import (
    CommitFailed,
    CommitOutcome,
    CommitParked,
    CommitUnknown,
    FollowUp,
    Transaction,
    TransactionRecord,
)
from quantumio.ports import Catalog
from quantumio.system import threads
from quantumio.system.failpoints import reach

__all__ = ["Committer"]

_MOST_UNKNOWN: Final = 3
"""How often a flip is tried again whose COMMIT gave no answer and that was fenced since."""


class Committer:
    """Speaks with the registry for the runtime. Lives on its loop.

    Parameters
    ----------
    lease_s, journaled_lease_s
        How long this process may be silent before others end its transactions; the second for those whose
        bytes are in the journal.
    under_way
        Tells how many contexts are carried: what is asked of the registry waits a moment for them.
    """

    def __init__(
        self,
        catalog: Catalog,
        owner: Owner,
        *,
        lease_s: float,
        journaled_lease_s: float,
        under_way: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._owner = owner
        self._lease_s = lease_s
        self._journaled_lease_s = journaled_lease_s
        self._intents = Batches(self._prepare, under_way)
        self._flips = Batches(self._flip, under_way)
        self._finished = Batches(self._finish, under_way)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as tasks:
            for batches in (self._intents, self._flips, self._finished):
                tasks.start_soon(batches.run)

    # -- intents
    def prepare_soon(
        self, transaction: Transaction
    ) -> Waiting[Transaction, TransactionRecord | QuantumioError]:
        """Write an intent; its result is what the registry has then, or why nothing is known of it."""
        return self._intents.send(transaction)

    async def prepare(self, transaction: Transaction) -> TransactionRecord | QuantumioError:
        """Write an intent, and wait for its result."""
        return await self.prepare_soon(transaction).result()

    def _prepare(self, group: Sequence[Transaction]) -> Sequence[TransactionRecord | QuantumioError]:
        try:
            self._owner.register(self._catalog)
            reach("prepare.before")
            records: dict[UUID, TransactionRecord | QuantumioError] = {}
            for lease_s, members in self._by_lease(group):
                for record in self._catalog.prepare(members, self._owner.id, lease_s):
                    records[record.txid] = record
            reach("prepare.after")
            return [records[transaction.txid] for transaction in group]
        except QuantumioError as error:
            if error.kind is ErrorKind.LOCKED:
                return [error] * len(group)  # no member's fault, and to wait for each takes for ever
            if len(group) > 1:  # one member may have spoiled it for the others
                return [result for one in group for result in self._prepare([one])]
            return [error]
        except Exception as error:  # noqa: BLE001  a bug: it fails these contexts and nothing else
            return [unexpected(error)] * len(group)

    def _by_lease(self, group: Sequence[Transaction]) -> list[tuple[float, list[Transaction]]]:
        plain = [transaction for transaction in group if not transaction.journaled]
        journaled = [transaction for transaction in group if transaction.journaled]
        leases = ((self._lease_s, plain), (self._journaled_lease_s, journaled))
        return [(lease_s, members) for lease_s, members in leases if members]

    async def reopen(self, txid: UUID) -> TransactionRecord | None:
        """Open a transaction again that others ended because this process was silent for too long.

        Returns
        -------
        TransactionRecord or None
            None if it was not ended for that reason, or somebody else was first.

        Raises
        ------
        QuantumioError
            The registry cannot be reached.
        """
        return await threads.run(self._reopen, txid)

    def _reopen(self, txid: UUID) -> TransactionRecord | None:
        record = self._catalog.transaction(txid)
        if record is None or not may_reopen(record):
            return None
        self._owner.register(self._catalog)
        again = self._catalog.reopen(txid, self._owner.id, record.epoch)
        return again if again is not None and is_carried_by(again, self._owner.id) else None

    def is_ours(self, record: TransactionRecord, epoch: int) -> bool:
        """Whether the registry took an intent of an epoch: the bytes of its transaction may be placed."""
        return may_place(record, self._owner.id, epoch)

    def abort_here(self, txid: UUID, reason: str, clean: Sequence[FollowUp]) -> bool:
        """End a transaction that this process carries, in this thread.

        Returns
        -------
        bool
            Whether what it has placed is dead for certain and may be removed.

        Raises
        ------
        QuantumioError
            The registry cannot be reached: nobody knows.
        """
        record = self._catalog.transaction(txid)
        ending = how_to_end(record, self._owner.id)
        if record is None or ending is not Ending.ABORT:
            return ending is Ending.REMOVE
        reach("abort.before")
        done = self._catalog.abort(txid, record.epoch, reason, clean)
        reach("abort.after")
        return done

    # -- flips
    async def flip(self, transaction: Transaction) -> CommitOutcome:
        """Wait until the transaction is decided. The caller shields it: from here on it cannot be undone."""
        return await self._flips.call(transaction)

    def _flip(self, group: Sequence[Transaction], unknown_before: int = 0) -> Sequence[CommitOutcome]:
        try:
            reach("flip.before")
            outcomes = self._catalog.flip(group, self._owner.id if self._owner.is_registered else None)
            reach("flip.after")
            if [outcome.txid for outcome in outcomes] != [one.txid for one in group]:
                raise InternalError(f"{len(outcomes)} outcomes of {len(group)} transactions")
            return outcomes
        except (CommitUnknownError, InternalError) as error:
            return [self._resolve(transaction, error, unknown_before) for transaction in group]
        except QuantumioError as error:  # definite: nothing of the group is visible
            if len(group) > 1 and error.kind is not ErrorKind.LOCKED:
                # one member may have spoiled it for the others
                return [outcome for one in group for outcome in self._flip([one])]
            return [CommitFailed(txid=one.txid, kind=error.kind, message=str(error)) for one in group]
        except Exception as error:  # noqa: BLE001  a bug: whether it committed, the registry knows
            if len(group) > 1:
                return [outcome for one in group for outcome in self._flip([one])]
            return [self._resolve(group[0], unexpected(error), unknown_before)]

    def _resolve(self, transaction: Transaction, error: QuantumioError, unknown_before: int) -> CommitOutcome:
        """Find out what became of a transaction whose COMMIT gave no answer, fencing it if need be."""
        txid = transaction.txid
        try:
            self._owner.register(self._catalog)
            # It waits for the COMMIT that gave no answer, whether the registry knows of an intent or not.
            record = self._catalog.take_over(txid, self._owner.id, transaction.epoch)
            resolution = resolve(record, self._owner.id, transaction.epoch)
            if record is None or resolution is Resolution.KNOWN:
                return self._known(txid, error)
        except Exception as unreachable:  # noqa: BLE001  whatever it is: nothing is known
            return CommitUnknown(txid=txid, reason=str(unreachable))
        if resolution is Resolution.ENDED:
            if unknown_before < _MOST_UNKNOWN:  # asked again, the registry says how it ended
                return self._flip([transaction], unknown_before + 1)[0]
            return CommitFailed(txid=txid, kind=ErrorKind.ABORTED, message=f"it was ended: {record.reason}")
        if resolution is Resolution.TAKEN:
            return CommitParked(txid=txid, reason=set_aside(record) or "another process has taken it over")
        # The COMMIT that gave no answer can never become visible any more: it is fenced.
        if isinstance(error, InternalError) or unknown_before >= _MOST_UNKNOWN:
            return CommitFailed(txid=txid, kind=error.kind, message=str(error))
        return self._flip([evolve(transaction, epoch=record.epoch)], unknown_before + 1)[0]

    def _known(self, txid: UUID, error: QuantumioError) -> CommitOutcome:
        outcome = self._catalog.outcome(txid)
        return outcome or CommitFailed(txid=txid, kind=error.kind, message=str(error))

    # -- follow-ups
    async def finish(self, txid: UUID, done: Collection[FollowUp]) -> None:
        """Note follow-ups as done.

        Raises
        ------
        QuantumioError
            The registry cannot be reached: they will be done again.
        """
        if done and (error := await self._finished.call((txid, tuple(done)))) is not None:
            raise error

    def _finish(self, group: Sequence[tuple[UUID, tuple[FollowUp, ...]]]) -> Sequence[QuantumioError | None]:
        done: Mapping[UUID, tuple[FollowUp, ...]] = dict(group)
        try:
            reach("finish.before")
            self._catalog.finish_follow_ups(done)
            reach("finish.after")
        except QuantumioError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001  a bug: it must not end the loop that carries the others
            return [unexpected(error)] * len(group)
        return [None] * len(group)
