"""Butler: one place to put datasets and to find them again."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload
from uuid import UUID

from quantumio.butler._bulk_ingest import FileTable, IngestProgress, IngestReport, ingest_table, is_file_table
from quantumio.butler._butler_care import Care
from quantumio.butler._butler_definitions import Definitions
from quantumio.butler._butler_history import History
from quantumio.butler._butler_reads import Reads
from quantumio.butler._context import DataContext
from quantumio.butler._handles import Ticket
from quantumio.butler._imported_datasets import DatasetImport, import_exported_datasets
from quantumio.butler._imported_dimensions import read_export
from quantumio.butler._ingest import IngestFile, ingest_files
from quantumio.butler._lookup import resolve_output
from quantumio.butler._reading import ReadRequest
from quantumio.butler._repository import Repository, abandon, acquire, create, release, upgrade
from quantumio.butler._session import (
    Collections,
    Session,
    as_collections,
    as_path,
    check_mapping,
    check_timeout,
    dataset_id_of,
)
from quantumio.butler._settings import load_toml, operator_layer
from quantumio.engine import Context, PlanScope, PolicyResolver, RuntimeStatus, known_outcome
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import (
    DIRECT,
    Ack,
    CommitOutcome,
    DataId,
    DataIdValue,
    DatasetRef,
    LedgerEntry,
    check_data_id_value,
    check_run,
)

__all__ = ["Butler"]

_logger = logging.getLogger(__name__)

Root = str | PathLike[str]
_T = TypeVar("_T")

_MAX_KEY_BYTES: Final = 1024


class Butler(Definitions, Reads, History, Care):
    """Puts datasets where the policy says, and finds and reads them again.

    Parameters
    ----------
    root
        Directory of a repository, or several in search order; puts go to the first writeable one.
    run
        RUN collection that contexts put to when they do not say.
    collections
        Collections that are searched, in order, when a call does not say (after ``run``).
    readonly
        Whether nothing may be written, nor recovered.
    policy
        The operator's policy file (TOML); without it the one that ``QUANTUMIO_POLICY`` names, if any.
    **data_id_defaults
        Values for dimensions that calls do not give.

    Raises
    ------
    NotFoundError
        There is no repository (``kind="no_repository"``).
    StateError
        Its registry was made by a newer quantumio (``kind="newer_schema"``), or by an older one
        (``kind="older_schema"``): see `upgrade`.
    InvalidInputError
        A setting, a default or a name is wrong.

    Notes
    -----
    Thread-safe. Butlers of one repository in one process share one runtime (a thread with an event loop and
    a byte budget), started at first use. Methods may be called where an event loop runs, such as in a
    notebook; they block it while they wait, which those of `AsyncButler` do not.
    """

    def __init__(
        self,
        root: Root | Sequence[Root],
        *,
        run: str | None = None,
        collections: Collections = None,
        readonly: bool = False,
        policy: Root | None = None,
        **data_id_defaults: object,
    ) -> None:
        given = root if isinstance(root, (list, tuple)) else [root]
        roots = list(dict.fromkeys(as_path(one, "repository").absolute() for one in given))
        if not roots:
            raise InvalidInputError("no repository was named", hint="give the path of one")
        self._arguments = (
            [str(one) for one in roots],
            {"run": run, "collections": collections, "readonly": readonly, "policy": policy},
            dict(data_id_defaults),
        )
        repositories: list[Repository] = []
        try:
            repositories.extend(acquire(one, readonly=readonly) for one in roots)
            self._session = Session(
                repositories,
                None if run is None else check_run(run),
                as_collections(collections),
                _defaults(repositories, data_id_defaults),
                _policies(repositories, None if policy is None else as_path(policy, "policy file")),
            )
            self._session.abandon_when_collected(abandon)
        except BaseException:
            for repository in repositories:
                release(repository, 0)
            raise

    @classmethod
    def create(
        cls,
        root: Root,
        config: Mapping[str, object] | Root | None = None,
        *,
        registry: str | None = None,
        dimensions: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Self:
        """Make a repository and open it.

        Parameters
        ----------
        root
            Directory that is made where there is none.
        config
            Tables of ``butler.toml`` (destinations, policies, rules, runtime), or the path of a TOML file.
        registry
            SQLAlchemy URL of the registry; None is SQLite in the repository.
        dimensions
            Tables of dimensions to add to the default ones.

        Raises
        ------
        ConflictError
            There is a repository already.
        InvalidInputError
            The configuration is wrong; nothing was made.
        DestinationError
            The directory cannot be written.
        """
        if not isinstance(config, Mapping):
            config = {} if config is None else load_toml(as_path(config, "configuration"))
        create(as_path(root, "repository"), config, registry, check_mapping(dimensions, "dimensions"))
        return cls(root)

    @classmethod
    def upgrade(cls, root: Root, *, force: bool = False) -> None:
        """Bring a repository that an older quantumio made up to date, in one transaction.

        Make a backup of the registry first, and close the repository everywhere: an older quantumio cannot
        use it any more. A process that has it open all the same can neither read nor write it from then on;
        it keeps in the journal what it cannot commit, and who opens the repository next carries on. One that
        is up to date stays as it is.

        Parameters
        ----------
        root
            Its directory.
        force
            Upgrade it also while processes work with it. The registry knows of those that have committed
            something since they opened it, and were heard of within ``lease_s`` (``[runtime]``).

        Raises
        ------
        NotFoundError
            There is no repository (``kind="no_repository"``).
        StateError
            A newer quantumio made it (``kind="newer_schema"``).
        ConflictError
            A process works with it (``kind="in_use"``); nothing was changed.
        DestinationError
            The registry cannot be written; nothing was changed.
        """
        upgrade(as_path(root, "repository"), force=force)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, self._arguments

    def __repr__(self) -> str:
        roots = ", ".join(str(repository.root) for repository in self._session.repositories)
        return f"<{type(self).__name__} {roots}{' closed' if self._session.is_closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except ExceptionGroup as failures:
            if error is None:
                raise
            note_beside(error, failures)

    # -- contexts
    def context(
        self,
        run: str | None = None,
        *,
        collections: Collections = None,
        key: str | None = None,
        ack: str | Ack = "committed",
    ) -> DataContext:
        """Open the transaction of one quantum.

        Parameters
        ----------
        run
            RUN collection that its outputs go to; None is the Butler's own.
        collections
            What its reads search after its own outputs and the run; None is the Butler's own.
        key
            Makes it idempotent: a key commits once per run; a later attempt gets the first one's refs,
            whatever its bytes. With an output that the first one does not have it is a conflict
            (``kind="other_outputs"``).
        ack
            What leaving the block (and ``commit``) waits for: ``buffered``, ``journaled``, ``committed`` or
            ``settled``.

        Raises
        ------
        InvalidInputError
            No run is known, or a name or level is wrong.
        StateError
            The Butler is read-only or closed.
        """
        as_collections(collections)
        repository, context = self._open_context(run, key, ack)
        return DataContext(self._session, repository, context, collections)

    def _open_context(
        self,
        run: str | None,
        key: str | None,
        ack: str | Ack,
        *,
        plan: PlanScope | None = None,
        policies: PolicyResolver | None = None,
        txid: UUID | None = None,
    ) -> tuple[Repository, Context]:
        repository = self._session.writeable()
        chosen = check_run(_run(run, self._session.run))
        if key is not None:
            _check_key(key)
        context = repository.runtime.open(
            run=chosen,
            key=key,
            ack=Ack.make(ack),
            policies=policies or self._session.policies[str(repository.root)],
            plan=plan,
            txid=txid,
        )
        return repository, context

    @classmethod
    def resume(cls, token: str) -> DataContext:
        """Go on with a context that another process handed over by ``DataContext.token()``.

        Raises
        ------
        InvalidInputError
            It is no token.
        NotFoundError
            Its repository is not here.
        """
        try:
            wire = json.loads(token)
            transaction = UUID(wire["txid"])
            root, collections, defaults = wire["repository"], wire["collections"], dict(wire["defaults"])
            run, key, ack = wire["run"], wire["key"], wire["ack"]
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInputError(
                f"{shown(token)} is no token", hint="take one by DataContext.token()"
            ) from error
        butler = cls(root, collections=collections, **defaults)
        repository, context = butler._open_context(run, key, ack, txid=transaction)
        return DataContext(butler._session, repository, context)

    # -- ingest
    @overload
    def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]],
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,
        token: None = None,
        progress: None = None,
        **keys: object,
    ) -> list[DatasetRef]: ...

    @overload
    def ingest(
        self,
        files: FileTable,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,
        token: str | None = None,
        progress: Callable[[IngestProgress], object] | None = None,
        **keys: object,
    ) -> IngestReport: ...

    def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]] | FileTable,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,  # noqa: A002  the product's word
        token: str | None = None,
        progress: Callable[[IngestProgress], object] | None = None,
        **keys: object,
    ) -> list[DatasetRef] | IngestReport:
        """Make files that exist datasets: a few, all or none in one commit, or a table of any number.

        When it returns, every required destination of the policy holds the bytes; best-effort copies follow.

        A table is ingested in chunks, each a short commit, so that other writers have their turns; readers
        never wait. Where it is broken off, the same call goes on where it ended, and once all of it is there
        the same call does nothing. Of a table, files that stay where they are (``direct``) are not read:
        where it does not tell a digest, nobody can say later whether the bytes are still the same.

        Parameters
        ----------
        files
            One path (or URL, ``direct`` only), pairs of a path and its data ID, or an Arrow, pandas or
            astropy table with a column for each dimension that rows do not have in common, ``uri``, and,
            where they are known, ``size`` (files whose size is given are not looked at), ``digest``
            (SHA-256) and ``format``.
        dataset_type
            Name of a registered dataset type.
        data_id, **keys
            Which dataset; of several files what they have in common.
        run
            RUN collection; None is the Butler's own.
        transfer
            ``copy``, ``link`` (hard link), ``move`` (the source is removed after the commit), or ``direct``
            (the file stays where it is and must not be changed; it stands for the first required destination
            of the policy).
        format
            Name of the format; None goes by the ending of the name.
        token
            Of a table: a text that makes another ingest of it, so that files that were ingested already get
            another version.
        progress
            Of a table: called after each chunk.

        Returns
        -------
        list of DatasetRef, or IngestReport
            The report where a table was given.

        Raises
        ------
        FormatError
            A file is unreadable or truncated; nothing was ingested (of a table: nothing from its chunk on).
        NotFoundError
            A file or the dataset type is not there.
        InvalidInputError
            A data ID, the transfer, or the destination is wrong; nothing was ingested.
        ConflictError
            A data ID is there twice; nothing was ingested.
        CommitConflictError, CommitFailedError
            Nothing was ingested.
        CommitUnknownError
            The registry gave no answer, and could not be asked again; nothing was removed.
        """
        repository = self._session.writeable()
        chosen = check_run(_run(run, self._session.run))
        known = repository.catalog.dataset_type(dataset_type)
        if is_file_table(files):
            return ingest_table(
                self._session,
                known,
                files,
                {**(data_id or {}), **keys},
                run=chosen,
                transfer=transfer,
                format_name=format,
                token=token,
                progress=progress,
            )
        if token is not None or progress is not None:
            raise InvalidInputError(
                "token and progress are for tables", hint="give the files as a table", kind=ErrorKind.ARGUMENT
            )
        named: Any = files
        pairs = [(named, {})] if isinstance(named, (str, PathLike)) else list(_iterable(named, "files"))
        items: list[IngestFile] = []
        seen: set[DataId] = set()
        for pair in pairs:
            try:
                path, own = pair
                merged = {**(data_id or {}), **own}
            except (TypeError, ValueError):
                raise InvalidInputError(
                    f"{pair!r} is no pair of a path and a data ID", hint="give [(path, {'exposure': 1}), ...]"
                ) from None
            _, full = resolve_output(repository, dataset_type, merged, keys, self._session.defaults)
            if full in seen:
                raise ConflictError(
                    f"{path}: {dataset_type}({full}) is there twice", kind=ErrorKind.DUPLICATE_OUTPUT
                )
            seen.add(full)
            items.append(IngestFile(path=str(path), data_id=full))
        if not items:
            return []
        return ingest_files(self._session, known, items, run=chosen, transfer=transfer, format_name=format)

    def import_datasets(
        self,
        path: Root,
        *,
        root: Root | None = None,
        transfer: str = DIRECT,
        storage_classes: Mapping[str, object] | None = None,
        dry_run: bool = False,
    ) -> DatasetImport:
        """Insert the datasets of an export of the Rubin Data Butler, with their collections.

        Dimension records come first (see `import_dimensions`), then dataset types, runs and datasets, which
        keep their ids, then tags, calibrations and chains.

        Parameters
        ----------
        path
            Of the export, a YAML file.
        root
            What paths of datasets are relative to; None is the directory of the export.
        transfer
            What becomes of the files; see `ingest`. Unless they stay where they are (``direct``), they must
            be beneath ``root``, after symbolic links, too.
        storage_classes
            What storage classes of the export are called here, where that is another name.
        dry_run
            Insert nothing, and tell what would be inserted, what is there already, and what would be refused:
            files are read as the import reads them. Also on a Butler that is read-only.

        Returns
        -------
        DatasetImport
            How much was new, and what was left out.

        Raises
        ------
        ConflictError
            Another dataset, dataset type, collection, tag or validity is there, a dataset was deleted here
            (``kind="removed"``), or the export has two ids for one data ID of a run, or two kinds for one
            collection: nothing was inserted. Another record is there, or somebody else was faster: what was
            inserted before it stays.
        NotFoundError, DestinationError
            The export, a file or a collection is not there or cannot be read.
        FormatError
            It is no export, or a file is unreadable or in no format of its storage class.
        InvalidInputError
            A dimension, storage class or data ID is none of this repository; a collection can have no such
            name, a chain names a child twice, the timespan of a calibration is empty; a file holds several
            datasets, or is not beneath ``root``.

        Notes
        -----
        All files are read before anything is inserted: where one cannot be, its error names the others, too.
        The datasets of one type in one run are one commit. What was broken off is done again: datasets that
        are there, by their ids, are left as they are.
        """
        export = as_path(path, "export")
        return import_exported_datasets(
            self._session,
            read_export(export),
            root=(export.parent if root is None else as_path(root, "directory")).absolute(),
            transfer=transfer,
            storage_classes=check_mapping(storage_classes, "storage_classes"),
            dry_run=dry_run,
        )

    # -- temporaries
    def forget(self, ref: DatasetRef | UUID) -> bool:
        """Let a temporary go; False if it is not there (any more)."""
        self._session.check_open()
        dataset_id = dataset_id_of(ref)
        return any(
            repository.runtime.temporaries.forget(dataset_id) for repository in self._session.repositories
        )

    def promote(self, ref: DatasetRef, *, to: str | Sequence[str] = "local") -> DatasetRef:
        """Turn a temporary that is still alive into a persistent dataset of its run.

        Raises
        ------
        NotFoundError
            It is not alive any more.
        """
        resolution = self.explain_put(ref.dataset_type.name, run=ref.run, to=to)
        if resolution.is_temporary:
            raise InvalidInputError(
                f"{ref} stays temporary: {resolution.why['to']} says so",
                hint="change the rule, or promote it to another destination",
                kind=ErrorKind.POLICY,
            )
        value = self._session.read_ref(ref, ReadRequest())[1]
        with self.context(run=ref.run) as context:
            context.put(value, ref.dataset_type.name, ref.data_id, to=to)
        return context.refs[0]

    # -- background
    def ticket(self, txid: UUID | str) -> Ticket | CommitOutcome:
        """Return the ticket of a transaction that is under way here, or else what is known of its outcome.

        Parameters
        ----------
        txid
            Identity of the transaction: that of a context, a ticket or an outcome.

        Returns
        -------
        Ticket or CommitOutcome
            `CommitParked` for one that another process carries, or that waits in the journal.

        Raises
        ------
        NotFoundError
            Nothing is known of it (``kind="no_ticket"``): no byte of it ever left its process.
        """
        self._session.check_open()
        identity = dataset_id_of(txid)
        for repository in self._session.repositories:
            known = repository.runtime.ticketed(identity)
            if isinstance(known, Context):
                return Ticket(known)
            outcome = known or known_outcome(identity, repository.catalog, repository.runtime.journal)
            if outcome is not None:
                return outcome
        raise NotFoundError(
            f"nothing is known of transaction {identity}",
            hint="it was aborted before anything was written, or another process has it in memory alone",
            kind=ErrorKind.NO_TICKET,
        )

    def errors(self, acknowledge: bool = False) -> list[LedgerEntry]:
        """Return background failures that nobody acknowledged, oldest first; ``acknowledge`` forgets them.

        Those that kept a context from becoming visible are over, and gone, when it is visible after all.
        """
        return [
            entry
            for repository in self._session.repositories
            for entry in (
                repository.runtime.ledger.acknowledge()
                if acknowledge
                else repository.runtime.ledger.entries()
            )
        ]

    def pending(self) -> list[Ticket]:
        """Return the tickets of commits that are not settled."""
        return [
            Ticket(context)
            for repository in self._session.repositories
            for context in repository.runtime.pending()
        ]

    def status(self) -> list[RuntimeStatus]:
        """Return what the runtime of each repository is doing."""
        return [repository.runtime.status() for repository in self._session.repositories]

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything committed is settled.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it takes.

        Raises
        ------
        ExceptionGroup
            Background failures that nobody was told yet, each with a note on its dataset.
        StateError
            ``kind="timeout"``; names what is not settled.
        """
        self._session.check_open()
        timeout_s = check_timeout(timeout)
        for repository in self._session.repositories:
            repository.runtime.check_usable()
            repository.runtime.drain(timeout_s)

    def close(self, timeout: float | None = 30) -> None:
        """Wait until everything committed is settled, and close.

        Again it does nothing, or goes on where an interrupt broke it off.

        Open contexts are aborted when the last Butler of the repository closes. Where an exception leaves the
        ``with`` block of the Butler, that one goes on, with a note for each failure of the background.

        Parameters
        ----------
        timeout
            Seconds; what is not done by then is given up and reported.

        Raises
        ------
        ExceptionGroup
            Background failures that nobody was told yet.
        """
        _close_session(self._session, timeout)


def _reopen(roots: list[str], options: dict[str, object], defaults: dict[str, object]) -> Butler:
    return Butler(roots, **options, **defaults)  # type: ignore[arg-type]  # what __init__ was given


def note_beside(error: BaseException, failures: ExceptionGroup[Exception]) -> None:
    """Tell of background failures beside the error that left a block: that one must not be hidden."""
    for failure in failures.exceptions:
        told = "; ".join((str(failure), *getattr(failure, "__notes__", ())))
        _logger.error("%s, while a Butler was left by an exception", told)
        with contextlib.suppress(Exception):  # some exceptions take no note
            error.add_note(f"besides, in the background: {told}")


def _iterable(value: Iterable[_T], what: str) -> Iterable[_T]:
    if isinstance(value, Iterable):
        return value
    raise InvalidInputError(f"{what}={value!r}", hint="give a path, or pairs of a path and a data ID")


def _check_key(key: object) -> None:
    valid = (
        isinstance(key, str) and 0 < len(key.encode(errors="replace")) <= _MAX_KEY_BYTES and "\0" not in key
    )
    if not valid or any(0xD800 <= ord(character) < 0xE000 for character in str(key)):
        raise InvalidInputError(
            f"key={shown(key, 100)}", hint=f"give a text of 1 to {_MAX_KEY_BYTES} bytes of UTF-8 without NUL"
        )


def _run(run: str | None, default: str | None) -> str:
    if (chosen := run or default) is None:
        raise InvalidInputError(
            "no run says where outputs go",
            hint="give run='u/you/what', here or when opening the Butler",
            kind=ErrorKind.COLLECTION,
        )
    return chosen


def _entries(repository: Repository, acknowledge: bool) -> list[LedgerEntry]:
    ledger = repository.runtime.ledger
    return ledger.acknowledge() if acknowledge else ledger.entries()


def _defaults(repositories: list[Repository], given: Mapping[str, object]) -> dict[str, DataIdValue]:
    universe = repositories[0].catalog.universe
    return {name: check_data_id_value(universe, name, value) for name, value in given.items()}


def _policies(repositories: list[Repository], operator: Path | None) -> dict[str, PolicyResolver]:
    layer, policies = operator_layer(operator)
    return {
        str(repository.root): PolicyResolver(
            (*repository.settings.layers, *((layer,) if layer else ())),
            {**repository.settings.policies, **policies},
            repository.destinations,
            repository.formats,
        )
        for repository in repositories
    }


def _close_session(session: Session, timeout: float | None) -> None:
    checked_s = check_timeout(timeout)
    session.is_closed = True
    session.keep()
    failures: list[Exception] = []
    while session.held:
        try:
            release(session.held[0], checked_s)
        except ExceptionGroup as group:
            failures.extend(group.exceptions)
        session.held.pop(0)  # only now: closing again goes on where an interrupt broke it off
    if failures:
        raise ExceptionGroup(f"{len(failures)} background failures", failures)
