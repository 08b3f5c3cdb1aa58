"""Butler: one place to put datasets and to find them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from quantumio.butler._context import DataContext
from quantumio.butler._deferred import DeferredDataset
from quantumio.butler._handles import Ticket
from quantumio.butler._ingest import IngestFile, ingest_files
from quantumio.butler._lookup import resolve_output
from quantumio.butler._query import Query, parse_order
from quantumio.butler._reading import ReadRequest
from quantumio.butler._records import DatasetVersion, Location, dataset_version, locations, records_of
from quantumio.butler._repository import Repository, abandon, acquire, create, release
from quantumio.butler._session import Collections, Session, as_collections, dataset_id_of, is_glob
from quantumio.butler._settings import load_toml, operator_layer
from quantumio.engine import Context, PlanScope, PolicyResolver, RuntimeStatus
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import (
    Ack,
    CommitOutcome,
    DataId,
    DataIdValue,
    DatasetRef,
    DatasetType,
    DestinationSettings,
    DimensionUniverse,
    LedgerEntry,
    Resolution,
    Timespan,
    check_data_id_value,
    check_run,
)
from quantumio.ports import CollectionKind, CollectionRecord, DatasetQuery

__all__ = ["Butler"]

Root = str | PathLike[str]


class Butler:
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
        Its registry was made by a newer quantumio (``kind="newer_schema"``).
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
        roots = [root] if isinstance(root, (str, PathLike)) else list(root)
        if not roots:
            raise InvalidInputError("no repository was named", hint="give the path of one")
        self._arguments = (
            [str(Path(one).absolute()) for one in roots],
            {"run": run, "collections": collections, "readonly": readonly, "policy": policy},
            dict(data_id_defaults),
        )
        repositories: list[Repository] = []
        try:
            repositories.extend(acquire(Path(one), readonly=readonly) for one in roots)
            self._session = Session(
                repositories,
                None if run is None else check_run(run),
                as_collections(collections),
                _defaults(repositories, data_id_defaults),
                _policies(repositories, None if policy is None else Path(policy)),
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
        tables = config if isinstance(config, Mapping) else load_toml(Path(config)) if config else {}
        create(Path(root), tables, registry, dimensions)
        return cls(root)

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
        self.close()

    @property
    def _first(self) -> Repository:
        self._session.check_open()
        return self._session.repositories[0]

    # -- what there is
    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimensions of the (first) repository."""
        return self._first.catalog.universe

    def register_dataset_type(self, dataset_type: DatasetType) -> bool:
        """Register a dataset type; False if the same one was registered already.

        Raises
        ------
        ConflictError
            Another definition has this name.
        InvalidInputError
            It names a dimension or a storage class that does not exist.
        """
        repository = self._session.writeable()
        if not isinstance(dataset_type, DatasetType):
            raise InvalidInputError(
                f"{dataset_type!r} is no dataset type",
                hint="give DatasetType('name', dimensions=[...], storage_class='...')",
                kind=ErrorKind.DATASET_TYPE,
            )
        repository.formats.storage_class(dataset_type.storage_class)
        return repository.catalog.register_dataset_type(dataset_type)

    def dataset_type(self, name: str) -> DatasetType:
        """Return a registered dataset type.

        Raises
        ------
        NotFoundError
            It is not registered.
        """
        return self._first.catalog.dataset_type(name)

    def dataset_types(self) -> list[DatasetType]:
        """Return all registered dataset types, by name."""
        return self._first.catalog.dataset_types()

    def insert_dimension(self, element: str, records: object) -> int:
        """Insert dimension records in bulk, all or none; the same record again is no error.

        Parameters
        ----------
        element
            Name of a dimension (``visit``) or relation (``visit_definition``).
        records
            Mappings, a `pyarrow.Table`, a pandas DataFrame or an astropy Table. Keys of the record, implied
            dimensions, metadata; ``timespan``: a pair of `~astropy.time.Time` or a `Timespan`; ``region``:
            IVOA POS text (degrees, ICRS) or a `Region`.

        Returns
        -------
        int
            Number of records that were new.

        Raises
        ------
        ConflictError
            A different record has the same key.
        InvalidInputError
            A field is unknown, missing or wrong; names the record and the field.
        """
        repository = self._session.writeable()
        return repository.catalog.insert_dimension(
            element, records_of(element, records, self._session.defaults, repository.catalog.universe)
        )

    def query_dimension_records(
        self,
        element: str,
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> list[dict[str, object]]:
        """Return the records of a dimension, ordered by key.

        Raises
        ------
        InvalidInputError
            It is no dimension, or the expression is wrong.
        """
        catalog = self._first.catalog
        given = {name: check_data_id_value(catalog.universe, name, value) for name, value in keys.items()}
        return list(catalog.dimension_records(element, given, where, bind or {}))

    def query_data_ids(
        self,
        dimensions: Sequence[str],
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> list[DataId]:
        """Return the data IDs over these dimensions that exist as dimension records.

        Raises
        ------
        InvalidInputError
            A dimension has no records, or the expression is wrong.
        """
        catalog = self._first.catalog
        given = {name: check_data_id_value(catalog.universe, name, value) for name, value in keys.items()}
        return catalog.data_ids(dimensions, given, where, bind or {})

    def destinations(self) -> list[DestinationSettings]:
        """Return the settings of the destinations that policies can name; no secret is among them."""
        self._session.check_open()
        return [
            repository.settings.destinations[name]
            for repository in self._session.repositories
            for name in sorted(repository.settings.destinations)
        ]

    # -- collections
    def collections(self, pattern: str = "*") -> list[CollectionRecord]:
        """Return the collections whose name matches a glob, by name."""
        self._session.check_open()
        return [
            record
            for repository in self._session.repositories
            for record in repository.catalog.collections(pattern)
        ]

    def register_run(self, name: str) -> bool:
        """Register a RUN collection (the first commit to it does so, too); False if it was there."""
        return self._session.writeable().catalog.register_collection(check_run(name), CollectionKind.RUN)

    def associate(self, collection: str, refs: Iterable[DatasetRef]) -> None:
        """Add refs to a TAGGED collection (made where there is none), all or none.

        Raises
        ------
        ConflictError
            Another ref of the same dataset type and data ID is in it.
        """
        self._session.writeable().catalog.associate(check_run(collection, "collection"), list(refs))

    def disassociate(self, collection: str, refs: Iterable[DatasetRef]) -> None:
        """Take refs out of a TAGGED collection; those that are not in it are no error."""
        self._session.writeable().catalog.disassociate(check_run(collection, "collection"), list(refs))

    def certify(self, collection: str, refs: Iterable[DatasetRef], begin: object, end: object) -> None:
        """Say when calibrations are valid, in a CALIBRATION collection (made where there is none).

        Parameters
        ----------
        collection, refs
            Where, and which.
        begin, end
            `~astropy.time.Time`, half-open, None = unbounded.

        Raises
        ------
        ConflictError
            Another ref of the same dataset type and data ID is valid in a part of the time.
        """
        timespan = Timespan.make((begin, end))
        self._session.writeable().catalog.certify(check_run(collection, "collection"), list(refs), timespan)

    def decertify(
        self,
        collection: str,
        dataset_type: str,
        begin: object,
        end: object,
        *,
        data_ids: Sequence[DataId] | None = None,
    ) -> None:
        """End the validity of calibrations within a timespan, truncating and splitting ranges."""
        timespan = Timespan.make((begin, end))
        self._session.writeable().catalog.decertify(
            check_run(collection, "collection"), dataset_type, timespan, data_ids
        )

    def chain(self, collection: str, children: Sequence[str]) -> None:
        """Define a CHAINED collection: these are searched in order.

        Raises
        ------
        NotFoundError
            A child does not exist.
        ConflictError
            The chain would contain itself, or another kind of collection has the name.
        """
        names = as_collections(children) or ()
        self._session.writeable().catalog.set_chain(check_run(collection, "collection"), names)

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
            Makes it idempotent: a key commits once per run; a later attempt gets the first one's refs.
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
        if key == "":
            raise InvalidInputError(f"key={key!r}", hint="give a text that is not empty")
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
            arguments = wire["repository"], wire["defaults"]
            transaction = UUID(wire["txid"])
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInputError(
                f"{token!r} is no token", hint="take one by DataContext.token()"
            ) from error
        butler = cls(arguments[0], collections=wire["collections"], **arguments[1])
        repository, context = butler._open_context(wire["run"], wire["key"], wire["ack"], txid=transaction)
        return DataContext(butler._session, repository, context)

    # -- reads
    def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read a dataset: by its ref, or the first match in the collections, in order.

        Parameters
        ----------
        dataset_type_or_ref
            Name of a dataset type, or a ref or its UUID.
        data_id, **keys
            Which dataset; completed by the Butler's defaults. Calibrations may be asked for by an exposure
            or visit.
        collections
            Where to look; None is the Butler's run and collections.
        as_
            Form: ``native``, ``astropy``, ``pandas``, ``arrow``, ``polars``, ``numpy``.
        component, columns
            A part of it.
        version
            Number of a version; None is the latest.
        readonly
            Whether memory may be shared with the buffer: then the result must not be changed.

        Returns
        -------
        object
            The caller's own to change, unless ``readonly``.

        Raises
        ------
        NotFoundError
            There is no such dataset; the message names a match that is still queued.
        InvalidInputError
            The data ID, form, component or columns are wrong, or no collection says where to look; nothing
            was read.
        DestinationError, FormatError
            Its bytes cannot be had.
        """
        request = ReadRequest.make(as_, component, columns, readonly=readonly)
        if not isinstance(dataset_type_or_ref, str):
            return self._session.read_ref(dataset_type_or_ref, request)[1]
        path = self._session.search_path(collections)
        return self._session.read(dataset_type_or_ref, data_id, keys, path, version, request)[1]

    def defer(self, ref: DatasetRef | UUID) -> DeferredDataset:
        """Return a handle that reads the dataset later, in this or in another process."""
        _, stored = self._session.stored_of(ref)
        return DeferredDataset(self, stored.ref)

    def find(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        **keys: object,
    ) -> DatasetRef | None:
        """Return the ref of the first committed match, or None.

        Raises
        ------
        InvalidInputError
            The data ID is wrong, or no collection says where to look.
        ConflictError
            Several calibrations are valid (``kind="ambiguous_calibration"``).
        """
        path = self._session.search_path(collections)
        found = self._session.find(dataset_type, data_id, keys, path, version)
        return None if found is None else found[1].ref

    def exists(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        **keys: object,
    ) -> bool:
        """Tell whether there is a committed match."""
        if isinstance(dataset_type_or_ref, str):
            return (
                self.find(dataset_type_or_ref, data_id, collections=collections, version=version, **keys)
                is not None
            )
        try:
            self._session.stored_of(dataset_type_or_ref)
        except NotFoundError:
            return False
        return True

    def ref(self, dataset_id: UUID | str) -> DatasetRef:
        """Return the ref of a committed dataset by its UUID.

        Raises
        ------
        NotFoundError
            There is none.
        InvalidInputError
            It is no UUID.
        """
        return self._session.repository_of(dataset_id_of(dataset_id))[1].ref

    def versions(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        **keys: object,
    ) -> list[DatasetVersion]:
        """Return all versions of a dataset in one run, oldest first.

        Parameters
        ----------
        dataset_type, data_id, **keys
            Which dataset.
        run
            RUN collection; None is the Butler's own, else every run that has it.
        """
        runs = [run or self._session.run]
        versions = []
        for repository in self._session.repositories:
            known, full = resolve_output(repository, dataset_type, data_id, keys, self._session.defaults)
            names = [r.name for r in repository.catalog.collections() if r.kind is CollectionKind.RUN]
            for name in names:
                if runs == [None] or name in runs:
                    versions += repository.catalog.versions(known, full, name)
        return [dataset_version(stored) for stored in versions]

    def query(
        self,
        dataset_type: str | Sequence[str] = "*",
        *,
        where: str | None = None,
        collections: Collections = None,
        order_by: str | Sequence[str] = (),
        limit: int | None = None,
        versions: str = "latest",
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> Query:
        """Look for datasets; the result is lazy.

        Parameters
        ----------
        dataset_type
            Names or globs.
        where, bind
            Expression over dimensions and their metadata, e.g. ``"visit > 100 AND band IN ('g', 'r')"``, and
            the values of its ``:name`` parameters.
        collections
            Names in search order: of each dataset the first match; with a glob: all matches. None is the
            Butler's own, else every run.
        order_by
            Names of dimensions, ``run``, ``version``, ``dataset_type``; ``-`` in front reverses.
        limit
            At most so many.
        versions
            ``latest`` or ``all``.
        **keys
            Values of dimensions that all matches have.

        Raises
        ------
        InvalidInputError
            A name or an expression is wrong; of an expression the message points at the character. Raised at
            the latest when the result is first used.
        """
        self._session.check_open()
        if versions not in ("latest", "all"):
            raise InvalidInputError(f"versions={versions!r}", hint="use 'latest' or 'all'")
        if limit is not None and limit < 0:
            raise InvalidInputError(f"limit={limit!r}", hint="give a number from 0 on, or None")
        names = (dataset_type,) if isinstance(dataset_type, str) else tuple(dataset_type)
        path = _patterns(collections)
        if path is None and (self._session.run or self._session.collections):
            path = self._session.search_path(None)
        universe = self._first.catalog.universe
        return Query(
            self._session,
            DatasetQuery(
                dataset_types=names,
                collections=path,
                data_id={name: check_data_id_value(universe, name, value) for name, value in keys.items()},
                where=where,
                bind=bind or {},
                find_first=path is not None and not any(is_glob(name) for name in path),
                versions=versions,
                order_by=parse_order(order_by),
                limit=limit,
            ),
        )

    def where_is(self, ref: DatasetRef | UUID) -> list[Location]:
        """Return where the bytes (or rows) of a dataset are.

        Raises
        ------
        NotFoundError
            It is not committed.
        """
        repository, stored = self._session.stored_of(ref)
        return locations(repository, stored)

    def explain_put(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        **keys: object,
    ) -> Resolution:
        """Return which destinations and which format an output would get, by which rule, and why.

        Raises
        ------
        InvalidInputError
            The policy cannot take this dataset type, or the data ID is wrong.
        """
        repository = self._first
        known = repository.catalog.dataset_type(dataset_type)
        if data_id or keys:
            resolve_output(repository, dataset_type, data_id, keys, self._session.defaults)
        policies = self._session.policies[str(repository.root)]
        return policies.resolve(known, run or self._session.run or "", to=to, own=own)

    # -- ingest
    def ingest(
        self,
        files: Root | Iterable[tuple[Root, Mapping[str, object]]],
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        transfer: str = "copy",
        format: str | None = None,  # noqa: A002  the product's word
        **keys: object,
    ) -> list[DatasetRef]:
        """Make files that exist datasets, all or none, in one commit.

        Parameters
        ----------
        files
            One path (or URL, ``direct`` only), or pairs of a path and its data ID.
        dataset_type
            Name of a registered dataset type.
        data_id, **keys
            Which dataset; of several files what they have in common.
        run
            RUN collection; None is the Butler's own.
        transfer
            ``copy``, ``link`` (hard link), ``move`` (the source is removed after the commit), or ``direct``
            (the file stays where it is and must not be changed).
        format
            Name of the format; None goes by the ending of the name.

        Raises
        ------
        FormatError
            A file is unreadable or truncated; nothing was ingested.
        NotFoundError
            A file or the dataset type is not there.
        InvalidInputError
            A data ID, the transfer, or the destination is wrong; nothing was ingested.
        """
        repository = self._session.writeable()
        chosen = check_run(_run(run, self._session.run))
        pairs = [(files, {})] if isinstance(files, (str, PathLike)) else list(files)
        known = repository.catalog.dataset_type(dataset_type)
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

    # -- temporaries
    def forget(self, ref: DatasetRef | UUID) -> bool:
        """Let a temporary go; False if it is not there (any more)."""
        self._session.check_open()
        dataset_id = dataset_id_of(ref)
        return any(repository.runtime.forget(dataset_id) for repository in self._session.repositories)

    def promote(self, ref: DatasetRef, *, to: str | Sequence[str] = "local") -> DatasetRef:
        """Turn a temporary that is still alive into a persistent dataset of its run.

        Raises
        ------
        NotFoundError
            It is not alive any more.
        """
        value = self._session.read_ref(ref, ReadRequest())[1]
        with self.context(run=ref.run) as context:
            context.put(value, ref.dataset_type.name, ref.data_id, to=to)
        return context.refs[0]

    # -- background
    def ticket(self, txid: UUID | str) -> Ticket | CommitOutcome:
        """Return the ticket of a transaction that is under way here, or the outcome of a decided one.

        Raises
        ------
        NotFoundError
            Nothing is known of it (``kind="no_ticket"``): it never committed here.
        """
        self._session.check_open()
        identity = dataset_id_of(txid)
        for repository in self._session.repositories:
            known = repository.runtime.ticketed(identity)
            if isinstance(known, Context):
                return Ticket(known)
            outcome = known or repository.catalog.outcome(identity)
            if outcome is not None:
                return outcome
        raise NotFoundError(
            f"no transaction {identity} is under way here or committed",
            hint="it was aborted, or it is in the memory of another process",
            kind=ErrorKind.NO_TICKET,
        )

    def errors(self, acknowledge: bool = False) -> list[LedgerEntry]:
        """Return background failures that nobody acknowledged, oldest first; ``acknowledge`` forgets them."""
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
        for repository in self._session.repositories:
            repository.runtime.check_usable()
            repository.runtime.drain(timeout)

    def close(self, timeout: float | None = 30) -> None:
        """Wait until everything committed is settled, and close; again it does nothing.

        Open contexts are aborted when the last Butler of the repository closes.

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


def _patterns(collections: Collections) -> tuple[str, ...] | None:
    if collections is None:
        return None
    names = (collections,) if isinstance(collections, str) else tuple(collections)
    return tuple(name if is_glob(name) else check_run(name, "collection") for name in names)


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


def _close_session(session: Session, timeout_s: float | None) -> None:
    if session.is_closed:
        return
    session.is_closed = True
    session.keep()
    failures: list[Exception] = []
    for repository in session.repositories:
        try:
            release(repository, timeout_s)
        except ExceptionGroup as group:
            failures.extend(group.exceptions)
    if failures:
        raise ExceptionGroup(f"{len(failures)} background failures", failures)
