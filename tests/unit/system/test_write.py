"""Files are whole and durable, or absent."""

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.system import failpoints, files

pytestmark = pytest.mark.on_disk

BOTH = pytest.mark.parametrize("how", ["write", "copy"])


def write(how: str, target: Path, data: bytes) -> None:
    if how == "write":
        files.write_new(target, [data[:3], data[3:]])
        return
    source = target.parent.parent / "source"
    source.write_bytes(data)
    files.copy_new(source, target)


@pytest.fixture
def room(tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    return room


class Recorder:
    """The durability calls of the process, in order, by the names of what they touch."""

    def __init__(self, monkeypatch):
        self.calls = []
        for name in ("open", "write", "fsync", "link", "unlink", "mkdir", "rename", "replace", "close"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))
        self.names = {}

    def _recording(self, name, real):
        def call(*arguments, **keywords):
            result = real(*arguments, **keywords)
            if name == "open":
                self.names[result] = Path(arguments[0])
                return result
            first = arguments[0]
            what = self.names.get(first) if isinstance(first, int) else Path(first)
            if what is not None:
                self.calls.append((name, what) if name != "link" else (name, what, Path(arguments[1])))
            return result

        return call

    def of(self, *names):
        return [call for call in self.calls if call[0] in names]


@BOTH
def test_file_is_whole_and_alone(room, how):
    write(how, room / "a", b"0123456789")
    assert (room / "a").read_bytes() == b"0123456789"
    assert os.listdir(room) == ["a"]
    assert (room / "a").stat().st_nlink == 1


@BOTH
def test_existing_file_is_refused_and_not_touched(room, how):
    (room / "a").write_bytes(b"old")
    before = (room / "a").stat()
    with pytest.raises(FileExistsError):
        write(how, room / "a", b"0123456789")
    assert (room / "a").read_bytes() == b"old"
    assert (room / "a").stat().st_ino == before.st_ino
    assert os.listdir(room) == ["a"]


@BOTH
def test_dangling_link_under_the_name_is_refused_and_not_followed(room, tmp_path, how):
    (room / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write(how, room / "a", b"0123456789")
    assert not (tmp_path / "elsewhere").exists()
    assert os.listdir(room) == ["a"]


@BOTH
def test_missing_directory_leaves_nothing(room, how):
    with pytest.raises(FileNotFoundError):
        if how == "write":
            files.write_new(room / "no" / "a", [b"0123456789"])
        else:
            files.copy_new(Path(__file__), room / "no" / "a")
    assert os.listdir(room) == []


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 20))
def test_every_byte_is_written_however_short_the_writes(tmp_path_factory, chunks, at_most):
    room = tmp_path_factory.mktemp("room")
    real = os.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:at_most])))
        files.write_new(room / "a", [memoryview(chunk) for chunk in chunks])
    assert (room / "a").read_bytes() == b"".join(chunks)


@pytest.mark.parametrize(
    "array",
    [np.arange(12.0).reshape(3, 4), np.array(5), np.empty((0, 5)), np.empty(0), np.arange(6, dtype=">i2")],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_any_shape_are_written_as_they_are_in_memory(room, array):
    files.write_new(room / "a", [b"head", memoryview(array), bytearray(b"tail")])
    assert (room / "a").read_bytes() == b"head" + array.tobytes() + b"tail"


@pytest.mark.parametrize("call", ["write", "fsync", "link", "close"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_failing_call_leaves_nothing_behind(room, monkeypatch, call, number):
    real, seen = getattr(os, call), []

    def fail(*arguments, **keywords):
        seen.append(arguments)
        if call == "close":
            real(*arguments, **keywords)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            files.write_new(room / "a", [b"0123", b"4567"])
    assert os.listdir(room) == []
    assert len(seen) == 1  # a failed fsync is never repeated, nor anything else


@pytest.mark.parametrize("call", ["write", "fsync", "close", "rename"])
def test_failing_call_leaves_the_file_that_was_to_be_written_over(room, monkeypatch, call):
    (room / "a").write_bytes(b"old")
    real = getattr(os, call)

    def fail(*arguments, **keywords):
        if call == "close":
            real(*arguments, **keywords)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            files.write_over(room / "a", [b"0123", b"4567"])
    assert os.listdir(room) == ["a"]
    assert (room / "a").read_bytes() == b"old"


def test_source_that_fails_leaves_the_file_that_was_to_be_written_over(room):
    def chunks():
        yield b"0123"
        raise ValueError("no more")

    (room / "a").write_bytes(b"old")
    with pytest.raises(ValueError, match="no more"):
        files.write_over(room / "a", chunks())
    with pytest.raises(ValueError, match="no more"):
        files.write_new(room / "b", chunks())
    assert os.listdir(room) == ["a"]
    assert (room / "a").read_bytes() == b"old"


def test_file_is_written_over_whole(room):
    for data in (b"first", b"second"):
        files.write_over(room / "a", [data[:2], data[2:]])
        assert (room / "a").read_bytes() == data
    assert os.listdir(room) == ["a"]


def test_disk_that_fills_while_writing_leaves_nothing(room):
    """A real limit: the kernel refuses what goes beyond (EFBIG), after a part was written."""
    code = """
        import resource, signal, sys
        from pathlib import Path
        from quantumio.system import failpoints, files
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        room = Path(sys.argv[1])
        for write in (
            lambda: files.write_new(room / "a", [b"x" * 60_000, b"y" * 60_000]),
            lambda: files.copy_new(room / "source", room / "b"),
        ):
            try:
                write()
            except OSError as error:
                print(error.errno)
    """
    (room / "source").write_bytes(b"z" * 200_000)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), room], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(errno.EFBIG)] * 2
    assert os.listdir(room) == ["source"]


@pytest.mark.parametrize("name", ["a", "b.fits"])
def test_bytes_are_durable_before_the_name_is_there(room, monkeypatch, name):
    recorder = Recorder(monkeypatch)
    files.write_new(room / name, [b"one", b"two"])
    steps = recorder.of("write", "fsync", "link", "unlink")
    assert [step[0] for step in steps] == ["write", "write", "fsync", "link", "unlink"]
    temporary = steps[0][1]
    assert all(step[1] == temporary for step in steps)
    assert steps[3][2] == room / name
    assert temporary.parent == room  # a link never crosses file systems
    assert temporary.name.startswith(".qio-")
    assert not recorder.of("rename", "replace")


def test_text_is_durable_with_its_name(room, monkeypatch):
    recorder = Recorder(monkeypatch)
    files.write_text_new(room / "butler.toml", "é")
    steps = [(step[0], step[1]) for step in recorder.of("fsync", "link")]
    assert [step[0] for step in steps] == ["fsync", "link", "fsync"]
    assert steps[-1] == ("fsync", room)
    assert (room / "butler.toml").read_bytes() == "é".encode()


def test_copy_is_durable_before_the_name_is_there(room, monkeypatch, tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    order = []
    for name in ("fsync", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *arguments, name=name, real=real: (order.append(name), real(*arguments))[1]
        )
    files.copy_new(tmp_path / "source", room / "a")
    assert order == ["fsync", "link"]
    assert (room / "a").read_bytes() == b"x" * 3_000_000


def test_new_ancestors_are_durable_from_the_top(tmp_path, monkeypatch):
    files.make_directories(tmp_path)  # is known to be durable
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a" / "b" / "c")
    assert recorder.of("mkdir", "fsync") == [
        ("mkdir", tmp_path / "a"),
        ("fsync", tmp_path),
        ("mkdir", tmp_path / "a" / "b"),
        ("fsync", tmp_path / "a"),
        ("mkdir", tmp_path / "a" / "b" / "c"),
        ("fsync", tmp_path / "a" / "b"),
    ]


def test_directory_above_that_was_moved_away_is_not_made_anew(tmp_path):
    (tmp_path / "a").mkdir()
    files.make_directories(tmp_path / "a" / "b" / "c", below=tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="moved away"):
        files.make_directories(tmp_path / "a" / "b" / "c", below=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_directory_that_somebody_else_made_is_made_durable_once(tmp_path, monkeypatch):
    """Who made it may have been killed before the fsync: what goes into it would be lost with its name."""
    (tmp_path / "a").mkdir()
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a" / "b")
    assert recorder.of("mkdir", "fsync") == [
        ("fsync", tmp_path),
        ("mkdir", tmp_path / "a" / "b"),
        ("fsync", tmp_path / "a"),
    ]
    recorder.calls.clear()
    files.make_directories(tmp_path / "a" / "b")
    assert recorder.of("mkdir", "fsync") == []


def test_directory_in_the_place_of_a_known_one_is_made_durable_again(tmp_path, monkeypatch):
    files.make_directories(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "a").rmdir()
    (tmp_path / "other").rename(tmp_path / "a")
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a")
    assert recorder.of("fsync")[-1] == ("fsync", tmp_path)


def test_directories_that_were_removed_and_made_anew_are_made_durable_again(tmp_path, monkeypatch):
    """A file system may give the new one the number of the old one: ext4 does at once."""
    files.make_directories(tmp_path / "a" / "b")
    for name in ("a/b", "a"):
        (tmp_path / name).rmdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a" / "b")
    synced = [path for _, path in recorder.of("fsync")]
    assert synced[-2:] == [tmp_path, tmp_path / "a"]  # the upper one first
    recorder.calls.clear()
    files.make_directories(tmp_path / "a" / "b")
    assert recorder.of("fsync") == []


def test_directory_that_may_be_another_one_is_made_durable_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_GET_GENERATION", 0x80087663)  # no file system answers this
    files.make_directories(tmp_path / "a")
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a")
    assert recorder.of("fsync") == [("fsync", tmp_path)]


def test_directories_that_somebody_removes_meanwhile_are_made_again(tmp_path):
    removed = []

    def remove_once(point):
        if point == "files.mkdir.before" and (tmp_path / "a" / "b").exists() and not removed:
            shutil.rmtree(tmp_path / "a")
            removed.append(point)

    with failpoints.watched(remove_once):
        files.make_directories(tmp_path / "a" / "b" / "c")
    assert removed
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_directories_that_somebody_removes_again_and_again_are_an_error(tmp_path):
    def remove(point):
        if point == "files.mkdir.before":
            shutil.rmtree(tmp_path / "a", ignore_errors=True)

    with failpoints.watched(remove), pytest.raises(FileNotFoundError):
        files.make_directories(tmp_path / "a" / "b")


def test_parent_that_may_not_be_opened_is_none_of_ours(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    recorder = Recorder(monkeypatch)
    files.make_directories(tmp_path / "a" / "b")
    assert recorder.of("mkdir", "fsync") == [("mkdir", tmp_path / "a" / "b"), ("fsync", tmp_path / "a")]


def test_directories_are_made_by_many_threads_at_once(tmp_path):
    barrier, failures = threading.Barrier(8), []

    def make():
        barrier.wait()
        try:
            files.make_directories(tmp_path / "a" / "b" / "c" / "d")
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "a" / "b" / "c" / "d").is_dir()


@pytest.mark.parametrize("below", ["file", "file/a", "file/a/b"])
def test_file_where_a_directory_should_be_is_an_error(tmp_path, below):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        files.make_directories(tmp_path / below)
    assert (tmp_path / "file").is_file()


def test_each_directory_is_fsynced_once(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    recorder = Recorder(monkeypatch)
    files.fsync_directories([tmp_path, tmp_path / "a", tmp_path])
    assert sorted(recorder.of("fsync")) == sorted([("fsync", tmp_path), ("fsync", tmp_path / "a")])


@pytest.mark.parametrize(
    ("number", "tolerated"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)]
)
def test_directory_fsync_that_a_file_system_lacks_is_tolerated_an_error_is_not(
    tmp_path, monkeypatch, number, tolerated
):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    before = len(os.listdir("/proc/self/fd"))
    if tolerated:
        files.fsync_directories([tmp_path])
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            files.fsync_directories([tmp_path])
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_descriptor_is_left_open(room):
    before = len(os.listdir("/proc/self/fd"))
    write("write", room / "a", b"0123456789")
    for how in ("write", "copy"):
        with pytest.raises(FileExistsError):
            write(how, room / "a", b"0123456789")
    files.read_bytes(room / "a")
    files.sha256(room / "a")
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.lists(st.binary(max_size=50)))
def test_unshared_file_is_what_was_given_with_its_digest(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("room") / "a"
    digest = files.write_unshared(path, [memoryview(chunk) for chunk in chunks], mode=0o400)
    assert path.read_bytes() == b"".join(chunks)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o400
    with pytest.raises(FileExistsError):
        files.write_unshared(path, [b"other"])


def test_unshared_file_is_durable_before_it_is_closed(room, monkeypatch):
    recorder = Recorder(monkeypatch)
    array = np.arange(1 << 19, dtype=np.uint16).reshape(
        -1, 4
    )  # a piece of exactly one copy, and views of any shape
    files.write_unshared(room / "a", [array.data, b"end"])
    steps = [name for name, path in recorder.calls if path == room / "a"]
    assert steps == ["write", "write", "fsync", "close"]
    assert (room / "a").read_bytes() == array.tobytes() + b"end"


def test_bytes_that_change_while_they_are_written_have_the_digest_of_what_was_written(room, monkeypatch):
    data = bytearray(b"a" * (3 << 20))
    real = os.write

    def write_and_change(descriptor, piece):
        data[:] = b"b" * len(data)  # somebody else's thread
        return real(descriptor, piece)

    monkeypatch.setattr(os, "write", write_and_change)
    digest = files.write_unshared(room / "a", [data])
    assert digest == hashlib.sha256((room / "a").read_bytes()).hexdigest()


def test_renamed_directory_takes_no_name_that_is_there(room):
    (room / "a").mkdir()
    (room / "b").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        files.rename_new(room / "a", room / "b")
    files.rename_new(room / "a", room / "c")
    assert sorted(os.listdir(room)) == ["b", "c"]


def test_new_directories_have_the_mode_that_was_asked_for(room):
    files.make_directories(room / "above" / "below", mode=0o700)
    assert (room / "above" / "below").stat().st_mode & 0o777 == 0o700
    assert (room / "above").stat().st_mode & 0o777 != 0o700
    files.make_directory_new(room / "one", mode=0o750)
    assert (room / "one").stat().st_mode & 0o777 == 0o750
    with pytest.raises(FileExistsError):
        files.make_directory_new(room / "one")
    files.remove_directory(room / "one")
    with pytest.raises(OSError, match="not empty"):
        files.remove_directory(room / "above")


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444, 0o751])
def test_file_that_is_written_over_keeps_its_permissions(room, mode):
    (room / "a").write_bytes(b"old")
    (room / "a").chmod(mode)
    files.write_over(room / "a", [b"new"])
    assert stat.S_IMODE((room / "a").stat().st_mode) == mode
    assert (room / "a").read_bytes() == b"new"


def test_what_a_symbolic_link_leads_to_is_written_over(room):
    (room / "far").mkdir()
    (room / "far" / "a").write_bytes(b"old")
    (room / "far" / "a").chmod(0o640)
    (room / "link").symlink_to("far/a")
    (room / "nowhere").symlink_to("far/b")
    for name, target in (("link", "a"), ("nowhere", "b")):
        files.write_over(room / name, [b"new"])
        assert (room / name).is_symlink()
        assert (room / "far" / target).read_bytes() == b"new"
    assert stat.S_IMODE((room / "far" / "a").stat().st_mode) == 0o640
    assert sorted(os.listdir(room / "far")) == ["a", "b"]
