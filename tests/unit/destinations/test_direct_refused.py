"""Many paths at once: which of them is never read."""

import pytest

from quantumio.destinations import DirectDestination


@pytest.fixture
def direct(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "store")
    return DirectDestination([(tmp_path / "store").resolve()])


def test_files_anywhere_else_are_taken(direct, tmp_path):
    paths = [f"{tmp_path}/a/{number}.fits" for number in range(3)]
    assert direct.refused([*paths, "/b.fits", f"file://{tmp_path}/c.fits", "s3://bucket/d.fits"]) is None
    assert direct.refused([]) is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{0}/store/x/1.fits", "manages"),
        ("{0}/linked/1.fits", "manages"),
        ("{0}/a/../store/1.fits", "manages"),
        ("{0}/store/x/..", "manages"),
        ("file://{0}/store/1.fits", "manages"),
        ("relative/1.fits", "no file that stays in place"),
        ("/a/\0.fits", "no file that stays in place"),
        ("s3://key:secret@bucket/1.fits", "secret|password|user"),
    ],
)
def test_first_that_is_never_read_is_told(direct, tmp_path, path, said):
    number, error = direct.refused([f"{tmp_path}/a/1.fits", path.format(tmp_path), "{0}/store/2"])
    assert number == 1
    with pytest.raises(type(error), match=said):
        raise error
