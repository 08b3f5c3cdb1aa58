"""What the tests of formats share."""

import pytest

from quantumio.formats import InstalledFormats


@pytest.fixture(scope="session")
def formats():
    """All installed formats."""
    return InstalledFormats()


@pytest.fixture(scope="session")
def round_trip(formats):
    """Canonical form of a value, and what a format gives back of it; encoding twice gives the same bytes."""

    def run(value, storage_class, format_name, options=None, *, copy=lambda array: array.copy()):
        format_, delegate = formats.format(format_name), formats.delegate(storage_class)
        options = options or {}
        delegate.check(value)
        canonical = delegate.canonical(value, copy)
        format_.check(canonical, storage_class, options)
        data = b"".join(bytes(chunk) for chunk in format_.encode(canonical, storage_class, options))
        if (take := getattr(delegate, "snapshot", None)) is not None:  # what put keeps is written as the same
            kept = take(value, copy)
            format_.check(kept, storage_class, options)
            assert b"".join(bytes(chunk) for chunk in format_.encode(kept, storage_class, options)) == data
        back = format_.decode(data, storage_class)
        if format_.is_lossless(storage_class, options):
            assert b"".join(bytes(chunk) for chunk in format_.encode(back, storage_class, options)) == data
        return canonical, back

    return run
