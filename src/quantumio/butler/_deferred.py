"""Handles that read a dataset later, in this or in another process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantumio.model import DatasetRef

if TYPE_CHECKING:
    from quantumio.butler._butler_reads import Reads

__all__ = ["DeferredDataset"]


class DeferredDataset:
    """A dataset that is read when asked for. Pickles: it carries the repository's address and the ref.

    Attributes
    ----------
    ref
        Which dataset.
    """

    def __init__(self, butler: Reads, ref: DatasetRef) -> None:
        self._butler = butler
        self.ref = ref

    def get(
        self,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        readonly: bool = False,
    ) -> object:
        """Read it; see `Butler.get`."""
        return self._butler.get(self.ref, as_=as_, component=component, columns=columns, readonly=readonly)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref}>"
