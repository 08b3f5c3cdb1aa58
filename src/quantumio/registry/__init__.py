"""What exists: schema, versions, collections, validity and queries, in SQLite or PostgreSQL."""

from quantumio.registry._catalog import SqlCatalog
from quantumio.registry._opening import create_registry, open_registry, upgrade
from quantumio.registry._url import sqlite_url

__all__ = ["SqlCatalog", "create_registry", "open_registry", "sqlite_url", "upgrade"]
