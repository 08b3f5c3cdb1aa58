"""A disk that is not mounted is no new store: what needs it waits until it is back, or is said to be lost."""

import contextlib
import json
import uuid

import pytest

from quantumio import Butler, CommitParkedError, InvalidInputError
from tests.acceptance.processes import run

pytestmark = pytest.mark.on_disk

BEGIN_ANEW = """
    import sys
    from quantumio import Butler
    with Butler(sys.argv[1]) as butler:
        butler.fsck(repair=True, lost=["arch"])
"""
CONFIG = {"destinations": {"arch": {"kind": "files", "root": "../disk/arch"}}, "rules": [{"to": "arch"}]}


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk"


@pytest.fixture
def night(make_butler):
    butler = make_butler(config=CONFIG, run="r")
    put(butler, 0).wait("committed", 60)
    return butler


def put(butler, visit, **options):
    ctx = butler.context(**options)
    ctx.put({"visit": visit}, "stats", visit=visit)
    return ctx.commit("buffered")


def unmount(disk):
    disk.rename(disk.with_name("unmounted"))
    disk.mkdir()


def mount(disk):
    disk.rmdir()
    disk.with_name("unmounted").rename(disk)


def is_parked(ticket):
    with pytest.raises(CommitParkedError, match=r"its store is not at .*--lost arch"):
        ticket.wait("committed", 60)
    return True


@pytest.mark.parametrize("ack", ["committed", "journaled"])
def test_commit_waits_until_the_disk_is_mounted(night, disk, tmp_path, ack):
    night.close()
    unmount(disk)
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        assert is_parked(put(butler, 1, ack=ack))
        assert list(disk.iterdir()) == []
        mount(disk)
        butler.recover()
        assert butler.get("stats", visit=1) == {"visit": 1}
        butler.errors(acknowledge=True)


def test_disk_that_goes_while_it_is_in_use_is_noticed(night, disk):
    unmount(disk)
    assert is_parked(put(night, 1))
    assert list(disk.iterdir()) == []
    mount(disk)
    night.recover()
    assert [night.get("stats", visit=visit) for visit in (0, 1)] == [{"visit": 0}, {"visit": 1}]


def test_check_of_a_disk_that_is_not_mounted_marks_nothing(night, disk, tmp_path):
    unmount(disk)
    assert not night.fsck(repair=True).is_whole
    night.close()
    with Butler(tmp_path / "night") as butler:
        assert not butler.fsck(repair=True).is_whole
        mount(disk)
        assert butler.fsck().is_whole


def test_disk_that_is_lost_begins_anew(night, disk, tmp_path):
    night.close()
    unmount(disk)
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        with pytest.raises(InvalidInputError, match="lost"):
            butler.fsck(lost=["arch"])
        with pytest.raises(InvalidInputError, match="no destination"):
            butler.fsck(repair=True, lost=["other"])
        assert is_parked(put(butler, 1))
        report = butler.fsck(repair=True, lost=["arch"])
        assert report.counts == {"missing": 1}
        butler.recover()
        assert butler.get("stats", visit=1) == {"visit": 1}
        butler.errors(acknowledge=True)
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        put(butler, 2).wait("committed", 60)


def test_workspace_of_a_user_who_has_none_yet_is_made(make_butler, tmp_path, monkeypatch):
    config = {
        "destinations": {"own": {"kind": "workspace", "root": "../spaces/{user}"}},
        "rules": [{"to": "own"}],
    }
    monkeypatch.setenv("LOGNAME", "ada")
    with make_butler(config=config, run="r") as butler:
        put(butler, 0).wait("committed", 60)
    monkeypatch.setenv("LOGNAME", "grace")
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        put(butler, 1).wait("committed", 60)
    assert sorted(one.name for one in (tmp_path / "spaces").iterdir()) == ["ada", "grace"]


@pytest.mark.parametrize("others", [(), ("grace",)], ids=["alone", "another user's is there"])
def test_workspace_that_is_not_mounted_is_not_made_anew(make_butler, tmp_path, monkeypatch, others):
    """Each user's may be a disk of their own; who has none yet still gets one."""
    config = {
        "destinations": {"own": {"kind": "workspace", "root": "../spaces/{user}"}},
        "rules": [{"to": "own"}],
    }
    make_butler(config=config, run="r").close()

    @contextlib.contextmanager
    def butler_of(user):
        monkeypatch.setenv("LOGNAME", user)
        with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
            yield butler

    for visit, user in enumerate(("ada", *others)):
        with butler_of(user) as butler:
            put(butler, visit).wait("committed", 60)
    spaces = tmp_path / "spaces"
    (spaces / "ada").rename(tmp_path / "unmounted")
    with butler_of("ada") as butler:
        with pytest.raises(CommitParkedError, match=r"its store is not at .*--lost own"):
            put(butler, 5).wait("committed", 60)
        assert not (spaces / "ada").exists()
        (tmp_path / "unmounted").rename(spaces / "ada")
        butler.recover()
        assert butler.get("stats", visit=5) == {"visit": 5}
        butler.errors(acknowledge=True)
    with butler_of("joan") as butler:
        put(butler, 6).wait("committed", 60)
    assert (spaces / "joan").exists()
    (spaces / "ada").rename(tmp_path / "unmounted")
    with butler_of("ada") as butler:
        butler.fsck(repair=True, lost=["own"])
        put(butler, 7).wait("committed", 60)


def lose(disk):
    for file in sorted(disk.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def sessions_of(disk):
    return [one.name for one in (disk / "arch/_qio/session").iterdir()]


def test_process_notes_itself_in_the_store_that_it_has_begun_anew(night, disk):
    assert len(sessions_of(disk)) == 1
    noted = sessions_of(disk)
    lose(disk)
    night.fsck(repair=True, lost=["arch"])
    put(night, 1).wait("committed", 60)
    assert sessions_of(disk) == noted


@pytest.mark.parametrize("is_noticed", [True, False], ids=["parked before", "nothing placed meanwhile"])
def test_store_that_another_process_begins_anew_is_taken_over(night, disk, tmp_path, is_noticed):
    noted = sessions_of(disk)
    lose(disk)
    if is_noticed:
        assert is_parked(put(night, 1))
    run(BEGIN_ANEW, tmp_path / "night")
    if not is_noticed:
        with pytest.raises(CommitParkedError, match="begun anew while it was in use.*try again"):
            put(night, 1).wait("committed", 60)
        assert not (disk / "arch/_qio/session").exists(), "nothing is placed where it is not noted"
    put(night, 2).wait("committed", 60)
    night.recover()
    assert [night.get("stats", visit=visit) for visit in (1, 2)] == [{"visit": 1}, {"visit": 2}]
    assert noted[0] in sessions_of(disk)
    assert night.fsck().counts == {"missing": 1, "ok": 2}


def test_another_store_that_nobody_has_begun_anew_is_told_and_not_used(night, disk):
    file = disk / "arch/_qio/store.json"
    kept = file.read_text()
    other = json.loads(kept) | {"store": str(uuid.uuid4()), "made": "elsewhere"}
    file.chmod(0o644)
    file.write_text(json.dumps(other))
    for visit in (1, 2):
        with pytest.raises(CommitParkedError, match="another store of this repository"):
            put(night, visit).wait("committed", 60)
    file.write_text(kept)
    night.recover()
    assert [night.get("stats", visit=visit) for visit in (1, 2)] == [{"visit": 1}, {"visit": 2}]
