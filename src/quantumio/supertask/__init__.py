"""SuperTasks: they declare what they read and write; pipelines, plans, and the harness that runs them."""

from quantumio.supertask._async_context import AsyncQuantumContext
from quantumio.supertask._connections import Calibration, Connection, Input, Output
from quantumio.supertask._context import QuantumContext
from quantumio.supertask._handles import AsyncQuantumInput, QuantumInput
from quantumio.supertask._pipeline import Pipeline
from quantumio.supertask._plan import Plan
from quantumio.supertask._progress import ProgressEvent, ProgressKind
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._report import (
    QuantumResult,
    QuantumState,
    RunReport,
    TaskSummary,
)
from quantumio.supertask._task import SuperTask

__all__ = [
    "AsyncQuantumContext",
    "AsyncQuantumInput",
    "Calibration",
    "Connection",
    "Input",
    "Output",
    "Pipeline",
    "Plan",
    "ProgressEvent",
    "ProgressKind",
    "Quantum",
    "QuantumContext",
    "QuantumInput",
    "QuantumResult",
    "QuantumState",
    "RunReport",
    "SuperTask",
    "TaskSummary",
]
