"""Repairs that somebody else is faster with, or that cannot be made: nothing is undone, the registry is true."""

import attrs
import numpy as np
import pytest

from quantumio.model import ArtifactState
from quantumio.registry._catalog import SqlCatalog
from tests.unit.engine.test_fsck import _template as _template
from tests.unit.engine.test_fsck import check, flip_a_bit, open_, place_of, states, told
from tests.unit.engine.test_fsck import root as root

MEANWHILE = "changed meanwhile"


@pytest.fixture
def before(monkeypatch):
    """Have something happen once, just before the registry is asked something."""

    def arrange(name, happens):
        real, left = getattr(SqlCatalog, name), [happens]

        def call(self, *arguments):
            if left:
                left.pop()()
            return real(self, *arguments)

        monkeypatch.setattr(SqlCatalog, name, call)

    return arrange


@pytest.mark.parametrize("name", ["stored", "amend_artifact"])
def test_copy_that_another_repair_has_put_back_meanwhile_stays_as_that_left_it(root, before, name):
    path = place_of(root, "pixels", 2, "archive")
    flip_a_bit(path)
    before(name, lambda: check(root, 2, repair=True))
    report = check(root, 2, repair=True)
    assert told(report) == [("wrong_digest", "archive", "none")]
    assert MEANWHILE in report.findings[0].detail
    assert check(root, 3).is_whole
    repaired = place_of(root, "pixels", 2, "archive")
    assert set(path.parent.iterdir()) >= {path, repaired}
    assert len(list(path.parent.glob("*.fsck-*"))) == 1, "what the second one has put back is removed"


def test_copy_that_another_repair_has_marked_meanwhile_is_not_marked_again(root, before):
    place_of(root, "single", 2, "local").unlink()
    before("amend_artifact", lambda: check(root, 1, repair=True))
    report = check(root, 1, repair=True)
    assert told(report)[0] == ("missing", "local", "none")
    assert MEANWHILE in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.MISSING}


def test_copy_that_is_there_again_a_moment_later_is_not_marked(root, before):
    path = place_of(root, "single", 2, "local")
    data = path.read_bytes()
    path.unlink()
    before("stored", lambda: path.write_bytes(data))
    report = check(root, 1, repair=True)
    assert told(report)[0] == ("missing", "local", "none")
    assert "otherwise a moment later" in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.OK}
    assert check(root, 3).is_whole


def test_copy_that_another_check_has_found_whole_again_meanwhile_is_told(root, before):
    path = place_of(root, "single", 2, "local")
    hidden = path.rename(path.with_suffix(".hidden"))
    check(root, 1, repair=True)
    hidden.rename(path)
    before("amend_artifact", lambda: check(root, 1, repair=True))
    report = check(root, 1, repair=True)
    assert told(report) == [("whole_again", "local", "none")]
    assert MEANWHILE in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.OK}


def test_copy_is_put_back_from_one_that_can_be_decoded_where_that_is_asked_for(root):
    path = place_of(root, "pixels", 2, "local")
    path.unlink()
    assert told(check(root, 3, repair=True)) == [("missing", "local", "repaired")]
    assert check(root, 3).is_whole


@pytest.fixture
def image(root, tmp_path):
    """Ingest a file that stays where it is, with a copy in the archive."""
    path = tmp_path / "image.npy"
    np.save(path, np.arange(12.0))
    with open_(root) as butler:
        butler.ingest(path, "pixels", visit=8, transfer="direct")
    return path


def test_file_that_nobody_may_write_is_marked_and_read_from_its_copy(root, image):
    image.unlink()
    report = check(root, 2, repair=True)
    assert told(report) == [("missing", "direct", "marked")]
    assert "writing is refused" in report.findings[0].detail
    assert "no whole copy" not in report.findings[0].detail
    assert states(root, "pixels", 8) == {"direct": ArtifactState.MISSING, "archive": ArtifactState.OK}
    assert not image.exists()
    with open_(root, readonly=True) as butler:
        assert (butler.get("pixels", visit=8) == np.arange(12.0)).all()


def test_format_that_nobody_here_knows_is_unknown_and_not_marked(root):
    """A newer version wrote it, or one with more packages."""
    with open_(root) as butler:
        catalog = butler._session.repositories[0].catalog
        stored = butler._session.stored_of(butler.find("single", visit=3))[1]
        (before,) = stored.artifacts
        assert catalog.amend_artifact(stored.ref.id, before, attrs.evolve(before, format="of_tomorrow"))
    assert check(root, 2).is_whole
    assert told(check(root, 3, repair=True)) == [("unknown", "local", "none")]
    assert states(root, "single", 3) == {"local": ArtifactState.OK}
