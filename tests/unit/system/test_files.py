"""Reading, listing and removing local files."""

import hashlib
import os
import shutil
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.system import files


def listening(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    return server


@given(st.binary(max_size=40), st.integers(0, 50), st.integers(0, 50))
def test_range_is_a_slice(tmp_path_factory, data, offset, length):
    path = tmp_path_factory.mktemp("room") / "a"
    path.write_bytes(data)
    assert files.read_bytes(path) == data
    assert files.read_bytes(path, (offset, length)) == data[offset : offset + length]
    assert files.sha256(path) == hashlib.sha256(data).hexdigest()


def test_links_are_not_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for read in (files.read_bytes, files.sha256, files.fsync_file):
        with pytest.raises(OSError, match="symbolic"):
            read(tmp_path / "link")
    assert files.status(tmp_path / "link") is None
    assert files.real_path(tmp_path / "link" / ".." / "link") == tmp_path / "a"


def test_status_tells_of_regular_files_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    status = (tmp_path / "a").stat()
    assert files.status(tmp_path / "a") == (5, status.st_mtime_ns)
    assert files.file_size(tmp_path / "a") == 5
    for path in (tmp_path, tmp_path / "no", tmp_path / "a" / "below"):
        assert files.status(path) is None
    for path in (tmp_path / "no", tmp_path / "a" / "below"):
        assert files.file_size(path) is None
        assert not files.exists(path)


def test_removing_again_is_no_error(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert files.remove(tmp_path / "a") is True
    assert files.remove(tmp_path / "a") is False
    assert os.listdir(tmp_path) == []


def test_second_name_shares_the_bytes_and_never_replaces(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "taken").write_bytes(b"2")
    files.link_new(tmp_path / "a", tmp_path / "b")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        files.link_new(tmp_path / "a", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"2"


def test_listing_finds_every_file_below_in_order(tmp_path):
    names = ["b", "a/2", "a/1", "c/d/e", "a-"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * number)
    found = {str(path.relative_to(tmp_path)): size for path, size, _ in files.list_files(tmp_path)}
    assert found == {name: number for number, name in enumerate(names)}
    assert [p for p, _, _ in files.list_files(tmp_path)] == [p for p, _, _ in files.list_files(tmp_path)]


def test_file_that_goes_away_while_listing_is_left_out(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    listing = files.list_files(tmp_path)
    next(listing)
    (tmp_path / "b").unlink()
    assert [path.name for path, _, _ in listing] == ["c"]


def test_directory_that_goes_away_while_listing_is_left_out(tmp_path):
    for name in ("a/1", "b/1", "c/1"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    listing = files.list_files(tmp_path)
    next(listing)
    shutil.rmtree(tmp_path / "b")
    assert [path.parent.name for path, _, _ in listing] == ["c"]
    assert list(files.list_files(tmp_path / "b")) == []


def test_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        list(files.list_files(tmp_path / "loop"))


def test_what_the_administrator_alone_may_see_is_not_listed(tmp_path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "#123").write_bytes(b"")
    assert list(files.list_files(tmp_path)) == []


def test_free_space_is_that_of_the_file_system(tmp_path):
    assert 0 < files.free_bytes(tmp_path) < 1 << 60


def test_tree_is_removed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"")
    files.remove_tree(tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), listening])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, make):
    place = tmp_path / "place"
    keep = make(place)
    is_link = place.is_symlink()
    for read in (files.read_bytes, files.sha256, files.fsync_file):
        with pytest.raises(OSError, match="symbolic" if is_link else "no regular file") as caught:
            read(place)
        assert is_link or isinstance(caught.value, files.IrregularFileError)
    with pytest.raises(files.IrregularFileError):
        files.copy_new(place, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    if keep is not None:
        keep.close()


def test_a_directory_is_told_as_one(tmp_path):
    with pytest.raises(IsADirectoryError):
        files.read_bytes(tmp_path)


def test_a_copy_tells_the_digest_of_what_it_wrote(tmp_path):
    content = bytes(range(256)) * 9000  # several pieces
    (tmp_path / "a").write_bytes(content)
    assert files.copy_new(tmp_path / "a", tmp_path / "b") == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "b").read_bytes() == content


def test_names_in_a_directory_are_sorted_and_links_are_no_directories(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "c").symlink_to("nowhere")
    assert files.list_directory(tmp_path) == [("a", False), ("b", True), ("c", False)]
    found = {name: (files.is_directory(tmp_path / name), files.has_name(tmp_path / name)) for name in "abcd"}
    assert found == {"a": (False, True), "b": (True, True), "c": (False, True), "d": (False, False)}
    (tmp_path / "file").touch()
    assert not files.is_directory(tmp_path / "file" / "x")
