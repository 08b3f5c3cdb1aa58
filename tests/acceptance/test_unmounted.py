"""A disk that is not mounted is no new store: what needs it waits until it is back, or is said to be lost."""

import pytest

from quantumio import Butler, CommitParkedError, InvalidInputError

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
