"""What ends, and what is told of the past: the side of the registry that history is asked of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from attrs import frozen

from quantumio.model import DatasetRef, Timespan
from quantumio.ports._collections import CollectionRemoval, RemovedCollection

__all__ = [
    "ChangedChain",
    "Deletion",
    "Difference",
    "HistoryCatalog",
    "LineageEntry",
    "MemberRecord",
    "SnapshotRecord",
]


@frozen(kw_only=True)
class Deletion:
    """What a deletion of datasets changes, or would change.

    Attributes
    ----------
    dry_run
        Whether nothing was changed.
    refs
        What is deleted.
    spared
        What is not, since a collection or a snapshot has it.
    collections
        From which TAGGED and CALIBRATION collections they are taken.
    objects, nbytes
        How many objects go to the trash, with nothing else in them, and the bytes that datasets have there.
    """

    dry_run: bool
    refs: tuple[DatasetRef, ...]
    spared: tuple[DatasetRef, ...] = ()
    collections: tuple[str, ...] = ()
    objects: int = 0
    nbytes: int = 0


@frozen(kw_only=True)
class SnapshotRecord:
    """A moment that has a name.

    Attributes
    ----------
    name, note
        What it is called, and what for.
    seq
        The last commit or edit that belongs to it.
    created_ns
        When it was named, ns since 1970-01-01 UTC.
    """

    name: str
    seq: int
    note: str
    created_ns: int


@frozen(kw_only=True)
class MemberRecord:
    """A dataset in a TAGGED or CALIBRATION collection.

    Attributes
    ----------
    collection
        Its name.
    ref
        The dataset, which may have been deleted since.
    timespan
        When it is valid, of a CALIBRATION collection; None of a TAGGED one.
    """

    collection: str
    ref: DatasetRef
    timespan: Timespan | None = None


@frozen(kw_only=True)
class ChangedChain:
    """A chain that is another one at one moment than at another.

    Attributes
    ----------
    name
        Of the collection.
    before, after
        Names of what it searches, in order; None where there is no such chain.
    """

    name: str
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None


@frozen(kw_only=True)
class Difference:
    """What is different between two moments.

    Attributes
    ----------
    before, after
        The last commit or edit of each.
    added, removed
        Datasets that are there after and were not before, and the other way round.
    joined, left
        Members that TAGGED and CALIBRATION collections have after and had not before, and the other way
        round. Of a calibration whose validity was cut the range before has left, and what is left of it has
        joined.
    chains
        Chains that search something else.
    """

    before: int
    after: int
    added: tuple[DatasetRef, ...]
    removed: tuple[DatasetRef, ...]
    joined: tuple[MemberRecord, ...] = ()
    left: tuple[MemberRecord, ...] = ()
    chains: tuple[ChangedChain, ...] = ()


@frozen(kw_only=True)
class LineageEntry:
    """A dataset from which another one was made, or that was made from it.

    Attributes
    ----------
    level
        How many transactions are between: 1 for what the one that made it has read, and for what those have
        made that have read it.
    id, ref
        Which dataset. A temporary has no ref: nobody but those who have read it knew of it.
    txid
        The transaction that made it; None of a temporary.
    via
        By which transaction it belongs here: upwards one that has read it, downwards the one that made it.
    is_removed
        Whether it was deleted since.
    """

    level: int
    id: UUID
    via: UUID
    ref: DatasetRef | None = None
    txid: UUID | None = None
    is_removed: bool = False

    @property
    def status(self) -> str:
        """``committed``, ``removed`` or ``temporary``."""
        if self.ref is None:
            return "temporary"
        return "removed" if self.is_removed else "committed"


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

    def removed_collections(self, pattern: str = "*") -> list[RemovedCollection]:
        """Return collections that were removed and whose name matches the glob, by name and time.

        A name that was removed several times comes as often.
        """

    def delete(
        self,
        ids: Iterable[UUID],
        *,
        unlink: bool = False,
        spare: bool = False,
        keep_last: int = 0,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete datasets, all or none; those that are deleted already are no error.

        Their objects go to the trash, from which garbage collection removes them after its grace, unless
        other datasets are in them, or they are files of the user's own. A key under which one of them was
        committed may be used again.

        Parameters
        ----------
        ids
            Of datasets.
        unlink
            Take them out of the TAGGED and CALIBRATION collections that they are in.
        spare
            Leave those alone that may not be deleted, instead of refusing all of them.
        keep_last
            Leave those alone that are, at the moment of the deletion, among so many of the latest versions of
            their data ID.
        dry_run
            Change nothing.

        Raises
        ------
        NotFoundError
            One was never committed.
        ConflictError
            ``kind="in_use"``: a TAGGED or CALIBRATION collection has one, a snapshot shows it, or it has
            rows in a database. Nothing was changed.
        """

    def lineage(self, dataset_id: UUID, direction: str, depth: int | None) -> list[LineageEntry]:
        """Return from what a dataset was made (``up``) or what was made from it (``down``), nearest first.

        Parameters
        ----------
        dataset_id
            Of a dataset that is or was committed, or of a temporary that was read.
        direction
            ``up`` or ``down``.
        depth
            At most so many levels; None = all.

        Raises
        ------
        NotFoundError
            Nothing is known of it.
        """

    def create_snapshot(self, name: str, seq: int | None = None, note: str = "") -> SnapshotRecord:
        """Name a moment (None: this one): what it shows is not deleted while it has the name.

        Of what was deleted before, garbage collection removes no object from then on.

        Raises
        ------
        ConflictError
            There is a snapshot of this name.
        InvalidInputError
            The name is none, or the moment has not come yet.
        """

    def remove_snapshot(self, name: str) -> None:
        """Give up a snapshot.

        Raises
        ------
        NotFoundError
            There is none (``kind="no_snapshot"``).
        """

    def snapshots(self) -> list[SnapshotRecord]:
        """Return all snapshots, by name."""

    def diff(self, before: int, after: int) -> Difference:
        """Return which datasets, members of collections and chains there are at one moment only."""
