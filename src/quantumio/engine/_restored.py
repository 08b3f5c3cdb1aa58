"""Contexts that a journal has kept, made again as they were when they were sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantumio.engine._context import Context
from quantumio.engine._journal_entry import JournalEntry
from quantumio.engine._journal_manifest import JournalManifest, JournalTarget
from quantumio.engine._output import Output
from quantumio.engine._policy import ROWS
from quantumio.model import Mode, OutputRecord, Resolution, Target, Transaction

if TYPE_CHECKING:
    from quantumio.engine._runtime import Runtime

__all__ = ["restored"]


def restored(runtime: Runtime, manifest: JournalManifest, entry: JournalEntry) -> Context:
    """Return the context of a journal entry, with its outputs. Blocks.

    Raises
    ------
    DestinationError
        Its bytes cannot be read, or are not those that were written.
    """
    context = Context.from_journal(runtime, manifest.transaction, entry)
    context.restore(
        [
            Output.from_journal(
                record,
                name=_name_of(record, manifest.transaction, number),
                resolution=_resolution(manifest.targets[number]),
                formats=runtime.formats,
                budget=runtime.budget,
                encoded={blob.format: entry.read(blob) for blob in manifest.blobs if blob.output == number},
            )
            for number, record in enumerate(manifest.transaction.outputs)
        ]
    )
    return context


def _resolution(targets: Sequence[JournalTarget]) -> Resolution:
    """Return what the policy said when an output was put, as far as a journal keeps it."""
    return Resolution(
        targets=tuple(Target(target.destination, target.required) for target in targets),
        formats={target.destination: ROWS if target.format == ROWS else target.format for target in targets},
        mode=Mode.DEFERRED,
        own=None,
        ack=None,
        why={},
    )


def _name_of(record: OutputRecord, transaction: Transaction, number: int) -> str:
    """Return the name under which an output was planned, so that it is never placed twice."""
    for artifact in record.artifacts:
        if artifact.load_id is None:
            stem = (artifact.member or artifact.path).rpartition("/")[2]
            return ".".join(stem.split(".")[:3])
    return f"{transaction.txid}.{transaction.generation}.{number}"
