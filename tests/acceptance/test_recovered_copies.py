"""Copies that recovery makes are those that the policy asks for."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from quantumio import Butler, DatasetType

pytestmark = pytest.mark.on_disk

CONFIG = {
    "destinations": {"archive": {"kind": "files", "root": "archive"}},
    "rules": [
        {
            "datasets": "exposure",
            "to": ["local", "archive?"],
            "formats": {"archive": {"format": "fits", "compression": "rice"}},
        }
    ],
}


@pytest.fixture
def butler(tmp_path):
    with Butler.create(tmp_path / "repo", CONFIG) as butler:
        butler.register_dataset_type(DatasetType("exposure", dimensions=["visit"], storage_class="CCDData"))
    with Butler(tmp_path / "repo", run="u/a", instrument="ST8") as butler:
        yield butler


@pytest.fixture
def archive(tmp_path):
    """Where the archive is, which cannot be written to before this file is away."""
    path = tmp_path / "repo" / "archive"
    path.write_text("no directory")
    return path


def archived(butler, archive):
    """Let recovery make the copies, once the first attempt has failed, and return the only one."""
    with pytest.raises(ExceptionGroup):
        butler.drain()
    archive.unlink()
    assert butler.flush() == []
    butler.errors(acknowledge=True)
    (copy,) = archive.glob("exposure/**/*.fits")
    return copy


def test_a_recovered_copy_has_the_options_of_its_format(butler, archive):
    pixels = np.random.default_rng(1).integers(0, 100, (200, 200)).astype("int16")
    with butler.context() as context:
        context.put(CCDData(pixels, unit="adu"), "exposure", visit=1)
    copy = archived(butler, archive)
    with fits.open(copy, disable_image_compression=True) as hdus:
        assert [hdu.header.get("ZCMPTYPE") for hdu in hdus if "ZCMPTYPE" in hdu.header] == ["RICE_1"]
    assert butler.fsck(3).counts == {"ok": 2}


def test_a_copy_of_a_file_that_was_ingested_has_its_very_bytes(butler, archive, tmp_path):
    hdu = fits.PrimaryHDU(np.arange(12, dtype="int16").reshape(3, 4))
    hdu.header["BUNIT"] = "adu"
    hdu.header["COMMENT"] = "as it came from the camera"
    hdu.writeto(tmp_path / "frame.fits")
    butler.ingest(tmp_path / "frame.fits", "exposure", visit=1)
    assert archived(butler, archive).read_bytes() == (tmp_path / "frame.fits").read_bytes()


def test_copy_that_fails_in_a_recovery_that_commits_is_told(tmp_path):
    config = {**CONFIG, "rules": [{"to": ["required", "archive?"]}]}
    config["destinations"] = {**CONFIG["destinations"], "required": {"kind": "files", "root": "required"}}
    with Butler.create(tmp_path / "repo2", config) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    required, away = tmp_path / "repo2" / "required", tmp_path / "repo2" / "archive"
    required.write_text("no directory")
    away.write_text("no directory")
    butler = Butler(tmp_path / "repo2", run="u/a", instrument="ST8")
    context = butler.context(ack="journaled")
    context.put({}, "stats", visit=1)
    context.commit()
    with pytest.raises(ExceptionGroup):
        butler.drain()
    required.unlink()
    assert [item.action for item in butler.recover().items] == ["committed"]
    with pytest.raises(ExceptionGroup) as caught:
        butler.close()
    assert all("archive" in str(error) for error in caught.value.exceptions)
