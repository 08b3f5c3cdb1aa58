"""Which objects are dead: decided from their names, and from what the registry says of them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from uuid import UUID

from attrs import frozen

from quantumio.model import TransactionState
from quantumio.ports import ObjectRecord

__all__ = ["GarbageVerdict", "ObjectName", "judge", "judge_load", "parse_name", "uuid_time_ns"]

_UUID7: Final = r"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})"
_ARTIFACT: Final = re.compile(rf"(?:.*/)?{_UUID7}\.(?P<generation>\d+)\.\d+(?:\.[^/]*)?", re.ASCII)
_PACK: Final = re.compile(rf"_packs/{_UUID7}\.zip", re.ASCII)


class GarbageVerdict(StrEnum):
    """What an object of a store is."""

    NAMED = "named"
    """A dataset has it, or it is in the trash for less than the grace."""
    UNDECIDED = "undecided"
    """Its transaction is on its way, or was set aside: nobody knows yet."""
    UNKNOWN = "unknown"
    """The registry does not know its transaction, or not that far. Never removed."""
    FOREIGN = "foreign"
    """It has no name of quantumio's. Never removed."""
    DEAD = "dead"
    """Nobody will ever read it."""


@frozen(kw_only=True)
class ObjectName:
    """What the name of an object tells.

    Attributes
    ----------
    id
        Of its transaction; of a pack, its own.
    generation
        Of the transaction when it was placed; None for a pack, which may hold outputs of several.
    """

    id: UUID
    generation: int | None

    @property
    def txid(self) -> UUID | None:
        """Its transaction; None for a pack."""
        return None if self.generation is None else self.id


def parse_name(path: str) -> ObjectName | None:
    """Read the name of an object: ``.../<txid>.<generation>.<n>.<ext>``, or a pack; None if it is neither."""
    if match := _PACK.fullmatch(path):
        return ObjectName(id=UUID(match["id"]), generation=None)
    if match := _ARTIFACT.fullmatch(path):
        return ObjectName(id=UUID(match["id"]), generation=int(match["generation"]))
    return None


def uuid_time_ns(id_: UUID) -> int:
    """Return when a UUIDv7 was made, ns since 1970-01-01 UTC."""
    return (id_.int >> 80) * 1_000_000


def judge(name: ObjectName | None, record: ObjectRecord, grace_s: float) -> GarbageVerdict:
    """Tell what an object is.

    Parameters
    ----------
    name
        What its name tells.
    record
        What the registry said of it, after it was listed.
    grace_s
        How long what is in the trash is kept, in seconds.
    """
    if name is None:
        return GarbageVerdict.FOREIGN
    if record.is_referenced or (record.trashed_s is not None and record.trashed_s < grace_s):
        return GarbageVerdict.NAMED
    if record.state in (TransactionState.PREPARING, TransactionState.QUARANTINED):
        return GarbageVerdict.UNDECIDED  # whatever the generation: there is time once it is decided
    if name.generation is None:
        return GarbageVerdict.DEAD  # a pack that no intent names
    if record.generation is None or name.generation > record.generation:
        return GarbageVerdict.UNKNOWN
    return GarbageVerdict.DEAD  # aborted, of an earlier generation, or committed without it


def judge_load(record: ObjectRecord) -> GarbageVerdict:
    """Tell what the hidden rows of a load are: dead only if a transaction that planned them was aborted.

    A database may be shared by several repositories, so that what is not known here may be known elsewhere.
    """
    if record.is_referenced:
        return GarbageVerdict.NAMED
    if record.state is None:
        return GarbageVerdict.UNKNOWN
    return GarbageVerdict.DEAD if record.state is TransactionState.ABORTED else GarbageVerdict.UNDECIDED
