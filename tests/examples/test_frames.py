"""What a directory of FITS files is taken for, real and simulated."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.time import Time

from examples.reduction.frames import FrameKind, find_frames, instrument_name, read_frame
from examples.reduction.simulate import TRUTH_FILE, simulate_night

from .conftest import Night

SMALL = {"n_science": 1, "shape": (64, 80), "n_bias": 2, "n_dark": 1, "n_flat": 1}
GOOD = {"DATE_OBS": "2026-01-01T00:00:00", "EXPTIME": 1.0, "INSTRUME": "SBIG ST-8 3"}


def write_frame(path: Path, **cards: object) -> None:
    header = fits.Header({name.replace("_", "-"): value for name, value in cards.items()})
    fits.PrimaryHDU(np.zeros((4, 4), dtype=np.uint16), header).writeto(path)


class TestRealFrames:
    def test_every_frame_of_the_programme_is_classified(self, real_night: Night) -> None:
        kinds = {frame.path.name: frame.kind for frame in real_night.frames}
        assert kinds == {
            "UB17-001-c.fit.fz": FrameKind.SCIENCE,
            "UB17-033-c.fit.fz": FrameKind.SCIENCE,
            "calib-001-bi.fit.fz": FrameKind.BIAS,
            "calib-001-d.fit.fz": FrameKind.DARK,
            "calib-002-bi.fit.fz": FrameKind.BIAS,
            "calib-002-d.fit.fz": FrameKind.DARK,
            "flat-001-c.fit.fz": FrameKind.FLAT,
            "flat-002-c.fit.fz": FrameKind.FLAT,
        }

    def test_identity_time_and_filter(self, real_night: Night) -> None:
        first, bias = real_night.frames[0], real_night.of_kind(FrameKind.BIAS)[0]
        assert [frame.exposure for frame in real_night.frames] == list(range(1, 9))
        assert {frame.instrument for frame in real_night.frames} == {"ST8"}
        assert first.physical_filter == "clear"
        assert bias.physical_filter is None
        begin, end = first.timespan
        assert begin.scale == end.scale == "tai"
        assert abs((begin - Time("2025-06-25T03:16:10", scale="utc")).sec) < 1e-6
        assert (end - begin).sec == pytest.approx(300.0, abs=1e-6)
        assert bias.timespan[0] == bias.timespan[1]

    def test_compressed_frames_are_read_in_native_order(self, real_night: Night) -> None:
        raw = read_frame(real_night.frames[0].path)
        assert raw.data.dtype == np.dtype("=u2")
        assert raw.data.shape == (1020, 1530)
        assert raw.wcs is None
        assert "NAXIS" not in raw.meta
        assert raw.meta["EGAIN"] == pytest.approx(2.6)


class TestSimulatedNight:
    def test_same_seed_same_bytes_another_seed_another_night(self, tmp_path: Path) -> None:
        for name, seed in (("one", 1), ("again", 1), ("other", 2)):
            simulate_night(tmp_path / name, seed, **SMALL)
        names = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert len(names) == 6
        for name in names:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
            assert (tmp_path / "one" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()

    def test_frames_are_numbered_as_their_files(self, tmp_path: Path) -> None:
        truth = simulate_night(tmp_path, 1, **SMALL)
        frames = find_frames(tmp_path)
        assert [frame.path.name for frame in frames] == [
            f"{frame.exposure:04d}-{frame.kind}.fits" for frame in frames
        ]
        assert {frame.instrument for frame in frames} == {"SIM1"}
        science = next(frame for frame in frames if frame.kind is FrameKind.SCIENCE)
        assert set(truth["exposure"]) == {science.exposure}
        assert science.physical_filter == "V"

    def test_truth_beside_the_frames_is_the_one_returned(self, tmp_path: Path) -> None:
        truth = simulate_night(tmp_path, 1, **SMALL)
        written = QTable.read(tmp_path / TRUTH_FILE)
        assert written.colnames == truth.colnames
        assert np.allclose(written["peak_snr"], truth["peak_snr"])
        assert written["x"].unit == truth["x"].unit

    def test_wcs_of_the_frame_puts_the_stars_on_their_pixels(self, tmp_path: Path) -> None:
        truth = simulate_night(tmp_path, 1, **SMALL, n_stars=20)
        science = next(frame for frame in find_frames(tmp_path) if frame.kind is FrameKind.SCIENCE)
        x, y = read_frame(science.path).wcs.wcs_world2pix(truth["ra"], truth["dec"], 0)
        assert np.allclose(x, truth["x"].value, atol=1e-6)
        assert np.allclose(y, truth["y"].value, atol=1e-6)

    def test_directory_with_frames_is_not_written_into(self, tmp_path: Path) -> None:
        simulate_night(tmp_path, 1, **SMALL)
        with pytest.raises(FileExistsError, match="choose an empty directory"):
            simulate_night(tmp_path, 2, **SMALL)


class TestFindFrames:
    @pytest.mark.parametrize(
        ("words", "kind"),
        [
            ("Bias Frame", FrameKind.BIAS),
            ("zero", FrameKind.BIAS),
            ("DARK", FrameKind.DARK),
            ("Flat Field", FrameKind.FLAT),
            ("Light Frame", FrameKind.SCIENCE),
            ("object", FrameKind.SCIENCE),
        ],
    )
    def test_words_for_the_kinds(self, tmp_path: Path, words: str, kind: FrameKind) -> None:
        write_frame(tmp_path / "a.fts", IMAGETYP=words, **GOOD)
        assert [frame.kind for frame in find_frames(tmp_path)] == [kind]

    def test_ancillary_and_unknown_frames_are_left_out(self, tmp_path: Path) -> None:
        write_frame(tmp_path / "m31.fits", IMAGETYP="Light Frame", **GOOD)
        write_frame(tmp_path / "focus-01.fits", IMAGETYP="Light Frame", **GOOD)
        write_frame(tmp_path / "tricolor.fits", IMAGETYP="Tricolor Image", **GOOD)
        write_frame(tmp_path / "timeless.fits", IMAGETYP="Light Frame", EXPTIME=1.0)
        (tmp_path / "ancillary").mkdir()
        write_frame(tmp_path / "ancillary" / "m31.fits", IMAGETYP="Light Frame", **GOOD)
        (tmp_path / "log.txt").write_text("clouds")
        assert [frame.path.name for frame in find_frames(tmp_path)] == ["m31.fits"]

    def test_directory_without_frames(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no bias, dark, flat or science frame"):
            find_frames(tmp_path)
        with pytest.raises(FileNotFoundError):
            find_frames(tmp_path / "missing")

    def test_file_that_is_no_fits_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.fits").write_bytes(b"SIMPLE  = nonsense")
        with pytest.raises(OSError, match=r"broken\.fits"):
            find_frames(tmp_path)

    @pytest.mark.parametrize(
        ("words", "name"),
        [
            ("SBIG ST-8 3 CCD Camera", "ST8"),
            ("Orion SSDSI", "OrionSSDSI"),
            ("Simulated SIM-1 CCD Camera", "SIM1"),
            ("", "unknown"),
        ],
    )
    def test_instrument_names(self, words: str, name: str) -> None:
        assert instrument_name(words) == name
