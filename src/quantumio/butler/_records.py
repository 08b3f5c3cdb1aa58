"""What the Butler tells of datasets, and the dimension records it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from attrs import frozen

from quantumio.butler._query import utc
from quantumio.butler._repository import Repository
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import (
    Artifact,
    ArtifactState,
    DataIdValue,
    DatasetRef,
    DimensionUniverse,
    Region,
    StoredDataset,
    Timespan,
    human_path,
)
from quantumio.ports import is_exporting

__all__ = ["DatasetVersion", "Location", "dataset_version", "locations", "records_of"]


@frozen(kw_only=True)
class DatasetVersion:
    """One version of a dataset.

    Attributes
    ----------
    ref
        With its version.
    committed
        When, UTC.
    txid, commit_seq
        By which transaction; its place in the order of all commits.
    size, digest
        Bytes, and their SHA-256 (empty where nobody knows it), of the first copy.
    destinations
        Names of where it is.
    """

    ref: DatasetRef
    committed: datetime
    txid: UUID
    commit_seq: int
    size: int
    digest: str
    destinations: tuple[str, ...]


@frozen(kw_only=True)
class Location:
    """One copy of a dataset.

    Attributes
    ----------
    destination, url
        Where, for people and programs; never with a secret. Of one of several datasets in a pack (a ZIP
        file), the file and after ``#`` the name in it.
    format
        Name of its format; ``rows`` in a database.
    size, digest
        Bytes, and their SHA-256 (of rows a checksum; empty where nobody knows it).
    state
        What is known of it.
    """

    destination: str
    url: str
    format: str
    size: int
    digest: str
    state: ArtifactState


def dataset_version(stored: StoredDataset) -> DatasetVersion:
    """Return what is told of a committed dataset."""
    return DatasetVersion(
        ref=stored.ref,
        committed=utc(stored.committed_ns),
        txid=stored.txid,
        commit_seq=stored.commit_seq,
        size=stored.nbytes,
        digest=stored.artifacts[0].digest if stored.artifacts else "",
        destinations=tuple(artifact.destination for artifact in stored.artifacts),
    )


def locations(repository: Repository, stored: StoredDataset) -> list[Location]:
    """Return where the copies of a committed dataset are; no destination is asked."""

    def url(artifact: Artifact) -> str:
        path = artifact.path
        try:
            destination = repository.destinations.get(artifact.destination)
            if is_exporting(destination):
                ending = repository.formats.format(artifact.format).extension
                return destination.export_url(human_path(stored.ref, ending))
            member = "" if artifact.member is None else f"#{quote(artifact.member)}"
            return destination.url(path) + member
        except (DestinationError, NotFoundError, InvalidInputError):
            return path  # it cannot be opened here and now; the relative path is what is known

    return [
        Location(
            destination=artifact.destination,
            url=url(artifact),
            format=artifact.format,
            size=artifact.nbytes,
            digest=artifact.digest,
            state=artifact.state,
        )
        for artifact in stored.artifacts
    ]


def records_of(
    element: str, records: object, defaults: Mapping[str, DataIdValue], universe: DimensionUniverse
) -> list[dict[str, object]]:
    """Return dimension records as mappings, with timespans and regions converted and defaults filled in.

    Raises
    ------
    InvalidInputError
        It is no list of mappings and no table, or a timespan or region is wrong; names the record.
    """
    required = universe.element(element).record_keys
    converted = []
    for number, row in enumerate(_rows(element, records)):
        record = {name: defaults[name] for name in required if name in defaults} | row
        try:
            if record.get("timespan") is not None:
                record["timespan"] = Timespan.make(record["timespan"])
            if record.get("region") is not None:
                record["region"] = Region.make(record["region"])
        except InvalidInputError as error:
            error.add_note(f"in record {number} of {element}")
            raise
        converted.append(record)
    return converted


def _rows(element: str, records: object) -> Sequence[dict[str, object]]:
    if hasattr(records, "to_pylist"):  # pyarrow
        return list(records.to_pylist())
    if hasattr(records, "to_dict") and hasattr(records, "iloc"):  # pandas
        return list(records.to_dict("records"))
    if hasattr(records, "colnames") and hasattr(records, "iterrows"):  # astropy
        return [dict(zip(records.colnames, row, strict=True)) for row in records.iterrows()]
    if isinstance(records, Mapping):
        return [dict(records)]
    if isinstance(records, (list, tuple)) and all(isinstance(record, Mapping) for record in records):
        return [dict(record) for record in records]
    raise InvalidInputError(
        f"{type(records).__name__} holds no records of {element}",
        hint="give a list of mappings, or an Arrow, pandas or astropy table",
        kind=ErrorKind.DIMENSION,
    )
