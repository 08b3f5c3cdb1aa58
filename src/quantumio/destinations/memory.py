"""Destination kind ``memory``: objects in this process's memory, gone with it.

Options: none.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve, frozen

from quantumio.destinations._failures import local_failure, read_only
from quantumio.destinations._names import check_path
from quantumio.destinations._options import Opening, Options
from quantumio.destinations.files import check_range, check_read, check_source, corrupt
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DestinationSettings
from quantumio.ports import Placement, StoredObject
from quantumio.system import environment, files

__all__ = ["TAKES_PACKS", "MemoryDestination", "check_settings", "open_destination"]

TAKES_PACKS: Final = True


@frozen(kw_only=True)
class _Held:
    data: bytes
    digest: str
    modified_ns: int


class MemoryDestination:
    """Objects in a dictionary; "durable" lasts as long as the destination is open.

    Parameters
    ----------
    name
        In the policy.
    readonly
        Whether changes are refused.
    managed_roots
        Directories of the managed stores of the repository: nothing is taken over from there.
    """

    kind: Final = "memory"
    is_local: Final = True
    parallelism: Final = 1

    def __init__(self, name: str, *, readonly: bool = False, managed_roots: Sequence[Path] = ()) -> None:
        self._name = name
        self._readonly = readonly
        self._managed_roots = managed_roots
        self._held: dict[str, _Held] = {}
        self._sessions: set[UUID] = set()
        self._identity = environment.uuid7()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._name

    def close(self) -> None:
        """Forget all objects; idempotent."""
        with self._lock:
            self._held.clear()
            self._sessions.clear()

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Keep all; see `quantumio.ports.ObjectDestination.place`."""
        self._refuse_if_readonly("writing")
        for placement in placements:
            check_path(placement.path)
        return [
            self._keep(placement.path, b"".join(placement.chunks), placement.digest)
            for placement in placements
        ]

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return an object, or ``(offset, length)`` of it; see `quantumio.ports.ObjectDestination.read`."""
        check_range(byte_range)
        held = self._held.get(check_path(path))
        if held is None:
            raise NotFoundError(f"destination {self._name!r} has no object {path}", kind=ErrorKind.NO_FILE)
        if byte_range is None:
            return held.data
        data = held.data[byte_range[0] : sum(byte_range)]
        check_read(self._name, path, data, byte_range)
        return data

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object; None if there is none."""
        held = self._held.get(check_path(path))
        return None if held is None else _told(path, held)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        self._refuse_if_readonly("removing")
        for path in paths:
            check_path(path)
        with self._lock:
            for path in paths:
                self._held.pop(path, None)

    def objects(self) -> Iterator[StoredObject]:
        """List all objects."""
        with self._lock:
            held = list(self._held.items())
        return (_told(path, item) for path, item in held)

    def url(self, path: str) -> str:
        """Return a name for people; nobody else can read it."""
        return f"memory://{self._name}/{check_path(path)}"

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Take over a local file by ``copy`` or ``move``; see `quantumio.ports.ObjectDestination.adopt`."""
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
            stored = evolve(self._keep(path, data, digest), digest=digest)
            if transfer == "move":
                files.remove(origin)
        except OSError as error:
            raise local_failure(self._name, f"taking over {source}", error) from error
        return stored

    def identity(self) -> UUID:
        """Return which store it is."""
        return self._identity

    @property
    def store_id(self) -> UUID:
        """Which store it places objects in."""
        return self._identity

    def clock_ns(self) -> int:
        """Return the time by the clock that its objects have their times from."""
        self._refuse_if_readonly("asking for the time")
        return environment.now_ns()

    def note_session(self, session: UUID) -> None:
        """Note that a process places objects here."""
        self._refuse_if_readonly("noting who writes")
        with self._lock:
            self._sessions.add(session)

    def sessions(self) -> Iterator[UUID]:
        """List who has noted itself."""
        with self._lock:
            return iter(sorted(self._sessions))

    def remains(self) -> Iterator[StoredObject]:
        """List nothing: an object is there as a whole, or not at all."""
        return iter(())

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove nothing; every path is refused, as none is left behind."""
        self._refuse_if_readonly("removing")
        for path in paths:
            raise InvalidInputError(f"{path!r} was not left behind", hint="list the remains first")

    def uploads(self) -> Iterator[StoredObject]:
        """List nothing: an object is there as a whole, or not at all."""
        return iter(())

    def _keep(self, path: str, data: bytes, digest: str) -> StoredObject:
        held = _Held(data=data, digest=digest, modified_ns=environment.now_ns())
        with self._lock:
            there = self._held.setdefault(path, held)
        if there.digest != digest or len(there.data) != len(data):
            raise corrupt(self._name, path)
        return _told(path, there)

    def _refuse_if_readonly(self, doing: str) -> None:
        if self._readonly:
            raise read_only(self._name, doing)


def _told(path: str, held: _Held) -> StoredObject:
    return StoredObject(path=path, nbytes=len(held.data), modified_ns=held.modified_ns, etag=held.digest)


def check_settings(settings: DestinationSettings) -> None:
    """Check the settings of this kind.

    Raises
    ------
    InvalidInputError
        There is an option: this kind has none.
    """
    Options(settings, ())


def open_destination(settings: DestinationSettings, opening: Opening) -> MemoryDestination:
    """Open a destination of this kind: an empty one.

    Raises
    ------
    InvalidInputError
        The settings are not valid.
    """
    check_settings(settings)
    return MemoryDestination(settings.name, readonly=opening.readonly, managed_roots=opening.managed_roots)
