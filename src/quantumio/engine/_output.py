"""One accepted output on its way: its snapshot, its encoded forms, and where it has arrived."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from attrs import evolve, frozen

from quantumio.engine._budget import ByteBudget, Charge
from quantumio.engine._ownership import Snapshot
from quantumio.engine._policy import ROWS
from quantumio.engine._progress import Progress
from quantumio.model import (
    TEMPORARY,
    Artifact,
    ArtifactState,
    DatasetRef,
    Expectation,
    FormatChoice,
    Moment,
    OutputRecord,
    Ownership,
    Resolution,
)
from quantumio.ports import Chunks, Formats, StorageClassDelegate
from quantumio.system import environment

__all__ = ["PACKS", "Encoded", "Output", "OutputReleased"]

PACKS: Final = "_packs"
"""Directory of packs: no dataset type has such a name."""

_NOWHERE: Final[frozenset[str]] = frozenset()

_PACK_MARK: Final = "p"
"""Before the number of a pack, where outputs of their own have their number."""


@frozen(kw_only=True)
class Encoded:
    """The bytes of an output in one format.

    Attributes
    ----------
    chunks, nbytes, digest
        Bytes, their number, their SHA-256 in hexadecimal.
    """

    chunks: Chunks
    nbytes: int
    digest: str


class OutputReleased(Exception):
    """The output has left memory: read it from where it went. Never leaves the engine and the Butler."""


class Output:
    """One accepted output of a context.

    Readers and flushers come from several threads; whoever looks at the snapshot holds the lock, and
    whoever releases it takes the lock, so that pooled memory is never used again under a reader.

    Attributes
    ----------
    ref
        Without version until committed.
    name
        ``<txid>.<generation>.<number>``: unique, names its files, never used again.
    resolution
        What the policy said.
    progress
        Its moments.
    load_ids
        Table destination to the tag of the rows there.
    attempts
        Destination to the path or table that may hold something of it.
    artifacts
        Destination to what is placed there for certain.
    pack, packed_at
        Number of the pack of its context that it is in, None if in none; the destinations where it is.
    """

    def __init__(
        self,
        ref: DatasetRef,
        *,
        name: str,
        snapshot: Snapshot,
        nbytes: int,
        expect: Expectation,
        resolution: Resolution,
        delegate: StorageClassDelegate,
        formats: Formats,
        budget: ByteBudget,
        charge: Charge,
        load_ids: dict[str, UUID],
    ) -> None:
        self.ref = ref
        self.name = name
        self.expect = expect
        self.resolution = resolution
        self.progress = Progress()
        self.load_ids = load_ids
        self.attempts: dict[str, str] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.pack: int | None = None
        self.packed_at = _NOWHERE
        self.snapshot_bytes = self.charged_bytes = nbytes
        self._snapshot = snapshot
        self._delegate = delegate
        self._formats = formats
        self._budget = budget
        self._charge = charge
        self._encoded: dict[FormatChoice, Encoded] = {}
        self._released = False
        self._is_spilled = False
        self._lock = threading.RLock()

    @classmethod
    def from_journal(
        cls,
        record: OutputRecord,
        *,
        name: str,
        resolution: Resolution,
        formats: Formats,
        budget: ByteBudget,
        encoded: Mapping[FormatChoice, Encoded],
    ) -> Output:
        """Make an output of what a journal kept of it: its encoded forms, and where they are to go."""
        delegate = formats.delegate(record.ref.dataset_type.storage_class)
        load_ids = {a.destination: a.load_id for a in record.artifacts if a.load_id is not None}
        output = cls(
            record.ref,
            name=name,
            snapshot=Snapshot(None, Ownership.ENCODE),
            nbytes=0,  # its bytes are mapped from the journal's files
            expect=record.expect,
            resolution=resolution,
            delegate=delegate,
            formats=formats,
            budget=budget,
            charge=budget.charge_nothing(),
            load_ids=load_ids,
        )
        output._encoded.update(encoded)
        for artifact in record.artifacts:
            if artifact.member is not None:
                output.pack_in(_pack_number(artifact.path), output.packed_at | {artifact.destination})
        return output

    @property
    def storage_class(self) -> str:
        """Name of its storage class."""
        return self.ref.dataset_type.storage_class

    @property
    def is_released(self) -> bool:
        """Whether it has left memory."""
        return self._released

    @property
    def encoded_bytes(self) -> int:
        """Bytes of its first encoded form; 0 before it is encoded."""
        return next((encoded.nbytes for encoded in self._encoded.values()), 0)

    def journal_formats(self) -> tuple[FormatChoice, ...]:
        """Return the forms that a journal must keep so that every required destination can be served."""
        wanted = {
            choice: None
            for target in self.resolution.targets
            if target.required and (choice := self.resolution.formats[target.destination]) is not ROWS
        }
        return tuple(wanted) or (self._primary_format(),)

    def _primary_format(self) -> FormatChoice:
        """Return the format in which readers will get it after the commit."""
        for target in self.resolution.targets:
            if (choice := self.resolution.formats[target.destination]) is not ROWS:
                return choice
        return FormatChoice(self._delegate.storage_class.formats[0])

    # -- writing
    def encode(self, choice: FormatChoice) -> Encoded:
        """Return its bytes in a format, encoding it once.

        Raises
        ------
        MutatedAfterPut
            The caller changed a frozen or borrowed object.
        FormatError
            A value cannot be written.
        """
        with self._lock:
            if (known := self._encoded.get(choice)) is not None:
                return known
            if self._snapshot.value is None:
                value = self._decode()
            else:
                self._snapshot.verify(self.ref)
                value = self._snapshot.value
            chunks = self._formats.format(choice.name).encode(value, self.storage_class, choice.options)
            digest = hashlib.sha256()
            nbytes = 0
            for chunk in chunks:
                digest.update(chunk)
                nbytes += memoryview(chunk).nbytes
            if self._snapshot.value is not None:
                # A borrowed array may have changed while it was encoded: only an unchanged one is written.
                self._snapshot.verify(self.ref)
            encoded = Encoded(chunks=chunks, nbytes=nbytes, digest=digest.hexdigest())
            self._encoded[choice] = encoded
            self._budget.charge_more(self._charge, nbytes)
            self.charged_bytes += nbytes
            return encoded

    def encode_and_drop(self) -> None:
        """Encode it in its primary format and let go of the object (``own="encode"``)."""
        with self._lock:
            choice = self._primary_format()
            encoded = self.encode(choice)
            # Pieces may be views of the caller's memory.
            self._encoded[choice] = evolve(encoded, chunks=(b"".join(encoded.chunks),))
            self._snapshot.release()

    def spill(self, store: Callable[[Chunks], memoryview]) -> int:
        """Move it from memory to a file; must not be on its way to a destination.

        Parameters
        ----------
        store
            Writes bytes to a file without a name, and returns them as they are mapped from there.

        Returns
        -------
        int
            Bytes given back to the budget; 0 where it was spilled, or has left memory, already.

        Raises
        ------
        MutatedAfterPut, FormatError, OSError
            It cannot be encoded, or the file not be written; it stays where it is.
        """
        with self._lock:
            if self._released or self._is_spilled:
                return 0
            choices = dict.fromkeys((*self.journal_formats(), self._primary_format()))
            encoded = {choice: self.encode(choice) for choice in choices}
            mapped = {choice: evolve(one, chunks=(store(one.chunks),)) for choice, one in encoded.items()}
            self._encoded = mapped
            self._is_spilled = True
            self._snapshot.release()
            given_back, self.charged_bytes = self.charged_bytes, 0
            self._budget.release(self._charge)
            self._charge = self._budget.charge_nothing()
        self.progress.reach(Moment.RELEASED)
        return given_back

    def rows(self) -> object:
        """Return it as a `pyarrow.Table` for table destinations.

        Raises
        ------
        MutatedAfterPut
            The caller changed a frozen or borrowed object.
        """
        with self._lock:
            if self._snapshot.value is None:
                return self._delegate.convert(self._decode(), "arrow")
            self._snapshot.verify(self.ref)
            return self._delegate.convert(self._snapshot.value, "arrow")

    def record(self) -> OutputRecord:
        """Return what the registry is to make visible; copies that are still to be made are pending."""
        names = (target.destination for target in self.resolution.targets)
        artifacts = tuple(self.artifacts.get(name) or self.plan(name) for name in names)
        return OutputRecord(ref=self.ref, expect=self.expect, artifacts=artifacts)

    def plan(self, name: str) -> Artifact:
        """Say where its bytes, or rows, will be at a destination: what an intent tells the registry."""
        return self._artifact(name, "", 0, ArtifactState.PENDING)

    def placed(self, name: str, encoded: Encoded, offset: int | None = None) -> Artifact:
        """Say where its bytes are at a destination; with the offset in its pack, if it is in one there."""
        return self._artifact(name, encoded.digest, encoded.nbytes, ArtifactState.OK, offset)

    def _artifact(
        self, name: str, digest: str, nbytes: int, state: ArtifactState, offset: int | None = None
    ) -> Artifact:
        choice = self.resolution.formats[name]
        path = self.ref.dataset_type.name if choice is ROWS else self.path(choice)
        is_packed = name in self.packed_at
        return Artifact(
            destination=name,
            path=self.pack_path if is_packed else path,
            format=choice.name,
            digest=digest,
            nbytes=nbytes,
            load_id=self.load_ids.get(name),
            state=state,
            member=path if is_packed else None,
            offset=offset,
        )

    def path(self, choice: FormatChoice) -> str:
        """Return where its bytes will be in every managed store, relative to the root, or in its pack."""
        extension = self._formats.format(choice.name).extension
        return f"{self.ref.dataset_type.name}/{self.ref.run}/{self.name}{extension}"

    def pack_in(self, pack: int, destinations: frozenset[str]) -> None:
        """Have it share an object with other outputs of its context at these destinations."""
        self.pack, self.packed_at = pack, destinations

    @property
    def pack_path(self) -> str:
        """Where its pack will be in every managed store, relative to the root."""
        transaction = self.name.rpartition(".")[0]
        return f"{PACKS}/{self.ref.run}/{transaction}.{_PACK_MARK}{self.pack}.zip"

    def move_to(self, generation: str) -> None:
        """Place it anew, under other names: what was placed was ended, and is removed by who ended it."""
        number = self.name.rpartition(".")[2]
        self.name = f"{generation}.{number}"
        self.load_ids = {name: environment.uuid7() for name in self.load_ids}
        self.attempts.clear()
        self.artifacts.clear()

    # -- reading
    def read(self, columns: Sequence[str] | None = None) -> object:
        """Return a canonical value that belongs to the caller, as it will read after the commit.

        Raises
        ------
        OutputReleased
            It has left memory.
        """
        import numpy as np

        with self._lock:
            if self._released:
                raise OutputReleased
            choice = self._primary_format()
            if self._snapshot.value is None or not self._is_lossless(choice):
                return self._decode(columns)
            self._snapshot.verify(self.ref)
            value = self._snapshot.value
            if columns is not None:
                value = self._delegate.select(value, columns)
            if self._delegate.is_immutable(value):
                return value
            return self._delegate.canonical(value, lambda array: np.array(array, order="C", copy=True))

    def share(self) -> object:
        """Return the canonical value without copying it; not to be changed.

        Raises
        ------
        OutputReleased
            It has left memory.
        """
        with self._lock:
            if self._released:
                raise OutputReleased
            if self._snapshot.value is None or not self._is_lossless(self._primary_format()):
                return self._decode()
            self._snapshot.verify(self.ref)
            value = self._snapshot.share()
            if self._snapshot.ownership is Ownership.COPY:
                for array in self._delegate.arrays(value):
                    array.flags.writeable = False
            if self._delegate.is_immutable(value):
                return value
            # The arrays themselves, read-only; what else it has (a header) could not be protected.
            return self._delegate.canonical(value, lambda array: array)

    def _is_lossless(self, choice: FormatChoice) -> bool:
        if self.resolution.targets[0].destination == TEMPORARY:
            return True
        return self._formats.format(choice.name).is_lossless(self.storage_class, choice.options)

    def _decode(self, columns: Sequence[str] | None = None) -> object:
        choice = self._primary_format()
        if self._snapshot.value is None and choice not in self._encoded:
            # A journal keeps what required destinations take; whoever reads the primary one reads it as that.
            choice, *_ = self._encoded
        encoded = self.encode(choice)
        data = encoded.chunks[0] if len(encoded.chunks) == 1 else b"".join(encoded.chunks)
        return self._formats.format(choice.name).decode(bytes(data), self.storage_class, columns=columns)

    # -- the end
    def release(self) -> None:
        """Leave memory and give the charged bytes back; idempotent."""
        with self._lock:
            if self._released:
                return
            self._released = True
            self._encoded.clear()
            self._snapshot.release()
            self._budget.release(self._charge)


def _pack_number(path: str) -> int:
    """Return the number of a pack, from its path."""
    return int(path.rsplit(".", 2)[1].removeprefix(_PACK_MARK))
