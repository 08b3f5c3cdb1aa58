"""Looking at one copy of a dataset, and telling what is certain from what cannot be known now."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from quantumio.engine._fsck_report import FsckTrouble
from quantumio.errors import DestinationError, ErrorKind, FormatError, NotFoundError, QuantumioError
from quantumio.model import DIRECT, Artifact, StoredDataset
from quantumio.ports import (
    Destinations,
    Formats,
    ObjectDestination,
    TableDelegate,
    TableDestination,
    is_table,
)

__all__ = ["DECODE", "DIGEST", "Broken", "Examiner"]

DIGEST: Final = 2
DECODE: Final = 3
"""Levels from which on bytes are read, and decoded."""


class Broken(Exception):
    """A copy is not as it should be. Never leaves the engine.

    Parameters
    ----------
    user
        In whose store it is, where nobody else can look; empty where nobody knows.
    """

    def __init__(self, trouble: FsckTrouble, detail: str, *, user: str | None = None) -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.detail = detail
        self.user = user


class Examiner:
    """Looks at copies, and changes nothing. Thread-safe.

    Parameters
    ----------
    lost
        Destinations of which it is believed that they have nothing at all.
    user_of_object
        Tells in which user's store an object is, None where nobody knows.

    Attributes
    ----------
    away
        Destinations that cannot be used, and why: they are not asked again.
    """

    def __init__(
        self,
        destinations: Destinations,
        formats: Formats,
        lost: Collection[str],
        user_of_object: Callable[[str, str], str | None],
    ) -> None:
        self._destinations = destinations
        self._user_of_object = user_of_object
        self._formats = formats
        self.away: dict[str, str] = {}
        self._lost = lost
        self._has_objects: set[str] = set()

    def forget_stores(self) -> None:
        """Have every store prove again that it is there."""
        self._has_objects.clear()

    def examine(self, stored: StoredDataset, artifact: Artifact, level: int) -> bool:
        """Look at one copy; False where the level does not tell anything of it.

        Raises
        ------
        Broken
            It is not as it should be, or cannot be looked at.
        """
        destination = self.open(artifact.destination)
        try:
            if is_table(destination):
                return self._examine_rows(destination, stored, artifact, level)
            self._stat(destination, artifact)
            if level >= DIGEST:
                data = self.verified(destination, artifact)
                if level >= DECODE:
                    self.decode(stored, artifact, data)
                elif not artifact.digest:
                    return False  # there are as many bytes as there were; nobody knows which
        except NotFoundError as error:
            is_away = error.kind is ErrorKind.UNREACHABLE  # the database itself is not there
            raise Broken(FsckTrouble.UNKNOWN if is_away else FsckTrouble.MISSING, error.message) from error
        except FormatError as error:
            raise Broken(FsckTrouble.UNREADABLE, error.message) from error
        except DestinationError as error:
            is_corrupt = error.kind is ErrorKind.CORRUPT
            trouble = FsckTrouble.WRONG_DIGEST if is_corrupt else FsckTrouble.UNKNOWN
            raise Broken(trouble, error.message) from error
        except QuantumioError as error:  # a missing library, a path that is refused
            raise Broken(FsckTrouble.UNKNOWN, error.message) from error
        return True

    def open(self, name: str) -> ObjectDestination | TableDestination:
        """Return a destination; one that cannot be opened is away from then on."""
        try:
            return self._destinations.get(name)
        except QuantumioError as error:
            self.away[name] = error.message
            raise Broken(FsckTrouble.UNKNOWN, f"it cannot be opened: {error.message}") from error

    def _stat(self, destination: ObjectDestination, artifact: Artifact) -> None:
        try:
            told = destination.stat(artifact.path)
            if told is None:
                self._check_user(artifact)
                self._check_store(destination)
        except DestinationError as error:
            self._note_if_away(artifact, error)
            raise
        if told is None:
            raise Broken(FsckTrouble.MISSING, f"{artifact.path} is not there")
        if artifact.offset is not None and told.nbytes >= artifact.offset + artifact.nbytes:
            return  # its bytes are in the pack
        if told.nbytes != artifact.nbytes:
            raise Broken(
                FsckTrouble.WRONG_SIZE, f"{artifact.path} has {told.nbytes} bytes, not {artifact.nbytes}"
            )

    def _note_if_away(self, artifact: Artifact, error: QuantumioError) -> None:
        # Files that stay where they were may each lie on another disk: one says nothing of the others.
        is_by_itself = artifact.destination == DIRECT and "://" not in artifact.path.removeprefix("file://")
        if error.kind in (ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT) and not is_by_itself:
            self.away[artifact.destination] = error.message

    def _check_user(self, artifact: Artifact) -> None:
        """Refuse to miss in one user's store what is, or may be, in that of another.

        Raises
        ------
        Broken
            Only that user can look for it.
        """
        user = self._destinations.user_of(artifact.destination)
        if user is None:
            return
        other = self._user_of_object(artifact.destination, artifact.path)
        if other is None:
            detail = (
                f"what user {user!r} does not have may be in the store of another user: nobody knows whose"
            )
        elif other != user:
            detail = f"what user {other!r} has placed there is in a store that only {other!r} can check"
        else:
            return
        raise Broken(FsckTrouble.UNKNOWN, detail, user=other or "")

    def _check_store(self, destination: ObjectDestination) -> None:
        """Refuse to believe a store that has nothing at all, as a disk has that is not mounted.

        Raises
        ------
        DestinationError
            It has nothing.
        """
        name = destination.name
        if name == DIRECT or name in self._lost or name in self._has_objects:
            return
        if next(iter(destination.objects()), None) is None:
            raise DestinationError(
                f"destination {name!r} holds no object at all", hint="is its disk mounted?"
            )
        self._has_objects.add(name)

    def verified(self, destination: ObjectDestination, artifact: Artifact) -> bytes:
        """Return the bytes of an artifact, if they are those that were written."""
        data = destination.read(artifact.path, artifact.byte_range)
        if not artifact.matches(data):
            raise Broken(
                FsckTrouble.WRONG_DIGEST, f"{artifact.path} does not hold the bytes that were written"
            )
        return data

    def decode(self, stored: StoredDataset, artifact: Artifact, data: bytes) -> None:
        """Decode the bytes of an artifact, for what that raises."""
        self._formats.format(artifact.format).decode(data, stored.ref.dataset_type.storage_class)

    def _examine_rows(
        self, destination: TableDestination, stored: StoredDataset, artifact: Artifact, level: int
    ) -> bool:
        if level < DIGEST or artifact.load_id is None:
            return False
        try:
            rows = destination.read(artifact.path, artifact.load_id)  # verifies the checksum of the load
        except (DestinationError, NotFoundError) as error:
            self._note_if_away(artifact, error)
            raise
        if level >= DECODE:
            delegate = self._formats.delegate(stored.ref.dataset_type.storage_class)
            assert isinstance(delegate, TableDelegate)
            delegate.from_arrow(rows)
        return True
