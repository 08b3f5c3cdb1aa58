"""What garbage collection asks the registry: whether an object is dead, and for how long that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from attrs import frozen

from quantumio.model import TransactionState

__all__ = ["GarbageCandidate", "GarbageCatalog", "ObjectRecord"]


@frozen(kw_only=True)
class ObjectRecord:
    """What the registry says of one object of a store, all of it at one moment.

    Attributes
    ----------
    is_referenced
        Whether an artifact names it.
    trashed_s
        Since when it is in the trash, in seconds by the database's clock; None if it is not.
    state, run, generation
        Of the transaction that its name tells; None where the registry knows no such transaction.
    """

    is_referenced: bool = False
    trashed_s: float | None = None
    state: TransactionState | None = None
    run: str | None = None
    generation: int | None = None


@frozen(kw_only=True)
class GarbageCandidate:
    """An object that an earlier run found dead.

    Attributes
    ----------
    path
        Relative to the root of its store.
    mark
        What its content was known by.
    age_s
        Since when it is known as dead under this mark, in seconds by the database's clock.
    """

    path: str
    mark: str
    age_s: float


class GarbageCatalog(Protocol):
    """The side of the registry that garbage collection works with; calls behave as those of `Catalog`."""

    def known_owners(self, ids: Sequence[UUID]) -> dict[UUID, float]:
        """Return those owners that are known, and how long each is silent, s by the database's clock."""

    def object_stores(self) -> list[str]:
        """Return the names of all destinations that any object was ever recorded for."""

    def object_records(self, stores: Sequence[str], objects: Mapping[str, UUID]) -> dict[str, ObjectRecord]:
        """Return what is known of objects, all of it at one moment.

        Parameters
        ----------
        stores
            Names under which their store is, or may be, known.
        objects
            Transactions by path, as the names of the objects tell them.
        """

    def note_candidates(
        self, destination: str, dead: Mapping[str, str], alive: Sequence[str] = ()
    ) -> dict[str, float]:
        """Remember objects that are dead, and forget those that are not.

        Parameters
        ----------
        dead
            Marks by path.
        alive
            Paths of the others.

        Returns
        -------
        dict
            Since when each of the dead is known under the same mark, in seconds by the database's clock.
        """

    def forget_candidates(self, destination: str) -> None:
        """Forget all that is remembered of a destination: patience with it begins anew."""

    def candidates(self, destination: str, after: str, limit: int) -> list[GarbageCandidate]:
        """Return what is remembered of a destination, in the order of the paths, ``after`` one of them."""
