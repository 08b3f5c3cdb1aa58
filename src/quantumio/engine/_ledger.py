"""The error ledger: no background failure is ever lost."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from attrs import evolve

from quantumio.errors import DestinationError, ErrorKind, QuantumioError
from quantumio.model import DatasetRef, LedgerEntry
from quantumio.system import environment, files, threads

__all__ = ["ErrorLedger"]

logger = logging.getLogger(__name__)

_ENDING: Final = ".json"
_SET_ASIDE: Final = ".unreadable"
_UNREADABLE: Final = (OSError, ValueError, TypeError, LookupError, RecursionError, QuantumioError)

_Same: TypeAlias = tuple[object, ...]


class ErrorLedger:
    """Background failures, each once, until acknowledged, or until its transaction is visible. Thread-safe.

    A failure that was raised to a caller who waited for it is *delivered*: it stays listed until
    acknowledged, but `raise_undelivered` does not raise it again.

    Parameters
    ----------
    directory
        Where failures are kept beyond the end of the process, each in a file; None keeps them in memory
        alone. Those of other processes, dead or alive, are listed with one's own.
    readonly
        Whether the directory is only read.
    """

    def __init__(self, directory: Path | None = None, *, readonly: bool = False) -> None:
        self._directory = directory
        self._readonly = readonly
        self._disk = threading.RLock()
        """Held by whoever reads or writes the directory; never taken by who holds the other lock."""
        self._lock = threading.RLock()  # for moments; an abandoned context may be collected under it
        self._entries: dict[_Same, LedgerEntry] = {}
        self._files: dict[str, _Same] = {}
        """Whose they are is not said: processes that have failed in the same way share one."""
        self._unreadable: dict[str, LedgerEntry] = {}
        """What stands for files that could not be read, by their names; each is tried again."""
        self._doubtful: set[str] = set()
        """Files that were written here, are not durable, and could not be removed: they keep nothing."""
        self._unsaved: set[_Same] = set()
        self._logged: set[int] = set()
        self._again: dict[_Same, LedgerEntry] = {}
        self._undelivered: set[_Same] = set()
        self._next = 1

    def add(
        self,
        kind: ErrorKind,
        message: str,
        *,
        txid: UUID | None = None,
        ref: DatasetRef | None = None,
        destination: str | None = None,
    ) -> None:
        """Record one failure, in memory; `save` makes it survive. One that is listed already is not new."""
        with self._lock:
            entry = LedgerEntry(
                number=self._next,
                time_ns=environment.now_ns(),
                txid=txid,
                ref=ref,
                destination=destination,
                kind=kind,
                message=message,
            )
            if _same(entry) in self._entries:
                self._again[_same(entry)] = entry  # unless somebody has acknowledged it meanwhile
            else:
                self._add(entry)

    def _add(self, entry: LedgerEntry) -> None:
        self._keep(entry)
        self._unsaved.add(_same(entry))
        self._undelivered.add(_same(entry))

    def _keep(self, entry: LedgerEntry) -> None:
        self._entries[_same(entry)] = entry
        self._next = entry.number + 1

    def _forget(self, same: _Same) -> None:
        self._logged.discard(self._entries.pop(same).number)
        self._unsaved.discard(same)
        self._undelivered.discard(same)

    @property
    def has_unsaved(self) -> bool:
        """Whether there is something for `save`."""
        return self._directory is not None and not self._readonly and bool(self._unsaved or self._again)

    def save(self) -> None:
        """Write new failures to disk. Blocks; what cannot be written is logged, and tried again next time."""
        if self._directory is None or self._readonly:
            return
        with self._disk:
            self._load()
            with self._lock:
                again, self._again = self._again, {}
                for same, entry in again.items():
                    if same not in self._entries:  # another process has acknowledged it, and it was met again
                        self._add(evolve(entry, number=self._next))
                unsaved = sorted((self._entries[one] for one in self._unsaved), key=lambda one: one.number)
            if unsaved:
                self._save(self._directory, unsaved)

    async def save_from_loop(self) -> None:
        """Write new failures to disk in a thread. Whatever goes wrong is logged: they stay to be saved."""
        if not self.has_unsaved:
            return
        try:
            await threads.run(self.save)
        except Exception:
            logger.exception("failures in the background are not kept beyond this process yet")

    def _save(self, directory: Path, unsaved: Sequence[LedgerEntry]) -> None:
        try:
            files.make_directories(directory, below=directory.parent)
            for entry in unsaved:
                self._write(directory, entry)
        except OSError as error:
            with self._lock:
                left = [e for e in unsaved if _same(e) in self._unsaved and e.number not in self._logged]
                self._logged.update(entry.number for entry in left)
            for entry in left:
                logger.error("%s (not kept beyond this process: %s)", entry.message, error)  # noqa: TRY400

    def _write(self, directory: Path, entry: LedgerEntry) -> None:
        name = f"{environment.uuid7()}{_ENDING}"
        files.write_new(directory / name, [json.dumps(entry.to_wire()).encode()])
        try:
            files.fsync_directories([directory])
        except OSError:  # it is not repeated: the file is dropped, and written anew another time
            self._doubtful.add(name)
            with contextlib.suppress(OSError):
                files.remove(directory / name)
            raise
        self._is_kept(name, entry)

    def _is_kept(self, name: str, entry: LedgerEntry) -> None:
        with self._lock:
            self._files[name] = _same(entry)
            self._unsaved.discard(_same(entry))

    def _load(self) -> None:
        """Take up what other processes have kept, and forget what they have acknowledged. Under `_disk`."""
        if self._directory is None:
            return
        try:
            names = [name for name, is_dir in files.list_directory(self._directory) if not is_dir]
        except FileNotFoundError:
            self._begin_anew()
            return
        except OSError:
            return  # nobody may look
        there = {name for name in names if name.endswith(_ENDING) and not name.startswith(".")}
        there -= self._doubtful
        with self._lock:
            self._unreadable = {name: one for name, one in self._unreadable.items() if name in there}
            gone = {self._files.pop(name) for name in set(self._files) - there}
            for same in gone - set(self._files.values()):
                self._forget(same)
            unknown = sorted(there - set(self._files))
        for name in unknown:
            self._read(self._directory, name)

    def _begin_anew(self) -> None:
        """Keep what is known: nobody has acknowledged it who has removed, or not mounted, the directory."""
        if self._readonly:
            return
        with self._lock:
            self._unsaved.update(self._files.values())
            self._files.clear()

    def _read(self, directory: Path, name: str) -> None:
        try:
            entry = LedgerEntry.from_wire(json.loads(files.read_bytes(directory / name)), 0)
        except FileNotFoundError:
            return  # somebody has just acknowledged it
        except _UNREADABLE as error:
            self._note_unreadable(directory / name, error)
            return
        with self._lock:
            self._unreadable.pop(name, None)
            if _same(entry) not in self._entries:
                self._keep(evolve(entry, number=self._next))
            self._is_kept(name, entry)

    def _note_unreadable(self, path: Path, error: Exception) -> None:
        """List a file that tells of a failure, but not of which."""
        kind = ErrorKind.UNREACHABLE if isinstance(error, OSError) else ErrorKind.CORRUPT
        with self._lock:
            if path.name in self._unreadable:
                return
            self._unreadable[path.name] = LedgerEntry(
                number=self._next,
                time_ns=environment.now_ns(),
                txid=None,
                ref=None,
                destination=None,
                kind=kind,
                message=f"{path} tells of a failure, and cannot be read: {error}",
            )
            self._next += 1

    def entries(self) -> list[LedgerEntry]:
        """Failures that nobody has acknowledged yet, oldest first, each once.

        What another process has kept and cannot be read is one, too.
        """
        with self._disk:
            self._load()
        with self._lock:
            return self._listed()

    def _listed(self) -> list[LedgerEntry]:
        listed = (*self._entries.values(), *self._unreadable.values())
        return sorted(listed, key=lambda entry: entry.time_ns)

    def of(self, txid: UUID) -> list[LedgerEntry]:
        """Return the failures of one transaction that this process knows of."""
        with self._lock:
            return [entry for entry in self._entries.values() if entry.txid == txid]

    def acknowledge(self) -> list[LedgerEntry]:
        """Return the failures and forget them; in a repository that is only read, those of this process.

        A file that cannot be read is not removed, since nobody knows of what it tells: it is renamed to
        ``<name>.unreadable``.
        """
        if self._readonly:
            with self._lock:
                ours = self._entries.keys() - set(self._files.values())
                acknowledged = sorted(map(self._entries.__getitem__, ours), key=lambda one: one.time_ns)
                for same in ours:
                    self._forget(same)
            return acknowledged
        with self._disk:
            self._load()
            with self._lock:
                entries = self._listed()
                names = self._drop(lambda _: True)
                unreadable = list(self._unreadable)
                self._unreadable.clear()
            self._remove(names)
            self._set_aside(unreadable)
        return entries

    def withdraw(self, txid: UUID) -> None:
        """Forget the failures of a transaction that is visible by now, those of other processes too."""
        with self._disk:
            self._load()
            with self._lock:
                names = self._drop(lambda entry: entry.txid == txid)
            self._remove(names)

    def _drop(self, is_dropped: Callable[[LedgerEntry], bool]) -> list[str]:
        """Forget entries; returns the names of their files. Under both locks."""
        dropped = {same for same, entry in self._entries.items() if is_dropped(entry)}
        names = [name for name, same in self._files.items() if same in dropped]
        for name in names:
            del self._files[name]
        for same in dropped:
            self._forget(same)
        self._again = {same: entry for same, entry in self._again.items() if not is_dropped(entry)}
        return names

    def _remove(self, names: Sequence[str]) -> None:
        for name in (*names, *self._doubtful):
            assert self._directory is not None
            with contextlib.suppress(OSError):
                files.remove(self._directory / name)

    def _set_aside(self, names: Sequence[str]) -> None:
        for name in names:
            assert self._directory is not None
            with contextlib.suppress(OSError):  # it is listed again
                files.rename_new(self._directory / name, self._directory / f"{name}{_SET_ASIDE}")

    def deliver(self, txid: UUID) -> None:
        """Note that the failures of a transaction were raised to a caller."""
        with self._lock:
            self._undelivered -= {_same(entry) for entry in self._entries.values() if entry.txid == txid}

    def raise_undelivered(self) -> None:
        """Raise what has failed here and nobody was told yet, as one group with a note per dataset. Blocks.

        What another process has acknowledged meanwhile, or brought to its end, is over.

        Raises
        ------
        ExceptionGroup
            Of `QuantumioError`.
        """
        with self._disk:
            self._load()
        with self._lock:
            entries = sorted(map(self._entries.__getitem__, self._undelivered), key=lambda one: one.number)
            self._undelivered.clear()
        if entries:
            raise ExceptionGroup(
                f"{len(entries)} background failures", [_as_error(entry) for entry in entries]
            )


def _same(entry: LedgerEntry) -> _Same:
    """Return what two entries share that tell of the same failure, met again."""
    return entry.txid, entry.ref and entry.ref.id, entry.destination, entry.kind, entry.message


def _as_error(entry: LedgerEntry) -> QuantumioError:
    error = DestinationError(entry.message, kind=entry.kind)
    where = f" at destination {entry.destination!r}" if entry.destination else ""
    error.add_note(f"{entry.ref or f'transaction {entry.txid}'}{where}")
    return error
