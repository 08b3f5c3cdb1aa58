"""The heart: buffer, ownership, policy, flush and commit. It knows ports, never libraries."""

from quantumio.engine._budget import GIVEN_UP
from quantumio.engine._context import MOMENT_OF_ACK, Context, ContextState
from quantumio.engine._follow_ups import what_follows
from quantumio.engine._fsck import Fsck
from quantumio.engine._fsck_report import (
    FsckAction,
    FsckFinding,
    FsckProgress,
    FsckReport,
    FsckTally,
    FsckTrouble,
)
from quantumio.engine._garbage import GRACE_S, LEAST_GRACE_S, GarbageCollector
from quantumio.engine._garbage_report import (
    GarbageFinding,
    GarbageKind,
    GarbageProgress,
    GarbageReport,
    GarbageTally,
    StoreGarbage,
)
from quantumio.engine._journal import MIN_FREE_BYTES
from quantumio.engine._known_outcome import known_outcome
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._outcome_errors import outcome_error
from quantumio.engine._output import Output, OutputReleased
from quantumio.engine._owner import OWNERS, is_dead_here
from quantumio.engine._plan_scope import PlanScope
from quantumio.engine._policy import LOCAL, ROWS, PolicyResolver, as_targets
from quantumio.engine._progress import Progress
from quantumio.engine._recovery_report import RecoveryItem, RecoveryReport
from quantumio.engine._runtime import Runtime
from quantumio.engine._runtime_settings import RuntimeSettings, RuntimeStatus
from quantumio.engine._set_aside import (
    SetAside,
    SetAsideFile,
    SetAsideOutput,
    SetAsidePlace,
    all_set_aside,
)

__all__ = [
    "GIVEN_UP",
    "GRACE_S",
    "LEAST_GRACE_S",
    "LOCAL",
    "MIN_FREE_BYTES",
    "MOMENT_OF_ACK",
    "OWNERS",
    "ROWS",
    "Context",
    "ContextState",
    "ErrorLedger",
    "Fsck",
    "FsckAction",
    "FsckFinding",
    "FsckProgress",
    "FsckReport",
    "FsckTally",
    "FsckTrouble",
    "GarbageCollector",
    "GarbageFinding",
    "GarbageKind",
    "GarbageProgress",
    "GarbageReport",
    "GarbageTally",
    "Output",
    "OutputReleased",
    "PlanScope",
    "PolicyResolver",
    "Progress",
    "RecoveryItem",
    "RecoveryReport",
    "Runtime",
    "RuntimeSettings",
    "RuntimeStatus",
    "SetAside",
    "SetAsideFile",
    "SetAsideOutput",
    "SetAsidePlace",
    "StoreGarbage",
    "all_set_aside",
    "as_targets",
    "is_dead_here",
    "known_outcome",
    "outcome_error",
    "what_follows",
]
