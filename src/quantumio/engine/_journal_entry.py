"""One entry of the journal: its states, its owner, what is in it, and its end."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import frozen

from quantumio.engine._journal_manifest import JournalBlob, JournalManifest, is_blob_name
from quantumio.engine._output import Encoded
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    MutatedAfterPut,
    NotFoundError,
    QuantumioError,
    StateError,
)
from quantumio.system import environment, files, locks
from quantumio.system.os_errors import HINTS, os_error_kind

__all__ = [
    "DIRECTORY_MODE",
    "LOCK",
    "MAX_MANIFEST_BYTES",
    "ConflictNote",
    "JournalEntry",
    "JournalState",
    "telling",
]

LOCK: Final = "LOCK"
"""Name of the file whose lock an owner holds: of an entry, and of the journal itself."""
MAX_MANIFEST_BYTES: Final = 1 << 28
"""What a manifest may have; a larger one is neither written nor read."""
DIRECTORY_MODE: Final = 0o700
"""Of the journal and of its entries: what is in them is nobody else's yet."""

_MANIFEST: Final = "manifest.json"
_REASON: Final = "reason.json"
_BLOB_MODE: Final = 0o444  # a destination may link it into its store, where objects are immutable


class JournalState(StrEnum):
    """How far an entry is; the end of its directory's name."""

    TMP = "tmp"
    READY = "ready"
    DONE = "done"
    CONFLICT = "conflict"


@frozen(kw_only=True)
class ConflictNote:
    """Why an entry was set aside, and when (ns since 1970-01-01 UTC) and on which machine."""

    reason: str
    time_ns: int
    host: str


class JournalEntry:
    """One transaction in the journal. Used by one thread at a time; made by its `Journal`.

    A process that forks keeps its locks, the child has none.

    Attributes
    ----------
    txid
        Of its transaction.
    """

    def __init__(self, root: Path, txid: UUID, state: JournalState, journal_lock: locks.FileLock) -> None:
        self.txid = txid
        self._root = root
        self._state = state
        self._journal_lock = journal_lock
        self._lock: locks.FileLock | None = None

    def __repr__(self) -> str:
        return f"<JournalEntry {self.path.name}>"

    @property
    def state(self) -> JournalState:
        """How far it was when it was listed, or has been brought since."""
        return self._state

    @property
    def path(self) -> Path:
        """Where its directory is."""
        return self._path_as(self._state)

    def _path_as(self, state: JournalState) -> Path:
        return self._root / f"{self.txid}.{state}"

    @property
    def is_locked(self) -> bool:
        """Whether this object holds its lock."""
        return self._lock is not None and self._lock.is_held

    def held_by(self) -> str | None:
        """Tell for people which living process works on it; None where none does, or nobody knows."""
        pid = locks.FileLock(self.path / LOCK, follow_symlinks=False).holder()
        if pid is None:
            return None
        if pid == environment.pid():
            return f"held by process {pid}, this one: what was begun with it goes on in the background"
        return f"held by process {pid}" if pid else "held by a process outside of this container"

    # -- owning
    def lock(self) -> bool:
        """Take the lock, without waiting.

        Returns
        -------
        bool
            False where somebody else holds it, or the entry is no longer there in this state.

        Raises
        ------
        DestinationError
            The system refused.
        """
        if self.is_locked:
            return True
        with telling(f"locking {self.path}"), contextlib.suppress(FileNotFoundError), self._journal_lock:
            return files.is_directory(self.path) and self._take_lock()
        return False  # it was renamed, or the journal removed, between two steps

    def _take_lock(self) -> bool:
        self._lock = locks.FileLock(self.path / LOCK, follow_symlinks=False)
        if not self._lock.try_acquire():
            return False
        if self._lock.is_in_place():
            return True
        self._lock.release()  # its owner has renamed it, and was done with it before we had the lock
        return False

    def release(self) -> None:
        """Give the lock back and leave the entry as it is; idempotent."""
        if self._lock is not None and self._lock.is_held:
            self._lock.release()

    def _require(self, doing: str, *states: JournalState) -> None:
        if not self.is_locked:
            raise StateError(f"{doing} {self.path} needs its lock", hint="call lock() first")
        if self._state not in states:
            raise StateError(f"{self.path} is {self._state}: {doing} it is refused")

    # -- writing
    def write(self, content: bytes, blobs: Sequence[tuple[JournalBlob, Encoded]]) -> None:
        """Write it, and lock it; see `Journal.write`.

        Parameters
        ----------
        content
            Of the manifest's file.
        blobs
            What the manifest says of each, and the bytes.
        """
        with telling(f"making {self.path}"), self._journal_lock:
            self._refuse_another()
            self._make()
        try:
            for blob, encoded in blobs:
                self._write_blob(blob, encoded)
            self._seal(content)
        except BaseException:
            self._abandon()
            raise

    def _refuse_another(self) -> None:
        for state in JournalState:
            if files.has_name(taken := self._path_as(state)):
                raise _taken(taken)

    def _make(self) -> None:
        files.make_directory_new(self.path, mode=DIRECTORY_MODE)
        try:
            if not self._take_lock():
                raise _taken(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                files.remove(self.path / LOCK)
                files.remove_directory(self.path)
            raise

    def _write_blob(self, blob: JournalBlob, encoded: Encoded) -> None:
        path = self.blob_path(blob)
        with telling(f"writing {path}"):
            digest = files.write_unshared(path, encoded.chunks, mode=_BLOB_MODE)
        if digest != blob.digest:
            raise MutatedAfterPut(
                f"transaction {self.txid}: output {blob.output} was changed after it was encoded",
                hint="put a copy (own='copy'), or do not write to the object before the context ends",
            )

    def _seal(self, content: bytes) -> None:
        path = self.path / _MANIFEST
        with telling(f"writing {path}"):
            files.write_unshared(path, [content])
            files.fsync_directories([self.path])
        self._move(JournalState.READY)

    def _abandon(self) -> None:
        """Remove as much as can be of an entry that could not be written, and unlock it."""
        try:
            with contextlib.suppress(QuantumioError):
                if self._state is JournalState.READY:  # perhaps not durable: nobody must find it
                    self._move(JournalState.TMP)
            with contextlib.suppress(QuantumioError):
                if self._state is JournalState.TMP:
                    self._remove()
        finally:
            self.release()

    # -- reading
    def manifest(self) -> JournalManifest:
        """Return its manifest, verified.

        Raises
        ------
        DestinationError
            It is damaged (``kind="corrupt"``), or cannot be read now.
        StateError
            A newer version wrote it (``kind="newer_schema"``).
        NotFoundError
            The entry is gone: somebody has finished it.
        """
        path = self.path / _MANIFEST
        data = self._read(path, MAX_MANIFEST_BYTES)
        try:
            manifest = JournalManifest.from_bytes(data)
        except InvalidInputError as error:
            if error.kind is ErrorKind.NEWER_SCHEMA:
                raise StateError(f"{path}: {error.message}", hint=error.hint, kind=error.kind) from error
            raise _damaged(path, error.message) from error
        if manifest.transaction.txid != self.txid:
            raise _damaged(path, f"it is of transaction {manifest.transaction.txid}")
        return manifest

    def blob_path(self, blob: JournalBlob) -> Path:
        """Return where a blob is, for a destination that can link it; not verified."""
        return self.path / blob.file

    def read(self, blob: JournalBlob) -> Encoded:
        """Return the bytes of a blob, verified before anybody sees them.

        Raises
        ------
        DestinationError
            They are damaged (``kind="corrupt"``), or cannot be read now.
        NotFoundError
            The entry is gone: somebody has finished it.

        Notes
        -----
        They are read, not mapped: of a mapped file an error of the disk kills the process, and what was
        verified can change.
        """
        path = self.blob_path(blob)
        data = self._read(path, blob.nbytes, exactly=True)
        if hashlib.sha256(data).hexdigest() != blob.digest:
            raise _damaged(path, "its bytes have another digest")
        return Encoded(chunks=(data,), nbytes=blob.nbytes, digest=blob.digest)

    def damages(self, manifest: JournalManifest) -> list[str]:
        """Tell which blobs are not there with their size; what is in them is not looked at.

        Raises
        ------
        NotFoundError
            The entry is gone: somebody has finished it.
        """
        found = []
        for blob in manifest.blobs:
            path = self.blob_path(blob)
            try:
                with telling(f"looking at {path}"):
                    self._check(path, blob.nbytes, exactly=True)
            except DestinationError as error:
                found.append(error.message)
        return found

    def note(self) -> ConflictNote:
        """Return why a promised transaction was not made visible.

        Raises
        ------
        DestinationError
            It is damaged (``kind="corrupt"``), or cannot be read now.
        NotFoundError
            The entry is gone.
        """
        path = self.path / _REASON
        try:
            told = json.loads(self._read(path, MAX_MANIFEST_BYTES))
            return ConflictNote(
                reason=str(told["reason"]), time_ns=int(told["time_ns"]), host=str(told["host"])
            )
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise _damaged(path, f"it says no reason: {error!r}") from error

    def nbytes(self) -> int:
        """Return what its files take, in bytes.

        Raises
        ------
        DestinationError
            They cannot be listed.
        """
        with telling(f"listing {self.path}"):
            return sum(size for _, size, _ in files.list_files(self.path))

    def _read(self, path: Path, nbytes: int, *, exactly: bool = False) -> bytes:
        """Read a file of the entry that has at most, or exactly, so many bytes."""
        with telling(f"reading {path}"):
            self._check(path, nbytes, exactly=exactly)
            return files.read_bytes(path)

    def _check(self, path: Path, nbytes: int, *, exactly: bool) -> None:
        if not files.is_directory(self.path):
            raise NotFoundError(f"{self.path} is no longer in the journal", kind=ErrorKind.NO_FILE)
        status = files.status(path)
        if status is None:
            raise _damaged(path, "it is missing, or no regular file")
        if status[0] > nbytes or (exactly and status[0] < nbytes):
            raise _damaged(path, f"it has {status[0]} bytes instead of {nbytes}")

    # -- the end
    def finish(self) -> None:
        """Remove it: its transaction is visible, or nobody wants it any more. Gives the lock back.

        Raises
        ------
        StateError
            It is not locked, or neither ready nor a conflict that was resolved.
        DestinationError
            It could not be removed. Once it is ``done`` a `discard` completes it.
        """
        self._require("finishing", JournalState.READY, JournalState.CONFLICT)
        self._move(JournalState.DONE)
        self._remove()

    def keep_as_conflict(self, reason: str) -> None:
        """Keep it for people: its transaction was promised, and cannot be made visible. Unlocks it.

        Parameters
        ----------
        reason
            Why; durable with the entry.

        Raises
        ------
        StateError
            It is not locked, or not ready.
        DestinationError
            It could not be written.
        """
        self._require("keeping", JournalState.READY)
        told = {
            "version": 1,
            "reason": reason,
            "time_ns": environment.now_ns(),
            "host": environment.host(),
        }
        path = self.path / _REASON
        with telling(f"writing {path}"):
            files.remove(path)  # somebody who died here may have left a part of one
            files.write_unshared(path, [json.dumps(told).encode()])
            files.fsync_directories([self.path])
        self._move(JournalState.CONFLICT)
        self.release()

    def discard(self) -> None:
        """Remove what its writer left unfinished, or finished already. Gives the lock back.

        Raises
        ------
        StateError
            It is not locked, or not to be removed in its state.
        DestinationError
            It could not be removed.
        """
        self._require("discarding", JournalState.TMP, JournalState.DONE)
        # Its writer may have been killed before its name was durable: a power cut must not bring the old
        # one back, with half of the files.
        with telling(f"removing {self.path}"):
            files.fsync_directories([self._root])
        self._remove()

    def _move(self, state: JournalState) -> None:
        target = self._path_as(state)
        with telling(f"renaming {self.path} to {target.name}"):
            try:
                files.rename_new(self.path, target)
            except FileExistsError:
                raise _taken(target) from None
            finally:
                # by what is there: an interrupt may have come when it was done
                self._state = self._state if files.is_directory(self.path) else state
            files.fsync_directories([self._root])

    def _remove(self) -> None:
        """Remove the files that the journal made, its lock last, and the directory.

        What somebody else put there stays, and the directory with it.
        """
        with telling(f"removing {self.path}"):
            names = [name for name, _ in files.list_directory(self.path) if name != LOCK]
            for name in filter(_is_ours, names):
                files.remove(self.path / name)
            if foreign := [name for name in names if not _is_ours(name)]:
                raise DestinationError(
                    f"{self.path} is not removed: somebody else put {foreign[0]!r} there",
                    hint="move it away, then run `quantumio recover`",
                    kind=ErrorKind.CORRUPT,
                )
            with self._journal_lock:  # nobody finds the entry without its lock
                try:
                    files.remove(self.path / LOCK)
                    files.remove_directory(self.path)
                finally:
                    self.release()


def _is_ours(name: str) -> bool:
    return name in (_MANIFEST, _REASON) or is_blob_name(name)


@contextlib.contextmanager
def telling(doing: str) -> Iterator[None]:
    """Turn an error of the operating system into one of ours that says what failed."""
    try:
        yield
    except OSError as error:
        kind = os_error_kind(error)
        raise DestinationError(
            f"{doing} failed: {error.strerror or error}", hint=HINTS[kind], kind=kind
        ) from error


def _taken(path: Path) -> ConflictError:
    return ConflictError(
        f"the transaction has an entry in the journal: {path}",
        hint="run `quantumio recover`; a transaction is journaled once",
    )


def _damaged(path: Path, how: str) -> DestinationError:
    return DestinationError(
        f"{path} is damaged: {how}",
        hint="put the directory back from a copy, or move it out of the journal",
        kind=ErrorKind.CORRUPT,
    )
