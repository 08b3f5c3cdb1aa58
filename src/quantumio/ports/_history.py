"""What ends, and what is told of the past: the side of the registry that history is asked of."""

from __future__ import annotations

from typing import Protocol

from quantumio.ports._collections import CollectionRemoval

__all__ = ["HistoryCatalog"]


class HistoryCatalog(Protocol):
    """What removes, and what tells of what was; calls behave as those of `Catalog`."""

    def remove_collection(
        self, name: str, *, unlink: bool = False, dry_run: bool = True
    ) -> CollectionRemoval:
        """End a collection; its name may be given to another one later.

        Parameters
        ----------
        name
            A RUN without datasets, or any other collection: its members stay where they are.
        unlink
            Take it out of the chains that it is in.
        dry_run
            Change nothing.

        Raises
        ------
        NotFoundError
            There is no such collection.
        ConflictError
            ``kind="in_use"``: it is in a chain, or a run that has datasets. Nothing was changed.
        """
