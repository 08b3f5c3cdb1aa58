"""quantumio: put at memory speed, durable soon, exactly once, wherever it belongs.

An asynchronous, deferred-write persistence runtime for SuperTasks. Start with `Butler`.
"""

from quantumio.butler import (
    AsyncButler,
    AsyncDataContext,
    AsyncReceipt,
    AsyncTicket,
    Butler,
    DataContext,
    DatasetVersion,
    DeferredDataset,
    Location,
    Query,
    Receipt,
    Ticket,
)
from quantumio.errors import (
    BufferFull,
    CommitConflictError,
    CommitFailedError,
    CommitParkedError,
    CommitUnknownError,
    ConflictError,
    DestinationError,
    ErrorKind,
    FormatError,
    InternalError,
    InvalidInputError,
    MissingExtraError,
    MutatedAfterPut,
    NotFoundError,
    QuantumioError,
    StateError,
)
from quantumio.model import (
    Ack,
    CommitConflict,
    CommitFailed,
    CommitParked,
    Committed,
    CommitUnknown,
    DataId,
    DatasetRef,
    DatasetType,
    Region,
    Timespan,
)
from quantumio.supertask import (
    Calibration,
    Input,
    Output,
    Pipeline,
    Plan,
    Quantum,
    SuperTask,
)

__version__ = "0.1.0"
