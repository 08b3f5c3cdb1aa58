"""Destination kind ``objects``: any store that fsspec opens (``s3://``, ``gs://``, ``memory://``, ``file://``...).

Options: ``root`` (a URL), ``credentials`` (the name of a profile), ``endpoint``, ``region``, ``timeout_s``,
``insecure``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from attrs import evolve

from quantumio.destinations._failures import local_failure, read_only, vanished
from quantumio.destinations._identity import IDENTITY_PATH, check_identity, new_identity, store_gone
from quantumio.destinations._names import RESERVED, check_path
from quantumio.destinations._options import Opening, Options, is_url, local_path
from quantumio.destinations._remote import GCS, S3, Answer, RemoteFiles, Trouble
from quantumio.destinations._remote_objects import (
    DIGEST_KEY,
    LARGEST_READ,
    Head,
    head,
    missing,
    read_object,
    told,
)
from quantumio.destinations._sessions import (
    CLOCK,
    SESSIONS,
    check_clock,
    new_clock,
    session_content,
    session_named,
    session_path,
)
from quantumio.destinations._store_options import STORE_OPTIONS, StoreOptions
from quantumio.destinations._writers import Writers
from quantumio.destinations.files import FilesDestination, check_source, corrupt
from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DestinationSettings
from quantumio.ports import Placement, StoredObject
from quantumio.system import environment, files

__all__ = ["TAKES_PACKS", "ObjectsDestination", "check_settings", "open_destination"]

TAKES_PACKS: Final = True

_WRITERS: Final = 8
_ATTEMPTS: Final = 5
_BUDGET_S: Final = 600.0
_BACK_OFF_S: Final = 0.2
_LONGEST_BACK_OFF_S: Final = 20.0
_NOT_KEPT: Final = Trouble(
    answer=Answer.UNKNOWN, kind=ErrorKind.UNREACHABLE, text="the store does not show what it took"
)


class ObjectsDestination:
    """Immutable objects below one URL, each verified before `place` returns.

    Parameters
    ----------
    name, kind
        In the policy.
    remote
        The file system.
    root
        The URL below which objects are.
    opening
        Whose store it is, and whether it may be written.

    Raises
    ------
    InvalidInputError
        The store is another repository's.
    DestinationError
        It cannot be reached or written.

    Notes
    -----
    An object is written create-only where the store can do that. After an answer that leaves open whether
    it was written (412, 409, 5xx, a timeout, a lost connection) the object is read back by its name,
    which nobody else uses: ours counts as written, an absent one is written again, another one is refused.
    """

    is_local: Final = False
    parallelism: Final = _WRITERS

    def __init__(
        self, name: str, remote: RemoteFiles, root: str, opening: Opening, *, kind: str = "objects"
    ) -> None:
        self._name = name
        self._kind = kind
        self._remote = remote
        self._root = remote.strip(root).rstrip("/")
        self._readonly = opening.readonly
        self._managed_roots = opening.managed_roots
        self._closing = threading.Event()
        self._writers = Writers(name, _WRITERS)
        self._repository_id = opening.repository_id
        self._store_id: UUID | None = None
        self._identify(opening)

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._name

    @property
    def kind(self) -> str:
        """Kind in the policy."""
        return self._kind

    def close(self) -> None:
        """Close connections; calls that wait for a retry give up. Idempotent."""
        self._closing.set()
        self._writers.close()
        self._remote.close()

    # -- writing

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Write and verify all; see `quantumio.ports.ObjectDestination.place`."""
        self._refuse_if_readonly("writing")
        for placement in placements:
            check_path(placement.path)
        return self._writers.each(self._place_one, placements)

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Upload a local file by ``copy`` or ``move``; see `quantumio.ports.ObjectDestination.adopt`."""
        self._refuse_if_readonly("adopting a file")
        check_path(path)
        if transfer not in ("copy", "move"):
            raise InvalidInputError(
                f"destination {self._name!r} cannot take over a file by transfer={transfer!r}",
                hint="use 'copy' or 'move'",
            )
        origin = check_source(self._name, source, transfer, self._managed_roots)
        try:
            data = files.read_bytes(origin)
            digest = hashlib.sha256(data).hexdigest()
            stored = self._place_one(Placement(path=path, chunks=[data], nbytes=len(data), digest=digest))
            if transfer == "move":
                files.remove(origin)
        except OSError as error:
            raise local_failure(self._name, f"taking over {source}", error) from error
        return evolve(stored, digest=digest)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        self._refuse_if_readonly("removing")
        for path in paths:
            check_path(path)
        self._writers.each(self._remove_one, paths)

    def export(self, path: str, tree: str, human_path: str) -> None:
        """Copy an object, inside of the store, to a name in a tree for people.

        Parameters
        ----------
        path
            Of the object.
        tree
            URL of the tree.
        human_path
            The name, relative to ``tree``.

        Raises
        ------
        ConflictError
            Another object has the name; it was not touched.
        NotFoundError
            There is no such object.
        DestinationError
            It could not be copied.
        """
        self._refuse_if_readonly("exporting")
        source = self._full(check_path(path))
        target = f"{self._remote.strip(tree).rstrip('/')}/{check_path(human_path)}"
        found = self._head(path)
        if found is None:
            raise self._missing(path)
        there = head(self._remote, self._name, human_path, target)
        if there is not None:
            if there.told.nbytes == found.told.nbytes and there.digest == found.digest:
                return
            raise ConflictError(
                f"destination {self._name!r}: another object has the name {self._remote.url(target)}",
                hint="move it away, then export again",
                kind=ErrorKind.EXISTS,
            )
        try:
            self._remote.make_parent(target)
            self._remote.call("cp_file", source, target, nbytes=found.told.nbytes)
        except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
            raise self._failure(f"exporting {human_path}", error) from None

    # -- reading

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return an object, or ``(offset, length)`` of it; see `quantumio.ports.ObjectDestination.read`."""
        return self._read(check_path(path), byte_range)

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object; None if it is certain that there is none."""
        found = self._head(check_path(path))
        return None if found is None else found.told

    def objects(self) -> Iterator[StoredObject]:
        """List all objects."""
        return (found for found in self._list() if not found.path.startswith(f"{RESERVED}/"))

    def url(self, path: str) -> str:
        """Return where the object is."""
        return self._remote.url(self._full(check_path(path)))

    # -- looking after the store

    def identity(self) -> UUID | None:
        """Look again which store it is; see `quantumio.ports.ManagedDestination`."""
        content = self._read_identity()
        where = self._remote.url(self._root)
        return None if content is None else check_identity(self._name, where, content, self._repository_id)

    @property
    def store_id(self) -> UUID | None:
        """Which store it was when it was opened."""
        return self._store_id

    def clock_ns(self) -> int | None:
        """Return the time by the clock of the store; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("asking for the time")
        placed = self._place_one(_reserved(new_clock(), b"?"))
        self._remove_one(placed.path)
        return placed.modified_ns

    def note_session(self, session: UUID) -> None:
        """Write down that a process places objects here; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("noting who writes")
        self._place_one(_reserved(session_path(session), session_content(session)))

    def sessions(self) -> Iterator[UUID]:
        """List the processes that have placed objects here."""
        for found in self._list(SESSIONS):
            if (session := session_named(found.path)) is not None:
                yield session

    def remains(self) -> Iterator[StoredObject]:
        """List what asking for the time has left; an object is there as a whole, or not at all."""
        return self._list(CLOCK)

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove some of it; see `quantumio.ports.ManagedDestination`."""
        self._refuse_if_readonly("removing")
        self._writers.each(self._remove_one, [check_clock(path) for path in paths])

    def uploads(self) -> Iterator[StoredObject]:
        """List uploads in parts that were begun and not finished; none where the store does not tell."""
        if self._remote.protocol not in S3:
            return
        bucket, _, prefix = f"{self._root.lstrip('/')}/".partition("/")
        try:
            answer = self._remote.call("call_s3", "list_multipart_uploads", Bucket=bucket, Prefix=prefix)
        except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
            raise self._failure("listing uploads", error) from None
        for found in answer.get("Uploads", []):
            yield told(found["Key"].removeprefix(prefix), {"size": 0, "LastModified": found.get("Initiated")})

    def _list(self, below: str = "") -> Iterator[StoredObject]:
        try:
            found = self._remote.find(f"{self._root}/{below}".rstrip("/"), LARGEST_READ)
        except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
            raise self._failure("listing", error) from None
        prefix = f"{self._root.lstrip('/')}/"
        for full, info in found.items():
            yield told(full.lstrip("/").removeprefix(prefix), info)

    # -- inside

    def _identify(self, opening: Opening) -> None:
        where = self._remote.url(self._root)
        trouble: Trouble | None = None
        try:
            content = self._read_identity()
            if content is None and not (opening.readonly or opening.anew) and opening.is_in_use(self._name):
                content = self._read_identity()  # or somebody has made it, and used it, in between
                if content is None:
                    raise store_gone(self._name, where)
            if content is None and not opening.readonly:
                identity = new_identity(opening.repository_id, anew=opening.anew)
                self._write(self._full(IDENTITY_PATH), identity, None)
        except DestinationError:
            raise
        except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
            trouble = self._remote.understand(error)
        else:
            if opening.readonly and content is None:
                return  # nobody has written here yet
        # read back what is there now: somebody may have been first
        if trouble is None or trouble.answer is Answer.UNKNOWN:
            self._store_id = self.identity()
        if self._store_id is None:
            raise self._remote.failure(self._name, f"opening {where}", trouble or _NOT_KEPT)

    def _read_identity(self) -> bytes | None:
        try:
            return read_object(self._remote, self._name, IDENTITY_PATH, self._full(IDENTITY_PATH), None)
        except NotFoundError:
            return None

    def _place_one(self, placement: Placement) -> StoredObject:
        data = _joined(placement)
        deadline = environment.monotonic() + _BUDGET_S
        trouble: Trouble | None = None
        for attempt in range(_ATTEMPTS):
            if attempt and (environment.monotonic() > deadline or self._pause(attempt)):
                break
            try:
                self._write(self._full(placement.path), data, placement.digest)
            except DestinationError:
                raise
            except Exception as error:  # noqa: BLE001 - of many libraries; each is understood
                trouble = self._remote.understand(error)
                if trouble.answer is Answer.REFUSED:
                    break
            else:
                trouble = None
            found = self._head(placement.path)
            if found is not None:
                self._verify(placement, found, certain=trouble is None)
                return found.told
            trouble = trouble or _NOT_KEPT
        assert trouble is not None
        raise self._remote.failure(self._name, f"writing {placement.path}", trouble)

    def _write(self, full: str, data: bytes, digest: str | None) -> None:
        options: dict[str, Any] = {}
        if self._remote.creates_only:
            options["mode"] = "create"
        if digest is not None and self._remote.protocol in S3:
            options["Metadata"] = {DIGEST_KEY: digest}
        elif digest is not None and self._remote.protocol in GCS:
            options["metadata"] = {DIGEST_KEY: digest}
        if not self._remote.creates_only and head(self._remote, self._name, full, full) is not None:
            raise FileExistsError(full)
        self._remote.make_parent(full)
        self._remote.call("pipe_file", full, data, nbytes=len(data), **options)

    def _verify(self, placement: Placement, found: Head, *, certain: bool) -> None:
        """Accept what is under the name if it is what was to be written.

        After a certain answer its size says so; after any other its digest must, kept by the store or
        computed from its bytes.
        """
        same = found.told.nbytes == placement.nbytes
        if same and found.digest is not None:
            same = found.digest == placement.digest
        elif same and not certain:
            try:
                data = self._read(placement.path)
            except NotFoundError as error:
                raise vanished(self._name, placement.path) from error
            same = hashlib.sha256(data).hexdigest() == placement.digest
        if not same:
            raise corrupt(self._name, placement.path)

    def _remove_one(self, path: str) -> None:
        try:
            self._remote.call("rm_file", self._full(path))
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
            raise self._failure(f"removing {path}", error) from None

    def _head(self, path: str) -> Head | None:
        return head(self._remote, self._name, path, self._full(path))

    def _read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        return read_object(self._remote, self._name, path, self._full(path), byte_range)

    def _full(self, path: str) -> str:
        """Return a path that was checked, or that this module has made, as one of the file system."""
        return f"{self._root}/{path}"

    def _pause(self, attempt: int) -> bool:
        """Wait before a retry (full jitter); True if the destination is being closed."""
        longest = min(_LONGEST_BACK_OFF_S, _BACK_OFF_S * 2**attempt)
        return self._closing.wait(longest * int(environment.random_token(4), 16) / 2**32)

    def _failure(self, doing: str, error: Exception) -> DestinationError:
        return self._remote.failure(self._name, doing, self._remote.understand(error))

    def _missing(self, path: str) -> NotFoundError:
        return missing(self._name, path)

    def _refuse_if_readonly(self, doing: str) -> None:
        if self._readonly:
            raise read_only(self._name, doing)


def _reserved(path: str, content: bytes) -> Placement:
    """Make the placement of something that is no object of a dataset."""
    digest = hashlib.sha256(content).hexdigest()
    return Placement(path=path, chunks=(content,), nbytes=len(content), digest=digest)


def _joined(placement: Placement) -> bytes:
    if len(placement.chunks) == 1 and isinstance(placement.chunks[0], bytes):
        return placement.chunks[0]
    return b"".join(placement.chunks)


def _read_options(settings: DestinationSettings) -> tuple[str, StoreOptions, Options]:
    options = Options(settings, STORE_OPTIONS)
    root = options.required_text("root")
    if not is_url(root):
        raise options.wrong("root", 'give a URL such as "s3://bucket/prefix", or use kind = "files"')
    local_path(options, "root", root, None)
    return root, StoreOptions.read(options), options


def local_root(settings: DestinationSettings, opening: Opening) -> Path | None:
    """Return the directory that a destination of this kind manages, None if its URL names none here."""
    root, _, options = _read_options(settings)
    return local_path(options, "root", root, opening)


def remote_root(settings: DestinationSettings) -> str:
    """Return the URL below which objects are."""
    return _read_options(settings)[0]


def check_settings(settings: DestinationSettings) -> None:
    """Check the settings of this kind without opening anything.

    Raises
    ------
    InvalidInputError
        An option is unknown, missing or not valid.
    """
    _read_options(settings)


def open_destination(
    settings: DestinationSettings, opening: Opening
) -> ObjectsDestination | FilesDestination:
    """Open a destination of this kind.

    ``file://`` URLs are written by quantumio's own code: fsspec's does not make files durable.

    Raises
    ------
    InvalidInputError
        The settings are not valid, or the store is another repository's.
    MissingExtraError
        The library of the store is not installed.
    DestinationError
        It cannot be reached.
    """
    root, store, options = _read_options(settings)
    local = local_path(options, "root", root, opening)
    if local is not None:
        return FilesDestination(settings.name, local, opening, kind="objects")
    remote = store.connect(settings.name, root)
    try:
        return ObjectsDestination(settings.name, remote, root, opening)
    except BaseException:
        remote.close()
        raise
