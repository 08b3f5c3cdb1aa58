"""Group commit: whatever is ready becomes visible in one short registry transaction."""

from __future__ import annotations

import math
from typing import Final

import anyio
import anyio.to_thread
from attrs import define, field

from quantumio.errors import CommitUnknownError, InternalError, QuantumioError
from quantumio.model import CommitFailed, CommitOutcome, CommitUnknown, Transaction
from quantumio.ports import Catalog
from quantumio.system.failpoints import reach

__all__ = ["Committer"]

_MAX_GROUP: Final = 64
"""Contexts that become visible in one transaction at most: bounds how long the write lock is held."""


@define(eq=False)
class _Waiting:
    transaction: Transaction
    decided: anyio.Event = field(factory=anyio.Event)
    outcome: CommitOutcome | None = None


class Committer:
    """Flips transactions in groups. Lives on the runtime's loop; one flip at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._send, self._receive = anyio.create_memory_object_stream[_Waiting](math.inf)
        self._limiter = anyio.CapacityLimiter(1)

    async def flip(self, transaction: Transaction) -> CommitOutcome:
        """Wait until the transaction is decided. The caller shields it: from here on it cannot be undone."""
        waiting = _Waiting(transaction)
        self._send.send_nowait(waiting)
        await waiting.decided.wait()
        assert waiting.outcome is not None
        return waiting.outcome

    async def run(self) -> None:
        """Serve until cancelled."""
        with self._send, self._receive:
            async for first in self._receive:
                group = [first]
                while len(group) < _MAX_GROUP and self._receive.statistics().current_buffer_used:
                    group.append(self._receive.receive_nowait())
                with anyio.CancelScope(shield=True):
                    outcomes = await anyio.to_thread.run_sync(self._decide, group, limiter=self._limiter)
                for waiting, outcome in zip(group, outcomes, strict=True):
                    waiting.outcome = outcome
                    waiting.decided.set()

    def _decide(self, group: list[_Waiting]) -> list[CommitOutcome]:
        transactions = [waiting.transaction for waiting in group]
        try:
            reach("flip.before")
            outcomes = self._catalog.flip(transactions)
            reach("flip.after")
            if [outcome.txid for outcome in outcomes] != [one.txid for one in transactions]:
                raise InternalError(f"{len(outcomes)} outcomes of {len(transactions)} transactions")
            return outcomes
        except InternalError as error:
            unknown = CommitUnknownError(
                str(error), outcome=CommitUnknown(txid=transactions[0].txid, reason="")
            )
            return [self._resolve(transaction, unknown) for transaction in transactions]
        except CommitUnknownError as error:
            return [self._resolve(transaction, error) for transaction in transactions]
        except QuantumioError as error:  # definite: nothing of the group is visible
            if len(group) > 1:  # one member may have spoiled it for the others
                return [outcome for one in group for outcome in self._decide([one])]
            return [
                CommitFailed(txid=transaction.txid, kind=error.kind, message=str(error))
                for transaction in transactions
            ]

        except Exception as error:  # noqa: BLE001  a bug: whether it committed, the registry knows
            if len(group) > 1:
                return [outcome for one in group for outcome in self._decide([one])]
            unknown = CommitUnknownError(
                repr(error), outcome=CommitUnknown(txid=transactions[0].txid, reason="")
            )
            return [self._resolve(transaction, unknown) for transaction in transactions]

    def _resolve(self, transaction: Transaction, error: CommitUnknownError) -> CommitOutcome:
        """Ask the registry what became of a transaction whose COMMIT gave no answer."""
        try:
            outcome = self._catalog.outcome(transaction.txid)
        except Exception as unreachable:  # noqa: BLE001  whatever it is: nothing is known
            return CommitUnknown(txid=transaction.txid, reason=str(unreachable))
        if outcome is None:
            return CommitFailed(txid=transaction.txid, kind=error.kind, message=str(error))
        return outcome
