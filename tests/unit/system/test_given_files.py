"""Files that a person names."""

import os

import pytest

from quantumio import DestinationError, ErrorKind, NotFoundError
from quantumio.system.given_files import read_given_file


def test_a_file_is_read_through_links(tmp_path):
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    assert read_given_file(tmp_path / "link") == b"bytes"


@pytest.mark.parametrize("name", ["nothing", "file/below"])
def test_what_is_not_there_is_not_found(tmp_path, name):
    (tmp_path / "file").write_bytes(b"bytes")
    with pytest.raises(NotFoundError, match=name) as caught:
        read_given_file(tmp_path / name)
    assert caught.value.kind is ErrorKind.NO_FILE


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "nul\0"):
        with pytest.raises(DestinationError, match="cannot be read"):
            read_given_file(tmp_path / name)
