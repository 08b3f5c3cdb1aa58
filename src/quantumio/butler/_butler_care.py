"""Looking after a repository."""

from __future__ import annotations

from collections.abc import Callable

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._session import Collections, as_collections
from quantumio.engine import (
    GRACE_S,
    LEAST_GRACE_S,
    Fsck,
    FsckProgress,
    FsckReport,
    FsckTally,
    GarbageCollector,
    GarbageProgress,
    GarbageReport,
    GarbageTally,
    RecoveryItem,
    RecoveryReport,
)
from quantumio.errors import ErrorKind, InvalidInputError, StateError
from quantumio.ports import DatasetQuery

__all__ = ["Care"]


class Care(ButlerBase):
    """The side of a Butler that looks after what is stored."""

    def recover(self, *, dry_run: bool = False, restored: bool = False) -> RecoveryReport:
        """Finish or end what processes that died have left.

        Contexts that are in the journal of this machine are placed and committed; transactions of owners
        that are dead, or that nobody has heard of for longer than their lease, are ended and what they have
        placed is removed; copies, exports and rows that were still to follow a commit are brought.

        Opening a repository for writing does the same in the background.

        Parameters
        ----------
        dry_run
            Tell what would be done, and do nothing.
        restored
            The registry was put back from a backup: what is on its way there was on its way then, and nobody
            knows what became of it. It is set aside (``QUARANTINED``), and nothing of it is ever removed.

        Returns
        -------
        RecoveryReport
            What was found, and what became of it.

        Raises
        ------
        StateError
            A repository was opened read-only (``kind="read_only"``), and it is no dry run.
        DestinationError
            The registry cannot be reached. A destination that cannot leaves its part for the next time.

        Notes
        -----
        Safe at any time, beside other processes that work on the repository and beside other recoveries.
        Again it does nothing, or goes on where it was broken off.
        """
        self._session.check_open()
        _check_flags(dry_run=dry_run, restored=restored)
        if not dry_run:
            self._check_writeable("nothing of it can be recovered")
        report = RecoveryReport()
        for repository in self._session.repositories:
            if dry_run:
                found = repository.runtime.look_for_left()
            else:
                if restored:
                    repository.catalog.quarantine()
                found = repository.runtime.recover()
            report.items += found.items
        return report

    def unfinished(self) -> list[RecoveryItem]:
        """Return all that is on its way, in this and in other processes.

        Entries of the journal, transactions that are being prepared, and what is still to follow commits,
        each with where it stands. What dead processes have left is part of it: `recover` finishes that.

        Raises
        ------
        DestinationError
            The registry cannot be reached.
        """
        self._session.check_open()
        return [item for one in self._session.repositories for item in one.runtime.unfinished().items]

    def _check_writeable(self, consequence: str) -> None:
        for repository in self._session.repositories:
            if repository.readonly:
                raise StateError(
                    f"{repository.root} was opened read-only, {consequence}",
                    hint="open it with readonly=False",
                    kind=ErrorKind.READ_ONLY,
                )

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
        _check_flags(repair=repair)
        _check_progress(progress)
        if repair:
            self._check_writeable("it cannot be repaired")
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
                sessions=repository.runtime.sessions,
            )
            query = DatasetQuery(collections=names, find_first=False, versions="all")
            tally.total += repository.catalog.count(query)
            checks.append((fsck, query))
        for fsck, query in checks:
            fsck.run(query)
        return tally.report(level, repair=repair)

    def gc(
        self,
        *,
        dry_run: bool = True,
        grace_s: float = GRACE_S,
        yes_really: int | None = None,
        adopt_sessions: bool = False,
        progress: Callable[[GarbageProgress], object] | None = None,
    ) -> GarbageReport:
        """Remove what no dataset has and none will ever have: what ended and died processes have left.

        What is dead is remembered by the first run that is no dry run, and removed by one that comes at least
        the grace later and finds it unchanged. So run it regularly.

        Parameters
        ----------
        dry_run
            Tell what would be removed now, and change nothing.
        grace_s
            How long something must have been dead, in seconds: a week, and at least a day.
        yes_really
            How many objects may be removed, even if that is more than 1,000, or a tenth, of a store.
        adopt_sessions
            Make known to the registry the processes that have written to the stores without its knowing:
            somebody has looked into it, and decided that this is the registry to go on with.
        progress
            Called after every thousand objects, and after each that was removed, in the thread that works.

        Returns
        -------
        GarbageReport
            Counts by store, and the first findings; its size does not grow with the repository.

        Raises
        ------
        InvalidInputError
            An argument is none.
        StateError
            A store was written by a process that the registry does not know (``kind="unknown_session"``);
            more would be removed than is usual (``kind="too_many_removals"``); a repository was opened
            read-only (``kind="read_only"``), and it is no dry run. Nothing was removed.
        DestinationError
            The registry cannot be reached. A destination that cannot is a finding, and is left alone.

        Notes
        -----
        Safe at any time, beside other processes that work on the repository, and beside other runs. Never
        removed is what a dataset has, what belongs to a transaction that is on its way or was set aside, what
        the registry does not know, and what has no name of quantumio's.
        """
        self._session.check_open()
        _check_flags(dry_run=dry_run, adopt_sessions=adopt_sessions)
        _check_progress(progress)
        _check_at_least(LEAST_GRACE_S, "seconds: a day, or more", grace_s=grace_s)
        if yes_really is not None:
            _check_at_least(0, "how many objects may be removed", yes_really=yes_really)
        if not dry_run:
            self._check_writeable("nothing of it can be removed")
        report: GarbageReport | None = None
        for repository in self._session.repositories:
            tally = GarbageTally(progress=progress)
            collector = GarbageCollector(
                repository.catalog, repository.destinations, grace_s=grace_s, dry_run=dry_run, tally=tally
            )
            collector.run(yes_really=yes_really, adopt_sessions=adopt_sessions)
            found = tally.report(dry_run=dry_run, grace_s=grace_s)
            report = found if report is None else report.joined(found)
        assert report is not None
        return report


def _check_flags(**flags: object) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidInputError(f"{name}={value!r}", hint="give True or False")


def _check_at_least(least: float, what: str, **numbers: object) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise InvalidInputError(f"{name}={value!r}", hint=f"give {what}")


def _check_progress(progress: object) -> None:
    if progress is not None and not callable(progress):
        raise InvalidInputError(f"progress={progress!r}", hint="give a function, or None")
