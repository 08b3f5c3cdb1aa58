"""What a Butler, its contexts and its handles share: repositories, defaults, and the search for datasets."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar
from uuid import UUID

from attrs import define, field

from quantumio.butler._lookup import Lookup, Lookups, find_stored
from quantumio.butler._reading import ReadRequest, read_output, read_stored
from quantumio.butler._repository import Repository
from quantumio.engine import Output, OutputReleased, PolicyResolver
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, QuantumioError, StateError, shown
from quantumio.model import DataIdValue, DatasetRef, StoredDataset, check_run
from quantumio.system import environment

__all__ = [
    "AsOf",
    "Collections",
    "Session",
    "as_collections",
    "as_names",
    "as_path",
    "as_refs",
    "check_mapping",
    "check_timeout",
    "dataset_id_of",
    "is_glob",
    "seq_of",
]

Collections = str | Sequence[str] | None
"""A collection, or several in search order; None takes the Butler's own."""


AsOf = object
"""A moment to look back to: a Time or datetime, the number of a commit, or the name of a snapshot."""


_T = TypeVar("_T")


def as_collections(collections: Collections, *, globs: bool = False) -> tuple[str, ...] | None:
    """Return names in search order, patterns of them too where these are taken; None where nothing was said.

    Raises
    ------
    InvalidInputError
        A name is none.
    """
    if collections is None:
        return None
    names = as_names(collections, "collections")
    return tuple(name if globs and is_glob(name) else check_run(name, "collection") for name in names)


def as_path(value: object, what: str) -> Path:
    """Return a path.

    Raises
    ------
    InvalidInputError
        It is none.
    """
    if isinstance(value, (str, PathLike)) and "\0" not in str(value):
        return Path(value)
    raise InvalidInputError(
        f"{shown(value)} ({type(value).__name__}) is no path of a {what}", hint="give a path"
    )


def as_names(value: object, what: str) -> tuple[str, ...]:
    """Return one name, or several, as a tuple.

    Raises
    ------
    InvalidInputError
        It is neither a text nor a sequence of texts.
    """
    names = (value,) if isinstance(value, str) else value
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(names)
    raise InvalidInputError(f"{what}={shown(value)}", hint="give a name, or a list of names")


def dataset_id_of(ref: DatasetRef | UUID | str) -> UUID:
    """Return the UUID of a ref, or of its text.

    Raises
    ------
    InvalidInputError
        It is none.
    """
    if isinstance(ref, DatasetRef):
        return ref.id
    if isinstance(ref, UUID):
        return ref
    try:
        return UUID(ref)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError(
            f"{shown(ref)} ({type(ref).__name__}) is no dataset ref and no UUID",
            hint="give a DatasetRef, or the UUID of a dataset or transaction",
        ) from None


def as_refs(value: Iterable[_T]) -> list[_T]:
    """Return what was given as several refs as a list.

    Raises
    ------
    InvalidInputError
        It is no list of anything, such as a ref alone.
    """
    if isinstance(value, Iterable):
        return list(value)
    raise InvalidInputError(
        f"{shown(value, 200)} ({type(value).__name__}) is no list of refs",
        hint="give a list: [ref] for one alone",
        kind=ErrorKind.ARGUMENT,
    )


def check_count(value: object, what: str, least: int) -> int:
    """Return a whole number that a database can hold.

    Raises
    ------
    InvalidInputError
        It is none, or too small or too large.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 63:
        return value
    raise InvalidInputError(f"{what}={shown(value)}", hint=f"give a number from {least} on, or None")


def check_timeout(value: object) -> float | None:
    """Return a timeout in seconds; None where it waits as long as it takes.

    Raises
    ------
    InvalidInputError
        It is no number from 0 on.
    """
    if value is None:
        return None
    if isinstance(value, SupportsFloat) and not isinstance(value, bool | str):
        with suppress(OverflowError):
            if (seconds := float(value)) >= 0:
                return None if seconds == math.inf else seconds
    raise InvalidInputError(
        f"timeout={shown(value)}", hint="give seconds, or None to wait as long as it takes"
    )


def check_mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return a mapping of names; empty for None.

    Raises
    ------
    InvalidInputError
        It is none.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return value
    raise InvalidInputError(f"{what}={shown(value)}", hint="give a mapping of names to values")


@define(eq=False)
class Session:
    """Repositories in search order, and defaults of calls.

    Attributes
    ----------
    repositories
        Open, the first one searched first.
    run, collections
        Where puts go and what is searched when a call does not say.
    defaults
        Data ID values for dimensions that a call does not give.
    policies
        Resolver of each repository, by its root.
    new_runs
        Runs that need not exist yet: contexts of this Butler put there.
    held
        Repositories that are still to be given back.
    """

    repositories: list[Repository]
    run: str | None
    collections: tuple[str, ...] | None
    defaults: Mapping[str, DataIdValue]
    policies: dict[str, PolicyResolver]
    new_runs: set[str] = field(factory=set)
    is_closed: bool = False
    held: list[Repository] = field(init=False)
    _finalizer: weakref.finalize[..., Session] | None = None

    def __attrs_post_init__(self) -> None:
        self.held = list(self.repositories)

    def abandon_when_collected(self, abandon: Callable[[list[Repository]], None]) -> None:
        """Have its repositories abandoned when nothing refers to the session any more."""
        self._finalizer = weakref.finalize(self, abandon, self.repositories)
        self._finalizer.atexit = False

    def keep(self) -> None:
        """Have nothing abandoned: it is closed in order."""
        if self._finalizer is not None:
            self._finalizer.detach()

    def check_open(self) -> None:
        """Refuse to be used after closing.

        Raises
        ------
        StateError
            It is closed.
        """
        if self.is_closed:
            raise StateError("this Butler is closed", hint="open another one")
        if self.repositories[0].pid != environment.pid():
            self.repositories[0].runtime.check_usable()  # says what a fork does

    def writeable(self) -> Repository:
        """Return the repository that puts go to.

        Raises
        ------
        StateError
            None is writeable (``kind="read_only"``).
        """
        self.check_open()
        for repository in self.repositories:
            if not repository.readonly:
                return repository
        raise StateError(
            f"{self.repositories[0].root} was opened read-only",
            hint="open it with readonly=False",
            kind=ErrorKind.READ_ONLY,
        )

    def target(self) -> Repository:
        """Return the repository that puts go to, or would go to were it writeable."""
        self.check_open()
        return next((one for one in self.repositories if not one.readonly), self.repositories[0])

    def search_path(self, collections: Collections, run: str | None = None) -> tuple[str, ...]:
        """Return the collections to search: the run, then those asked for, or the Butler's own.

        Raises
        ------
        InvalidInputError
            There are none; lists those that exist.
        """
        asked = as_collections(collections)
        if asked is None:
            asked = tuple(name for name in (self.run,) if name and name != run) + (self.collections or ())
        path = tuple(dict.fromkeys((*((run,) if run else ()), *asked)))
        if not path:
            exist = [r.name for repository in self.repositories for r in repository.catalog.collections()]
            raise InvalidInputError(
                "no collection says where to look",
                hint=f"give collections=..., here or when opening the Butler; there are {_list(exist)}",
                kind=ErrorKind.COLLECTION,
            )
        return path

    def query_path(self, collections: Collections) -> tuple[str, ...] | None:
        """Return the collections that a query searches, globs among them; None where that is every run."""
        path = as_collections(collections, globs=True)
        if path is None and (self.run or self.collections):
            return self.search_path(None)
        return path

    def repository_of(self, dataset_id: UUID) -> tuple[Repository, StoredDataset]:
        """Return a committed dataset and the repository that has it.

        Raises
        ------
        NotFoundError
            None has it.
        """
        self.check_open()
        for repository in self.repositories:
            if stored := repository.catalog.stored([dataset_id]).get(dataset_id):
                return repository, stored
        raise NotFoundError(
            f"there is no committed dataset {dataset_id}",
            hint="it may be uncommitted, deleted, or of another repository",
        )

    def stored_of(self, ref: DatasetRef | UUID) -> tuple[Repository, StoredDataset]:
        """Return what the registry knows of a ref."""
        return self.repository_of(dataset_id_of(ref))

    # -- find
    def lookups(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        collections: Sequence[str],
        version: int | None = None,
        as_of: object = None,
    ) -> Iterator[tuple[Repository, Lookup, tuple[str, ...]]]:
        """Yield, for each repository that knows the dataset type, what to look for and where.

        Raises
        ------
        NotFoundError
            No repository knows the dataset type, or none has any of the collections.
        """
        self.check_open()
        if not isinstance(dataset_type, str):
            raise InvalidInputError(
                f"{shown(dataset_type)} ({type(dataset_type).__name__}) is no name of a dataset type",
                hint="give its name, or a DatasetRef",
                kind=ErrorKind.DATASET_TYPE,
            )
        if version is not None:
            check_count(version, "version", 1)
        unknown: NotFoundError | None = None
        has_type = False
        for repository in self.repositories:
            try:
                repository.catalog.dataset_type(dataset_type)
            except NotFoundError as error:
                unknown = unknown or error
                continue
            has_type = True
            present = self._present(repository, collections, as_of)
            if present:
                seq = seq_of(repository, as_of)
                lookups = Lookups(
                    repository=repository,
                    defaults=self.defaults,
                    calibrations=partial(repository.catalog.searches_calibrations, present, seq),
                    recorders=self.repositories,
                    as_of=seq,
                )
                try:
                    lookup = lookups.resolve(dataset_type, data_id, keys)
                except InvalidInputError:
                    # A visit is too much where no calibrations are searched: perhaps they are there no more.
                    tuple(self.narrow(tuple(collections), as_of))
                    raise
                yield repository, lookup, present
        if not has_type and unknown is not None:
            raise unknown

    def _present(self, repository: Repository, collections: Sequence[str], as_of: object) -> tuple[str, ...]:
        if len(self.repositories) == 1:
            return tuple(collections)
        for one, names in self.narrow(tuple(collections), as_of):
            if one is repository:
                return names or ()
        return ()

    def find(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        collections: Sequence[str],
        version: int | None = None,
        as_of: object = None,
    ) -> tuple[Repository, StoredDataset] | None:
        """Return the first committed match."""
        lookups = self.lookups(dataset_type, data_id, keys, collections, version, as_of)
        for repository, lookup, present in lookups:
            if stored := self._find_in(repository, lookup, present, version):
                return repository, stored
        return None

    def _find_in(
        self, repository: Repository, lookup: Lookup, collections: tuple[str, ...], version: int | None
    ) -> StoredDataset | None:
        try:
            return find_stored(repository, lookup, collections, version)
        except NotFoundError as error:
            # A run exists from its first commit on; until then it is empty for those who put there.
            new = self.new_runs | ({self.run} if self.run else set())
            if error.kind is not ErrorKind.NO_COLLECTION or new.isdisjoint(collections):
                raise
        exist = _names_of(repository, lookup.as_of)
        rest = tuple(name for name in collections if name in exist or name not in new)
        return find_stored(repository, lookup, rest, version) if rest else None

    def knowing(self, dataset_type: str) -> list[Repository]:
        """Return the repositories that know a dataset type.

        Raises
        ------
        NotFoundError
            None does.
        """
        self.check_open()
        knowing, unknown = [], []
        for repository in self.repositories:
            try:
                repository.catalog.dataset_type(dataset_type)
            except NotFoundError as error:
                unknown.append(error)
            else:
                knowing.append(repository)
        if not knowing:
            raise unknown[0]
        return knowing

    def narrow_types(self, dataset_types: tuple[str, ...]) -> Callable[[Repository], tuple[str, ...]]:
        """Return what tells which of the dataset types (names or globs) a repository can be asked for.

        Raises
        ------
        NotFoundError
            No repository knows one of them.
        """
        known = {name: self.knowing(name) for name in dataset_types if not is_glob(name)}
        return lambda repository: tuple(
            name for name in dataset_types if name not in known or repository in known[name]
        )

    def narrow(
        self, collections: tuple[str, ...] | None, as_of: object = None
    ) -> Iterator[tuple[Repository, tuple[str, ...] | None]]:
        """Yield the repositories that have any of the collections (names or globs), with those they have.

        Raises
        ------
        NotFoundError
            No repository has one of them, and no context of this Butler puts there.
        """
        self.check_open()
        if collections is None:
            yield from ((repository, None) for repository in self.repositories)
            return
        there = [
            (repository, _names_of(repository, seq_of(repository, as_of))) for repository in self.repositories
        ]
        new = self.new_runs | ({self.run} if self.run else set())
        for name in collections:
            known = is_glob(name) or name in new or any(name in names for _, names in there)
            if not known:
                raise NotFoundError(
                    f"there is no collection {name!r}",
                    hint=f"there are {_list(sorted(set().union(*(names for _, names in there))))}",
                    kind=ErrorKind.NO_COLLECTION,
                )
        for repository, names in there:
            if present := tuple(name for name in collections if is_glob(name) or name in names):
                yield repository, present

    def temporary(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        collections: Sequence[str],
    ) -> tuple[Repository, Output] | None:
        """Return a committed temporary of one of the runs that is still alive."""
        for repository, lookup, present in self.lookups(dataset_type, data_id, keys, collections):
            for run in present:
                if output := repository.runtime.temporaries.find(run, dataset_type, lookup.data_id):
                    return repository, output
        return None

    # -- read
    def read(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        collections: Sequence[str],
        version: int | None,
        request: ReadRequest,
        as_of: object = None,
    ) -> tuple[DatasetRef, object]:
        """Read the first match: a temporary of the runs, else a committed dataset.

        Raises
        ------
        NotFoundError
            There is none; the message names a match that is still queued.
        """
        if (
            version is None
            and as_of is None
            and (found := self.temporary(dataset_type, data_id, keys, collections))
        ):
            repository, output = found
            try:
                return output.ref, read_output(repository.formats, output, request)
            except OutputReleased:
                pass  # forgotten meanwhile
        stored = self.find(dataset_type, data_id, keys, collections, version, as_of)
        if stored is None:
            raise self.not_found(dataset_type, data_id, keys, collections, version)
        if as_of is not None:
            return stored[1].ref, _read_of_then(*stored, request)
        return stored[1].ref, read_stored(stored[0], stored[1], request)

    def read_ref(self, ref: DatasetRef | UUID, request: ReadRequest) -> tuple[DatasetRef, object]:
        """Read a dataset by its ref: committed, or a temporary that is still alive."""
        dataset_id = dataset_id_of(ref)
        self.check_open()
        for repository in self.repositories:
            for output in repository.runtime.temporaries.all():
                if output.ref.id == dataset_id:
                    return output.ref, read_output(repository.formats, output, request)
        repository, stored = self.stored_of(ref)
        return stored.ref, read_stored(repository, stored, request)

    def not_found(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        collections: Sequence[str],
        version: int | None = None,
    ) -> NotFoundError:
        """Return the error that says what is not there, and whether it is on its way."""
        given = ", ".join(f"{key}={value!r}" for key, value in {**(data_id or {}), **keys}.items())
        number = "" if version is None else f" version {version}"
        message = f"there is no {dataset_type}({given}){number} in {', '.join(collections)}"
        for repository, lookup, present in self.lookups(dataset_type, data_id, keys, collections):
            for context in repository.runtime.pending():
                if context.run in present and context.own_output(dataset_type, lookup.data_id):
                    return NotFoundError(
                        f"{message} yet: transaction {context.txid} will commit it",
                        hint=f"wait for it: Butler.ticket('{context.txid}').wait()",
                        kind=ErrorKind.PENDING,
                    )
        return NotFoundError(message, hint="look at Butler.query(...) or `quantumio query`")


def seq_of(repository: Repository, as_of: object) -> int | None:
    """Return the last commit or edit of a repository at a moment; None is now."""
    return None if as_of is None else repository.catalog.seq_of(as_of)


def _names_of(repository: Repository, seq: int | None) -> set[str]:
    return set(repository.catalog.collection_names(seq))


def _read_of_then(repository: Repository, stored: StoredDataset, request: ReadRequest) -> object:
    """Read a dataset that there was at an earlier moment.

    Raises
    ------
    NotFoundError
        It was removed since (``kind="removed"``), and its data are gone.
    """
    try:
        return read_stored(repository, stored, request)
    except QuantumioError as error:
        if repository.catalog.stored([stored.ref.id]):
            raise
        raise NotFoundError(
            f"{stored.ref} was removed since, and its data cannot be read any more",
            hint="the registry tells what it was: Butler.find(..., as_of=...)",
            kind=ErrorKind.REMOVED,
        ) from error


def is_glob(name: str) -> bool:
    """Whether a name of collections is a pattern."""
    return any(character in name for character in "*?[")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none yet"
