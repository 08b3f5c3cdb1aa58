"""Small protocols that the engine speaks; formats, destinations and the registry fulfil them."""

from quantumio.ports._catalog import DATASET_COLUMNS, LEASE_OVER, Catalog, DatasetQuery
from quantumio.ports._collections import ChainEdit, CollectionKind, CollectionRecord, CollectionRemoval
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
from quantumio.ports._history import Deletion, Difference, HistoryCatalog, LineageEntry, SnapshotRecord
from quantumio.ports._ingest import IngestedChunk, IngestRows, ingest_key
from quantumio.ports._kinds import is_exporting, is_managed, is_table

__all__ = [
    "DATASET_COLUMNS",
    "LEASE_OVER",
    "Buffer",
    "Catalog",
    "ChainEdit",
    "Chunks",
    "CollectionKind",
    "CollectionRecord",
    "CollectionRemoval",
    "CopyArray",
    "DatasetQuery",
    "Deletion",
    "Destination",
    "Destinations",
    "Difference",
    "ExportingDestination",
    "Format",
    "Formats",
    "GarbageCatalog",
    "HistoryCatalog",
    "IngestRows",
    "IngestedChunk",
    "LineageEntry",
    "LoadListing",
    "LoadedRows",
    "ManagedDestination",
    "ObjectDestination",
    "ObjectRecord",
    "Placement",
    "RegistryTables",
    "SnapshotDelegate",
    "SnapshotRecord",
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
