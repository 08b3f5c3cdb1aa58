"""What was made from what, and what is there no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._lineage import Lineage
from quantumio.butler._session import (
    Collections,
    as_collections,
    as_names,
    as_refs,
    check_count,
    dataset_id_of,
    is_glob,
)
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import DatasetRef, StoredDataset
from quantumio.ports import (
    Catalog,
    CollectionKind,
    DatasetQuery,
    Deletion,
    Difference,
    RemovedCollection,
    SnapshotRecord,
)
from quantumio.system import environment

__all__ = ["History"]

_PART: Final = 500
"""How many versions one transaction of `History.retention` deletes: others write in between."""


class History(ButlerBase):
    """The side of a Butler that tells of the past, and ends what is there."""

    def lineage(
        self, ref: DatasetRef | UUID | str, direction: str = "up", *, depth: int | None = None
    ) -> Lineage:
        """Return from what a dataset was made, or what was made from it.

        Parameters
        ----------
        ref
            A dataset that is or was committed, or its UUID; also the UUID of a temporary that was read.
        direction
            ``up``: what the context that made it has read, what those have read that made that, and so on.
            ``down``: what contexts have made that have read it, and so on.
        depth
            At most so many contexts away; None = all.

        Returns
        -------
        Lineage
            As commits have recorded it. All outputs of a context count as made from all of its inputs.

        Raises
        ------
        NotFoundError
            Nothing is known of it.
        InvalidInputError
            The direction or the depth is none.
        """
        self._session.check_open()
        dataset_id = ref.id if isinstance(ref, DatasetRef) else dataset_id_of(ref)
        *others, last = self._session.repositories
        for repository in others:
            try:
                entries = repository.catalog.lineage(dataset_id, direction, depth)
            except NotFoundError:
                continue
            break
        else:
            repository = last
            entries = repository.catalog.lineage(dataset_id, direction, depth)
        return Lineage(
            id=dataset_id,
            direction=direction,
            entries=tuple(entries),
            universe=repository.catalog.universe,
        )

    def delete(
        self,
        refs: DatasetRef | UUID | Iterable[DatasetRef | UUID | str],
        *,
        unlink: bool = False,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete datasets, all or none: nobody finds them from then on.

        Parameters
        ----------
        refs
            Which, also the result of a query; those that are deleted already are no error.
        unlink
            Take them out of the TAGGED and CALIBRATION collections that they are in.
        dry_run
            Change nothing, and tell what would be changed.

        Raises
        ------
        NotFoundError
            One was never committed to the repository that this Butler writes to.
        ConflictError
            ``kind="in_use"``: a TAGGED or CALIBRATION collection has one, a snapshot shows it, or it has
            rows in a database. The message names them; nothing was changed.

        Notes
        -----
        The bytes go last: objects without another dataset in them are in the trash then, and `gc` removes
        them when they are there for longer than its grace. Files that were ingested where they are, and names
        that exports have made for people, stay. The number of a version is never given again.
        """
        given = [refs] if isinstance(refs, DatasetRef | UUID) else as_refs(refs)
        catalog = self._session.writeable().catalog
        return catalog.delete([dataset_id_of(ref) for ref in given], unlink=unlink, dry_run=dry_run)

    def retention(
        self,
        dataset_type: str | Iterable[str] = "*",
        *,
        collections: Collections,
        keep_last: int | None = None,
        younger_than: timedelta | None = None,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete versions that no rule keeps, and that no tag, calibration collection or snapshot has.

        Parameters
        ----------
        dataset_type
            Names or globs.
        collections
            Names or globs of the runs that are looked at; of collections, a glob matches the runs alone.
        keep_last
            Keep so many of the latest versions of each dataset.
        younger_than
            Keep what was committed within this time, by this machine's clock.
        dry_run
            Change nothing, and tell what would be changed.

        Returns
        -------
        Deletion
            With what is ``spared`` since something has it.

        Raises
        ------
        InvalidInputError
            No rule was given, or one is none; everything would be deleted. Or a name is that of a collection
            that is no run (``kind="collection"``).

        Notes
        -----
        The rules, and what has a version, hold at the moment of the deletion, whatever others do meanwhile.
        Very many versions are deleted in parts, between which others may write. When it is broken off, some
        of them are deleted, each as a whole: call it again.
        """
        if keep_last is None and younger_than is None:
            raise InvalidInputError("no rule says what is kept", hint="give keep_last= or younger_than=")
        if keep_last is not None:
            check_count(keep_last, "keep_last", 0)
        if not isinstance(younger_than, timedelta | None):
            raise InvalidInputError(f"younger_than={shown(younger_than)}", hint="give a datetime.timedelta")
        if younger_than is not None and younger_than < timedelta(0):
            raise InvalidInputError(
                f"younger_than={younger_than} is before now: nothing would be kept",
                hint="give how long ago it may have been committed, as a positive timedelta",
            )
        path = as_collections(collections, globs=True)
        if path is None:
            raise InvalidInputError("no run was named", hint="give collections=", kind=ErrorKind.COLLECTION)
        since_ns = None
        if younger_than is not None:
            since_ns = environment.now_ns() - younger_than // timedelta(microseconds=1) * 1000
        catalog = self._session.writeable().catalog
        query = DatasetQuery(
            dataset_types=as_names(dataset_type, "dataset_type"),
            collections=_runs(catalog, path),
            find_first=False,
            versions="all",
        )
        ids = _too_many(catalog.query(query), keep_last or 0, since_ns)
        # What has been tagged, or is among the last, since it was looked at stays, too.
        delete = partial(catalog.delete, spare=True, keep_last=keep_last or 0, dry_run=dry_run)
        if dry_run:
            return delete(ids)
        parts = [delete(ids[start : start + _PART]) for start in range(0, len(ids), _PART)]
        return Deletion(
            dry_run=False,
            refs=tuple(ref for part in parts for ref in part.refs),
            spared=tuple(ref for part in parts for ref in part.spared),
            objects=sum(part.objects for part in parts),
            nbytes=sum(part.nbytes for part in parts),
        )

    def removed_collections(self, pattern: str = "*") -> list[RemovedCollection]:
        """Return the collections that were removed and whose name matches a glob, by name and time.

        Looking back shows them as they were: ``as_of=removed_seq - 1``, which also `certifications` takes.
        """
        self._session.check_open()
        return [
            record
            for repository in self._session.repositories
            for record in repository.catalog.removed_collections(as_names(pattern, "pattern")[0])
        ]

    def snapshot(self, name: str, *, at: int | None = None, note: str = "") -> SnapshotRecord:
        """Name a moment: what there was then is kept while it has the name.

        What is there still is not deleted. What was deleted since that moment stays deleted, and its objects
        stay where they are: looking back (``as_of``) reads them. What `gc` has removed already is gone.

        Parameters
        ----------
        name
            Not taken by another snapshot.
        at
            Number of a commit or edit, such as ``commit_seq`` of a version; None is now.
        note
            What it is for.

        Raises
        ------
        ConflictError
            There is a snapshot of this name.
        InvalidInputError
            The name is none, or the moment has not come yet.
        """
        return self._session.writeable().catalog.create_snapshot(name, at, note)

    def remove_snapshot(self, name: str) -> None:
        """Give up a snapshot; nothing else is changed.

        Raises
        ------
        NotFoundError
            There is none (``kind="no_snapshot"``).
        """
        self._session.writeable().catalog.remove_snapshot(name)

    def snapshots(self) -> list[SnapshotRecord]:
        """Return the snapshots of the (first) repository, by name."""
        return self._first.catalog.snapshots()

    def diff(self, before: int | str, after: int | str | None = None) -> Difference:
        """Return what there is at one moment and not at another, in the (first) repository.

        Datasets, what is in TAGGED and CALIBRATION collections (and when it is valid), and chains.

        Parameters
        ----------
        before, after
            Name of a snapshot, or number of a commit or edit; ``after=None`` is now.

        Raises
        ------
        InvalidInputError
            A number is of no moment until now (``kind="moment"``).
        NotFoundError
            There is no such snapshot (``kind="no_snapshot"``).
        """
        catalog = self._first.catalog
        last = catalog.moment(1 << 62) if after is None else _moment(catalog, after)
        return catalog.diff(_moment(catalog, before), last)


def _runs(catalog: Catalog, path: Iterable[str]) -> tuple[str, ...]:
    """Return the runs that are named, or match; a chain that matches does not stand for what it searches.

    Raises
    ------
    InvalidInputError
        A name is that of another collection.
    """
    runs: list[str] = []
    for name in path:
        found = catalog.collections(name)
        if is_glob(name):
            runs += [one.name for one in found if one.kind is CollectionKind.RUN]
            continue
        for one in found:
            if one.kind is not CollectionKind.RUN:
                raise InvalidInputError(
                    f"{name!r} is a {one.kind} collection: retention is of the versions in runs",
                    hint="name runs, or give a glob that matches them",
                    kind=ErrorKind.COLLECTION,
                )
        runs.append(name)  # one that is not there is refused by the query
    return tuple(runs)


def _too_many(found: Iterable[StoredDataset], keep_last: int, since_ns: int | None) -> list[UUID]:
    """Return the versions that no rule keeps."""
    keys: dict[object, list[StoredDataset]] = defaultdict(list)
    for one in found:
        keys[one.ref.dataset_type.name, one.ref.run, one.ref.data_id].append(one)
    too_many = []
    for versions in keys.values():
        versions.sort(key=lambda one: one.ref.version or 0, reverse=True)
        too_many += [
            one.ref.id for one in versions[keep_last:] if since_ns is None or one.committed_ns < since_ns
        ]
    return too_many


def _moment(catalog: Catalog, moment: int | str) -> int:
    if not isinstance(moment, str):
        return moment
    for one in catalog.snapshots():
        if one.name == moment:
            return one.seq
    raise NotFoundError(
        f"there is no snapshot {moment!r}",
        hint="look at Butler.snapshots() or `quantumio snapshot`",
        kind=ErrorKind.NO_SNAPSHOT,
    )
