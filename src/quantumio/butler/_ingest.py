"""Ingest: files that exist become datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from quantumio.butler._repository import Repository
from quantumio.butler._session import Session
from quantumio.errors import CommitConflictError, CommitFailedError, ErrorKind, FormatError, InvalidInputError
from quantumio.model import (
    DIRECT,
    Artifact,
    CommitConflict,
    CommitOutcome,
    Committed,
    DataId,
    DatasetRef,
    DatasetType,
    OutputRecord,
    Transaction,
)
from quantumio.ports import ObjectDestination
from quantumio.system import environment, files

__all__ = ["TRANSFERS", "IngestFile", "ingest_files"]

TRANSFERS = ("copy", "link", "move", DIRECT)


@frozen(kw_only=True)
class IngestFile:
    """One file and the data ID it is to have."""

    path: str
    data_id: DataId


def ingest_files(
    session: Session,
    dataset_type: DatasetType,
    items: Sequence[IngestFile],
    *,
    run: str,
    transfer: str,
    format_name: str | None,
) -> list[DatasetRef]:
    """Make files datasets of one run, all or none, in one commit.

    Every file is read whole and parsed before anything is changed. A moved file is removed from its old
    place after the commit.

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
    """
    if transfer not in TRANSFERS:
        raise InvalidInputError(f"transfer={transfer!r}", hint=f"use one of {', '.join(TRANSFERS)}")
    repository = session.writeable()
    checked = [_check(repository, dataset_type, item, format_name) for item in items]
    destination = None if transfer == DIRECT else _destination(session, repository, dataset_type, run)
    transaction = _plan(repository, dataset_type, items, checked, run, destination)
    if destination is None:
        refs = _committed(repository.runtime.commit_now(transaction).result())
    else:
        refs = _adopt(repository, transaction, items, destination, transfer)
    if transfer == "move":
        for item in items:
            files.remove(Path(item.path))
    return refs


def _plan(
    repository: Repository,
    dataset_type: DatasetType,
    items: Sequence[IngestFile],
    checked: Sequence[tuple[str, str, int]],
    run: str,
    destination: ObjectDestination | None,
) -> Transaction:
    """Say what will be where."""
    txid = environment.uuid7()
    outputs = []
    for number, (item, (name, digest, nbytes)) in enumerate(zip(items, checked, strict=True)):
        if destination is None:
            place, path = DIRECT, _absolute(item.path)
        else:
            extension = repository.formats.format(name).extension
            place, path = destination.name, f"{dataset_type.name}/{run}/{txid}.0.{number}{extension}"
        artifact = Artifact(destination=place, path=path, format=name, digest=digest, nbytes=nbytes)
        ref = DatasetRef(environment.uuid7(), dataset_type, item.data_id, run)
        outputs.append(OutputRecord(ref=ref, expect=None, artifacts=(artifact,)))
    return Transaction(txid=txid, run=run, key=None, outputs=tuple(outputs))


def _adopt(
    repository: Repository,
    transaction: Transaction,
    items: Sequence[IngestFile],
    destination: ObjectDestination,
    transfer: str,
) -> list[DatasetRef]:
    """Bring the files to their places, and make them visible; or leave nothing of them."""
    runtime = repository.runtime
    runtime.prepare_now(transaction)
    try:
        runtime.sessions.note(destination)
        for item, output in zip(items, transaction.outputs, strict=True):
            (artifact,) = output.artifacts
            placed = destination.adopt(item.path, artifact.path, "link" if transfer == "link" else "copy")
            if placed.nbytes != artifact.nbytes or placed.digest not in (None, artifact.digest):
                raise FormatError(
                    f"{item.path} changed while it was ingested",
                    hint="ingest it when nobody writes to it any more",
                    kind=ErrorKind.DECODE,
                )
        return _committed(runtime.commit_now(transaction).result())
    except BaseException:
        # Whatever interrupted: the registry says whether it became visible, and only a definite no removes.
        if runtime.end_now(transaction, str(ErrorKind.ABORTED)):
            destination.remove([output.artifacts[0].path for output in transaction.outputs])
        raise


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _check(
    repository: Repository, dataset_type: DatasetType, item: IngestFile, format_name: str | None
) -> tuple[str, str, int]:
    """Read and parse a file; return its format, digest and size."""
    direct = repository.destinations.get(DIRECT)
    assert isinstance(direct, ObjectDestination)
    name = format_name or _format_of(repository, dataset_type, item.path)
    data = direct.read(_absolute(item.path))
    try:
        repository.formats.format(name).decode(data, dataset_type.storage_class)
    except FormatError as error:
        raise FormatError(f"{item.path}: {error.message}", hint=error.hint, kind=error.kind) from error
    return name, hashlib.sha256(data).hexdigest(), len(data)


def _format_of(repository: Repository, dataset_type: DatasetType, path: str) -> str:
    """Return the format that a file name's ending says."""
    storage_class = repository.formats.storage_class(dataset_type.storage_class)
    endings: dict[str, str] = {}
    for name in storage_class.formats:
        for ending in repository.formats.format(name).endings:
            endings.setdefault(ending, name)
    lower = path.lower()
    for ending in sorted(endings, key=len, reverse=True):
        if lower.endswith(ending):
            return endings[ending]
    raise InvalidInputError(
        f"{path}: its ending says no format of {storage_class.name}",
        hint=f"give format=..., one of {', '.join(storage_class.formats)} (endings {', '.join(endings)})",
        kind=ErrorKind.ARGUMENT,
    )


def _destination(
    session: Session, repository: Repository, dataset_type: DatasetType, run: str
) -> ObjectDestination:
    """Return the first required destination of the policy that can take files over."""
    resolution = session.policies[str(repository.root)].resolve(dataset_type, run)
    for target in resolution.targets:
        if target.required and not resolution.is_temporary:
            destination = repository.destinations.get(target.destination)
            if isinstance(destination, ObjectDestination):
                return destination
    raise InvalidInputError(
        f"the policy sends {dataset_type.name!r} to no destination that takes files",
        hint="ingest with transfer='direct', or let a rule send it to a files or objects destination",
        kind=ErrorKind.POLICY,
    )


def _committed(outcome: CommitOutcome) -> list[DatasetRef]:
    if isinstance(outcome, Committed):
        return list(outcome.refs)
    if isinstance(outcome, CommitConflict):
        raise CommitConflictError(outcome.message, outcome=outcome, kind=outcome.kind)
    raise CommitFailedError(getattr(outcome, "message", str(outcome)), outcome=outcome)
