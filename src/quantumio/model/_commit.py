"""Commits: levels of acknowledgement, moments, what is committed, and the five outcomes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Final, TypeVar
from uuid import UUID

from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model._dataset import DatasetRef, check_wire_version

__all__ = [
    "Ack",
    "CommitConflict",
    "CommitFailed",
    "CommitOutcome",
    "CommitParked",
    "CommitUnknown",
    "Committed",
    "Expectation",
    "LedgerEntry",
    "Moment",
    "check_expectation",
]


_WIRE_VERSION: Final = 1

_T = TypeVar("_T")


class Ack(IntEnum):
    """What a commit waits for, from the weakest to the strongest."""

    BUFFERED = 0
    JOURNALED = 1
    COMMITTED = 2
    SETTLED = 3

    @classmethod
    def make(cls, value: object) -> Ack:
        """Make one from an Ack or its lower-case name.

        Raises
        ------
        InvalidInputError
            It is neither.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value in _ACKS:
            return _ACKS[value]
        raise InvalidInputError(
            f"{shown(value)} is no acknowledgement level", hint=f"use one of {', '.join(map(repr, _ACKS))}"
        )

    def __str__(self) -> str:
        return self.name.lower()


_ACKS: Final = {str(ack): ack for ack in Ack}


class Moment(StrEnum):
    """Moments in the life of a put or a commit that can be waited for."""

    ACCEPTED = "accepted"
    RELEASED = "released"
    DURABLE = "durable"
    JOURNALED = "journaled"
    COMMITTED = "committed"
    SETTLED = "settled"

    @classmethod
    def make(cls, value: object) -> Moment:
        """Make one from a Moment or its name.

        Raises
        ------
        InvalidInputError
            It is neither.
        """
        try:
            return cls(str(value))
        except ValueError:
            raise InvalidInputError(
                f"{value!r} is no moment", hint=f"use one of {', '.join(map(repr, map(str, cls)))}"
            ) from None


Expectation = int | None
"""What the latest version must be at commit: None = any, 0 = there must be none, n = version n."""


def check_expectation(expect: object) -> Expectation:
    """Return the expectation as a number or None.

    Raises
    ------
    InvalidInputError
        It is neither None, ``"create"``, nor a number from 0 on.
    """
    if expect is None:
        return None
    if expect == "create":
        return 0
    if hasattr(expect, "__index__") and not isinstance(expect, bool) and operator.index(expect) >= 0:
        return operator.index(expect)
    raise InvalidInputError(
        f"expect={shown(expect)}",
        hint="use None, 'create', or the number of the version that must be the latest",
    )


@frozen(kw_only=True)
class Committed:
    """Everything is visible.

    Attributes
    ----------
    refs
        With their versions, in the order of the puts.
    commit_seq
        Place in the order of all commits; None where nothing persistent was put.
    reused
        An earlier attempt under the same key had committed: these are its refs.
    """

    txid: UUID
    refs: tuple[DatasetRef, ...]
    commit_seq: int | None
    reused: bool = False


@frozen(kw_only=True)
class CommitConflict:
    """Definite: nothing is visible, somebody else was first.

    Attributes
    ----------
    ref
        The output (or the input) in conflict.
    winner_txid, winner_version
        Who holds the latest version now, and which it is (None: there is none), or who has committed under
        the same key.
    """

    txid: UUID
    message: str
    ref: DatasetRef
    winner_txid: UUID | None = None
    winner_version: int | None = None
    kind: ErrorKind = ErrorKind.VERSION


@frozen(kw_only=True)
class CommitFailed:
    """Definite: nothing is visible. ``kind`` and ``message`` say why; ``ref`` names the output, if one."""

    txid: UUID
    kind: ErrorKind
    message: str
    ref: DatasetRef | None = None


@frozen(kw_only=True)
class CommitParked:
    """Definite not-yet: ``reason`` says what is still missing."""

    txid: UUID
    reason: str


@frozen(kw_only=True)
class CommitUnknown:
    """It may be visible; nothing was deleted."""

    txid: UUID
    reason: str


CommitOutcome = Committed | CommitConflict | CommitFailed | CommitParked | CommitUnknown


@frozen(kw_only=True)
class LedgerEntry:
    """One background failure, kept until acknowledged.

    Attributes
    ----------
    number
        Its place in the ledger.
    time_ns
        When, ns since 1970-01-01 UTC.
    txid, ref
        Which transaction, which output (None: the whole).
    destination
        Where it happened, None if nowhere in particular.
    kind, message
        What happened.
    """

    number: int
    time_ns: int
    txid: UUID | None
    ref: DatasetRef | None
    destination: str | None
    kind: ErrorKind
    message: str

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "version": _WIRE_VERSION,
            "time_ns": self.time_ns,
            "txid": None if self.txid is None else str(self.txid),
            "ref": None if self.ref is None else self.ref.to_wire(),
            "destination": self.destination,
            "kind": str(self.kind),
            "message": self.message,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any], number: int) -> LedgerEntry:
        """Read what `to_wire` wrote, and give it a number.

        Raises
        ------
        InvalidInputError
            It was written by a newer version, or is something else.
        """
        try:
            check_wire_version(wire, "ledger entry", _WIRE_VERSION)
            return cls(
                number=number,
                time_ns=_of(int, wire["time_ns"]),
                txid=None if wire["txid"] is None else UUID(_of(str, wire["txid"])),
                ref=None if wire["ref"] is None else DatasetRef.from_wire(wire["ref"]),
                destination=None if wire["destination"] is None else _of(str, wire["destination"]),
                kind=ErrorKind(_of(str, wire["kind"])),
                message=_of(str, wire["message"]),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"this is no ledger entry: {error!r:.200}",
                hint="remove it, if quantumio did not write it",
                kind=ErrorKind.VALUE,
            ) from error


def _of(wanted: type[_T], value: object) -> _T:
    """Return a value of a wire form, which must be of one type."""
    if not isinstance(value, wanted):
        raise TypeError(f"{value!r:.80} is no {wanted.__name__}")
    return value
