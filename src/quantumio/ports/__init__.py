"""Small protocols that the engine speaks; formats, destinations and the registry fulfil them."""

from quantumio.ports._catalog import LEASE_OVER, Catalog, CollectionKind, CollectionRecord, DatasetQuery
from quantumio.ports._destination import (
    Destination,
    Destinations,
    ExportingDestination,
    LoadedRows,
    LoadListing,
    ManagedDestination,
    ObjectDestination,
    Placement,
    RegistryTables,
    StoredObject,
    TableDestination,
    Workspaces,
)
from quantumio.ports._format import (
    Buffer,
    Chunks,
    CopyArray,
    Format,
    Formats,
    SnapshotDelegate,
    StorageClassDelegate,
    TableDelegate,
)
from quantumio.ports._garbage import GarbageCatalog, ObjectRecord
from quantumio.ports._ingest import IngestedChunk, IngestRows, ingest_key
from quantumio.ports._kinds import is_exporting, is_managed, is_table

__all__ = [
    "LEASE_OVER",
    "Buffer",
    "Catalog",
    "Chunks",
    "CollectionKind",
    "CollectionRecord",
    "CopyArray",
    "DatasetQuery",
    "Destination",
    "Destinations",
    "ExportingDestination",
    "Format",
    "Formats",
    "GarbageCatalog",
    "IngestRows",
    "IngestedChunk",
    "LoadListing",
    "LoadedRows",
    "ManagedDestination",
    "ObjectDestination",
    "ObjectRecord",
    "Placement",
    "RegistryTables",
    "SnapshotDelegate",
    "StorageClassDelegate",
    "StoredObject",
    "TableDelegate",
    "TableDestination",
    "Workspaces",
    "ingest_key",
    "is_exporting",
    "is_managed",
    "is_table",
]
