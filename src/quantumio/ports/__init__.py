"""Small protocols that the engine speaks; formats, destinations and the registry fulfil them."""

from quantumio.ports._catalog import LEASE_OVER, Catalog, CollectionKind, CollectionRecord, DatasetQuery
from quantumio.ports._destination import (
    Destination,
    Destinations,
    ExportingDestination,
    LoadedRows,
    ObjectDestination,
    Placement,
    RegistryTables,
    StoredObject,
    TableDestination,
)
from quantumio.ports._format import (
    Buffer,
    Chunks,
    CopyArray,
    Format,
    Formats,
    StorageClassDelegate,
    TableDelegate,
)

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
    "LoadedRows",
    "ObjectDestination",
    "Placement",
    "RegistryTables",
    "StorageClassDelegate",
    "StoredObject",
    "TableDelegate",
    "TableDestination",
]
