"""Object <-> bytes and form <-> form: one module per library, loaded when first used."""

from quantumio.formats._installed import InstalledFormats
from quantumio.formats.ingest_tables import IngestColumns, ingest_rows
from quantumio.formats.reference_tables import column_batch, reference_table

__all__ = ["IngestColumns", "InstalledFormats", "column_batch", "ingest_rows", "reference_table"]
