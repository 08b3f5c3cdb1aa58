"""The error ledger: nothing is lost, and nobody is told twice."""

import errno
import shutil
import threading
import time
import uuid

import pytest

from quantumio.engine import ErrorLedger
from quantumio.errors import ErrorKind, InvalidInputError, QuantumioError
from quantumio.model import DataId, DatasetRef, DatasetType, LedgerEntry
from quantumio.system import failpoints, files

pytestmark = pytest.mark.on_disk

TXID, OTHER = uuid.uuid4(), uuid.uuid4()
REF = DatasetRef(
    uuid.uuid4(),
    DatasetType("pixels", dimensions=["visit"], storage_class="NDArray"),
    DataId({"visit": 7}),
    "r",
)


def test_failure_is_kept_with_all_that_is_known_until_acknowledged():
    ledger = ErrorLedger()
    before = time.time_ns()
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID, ref=REF, destination="a")
    ledger.add(ErrorKind.VALUE, "wrong")
    first, second = ledger.entries()
    assert (first.kind, first.message, first.txid, first.ref, first.destination) == (
        ErrorKind.DISK_FULL,
        "full",
        TXID,
        REF,
        "a",
    )
    assert before <= first.time_ns <= time.time_ns()
    assert (second.txid, second.ref, second.destination) == (None, None, None)
    assert first.number < second.number
    assert ledger.entries() == [first, second]
    assert ledger.acknowledge() == [first, second]
    assert ledger.entries() == []
    ledger.raise_undelivered()


def test_numbers_are_never_used_again():
    ledger = ErrorLedger()
    ledger.add(ErrorKind.VALUE, "one")
    ledger.acknowledge()
    ledger.add(ErrorKind.VALUE, "two")
    assert ledger.entries()[0].number == 2


def test_what_nobody_was_told_is_raised_once_with_a_note_on_dataset_and_destination():
    ledger = ErrorLedger()
    ledger.raise_undelivered()
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID, ref=REF, destination="a")
    ledger.add(ErrorKind.REGISTRY, "gone", txid=TXID)
    with pytest.raises(ExceptionGroup) as caught:
        ledger.raise_undelivered()
    first, second = caught.value.exceptions
    assert all(isinstance(error, QuantumioError) for error in (first, second))
    assert first.kind is ErrorKind.DISK_FULL
    assert "pixels(visit=7) in r" in first.__notes__[0]
    assert "'a'" in first.__notes__[0]
    assert str(TXID) in second.__notes__[0]
    ledger.raise_undelivered()
    assert len(ledger.entries()) == 2


def test_what_a_waiter_was_told_is_listed_and_not_raised_again():
    ledger = ErrorLedger()
    ledger.add(ErrorKind.VALUE, "one", txid=TXID)
    ledger.add(ErrorKind.VALUE, "two", txid=OTHER)
    ledger.deliver(TXID)
    with pytest.raises(ExceptionGroup) as caught:
        ledger.raise_undelivered()
    assert [str(error) for error in caught.value.exceptions] == ["two"]
    assert [entry.message for entry in ledger.entries()] == ["one", "two"]
    ledger.add(ErrorKind.VALUE, "three", txid=TXID)  # later than what was told
    with pytest.raises(ExceptionGroup, match="1 background"):
        ledger.raise_undelivered()


def test_failures_of_many_threads_are_all_there():
    ledger = ErrorLedger()

    def add(number):
        for step in range(200):
            ledger.add(ErrorKind.VALUE, f"failure {step} of {number}")

    threads = [threading.Thread(target=add, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [entry.number for entry in ledger.acknowledge()]
    assert sorted(numbers) == list(range(1, 1201))


def test_the_same_failure_is_one_until_it_is_acknowledged(tmp_path):
    ledger, other = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors")
    for _ in range(3):
        for one in (ledger, other):
            one.add(ErrorKind.VALUE, "x", destination="a")
            one.add(ErrorKind.VALUE, "x", destination="b")
            one.save()
    reader = ErrorLedger(tmp_path / "errors", readonly=True)
    for one in (ledger, other, reader):
        assert [entry.destination for entry in one.entries()] == ["a", "b"]
    assert reader.acknowledge() == []
    assert len(ledger.acknowledge()) == 2
    assert reader.entries() == []
    ledger.add(ErrorKind.VALUE, "x", destination="a")
    ledger.save()
    assert [entry.destination for entry in reader.entries()] == ["a"]


def test_entry_that_cannot_be_read_is_listed_with_its_reason_until_it_is_acknowledged(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "foreign.txt").write_text("somebody's")
    ledger = ErrorLedger(tmp_path)
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID)
    ledger.save()
    listed = ledger.entries()
    assert ledger.entries() == listed
    broken, full = sorted(listed, key=lambda one: one.kind)
    assert (broken.kind, full.message) == (ErrorKind.CORRUPT, "full")
    assert broken.number != full.number
    assert "broken.json tells of a failure, and cannot be read: Expecting" in broken.message
    with pytest.raises(ExceptionGroup, match="1 background"):
        ledger.raise_undelivered()  # it has not failed here
    reader = ErrorLedger(tmp_path, readonly=True)
    assert reader.acknowledge() == []
    assert len(reader.entries()) == 2
    assert ledger.acknowledge() == listed
    assert ledger.entries() == reader.entries() == ledger.acknowledge() == []
    assert (tmp_path / "broken.json.unreadable").read_text() == "{"  # of what it tells nobody knows
    assert (tmp_path / "foreign.txt").exists()


def test_entry_that_can_be_read_after_all_is_listed_as_what_it_is(tmp_path, monkeypatch):
    another = ErrorLedger(tmp_path)
    another.add(ErrorKind.DISK_FULL, "full", txid=TXID)
    another.save()
    ledger = ErrorLedger(tmp_path)

    def too_many(path):
        raise OSError(errno.EMFILE, "too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_bytes", too_many)
        (entry,) = ledger.entries()
        assert entry.kind is ErrorKind.UNREACHABLE
        assert "too many open files" in entry.message
    assert [one.message for one in ledger.entries()] == ["full"]
    assert [one.message for one in ledger.acknowledge()] == ["full"]
    assert list(tmp_path.iterdir()) == []


def test_unreadable_entry_that_cannot_be_renamed_stays_listed(tmp_path, monkeypatch):
    (tmp_path / "broken.json").write_text("{")
    ledger = ErrorLedger(tmp_path)

    def refuse(*paths):
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patch:
        patch.setattr(files, "rename_new", refuse)
        assert len(ledger.acknowledge()) == 1
    assert len(ledger.entries()) == len(ledger.acknowledge()) == 1
    assert ledger.entries() == []


def test_entry_that_is_acknowledged_while_it_is_read_is_gone(tmp_path, monkeypatch):
    another = ErrorLedger(tmp_path)
    another.add(ErrorKind.VALUE, "x")
    another.save()
    ledger, list_directory = ErrorLedger(tmp_path), files.list_directory

    def listed(path):
        names = list_directory(path)
        if names:
            monkeypatch.undo()
            another.acknowledge()
        return names

    monkeypatch.setattr(files, "list_directory", listed)
    assert ledger.entries() == []


@pytest.mark.parametrize("may_remove", [True, False])
def test_entry_whose_name_was_not_made_durable_counts_as_not_kept(tmp_path, monkeypatch, caplog, may_remove):
    ledger = ErrorLedger(tmp_path)
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID)

    def fail(*arguments):
        raise OSError(errno.EIO, "broken")

    files.make_directories(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "fsync_directories", fail)
        if not may_remove:
            patch.setattr(files, "remove", fail)
        ledger.save()
    assert "full (not kept beyond this process: [Errno 5] broken)" in caplog.text
    before = set(tmp_path.iterdir())
    assert len(before) == (0 if may_remove else 1)
    assert [one.message for one in ledger.entries()] == ["full"]
    assert ledger.has_unsaved, "what is on the disk keeps nothing"
    ledger.save()
    assert not ledger.has_unsaved
    assert len(set(tmp_path.iterdir()) - before) == 1
    assert [one.message for one in ErrorLedger(tmp_path).entries()] == ["full"]
    assert len(ledger.acknowledge()) == 1
    assert list(tmp_path.iterdir()) == []


def test_failure_that_was_kept_before_another_could_not_be_is_kept(tmp_path, monkeypatch, caplog):
    ledger, write_new, written = ErrorLedger(tmp_path), files.write_new, []

    def write(path, chunks):
        if written:
            raise OSError(errno.ENOSPC, "full")
        written.append(path)
        write_new(path, chunks)

    for message in ("one", "two"):
        ledger.add(ErrorKind.VALUE, message)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_new", write)
        ledger.save()
    assert "two (not kept" in caplog.text
    assert "one (not kept" not in caplog.text
    assert [one.message for one in ErrorLedger(tmp_path).entries()] == ["one"]
    ledger.save()
    assert len(ErrorLedger(tmp_path).entries()) == 2


def test_directory_that_cannot_be_written_keeps_failures_in_memory(tmp_path, caplog):
    (tmp_path / "errors").write_text("in the way")
    ledger = ErrorLedger(tmp_path / "errors")
    ledger.add(ErrorKind.VALUE, "x")
    assert ledger.has_unsaved
    for _ in range(2):
        ledger.save()
    assert caplog.text.count("not kept beyond this process") == 1
    assert [entry.message for entry in ledger.entries()] == ["x"]
    (tmp_path / "errors").unlink()
    assert ledger.has_unsaved
    ledger.save()
    assert not ledger.has_unsaved
    assert [entry.message for entry in ErrorLedger(tmp_path / "errors").entries()] == ["x"]


def in_another_thread(work):
    """Whether work in another thread comes to its end while this one waits for it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    return not thread.is_alive()


@pytest.mark.parametrize("call", ["write_new", "list_directory", "read_bytes", "fsync_directories"])
def test_slow_disk_holds_up_nobody_who_adds_or_asks_for_his_own(tmp_path, monkeypatch, call):
    another = ErrorLedger(tmp_path)
    another.add(ErrorKind.VALUE, "of another process")
    another.save()
    ledger, ended = ErrorLedger(tmp_path), []
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID)

    def use():
        ledger.add(ErrorKind.VALUE, "meanwhile", txid=OTHER)
        assert [one.message for one in ledger.of(TXID)] == ["full"]
        ledger.deliver(TXID)
        assert ledger.has_unsaved

    real = getattr(files, call)

    def slow(*arguments, **options):
        if not ended:
            ended.append(in_another_thread(use))
        return real(*arguments, **options)

    monkeypatch.setattr(files, call, slow)
    ledger.save()
    assert ended == [True]
    monkeypatch.undo()
    ledger.save()
    told = {"of another process", "full", "meanwhile"}
    assert {one.message for one in ledger.entries()} == told
    assert {one.message for one in ErrorLedger(tmp_path).entries()} == told
    assert len(list(tmp_path.iterdir())) == 3


def test_acknowledging_while_failures_are_written_forgets_each_once(tmp_path, monkeypatch):
    ledger = ErrorLedger(tmp_path)
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID)
    real, threads, told = files.write_new, [], []

    def write(*arguments, **options):
        threads.append(threading.Thread(target=lambda: told.extend(ledger.acknowledge())))
        threads[-1].start()
        return real(*arguments, **options)

    monkeypatch.setattr(files, "write_new", write)
    ledger.save()
    for thread in threads:
        thread.join()
    assert [one.message for one in told] == ["full"]
    assert ledger.entries() == ErrorLedger(tmp_path).entries() == []


def test_nobody_waits_for_the_disk_to_note_or_look_up_a_failure(tmp_path):
    """The event loop does both: it stood still, heartbeats and all, for as long as a slow disk took."""
    ledger = ErrorLedger(tmp_path / "errors")
    ledger.add(ErrorKind.VALUE, "one", txid=TXID)
    seen = []

    def meanwhile(name, subject):
        def use():
            ledger.add(ErrorKind.VALUE, name, txid=OTHER)
            seen.append(len(ledger.of(TXID)))

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        thread.join(60)  # the file is being written: nobody else would let it go on
        assert not thread.is_alive(), name

    with failpoints.recorded(meanwhile):
        ledger.save()
    assert set(seen) == {1}
    assert any("fsync" in entry.message for entry in ledger.of(OTHER))


def test_what_fails_while_failures_are_acknowledged_stays(tmp_path):
    ledger = ErrorLedger(tmp_path / "errors")
    ledger.add(ErrorKind.VALUE, "one")
    ledger.save()
    with failpoints.recorded(lambda name, subject: ledger.add(ErrorKind.VALUE, name)):
        acknowledged = ledger.acknowledge()
    assert [entry.message for entry in acknowledged] == ["one"]
    assert ledger.entries()


def test_failure_that_comes_again_after_another_process_acknowledged_it_is_kept_again(tmp_path):
    ledger = ErrorLedger(tmp_path)

    def fail():
        ledger.add(ErrorKind.UNREACHABLE, "the archive is away", txid=TXID)
        ledger.save()

    fail()
    fail()
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ExceptionGroup):
        ledger.raise_undelivered()
    assert len(ErrorLedger(tmp_path).acknowledge()) == 1
    fail()
    assert [one.message for one in ErrorLedger(tmp_path).entries()] == ["the archive is away"]
    with pytest.raises(ExceptionGroup):
        ledger.raise_undelivered()
    ledger.acknowledge()
    assert ledger.entries() == ErrorLedger(tmp_path).entries() == []


def test_failures_of_what_is_visible_by_now_are_withdrawn_and_no_others(tmp_path):
    ledger, other = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors")
    ledger.add(ErrorKind.UNREACHABLE, "away", txid=TXID, destination="a")
    ledger.save()
    other.add(ErrorKind.UNREACHABLE, "away", txid=TXID, destination="b")
    other.add(ErrorKind.DISK_FULL, "full", txid=OTHER)
    other.add(ErrorKind.VALUE, "not saved yet", txid=TXID)
    other.withdraw(TXID)
    assert [entry.txid for entry in other.entries()] == [OTHER]
    other.save()
    assert [entry.txid for entry in ledger.entries()] == [OTHER]
    ledger.raise_undelivered()
    with pytest.raises(ExceptionGroup) as caught:
        other.raise_undelivered()
    assert [error.kind for error in caught.value.exceptions] == [ErrorKind.DISK_FULL]
    other.add(ErrorKind.UNREACHABLE, "away", txid=TXID, destination="a")  # a copy, after the commit
    assert [entry.destination for entry in other.entries()] == [None, "a"]


def test_failure_that_was_met_again_is_withdrawn_too(tmp_path):
    ledger = ErrorLedger(tmp_path / "errors")
    for _ in range(2):
        ledger.add(ErrorKind.UNREACHABLE, "away", txid=TXID)
    ledger.withdraw(TXID)
    ledger.save()
    assert ledger.entries() == []
    assert not ledger.has_unsaved


def test_failures_are_kept_anew_where_the_directory_is_gone_and_nobody_has_acknowledged_them(tmp_path):
    """They were taken for acknowledged, though the disk of the repository may just not be mounted."""
    ledger, reader = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors", readonly=True)
    ledger.add(ErrorKind.VALUE, "one", txid=TXID)
    ledger.save()
    assert len(reader.entries()) == 1
    shutil.rmtree(tmp_path / "errors")
    assert [entry.message for entry in ledger.entries()] == [entry.message for entry in reader.entries()]
    ledger.add(ErrorKind.VALUE, "two", txid=TXID)
    with pytest.raises(ExceptionGroup, match="2 background"):
        ledger.raise_undelivered()
    ledger.save()
    again = ErrorLedger(tmp_path / "errors", readonly=True)
    assert [entry.message for entry in again.entries()] == ["one", "two"]
    assert len(reader.entries()) == 2


def test_who_only_reads_acknowledges_failures_of_his_own_process(tmp_path):
    writer, reader = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors", readonly=True)
    writer.add(ErrorKind.VALUE, "kept")
    writer.save()
    reader.add(ErrorKind.UNREACHABLE, "a copy could not be read")
    reader.save()  # he writes nothing
    assert not reader.has_unsaved
    assert [entry.message for entry in reader.entries()] == ["kept", "a copy could not be read"]
    assert [entry.message for entry in reader.acknowledge()] == ["a copy could not be read"]
    assert [entry.message for entry in reader.entries()] == ["kept"]
    reader.raise_undelivered()


@pytest.fixture
def both(tmp_path):
    """Two processes that have failed in the same way, which one of them has kept first."""
    first, second = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors")
    for one in (first, second):
        one.add(ErrorKind.UNREACHABLE, "away", txid=TXID)
    for one in (first, second):
        one.save()
    assert len(list((tmp_path / "errors").iterdir())) == 1
    return first, second


@pytest.mark.parametrize("end", [ErrorLedger.acknowledge, lambda ledger: ledger.withdraw(TXID)])
@pytest.mark.parametrize("by", [0, 1])
def test_what_ends_in_one_process_ends_in_the_others_that_have_failed_in_the_same_way(both, end, by):
    end(both[by])
    for one in both:
        one.raise_undelivered()
        assert one.entries() == []
        assert one.of(TXID) == []
    both[by].add(ErrorKind.UNREACHABLE, "away", txid=TXID)  # once more
    both[by].save()
    assert [entry.txid for entry in both[1 - by].entries()] == [TXID]
    with pytest.raises(ExceptionGroup):
        both[by].raise_undelivered()


def test_failure_that_was_kept_twice_is_one_and_lasts_until_both_are_gone(tmp_path):
    first, second = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "other")
    for one in (first, second):
        one.add(ErrorKind.VALUE, "x")
        one.save()
    for file in (tmp_path / "other").iterdir():  # as if both had written at the same time
        shutil.copy(file, tmp_path / "errors")
    assert len(first.entries()) == 1
    next((tmp_path / "errors").iterdir()).unlink()
    assert len(first.entries()) == 1
    shutil.copy(file, tmp_path / "errors" / "again.json")
    assert len(first.acknowledge()) == 1
    assert list((tmp_path / "errors").iterdir()) == []


def test_what_is_kept_where_nobody_may_look_is_raised_all_the_same(both, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "no", str(path))

    monkeypatch.setattr(files, "list_directory", refuse)
    with pytest.raises(ExceptionGroup):
        both[0].raise_undelivered()


def test_who_only_reads_does_not_acknowledge_what_another_process_keeps_too(tmp_path):
    writer, reader = ErrorLedger(tmp_path / "errors"), ErrorLedger(tmp_path / "errors", readonly=True)
    for one in (reader, writer):
        one.add(ErrorKind.UNREACHABLE, "away")
        one.save()
    assert len(reader.entries()) == 1
    assert reader.acknowledge() == []
    assert len(reader.entries()) == 1
    writer.acknowledge()
    assert reader.entries() == []
    reader.raise_undelivered()


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "5", "NaN", '"text"', "{}", '{"version": 1}', "{", "[" * 5000],
)
def test_file_that_is_no_entry_keeps_nothing_from_being_told_and_saved(tmp_path, text):
    (tmp_path / "note.json").write_text(text)
    ledger = ErrorLedger(tmp_path)
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID)
    ledger.save()
    kept = [one.message for one in ErrorLedger(tmp_path).entries() if one.txid == TXID]
    assert kept == ["full"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("time_ns", "now"), ("time_ns", None), ("txid", 5), ("txid", "5"), ("ref", [])],
        *[("ref", {}), ("destination", 5), ("kind", None), ("kind", "odd"), ("message", ["list"])],
    ],
)
def test_entry_with_a_value_of_another_type_is_refused(name, value):
    ledger = ErrorLedger()
    ledger.add(ErrorKind.DISK_FULL, "full", txid=TXID, ref=REF, destination="a")
    (entry,) = ledger.entries()
    assert LedgerEntry.from_wire(entry.to_wire(), entry.number) == entry
    with pytest.raises(InvalidInputError):
        LedgerEntry.from_wire({**entry.to_wire(), name: value}, 1)


@pytest.mark.anyio
async def test_save_that_raises_whatever_it_is_ends_no_loop(tmp_path, monkeypatch, caplog):
    ledger = ErrorLedger(tmp_path)
    await ledger.save_from_loop()
    ledger.add(ErrorKind.VALUE, "one")
    with monkeypatch.context() as broken:
        broken.setattr(files, "write_new", lambda *_: (_ for _ in ()).throw(MemoryError))
        await ledger.save_from_loop()
    assert "not kept beyond this process" in caplog.text
    assert ErrorLedger(tmp_path).entries() == []
    await ledger.save_from_loop()
    assert [one.message for one in ErrorLedger(tmp_path).entries()] == ["one"]
