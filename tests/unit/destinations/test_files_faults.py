"""What a directory of files says when its disk fails or is taken away, or is changed by somebody else."""

import errno
import os
import shutil
import uuid

import pytest

from quantumio.destinations import Opening
from quantumio.destinations.files import FilesDestination
from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError
from quantumio.system import failpoints
from quantumio.testing import make_placement

pytestmark = pytest.mark.on_disk

REPOSITORY = uuid.uuid4()


def open_at(root):
    return FilesDestination("local", root, Opening(repository_root=None, repository_id=REPOSITORY))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def destination(root):
    destination = open_at(root)
    destination.place([make_placement("a/first", b"1")])
    yield destination
    destination.close()


def happening(point, action, *, at=1):
    """Do something, or raise an error, when a point is reached for the n-th time."""
    times = []

    def hook(name):
        if name == point:
            times.append(name)
            if len(times) == at:
                if isinstance(action, OSError):
                    raise action
                action()

    return failpoints.watched(hook)


def broken():
    return OSError(errno.EIO, os.strerror(errno.EIO))


def make_unreadable(root):
    """Put a symbolic link in the place of a directory that the system refuses to follow."""
    root.rename(root.with_name("former"))
    root.symlink_to(root.name)


# -- the disk fails


def test_names_that_could_not_be_made_durable_are_an_error_and_are_written_again(destination):
    with (
        happening("files.fsync_directory.before", broken()),
        pytest.raises(DestinationError, match="making names durable") as caught,
    ):
        destination.place([make_placement("a/second", b"2")])
    assert caught.value.kind is ErrorKind.UNREACHABLE
    destination.place([make_placement("a/second", b"2")])
    assert destination.read("a/second") == b"2"


def test_directory_that_cannot_be_made_is_an_error(destination, root):
    with (
        happening("files.mkdir.before", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        pytest.raises(DestinationError, match="making .*data/b") as caught,
    ):
        destination.place([make_placement("b/second", b"2")])
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert not (root / "b").exists()


def test_object_that_is_there_and_could_not_be_made_durable_is_an_error(destination):
    with (
        happening("files.fsync.before", broken(), at=2),  # 1: the new bytes; 2: those that are there
        pytest.raises(DestinationError, match="comparing a/first"),
    ):
        destination.place([make_placement("a/first", b"1")])
    destination.place([make_placement("a/first", b"1")])


@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
@pytest.mark.parametrize("point", ["files.fsync.before", "files.link.before"])
def test_file_that_could_not_be_taken_over_stays_where_it_was(destination, root, tmp_path, transfer, point):
    source = tmp_path / "raw"
    source.write_bytes(b"frame")
    with happening(point, broken()), pytest.raises(DestinationError, match="taking over"):
        destination.adopt(str(source), "a/raw", transfer)
    assert source.read_bytes() == b"frame"
    assert sorted(path.name for path in (root / "a").iterdir()) == ["first"]


def test_file_whose_new_name_could_not_be_made_durable_is_not_moved_away(destination, tmp_path):
    source = tmp_path / "raw"
    source.write_bytes(b"frame")
    with happening("files.fsync_directory.before", broken()), pytest.raises(DestinationError):
        destination.adopt(str(source), "a/raw", "move")
    assert source.read_bytes() == b"frame"


def test_export_that_fails_is_an_error_and_can_be_repeated(destination, tmp_path):
    tree = tmp_path / "tree"
    for point in ("files.mkdir.before", "files.link.before", "files.fsync_directory.before"):
        with happening(point, broken()), pytest.raises(DestinationError, match="exporting a.txt"):
            destination.export("a/first", tree, "a.txt")
    destination.export("a/first", tree, "a.txt")
    assert (tree / "a.txt").samefile(destination.url("a/first").removeprefix("file://"))
    (tree / "b.txt").write_bytes(b"other")
    with pytest.raises(ConflictError):
        destination.export("a/first", tree, "b.txt")


def test_removing_is_no_error_where_nothing_is_and_one_where_something_stays(destination, root):
    destination.remove(["a/none", "none/a", "a/first/below"])
    (root / "b" / "c").mkdir(parents=True)
    with pytest.raises(DestinationError, match="removing b/c"):
        destination.remove(["b/c"])
    assert (root / "b" / "c").is_dir()
    assert destination.read("a/first") == b"1"


# -- somebody else changes it


def test_directory_that_somebody_removes_meanwhile_is_made_again(destination, root):
    removed = []

    def remove_once(point):
        if point == "files.mkdir.before" and (root / "b").exists() and not removed:
            shutil.rmtree(root / "b")
            removed.append(point)

    with failpoints.watched(remove_once):
        destination.place([make_placement("b/c/d", b"2")])
    assert removed
    assert destination.read("b/c/d") == b"2"


def test_directory_that_somebody_removes_while_it_is_written_to_is_an_error(destination, root):
    with happening("files.open.before", lambda: shutil.rmtree(root / "a")), pytest.raises(DestinationError):
        destination.place([make_placement("a/second", b"2")])
    destination.place([make_placement("a/second", b"2")])
    assert destination.read("a/second") == b"2"


def test_object_that_vanishes_while_it_is_written_is_an_error(destination, root):
    with (
        happening("files.unlink.after", lambda: (root / "a" / "second").unlink()),
        pytest.raises(DestinationError, match="vanished") as caught,
    ):
        destination.place([make_placement("a/second", b"2")])
    assert caught.value.kind is ErrorKind.CORRUPT


# -- its disk is taken away


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_written_while_the_disk_went_is_not_said_to_be_there(destination, root, kept):
    with (
        happening("files.fsync_directory.after", lambda: root.rename(root.with_name("unmounted"))),
        pytest.raises(DestinationError, match="its store is not at") as caught,
    ):
        destination.place([make_placement("a/second", b"2")])
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert destination.store_id is None
    with pytest.raises(DestinationError, match="its store is not at"):
        destination.note_session(uuid.uuid4())
    if kept:
        root.with_name("unmounted").rename(root)
        destination.place([make_placement("a/second", b"2")])
        destination.note_session(uuid.uuid4())
        assert destination.store_id == destination.identity()


def test_another_disk_in_its_place_is_not_used(destination, root):
    root.rename(root.with_name("unmounted"))
    open_at(root).close()
    for call in (
        lambda: destination.place([make_placement("a/second", b"2")]),
        lambda: destination.stat("a/first"),
        lambda: destination.note_session(uuid.uuid4()),
    ):
        with pytest.raises(DestinationError, match="another store of this repository"):
            call()
    assert destination.store_id is None
    assert not (root / "a").exists()
    assert list(destination.sessions()) == []


def test_disk_that_cannot_be_looked_at_is_an_error_of_every_call(destination, root):
    make_unreadable(root)
    for call in (
        lambda: destination.place([make_placement("a/second", b"2")]),
        lambda: destination.stat("a/first"),
        lambda: destination.read("a/first"),
        lambda: destination.remove(["a/first"]),
        lambda: destination.note_session(uuid.uuid4()),
        lambda: list(destination.objects()),
        lambda: list(destination.sessions()),
        lambda: list(destination.remains()),
        destination.identity,
        destination.clock_ns,
    ):
        with pytest.raises(DestinationError):
            call()
    with pytest.raises(DestinationError):
        open_at(root)


def test_object_that_cannot_be_looked_at_after_it_was_written_is_an_error(destination, root):
    with (
        happening("files.unlink.after", lambda: make_unreadable(root)),
        pytest.raises(DestinationError, match="looking at a/second"),
    ):
        destination.place([make_placement("a/second", b"2")])


def test_sessions_that_cannot_be_listed_are_not_taken_for_none(destination, root):
    """Who believed that would remove what processes have committed that the registry does not know."""
    destination.note_session(uuid.uuid4())
    shutil.rmtree(root / "_qio" / "session")
    (root / "_qio" / "session").symlink_to("session")
    with pytest.raises(DestinationError, match="listing"):
        list(destination.sessions())


def test_files_that_tell_of_no_session_are_passed_over(destination, root):
    session = uuid.uuid4()
    destination.note_session(session)
    for name in ("README", str(session).upper()):
        (root / "_qio" / "session" / name).write_bytes(b"")
    assert list(destination.sessions()) == [session]


def test_copy_of_the_disk_in_its_place_is_used(destination, root):
    shutil.copytree(root, root.with_name("copy"))
    root.rename(root.with_name("former"))
    root.with_name("copy").rename(root)
    os.utime(root / "_qio" / "store.json", ns=(1, 1))
    destination.place([make_placement("a/second", b"2")])
    assert (root / "a" / "second").read_bytes() == b"2"


def test_store_of_a_newer_quantumio_is_refused(destination, root):
    identity = root / "_qio" / "store.json"
    identity.write_text(identity.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(InvalidInputError, match="upgrade quantumio") as caught:
        open_at(root)
    assert caught.value.kind is ErrorKind.NEWER_SCHEMA
