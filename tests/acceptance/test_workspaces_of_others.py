"""Where each user has a workspace, nobody misses in the own one what others have placed in theirs."""

import sqlite3

import pytest

from quantumio import Butler
from quantumio.engine import FsckAction, FsckTrouble
from quantumio.model import ArtifactState

CONFIG = {
    "destinations": {"own": {"kind": "workspace", "root": "../spaces/{user}"}},
    "rules": [{"datasets": "log", "to": ["local", "own?"]}, {"to": "own"}],
}


@pytest.fixture
def night(make_butler, tmp_path, monkeypatch):
    """A repository to which ada has committed two visits, and grace one; opens it for a user."""
    make_butler(config=CONFIG, run="r").close()

    def open_as(user, **options):
        monkeypatch.setenv("LOGNAME", user)
        return Butler(tmp_path / "night", run="r", instrument="ST8", **options)

    for user, visits in (("ada", (1, 2)), ("grace", (3,))):
        with open_as(user) as butler:
            for visit in visits:
                put(butler, visit, user)
    return open_as


def put(butler, visit, user):
    with butler.context() as context:
        context.put({"by": user}, "stats", visit=visit)
        context.put(user, "log", visit=visit)
    context.ticket.wait("settled")


def states(butler):
    """What the registry says of the copies at the workspaces."""
    found = [
        one
        for visit in (1, 2, 3)
        for kind in ("stats", "log")
        for one in butler.where_is(butler.find(kind, visit=visit))
    ]
    return {one.state for one in found if one.destination == "own"}


def files_of(tmp_path, user):
    store = tmp_path / "spaces" / user / ".quantumio"
    return [one for one in store.rglob("*") if one.is_file() and "_qio" not in one.parts]


@pytest.mark.parametrize("lost", [(), ("own",)])
def test_datasets_of_another_user_are_not_looked_at_and_nothing_is_done_about_them(night, tmp_path, lost):
    with night("ada") as butler:
        report = butler.fsck(2, repair=True, lost=lost)
        assert report.counts == {"ok": 4 + 3, "unknown": 2}
        (finding,) = report.findings
        assert (finding.trouble, finding.ref, finding.destination) == (FsckTrouble.UNKNOWN, None, "own")
        assert "'grace'" in finding.detail
        assert not report.is_whole
        assert states(butler) == {ArtifactState.OK}
    assert len(files_of(tmp_path, "ada")) == 4, "nothing of hers was put there"
    with night("grace") as butler:
        assert butler.get("stats", visit=3) == {"by": "grace"}


def test_what_the_user_has_placed_and_is_gone_is_missing_and_mended(night, tmp_path):
    for file in files_of(tmp_path, "ada")[:3]:
        file.unlink()
    with night("ada") as butler:
        report = butler.fsck(1, repair=True)
        actions = sorted((one.trouble, one.action) for one in report.findings if one.ref is not None)
        assert report.counts["missing"] == 3
        assert FsckAction.REPAIRED in {action for _, action in actions}
        assert FsckAction.MARKED in {action for _, action in actions}
        assert report.counts["unknown"] == 2


def test_who_has_no_workspace_yet_misses_nothing(night):
    with night("joan", readonly=True) as butler:
        report = butler.fsck(1)
        assert report.counts == {"ok": 3, "unknown": 6}
    with night("joan") as butler:
        report = butler.fsck(1, repair=True)
        assert report.counts == {"ok": 3, "unknown": 6}
        assert {("'ada'" in one.detail, "'grace'" in one.detail) for one in report.findings} == {
            (True, False),
            (False, True),
        }
        assert states(butler) == {ArtifactState.OK}


def test_what_an_older_quantumio_has_placed_may_be_anybodys(night, tmp_path):
    with sqlite3.connect(tmp_path / "night" / "registry.sqlite3") as registry:
        registry.execute("UPDATE object SET user_name = NULL")
    registry.close()
    for file in files_of(tmp_path, "ada"):
        file.unlink()
    with night("ada") as butler:
        report = butler.fsck(1, repair=True, lost=["own"])
        assert report.counts == {"ok": 3, "unknown": 6}
        (finding,) = report.findings
        assert "nobody knows whose" in finding.detail
        assert states(butler) == {ArtifactState.OK}


def test_what_another_users_check_had_marked_is_cleared_by_who_has_it(night, tmp_path):
    with sqlite3.connect(tmp_path / "night" / "registry.sqlite3") as registry:
        registry.execute("UPDATE artifact SET state = 'missing' WHERE store = 'own'")
    registry.close()
    with night("ada") as butler:
        assert butler.fsck(1, repair=True).counts == {"ok": 3, "whole_again": 4, "unknown": 2}
        assert states(butler) == {ArtifactState.OK, ArtifactState.MISSING}
    with night("grace") as butler:
        assert butler.fsck(1, repair=True).counts == {"ok": 3, "whole_again": 2, "unknown": 4}
        assert states(butler) == {ArtifactState.OK}


def test_copy_that_another_user_brings_later_is_in_their_workspace(night, tmp_path):
    (tmp_path / "spaces" / "joan").write_text("no directory")
    with night("joan") as butler:
        with butler.context() as context:
            context.put("late", "log", visit=4)
        with pytest.raises(ExceptionGroup):
            butler.drain()
        butler.errors(acknowledge=True)
    with night("ada") as butler:
        assert butler.flush() == []
        assert {one.state for one in butler.where_is(butler.find("log", visit=4))} == {ArtifactState.OK}
        assert butler.fsck(2).counts == {"ok": 4 + 3 + 2, "unknown": 2}
