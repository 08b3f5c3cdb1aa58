"""Object <-> bytes and form <-> form: one module per library, loaded when first used."""

from quantumio.formats._installed import InstalledFormats
from quantumio.formats.ingest_tables import IngestColumns, ingest_rows
from quantumio.formats.reference_tables import reference_table

__all__ = ["IngestColumns", "InstalledFormats", "ingest_rows", "reference_table"]
