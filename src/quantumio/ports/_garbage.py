"""What garbage collection asks the registry: whether an object is dead, and for how long that is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from attrs import frozen

from quantumio.model import TransactionState

__all__ = ["GarbageCatalog", "ObjectRecord"]


@frozen(kw_only=True)
class ObjectRecord:
    """What the registry says of one object, or of the rows of one load, all of it at one moment.

    Attributes
    ----------
    is_referenced
        Whether an artifact names it.
    is_named_elsewhere
        Whether an artifact names it at a destination that is not known to be this store.
    trashed_s
        Since when it is in the trash, in seconds by the database's clock; None if it is not.
    state, generation
        Of the transaction that its name tells, and of a load, of one that has planned it. None where the
        registry knows no such transaction.
    run
        Of that transaction.
    """

    is_referenced: bool = False
    is_named_elsewhere: bool = False
    trashed_s: float | None = None
    state: TransactionState | None = None
    generation: int | None = None
    run: str | None = None


class GarbageCatalog(Protocol):
    """The side of the registry that garbage collection works with; calls behave as those of `Catalog`."""

    def known_owners(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the owners that were ever registered."""

    def object_stores(self) -> list[str]:
        """Return the names of all destinations that any object was ever recorded for."""

    def has_objects(self, store: str) -> bool:
        """Whether any dataset has a whole object at a destination."""

    def user_of_object(self, store: str, path: str) -> str | None:
        """Return in which user's store an object is, where each user has one; None where nobody knows."""

    def may_have_workspace(self, store: str, user: str) -> bool:
        """Whether a user has a store of their own at a destination, or nobody is known to have one.

        A registry of an older quantumio knows nobody until somebody opens such a store.
        """

    def note_workspace(self, store: str, user: str) -> None:
        """Remember that a user has a store of their own at a destination; idempotent."""

    def object_records(self, stores: Sequence[str], objects: Mapping[str, UUID]) -> dict[str, ObjectRecord]:
        """Return what is known of objects, all of it at one moment.

        Parameters
        ----------
        stores
            Names under which their store is, or may be, known.
        objects
            By path, the transaction that the name tells.
        """

    def load_records(self, loads: Collection[UUID]) -> dict[UUID, ObjectRecord]:
        """Return what is known of the rows of loads, all of it at one moment."""

    def candidate_ages(self, store: str, dead: Mapping[str, str]) -> dict[str, float]:
        """Return since when objects are remembered as dead, in seconds by the database's clock.

        Parameters
        ----------
        dead
            By path, what the content is known by. What is remembered under another mark was something else.
        """

    def note_candidates(self, store: str, dead: Mapping[str, str]) -> None:
        """Remember what is dead in a store since when, and forget what is dead no more."""

    def forget_candidates(self, store: str, paths: Collection[str]) -> None:
        """Forget what was removed."""
