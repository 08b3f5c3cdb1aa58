"""What was made from what, and what is there no more."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._lineage import Lineage
from quantumio.butler._session import dataset_id_of
from quantumio.errors import NotFoundError
from quantumio.model import DatasetRef
from quantumio.ports import Deletion

__all__ = ["History"]


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
        given = [refs] if isinstance(refs, DatasetRef | UUID) else refs
        catalog = self._session.writeable().catalog
        return catalog.delete([dataset_id_of(ref) for ref in given], unlink=unlink, dry_run=dry_run)
