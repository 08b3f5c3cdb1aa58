"""The error tree: the class of an error answers "what does the caller do now?".

Every error of quantumio derives from `QuantumioError`. Its class says what to do, its ``kind`` says
exactly what happened (append-only, shared by exit codes and wire forms), its message says what, which
object, and how to mend it. All of them pickle.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from quantumio.model import CommitOutcome

__all__ = [
    "BufferFull",
    "CommitConflictError",
    "CommitFailedError",
    "CommitParkedError",
    "CommitUnknownError",
    "ConflictError",
    "DestinationError",
    "ErrorKind",
    "FormatError",
    "InternalError",
    "InvalidInputError",
    "MissingExtraError",
    "MutatedAfterPut",
    "NotFoundError",
    "QuantumioError",
    "StateError",
]


class ErrorKind(StrEnum):
    """Exact cause of an error; members are only ever added, never renamed or removed."""

    UNSPECIFIED = "unspecified"
    # invalid input
    NAME = "name"
    DATA_ID = "data_id"
    DATASET_TYPE = "dataset_type"
    DIMENSION = "dimension"
    TIMESPAN = "timespan"
    REGION = "region"
    PYTHON_TYPE = "python_type"
    VALUE = "value"
    POLICY = "policy"
    FORM = "form"
    COMPONENT = "component"
    EXPRESSION = "expression"
    UNDECLARED = "undeclared"
    MUTATED_AFTER_PUT = "mutated_after_put"
    COLLECTION = "collection"
    MOMENT = "moment"
    PAGE_TOKEN = "page_token"  # noqa: S105
    ARGUMENT = "argument"
    # not found
    NO_REPOSITORY = "no_repository"
    NO_DATASET = "no_dataset"
    NO_DATASET_TYPE = "no_dataset_type"
    NO_COLLECTION = "no_collection"
    NO_FILE = "no_file"
    NO_SNAPSHOT = "no_snapshot"
    NO_TICKET = "no_ticket"
    PENDING = "pending"
    REMOVED = "removed"
    # conflicts
    EXISTS = "exists"
    DUPLICATE_OUTPUT = "duplicate_output"
    VERSION = "version"
    INPUT_CHANGED = "input_changed"
    VALIDITY_OVERLAP = "validity_overlap"
    AMBIGUOUS_CALIBRATION = "ambiguous_calibration"
    CYCLE = "cycle"
    IN_USE = "in_use"
    OTHER_OUTPUTS = "other_outputs"
    # state
    CLOSED = "closed"
    READ_ONLY = "read_only"
    FORKED = "forked"
    RUNTIME_THREAD = "runtime_thread"
    NEWER_SCHEMA = "newer_schema"
    OLDER_SCHEMA = "older_schema"
    UNKNOWN_SESSION = "unknown_session"
    TOO_MANY_REMOVALS = "too_many_removals"
    BUFFER_FULL = "buffer_full"
    TIMEOUT = "timeout"
    LOCKED = "locked"
    THREADS = "threads"
    MEMORY = "memory"
    # destinations and registry
    DISK_FULL = "disk_full"
    PERMISSION = "permission"
    UNREACHABLE = "unreachable"
    CORRUPT = "corrupt"
    REGISTRY = "registry"
    REFUSED = "refused"
    # formats
    ENCODE = "encode"
    DECODE = "decode"
    # commits
    UPSTREAM = "upstream"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    # the rest
    MISSING_EXTRA = "missing_extra"
    INTERNAL = "internal"


def _rebuild(
    cls: type[QuantumioError], message: str, hint: str | None, kind: ErrorKind, state: dict[str, object]
) -> QuantumioError:
    error = cls.__new__(cls)
    QuantumioError.__init__(error, message, hint=hint, kind=kind)
    error.__dict__.update(state)
    return error


class QuantumioError(Exception):
    """Root of all errors of quantumio.

    Parameters
    ----------
    message
        What happened, and to which object.
    hint
        What to do about it.
    kind
        Exact cause; the class's own default where nothing more exact is known.
    """

    default_kind: ClassVar[ErrorKind] = ErrorKind.UNSPECIFIED
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, kind: ErrorKind | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind or self.default_kind

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.kind, dict(self.__dict__))


class InvalidInputError(QuantumioError, ValueError):
    """What was given is wrong: correct the call. Nothing was stored."""

    default_kind = ErrorKind.ARGUMENT
    exit_code = 2


class MutatedAfterPut(InvalidInputError):
    """A frozen or borrowed object was changed between put and flush; nothing of it was stored."""

    default_kind = ErrorKind.MUTATED_AFTER_PUT


class NotFoundError(QuantumioError, LookupError):
    """What was asked for does not exist (or is not visible yet: the message says which)."""

    default_kind = ErrorKind.NO_DATASET
    exit_code = 3

    def __str__(self) -> str:  # LookupError of KeyError fame would quote; keep the root's text
        return QuantumioError.__str__(self)


class ConflictError(QuantumioError):
    """Somebody (or an earlier call) got there first: read again, decide, retry."""

    default_kind = ErrorKind.EXISTS
    exit_code = 4


class StateError(QuantumioError):
    """The object is not in a state that allows the call: open it, close it, or wait."""

    default_kind = ErrorKind.CLOSED
    exit_code = 5


class BufferFull(StateError):
    """The byte budget stayed full for ``put_timeout``: wait, flush, or raise the budget."""

    default_kind = ErrorKind.BUFFER_FULL


class DestinationError(QuantumioError):
    """A destination or the registry refused or could not be reached: look after it, then retry."""

    default_kind = ErrorKind.UNREACHABLE
    exit_code = 6


class FormatError(QuantumioError):
    """An object cannot be written in a format, or bytes cannot be read as one."""

    default_kind = ErrorKind.ENCODE
    exit_code = 7


class MissingExtraError(QuantumioError, ImportError):
    """An optional library is not installed; the hint is the command that installs it."""

    default_kind = ErrorKind.MISSING_EXTRA
    exit_code = 9

    def __init__(self, library: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library!r}, which is not installed",
            hint=f"pip install 'quantumio[{extra}]'",
        )


class InternalError(QuantumioError):
    """A bug in quantumio: please report it with the message."""

    default_kind = ErrorKind.INTERNAL
    exit_code = 70


class _OutcomeError(QuantumioError):
    """An error that carries the outcome of a commit."""

    def __init__(
        self,
        message: str,
        *,
        outcome: CommitOutcome,
        hint: str | None = None,
        kind: ErrorKind | None = None,
    ) -> None:
        super().__init__(message, hint=hint, kind=kind)
        self.outcome = outcome


class CommitConflictError(_OutcomeError, ConflictError):
    """The commit lost against another one; definite: nothing of it is visible."""

    default_kind = ErrorKind.VERSION


class CommitFailedError(_OutcomeError):
    """The commit failed; definite: nothing of it is visible. ``kind`` says why."""

    default_kind = ErrorKind.UNREACHABLE
    exit_code = 10


class CommitParkedError(_OutcomeError):
    """Something of the commit is not done yet: the outcome says what."""

    default_kind = ErrorKind.TIMEOUT
    exit_code = 11


class CommitUnknownError(_OutcomeError):
    """The commit may or may not be visible; nothing was deleted. Resolve it before writing again."""

    default_kind = ErrorKind.REGISTRY
    exit_code = 8


def shown(value: object, longest: int = 80) -> str:
    """Return what a message shows of a value that may be anything.

    Parameters
    ----------
    longest
        How many characters of its `repr`.

    Returns
    -------
    str
        Its `repr`, cut; its type where that fails: Python writes no integer of more than 4,300 digits, and
        an object of somebody else may raise anything.
    """
    try:
        return repr(value)[:longest]
    except Exception:  # noqa: BLE001
        if isinstance(value, int):
            return f"an integer of {value.bit_length()} bits"
        return f"a {type(value).__name__} that cannot be written out"
