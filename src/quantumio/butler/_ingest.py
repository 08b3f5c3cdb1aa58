"""Ingest: files that exist become datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve, frozen

from quantumio.butler._repository import Repository
from quantumio.butler._session import Session
from quantumio.engine import ROWS, known_outcome, outcome_error, what_follows
from quantumio.errors import CommitUnknownError, ErrorKind, FormatError, InvalidInputError, QuantumioError
from quantumio.model import (
    DIRECT,
    Artifact,
    ArtifactState,
    CommitFailed,
    CommitOutcome,
    Committed,
    CommitUnknown,
    DataId,
    DatasetRef,
    DatasetType,
    Moment,
    OutputRecord,
    Resolution,
    Transaction,
)
from quantumio.ports import ObjectDestination, Placement
from quantumio.system import environment, files
from quantumio.system.os_errors import os_error_kind

__all__ = [
    "TRANSFERS",
    "CheckedFile",
    "IngestFile",
    "absolute",
    "bring_in",
    "check_file",
    "check_transfer",
    "endings_of",
    "ingest_files",
    "plan_ingest",
    "resolution_of",
]

TRANSFERS = ("copy", "link", "move", DIRECT)


CheckedFile = tuple[str, str, int]
"""Of a file that was read and parsed: its format, digest and size."""


@frozen(kw_only=True)
class IngestFile:
    """One file, the data ID it is to have, and the id where it has one: then there must be no other."""

    path: str
    data_id: DataId
    id: UUID | None = None


def ingest_files(
    session: Session,
    dataset_type: DatasetType,
    items: Sequence[IngestFile],
    *,
    run: str,
    transfer: str,
    format_name: str | None,
    checked: Sequence[CheckedFile] | None = None,
) -> list[DatasetRef]:
    """Make files datasets of one run, all or none, in one commit.

    Every file is read whole and parsed before anything is changed, unless ``checked`` has what `check_file`
    said of each. When it returns, every required
    destination of the policy holds the bytes; best-effort copies follow. A moved file is removed from its
    old place after the commit.

    Raises
    ------
    InvalidInputError
        The transfer, the format or the destination is wrong.
    NotFoundError
        A file is not there.
    FormatError
        A file is unreadable; the message names it.
    CommitConflictError, CommitFailedError
        Nothing was ingested; files are where they were.
    CommitUnknownError
        The registry gave no answer; files are where they were, and nothing that was placed is removed.
    """
    check_transfer(transfer, [item.path for item in items])
    repository = session.writeable()
    resolution = resolution_of(session, repository, dataset_type, run, transfer)
    if checked is None:
        checked = [check_file(repository, dataset_type, item, format_name) for item in items]
    transaction = plan_ingest(repository, dataset_type, items, checked, run, transfer, resolution)
    return bring_in(repository, transaction, items, resolution, transfer)


def check_transfer(transfer: str, paths: Sequence[str]) -> None:
    """Refuse a transfer that there is not, or not for all of these files.

    Raises
    ------
    InvalidInputError
        Names the first file.
    """
    if transfer not in TRANSFERS:
        raise InvalidInputError(f"transfer={transfer!r}", hint=f"use one of {', '.join(TRANSFERS)}")
    url = next((path for path in paths if "://" in path), None)
    if transfer != DIRECT and url is not None:
        raise InvalidInputError(
            f"{url} is a URL: it can only stay where it is", hint="use transfer='direct', or a path"
        )


def bring_in(
    repository: Repository,
    transaction: Transaction,
    items: Sequence[IngestFile],
    resolution: Resolution,
    transfer: str,
) -> list[DatasetRef]:
    """Bring files to their places and commit them, in one commit; see `ingest_files`."""
    places = _places(repository, resolution)
    if places:
        refs = _adopt(repository, transaction, items, places, transfer)
    else:
        refs = _commit(repository, transaction)
    if transaction.follow_ups:
        repository.runtime.follow_soon(transaction.txid)
    is_ours = [ref.id for ref in refs] == [output.ref.id for output in transaction.outputs]
    if transfer == "move" and is_ours:  # else somebody else has moved them, and these may be other files
        _remove_sources(repository, transaction, items)
    return refs


def _places(repository: Repository, resolution: Resolution) -> list[ObjectDestination]:
    """Return the destinations that must hold the bytes of files before they are committed."""
    return [
        destination
        for target in resolution.targets
        if target.required
        and isinstance(destination := repository.destinations.get(target.destination), ObjectDestination)
    ]


_IN_MEMORY: Final = "memory:"
"""Begin of the URLs of what ends with its process."""


def _remove_sources(repository: Repository, transaction: Transaction, items: Sequence[IngestFile]) -> None:
    """Remove the files that are committed under other names; one that stays is no failure of the ingest."""
    for item, output in zip(items, transaction.outputs, strict=True):
        try:
            files.remove(Path(item.path))
        except OSError as error:
            repository.runtime.ledger.add(
                os_error_kind(error),
                f"{item.path} was ingested, and could not be removed from its old place: {error}",
                txid=transaction.txid,
                ref=output.ref,
            )
    repository.runtime.ledger.save()


def resolution_of(
    session: Session, repository: Repository, dataset_type: DatasetType, run: str, transfer: str
) -> Resolution:
    """Return where the policy wants files; one that stays in place stands for the first required of them."""
    resolution = session.policies[str(repository.root)].resolve(dataset_type, run)
    targets = list(resolution.targets)
    if transfer == DIRECT:
        targets.remove(next(target for target in targets if target.required))
    for target in targets:
        if resolution.is_temporary or (
            target.required and repository.destinations.is_table(target.destination)
        ):
            raise InvalidInputError(
                f"the policy sends {dataset_type.name!r} to {target.destination!r}, which takes no files",
                hint="put the value instead, or let a rule send it to files or objects destinations: "
                "to=['local'], or with 'table?' after it, which loads rows after the commit",
                kind=ErrorKind.POLICY,
            )
    resolution = evolve(resolution, targets=tuple(targets))
    places = _places(repository, resolution)
    if transfer == "move" and all(one.url("x").startswith(_IN_MEMORY) for one in places):
        raise InvalidInputError(
            f"the policy keeps {dataset_type.name!r} in memory alone: files moved there would be lost",
            hint="use transfer='copy', or let a rule send it to a required destination that lasts",
            kind=ErrorKind.POLICY,
        )
    return resolution


def plan_ingest(
    repository: Repository,
    dataset_type: DatasetType,
    items: Sequence[IngestFile],
    checked: Sequence[CheckedFile],
    run: str,
    transfer: str,
    resolution: Resolution,
    key: str | None = None,
) -> Transaction:
    """Say what will be where: everywhere the bytes of the file, or rows; best-effort copies are pending."""
    txid = environment.uuid7()
    outputs = []
    for number, (item, (name, digest, nbytes)) in enumerate(zip(items, checked, strict=True)):
        whole = Artifact(
            destination=DIRECT, path=absolute(item.path), format=name, digest=digest, nbytes=nbytes
        )
        extension = repository.formats.format(name).extension
        path = f"{dataset_type.name}/{run}/{txid}.0.{number}{extension}"
        artifacts = [whole] if transfer == DIRECT else []
        for target in resolution.targets:
            place = evolve(whole, destination=target.destination, path=path)
            if not target.required:
                place = evolve(place, state=ArtifactState.PENDING)
            if repository.destinations.is_table(target.destination):
                place = evolve(
                    place,
                    path=dataset_type.name,
                    format=ROWS.name,
                    digest="",
                    nbytes=0,
                    load_id=environment.uuid7(),
                )
            artifacts.append(place)
        ref = DatasetRef(item.id or environment.uuid7(), dataset_type, item.data_id, run)
        # Who gives an id means one dataset, and no version after another that came meanwhile.
        expect = None if item.id is None else 0
        outputs.append(OutputRecord(ref=ref, expect=expect, artifacts=tuple(artifacts)))
    follow_ups = what_follows([resolution], repository.destinations)
    return Transaction(txid=txid, run=run, key=key, outputs=tuple(outputs), follow_ups=follow_ups)


def _adopt(
    repository: Repository,
    transaction: Transaction,
    items: Sequence[IngestFile],
    places: Sequence[ObjectDestination],
    transfer: str,
) -> list[DatasetRef]:
    """Bring the files to their required places, and make them visible; or leave nothing of them."""
    runtime = repository.runtime
    try:
        runtime.prepare_now(transaction)
        for destination in places:
            runtime.sessions.note(destination)
            # A second link would be no second copy.
            how = "link" if transfer == "link" and destination is places[0] else "copy"
            for item, output in zip(items, transaction.outputs, strict=True):
                (artifact,) = (one for one in output.artifacts if one.destination == destination.name)
                _bring(repository, destination, item, artifact, how)
        return _commit(repository, transaction)
    except CommitUnknownError:
        # On unknown delete nothing; once the registry answers it is visible, or ended.
        runtime.end_later(transaction, str(ErrorKind.ABORTED))
        raise
    except BaseException as error:
        # Whatever interrupted: the registry says whether it became visible, and only a definite no removes.
        try:
            if runtime.end_now(transaction, str(ErrorKind.ABORTED)):
                for destination in places:
                    placed = [a for output in transaction.outputs for a in output.artifacts]
                    destination.remove([one.path for one in placed if one.destination == destination.name])
        except QuantumioError as trouble:
            runtime.end_later(transaction, str(ErrorKind.ABORTED))
            error.add_note(f"what was placed of it is removed once the registry can be reached: {trouble}")
        raise


def _bring(
    repository: Repository, destination: ObjectDestination, item: IngestFile, artifact: Artifact, how: str
) -> None:
    """Place one file at one destination, as it was when it was read."""
    if "://" in item.path:  # nothing that a store could take over by itself
        direct = repository.destinations.get(DIRECT)
        assert isinstance(direct, ObjectDestination)
        data = direct.read(item.path)
        nbytes, digest = len(data), hashlib.sha256(data).hexdigest()
        placement = Placement(path=artifact.path, chunks=(data,), nbytes=nbytes, digest=digest)
        destination.place([placement])
    else:
        placed = destination.adopt(item.path, artifact.path, how)
        nbytes, digest = placed.nbytes, placed.digest or artifact.digest
    if (nbytes, digest) != (artifact.nbytes, artifact.digest):
        raise FormatError(
            f"{item.path} changed while it was ingested",
            hint="ingest it when nobody writes to it any more",
            kind=ErrorKind.DECODE,
        )


def absolute(path: str) -> str:
    """Return a path as it is from everywhere; a URL as it is."""
    return path if "://" in path else str(Path(path).absolute())


def check_file(
    repository: Repository, dataset_type: DatasetType, item: IngestFile, format_name: str | None
) -> CheckedFile:
    """Read and parse a file."""
    direct = repository.destinations.get(DIRECT)
    assert isinstance(direct, ObjectDestination)
    name = format_name or _format_of(repository, dataset_type, item.path)
    data = direct.read(absolute(item.path))
    try:
        repository.formats.format(name).decode(data, dataset_type.storage_class)
    except FormatError as error:
        raise FormatError(f"{item.path}: {error.message}", hint=error.hint, kind=error.kind) from error
    return name, hashlib.sha256(data).hexdigest(), len(data)


def endings_of(repository: Repository, dataset_type: DatasetType) -> dict[str, str]:
    """Return the endings of names that files of a dataset type may have, and the format each says."""
    endings: dict[str, str] = {}
    for name in repository.formats.storage_class(dataset_type.storage_class).formats:
        for ending in repository.formats.format(name).endings:
            endings.setdefault(ending, name)
    return endings


def _format_of(repository: Repository, dataset_type: DatasetType, path: str) -> str:
    """Return the format that a file name's ending says."""
    storage_class = repository.formats.storage_class(dataset_type.storage_class)
    endings = endings_of(repository, dataset_type)
    lower = path.lower()
    for ending in sorted(endings, key=len, reverse=True):
        if lower.endswith(ending):
            return endings[ending]
    raise InvalidInputError(
        f"{path}: its ending says no format of {storage_class.name}",
        hint=f"give format=..., one of {', '.join(storage_class.formats)} (endings {', '.join(endings)})",
        kind=ErrorKind.ARGUMENT,
    )


def _commit(repository: Repository, transaction: Transaction) -> list[DatasetRef]:
    """Make it visible; where the registry gave no answer, ask it once more what became of it."""
    runtime, txid = repository.runtime, transaction.txid
    outcome: CommitOutcome = runtime.commit_now(transaction).result()
    if isinstance(outcome, CommitUnknown):
        try:
            known = known_outcome(txid, repository.catalog, runtime.journal)
        except QuantumioError:  # it is out of reach still
            known = None
        if isinstance(known, Committed | CommitFailed):
            outcome = known
    if isinstance(outcome, Committed):
        return list(outcome.refs)
    raise outcome_error(outcome, txid, Moment.COMMITTED)
