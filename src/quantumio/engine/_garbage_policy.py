"""Which objects are dead: decided from their names, and from what the registry says of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Final
from uuid import UUID

from attrs import frozen

from quantumio.model import TransactionState
from quantumio.ports import ObjectRecord

__all__ = ["REPAIR_MARK", "GarbageVerdict", "ObjectName", "judge", "judge_load", "parse_name", "uuid_time_ns"]

_UUID7: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME: Final = re.compile(
    rf"(?:(?P<top>[^/]*)/(?:(?P<run>.*)/)?)?(?P<txid>{_UUID7})\.(?P<generation>\d+)\.p?\d+(?P<ending>\.[^/]*)?",
    re.ASCII,
)
"""Of objects of one output, and (``p``) of packs, which hold several outputs of one transaction."""

REPAIR_MARK: Final = ".fsck-"
"""In the names of what a repair has placed, where what was there was not whole."""

_ANYWHERE: Final[tuple[None]] = (None,)


class GarbageVerdict(StrEnum):
    """What an object of a store is."""

    NAMED = "named"
    """A dataset has it, or it is in the trash for less than the grace."""
    UNDECIDED = "undecided"
    """Its transaction is on its way, or was set aside: nobody knows yet."""
    UNKNOWN = "unknown"
    """The registry does not know its transaction, or not that far, or that it is there. Never removed."""
    FOREIGN = "foreign"
    """It has no name of quantumio's. Never removed."""
    DEAD = "dead"
    """Nobody will ever read it."""


@frozen(kw_only=True)
class ObjectName:
    """What the name of an object tells.

    Attributes
    ----------
    txid, generation
        Its transaction, and which generation of that has placed it.
    top, run
        The directories that it is in: the uppermost, a dataset type or that of packs, and the others, a run.
        None where there are none.
    is_repair
        Whether a repair has placed it, which only the registry that was repaired knows.
    """

    txid: UUID
    generation: int
    top: str | None = None
    run: str | None = None
    is_repair: bool = False


def parse_name(path: str) -> ObjectName | None:
    """Read the name of an object, ``.../<txid>.<generation>.<n>.<ext>``; None if it has no such name."""
    match = _NAME.fullmatch(path)
    return match and ObjectName(
        txid=UUID(match["txid"]),
        generation=int(match["generation"]),
        top=match["top"],
        run=match["run"],
        is_repair=REPAIR_MARK in (match["ending"] or ""),
    )


def uuid_time_ns(id_: UUID) -> int:
    """Return when a UUIDv7 was made, ns since 1970-01-01 UTC."""
    return (id_.int >> 80) * 1_000_000


def judge(
    name: ObjectName | None, record: ObjectRecord, grace_s: float, *, tops: Collection[str | None] = _ANYWHERE
) -> GarbageVerdict:
    """Tell what an object is.

    Parameters
    ----------
    name
        What its name tells.
    record
        What the registry said of it, after it was listed.
    grace_s
        How long what is in the trash is kept, in seconds.
    tops
        The directories that quantumio itself has made at the top of a store: a file of that name elsewhere is
        somebody's own copy.
    """
    if name is None:
        return GarbageVerdict.FOREIGN
    if record.is_referenced or (record.trashed_s is not None and record.trashed_s < grace_s):
        return GarbageVerdict.NAMED
    if record.state in (TransactionState.PREPARING, TransactionState.QUARANTINED):
        return GarbageVerdict.UNDECIDED  # whatever the generation: there is time once it is decided
    if record.generation is None or name.generation > record.generation:
        return GarbageVerdict.UNKNOWN
    if record.is_named_elsewhere:
        return GarbageVerdict.NAMED  # destinations may have changed their names
    if record.trashed_s is not None:
        return GarbageVerdict.DEAD  # the registry has named this very path, and nobody has it any more
    if name.is_repair or name.run != record.run or name.top not in tops:
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
