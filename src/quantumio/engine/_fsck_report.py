"""What a check of a repository finds: values, and the tally that they are added up in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from quantumio.model import DatasetRef

__all__ = ["FsckAction", "FsckFinding", "FsckProgress", "FsckReport", "FsckTally", "FsckTrouble"]

_MAX_FINDINGS: Final = 10_000
"""Findings that a report holds; those beyond are counted, and told to ``progress``."""


class FsckTrouble(StrEnum):
    """What is wrong with a copy, or with a dataset."""

    MISSING = "missing"
    WRONG_SIZE = "wrong_size"
    WRONG_DIGEST = "wrong_digest"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"
    WHOLE_AGAIN = "whole_again"
    NO_COPY = "no_copy"
    NO_VERSION = "no_version"
    BROKEN_REFERENCE = "broken_reference"
    OVERDUE = "overdue"


class FsckAction(StrEnum):
    """What was done about it."""

    NONE = "none"
    REPAIRED = "repaired"
    RESTORED = "restored"
    MARKED = "marked"
    FAILED = "failed"


_SETTLED: Final = (FsckAction.REPAIRED, FsckAction.RESTORED)


@frozen(kw_only=True)
class FsckFinding:
    """One thing that is not as the registry says.

    Attributes
    ----------
    trouble
        What is wrong: ``missing``, ``wrong_size``, ``wrong_digest`` (bytes, or rows, are not those that were
        written), ``unreadable`` (the bytes are those, and cannot be decoded), ``unknown`` (it could not be
        looked at), ``whole_again`` (the registry has it as missing or corrupt, and it is neither),
        ``no_copy`` (no destination has the dataset whole), ``no_version`` (a version has vanished),
        ``broken_reference`` (rows of the registry name others that are not there) or ``overdue`` (a copy, an
        export or a removal is waited for since more than a day).
    ref
        Which dataset; None where it is about a whole destination, or the registry.
    destination
        Where; None where it is about the dataset as such.
    action
        What was done: ``none``, ``repaired`` (a copy was put in its place), ``restored`` (the registry has it
        as ``ok`` again), ``marked`` (the registry says what is wrong; there is nothing to repair it from) or
        ``failed``.
    detail
        More of it, for people.
    """

    trouble: FsckTrouble
    ref: DatasetRef | None
    destination: str | None
    action: FsckAction = FsckAction.NONE
    detail: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.action in _SETTLED


@frozen(kw_only=True)
class FsckProgress:
    """How far a check is.

    Attributes
    ----------
    checked, total
        Datasets; ``total`` as it was at the beginning.
    findings
        What was found since the last call.
    """

    checked: int
    total: int
    findings: tuple[FsckFinding, ...] = ()


@frozen(kw_only=True)
class FsckReport:
    """What a check found.

    Attributes
    ----------
    level, repair
        How it was asked.
    datasets, artifacts
        How many were looked at.
    counts
        Artifacts by what they were found to be: ``ok``, ``not_checked``, and what `FsckFinding` tells of
        copies.
    findings
        The first 10,000.
    left_off
        How many more there are.
    unsettled
        How many of all are still wrong, or unknown.
    """

    level: int
    repair: bool
    datasets: int
    artifacts: int
    counts: Mapping[str, int] = field(hash=False)
    findings: tuple[FsckFinding, ...]
    left_off: int
    unsettled: int

    @property
    def is_whole(self) -> bool:
        """Whether all is as the registry says, as far as this level tells."""
        return self.unsettled == 0


@define(eq=False)
class FsckTally:
    """Adds up what is found, in bounded memory, and tells ``progress`` of it."""

    progress: Callable[[FsckProgress], object] | None
    total: int = 0
    datasets: int = 0
    artifacts: int = 0
    counts: Counter[str] = field(factory=Counter)
    findings: list[FsckFinding] = field(factory=list)
    left_off: int = 0
    unsettled: int = 0
    _new: list[FsckFinding] = field(factory=list)

    def count(self, state: str) -> None:
        """Count an artifact."""
        self.artifacts += 1
        self.counts[state] += 1

    def add(self, finding: FsckFinding) -> None:
        """Add a finding."""
        self._new.append(finding)
        self.unsettled += not finding.is_settled
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.left_off += 1

    def next_dataset(self) -> None:
        """Note that a dataset is done with."""
        self.datasets += 1
        found, self._new = tuple(self._new), []
        if self.progress is not None:
            self.progress(
                FsckProgress(checked=self.datasets, total=max(self.total, self.datasets), findings=found)
            )

    def report(self, level: int, *, repair: bool) -> FsckReport:
        """Return all of it."""
        return FsckReport(
            level=level,
            repair=repair,
            datasets=self.datasets,
            artifacts=self.artifacts,
            counts=dict(self.counts),
            findings=tuple(self.findings),
            left_off=self.left_off,
            unsettled=self.unsettled,
        )
