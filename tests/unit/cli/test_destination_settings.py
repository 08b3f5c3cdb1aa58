"""What is shown of destinations."""

import pytest

from quantumio.cli._destination_settings import _shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgresql://ada:secret@host/db", "postgresql://ada:***@host/db"),
        ("postgresql:///level3", "postgresql:///level3"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        (20, 20),
    ],
)
def test_no_password_is_shown(value, shown):
    assert _shown(value) == shown
