"""The journal: accepted transactions on the local disk, until they are visible or given up.

One directory per transaction. Its name says how far it is: ``<txid>.tmp`` is being written, ``<txid>.ready``
is whole and will be finished even if its writer dies, ``<txid>.done`` may be removed, ``<txid>.conflict`` was
promised but lost and is kept for people. Renames are the only steps between them; whatever a name says is
durable before it says so.

Whoever works on an entry holds the lock of its file ``LOCK``, which the kernel frees at its death. So an
entry whose lock can be had belongs to nobody. The file ``LOCK`` of the journal itself is locked only for the
moments in which entries appear, vanish, or are locked, so that nobody finds one without its ``LOCK``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from quantumio.engine._journal_entry import (
    DIRECTORY_MODE,
    LOCK,
    MAX_MANIFEST_BYTES,
    JournalEntry,
    JournalState,
    telling,
)
from quantumio.engine._journal_manifest import (
    JournalBlob,
    JournalManifest,
    JournalTarget,
    blob_name,
)
from quantumio.engine._output import Encoded
from quantumio.errors import BufferFull, InvalidInputError, StateError
from quantumio.model import FormatChoice, Transaction
from quantumio.system import environment, files, locks
from quantumio.system.file_systems import mount_table, volatile_file_system

__all__ = ["MIN_FREE_BYTES", "Encoding", "Journal", "upstream_first"]

Encoding = tuple[int, FormatChoice, Encoded]
"""Place of an output in its transaction, a format, and the bytes."""

MIN_FREE_BYTES: Final = 1 << 30
"""What has to stay free on its file system unless somebody says otherwise: others need it, too."""


class Journal:
    """The journal of one repository on one machine. Its calls block; it is safe between threads.

    Parameters
    ----------
    root
        Its directory; made by the first `write`.
    allow_volatile
        Whether it may be on a file system in memory, where it survives a process but not the machine.
    min_free_bytes
        What has to stay free on its file system.
    max_bytes
        What its entries may take together, those that are kept as conflicts included; None is without limit.
    """

    def __init__(
        self,
        root: Path,
        *,
        allow_volatile: bool = False,
        min_free_bytes: int = MIN_FREE_BYTES,
        max_bytes: int | None = None,
    ) -> None:
        self.root = files.real_path(root)
        self._allow_volatile = allow_volatile
        self._min_free_bytes = min_free_bytes
        self._max_bytes = max_bytes
        self._lock = locks.FileLock(self.root / LOCK, follow_symlinks=False)

    def volatile_file_system(self) -> str | None:
        """Tell on which file system it is, in words, if that forgets everything when the power fails."""
        mounts = mount_table()
        return None if mounts is None else volatile_file_system(self.root, mounts)

    def check_durable(self) -> None:
        """Refuse a file system that forgets, unless that is allowed; `write` asks as well.

        Raises
        ------
        StateError
            It is on such a file system.
        """
        if not self._allow_volatile and (kind := self.volatile_file_system()):
            raise StateError(
                f"the journal {str(self.root)!r} is on a file system in memory ({kind}): "
                "nothing there survives a power cut",
                hint="put the repository on a disk, or set allow_volatile_journal=true and "
                "do without that promise",
            )

    # -- writing
    def write(
        self,
        *,
        transaction: Transaction,
        targets: Sequence[Sequence[JournalTarget]],
        encodings: Sequence[Encoding],
    ) -> JournalEntry:
        """Write a transaction and its bytes; they survive the death of the process and of the machine.

        Parameters
        ----------
        transaction
            With planned and placed artifacts.
        targets
            Destinations of each output.
        encodings
            The bytes of its outputs, at least what each required destination lacks.

        Returns
        -------
        JournalEntry
            Ready, and locked: whoever gets it finishes or releases it.

        Raises
        ------
        ConflictError
            The transaction has an entry.
        BufferFull
            Too little would stay free on the file system, or the journal would become too large.
        DestinationError
            It could not be written. ``kind`` tells a full disk, a permission or a device.
        MutatedAfterPut
            The bytes are not those that were encoded.
        InvalidInputError
            The bytes would not be enough to finish the transaction.
        StateError
            The file system forgets.

        Notes
        -----
        After an error there is no entry. Whether the disk holds traces of one is not certain where the
        device fails: an entry that comes to light later is one that was never promised.
        """
        self.check_durable()
        manifest = _plan(transaction, targets, encodings)
        content = manifest.to_bytes()
        if len(content) > MAX_MANIFEST_BYTES:
            raise InvalidInputError(
                f"transaction {transaction.txid} has too many outputs to be journaled: "
                f"its manifest would have {len(content)} bytes",
                hint="put them in several contexts",
            )
        self._make_root()
        self._check_space(transaction.txid, sum(blob.nbytes for blob in manifest.blobs) + len(content))
        entry = JournalEntry(self.root, transaction.txid, JournalState.TMP, self._lock)
        entry.write(
            content,
            [(blob, encoded) for blob, (_, _, encoded) in zip(manifest.blobs, encodings, strict=True)],
        )
        return entry

    def _make_root(self) -> None:
        with telling(f"making the journal {self.root}"):
            files.make_directories(self.root, mode=DIRECTORY_MODE, below=self.root.parent)

    def _check_space(self, txid: UUID, nbytes: int) -> None:
        with telling(f"looking for space at the journal {self.root}"):
            free = files.free_bytes(self.root)
            limited = self._max_bytes is not None
            used = sum(size for _, size, _ in files.list_files(self.root)) if limited else 0
        if free - nbytes < self._min_free_bytes:
            raise BufferFull(
                f"transaction {txid} is not journaled: of {free} free bytes at {self.root} it would take "
                f"{nbytes}, and {self._min_free_bytes} have to stay free",
                hint="free space there, or wait until contexts are committed",
            )
        if self._max_bytes is not None and used + nbytes > self._max_bytes:
            raise BufferFull(
                f"transaction {txid} is not journaled: it would take {nbytes} bytes, and of the "
                f"{self._max_bytes} of the journal {self.root} {used} are in use",
                hint="wait until contexts are committed, or raise journal_max_bytes",
            )

    # -- looking
    def entries(self) -> list[JournalEntry]:
        """Return all entries there are now, locked by nobody or by anybody, in the order of their txids.

        Raises
        ------
        DestinationError
            The directory cannot be read.
        """
        return [entry for _, entry in self._listed() if entry is not None]

    def foreign(self) -> list[Path]:
        """Return what is in the directory and not the journal's: it is never followed and never removed.

        Raises
        ------
        DestinationError
            The directory cannot be read.
        """
        return [path for path, entry in self._listed() if entry is None]

    def _listed(self) -> Iterator[tuple[Path, JournalEntry | None]]:
        with telling(f"listing the journal {self.root}"):
            try:
                names = files.list_directory(self.root)
            except FileNotFoundError:
                names = []
        for name, is_directory in names:
            if name != LOCK or is_directory:
                yield self.root / name, self._entry_of(name) if is_directory else None

    def _entry_of(self, name: str) -> JournalEntry | None:
        words = name.split(".")
        try:
            txid, state = UUID(words[0]), JournalState(words[-1])
        except ValueError:
            return None
        entry = JournalEntry(self.root, txid, state, self._lock)
        return entry if entry.path.name == name else None  # a UUID can be spelled in several ways


def _plan(
    transaction: Transaction, targets: Sequence[Sequence[JournalTarget]], encodings: Sequence[Encoding]
) -> JournalManifest:
    blobs = [
        JournalBlob(
            output=output,
            format=choice,
            file=blob_name(output, place, choice),
            digest=encoded.digest,
            nbytes=encoded.nbytes,
        )
        for place, (output, choice, encoded) in enumerate(encodings)
    ]
    return JournalManifest(
        transaction=transaction,
        targets=tuple(map(tuple, targets)),
        blobs=tuple(blobs),
        written_ns=environment.now_ns(),
        host=environment.host(),
    )


def upstream_first(
    ready: Iterable[tuple[JournalEntry, JournalManifest]],
) -> list[tuple[JournalEntry, JournalManifest]]:
    """Order entries so that each comes after those that it requires."""
    waiting = {manifest.transaction.txid: (entry, manifest) for entry, manifest in ready}
    ordered: list[tuple[JournalEntry, JournalManifest]] = []

    def visit(txid: UUID) -> None:
        if (found := waiting.pop(txid, None)) is not None:
            for upstream in found[1].transaction.requires:
                visit(upstream)
            ordered.append(found)

    while waiting:
        visit(next(iter(waiting)))
    return ordered
