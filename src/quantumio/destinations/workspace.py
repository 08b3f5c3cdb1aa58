"""Destination kind ``workspace``: a user's own space, a managed store with a tree of human names beside it.

Options: those of kind ``objects``, whose ``root`` is a path or URL that may hold ``{user}``, and ``quota``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve

from quantumio.destinations._names import check_path
from quantumio.destinations._options import Opening, Options, local_path
from quantumio.destinations._store_options import STORE_OPTIONS, StoreOptions
from quantumio.destinations.files import FilesDestination
from quantumio.destinations.objects import ObjectsDestination
from quantumio.errors import DestinationError, ErrorKind
from quantumio.model import DestinationSettings, encode_component
from quantumio.ports import Placement, StoredObject
from quantumio.system import environment, files

__all__ = ["WorkspaceDestination", "check_settings", "open_destination", "user_of"]

STORE: Final = ".quantumio"
"""Directory of the managed store, beside the tree of human names."""
_FIELD: Final = re.compile(r"\{([^{}]*)\}|[{}]")
_RECOUNT_S: Final = 60.0


class WorkspaceDestination:
    """A managed store below ``.quantumio``, a quota on it, and exported names for people beside it.

    Parameters
    ----------
    name
        In the policy.
    store
        The managed store.
    tree
        Directory or URL of the tree of human names.
    quota
        Most bytes that the store may hold, None for no limit.

    Notes
    -----
    The quota is counted from a listing of the store, and again each minute and before a refusal: several
    processes that write at the same moment may together exceed it by what they write in a minute.
    Exported names are hard links (no bytes) on a file system, copies inside of an object store.
    """

    kind: Final = "workspace"

    def __init__(
        self, name: str, store: FilesDestination | ObjectsDestination, tree: Path | str, *, quota: int | None
    ) -> None:
        self._name = name
        self._store = store
        self._tree = tree
        self._quota = quota
        self._lock = threading.Lock()
        self._stored = 0  # bytes, as counted last and written since
        self._on_the_way = 0  # bytes that calls are writing now
        self._counted_at: float | None = None

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._name

    @property
    def is_local(self) -> bool:
        """Whether reads need no network."""
        return self._store.is_local

    @property
    def parallelism(self) -> int:
        """How many calls may usefully run at the same time."""
        return self._store.parallelism

    def close(self) -> None:
        """Give up connections; idempotent."""
        self._store.close()

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Write all that the quota allows; see `quantumio.ports.ObjectDestination.place`.

        Raises
        ------
        DestinationError
            The quota does not hold them (``kind="disk_full"``); nothing was written. Or as of the store.
        """
        if not placements:
            return []
        with self._room(placements[0].path, sum(placement.nbytes for placement in placements)):
            return self._store.place(placements)

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Take over a local file; see `quantumio.ports.ObjectDestination.adopt`."""
        with self._room(path, _size(source)):
            return self._store.adopt(source, path, transfer)

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return an object, or ``(offset, length)`` of it; see `quantumio.ports.ObjectDestination.read`."""
        return self._store.read(path, byte_range)

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object; None if it is certain that there is none."""
        return self._store.stat(path)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        self._store.remove(paths)
        with self._lock:
            self._counted_at = None

    def objects(self) -> Iterator[StoredObject]:
        """List all objects (not the exported names)."""
        return self._store.objects()

    def url(self, path: str) -> str:
        """Return where the object is."""
        return self._store.url(path)

    def identity(self) -> UUID | None:
        """Look again which store it is."""
        return self._store.identity()

    @property
    def store_id(self) -> UUID | None:
        """Which store it places objects in."""
        return self._store.store_id

    def clock_ns(self) -> int | None:
        """Return the time by the clock of the store."""
        return self._store.clock_ns()

    def note_session(self, session: UUID) -> None:
        """Write down that a process places objects here."""
        self._store.note_session(session)

    def sessions(self) -> Iterator[UUID]:
        """List the processes that have placed objects here."""
        return self._store.sessions()

    def remains(self) -> Iterator[StoredObject]:
        """List what writing that was broken off has left in the store (not among the exported names)."""
        return self._store.remains()

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove some of it."""
        self._store.remove_remains(paths)

    def uploads(self) -> Iterator[StoredObject]:
        """List uploads in parts that were begun and not finished."""
        return self._store.uploads()

    def export(self, path: str, human_path: str) -> None:
        """Show a committed object under a name for people; see `ExportingDestination.export`."""
        if isinstance(self._store, FilesDestination):
            assert isinstance(self._tree, Path)
            self._store.export(path, self._tree, human_path)
        else:
            assert isinstance(self._tree, str)
            self._store.export(path, self._tree, human_path)

    def export_url(self, human_path: str) -> str:
        """Return where the exported name is."""
        check_path(human_path)
        if isinstance(self._tree, Path):
            return (self._tree / human_path).as_uri()
        return f"{self._tree}/{human_path}"

    # -- the quota

    @contextmanager
    def _room(self, path: str, nbytes: int) -> Iterator[None]:
        """Hold room for bytes while they are written."""
        if self._quota is None:
            yield
            return
        self._take(self._quota, path, nbytes)
        try:
            yield
        except BaseException:
            with self._lock:
                self._on_the_way -= nbytes
                self._counted_at = None  # a part may have been written
            raise
        with self._lock:
            self._on_the_way -= nbytes
            self._stored += nbytes

    def _take(self, quota: int, path: str, nbytes: int) -> None:
        with self._lock:
            now = environment.monotonic()
            if self._counted_at is None or now - self._counted_at > _RECOUNT_S:
                self._count(now)
            if self._stored + self._on_the_way + nbytes > quota and self._counted_at != now:
                self._count(now)
            if self._stored + self._on_the_way + nbytes > quota:
                raise DestinationError(
                    f"destination {self._name!r}: {path} and what goes with it ({nbytes:,} bytes) exceed "
                    f"the quota of {quota:,} bytes, of which {self._stored + self._on_the_way:,} are used",
                    hint=f"delete what is no longer needed, or raise quota in [destinations.{self._name}]",
                    kind=ErrorKind.DISK_FULL,
                )
            self._on_the_way += nbytes

    def _count(self, now: float) -> None:
        self._stored = sum(item.nbytes for item in self._store.objects())
        self._counted_at = now


def _size(source: str) -> int:
    """Return the size of a file that is to be taken over; what is wrong with it, that tells."""
    try:
        return files.file_size(files.real_path(Path(source))) or 0
    except (OSError, ValueError):
        return 0


def _expand(options: Options, root: str, user: str) -> str:
    """Put the encoded user name where ``{user}`` is; nothing else may stand in braces."""

    def replaced(match: re.Match[str]) -> str:
        if match[1] != "user":
            raise options.wrong("root", "the only field of a root is {user}")
        return encode_component(user)

    return _FIELD.sub(replaced, root)


def _read_options(settings: DestinationSettings) -> tuple[str, StoreOptions, int | None, Options]:
    options = Options(settings, (*STORE_OPTIONS, "quota"))
    root = _expand(options, options.required_text("root"), environment.user())
    local_path(options, "root", root, None)
    return root.rstrip("/"), StoreOptions.read(options), options.size("quota"), options


def local_root(settings: DestinationSettings, opening: Opening) -> Path | None:
    """Return the directory of its managed store (not of the names for people), None if it is a URL."""
    root, _, _, options = _read_options(settings)
    local = local_path(options, "root", root, opening)
    return None if local is None else files.real_path(local) / STORE


def remote_root(settings: DestinationSettings) -> str:
    """Return the URL of its managed store (not of the names for people)."""
    return f"{_read_options(settings)[0]}/{STORE}"


def user_of(settings: DestinationSettings) -> str | None:
    """Return whose store it is; None where ``root`` names no user."""
    root, _, _, read = _read_options(settings)
    return None if root == read.required_text("root").rstrip("/") else encode_component(environment.user())


def check_settings(settings: DestinationSettings) -> None:
    """Check the settings of this kind without opening anything.

    Raises
    ------
    InvalidInputError
        An option is unknown, missing or not valid.
    """
    _read_options(settings)


def open_destination(settings: DestinationSettings, opening: Opening) -> WorkspaceDestination:
    """Open the workspace of the user that this process runs as.

    Raises
    ------
    InvalidInputError
        The settings are not valid, or the store is another repository's.
    MissingExtraError
        The library of the store is not installed.
    DestinationError
        It cannot be reached.
    """
    user, users = user_of(settings), opening.workspaces
    if user is None or users is None:
        return _open(settings, opening)

    def is_in_use(name: str) -> bool:
        return opening.is_in_use(name) and users.may_have_workspace(name, user)

    workspace = _open(settings, evolve(opening, is_in_use=is_in_use))
    try:
        if not opening.readonly:
            users.note_workspace(settings.name, user)  # before anything is placed there
    except BaseException:
        workspace.close()
        raise
    return workspace


def _open(settings: DestinationSettings, opening: Opening) -> WorkspaceDestination:
    root, options, quota, read = _read_options(settings)
    local = local_path(read, "root", root, opening)
    if local is not None:
        tree = files.real_path(local)
        store = FilesDestination(settings.name, tree / STORE, opening, kind="workspace")
        return WorkspaceDestination(settings.name, store, tree, quota=quota)
    remote = options.connect(settings.name, root)
    try:
        objects = ObjectsDestination(settings.name, remote, f"{root}/{STORE}", opening, kind="workspace")
    except BaseException:
        remote.close()
        raise
    return WorkspaceDestination(settings.name, objects, root, quota=quota)
