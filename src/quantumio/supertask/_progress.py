"""What a run tells while it goes on."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from quantumio.supertask._quantum import Quantum
from quantumio.supertask._report import QuantumResult

__all__ = ["ProgressEvent", "ProgressKind"]


class ProgressKind(StrEnum):
    """What a progress event tells."""

    STARTED = "started"
    FINISHED = "finished"
    DECIDED = "decided"


@frozen(kw_only=True)
class ProgressEvent:
    """One step of a run, told to the ``progress`` callback in the thread that called `Plan.run`.

    Attributes
    ----------
    kind
        ``started``; ``finished``: sealed, or failed, blocked; ``decided``: its commit ended.
    result
        Of the quantum, as far as it is known (None when it starts).
    quantum
        Which one.
    started, finished, decided
        Numbers of quanta so far.
    total
        Number of quanta of the plan.
    """

    kind: ProgressKind
    quantum: Quantum
    result: QuantumResult | None
    started: int
    finished: int
    decided: int
    total: int
