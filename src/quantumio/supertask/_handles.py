"""Lazy handles of inputs of which a quantum has many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantumio.model import DataId, DatasetRef
from quantumio.system import threads

if TYPE_CHECKING:
    from quantumio.supertask._context import QuantumContext

__all__ = ["AsyncQuantumInput", "QuantumInput"]


class QuantumInput:
    """One of the datasets of a ``multiple`` input; it is read when asked for.

    Attributes
    ----------
    ref
        Which dataset.
    """

    def __init__(self, context: QuantumContext, ref: DatasetRef) -> None:
        self._context = context
        self.ref = ref

    @property
    def data_id(self) -> DataId:
        """Data ID of the dataset."""
        return self.ref.data_id

    def get(
        self,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        readonly: bool = False,
    ) -> object:
        """Read it; see `QuantumContext.get`."""
        return self._context.get(self.ref, as_=as_, component=component, columns=columns, readonly=readonly)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref}>"


class AsyncQuantumInput:
    """One of the datasets of a ``multiple`` input, for a task whose ``run`` is a coroutine.

    Attributes
    ----------
    ref
        Which dataset.
    """

    def __init__(self, handle: QuantumInput) -> None:
        self._handle = handle
        self.ref = handle.ref

    @property
    def data_id(self) -> DataId:
        """Data ID of the dataset."""
        return self.ref.data_id

    async def get(
        self,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        readonly: bool = False,
    ) -> object:
        """Read it, in a worker thread. Cancelling abandons the reading."""

        def read() -> object:
            return self._handle.get(as_=as_, component=component, columns=columns, readonly=readonly)

        return await threads.run(read, abandon_on_cancel=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref}>"
