"""Transactions: what one context makes visible, as it is planned, remembered and followed up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from attrs import evolve, frozen

from quantumio.model._commit import Expectation
from quantumio.model._dataset import Artifact, DatasetRef, check_wire_version

__all__ = [
    "FollowUp",
    "FollowUpKind",
    "OutboxEntry",
    "OutputRecord",
    "Transaction",
    "TransactionRecord",
    "TransactionState",
]

_WIRE_VERSION: Final = 1

_json = json.JSONEncoder(separators=(",", ":")).encode


@frozen(kw_only=True)
class OutputRecord:
    """One output of a transaction: planned in its intent, placed when it becomes visible.

    Attributes
    ----------
    ref
        Without version: the flip gives it.
    expect
        What the latest version must be.
    artifacts
        Those that are placed (``ok``) and those that are planned or still to be settled (``pending``).
    """

    ref: DatasetRef
    expect: Expectation
    artifacts: tuple[Artifact, ...]

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "ref": self.ref.to_wire(),
            "expect": self.expect,
            "artifacts": [artifact.to_wire() for artifact in self.artifacts],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> OutputRecord:
        """Read what `to_wire` wrote."""
        return cls(
            ref=DatasetRef.from_wire(wire["ref"]),
            expect=wire["expect"],
            artifacts=tuple(Artifact.from_wire(artifact) for artifact in wire["artifacts"]),
        )


class FollowUpKind(StrEnum):
    """What may be left to do when a transaction is decided."""

    REPLICATE = "replicate"
    """Bring the best-effort copies to a destination."""
    EXPORT = "export"
    """Show the outputs at a destination under names for people."""
    FLIP_TABLE = "flip_table"
    """Reveal the rows at a table destination."""
    NOTIFY = "notify"
    """Tell somebody."""
    CLEAN = "clean"
    """Remove what an aborted transaction has placed."""


@frozen(kw_only=True)
class FollowUp:
    """One thing to be done after a decision, idempotent; ``destination`` says where."""

    kind: FollowUpKind
    destination: str


@frozen(kw_only=True)
class OutboxEntry:
    """A follow-up that the registry remembers until it is done.

    Attributes
    ----------
    id
        Its number in the outbox.
    txid
        The transaction that it follows.
    attempts
        How often it was tried.
    age_s
        Since when it waits, in seconds by the database's clock.
    is_due
        Whether it may be claimed now: nobody else has it, and it is not postponed.
    claimed_by, owner_host, owner_boot_id
        Who has it, and where that runs; None where nobody has it.
    """

    id: int
    txid: UUID
    follow_up: FollowUp
    attempts: int
    age_s: float
    is_due: bool
    claimed_by: UUID | None = None
    owner_host: str | None = None
    owner_boot_id: str | None = None


@frozen(kw_only=True)
class Transaction:
    """All that one context makes visible, together or never.

    Attributes
    ----------
    txid
        UUIDv7, made when the context opened; stable over all retries and restarts.
    run, key
        The RUN collection; the idempotency key (a key commits once per run), None without.
    outputs
        Persistent outputs only: temporaries are never in the registry.
    inputs
        Datasets that were read (lineage).
    unchanged
        What was read from the own run: the version that must still be the latest at commit. An output of
        the same transaction with ``expect`` of its own is not in here.
    requires
        Transactions whose outputs were read before they were visible: they must be committed first.
    follow_ups
        What is to be done once it is visible.
    epoch
        Which ownership of the transaction this is: whoever takes it over raises it, and fences the others.
    generation
        Part of the names of its objects; grows when an aborted transaction is opened again.
    journaled
        Whether its bytes are in a journal, so that its owner's death does not end it.
    """

    txid: UUID
    run: str
    key: str | None
    outputs: tuple[OutputRecord, ...]
    inputs: tuple[UUID, ...] = ()
    unchanged: tuple[DatasetRef, ...] = ()
    requires: tuple[UUID, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    epoch: int = 0
    generation: int = 0
    journaled: bool = False

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "version": _WIRE_VERSION,
            "txid": str(self.txid),
            "run": self.run,
            "key": self.key,
            "outputs": [output.to_wire() for output in self.outputs],
            "inputs": [str(dataset_id) for dataset_id in self.inputs],
            "unchanged": [ref.to_wire() for ref in self.unchanged],
            "requires": [str(txid) for txid in self.requires],
            "follow_ups": [[str(one.kind), one.destination] for one in self.follow_ups],
            "epoch": self.epoch,
            "generation": self.generation,
            "journaled": self.journaled,
        }

    def to_json(self) -> str:
        """Return `to_wire` as JSON text.

        One output after the other: the dictionaries of thousands at the same time would have the garbage
        collector walk through all that the process has.
        """
        wire = evolve(self, outputs=()).to_wire()
        del wire["outputs"]
        outputs = ",".join([_json(output.to_wire()) for output in self.outputs])
        return f'{_json(wire)[:-1]},"outputs":[{outputs}]}}'

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Transaction:
        """Read what `to_wire` wrote.

        Raises
        ------
        InvalidInputError
            It was written by a newer version.
        """
        check_wire_version(wire, "transaction", _WIRE_VERSION)
        return cls(
            txid=UUID(wire["txid"]),
            run=wire["run"],
            key=wire["key"],
            outputs=tuple(OutputRecord.from_wire(output) for output in wire["outputs"]),
            inputs=tuple(UUID(dataset_id) for dataset_id in wire["inputs"]),
            unchanged=tuple(DatasetRef.from_wire(ref) for ref in wire["unchanged"]),
            requires=tuple(UUID(txid) for txid in wire["requires"]),
            follow_ups=tuple(
                FollowUp(kind=FollowUpKind(kind), destination=destination)
                for kind, destination in wire["follow_ups"]
            ),
            epoch=wire["epoch"],
            generation=wire["generation"],
            journaled=wire["journaled"],
        )


class TransactionState(StrEnum):
    """Where the registry says that a transaction stands."""

    PREPARING = "PREPARING"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    QUARANTINED = "QUARANTINED"
    """It was on its way when a backup of the registry was made that was put back later: nobody knows."""


@frozen(kw_only=True)
class TransactionRecord:
    """What the registry knows of one transaction.

    Attributes
    ----------
    transaction
        Its manifest, with the epoch, generation and ``journaled`` that the registry has now; None where it
        has none (a transaction that was committed without an intent).
    state
        Where it stands.
    reason
        Why it was aborted; None otherwise.
    owner
        Who carries it; None once decided.
    owner_host, owner_boot_id
        Where the owner runs, None if not known.
    lease_over
        Whether the owner has not been heard of for longer than its lease, by the database's clock.
    damage
        What is wrong with its manifest, where that cannot be read: nobody knows what it has placed.
    """

    txid: UUID
    state: TransactionState
    epoch: int
    generation: int
    transaction: Transaction | None
    reason: str | None = None
    owner: UUID | None = None
    owner_host: str | None = None
    owner_boot_id: str | None = None
    lease_over: bool = False
    damage: str | None = None
