"""The journal: whole entries or none, whoever dies when; one owner each; damage is found, never followed."""

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from uuid import UUID

import attrs
import pytest

from quantumio.engine import _journal
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.engine._journal_manifest import JournalManifest, JournalTarget
from quantumio.engine._output import Encoded
from quantumio.errors import (
    BufferFull,
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    MutatedAfterPut,
    NotFoundError,
    StateError,
)
from quantumio.model import (
    Artifact,
    DataId,
    DatasetRef,
    DatasetType,
    FormatChoice,
    Mode,
    Resolution,
    Target,
)
from quantumio.system import failpoints, files, locks
from quantumio.testing import crash_everywhere
from tests.house import source
from tests.unit.engine import journals
from tests.unit.engine.journals import CONTENT, NPY, OTHER, REASON, RICE, TARGETS, TXID

pytestmark = pytest.mark.on_disk


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repository" / "journal"


@pytest.fixture
def journal(root):
    return journals.journal(root)


@pytest.fixture
def ready(journal):
    return journals.write(journal)


def names(root):
    return sorted(path.name for path in root.iterdir() if path.name != "LOCK")


def failing(point, error, times=None):
    """Make a hook that raises at a point, the first so many times."""
    seen = []

    def hook(name):
        if name == point and (times is None or len(seen) < times):
            seen.append(name)
            raise error

    hook.seen = seen
    return hook


# ---------------------------------------------------------------------------- the way of an entry


def test_what_was_written_is_read_again(journal, root, ready):
    assert (ready.state, ready.txid, ready.path) == (JournalState.READY, TXID, root / f"{TXID}.ready")
    assert ready.is_locked
    (found,) = journals.journal(root).entries()
    journals.verify(found)
    manifest = found.manifest()
    assert manifest.written_ns > 1.7e18
    assert manifest.host
    assert manifest == ready.manifest() == JournalManifest.from_bytes(manifest.to_bytes())
    assert repr(found) == f"<JournalEntry {TXID}.ready>"
    assert found.blob_path(manifest.blobs[0]).read_bytes() == CONTENT[0, NPY]
    assert stat.S_IMODE(found.blob_path(manifest.blobs[0]).stat().st_mode) == 0o444


def test_nothing_is_made_before_the_first_write(journal, root):
    assert journal.entries() == journal.foreign() == []
    assert not root.exists()
    journals.write(journal)
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE((root / f"{TXID}.ready").stat().st_mode) == 0o700


def test_entries_come_in_the_order_of_their_transactions(journal):
    journals.write(journal, OTHER)
    journals.write(journal, TXID)
    assert [entry.txid for entry in journal.entries()] == [TXID, OTHER]


def test_each_step_is_durable_before_the_name_says_so(journal, root):
    files.make_directories(root)
    (root / "LOCK").touch()
    seen = []
    with failpoints.watched(seen.append):
        entry = journals.write(journal)
    steps = [name.split(".")[1] for name in seen if name.endswith(".after") and "lock" not in name]
    assert steps[0] == "mkdir"
    assert steps[-4:] == ["fsync", "fsync_directory", "rename", "fsync_directory"]
    assert steps.count("fsync") == len(CONTENT) + 1  # and the manifest
    assert [step for step in steps[1:-3] if step != "write"] == ["open", "fsync"] * (len(CONTENT) + 1)
    seen.clear()
    with failpoints.watched(seen.append):
        entry.keep_as_conflict("lost")
    steps = [name.split(".")[1] for name in seen if name.endswith(".after")]
    assert steps == ["open", "write", "fsync", "fsync_directory", "rename", "fsync_directory"]
    assert entry.lock()
    seen.clear()
    with failpoints.watched(seen.append):
        entry.finish()
    assert [name.split(".")[1] for name in seen if name.endswith(".after")][:2] == [
        "rename",
        "fsync_directory",
    ]


def test_finished_entry_is_gone(journal, root, ready):
    blob = ready.manifest().blobs[0]
    ready.finish()
    assert names(root) == []
    assert not ready.is_locked
    assert not ready.lock()
    for reading in (ready.manifest, ready.note, lambda: ready.read(blob)):
        with pytest.raises(NotFoundError, match="no longer in the journal") as caught:
            reading()
        assert caught.value.kind is ErrorKind.NO_FILE


def test_conflict_is_kept_with_its_reason_until_it_is_resolved(journal, root, ready):
    ready.keep_as_conflict(REASON)
    assert not ready.is_locked
    (found,) = journal.entries()
    assert (found.state, found.note().reason) == (JournalState.CONFLICT, REASON)
    journals.verify(found)
    assert found.lock()
    with pytest.raises(StateError, match="is conflict: discarding"):
        found.discard()
    with pytest.raises(StateError, match="is conflict: keeping"):
        found.keep_as_conflict("again")
    found.finish()
    assert names(root) == []


def test_reason_that_a_dead_process_left_in_part_is_written_again(ready):
    (ready.path / "reason.json").write_text("{")
    with pytest.raises(DestinationError, match=r"reason\.json is damaged") as caught:
        ready.note()
    assert caught.value.kind is ErrorKind.CORRUPT
    ready.keep_as_conflict(REASON)
    assert ready.note().reason == REASON


@pytest.mark.parametrize("text", ["", "[]", "{}", "\udcff", "[" * 100_000])
def test_damaged_reason_is_told(ready, text):
    ready.keep_as_conflict("")
    (ready.path / "reason.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DestinationError, match="says no reason"):
        ready.note()


@pytest.mark.parametrize("state", JournalState)
def test_a_transaction_is_journaled_once(journal, root, ready, state):
    os.rename(ready.path, root / f"{TXID}.{state}")
    with pytest.raises(ConflictError, match=str(TXID)) as caught:
        journals.write(journal)
    assert caught.value.hint
    assert names(root) == [f"{TXID}.{state}"]


def test_name_that_somebody_else_has_taken_is_not_used(journal, root):
    root.mkdir(parents=True)
    (root / f"{TXID}.done").symlink_to("nowhere")
    with pytest.raises(ConflictError):
        journals.write(journal)
    assert names(root) == [f"{TXID}.done"]


@pytest.mark.parametrize("call", ["finish", "discard", "keep_as_conflict"])
def test_changes_need_the_lock(ready, call):
    ready.release()
    ready.release()
    arguments = ["reason"] if call == "keep_as_conflict" else []
    with pytest.raises(StateError, match="needs its lock"):
        getattr(ready, call)(*arguments)
    journals.verify(ready)


def test_name_of_a_finished_entry_is_durable_before_its_files_are_removed(journal, root, ready):
    """Its writer was killed after the rename: a power cut then left a ready entry without its manifest."""
    ready.release()
    os.rename(root / f"{TXID}.ready", root / f"{TXID}.done")
    (left,) = journal.entries()
    assert left.lock()
    seen = []

    def record(name, subject):
        if name == "files.fsync_directory.after":
            seen.append(os.readlink(f"/proc/self/fd/{subject[0]}"))
        elif name == "files.unlink.before":
            seen.append(name)

    with failpoints.recorded(record):
        left.discard()
    assert seen[:2] == [str(root), "files.unlink.before"]
    assert names(root) == []


def test_ready_entry_is_not_discarded(ready):
    with pytest.raises(StateError, match="is ready: discarding"):
        ready.discard()


# ---------------------------------------------------------------------------- owners


def test_one_owner_at_a_time_in_one_process_too(root, ready):
    (other,) = journals.journal(root).entries()
    assert not other.lock()
    assert ready.lock()  # has it
    ready.release()
    assert other.lock()
    assert not ready.lock()


HOLDER = """
    import sys
    from tests.unit.engine import journals
    entry = journals.write(journals.journal(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(script, root):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(source.PROJECT_ROOT), *sys.path])},
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_entry_of_a_living_process_is_its_own_and_of_a_dead_one_anybodys(journal, root):
    with start(HOLDER, root) as holder:
        (entry,) = journal.entries()
        assert not entry.lock()
        journals.verify(entry)  # looking needs no lock
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert entry.lock()


FORKING = """
    import os, sys
    from tests.unit.engine import journals
    entry = journals.write(journals.journal(sys.argv[1]))
    reading, writing = os.pipe()
    if os.fork():
        assert os.read(reading, 1) == b"n"
        (other,) = journals.journal(sys.argv[1]).entries()
        assert not other.lock()  # the child's release did not free it
        print("held", flush=True)
        sys.stdin.readline()
        os._exit(0)
    told = entry.is_locked or entry.lock()
    entry.release()
    os.write(writing, b"y" if told else b"n")
    sys.stdin.read()
    os._exit(0)
"""


def test_forked_child_neither_holds_the_lock_nor_frees_it(journal, root):
    with start(FORKING, root) as holder:
        (entry,) = journal.entries()
        assert not entry.lock()
        holder.send_signal(signal.SIGKILL)
        holder.wait()  # its child lives on, until its standard input ends
        assert entry.lock()
        holder.stdin.close()


def test_entry_that_was_renamed_meanwhile_cannot_be_locked(journal, ready):
    (other,) = journal.entries()
    ready.keep_as_conflict("lost")
    assert not other.lock()
    (found,) = journal.entries()
    assert found.lock()


def test_entry_that_is_renamed_between_two_steps_is_not_locked(journal, root, ready):
    ready.release()
    (other,) = journal.entries()
    assert ready.lock()

    def finishes_first(name):
        if name == "files.lock.before" and ready.is_locked:
            hook_calls.append(name)
            if len(hook_calls) == 2:  # the journal's lock, then the entry's: its file is open
                os.rename(ready.path, root / f"{TXID}.conflict")
                ready.release()

    hook_calls = []
    with failpoints.watched(finishes_first):
        assert not other.lock()
    assert not other.is_locked


def test_entry_that_vanishes_between_two_steps_is_not_locked(journal, root, ready, monkeypatch):
    (other,) = journal.entries()
    ready.release()
    monkeypatch.setattr(files, "is_directory", lambda path: True)
    shutil.rmtree(ready.path)
    assert not other.lock()
    shutil.rmtree(root)
    assert not other.lock()


def test_entry_without_its_lock_file_can_be_locked(journal, ready):
    ready.release()
    (ready.path / "LOCK").unlink()
    assert ready.lock()
    ready.finish()


def test_entry_whose_lock_cannot_be_had_while_it_is_made_is_refused(journal, root, monkeypatch):
    real = locks.FileLock.try_acquire
    monkeypatch.setattr(locks.FileLock, "try_acquire", lambda self: self is journal._lock and real(self))
    with pytest.raises(ConflictError):
        journals.write(journal)
    assert names(root) == []


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_lock_file_that_is_none_is_refused(ready, make):
    ready.release()
    (ready.path / "LOCK").unlink()
    make(ready.path / "LOCK")
    with pytest.raises(DestinationError, match="locking"):
        ready.lock()


def test_entry_without_its_lock_file_is_seen_by_nobody(journal, root):
    """While there is none, yet or any more, the journal's own lock keeps the others out."""
    seen = []

    def hook(name):
        if name in ("files.mkdir.after", "files.rmdir.before"):
            seen.append((name, locks.FileLock(root / "LOCK").try_acquire()))

    root.mkdir(parents=True)
    with failpoints.watched(hook):
        journals.write(journal).finish()
    assert seen == [("files.mkdir.after", False), ("files.rmdir.before", False)]


def test_each_entry_is_finished_by_one_of_many(root):
    """Writers die one after the other, several recoveries run at the same time: each entry has one end."""
    txids = [UUID(int=TXID.int + number) for number in range(40)]
    finished, failures, over = [], [], threading.Event()

    def recover():
        try:
            journal = journals.journal(root)
            while not over.is_set() or journal.entries():
                for entry in journal.entries():
                    if entry.lock():
                        assert entry.state is JournalState.READY
                        entry.manifest()
                        finished.append(entry.txid)
                        entry.finish()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=recover) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for txid in txids:
            journals.write(journals.journal(root), txid).release()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert sorted(finished) == txids
    assert names(root) == []


# ---------------------------------------------------------------------------- deaths


@pytest.mark.parametrize(
    ("scenario", "prepare"),
    [
        (journals.writes, journals.nothing_yet),
        (journals.finishes, journals.ready),
        (journals.keeps, journals.ready),
        (journals.discards, journals.unfinished),
    ],
    ids=["write", "finish", "keep", "discard"],
)
def test_killed_anywhere_it_leaves_whole_entries_or_none(tmp_path, scenario, prepare):
    report = crash_everywhere(scenario, prepare=prepare, check=journals.check, directory=tmp_path)
    assert [(one.crash, one.message) for one in report.violations] == []
    assert report.kills == report.points >= 12
    assert sum(report.names.values()) == report.kills
    assert set(report.names) >= {"files.rename.before", "files.rename.after"} or scenario is journals.discards


# ---------------------------------------------------------------------------- disks that fail

POINTS = [
    "files.mkdir", "files.open", "files.write", "files.fsync", "files.fsync_directory", "files.rename",
]  # fmt: skip


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, ErrorKind.UNREACHABLE),
        (errno.ENOSPC, ErrorKind.DISK_FULL),
        (errno.EACCES, ErrorKind.PERMISSION),
    ],
)
def test_write_that_fails_anywhere_leaves_nothing(journal, root, point, side, number, kind):
    root.mkdir(parents=True)
    hook = failing(f"{point}.{side}", OSError(number, os.strerror(number)), times=1)
    with failpoints.watched(hook), pytest.raises(DestinationError) as caught:
        journals.write(journal)
    assert caught.value.kind is kind
    assert str(root) in str(caught.value)
    assert caught.value.hint
    if (point, side) == ("files.mkdir", "after"):  # the directory is there, and nobody was told: recovery's
        (left,) = journal.entries()
        assert left.state is JournalState.TMP
        assert left.lock()
        left.discard()
    assert names(root) == []
    journals.verify(journals.write(journal))


def test_failed_fsync_is_not_repeated(journal, root):
    hook = failing("files.fsync.before", OSError(errno.EIO, "input/output error"))
    with failpoints.watched(hook), pytest.raises(DestinationError, match="input/output error"):
        journals.write(journal)
    assert len(hook.seen) == 1
    assert names(root) == []


def test_entry_whose_name_may_not_be_durable_is_not_found(journal, root):
    """The rename worked and its fsync did not: the write has failed, so nobody may roll it forward."""
    seen = []

    def hook(name):
        if name == "files.rename.after":
            seen.append(name)
        if name == "files.fsync_directory.before" and seen:
            raise OSError(errno.EIO, "input/output error")

    with failpoints.watched(hook), pytest.raises(DestinationError):
        journals.write(journal)
    assert len(seen) == 2  # there and back
    assert names(root) == []


def test_entry_that_cannot_be_cleaned_up_is_left_for_recovery(journal, root):
    """Nothing works any more after the first error: what is left is unlocked, and says what it is."""
    seen = []

    def hook(name):
        if name == "files.write.before" or seen:
            seen.append(name)
            raise OSError(errno.EIO, "input/output error")

    with failpoints.watched(hook), pytest.raises(DestinationError):
        journals.write(journal)
    (left,) = journal.entries()
    assert left.state is JournalState.TMP
    assert left.lock()
    left.discard()
    assert names(root) == []


def test_entry_that_stays_ready_although_its_write_failed_is_whole(journal):
    seen = []

    def hook(name):
        seen.append(name)
        if "files.rename.after" in seen:
            raise OSError(errno.EIO, "input/output error")

    with failpoints.watched(hook), pytest.raises(DestinationError):
        journals.write(journal)
    (left,) = journal.entries()
    journals.verify(left)
    assert left.lock()


def test_interrupted_write_leaves_nothing(journal, root):
    with (
        failpoints.watched(failing("files.fsync.before", KeyboardInterrupt())),
        pytest.raises(KeyboardInterrupt),
    ):
        journals.write(journal)
    assert names(root) == []


@pytest.mark.parametrize(
    "point", ["files.rename.before", "files.fsync_directory.before", "files.unlink.before"]
)
def test_finish_that_fails_can_be_completed(journal, root, ready, point):
    hook = failing(point, OSError(errno.EIO, "input/output error"), times=1)
    with failpoints.watched(hook), pytest.raises(DestinationError):
        ready.finish()
    assert ready.is_locked
    if ready.state is JournalState.READY:
        ready.finish()
    else:
        ready.discard()
    assert names(root) == []


def test_finish_and_a_directory_in_the_way(journal, root, ready):
    (root / f"{TXID}.done").mkdir()
    with pytest.raises(ConflictError):
        ready.finish()
    assert ready.state is JournalState.READY
    journals.verify(ready)


def test_full_disk(tmp_path, monkeypatch):
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with pytest.raises(StateError, match="tmpfs") as refused:
            journals.write(journals.journal(mount / "journal", allow_volatile=False))
        assert "allow_volatile_journal" in refused.value.hint
        assert not (mount / "journal").exists()
        journal = journals.journal(mount / "journal")
        assert journal.volatile_file_system() == "tmpfs"
        with pytest.raises(BufferFull):
            journals.write(journal)
        with monkeypatch.context() as patch, pytest.raises(DestinationError) as caught:
            patch.setattr(files, "free_bytes", lambda path: 1 << 40)  # somebody else takes it meanwhile
            journals.write(journal)
        assert caught.value.kind is ErrorKind.DISK_FULL
        assert journal.entries() == []
        small = {(0, NPY): b"1", (0, RICE): b"2", (1, NPY): b"3"}
        journal.write(
            transaction=journals.transaction(), targets=TARGETS, encodings=journals.encodings(small)
        ).finish()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_space_that_others_need_is_left_free(root, monkeypatch):
    content = sum(map(len, CONTENT.values()))
    monkeypatch.setattr(files, "free_bytes", lambda path: content + 100_000)
    with pytest.raises(BufferFull, match="have to stay free") as caught:
        journals.write(journals.journal(root, min_free_bytes=100_000))
    assert caught.value.kind is ErrorKind.BUFFER_FULL
    assert names(root) == []
    journals.write(journals.journal(root, min_free_bytes=90_000))


def test_directory_that_is_none_is_told(root):
    root.parent.mkdir()
    root.write_text("")
    journal = journals.journal(root)
    for call in (journal.entries, journal.foreign, lambda: journals.write(journal)):
        with pytest.raises(DestinationError, match=str(root)):
            call()


def test_system_that_does_not_tell_its_mounts_is_taken_at_its_word(root, monkeypatch):
    monkeypatch.setattr("quantumio.system.file_systems._MOUNTS", root / "none")
    journal = Journal(root)
    assert journal.volatile_file_system() is None
    journal.check_durable()


# ---------------------------------------------------------------------------- what is not written


def test_bytes_that_changed_after_they_were_encoded_are_refused(journal, root):
    data = bytearray(b"pixels" * 30)
    encoded = Encoded(chunks=(data,), nbytes=len(data), digest=hashlib.sha256(data).hexdigest())
    data[0] ^= 1
    encodings = [(0, NPY, encoded), *journals.encodings()[1:]]
    with pytest.raises(MutatedAfterPut, match="output 0"):
        journal.write(transaction=journals.transaction(), targets=TARGETS, encodings=encodings)
    assert names(root) == []


@pytest.mark.parametrize(
    ("targets", "content", "mention"),
    [
        (TARGETS[:2], CONTENT, "2 outputs have targets"),
        (TARGETS, {(0, NPY): b"", (1, NPY): b""}, "archive"),
        (TARGETS, {(0, NPY): b"", (0, RICE): b""}, "level3"),
        (TARGETS, {**CONTENT, (3, NPY): b""}, "output 3"),
        (TARGETS, {**CONTENT, (-1, NPY): b""}, "output = -1"),
    ],
)
def test_entry_that_could_not_be_finished_is_not_written(journal, root, targets, content, mention):
    with pytest.raises(InvalidInputError, match=mention):
        journal.write(
            transaction=journals.transaction(), targets=targets, encodings=journals.encodings(content)
        )
    assert not root.exists()


@pytest.mark.parametrize("option", [{1, 2}, float("nan"), b"bytes"])
def test_option_that_json_does_not_hold_is_refused(journal, root, option):
    content = {**CONTENT, (0, FormatChoice("fits", {"x": option})): b""}
    with pytest.raises(InvalidInputError, match="cannot be journaled") as caught:
        journal.write(
            transaction=journals.transaction(), targets=TARGETS, encodings=journals.encodings(content)
        )
    assert caught.value.hint
    assert not root.exists()


def test_manifest_that_would_not_be_read_again_is_not_written(journal, root, monkeypatch):
    monkeypatch.setattr(_journal, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(InvalidInputError, match="too many outputs"):
        journals.write(journal)
    assert not root.exists()


# ---------------------------------------------------------------------------- damage


def test_blob_with_one_bit_wrong_or_bytes_too_few_or_many_is_not_given(ready):
    for blob in ready.manifest().blobs:
        path = ready.blob_path(blob)
        good = path.read_bytes()
        path.chmod(0o644)
        flipped = bytes([good[0] ^ 1]) + good[1:] if good else b"x"
        for bad in (flipped, good[:-1] if good else b"y", good + b"\0"):
            path.write_bytes(bad)
            with pytest.raises(DestinationError, match=f"{blob.file} is damaged") as caught:
                ready.read(blob)
            assert caught.value.kind is ErrorKind.CORRUPT
        path.unlink()
        with pytest.raises(DestinationError, match="is missing"):
            ready.read(blob)
        path.symlink_to("/etc/passwd")
        with pytest.raises(DestinationError, match="no regular file"):
            ready.read(blob)
        path.unlink()
        path.write_bytes(good)
    journals.verify(ready)


def test_file_that_cannot_be_read_is_told(ready, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr(files, "read_bytes", refuse)
    with pytest.raises(DestinationError, match=r"manifest\.json failed: permission denied") as caught:
        ready.manifest()
    assert caught.value.kind is ErrorKind.PERMISSION


def test_every_changed_byte_of_a_manifest_is_found(ready):
    good = ready.manifest().to_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        with pytest.raises(InvalidInputError, match="torn, or was edited"):
            JournalManifest.from_bytes(bytes(bad))
    for end in range(len(good)):
        with pytest.raises(InvalidInputError):
            JournalManifest.from_bytes(good[:end])


def test_damaged_manifest_is_told_with_its_file(journal, ready):
    path = ready.path / "manifest.json"
    good = path.read_bytes()
    json.loads(good)  # people can read it
    for bad in (b"", good[:100], good.replace(b"night", b"nacht"), good + b"\n", b"\0" * len(good)):
        path.write_bytes(bad)
        with pytest.raises(DestinationError, match=r"manifest\.json is damaged") as caught:
            ready.manifest()
        assert caught.value.kind is ErrorKind.CORRUPT
    path.unlink()
    with pytest.raises(DestinationError, match="is missing"):
        ready.manifest()
    os.mkfifo(path)
    with pytest.raises(DestinationError, match="no regular file"):
        ready.manifest()


def test_huge_manifest_is_not_read(ready):
    os.truncate(ready.path / "manifest.json", 1 << 40)
    with pytest.raises(DestinationError, match="damaged: it has 1099511627776 bytes"):
        ready.manifest()


def forge(entry, change):
    """Change a manifest, and its checksum with it."""
    path = entry.path / "manifest.json"
    wire = json.loads(path.read_bytes())["manifest"]
    changed = change(wire)
    content = (
        changed if isinstance(changed, bytes) else json.dumps(wire if changed is None else changed).encode()
    )
    digest = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(b'{"sha256":"%b","manifest":%b}\n' % (digest, content))


HOSTILE = {
    "a file above": lambda wire: wire["blobs"][0].update(file="../x"),
    "an absolute file": lambda wire: wire["blobs"][0].update(file="/etc/passwd"),
    "the lock file": lambda wire: wire["blobs"][0].update(file="LOCK"),
    "a trailing newline": lambda wire: wire["blobs"][0].update(file="blob-0-0.npy\n"),
    "one file twice": lambda wire: wire["blobs"][1].update(file="blob-0-0.npy"),
    "no file": lambda wire: wire["blobs"][0].update(file=None),
    "no digest": lambda wire: wire["blobs"][0].update(digest="x"),
    "a negative size": lambda wire: wire["blobs"][0].update(nbytes=-1),
    "a size of another type": lambda wire: wire["blobs"][0].update(nbytes=True),
    "an output that is not there": lambda wire: wire["blobs"][0].update(output=7),
    "an unknown key": lambda wire: wire["blobs"][0].update(more=7),
    "a format that is no name": lambda wire: wire["blobs"][0].update(format={"name": "../x", "options": {}}),
    "no blobs": lambda wire: wire.update(blobs=[]),
    "no targets": lambda wire: wire.update(targets=[]),
    "a destination that is no name": lambda wire: wire["targets"][0][0].update(destination="a/b"),
    "required of another type": lambda wire: wire["targets"][0][0].update(required="no"),
    "another transaction": lambda wire: wire["transaction"].update(txid=str(OTHER)),
    "half a transaction": lambda wire: wire["transaction"].pop("run"),
    "a list": lambda wire: [],
    "a text": lambda wire: "manifest",
    "a number": lambda wire: 7,
    "nothing": lambda wire: wire.clear(),
    "version 0": lambda wire: wire.update(version=0),
    "a version that is no number": lambda wire: wire.update(version="1"),
    "no JSON": lambda wire: b"{",
    "endless nesting": lambda wire: b"[" * 200_000 + b"]" * 200_000,
    "a number without end": lambda wire: b'{"version":' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_forged_manifest_is_refused_with_its_file(ready, name):
    forge(ready, HOSTILE[name])
    with pytest.raises(DestinationError, match=r"manifest\.json is damaged") as caught:
        ready.manifest()
    assert caught.value.kind is ErrorKind.CORRUPT


def test_manifest_of_a_newer_version_says_so(ready):
    forge(ready, lambda wire: wire.update(version=2))
    with pytest.raises(StateError, match=r"manifest\.json.*upgrade quantumio") as caught:
        ready.manifest()
    assert caught.value.kind is ErrorKind.NEWER_SCHEMA


def test_version_of_a_manifest_grows_with_that_of_its_parts(ready):
    """It alone tells that a manifest is newer: who changes a version below changes this one as well."""
    wire = ready.manifest().to_wire()
    ref = wire["transaction"]["outputs"][0]["ref"]
    versions = (wire["transaction"]["version"], ref["version"], ref["dataset_type"]["version"])
    assert (wire["version"], *versions) == (1, 1, 1, 1)


def test_copy_of_an_entry_under_another_name_is_refused(journal, root, ready):
    shutil.copytree(ready.path, root / f"{OTHER}.ready")
    copy = journal.entries()[1]
    assert copy.txid == OTHER
    with pytest.raises(DestinationError, match=f"it is of transaction {TXID}"):
        copy.manifest()


def test_what_is_not_the_journals_is_told_and_left_alone(journal, root, ready):
    (root / "notes.txt").write_text("mine")
    (root / f"{OTHER}.ready").write_text("no directory")
    for name in (
        "keep",
        f"{OTHER}.old",
        f"{str(OTHER).upper()}.tmp",
        f"{OTHER.hex}.tmp",
        f"{OTHER}.x.tmp",
        ".tmp",
    ):
        (root / name).mkdir()
    (root / f"{OTHER}.done").symlink_to(ready.path)
    assert [entry.path for entry in journal.entries()] == [ready.path]
    assert {path.name for path in journal.foreign()} == {*names(root)} - {ready.path.name}
    ready.finish()
    assert len(names(root)) == 9


def test_directory_in_the_place_of_the_journals_lock_is_told(root):
    (root / "LOCK").mkdir(parents=True)
    journal = journals.journal(root)
    assert journal.foreign() == [root / "LOCK"]
    with pytest.raises(DestinationError):
        journals.write(journal)


def test_foreign_file_in_an_entry_keeps_its_directory(root, ready):
    (ready.path / "notes.txt").write_text("mine")
    with pytest.raises(DestinationError, match=r"notes\.txt") as caught:
        ready.finish()
    assert caught.value.hint
    assert names(root) == [f"{TXID}.done"]
    assert sorted(os.listdir(ready.path)) == ["LOCK", "notes.txt"]
    (ready.path / "notes.txt").unlink()
    ready.discard()
    assert names(root) == []


# ---------------------------------------------------------------------------- values


def test_targets_are_those_of_the_policy():
    resolution = Resolution(
        targets=(Target("local"), Target("archive", required=False)),
        formats={"local": NPY, "archive": RICE},
        mode=Mode.DEFERRED,
        own=None,
        ack=None,
        why={},
    )
    assert JournalTarget.all_of(resolution) == (
        JournalTarget(destination="local", required=True, format=NPY),
        JournalTarget(destination="archive", required=False, format=RICE),
    )


def test_destination_takes_the_blob_of_its_format_and_rows_come_from_any(ready):
    manifest = ready.manifest()
    found = [
        [manifest.blob_for(place, one) for one in targets] for place, targets in enumerate(manifest.targets)
    ]
    assert found == [[manifest.blobs[0], manifest.blobs[1], None], [manifest.blobs[2]], [None]]


def test_artifact_elsewhere_does_not_stand_for_a_destination(ready):
    manifest = ready.manifest()
    outputs = manifest.transaction.outputs
    elsewhere = attrs.evolve(outputs[2].artifacts[0], destination="mirror")
    assert isinstance(elsewhere, Artifact)
    changed = attrs.evolve(
        manifest.transaction, outputs=(*outputs[:2], attrs.evolve(outputs[2], artifacts=(elsewhere,)))
    )
    with pytest.raises(InvalidInputError, match="no blob for destination 'local'"):
        attrs.evolve(manifest, transaction=changed)


def test_transaction_without_outputs_can_be_journaled(journal):
    empty = journals.transaction(outputs=())
    entry = journal.write(transaction=empty, targets=(), encodings=())
    assert entry.manifest().transaction == empty


def test_text_that_is_hard_to_write_survives(journal):
    ref = DatasetRef(
        TXID,
        DatasetType("log", dimensions=["visit"], storage_class="Text"),
        DataId({"visit": 'a"\\\n\0\udc80é'}),
        "r",
    )
    record = attrs.evolve(journals.output(1), ref=ref)
    content = {(0, FormatChoice("x", {"a": [1, 2.5, None, {"b": "\u2028"}]})): b"1", (0, NPY): b"2"}
    target = JournalTarget(destination="local", required=True, format=NPY)
    entry = journal.write(
        transaction=journals.transaction(outputs=(record,), key="\udcff"),
        targets=[[target]],
        encodings=journals.encodings(content),
    )
    manifest = entry.manifest()
    assert manifest.transaction.outputs[0].ref.data_id == ref.data_id
    assert manifest.transaction.key == "\udcff"
    assert manifest.blobs[0].format == next(iter(content))[1]
