"""The error ledger: no background failure is ever lost."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve

from quantumio.errors import DestinationError, ErrorKind, QuantumioError
from quantumio.model import DatasetRef, LedgerEntry
from quantumio.system import environment, files

__all__ = ["ErrorLedger"]

logger = logging.getLogger(__name__)

_ENDING: Final = ".json"
_UNREADABLE: Final = (OSError, ValueError, TypeError, LookupError, RecursionError, QuantumioError)


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
        self._entries: dict[int, LedgerEntry] = {}
        self._known: set[tuple[object, ...]] = set()
        self._files: dict[str, int] = {}
        self._unsaved: set[int] = set()
        self._again: dict[tuple[object, ...], LedgerEntry] = {}
        self._undelivered: set[int] = set()
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
            if _same(entry) in self._known:
                self._again[_same(entry)] = entry  # unless somebody has acknowledged it meanwhile
                return
            self._add(entry)

    def _add(self, entry: LedgerEntry) -> None:
        self._keep(entry)
        self._unsaved.add(entry.number)
        self._undelivered.add(entry.number)

    def _keep(self, entry: LedgerEntry) -> None:
        self._entries[entry.number] = entry
        self._known.add(_same(entry))
        self._next = entry.number + 1

    def _forget(self, number: int) -> None:
        self._known.discard(_same(self._entries.pop(number)))
        self._unsaved.discard(number)
        self._undelivered.discard(number)

    @property
    def has_unsaved(self) -> bool:
        """Whether there is something for `save`."""
        return self._directory is not None and not self._readonly and bool(self._unsaved or self._again)

    def save(self) -> None:
        """Write new failures to disk. Blocks; what cannot be written is logged, and stays in memory."""
        if self._directory is None or self._readonly:
            return
        with self._disk:
            with self._lock:
                again, self._again = self._again, {}
            if again:
                self._load()
            with self._lock:
                for same, entry in again.items():
                    if same not in self._known:  # another process has acknowledged it, and it was met again
                        self._add(evolve(entry, number=self._next))
                unsaved = [self._entries[one] for one in sorted(self._unsaved)]
                self._unsaved.clear()
            if unsaved:
                self._save(self._directory, unsaved)

    def _save(self, directory: Path, unsaved: Sequence[LedgerEntry]) -> None:
        self._load()
        with self._lock:
            kept = {_same(self._entries[number]) for number in self._files.values()}
        try:
            for entry in unsaved:
                if _same(entry) not in kept:  # another process has failed in the same way
                    self._write(directory, entry)
            files.fsync_directories([directory])
        except OSError as error:
            for entry in unsaved:
                logger.error("%s (not kept beyond this process: %s)", entry.message, error)  # noqa: TRY400

    def _write(self, directory: Path, entry: LedgerEntry) -> None:
        files.make_directories(directory)
        name = f"{environment.uuid7()}{_ENDING}"
        files.write_new(directory / name, [json.dumps(entry.to_wire()).encode()])
        with self._lock:
            self._files[name] = entry.number

    def _load(self) -> None:
        """Take up what other processes have kept, and forget what they have acknowledged. Under `_disk`."""
        if self._directory is None:
            return
        try:
            names = [name for name, is_dir in files.list_directory(self._directory) if not is_dir]
        except FileNotFoundError:
            names = []  # nobody has kept anything, or somebody has removed it all
        except OSError:
            return  # nobody may look
        there = sorted(name for name in names if name.endswith(_ENDING) and not name.startswith("."))
        with self._lock:
            for name in set(self._files) - set(there):
                self._forget(self._files.pop(name))
            unknown = [name for name in there if name not in self._files]
        for name in unknown:
            self._read(self._directory, name)

    def _read(self, directory: Path, name: str) -> None:
        try:
            entry = LedgerEntry.from_wire(json.loads(files.read_bytes(directory / name)), 0)
        except _UNREADABLE as error:
            logger.warning("%s is no entry of an error ledger: %s", directory / name, error)
            return
        with self._lock:
            entry = evolve(entry, number=self._next)
            self._keep(entry)
            self._files[name] = entry.number

    def entries(self) -> list[LedgerEntry]:
        """Failures that nobody has acknowledged yet, oldest first, each once."""
        with self._disk:
            self._load()
        with self._lock:
            return self._listed()

    def _listed(self) -> list[LedgerEntry]:
        ordered = sorted(self._entries.values(), key=lambda entry: entry.time_ns)
        return list({_same(entry): entry for entry in reversed(ordered)}.values())[::-1]

    def of(self, txid: UUID) -> list[LedgerEntry]:
        """Return this process's failures of one transaction."""
        with self._lock:
            return [entry for entry in self._entries.values() if entry.txid == txid]

    def acknowledge(self) -> list[LedgerEntry]:
        """Return the failures and forget them; in a repository that is only read, those of this process."""
        if self._readonly:
            with self._lock:
                ours = [one for number, one in self._entries.items() if number not in self._files.values()]
                for entry in ours:
                    self._forget(entry.number)
            return ours
        with self._disk:
            self._load()
            with self._lock:
                entries = self._listed()
                names = self._drop(lambda _: True)
            self._remove(names)
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
        dropped = {number for number, entry in self._entries.items() if is_dropped(entry)}
        names = [name for name, number in self._files.items() if number in dropped]
        for name in names:
            del self._files[name]
        for number in dropped:
            self._forget(number)
        self._again = {same: entry for same, entry in self._again.items() if not is_dropped(entry)}
        return names

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            assert self._directory is not None
            with contextlib.suppress(OSError):
                files.remove(self._directory / name)

    def deliver(self, txid: UUID) -> None:
        """Note that the failures of a transaction were raised to a caller."""
        with self._lock:
            self._undelivered -= {entry.number for entry in self._entries.values() if entry.txid == txid}

    def raise_undelivered(self) -> None:
        """Raise what nobody was told yet, as one group with a note per dataset.

        Raises
        ------
        ExceptionGroup
            Of `QuantumioError`.
        """
        with self._lock:
            entries = [self._entries[number] for number in sorted(self._undelivered)]
            self._undelivered.clear()
        if entries:
            raise ExceptionGroup(
                f"{len(entries)} background failures", [_as_error(entry) for entry in entries]
            )


def _same(entry: LedgerEntry) -> tuple[object, ...]:
    """Return what two entries share that tell of the same failure, met again."""
    return entry.txid, entry.ref and entry.ref.id, entry.destination, entry.kind, entry.message


def _as_error(entry: LedgerEntry) -> QuantumioError:
    error = DestinationError(entry.message, kind=entry.kind)
    where = f" at destination {entry.destination!r}" if entry.destination else ""
    error.add_note(f"{entry.ref or f'transaction {entry.txid}'}{where}")
    return error
