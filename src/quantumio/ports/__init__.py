"""Small protocols that the engine speaks; formats, destinations and the registry fulfil them."""

from quantumio.ports._catalog import DATASET_COLUMNS, LEASE_OVER, REUSED, Catalog, DatasetQuery
from quantumio.ports._collections import (
    ChainEdit,
    CollectionKind,
    CollectionRecord,
    CollectionRemoval,
    RemovedCollection,
)
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
from quantumio.ports._history import (
    ChangedChain,
    Deletion,
    Difference,
    HistoryCatalog,
    LineageEntry,
    MemberRecord,
    SnapshotRecord,
)
from quantumio.ports._ingest import IngestedChunk, IngestRows, ingest_key, is_ingest_key
from quantumio.ports._kinds import is_exporting, is_managed, is_table
from quantumio.ports._members import MemberQuery
from quantumio.ports._records import RecordComparison

__all__ = [
    "DATASET_COLUMNS",
    "LEASE_OVER",
    "REUSED",
    "Buffer",
    "Catalog",
    "ChainEdit",
    "ChangedChain",
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
    "MemberQuery",
    "MemberRecord",
    "ObjectDestination",
    "ObjectRecord",
    "Placement",
    "RecordComparison",
    "RegistryTables",
    "RemovedCollection",
    "SnapshotDelegate",
    "SnapshotRecord",
    "StorageClassDelegate",
    "StoredObject",
    "TableDelegate",
    "TableDestination",
    "Workspaces",
    "ingest_key",
    "is_exporting",
    "is_ingest_key",
    "is_managed",
    "is_table",
]
