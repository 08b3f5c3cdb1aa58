"""Looking after a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._repository import Repository
from quantumio.butler._session import Collections, as_collections, check_timeout, dataset_id_of
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
    SetAside,
    all_set_aside,
)
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, QuantumioError, StateError, shown
from quantumio.ports import DatasetQuery
from quantumio.system import environment

__all__ = ["Care"]

_DAY_NS: Final = 86_400_000_000_000

Transactions = UUID | str | Iterable[UUID | str]
"""Identities of transactions, or one."""

_MOST_GRACE_S: Final = 300 * 365 * 86_400.0
_NOTHING_DONE: Final = "no other repository was looked at before"


class Care(ButlerBase):
    """The side of a Butler that looks after what is stored."""

    def recover(
        self,
        *,
        dry_run: bool = False,
        restored: bool = False,
        retry: Transactions | None = None,
        drop: Transactions | None = None,
        as_next: bool = False,
    ) -> RecoveryReport:
        """Finish or end what processes that died have left; or decide about what was set aside.

        Contexts that are in the journal of this machine are placed and committed; transactions of owners
        that are dead, or that nobody has heard of for longer than their lease, are ended and what they have
        placed is removed; copies, exports and rows that were still to follow a commit are brought.

        Opening a repository for writing does so in the background, but ends nothing.

        With ``retry`` or ``drop``, also empty ones, nothing else is done than what they say: see `set_aside`
        for what there is.

        Parameters
        ----------
        dry_run
            Tell what would be done, and do nothing.
        restored
            The registry was put back from a backup: what is on its way there was on its way then, and nobody
            knows what became of it. It is set aside (``QUARANTINED``), and nothing of it is ever removed;
            the report names each. Contexts that somebody still works on are set aside, too, and end as
            parked: do it before others open the repository.
        retry
            Transactions that were set aside and whose outputs are to be committed now, by a transaction of
            their own; those that others of them need come first. What does not commit stays set aside.
        drop
            Transactions that were set aside and that nobody wants: their bytes are removed.
        as_next
            Whether ``retry`` commits whatever was committed meanwhile: outputs become the next versions even
            where another version was expected to be the latest, or none; and inputs that were read from the
            same run may have changed. Otherwise it asks for what was asked for then.

        Returns
        -------
        RecoveryReport
            What was found, and what became of it.

        Raises
        ------
        InvalidInputError
            The arguments do not go together, or one is none.
        NotFoundError
            A transaction to be retried or dropped was never set aside here (``kind="no_ticket"``); nothing
            was done.
        StateError
            A repository was opened read-only (``kind="read_only"``), and it is no dry run.
        DestinationError
            The registry cannot be reached. A destination that cannot leaves its part for the next time.

        Notes
        -----
        Safe at any time, beside other processes that work on the repository and beside other recoveries.
        Again it does nothing, or goes on where it was broken off. A retry is committed once, however often it
        is asked for; what was set aside goes only when its retry is durably committed.
        """
        self._session.check_open()
        _check_flags(dry_run=dry_run, restored=restored, as_next=as_next)
        retried, dropped = _transactions(retry), _transactions(drop)
        is_decision = not (retry is None and drop is None)
        _check_decisions(
            retried, dropped, restored=restored and is_decision, as_next=as_next and retry is None
        )
        if not dry_run:
            self._check_writeable("nothing of it can be recovered")
        if is_decision:
            return self._decide(retried, dropped, dry_run=dry_run, as_next=as_next)
        report = RecoveryReport()
        for repository in self._session.repositories:
            if dry_run:
                found = repository.runtime.look_for_left()
            else:
                if restored:
                    report.items += repository.runtime.quarantine().items
                found = repository.runtime.recover()
            report.items += found.items
        return report

    def _decide(self, retry: list[UUID], drop: list[UUID], *, dry_run: bool, as_next: bool) -> RecoveryReport:
        """Take in again, and drop, in the repositories where they were set aside."""
        places = {txid: self._where_set_aside(txid) for txid in (*retry, *drop)}
        report = RecoveryReport()
        for repository in self._session.repositories:
            runtime = repository.runtime
            again = [txid for txid in retry if places[txid] is repository]
            gone = [txid for txid in drop if places[txid] is repository]
            if dry_run:
                report.items += [runtime.way_back.look(txid, "retry") for txid in again]
                report.items += [runtime.way_back.look(txid, "drop") for txid in gone]
                continue
            if again:
                report.items += runtime.retry_set_aside(again, as_next=as_next)
            report.items += runtime.drop_set_aside(gone)
        return report

    def _where_set_aside(self, txid: UUID) -> Repository:
        for repository in self._session.repositories:
            if repository.runtime.way_back.knows(txid):
                return repository
        raise NotFoundError(
            f"transaction {txid} was not set aside here",
            hint="look at Butler.set_aside() or `quantumio pending`; a journal belongs to one machine",
            kind=ErrorKind.NO_TICKET,
        )

    def set_aside(self) -> list[SetAside]:
        """Return the transactions that nobody goes on with until somebody decides, the oldest first.

        Those whose outputs were promised (``journaled``) and lost to somebody who was first, or failed for
        good: their bytes are kept in the journal of the machine that wrote them. And those that were on
        their way in a registry that was put back from a backup. ``recover(retry=...)`` commits the outputs
        after all, ``recover(drop=...)`` gives them up.

        Raises
        ------
        DestinationError
            The registry or the journal cannot be read.
        """
        self._session.check_open()
        return [
            one
            for repository in self._session.repositories
            for one in all_set_aside(repository.catalog, repository.runtime.journal)
        ]

    def unfinished(self) -> list[RecoveryItem]:
        """Return all that is on its way, in this and in other processes.

        Entries of the journal, transactions that are being prepared or were set aside, what is still to
        follow commits, and contexts that this process has in memory alone, each with where it stands. What
        dead processes have left is part of it: `recover` finishes that. What other processes have in memory
        alone is not seen from here, and a journal that this user may not look into is told as one item.

        Raises
        ------
        DestinationError
            The registry cannot be reached.
        """
        self._session.check_open()
        return [item for one in self._session.repositories for item in one.runtime.unfinished().items]

    def flush(self, timeout: float | None = None) -> list[RecoveryItem]:
        """Carry now what is pending, parked or postponed, and return what is left.

        What this process has committed is waited for; what is in the journal of this machine, and what dead
        processes have left, is recovered; copies and exports that failed are tried again at once, without
        waiting for their next turn.

        Parameters
        ----------
        timeout
            How long to wait, in seconds; None waits until everything was tried. What takes longer goes on in
            the background.

        Returns
        -------
        list of RecoveryItem
            As of `unfinished`: what could not be carried, what is in conflict, what is not decided here in
            time, and what other processes that live are about to carry. Not what is in quarantine: nobody
            carries that any more; nor what is in the journal of another user.

        Raises
        ------
        InvalidInputError
            The timeout is none.
        StateError
            A repository was opened read-only (``kind="read_only"``).
        DestinationError
            The registry cannot be reached.
        """
        self._session.check_open()
        timeout_s = check_timeout(timeout)
        self._check_writeable("nothing of it can be carried")
        deadline = None if timeout_s is None else environment.monotonic() + timeout_s
        for one in self._session.repositories:
            one.runtime.flush(None if deadline is None else max(0.0, deadline - environment.monotonic()))
        return [item for item in self.unfinished() if item.action not in ("quarantined", "unreadable")]

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
        lost: Iterable[str] = (),
        progress: Callable[[FsckProgress], object] | None = None,
    ) -> FsckReport:
        """Check whether what the registry says exists, and is whole.

        Parameters
        ----------
        level
            0: the registry alone (versions without gaps, a whole copy of every dataset, no row that names
            what is not there, nothing to be done since more than a day); 1: every file and object is there
            and has its size; 2: they and the rows of databases have their digest; 3: they can be decoded.
        collections
            Names or globs; None checks every run. A dataset that is in several is checked for each.
        repair
            Whether damaged and missing copies are replaced from another destination that has the same bytes,
            and where there is none the registry says ``missing`` or ``corrupt``. Otherwise nothing changes.
        lost
            Destinations whose stores are lost for good: they begin anew, and nothing is expected there.
            Without that a store that is not there is taken for one that is not mounted. Only with ``repair``.
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
        if isinstance(lost, str):
            lost = (lost,)
        return self._check(
            level, collections, repair=repair, progress=progress, part=(0, 1), lost=tuple(lost)
        )

    def scrub(
        self,
        *,
        parts: int = 30,
        part: int | None = None,
        collections: Collections = None,
        repair: bool = False,
        progress: Callable[[FsckProgress], object] | None = None,
    ) -> FsckReport:
        """Read a part of all datasets, and check their digests: every day another part, and then anew.

        Parameters
        ----------
        parts
            In how many parts the datasets are divided; run once a day, each is read once in so many days.
        part
            Which of them, from 0; None: that of today (UTC).
        collections
            Names or globs; None checks every run.
        repair
            As in `fsck`.
        progress
            Called after each dataset, in the thread that checks.

        Returns
        -------
        FsckReport
            As of `fsck` at level 2.

        Raises
        ------
        InvalidInputError
            There is no such part, or another argument is none.
        NotFoundError, StateError, DestinationError
            As `fsck`.
        """
        _check_integer(1, parts=parts)
        if part is None:
            part = environment.now_ns() // _DAY_NS % parts
        _check_integer(0, part=part)
        if part >= parts:
            raise InvalidInputError(f"part={shown(part)}", hint=f"give a number from 0 to {parts - 1}")
        return self._check(2, collections, repair=repair, progress=progress, part=(part, parts))

    def _check(
        self,
        level: int,
        collections: Collections,
        *,
        repair: bool,
        progress: Callable[[FsckProgress], object] | None,
        part: tuple[int, int],
        lost: tuple[str, ...] = (),
    ) -> FsckReport:
        self._session.check_open()
        _check_flags(repair=repair)
        _check_progress(progress)
        if repair:
            self._check_writeable("it cannot be repaired")
        elif lost:
            raise InvalidInputError("lost is given without repair", hint="give repair=True, too")
        tally = FsckTally(progress=progress)
        checks = []
        for repository, names in self._session.narrow(as_collections(collections, globs=True)):
            for name in lost:
                repository.destinations.begin_anew(name)
            fsck = Fsck(
                repository.catalog,
                repository.destinations,
                repository.formats,
                level=level,
                repair=repair,
                tally=tally,
                sessions=repository.runtime.sessions,
                part=part,
                lost=lost,
            )
            query = DatasetQuery(collections=names, find_first=False, versions="all")
            tally.total += repository.catalog.count(query) // part[1]
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
            How long something must have been dead, in seconds: a week; from a day to 300 years.
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
            read-only (``kind="read_only"``), and it is no dry run. Nothing of that repository was removed; of
            several, the message names it, and says what was done to those before it.
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
        _check_grace(grace_s)
        if yes_really is not None:
            _check_integer(0, yes_really=yes_really)
        if not dry_run:
            self._check_writeable("nothing of it can be removed")
        report: GarbageReport | None = None
        done: list[str] = []
        for repository in self._session.repositories:
            tally = GarbageTally(progress=progress)
            collector = GarbageCollector(
                repository.catalog, repository.destinations, grace_s=grace_s, dry_run=dry_run, tally=tally
            )
            try:
                collector.run(yes_really=yes_really, adopt_sessions=adopt_sessions)
            except QuantumioError as error:
                if len(self._session.repositories) > 1:
                    error.message = f"{repository.root}: {error.message}; {'; '.join(done) or _NOTHING_DONE}"
                raise
            found = tally.report(dry_run=dry_run, grace_s=grace_s)
            number = found.removable if dry_run else found.removed
            done.append(
                f"{repository.root} was done before, {number} objects {'to remove' if dry_run else 'removed'}"
            )
            report = found if report is None else report.joined(found)
        assert report is not None
        return report


def _check_flags(**flags: object) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidInputError(f"{name}={shown(value)}", hint="give True or False")


def _transactions(given: Transactions | None) -> list[UUID]:
    many = () if given is None else (given,) if isinstance(given, UUID | str) else given
    try:
        return list(dict.fromkeys(map(dataset_id_of, many)))
    except TypeError:
        raise InvalidInputError(f"{shown(given)} is no transaction", hint="give UUIDs") from None


def _check_decisions(retry: list[UUID], drop: list[UUID], *, restored: bool, as_next: bool) -> None:
    if restored:
        raise InvalidInputError(
            "restored is given with retry or drop", hint="set aside first, look, and then decide"
        )
    if as_next:
        raise InvalidInputError("as_next is given without retry", hint="say what is to be retried")
    if both := set(retry) & set(drop):
        raise InvalidInputError(
            f"transaction {min(both)} is to be retried and dropped", hint="decide for one of the two"
        )


def _check_integer(least: int, **numbers: object) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInputError(f"{name}={shown(value)}", hint=f"give a whole number, {least} or more")


def _check_grace(grace_s: object) -> None:
    is_number = isinstance(grace_s, int | float) and not isinstance(grace_s, bool)
    if not is_number or not LEAST_GRACE_S <= grace_s <= _MOST_GRACE_S:  # type: ignore[operator]  # NaN is not
        raise InvalidInputError(
            f"grace_s={shown(grace_s)}",
            hint=f"give seconds, from {LEAST_GRACE_S:.0f} (a day) to {_MOST_GRACE_S:.0f} (300 years)",
        )


def _check_progress(progress: object) -> None:
    if progress is not None and not callable(progress):
        raise InvalidInputError(f"progress={shown(progress)}", hint="give a function, or None")
