"""Quantum: one execution of a task, with everything that it will read and write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from attrs import field, frozen

from quantumio.model import DataId, DatasetRef

__all__ = ["Quantum", "quantum_key"]


def quantum_key(task: str, data_id: DataId) -> str:
    """Return the name of a quantum; the same in every plan of the same pipeline."""
    return f"{task}({data_id})"


@frozen(kw_only=True, eq=False)
class Quantum:
    """One execution of a task, predicted by a plan.

    Attributes
    ----------
    task
        Label of the task.
    data_id
        Which one; its task's puts and gets are about it when they do not say more.
    inputs
        By dataset type. A ref without version is one that another quantum of the plan will write.
    calibrations
        The one that is valid, by dataset type.
    outputs
        Predicted refs by dataset type; outputs over finer dimensions than the quantum's cannot be predicted.
    requires
        Keys of the quanta that write its inputs.
    """

    task: str
    data_id: DataId
    inputs: Mapping[str, tuple[DatasetRef, ...]] = field(factory=dict)
    calibrations: Mapping[str, DatasetRef] = field(factory=dict)
    outputs: Mapping[str, DatasetRef] = field(factory=dict)
    requires: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of the quantum; also the idempotency key of its context."""
        return quantum_key(self.task, self.data_id)

    def refs(self) -> Iterator[DatasetRef]:
        """Yield everything that it may read."""
        for refs in self.inputs.values():
            yield from refs
        yield from self.calibrations.values()

    @property
    def ids(self) -> frozenset[UUID]:
        """Identities of everything that it may read, and of what it is predicted to write."""
        return frozenset(ref.id for ref in (*self.refs(), *self.outputs.values()))

    def __str__(self) -> str:
        return self.key
