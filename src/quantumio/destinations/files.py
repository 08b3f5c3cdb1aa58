"""Destination kind ``files``: a directory of immutable files.

Options: ``root`` (a path, relative to the repository, or a ``file://`` URL).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve, frozen

from quantumio.destinations._failures import local_failure, read_only, vanished
from quantumio.destinations._identity import (
    IDENTITY_PATH,
    check_identity,
    new_identity,
    other_store,
    store_gone,
    was_begun_anew,
)
from quantumio.destinations._names import RESERVED, check_path
from quantumio.destinations._options import Opening, Options, local_path
from quantumio.destinations._sessions import SESSIONS, session_content, session_named, session_path
from quantumio.destinations._writers import Writers
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InternalError,
    InvalidInputError,
    NotFoundError,
)
from quantumio.model import DestinationSettings
from quantumio.ports import Placement, StoredObject
from quantumio.system import files

__all__ = ["TAKES_PACKS", "FilesDestination", "check_settings", "open_destination"]

TAKES_PACKS: Final = True

_WRITERS: Final = 8  # parallel fsyncs share commits of the file system's journal: 1.7 times the rate of one
_FILE_MODE: Final = 0o444  # objects are immutable, whoever opens them
_TRANSFERS: Final = ("copy", "link", "move")


@frozen
class _Store:
    """Which store is there, and the size and time of its identity: a look at them tells of a change."""

    id: UUID | None
    seen: tuple[int, int] | None
    was_begun_anew: bool = False


class FilesDestination:
    """Immutable files below one directory, durable when `place` returns.

    Parameters
    ----------
    name, kind
        In the policy.
    root
        Absolute path of the directory; made at the first write.
    opening
        Whose store it is, and whether it may be written.

    Raises
    ------
    InvalidInputError
        The directory is another repository's store.
    DestinationError
        It cannot be made or read.

    Notes
    -----
    Each file is written beside its name, fsynced, and linked to its name; each directory is fsynced once
    per call. Nobody ever sees a part of a file under its name. The file system must know hard links.
    """

    is_local: Final = True
    parallelism: Final = _WRITERS

    def __init__(self, name: str, root: Path, opening: Opening, *, kind: str = "files") -> None:
        self._name = name
        self._kind = kind
        self._root = files.real_path(root)
        self._readonly = opening.readonly
        self._managed_roots = (*opening.managed_roots, self._root)
        self._writers = Writers(name, _WRITERS)
        self._repository_id = opening.repository_id
        self._make_store(opening)
        self._store = self._look()  # somebody may have been first
        self._is_in_doubt = False

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._name

    @property
    def kind(self) -> str:
        """Kind in the policy."""
        return self._kind

    def close(self) -> None:
        """End its threads; idempotent."""
        self._writers.close()

    # -- writing

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Write all, durable when it returns; see `quantumio.ports.ObjectDestination.place`."""
        self._refuse_if_readonly("writing")
        targets = self._locate_all([placement.path for placement in placements])
        for placement in placements:
            _check_size(placement)
        store = self._check_store()
        self._make_directories(targets)
        stored = self._writers.each(
            lambda pair: self._write(*pair), list(zip(placements, targets, strict=True))
        )
        self._fsync_parents(targets)
        self._check_store(store)  # or it went to what was below the place where its disk was mounted
        return stored

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Take over a local file, durable when it returns; see `quantumio.ports.ObjectDestination.adopt`."""
        self._refuse_if_readonly("adopting a file")
        if transfer not in _TRANSFERS:
            raise InvalidInputError(f"transfer={transfer!r}", hint=f"use one of {', '.join(_TRANSFERS)}")
        target = self._locate(path)
        origin = check_source(self._name, source, transfer, self._managed_roots)
        store = self._check_store()
        self._make_directories([target])
        try:
            digest = self._transfer(origin, target, transfer)
            self._fsync_parents([target])
            self._check_store(store)
            if transfer == "move":
                files.remove(origin)
                files.fsync_directories([origin.parent])
        except OSError as error:
            raise local_failure(self._name, f"taking over {source} as {path}", error) from error
        return evolve(self._told(path, target), digest=digest)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        self._refuse_if_readonly("removing")
        targets = [self._locate(path) for path in paths]
        removed = []
        for path, target in zip(paths, targets, strict=True):
            try:
                if files.remove(target):
                    removed.append(target)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise local_failure(self._name, f"removing {path}", error) from error
        self._fsync_parents(removed)

    def export(self, path: str, tree: Path, human_path: str) -> None:
        """Give an object a second name (a hard link, no bytes) in a tree for people, durable.

        Parameters
        ----------
        path
            Of the object.
        tree
            Directory on the same file system.
        human_path
            The name, relative to ``tree``.

        Raises
        ------
        ConflictError
            Another file has the name; it was not touched.
        NotFoundError
            There is no such object.
        DestinationError
            It could not be linked.
        """
        self._refuse_if_readonly("exporting")
        source = self._locate(path)
        tree = files.real_path(tree)
        target = self._locate(human_path, tree)
        if files.status(source) is None:
            raise self._missing(path)
        try:
            files.make_directories(target.parent)
            try:
                files.link_new(source, target)
            except FileExistsError:
                if not _same_content(source, target):
                    raise ConflictError(
                        f"destination {self._name!r}: another file has the name {target}",
                        hint="move it away, then export again",
                        kind=ErrorKind.EXISTS,
                    ) from None
            files.fsync_directories([target.parent])
        except OSError as error:
            raise local_failure(self._name, f"exporting {human_path}", error) from error

    # -- reading

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return an object, or ``(offset, length)`` of it; see `quantumio.ports.ObjectDestination.read`."""
        target = self._locate(path)
        check_range(byte_range)
        try:
            data = files.read_bytes(target, byte_range)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._missing(path) from None
        except OSError as error:
            raise local_failure(self._name, f"reading {path}", error) from error
        check_read(self._name, path, data, byte_range)
        return data

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object; None if it is certain that there is none."""
        target = self._locate(path)
        try:
            status = files.status(target)
        except OSError as error:
            raise local_failure(self._name, f"looking for {path}", error) from error
        if status is not None:
            return StoredObject(path=path, nbytes=status[0], modified_ns=status[1])
        if not self._readonly:
            self._check_store(reading=True)  # else it is not certain that there is none
        return None

    def objects(self) -> Iterator[StoredObject]:
        """List all objects."""
        for path, nbytes, modified_ns in self._files(self._root):
            relative = path.relative_to(self._root).as_posix()
            if not relative.startswith((f"{RESERVED}/", ".")) and not path.name.startswith("."):
                yield StoredObject(path=relative, nbytes=nbytes, modified_ns=modified_ns)

    def url(self, path: str) -> str:
        """Return where the object is, as a ``file://`` URL."""
        return (self._root / check_path(path)).as_uri()

    # -- looking after the store

    def identity(self) -> UUID | None:
        """Look again which store it is; see `quantumio.ports.ManagedDestination`."""
        return self._look().id

    @property
    def store_id(self) -> UUID | None:
        """Which store it places objects in; see `quantumio.ports.ManagedDestination`."""
        return None if self._is_in_doubt else self._store.id

    def clock_ns(self) -> int:
        """Return the time by the clock of the file system; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("asking for the time")
        # what a death leaves behind has the name of what was being written, and goes as that
        file = self._root / RESERVED / files.temporary_name()
        try:
            files.write_unshared(file, [b"?"])
            try:
                status = files.status(file)
            finally:
                files.remove(file)
        except OSError as error:
            raise local_failure(self._name, f"asking {self._root} for the time", error) from error
        if status is None:
            raise vanished(self._name, file)
        return status[1]

    def note_session(self, session: UUID) -> None:
        """Write down that a process places objects here; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("noting who writes")
        store = self._look()
        if store.id is None:
            raise store_gone(self._name, str(self._root))
        if store.id != self._store.id and not store.was_begun_anew:
            raise other_store(self._name, str(self._root), anew=False)
        file = self._root / session_path(session)
        try:
            files.make_directories(file.parent)
            with contextlib.suppress(FileExistsError):
                files.write_new(file, [session_content(session)])
            files.fsync_directories([file.parent])
        except OSError as error:
            raise local_failure(self._name, f"writing {file}", error) from error
        self._check_store(store)
        self._store, self._is_in_doubt = store, False  # now, so that nobody places anything there unnoted

    def sessions(self) -> Iterator[UUID]:
        """List the processes that have placed objects here."""
        for path, _, _ in self._files(self._root / SESSIONS):
            if (session := session_named(path.name)) is not None:
                yield session

    def remains(self) -> Iterator[StoredObject]:
        """List what writing that was broken off has left under temporary names."""
        for path, nbytes, modified_ns in self._files(self._root):
            if files.is_temporary(path.name):
                relative = path.relative_to(self._root).as_posix()
                yield StoredObject(path=relative, nbytes=nbytes, modified_ns=modified_ns)

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove some of it; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("removing")
        targets = [self._locate_remains(path) for path in paths]
        try:
            removed = [target for target in targets if files.remove(target)]
        except OSError as error:
            raise local_failure(self._name, "removing what was left", error) from error
        self._fsync_parents(removed)

    def uploads(self) -> Iterator[StoredObject]:
        """List nothing: a file is written under a temporary name."""
        return iter(())

    def _locate_remains(self, path: str) -> Path:
        directory, _, name = path.rpartition("/")
        if not files.is_temporary(name):
            raise InvalidInputError(f"{path!r} has no temporary name", hint="list the remains first")
        parent = self._root / check_path(directory, reserved=True) if directory else self._root
        self._refuse_links(path, parent, self._root)
        return parent / name

    def _files(self, directory: Path) -> Iterator[tuple[Path, int, int]]:
        try:
            yield from files.list_files(directory)
        except OSError as error:
            raise local_failure(self._name, f"listing {directory}", error) from error

    # -- inside

    def _make_store(self, opening: Opening) -> None:
        file = self._root / IDENTITY_PATH
        try:
            if not opening.readonly:
                if (
                    not (opening.anew or files.exists(file))
                    and opening.is_in_use(self._name)
                    and not files.exists(file)  # or somebody has made it, and used it, in between
                ):
                    raise store_gone(self._name, str(self._root))
                files.make_directories(file.parent)
                try:
                    files.write_new(file, [new_identity(opening.repository_id, anew=opening.anew)])
                except FileExistsError:
                    pass
                else:
                    files.fsync_directories([file.parent])
        except OSError as error:
            raise local_failure(self._name, f"opening {self._root}", error) from error

    def _look(self) -> _Store:
        file = self._root / IDENTITY_PATH
        try:
            seen = files.status(file)  # first: where the file changes meanwhile, the next look tells
            content = files.read_bytes(file)
        except FileNotFoundError:
            return _Store(None, None)
        except OSError as error:
            raise local_failure(self._name, f"opening {self._root}", error) from error
        store = check_identity(self._name, str(self._root), content, self._repository_id)
        return _Store(store, seen, was_begun_anew(content))

    def _check_store(self, store: _Store | None = None, *, reading: bool = False) -> _Store:
        """Refuse to go on where the disk of the store is not mounted any more, or another one is.

        Parameters
        ----------
        store
            The one to go on with; None for the one in use, which is returned.
        reading
            Whether one that was begun anew will do, where nobody has been noted yet.
        """
        store = store or self._store
        try:
            seen = files.status(self._root / IDENTITY_PATH)
        except OSError as error:
            raise local_failure(self._name, f"looking at {self._root}", error) from error
        if seen is not None and seen == store.seen:
            return store
        found = self._look()
        if found.id is None:
            self._is_in_doubt = True  # it may come back, or be said to be lost
            raise store_gone(self._name, str(self._root))
        if found.id != store.id and not (reading and found.was_begun_anew):
            self._is_in_doubt = True
            raise other_store(self._name, str(self._root), anew=found.was_begun_anew)
        return store

    def _locate(self, path: str, root: Path | None = None) -> Path:
        """Return where an object is, and refuse names that leave the root, by symbolic links too."""
        root = root or self._root
        wanted = root / check_path(path)
        self._refuse_links(path, wanted.parent, root)
        return wanted

    def _locate_all(self, paths: Sequence[str]) -> list[Path]:
        """Do so for many, looking at each directory once."""
        targets = [self._root / check_path(path) for path in paths]
        directories = {target.parent: path for path, target in zip(paths, targets, strict=True)}
        for directory, path in directories.items():
            self._refuse_links(path, directory, self._root)
        return targets

    def _refuse_links(self, path: str, directory: Path, root: Path) -> None:
        if files.real_path(directory) != directory:
            raise DestinationError(
                f"destination {self._name!r}: {path} leads through a symbolic link",
                hint=f"remove the link below {root}",
                kind=ErrorKind.PERMISSION,
            )

    def _make_directories(self, targets: Sequence[Path]) -> None:
        for directory in {target.parent for target in targets}:
            try:
                files.make_directories(directory)
            except OSError as error:
                raise local_failure(self._name, f"making {directory}", error) from error

    def _fsync_parents(self, targets: Sequence[Path]) -> None:
        try:
            files.fsync_directories(target.parent for target in targets)
        except OSError as error:
            raise local_failure(self._name, "making names durable", error) from error

    def _write(self, placement: Placement, target: Path) -> StoredObject:
        try:
            try:
                files.write_new(target, placement.chunks, mode=_FILE_MODE)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                # a failed fsync is never repeated: the file is gone, and is written anew from its source
                files.write_new(target, placement.chunks, mode=_FILE_MODE)
        except FileExistsError:
            self._compare(placement.path, target, placement.nbytes, placement.digest)
        except OSError as error:
            raise local_failure(self._name, f"writing {placement.path}", error) from error
        return self._told(placement.path, target)

    def _compare(self, path: str, target: Path, nbytes: int, digest: str) -> None:
        """Accept a file that is there already if it is the same, refuse it otherwise."""
        try:
            if files.status(target) is not None and files.file_size(target) == nbytes:
                found = files.sha256(target)
                if found == digest:
                    files.fsync_file(target)  # an earlier attempt may have died before its own
                    return
        except OSError as error:
            raise local_failure(self._name, f"comparing {path}", error) from error
        raise corrupt(self._name, path)

    def _transfer(self, origin: Path, target: Path, transfer: str) -> str:
        """Return the SHA-256 of what is under the new name."""
        try:
            if transfer == "copy":
                return files.copy_new(origin, target)
            files.fsync_file(origin)  # its bytes, whoever wrote them
            files.link_new(origin, target)
        except FileExistsError:
            digest = files.sha256(origin)
            self._compare(target.name, target, files.file_size(origin) or 0, digest)
            return digest
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            if transfer == "link":
                raise InvalidInputError(
                    f"destination {self._name!r}: {origin} cannot be linked there ({error.strerror})",
                    hint="use transfer='copy'",
                ) from None
            return self._transfer(origin, target, "copy")
        return files.sha256(target)

    def _told(self, path: str, target: Path) -> StoredObject:
        try:
            status = files.status(target)
        except OSError as error:
            raise local_failure(self._name, f"looking at {path}", error) from error
        if status is None:
            raise vanished(self._name, path)
        return StoredObject(path=path, nbytes=status[0], modified_ns=status[1])

    def _missing(self, path: str) -> NotFoundError:
        return NotFoundError(
            f"destination {self._name!r} has no object {path}",
            hint="look who removes files there; a copy elsewhere can be put back under this name",
            kind=ErrorKind.NO_FILE,
        )

    def _refuse_if_readonly(self, doing: str) -> None:
        if self._readonly:
            raise read_only(self._name, doing)


def _check_size(placement: Placement) -> None:
    given = sum(memoryview(chunk).nbytes for chunk in placement.chunks)
    if given != placement.nbytes:
        raise InternalError(f"{placement.path}: {given} bytes were given, {placement.nbytes} were announced")


def _same_content(one: Path, other: Path) -> bool:
    size = files.status(other)
    return size is not None and size[0] == files.file_size(one) and files.sha256(one) == files.sha256(other)


def corrupt(name: str, path: str) -> DestinationError:
    """Make the error of other bytes under a name that should be ours."""
    return DestinationError(
        f"destination {name!r}: {path} exists with other bytes",
        hint="names are never used twice: find out who wrote it",
        kind=ErrorKind.CORRUPT,
    )


def check_range(byte_range: tuple[int, int] | None) -> None:
    """Refuse a range that is none."""
    if byte_range is not None and min(byte_range) < 0:
        raise InvalidInputError(f"byte range {byte_range!r}", hint="give (offset, length), both from 0 on")


def check_read(name: str, path: str, data: bytes, byte_range: tuple[int, int] | None) -> None:
    """Refuse a range of which a part was not there."""
    if byte_range is not None and len(data) != byte_range[1]:
        raise DestinationError(
            f"destination {name!r}: {path} ends before byte {sum(byte_range)}",
            hint="it was cut off: put it back from a copy",
            kind=ErrorKind.CORRUPT,
        )


def check_source(name: str, source: str, transfer: str, managed_roots: Iterable[Path]) -> Path:
    """Return the local file that is to be taken over.

    Parameters
    ----------
    name
        Of the destination that takes it over.
    source, transfer
        Its path, and how it is to be taken over.
    managed_roots
        Directories that managed stores own.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is no regular file, a symbolic link that is to be moved, or an object of a managed store.
    DestinationError
        It cannot be looked at.
    """
    if "\0" in source:
        raise InvalidInputError(f"{source!r} is no path of a file", kind=ErrorKind.NAME)
    try:
        return _check_source(source, transfer, managed_roots)
    except OSError as error:
        raise local_failure(name, f"taking over {source}", error) from error


def _check_source(source: str, transfer: str, managed_roots: Iterable[Path]) -> Path:
    given = Path(source).absolute()
    origin = files.real_path(given)
    refuse_managed(origin, source, managed_roots)
    if files.status(origin) is None:
        if files.exists(origin):
            raise InvalidInputError(f"{source} is no regular file", hint="name the file itself")
        raise NotFoundError(f"there is no file {source}", kind=ErrorKind.NO_FILE)
    if transfer == "move" and files.status(given) is None:
        raise InvalidInputError(
            f"{source} is a symbolic link", hint="move what it points to, or use transfer='copy'"
        )
    return origin


def refuse_managed(file: Path, given: str, managed_roots: Iterable[Path]) -> None:
    """Refuse a file that lies in a managed store: it may be an object of another dataset.

    Parameters
    ----------
    file
        Its path without symbolic links.
    given
        How it was named, for the message.
    managed_roots
        Directories that managed stores own, without symbolic links.
    """
    for root in managed_roots:
        if file.is_relative_to(root):
            raise InvalidInputError(
                f"{given} lies in {root}, which a destination of this repository manages",
                hint="copy it out of there first, or read the dataset that it belongs to",
            )


def local_root(settings: DestinationSettings, opening: Opening) -> Path | None:
    """Return the directory that a destination of this kind manages."""
    return _read_options(settings, opening)


def _read_options(settings: DestinationSettings, opening: Opening | None) -> Path:
    options = Options(settings, {"root"})
    root = options.required_text("root")
    path = local_path(options, "root", root, opening)
    if path is None:
        raise options.wrong("root", 'a URL of another machine needs kind = "objects"')
    return path


def check_settings(settings: DestinationSettings) -> None:
    """Check the settings of this kind without opening anything.

    Raises
    ------
    InvalidInputError
        An option is unknown, missing or not valid.
    """
    _read_options(settings, None)


def open_destination(settings: DestinationSettings, opening: Opening) -> FilesDestination:
    """Open a destination of this kind.

    Raises
    ------
    InvalidInputError
        The settings are not valid, or the directory is another repository's.
    DestinationError
        It cannot be opened.
    """
    return FilesDestination(settings.name, _read_options(settings, opening), opening)
