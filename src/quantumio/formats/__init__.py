"""Object <-> bytes and form <-> form: one module per library, loaded when first used."""

from quantumio.formats._installed import InstalledFormats
from quantumio.formats._table_files import read_table
from quantumio.formats._table_stream import TABLE_FORMATS, batch_rows, table_batches, table_chunks
from quantumio.formats.ingest_tables import IngestColumns, ingest_rows
from quantumio.formats.reference_tables import column_batch, reference_table

__all__ = [
    "TABLE_FORMATS",
    "IngestColumns",
    "InstalledFormats",
    "batch_rows",
    "column_batch",
    "ingest_rows",
    "read_table",
    "reference_table",
    "table_batches",
    "table_chunks",
]
