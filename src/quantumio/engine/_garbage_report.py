"""What garbage collection finds: values, and the tally that they are added up in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from attrs import define, evolve, field, frozen

__all__ = [
    "GarbageFinding",
    "GarbageKind",
    "GarbageProgress",
    "GarbageReport",
    "GarbageTally",
    "StoreGarbage",
]

_MAX_FINDINGS: Final = 10_000
"""Findings that a report holds; those beyond are counted."""


class GarbageKind(StrEnum):
    """What a finding is about."""

    REMOVED = "removed"
    REMOVABLE = "removable"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    UPLOAD = "upload"
    AWAY = "away"


@frozen(kw_only=True)
class GarbageFinding:
    """One thing in a store that no dataset has.

    Attributes
    ----------
    kind
        ``removed``; ``removable`` (a dry run removes nothing); ``waiting`` (dead, but not known as that for
        long enough); ``unknown`` (the registry does not know the transaction of its name) and ``foreign`` (it
        has no name of quantumio's), which are never removed; ``upload`` (in parts, begun and not finished);
        ``away`` (a destination could not be looked at).
    destination
        Where.
    path
        Relative to the root of the store, or table and load; empty for a whole destination.
    nbytes
        Its size; 0 where it is not known.
    detail
        More of it, for people.
    """

    kind: GarbageKind
    destination: str
    path: str = ""
    nbytes: int = 0
    detail: str = ""


@frozen(kw_only=True)
class GarbageProgress:
    """How far a run is: objects that were looked at, and removed, so far."""

    destination: str
    looked_at: int
    removed: int


@frozen(kw_only=True)
class StoreGarbage:
    """What one store holds.

    Attributes
    ----------
    destination
        The first of its names.
    objects
        How many were looked at: objects, temporary files and hidden loads.
    counts
        How many are ``named`` (by a dataset, or not in the trash for long enough) or ``undecided``, and how
        many there are of each kind of `GarbageFinding`.
    removable_bytes
        Size of what was, or would be, removed.
    """

    destination: str
    objects: int
    counts: Mapping[str, int] = field(hash=False)
    removable_bytes: int


@frozen(kw_only=True)
class GarbageReport:
    """What a run found, and what became of it.

    Attributes
    ----------
    dry_run
        Whether nothing was removed, nor remembered.
    grace_s
        How long something must have been dead, in seconds.
    stores
        What each holds.
    findings
        The first 10,000.
    left_off
        How many more there are.
    """

    dry_run: bool
    grace_s: float
    stores: tuple[StoreGarbage, ...]
    findings: tuple[GarbageFinding, ...]
    left_off: int

    @property
    def removed(self) -> int:
        """How many objects were removed."""
        return self._count(GarbageKind.REMOVED)

    @property
    def removable(self) -> int:
        """How many objects would be removed now; 0 where it was no dry run."""
        return self._count(GarbageKind.REMOVABLE)

    @property
    def is_complete(self) -> bool:
        """Whether every destination could be looked at."""
        return not self._count(GarbageKind.AWAY)

    def joined(self, other: GarbageReport) -> GarbageReport:
        """Return what this and another run, of another repository, have found."""
        return evolve(
            self,
            stores=self.stores + other.stores,
            findings=self.findings + other.findings,
            left_off=self.left_off + other.left_off,
        )

    def _count(self, kind: GarbageKind) -> int:
        return sum(store.counts.get(kind, 0) for store in self.stores)


@define(eq=False)
class _Sums:
    objects: int = 0
    removable_bytes: int = 0
    counts: Counter[str] = field(factory=Counter)


@define(eq=False)
class GarbageTally:
    """Adds up what is found, in bounded memory, and tells ``progress`` of it."""

    progress: Callable[[GarbageProgress], object] | None = None
    stores: dict[str, _Sums] = field(factory=dict)
    findings: list[GarbageFinding] = field(factory=list)
    left_off: int = 0

    def begin(self, destination: str) -> None:
        """Begin with a store."""
        self.stores[destination] = _Sums()

    def count(self, destination: str, what: str, number: int = 1) -> None:
        """Count what is in order."""
        self.stores[destination].counts[what] += number

    def look(self, destination: str, number: int) -> None:
        """Note that objects were looked at."""
        self.stores[destination].objects += number
        self._tell(destination)

    def add(self, finding: GarbageFinding) -> None:
        """Add a finding."""
        sums = self.stores[finding.destination]
        sums.counts[finding.kind] += 1
        if finding.kind in (GarbageKind.REMOVED, GarbageKind.REMOVABLE):
            sums.removable_bytes += finding.nbytes
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.left_off += 1
        if finding.kind is GarbageKind.REMOVED:
            self._tell(finding.destination)

    def _tell(self, destination: str) -> None:
        if self.progress is not None:
            sums = self.stores[destination]
            removed = sums.counts[GarbageKind.REMOVED]
            self.progress(GarbageProgress(destination=destination, looked_at=sums.objects, removed=removed))

    def report(self, *, dry_run: bool, grace_s: float) -> GarbageReport:
        """Return all of it."""
        return GarbageReport(
            dry_run=dry_run,
            grace_s=grace_s,
            stores=tuple(
                StoreGarbage(
                    destination=name,
                    objects=sums.objects,
                    counts=dict(sums.counts),
                    removable_bytes=sums.removable_bytes,
                )
                for name, sums in self.stores.items()
            ),
            findings=tuple(self.findings),
            left_off=self.left_off,
        )
