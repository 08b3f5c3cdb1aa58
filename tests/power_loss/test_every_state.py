"""A disk that loses its power holds what was promised: every state that it may be in is looked at.

Kills cannot find a missing fsync, since the page cache survives a process. Here the operations of a
scenario are recorded, and after each of them the states are built that a disk may be in then. All are
checked by reading the registry and the files; some by a Butler that reads, recovers and goes on, which
takes a hundred times longer.
"""

import contextlib
import hashlib
import math
import random
import sqlite3

import pytest

from quantumio import Butler
from quantumio.destinations.files import FilesDestination
from quantumio.engine._journal import Journal
from quantumio.engine._journal_entry import JournalState
from quantumio.system import files
from quantumio.testing import power_loss
from quantumio.testing._power_loss import _digits, _number, _part
from tests.crash import scenarios

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

ROOTS = {"local": "data", "second": "second"}
ONE_OF = 60
"""One state of so many is opened by a Butler, too."""


def check(repository, cut):
    look_at_bytes(repository, cut)
    if (37 * cut.operation + cut.choice) % ONE_OF == 0:
        scenarios.check(repository, cut)


def look_at_bytes(repository, cut):
    """Hold that what is visible is there to the last byte, and that what was acknowledged is not lost."""
    with contextlib.closing(sqlite3.connect(repository / "registry.sqlite3")) as registry:
        visible = registry.execute(
            'SELECT object.store, path, digest, "offset", length FROM artifact '
            "JOIN object ON object.id = object_id WHERE state = 'ok'"
        ).fetchall()
        committed = {row[0] for row in registry.execute("SELECT txid FROM txn WHERE state = 'COMMITTED'")}
    for store, path, digest, offset, length in visible:
        place = repository / ROOTS[store] / path
        assert place.is_file(), f"{path} is visible, and its file is lost"
        content = place.read_bytes()
        if offset is not None:
            content = content[offset : offset + length]
        assert hashlib.sha256(content).hexdigest() == digest, f"{path} is torn"
    kept = {entry.txid.bytes for entry in Journal(repository / "journal").entries() if is_whole(entry)}
    level = {"committed": committed, "journaled": committed | kept}
    for name, survived in level.items():
        promised = sum(line.startswith(f"{name} ") for line in cut.acknowledged)
        assert len(survived) > promised, f"{promised} contexts were {name}, {len(survived) - 1} survived"


def is_whole(entry):
    if entry.state is not JournalState.READY:
        return False
    for blob in entry.manifest().blobs:
        entry.read(blob)
    return True


def check_retry(repository, cut):
    look_at_bytes(repository, cut)
    is_kept, visible = set_aside(repository)
    assert is_kept or visible == 2, "it is neither visible nor set aside"
    if (37 * cut.operation + cut.choice) % ONE_OF == 0:
        scenarios.check_retry(repository, cut)


def check_drop(repository, cut):
    is_kept, visible = set_aside(repository)
    assert visible == 1
    assert not (is_kept and cut.acknowledged), "it was dropped, and is there"
    if (37 * cut.operation + cut.choice) % ONE_OF == 0:
        scenarios.check_drop(repository, cut)


def set_aside(repository):
    """Return whether something is set aside, which is whole then, and how many transactions are committed."""
    kept = [e for e in Journal(repository / "journal").entries() if e.state is JournalState.CONFLICT]
    for entry in kept:
        for blob in entry.manifest().blobs:
            entry.read(blob)
    with contextlib.closing(sqlite3.connect(repository / "registry.sqlite3")) as registry:
        (visible,) = registry.execute("SELECT COUNT(*) FROM txn WHERE state = 'COMMITTED'").fetchone()
    return bool(kept), visible


def ingests(repository, acknowledge):
    source = repository.parent / "sources"
    source.mkdir(exist_ok=True)
    for visit in (1, 2):
        (source / f"{visit}.bin").write_bytes(scenarios.value("blob", "many"))
    with scenarios.opened(repository) as butler:
        for visit, transfer in ((1, "copy"), (2, "move")):
            path = source / f"{visit}.bin"
            butler.ingest(path, "blob", visit=visit, format="bytes", transfer=transfer)


CASES = {
    "local": (scenarios.two_commits, scenarios.local, check),
    "second": (scenarios.with_second_copy, scenarios.second, check),
    "journaled": (scenarios.journaled_commits, scenarios.local, check),
    "immediate": (scenarios.one_commit, scenarios.immediate, check),
    "small outputs": (scenarios.small_outputs, scenarios.local, check),
    "pack": (scenarios.journaled_pack, scenarios.packs, check),
    "ingest": (ingests, scenarios.local, look_at_bytes),
    "retry": (scenarios.retries, scenarios.with_conflict_of_files, check_retry),
    "drop": (scenarios.drops, scenarios.with_conflict_of_files, check_drop),
}


@pytest.mark.parametrize("case", CASES)
def test_disk_holds_what_was_promised_whenever_the_power_fails(tmp_path, case):
    scenario, prepare, looked = CASES[case]
    report = power_loss(scenario, prepare=prepare, check=looked, directory=tmp_path, states_at_once=80)
    print(f"{case}: {report.operations} operations, {report.states} states, {report.seconds:.0f} s")
    assert [(cut, message) for cut, message in report.violations] == []
    assert report.states > report.operations >= (9 if case == "drop" else 21)


# ---------------------------------------------------------------------------- planted bugs


def no_sync_of_bytes(monkeypatch):
    monkeypatch.setattr(files, "_fsync", lambda descriptor: None)


def no_sync_of_directories(monkeypatch):
    monkeypatch.setattr(files, "_fsync_directory", lambda descriptor: None)


def no_sync_of_ancestors(monkeypatch):
    def make(path, *, mode=0o777, below=None):
        if not path.is_dir():
            make(path.parent)
            files._mkdir(path, mode)

    monkeypatch.setattr(files, "make_directories", make)


def one_directory_of_several(monkeypatch):
    sync = files.fsync_directories
    monkeypatch.setattr(files, "fsync_directories", lambda directories: sync(sorted(set(directories))[:1]))


def flip_before_place(monkeypatch):
    monkeypatch.setattr(FilesDestination, "place", FilesDestination.place)
    monkeypatch.setattr(scenarios._committer.Committer, "_flip", scenarios._committer.Committer._flip)


PLANTED = {
    no_sync_of_bytes: (scenarios.two_commits, "is torn"),
    no_sync_of_directories: (scenarios.two_commits, "its file is lost"),
    no_sync_of_ancestors: (scenarios.two_commits, "its file is lost"),
    one_directory_of_several: (scenarios.small_outputs, "its file is lost"),
    flip_before_place: (scenarios.flips_before_it_places, "its file is lost"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(tmp_path, monkeypatch, plant):
    scenario, said = PLANTED[plant]
    plant(monkeypatch)
    report = power_loss(scenario, prepare=scenarios.local, check=look_at_bytes, directory=tmp_path)
    assert any(said in message for _, message in report.violations)


@pytest.mark.parametrize(
    ("plant", "said"),
    [(no_sync_of_bytes, "is damaged"), (no_sync_of_directories, "contexts were journaled")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_planted_bug_of_the_journal_is_found(tmp_path, monkeypatch, plant, said):
    plant(monkeypatch)
    report = power_loss(
        scenarios.journaled_commits, prepare=scenarios.local, check=look_at_bytes, directory=tmp_path
    )
    assert any(said in message for _, message in report.violations)


def one_output(repository, acknowledge):
    with scenarios.opened(repository) as butler:
        scenarios.commit(butler, "two")


def test_one_state_is_looked_at_again_by_its_numbers(tmp_path):
    seen = []

    def note(repository, cut):
        seen.append((cut.operation, cut.choice, sorted(p.name for p in (repository / "data").rglob("*"))))

    # One output: the operations of several are done by several threads, in another order each time.
    for name, only in (("all", None), ("one", (12, 1))):
        directory = tmp_path / name
        directory.mkdir()
        power_loss(one_output, prepare=scenarios.local, check=note, directory=directory, only=only)
    assert seen[-1][:2] == (12, 1)
    assert len(seen[-1][2]) == len(next(names for *cut, names in seen if cut == [12, 1]))


@pytest.mark.parametrize("sizes", [[3, 2, 5, 5], [4, 5], [2, 2, 5, 5, 5]])
def test_parts_have_no_state_in_common_and_leave_none_out(sizes):
    states = math.prod(sizes)
    parts = [list(_part(sizes, 7, part, 2, random.Random(1))) for part in range(states // 7 + 2)]
    assert sorted(number for part in parts for number in part) == list(range(states))
    assert parts[-1] == []


@pytest.mark.parametrize("number", [0, 1, 77, 149])
def test_number_of_a_state_tells_its_parts(number):
    assert _number(_digits(number, [3, 2, 5, 5]), [3, 2, 5, 5]) == number


def test_few_states_are_all_in_the_first_part():
    parts = [list(_part([3, 5], 15, part, 1, random.Random(1))) for part in range(2)]
    assert parts == [list(range(15)), []]


def test_butler_reads_a_built_state(tmp_path):
    found = []

    def read(repository, cut):
        if cut.operation % 10 == 0 and cut.choice == 0:
            with Butler(repository, instrument="ST8", run="r", readonly=True) as butler:
                found.append(butler.query("stats").count())

    power_loss(scenarios.two_commits, prepare=scenarios.local, check=read, directory=tmp_path)
    assert min(found) >= 1
