"""Joins the parts: Butler and DataContext, for threads and for event loops."""

from quantumio.butler._async_butler import AsyncButler, AsyncDeferredDataset
from quantumio.butler._async_context import AsyncDataContext
from quantumio.butler._bulk_ingest import IngestProgress, IngestReport
from quantumio.butler._butler import Butler
from quantumio.butler._certifications import AsyncCertifications, Certifications
from quantumio.butler._context import DataContext
from quantumio.butler._deferred import DeferredDataset
from quantumio.butler._handles import AsyncReceipt, AsyncTicket, Receipt, Ticket
from quantumio.butler._imported_datasets import DatasetImport
from quantumio.butler._imported_dimensions import DimensionImport
from quantumio.butler._join import AsyncJoin, Join
from quantumio.butler._lineage import Lineage
from quantumio.butler._query import AsyncQuery, Page, Query
from quantumio.butler._records import DatasetVersion, Location
from quantumio.butler._termination import drain_on_sigterm

__all__ = [
    "AsyncButler",
    "AsyncCertifications",
    "AsyncDataContext",
    "AsyncDeferredDataset",
    "AsyncJoin",
    "AsyncQuery",
    "AsyncReceipt",
    "AsyncTicket",
    "Butler",
    "Certifications",
    "DataContext",
    "DatasetImport",
    "DatasetVersion",
    "DeferredDataset",
    "DimensionImport",
    "IngestProgress",
    "IngestReport",
    "Join",
    "Lineage",
    "Location",
    "Page",
    "Query",
    "Receipt",
    "Ticket",
    "drain_on_sigterm",
]
