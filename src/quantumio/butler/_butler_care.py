"""Looking after a repository."""

from __future__ import annotations

from collections.abc import Callable

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._session import Collections, as_collections
from quantumio.engine import Fsck, FsckProgress, FsckReport, FsckTally
from quantumio.errors import ErrorKind, InvalidInputError, StateError
from quantumio.ports import DatasetQuery

__all__ = ["Care"]


class Care(ButlerBase):
    """The side of a Butler that looks after what is stored."""

    def fsck(
        self,
        level: int = 1,
        *,
        collections: Collections = None,
        repair: bool = False,
        progress: Callable[[FsckProgress], object] | None = None,
    ) -> FsckReport:
        """Check whether what the registry says exists, and is whole.

        Parameters
        ----------
        level
            0: the registry alone (versions without gaps, a whole copy of every dataset); 1: every file and
            object is there and has its size; 2: they and the rows of databases have their digest; 3: they
            can be decoded.
        collections
            Names or globs; None checks every run. A dataset that is in several is checked for each.
        repair
            Whether damaged and missing copies are replaced from another destination that has the same bytes,
            and where there is none the registry says ``missing`` or ``corrupt``. Otherwise nothing changes.
        progress
            Called after each dataset, in the thread that checks.

        Returns
        -------
        FsckReport
            Counts, and the first findings; its size does not grow with the repository.

        Raises
        ------
        InvalidInputError
            There is no such level, level 0 is to repair, or another argument is none.
        NotFoundError
            There is no such collection (``kind="no_collection"``).
        StateError
            ``repair``, and a repository was opened read-only (``kind="read_only"``).
        DestinationError
            The registry cannot be reached. A destination that cannot is a finding, and marks nothing.

        Notes
        -----
        Nothing is deleted or overwritten: a damaged file stays, and the copy that takes its place gets a name
        of its own. A store without any object is taken for one that is not mounted. Rows of databases are
        marked, not replaced. Datasets that are committed during the check are not part of it.
        """
        self._session.check_open()
        if not isinstance(repair, bool):
            raise InvalidInputError(f"repair={repair!r}", hint="give True or False")
        if progress is not None and not callable(progress):
            raise InvalidInputError(f"progress={progress!r}", hint="give a function, or None")
        if repair:
            for repository in self._session.repositories:
                if repository.readonly:
                    raise StateError(
                        f"{repository.root} was opened read-only, it cannot be repaired",
                        hint="open it with readonly=False",
                        kind=ErrorKind.READ_ONLY,
                    )
        tally = FsckTally(progress=progress)
        checks = []
        for repository, names in self._session.narrow(as_collections(collections, globs=True)):
            fsck = Fsck(
                repository.catalog,
                repository.destinations,
                repository.formats,
                level=level,
                repair=repair,
                tally=tally,
            )
            query = DatasetQuery(collections=names, find_first=False, versions="all")
            tally.total += repository.catalog.count(query)
            checks.append((fsck, query))
        for fsck, query in checks:
            fsck.run(query)
        return tally.report(level, repair=repair)
