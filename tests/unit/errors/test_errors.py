"""The error tree: what a handler can rely on."""

import copy
import inspect
import pickle
import uuid

import pytest

from quantumio import errors
from quantumio.errors import CommitConflictError, ErrorKind, MissingExtraError, QuantumioError
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitParked,
    CommitUnknown,
    DataId,
    DatasetRef,
    DatasetType,
)

# Append-only: scripts, exit codes and stored ledgers know these texts. Add new ones to their group;
# a test that fails here because something is missing or renamed has found a broken promise.
KINDS = [
    "unspecified",
    "name",
    "data_id",
    "dataset_type",
    "dimension",
    "timespan",
    "region",
    "python_type",
    "value",
    "policy",
    "form",
    "component",
    "expression",
    "undeclared",
    "mutated_after_put",
    "collection",
    "argument",
    "no_repository",
    "no_dataset",
    "no_dataset_type",
    "no_collection",
    "no_file",
    "no_ticket",
    "pending",
    "exists",
    "duplicate_output",
    "version",
    "input_changed",
    "validity_overlap",
    "ambiguous_calibration",
    "cycle",
    "closed",
    "read_only",
    "forked",
    "runtime_thread",
    "newer_schema",
    "older_schema",
    "unknown_session",
    "too_many_removals",
    "buffer_full",
    "timeout",
    "locked",
    "disk_full",
    "permission",
    "unreachable",
    "corrupt",
    "registry",
    "refused",
    "encode",
    "decode",
    "threads",
    "memory",
    "upstream",
    "aborted",
    "cancelled",
    "missing_extra",
    "internal",
    "in_use",
    "moment",
    "no_snapshot",
    "page_token",
    "removed",
    "other_outputs",
]

EXIT_CODES = {
    "QuantumioError": 1,
    "InvalidInputError": 2,
    "MutatedAfterPut": 2,
    "NotFoundError": 3,
    "ConflictError": 4,
    "CommitConflictError": 4,
    "StateError": 5,
    "BufferFull": 5,
    "DestinationError": 6,
    "FormatError": 7,
    "CommitUnknownError": 8,
    "MissingExtraError": 9,
    "CommitFailedError": 10,
    "CommitParkedError": 11,
    "InternalError": 70,
}

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "ErrorKind"]
TXID = uuid.UUID("018f0000-0000-7000-8000-000000000001")
REF = DatasetRef(
    TXID, DatasetType("stats", dimensions=["visit"], storage_class="Mapping"), DataId({"visit": 1}), "r"
)
OUTCOMES = {
    "CommitConflictError": CommitConflict(txid=TXID, message="lost", ref=REF, winner_version=3),
    "CommitFailedError": CommitFailed(txid=TXID, kind=ErrorKind.DISK_FULL, message="full", ref=REF),
    "CommitParkedError": CommitParked(txid=TXID, reason="later"),
    "CommitUnknownError": CommitUnknown(txid=TXID, reason="no answer"),
}


def make(cls: type[QuantumioError]) -> QuantumioError:
    if cls is MissingExtraError:
        return cls("s3fs", "s3", purpose="reading s3://")
    options = {"hint": "mend it", "kind": ErrorKind.CYCLE}
    if cls.__name__ in OUTCOMES:
        options["outcome"] = OUTCOMES[cls.__name__]
    return cls("what of which", **options)


def test_kinds_are_only_ever_added():
    assert set(KINDS) <= {str(kind) for kind in ErrorKind}
    assert len(KINDS) == len(set(KINDS))


def test_every_kind_is_in_the_frozen_list():
    assert {str(kind) for kind in ErrorKind} - set(KINDS) == set(), "append the new kind to the list above"


def test_kinds_are_their_lower_case_names():
    assert all(str(kind) == kind.name.lower() for kind in ErrorKind)


def test_every_public_error_class_has_a_stable_exit_code():
    assert {cls.__name__: cls.exit_code for cls in CLASSES} == EXIT_CODES


def test_a_class_that_sets_an_exit_code_shares_it_with_no_other():
    own = [cls.exit_code for cls in CLASSES if "exit_code" in vars(cls)]
    assert len(own) == len(set(own))
    # 0 is success, 126 and up belong to the shell.
    assert all(0 < code < 126 for code in own)


def test_every_error_class_of_the_module_is_public():
    defined = {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if cls.__module__ == errors.__name__ and not name.startswith("_")
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_pickled_error_is_the_same(cls, duplicate):
    error = make(cls)
    error.add_note("while reading calexp")
    error.extra = {"batch": 3}
    back = duplicate(error)
    assert type(back) is cls
    assert (back.message, back.hint, back.kind, str(back)) == (
        error.message,
        error.hint,
        error.kind,
        str(error),
    )
    assert back.__notes__ == ["while reading calexp"]
    assert back.extra == {"batch": 3}
    assert getattr(back, "outcome", None) == OUTCOMES.get(cls.__name__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_default_kind_holds_where_none_is_given(cls):
    if cls is MissingExtraError:
        assert make(cls).kind is ErrorKind.MISSING_EXTRA
        return
    options = {"outcome": OUTCOMES[cls.__name__]} if cls.__name__ in OUTCOMES else {}
    error = cls("what", **options)
    assert error.kind is cls.default_kind
    assert str(error) == "what"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_text_has_the_message_and_the_mend(cls):
    error = make(cls)
    assert error.message in str(error)
    assert error.hint in str(error)
    assert not str(error).startswith(("'", '"'))


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("InvalidInputError", ValueError),
        ("NotFoundError", LookupError),
        ("MissingExtraError", ImportError),
        ("MutatedAfterPut", errors.InvalidInputError),
        ("BufferFull", errors.StateError),
        ("CommitConflictError", errors.ConflictError),
    ],
)
def test_handlers_of_the_builtin_or_wider_class_catch_it(name, base):
    with pytest.raises(base):
        raise make(getattr(errors, name))


def test_missing_extra_says_the_command_that_installs_it():
    assert make(MissingExtraError).hint == "pip install 'quantumio[s3]'"


def test_error_raised_from_another_keeps_its_outcome_through_a_group():
    group = ExceptionGroup("two", [make(CommitConflictError), make(errors.FormatError)])
    back = pickle.loads(pickle.dumps(group))
    assert back.exceptions[0].outcome == OUTCOMES["CommitConflictError"]
    assert back.exceptions[1].kind is ErrorKind.CYCLE
