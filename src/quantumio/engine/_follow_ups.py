"""What was left to do when a transaction was decided, done from what the registry knows of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from attrs import evolve

from quantumio.engine._policy import ROWS, PolicyResolver
from quantumio.engine._sessions import KnownStores, StoreSessions
from quantumio.engine._standing import may_be_cleaned
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, QuantumioError
from quantumio.model import (
    DIRECT,
    Artifact,
    ArtifactState,
    Committed,
    FollowUp,
    FollowUpKind,
    FormatChoice,
    OutboxEntry,
    Resolution,
    StoredDataset,
    human_path,
)
from quantumio.ports import (
    Catalog,
    Destinations,
    Formats,
    ObjectDestination,
    Placement,
    TableDelegate,
    TableDestination,
    is_exporting,
    is_table,
)
from quantumio.system.failpoints import reach

__all__ = ["FollowUps", "clean_up", "what_follows"]

_FIRST_DELAY_S: Final = 5.0
_LONGEST_DELAY_S: Final = 3600.0
"""How long a follow-up that failed waits for its next attempt: doubled each time, in seconds."""


def clean_up(destinations: Iterable[str]) -> tuple[FollowUp, ...]:
    """Return what is to be done at destinations where an aborted transaction may have placed something.

    Files that stay where they were (``direct``) are never removed: nobody has placed them.
    """
    names = (name for name in dict.fromkeys(destinations) if name != DIRECT)
    return tuple(FollowUp(kind=FollowUpKind.CLEAN, destination=name) for name in names)


def what_follows(resolutions: Iterable[Resolution], destinations: Destinations) -> tuple[FollowUp, ...]:
    """Return what is to be done once outputs are visible of which the policy said this."""
    found: dict[FollowUp, None] = {}
    for resolution in resolutions:
        for target in resolution.targets:
            name = target.destination
            if not target.required:
                found[FollowUp(kind=FollowUpKind.REPLICATE, destination=name)] = None
            elif resolution.formats[name] is ROWS:
                if not destinations.is_in_registry(name):  # there the flip itself reveals them
                    found[FollowUp(kind=FollowUpKind.FLIP_TABLE, destination=name)] = None
            elif is_exporting(destinations.get(name)):
                found[FollowUp(kind=FollowUpKind.EXPORT, destination=name)] = None
    return tuple(found)


class FollowUps:
    """Does entries of the outbox. Blocks; thread-safe; every step may be done again at any time.

    Parameters
    ----------
    policies
        Of the repository: the registry keeps the format of a copy, the options of the format are theirs.
    """

    def __init__(
        self,
        catalog: Catalog,
        destinations: Destinations,
        formats: Formats,
        sessions: StoreSessions,
        policies: PolicyResolver,
    ) -> None:
        self._policies = policies
        self._catalog = catalog
        self._sessions = sessions
        self._destinations = destinations
        self._formats = formats

    def do_all_of(self, txid: UUID) -> list[tuple[str, QuantumioError]]:
        """Do all that follows one transaction; returns where it could not be done, and why."""
        return [
            (entry.follow_up.destination, error)
            for entry in self._catalog.outbox()
            if entry.txid == txid and (error := self.do(entry)) is not None
        ]

    def do(self, entry: OutboxEntry, known: KnownStores | None = None) -> QuantumioError | None:
        """Do one entry that was claimed, and note it as done; returns why it could not be done.

        Parameters
        ----------
        entry
            What is to be done.
        known
            Of the round that this is part of.
        """
        try:
            reach("follow_up.before")
            self._do(entry, known or KnownStores(self._catalog))
            reach("follow_up.after")
        except QuantumioError as error:
            self.postpone(entry)
            return error
        self._catalog.finish_follow_ups({entry.txid: (entry.follow_up,)})
        return None

    def postpone(self, entry: OutboxEntry) -> None:
        """Give one entry up that was claimed, until its next attempt is due."""
        self._catalog.postpone(entry.id, min(_FIRST_DELAY_S * 2**entry.attempts, _LONGEST_DELAY_S))

    def check(self, follow_ups: Iterable[FollowUp], known: KnownStores) -> None:
        """Refuse what would remove something from a store that was written by a process nobody knows here.

        A destination that cannot be asked now is asked again before anything is removed from it.

        Raises
        ------
        StateError
            There is one (``kind="unknown_session"``).
        """
        for one in follow_ups:
            try:
                if not self._destinations.is_table(one.destination):
                    known.check(self._destinations.get(one.destination))
            except QuantumioError as error:
                if error.kind is ErrorKind.UNKNOWN_SESSION:
                    raise

    def _do(self, entry: OutboxEntry, known: KnownStores) -> None:
        name = entry.follow_up.destination
        if entry.follow_up.kind is FollowUpKind.CLEAN:
            self._clean(entry, name, known)
            return
        for stored, artifact in self._artifacts(entry, name):
            if entry.follow_up.kind is not FollowUpKind.REPLICATE:
                self._show(stored, artifact)
            elif (copy := self._replicate(stored, artifact, known)) is not None:
                self._show(stored, copy)

    def _artifacts(self, entry: OutboxEntry, name: str) -> Sequence[tuple[StoredDataset, Artifact]]:
        outcome = self._catalog.outcome(entry.txid)
        if not isinstance(outcome, Committed):
            return []
        stored = self._catalog.stored([ref.id for ref in outcome.refs])
        return [(one, a) for one in stored.values() for a in one.artifacts if a.destination == name]

    # -- committed: show it, and bring copies
    def _show(self, stored: StoredDataset, artifact: Artifact) -> None:
        """Reveal the rows of an artifact, or show its object under a name for people."""
        destination = self._destinations.get(artifact.destination)
        if is_table(destination):
            assert artifact.load_id is not None
            destination.reveal(artifact.path, artifact.load_id, stored.ref)
        elif is_exporting(destination):
            ending = self._formats.format(artifact.format).extension
            destination.export(artifact.path, human_path(stored.ref, ending))

    def _replicate(self, stored: StoredDataset, wanted: Artifact, known: KnownStores) -> Artifact | None:
        """Bring a copy that is still pending, from any that is whole; returns it as it is then.

        None where its dataset was deleted meanwhile: what was placed is in the trash already.
        """
        if wanted.state is not ArtifactState.PENDING:
            return wanted
        destination = self._destinations.get(wanted.destination)
        source, data = self._healthy(stored)
        if is_table(destination):
            made = self._load(destination, stored, wanted, source, data)
        else:
            made = self._place(destination, stored, wanted, source, data, known)
        return made if self._catalog.record_artifacts({stored.ref.id: [made]}) else None

    def _healthy(self, stored: StoredDataset) -> tuple[Artifact, bytes]:
        """Return an artifact that is whole, and its bytes.

        Raises
        ------
        DestinationError
            There is none that can be read now.
        """
        failures: list[str] = []
        for artifact in stored.artifacts:
            if artifact.state is not ArtifactState.OK or artifact.load_id is not None:
                continue
            try:
                source = self._destinations.get(artifact.destination)
                assert isinstance(source, ObjectDestination)
                data = source.read(artifact.path, artifact.byte_range)
            except QuantumioError as error:
                failures.append(str(error))
                continue
            if artifact.matches(data):
                return artifact, data
            failures.append(f"{artifact.destination} does not hold the bytes that were written")
        raise DestinationError(
            f"{stored.ref} has no copy that can be read now: {'; '.join(failures) or 'none is a file'}",
            hint="look at Butler.where_is(ref), and at `quantumio fsck`",
        )

    def _place(
        self,
        destination: ObjectDestination,
        stored: StoredDataset,
        wanted: Artifact,
        source: Artifact,
        data: bytes,
        known: KnownStores,
    ) -> Artifact:
        """Place the bytes; of another format, or other options of it, they are encoded anew.

        A copy whose digest is known before it is made is one of a file: it is to have these very bytes.
        """
        choice = self._choice(stored, wanted)
        if wanted.digest != source.digest and choice != self._choice(stored, source):
            storage_class = stored.ref.dataset_type.storage_class
            value = self._formats.format(source.format).decode(data, storage_class)
            data = b"".join(self._formats.format(choice.name).encode(value, storage_class, choice.options))
        self._sessions.note(destination)
        digest = hashlib.sha256(data).hexdigest()
        made = evolve(wanted, digest=digest, nbytes=len(data), state=ArtifactState.OK)
        placement = Placement(path=made.path, chunks=(data,), nbytes=made.nbytes, digest=digest)
        try:
            destination.place([placement])
        except DestinationError as error:
            if error.kind is not ErrorKind.CORRUPT:
                raise
            # An encoder of another version wrote it: what is there was never seen by anybody, unless the
            # registry is a copy.
            known.check(destination)
            destination.remove([made.path])
            destination.place([placement])
        return made

    def _choice(self, stored: StoredDataset, artifact: Artifact) -> FormatChoice:
        """Return the format of an artifact, with the options that the policy gives it there."""
        for to in (None, [artifact.destination]):  # a put may have named the destination itself
            try:
                resolution = self._policies.resolve(stored.ref.dataset_type, stored.ref.run, to=to)
            except InvalidInputError:  # the policy has changed since, or the file is where it always was
                continue
            choice = resolution.formats.get(artifact.destination)
            if choice is not None and choice.name == artifact.format:
                return choice
        return FormatChoice(artifact.format)

    def _load(
        self,
        destination: TableDestination,
        stored: StoredDataset,
        wanted: Artifact,
        source: Artifact,
        data: bytes,
    ) -> Artifact:
        storage_class = stored.ref.dataset_type.storage_class
        delegate = self._formats.delegate(storage_class)
        assert isinstance(delegate, TableDelegate)
        assert wanted.load_id is not None
        value = self._formats.format(source.format).decode(data, storage_class)
        loaded = destination.load(wanted.path, delegate.convert(value, "arrow"), wanted.load_id)
        return evolve(
            wanted,
            format=ROWS.name,
            digest=loaded.checksum,
            nbytes=loaded.nbytes,
            state=ArtifactState.OK,
        )

    # -- aborted: remove what was placed
    def _clean(self, entry: OutboxEntry, name: str, known: KnownStores) -> None:
        """Remove what an aborted transaction may have placed at a destination.

        One that was opened again since has other names, and a manifest of those alone: what is left of the
        generation before is found by gc.
        """
        record = self._catalog.transaction(entry.txid)
        if record is None or not may_be_cleaned(record) or record.transaction is None:
            return
        destination = self._destinations.get(name)
        known.check(destination)  # where the registry is a copy, the original may have committed it
        planned = [a for output in record.transaction.outputs for a in output.artifacts]
        here = [artifact for artifact in planned if artifact.destination == name]
        if is_table(destination):
            for artifact in here:
                assert artifact.load_id is not None
                destination.remove_load(artifact.path, artifact.load_id)
        else:
            destination.remove(list({artifact.path: None for artifact in here}))
