"""The context of a quantum, for tasks that run on an event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from quantumio.butler import AsyncDataContext
from quantumio.model import DataId, DatasetRef
from quantumio.supertask._context import QuantumContext
from quantumio.supertask._handles import AsyncQuantumInput, QuantumInput
from quantumio.supertask._quantum import Quantum

__all__ = ["AsyncQuantumContext"]


class AsyncQuantumContext(AsyncDataContext):
    """The transaction of one quantum, for a task whose ``run`` is a coroutine; see `QuantumContext`.

    Parameters
    ----------
    context
        The context itself, opened by the harness.
    """

    def __init__(self, context: QuantumContext) -> None:
        super().__init__(context)
        self._inner = context

    @property
    def quantum(self) -> Quantum:
        """What it is the context of."""
        return self._inner.quantum

    @property
    def data_id(self) -> DataId:
        """Data ID of the quantum."""
        return self._inner.data_id

    async def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read an input that the quantum declares; of a ``multiple`` one a list of `AsyncQuantumInput`."""
        found = await super().get(
            dataset_type_or_ref,
            data_id,
            as_=as_,
            component=component,
            columns=columns,
            version=version,
            readonly=readonly,
            **keys,
        )
        if isinstance(found, list) and all(isinstance(one, QuantumInput) for one in found):
            return [AsyncQuantumInput(one) for one in found]
        return found
