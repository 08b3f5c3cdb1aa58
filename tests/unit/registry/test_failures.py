"""What a refusal of the database means: something to repeat, or something that somebody has to mend."""

import errno
import os

import pytest

from quantumio.errors import DestinationError, ErrorKind
from quantumio.ports import CollectionKind
from quantumio.registry._failures import registry_error


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("42501", ErrorKind.PERMISSION),  # insufficient_privilege
        ("42P01", ErrorKind.REFUSED),  # undefined_table
        ("23505", ErrorKind.REFUSED),  # unique_violation
        ("40001", ErrorKind.REGISTRY),  # serialization_failure
        ("57P01", ErrorKind.REGISTRY),  # admin_shutdown
    ],
)
def test_states_of_postgresql_tell_what_lasts(state, kind):
    error = RuntimeError("said by the server")
    error.sqlstate = state
    made = registry_error(error, "writing", "postgresql://server/night")
    assert made.kind is kind
    assert made.__cause__ is error
    assert "said by the server" in str(made)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("SQLITE_READONLY", ErrorKind.PERMISSION), ("SQLITE_READONLY_RECOVERY", ErrorKind.REGISTRY)],
)
def test_file_that_may_not_be_written_is_told_from_one_that_is_in_the_way_for_a_moment(name, kind):
    error = RuntimeError("attempt to write a readonly database")
    error.sqlite_errorname = name
    assert registry_error(error, "writing", "night").kind is kind


def test_lock_that_may_not_be_taken_is_told_as_a_permission(sqlite_place, monkeypatch):
    sqlite_place.create().close()
    catalog = sqlite_place.open()
    real = os.open

    def refuse(path, *arguments, **keywords):
        if str(path) == str(sqlite_place.lock_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(DestinationError, match="Permission denied.*lock") as error:
            catalog.register_collection("r", CollectionKind.RUN)
    assert error.value.kind is ErrorKind.PERMISSION
    assert catalog.register_collection("r", CollectionKind.RUN)
    catalog.close()
    assert registry_error(OSError(errno.EIO, "broken"), "writing", "night").kind is ErrorKind.REGISTRY
