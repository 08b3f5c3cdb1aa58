"""Files are whole and durable, or an error says why not; nothing leaves the root."""

import errno
import hashlib
import os
import uuid

import pytest

from quantumio.destinations import Opening
from quantumio.destinations.files import FilesDestination
from quantumio.errors import DestinationError, ErrorKind, InternalError, InvalidInputError, NotFoundError
from quantumio.ports import Placement
from quantumio.system import files
from quantumio.testing import make_placement

pytestmark = pytest.mark.on_disk


@pytest.fixture
def destination(tmp_path):
    opening = Opening(repository_root=None, repository_id=uuid.uuid4())
    destination = FilesDestination("local", tmp_path / "data", opening)
    yield destination
    destination.close()


def failing(number, times=1):
    """Make os.fsync of files fail so often, and count the calls."""
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))

    return fsync, calls


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ErrorKind.DISK_FULL),
        (errno.EDQUOT, ErrorKind.DISK_FULL),
        (errno.EACCES, ErrorKind.PERMISSION),
        (errno.EROFS, ErrorKind.PERMISSION),
        (errno.EIO, ErrorKind.UNREACHABLE),
    ],
)
def test_errors_of_the_system_have_their_kind_and_leave_nothing(
    destination, tmp_path, monkeypatch, number, kind
):
    destination.place([make_placement("a/first", b"1")])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(number, times=100)[0])
        with pytest.raises(DestinationError) as caught:
            destination.place([make_placement("a/second", b"2")])
    assert caught.value.kind is kind
    assert "local" in str(caught.value)
    assert "a/second" in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "data" / "a").iterdir()) == ["first"]


def test_a_failed_fsync_is_not_repeated_but_the_file_rewritten(destination, monkeypatch):
    destination.place([make_placement("a/first", b"1")])
    opened = []
    write_new = files.write_new
    monkeypatch.setattr(
        files, "write_new", lambda *args, **more: (opened.append(args), write_new(*args, **more))
    )
    fsync, calls = failing(errno.EIO)
    monkeypatch.setattr(os, "fsync", fsync)
    destination.place([make_placement("a/second", b"2")])
    assert destination.read("a/second") == b"2"
    assert len(opened) == 2
    assert len(calls) == 3  # the failed file, the new file, the directory


def test_each_directory_is_fsynced_once_per_call(destination, monkeypatch):
    destination.place([make_placement("a/0", b"1"), make_placement("b/0", b"1")])
    synced = []
    monkeypatch.setattr(files, "fsync_directories", lambda paths: synced.extend(sorted(set(paths))))
    destination.place([make_placement(f"{directory}/{n}", b"1") for n in range(1, 6) for directory in "ab"])
    assert [path.name for path in synced] == ["a", "b"]


def test_one_failure_does_not_stop_the_others(destination, tmp_path):
    destination.place([make_placement("a/3", b"other")])
    with pytest.raises(DestinationError) as caught:
        destination.place([make_placement(f"a/{n}", b"1") for n in range(6)])
    assert caught.value.kind is ErrorKind.CORRUPT
    assert destination.read("a/5") == b"1"
    assert not list((tmp_path / "data").rglob(".*"))


def test_objects_cannot_be_written_by_accident(destination, tmp_path):
    destination.place([make_placement("a", b"1")])
    assert (tmp_path / "data" / "a").stat().st_mode & 0o777 == 0o444


def test_announced_size_must_be_right(destination):
    wrong = Placement(path="a", chunks=[b"123"], nbytes=4, digest="0" * 64)
    with pytest.raises(InternalError):
        destination.place([wrong])
    assert destination.stat("a") is None


def test_links_out_of_the_root_are_not_followed(destination, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "data" / "tree").symlink_to(outside)
    (tmp_path / "data" / "file").symlink_to(outside / "secret")
    for call in (
        lambda: destination.read("tree/secret"),
        lambda: destination.stat("tree/secret"),
        lambda: destination.remove(["tree/secret"]),
        lambda: destination.place([make_placement("tree/new", b"1")]),
        lambda: destination.place([make_placement("tree/deep/new", b"1")]),
        lambda: destination.read("file"),
    ):
        with pytest.raises(DestinationError) as caught:
            call()
        assert caught.value.kind is ErrorKind.PERMISSION
    assert destination.stat("file") is None
    with pytest.raises(DestinationError):
        destination.place([make_placement("file", b"secret")])
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_root_that_vanished_is_not_taken_for_a_missing_object(destination, tmp_path):
    (tmp_path / "data").rename(tmp_path / "unmounted")
    with pytest.raises(DestinationError) as caught:
        destination.stat("a")
    assert caught.value.kind is ErrorKind.UNREACHABLE


def test_temporary_files_of_others_are_no_objects(destination, tmp_path):
    destination.place([make_placement("a/b", b"1")])
    (tmp_path / "data" / "a" / ".qio-123.tmp").write_bytes(b"torn")
    assert [item.path for item in destination.objects()] == ["a/b"]


def test_linked_files_share_their_bytes(destination, tmp_path):
    source = tmp_path / "raw.fits"
    source.write_bytes(b"frame")
    destination.adopt(str(source), "raw/a.fits", "link")
    assert (tmp_path / "data" / "raw" / "a.fits").samefile(source)


def test_links_that_the_system_refuses_are_told_with_the_mend(destination, tmp_path, monkeypatch):
    source = tmp_path / "raw.fits"
    source.write_bytes(b"frame")

    def link_new(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(files, "link_new", link_new)
    with pytest.raises(InvalidInputError, match="copy"):
        destination.adopt(str(source), "raw/a.fits", "link")
    destination.adopt(str(source), "raw/b.fits", "move")
    assert destination.read("raw/b.fits") == b"frame"
    assert not source.exists()


def test_a_symbolic_link_is_copied_but_not_moved(destination, tmp_path):
    source = tmp_path / "raw.fits"
    source.write_bytes(b"frame")
    (tmp_path / "link.fits").symlink_to(source)
    destination.adopt(str(tmp_path / "link.fits"), "raw/a.fits", "copy")
    assert destination.read("raw/a.fits") == b"frame"
    with pytest.raises(InvalidInputError):
        destination.adopt(str(tmp_path / "link.fits"), "raw/b.fits", "move")


def test_adopting_the_same_file_again_succeeds(destination, tmp_path):
    source = tmp_path / "raw.fits"
    source.write_bytes(b"frame")
    for transfer in ("copy", "link", "copy", "move"):
        destination.adopt(str(source), "raw/a.fits", transfer)
    assert not source.exists()
    with pytest.raises(NotFoundError):
        destination.adopt(str(source), "raw/a.fits", "copy")


def test_a_pipe_in_the_place_of_an_object_is_told_at_once(destination, tmp_path):
    destination.place([make_placement("a/first", b"1")])
    place = tmp_path / "data" / "a" / "first"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(DestinationError, match="a/first.*no regular file") as caught:
        destination.read("a/first")
    assert caught.value.kind is ErrorKind.CORRUPT


@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
def test_adopting_tells_the_digest_of_the_bytes(destination, tmp_path, transfer):
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    stored = destination.adopt(str(source), "a/b", transfer)
    assert stored.digest == hashlib.sha256(b"bytes").hexdigest()
    assert stored.nbytes == 5
