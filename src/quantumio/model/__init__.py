"""Frozen values: what everything else speaks about. They know no library and no input or output."""

from quantumio.model._commit import (
    Ack,
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    CommitUnknown,
    Expectation,
    LedgerEntry,
    Moment,
    OutputRecord,
    Transaction,
    check_expectation,
)
from quantumio.model._data_id import DataId, DataIdValue, check_data_id_value, make_data_id
from quantumio.model._dataset import (
    Artifact,
    ArtifactState,
    DatasetRef,
    DatasetType,
    StorageClass,
    StoredDataset,
)
from quantumio.model._dimensions import Dimension, DimensionUniverse, default_universe
from quantumio.model._file_names import decode_component, encode_component, human_path
from quantumio.model._names import check_identifier, check_run
from quantumio.model._policy import (
    TEMPORARY,
    DestinationSettings,
    FormatChoice,
    Mode,
    NamedPolicy,
    Ownership,
    PolicyLayer,
    Resolution,
    Rule,
    Target,
)
from quantumio.model._region import Region
from quantumio.model._sizes import format_bytes, parse_bytes
from quantumio.model._timespan import Timespan, tai_ns

__all__ = [
    "TEMPORARY",
    "Ack",
    "Artifact",
    "ArtifactState",
    "CommitConflict",
    "CommitFailed",
    "CommitOutcome",
    "CommitParked",
    "CommitUnknown",
    "Committed",
    "DataId",
    "DataIdValue",
    "DatasetRef",
    "DatasetType",
    "DestinationSettings",
    "Dimension",
    "DimensionUniverse",
    "Expectation",
    "FormatChoice",
    "LedgerEntry",
    "Mode",
    "Moment",
    "NamedPolicy",
    "OutputRecord",
    "Ownership",
    "PolicyLayer",
    "Region",
    "Resolution",
    "Rule",
    "StorageClass",
    "StoredDataset",
    "Target",
    "Timespan",
    "Transaction",
    "check_data_id_value",
    "check_expectation",
    "check_identifier",
    "check_run",
    "decode_component",
    "default_universe",
    "encode_component",
    "format_bytes",
    "human_path",
    "make_data_id",
    "parse_bytes",
    "tai_ns",
]
