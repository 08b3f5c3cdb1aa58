"""What commands tell of datasets, as JSON-able mappings whose keys never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantumio.model import DatasetRef, DatasetType, LedgerEntry, format_bytes

if TYPE_CHECKING:
    from quantumio.butler import DatasetVersion, Location
    from quantumio.ports import CollectionRecord

__all__ = [
    "collection_document",
    "dataset_type_document",
    "failure_document",
    "location_document",
    "location_rows",
    "ref_document",
    "short_digest",
    "version_document",
]

LOCATION_HEADINGS = ("destination", "format", "size", "state", "url")


def ref_document(ref: DatasetRef) -> dict[str, object]:
    """Return which dataset it is."""
    return {
        "id": str(ref.id),
        "dataset_type": ref.dataset_type.name,
        "data_id": dict(ref.data_id),
        "run": ref.run,
        "version": ref.version,
    }


def dataset_type_document(dataset_type: DatasetType) -> dict[str, object]:
    """Return what a dataset type is."""
    return {
        "name": dataset_type.name,
        "dimensions": list(dataset_type.dimensions),
        "storage_class": dataset_type.storage_class,
    }


def version_document(version: DatasetVersion) -> dict[str, object]:
    """Return what is known of one version of a dataset."""
    return ref_document(version.ref) | {
        "committed": version.committed,
        "txid": str(version.txid),
        "commit_seq": version.commit_seq,
        "size": version.size,
        "digest": version.digest,
        "destinations": list(version.destinations),
    }


def location_document(location: Location) -> dict[str, object]:
    """Return where one copy of a dataset is."""
    return {
        "destination": location.destination,
        "url": location.url,
        "format": location.format,
        "size": location.size,
        "digest": location.digest,
        "state": str(location.state),
    }


def location_rows(locations: Sequence[Location]) -> list[tuple[object, ...]]:
    """Return copies of a dataset as rows of a table with the headings ``LOCATION_HEADINGS``."""
    return [
        (one.destination, one.format, format_bytes(one.size), str(one.state), one.url) for one in locations
    ]


def collection_document(record: CollectionRecord) -> dict[str, object]:
    """Return what a collection is."""
    return {"name": record.name, "kind": str(record.kind), "children": list(record.children)}


def failure_document(entry: LedgerEntry) -> dict[str, object]:
    """Return what is known of a background failure."""
    return {
        "number": entry.number,
        "kind": str(entry.kind),
        "message": entry.message,
        "destination": entry.destination,
        "txid": None if entry.txid is None else str(entry.txid),
        "ref": None if entry.ref is None else ref_document(entry.ref),
    }


def short_digest(digest: str) -> str:
    """Return the first digits of a digest, enough to tell two apart by eye."""
    return digest[:12]
