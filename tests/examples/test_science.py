"""The reduction's science, on real frames against known figures and on simulated ones against the truth."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.stats import mad_std
from astropy.table import QTable
from matplotlib import image as matplotlib_image

from examples.reduction import science
from examples.reduction.frames import FrameKind, read_frame

from .conftest import Night, Reduced

MATCH_RADIUS_PIX = 3.0


def match(truth: QTable, sources: QTable) -> tuple[np.ndarray, np.ndarray]:
    """Pair each star with the source that is its nearest and whose nearest star it is.

    Returns the row of the source for each star, -1 where there is none, and for each source whether it has a
    star.
    """
    x, y = (truth[name].to_value(u.pix)[:, np.newaxis] - sources[name].to_value(u.pix) for name in ("x", "y"))
    distance = np.hypot(x, y)
    source, star = distance.argmin(axis=1), distance.argmin(axis=0)
    mutual = star[source] == np.arange(len(truth))
    source = np.where(mutual & (distance.min(axis=1) < MATCH_RADIUS_PIX), source, -1)
    real = np.isin(np.arange(len(sources)), source)
    return source, real


def neighbour_noise(image: np.ndarray) -> float:
    """Noise of an image from the differences of neighbouring pixels: the sky cancels."""
    return float(mad_std(np.diff(image, axis=1)) / np.sqrt(2.0))


class TestRealFrames:
    def test_master_bias_and_read_noise(self, real_night: Night) -> None:
        assert real_night.bias.data.mean(dtype=float) == pytest.approx(899.8, abs=0.5)
        assert real_night.bias.meta["RDNOISE"] == pytest.approx(6.3, abs=0.3)
        assert real_night.bias.meta["NCOMBINE"] == 2

    def test_master_dark(self, real_night: Night) -> None:
        assert real_night.dark.unit == u.adu / u.s
        assert np.median(real_night.dark.data) * 300.0 == pytest.approx(9.5, abs=0.5)

    def test_normalised_flat(self, real_night: Night) -> None:
        low, high = np.percentile(real_night.flat.data, [1, 99])
        assert low == pytest.approx(0.911, abs=0.01)
        assert high == pytest.approx(1.056, abs=0.01)

    def test_number_of_sources(self, real_night: Night) -> None:
        frames = real_night.of_kind(FrameKind.SCIENCE)
        numbers = [
            len(science.detect_sources(real_night.reduce(frame), threshold_sigma=5.0, min_area=6))
            for frame in frames
        ]
        assert len(numbers) == 2
        assert all(75 <= number <= 110 for number in numbers), numbers

    def test_uncertainty_is_the_noise_that_is_there(self, real_night: Night) -> None:
        for frame in real_night.of_kind(FrameKind.SCIENCE):
            calexp = real_night.reduce(frame)
            predicted = np.median(calexp.uncertainty.array)
            assert neighbour_noise(calexp.data) == pytest.approx(predicted, rel=0.03)


class TestSimulatedNight:
    def test_bright_stars_are_found_and_few_detections_are_false(self, reduced_frames: list[Reduced]) -> None:
        bright = found = detections = real = 0
        for frame in reduced_frames:
            above = frame.truth["peak_snr"] > 10.0
            source_of_star, has_star = match(frame.truth, frame.sources)
            bright += np.count_nonzero(above)
            found += np.count_nonzero(above & (source_of_star >= 0))
            detections += len(frame.sources)
            real += np.count_nonzero(has_star)
        assert bright > 300
        assert found / bright >= 0.9
        assert 1.0 - real / detections <= 0.05

    def test_positions_and_fluxes_are_those_of_the_stars(self, reduced_frames: list[Reduced]) -> None:
        for frame in reduced_frames:
            source_of_star, _ = match(frame.truth, frame.sources)
            good = (source_of_star >= 0) & (frame.truth["peak_snr"] > 20) & (frame.truth["peak_snr"] < 500)
            stars, sources = frame.truth[good], frame.sources[source_of_star[good]]
            for axis in ("x", "y"):
                offset = (sources[axis] - stars[axis]).to_value(u.pix)
                assert abs(np.median(offset)) < 0.05
                assert mad_std(offset) < 0.15
            here = SkyCoord(sources["ra"], sources["dec"])
            there = SkyCoord(stars["ra"], stars["dec"])
            assert np.median(here.separation(there)) < 0.2 * u.arcsec
            ratio = (sources["flux"] / stars["flux"]).to_value(u.one)
            assert 0.88 < np.median(ratio) < 1.0
            assert mad_std(ratio) < 0.05

    def test_read_noise_dark_and_flat_are_the_cameras(self, simulated_night: Night) -> None:
        assert simulated_night.bias.meta["RDNOISE"] == pytest.approx(6.0, rel=0.03)
        assert np.median(simulated_night.dark.data) == pytest.approx(0.03, abs=0.005)
        assert np.median(simulated_night.flat.data) == pytest.approx(1.0, abs=1e-6)

    def test_uncertainty_is_the_noise_that_is_there(self, reduced_frames: list[Reduced]) -> None:
        for frame in reduced_frames:
            predicted = np.median(frame.calexp.uncertainty.array)
            assert neighbour_noise(frame.calexp.data) == pytest.approx(predicted, rel=0.02)

    def test_cosmic_rays_are_masked_and_stars_are_not(
        self, simulated_night: Night, reduced_frames: list[Reduced]
    ) -> None:
        for record, frame in zip(simulated_night.of_kind(FrameKind.SCIENCE), reduced_frames, strict=True):
            with_cosmic_rays = simulated_night.reduce(record, cosmic_ray_sigma=None)
            rejected = frame.calexp.mask & ~with_cosmic_rays.mask
            row, column = (np.rint(frame.truth[name].to_value(u.pix)).astype(int) for name in ("y", "x"))
            assert np.count_nonzero(rejected) > 50
            assert np.count_nonzero(rejected[row, column]) <= 0.02 * len(frame.truth)
            _, has_star = match(frame.truth, science.detect_sources(with_cosmic_rays))
            assert np.mean(~has_star) > 0.05, "without the rejection the cosmic rays would be detected"


class TestMasters:
    shape = (40, 50)

    def frame(self, level: float, noise: float = 0.0, seed: int = 0, **cards: float) -> CCDData:
        pixels = np.random.default_rng(seed).normal(level, noise, self.shape)
        header = fits.Header({"EGAIN": 2.0, "EXPTIME": 10.0} | cards)
        return CCDData(np.rint(pixels).astype(np.uint16), unit=u.adu, header=header)

    def bias(self) -> CCDData:
        return science.master_bias([self.frame(1000, 5.0, seed) for seed in range(4)])

    def test_read_noise_is_that_of_one_frame(self) -> None:
        frames = [self.frame(1000, 5.0, seed) for seed in range(6)]
        assert science.read_noise(frames) == pytest.approx(5.0, rel=0.05)

    def test_read_noise_of_one_frame_alone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="two bias frames or more, there are 1"):
            science.read_noise([self.frame(1000)])

    def test_dark_without_exposure_time_is_refused(self) -> None:
        with pytest.raises(ValueError, match="above 0 s"):
            science.master_dark([self.frame(1000)], self.bias(), 0.0)

    @pytest.mark.parametrize("number", [2, 3, 4])
    def test_a_cosmic_ray_in_one_frame_is_left_out(self, number: int) -> None:
        frames = [self.frame(1000, 5.0, seed) for seed in range(number)]
        frames[1].data[7, 9] += 3000
        master = science.master_bias(frames)
        assert master.data[7, 9] == pytest.approx(1000, abs=20)
        assert master.data.dtype == np.float32

    def test_error_of_the_mean_falls_with_the_number_of_frames(self) -> None:
        master = self.bias()
        assert np.median(master.uncertainty.array) == pytest.approx(5.0 / 2.0, rel=0.05)

    def test_flats_of_different_levels_are_averaged_as_responses(self) -> None:
        bias = self.bias()
        dark = science.master_dark([self.frame(1000, 5.0, seed) for seed in (7, 8)], bias, 10.0)
        flat = science.master_flat([self.frame(level) for level in (11_000, 31_000)], bias, dark)
        assert flat.unit == u.dimensionless_unscaled
        assert np.allclose(flat.data, 1.0, atol=0.01)


class TestReduceImage:
    def test_header_and_wcs_are_carried_over(self, small_night: Night) -> None:
        raw = read_frame(small_night.of_kind(FrameKind.SCIENCE)[0].path)
        before = raw.data.copy()
        calexp = science.reduce_image(raw, small_night.bias, small_night.dark, small_night.flat)
        assert calexp.unit == u.adu
        assert calexp.data.dtype == calexp.uncertainty.array.dtype == np.float32
        assert calexp.mask.dtype == bool
        assert calexp.meta["DATE-OBS"] == raw.meta["DATE-OBS"]
        assert calexp.wcs.wcs.compare(raw.wcs.wcs)
        assert np.array_equal(raw.data, before)
        assert "RDNOISE" not in raw.meta

    def test_saturated_pixels_are_masked_and_keep_their_values(self, small_night: Night) -> None:
        raw = read_frame(small_night.of_kind(FrameKind.SCIENCE)[0].path)
        raw.data[100:110, 200:210] = 65535
        calexp = science.reduce_image(raw, small_night.bias, small_night.dark, small_night.flat)
        assert calexp.mask[102:108, 202:208].all()
        assert calexp.data[102:108, 202:208].min() > 50_000

    def test_bad_pixels_are_masked_and_filled_from_their_neighbours(self, small_night: Night) -> None:
        raw = read_frame(small_night.of_kind(FrameKind.SCIENCE)[0].path)
        dark = small_night.dark.copy()
        dark.data[50, 60] = 100.0
        raw.data[50, 60] = 13_000
        calexp = science.reduce_image(raw, small_night.bias, dark, small_night.flat)
        neighbours = calexp.data[48:53, 58:63]
        assert calexp.mask[50, 60]
        assert abs(calexp.data[50, 60] - np.median(neighbours)) < 3 * np.std(neighbours)


class TestDetectSources:
    def image(self, **options: object) -> CCDData:
        noise = np.random.default_rng(3).normal(100.0, 5.0, (128, 128)).astype(np.float32)
        uncertainty = StdDevUncertainty(np.full(noise.shape, 5.0, dtype=np.float32))
        return CCDData(noise, unit=u.adu, uncertainty=uncertainty, **options)

    def test_empty_image_gives_an_empty_table_with_all_columns(self, small_night: Night) -> None:
        frame = small_night.of_kind(FrameKind.SCIENCE)[0]
        full = science.detect_sources(small_night.reduce(frame))
        empty = science.detect_sources(self.image(wcs=read_frame(frame.path).wcs))
        assert len(empty) == 0
        assert len(full) > 0
        for name in full.colnames:
            assert empty[name].dtype == full[name].dtype, name
            assert getattr(empty[name], "unit", None) == getattr(full[name], "unit", None), name

    def test_sky_positions_need_a_wcs(self) -> None:
        table = science.detect_sources(self.image())
        assert "ra" not in table.colnames
        assert table["x"].unit == u.pix
        assert table["flux"].unit == u.adu

    def test_a_star_with_masked_pixels_says_so(self) -> None:
        image = self.image()
        y, x = np.mgrid[:128, :128]
        image.data += (500.0 * np.exp(-0.5 * ((x - 40) ** 2 + (y - 70) ** 2) / 4.0)).astype(np.float32)
        image.mask = (x == 40) & (y == 70)
        table = science.detect_sources(image)
        assert len(table) == 1
        assert table["masked"][0] == 1
        assert table["x"][0].value == pytest.approx(40.0, abs=0.1)
        assert table["flux"][0].value == pytest.approx(500.0 * 2 * np.pi * 4.0, rel=0.05)

    def test_catalogue_is_finite_and_sorted(self, reduced_frames: list[Reduced]) -> None:
        for frame in reduced_frames:
            for name in frame.sources.colnames:
                assert np.isfinite(np.asarray(frame.sources[name])).all(), name
            assert (np.diff(frame.sources["flux"].value) <= 0).all()
            assert (frame.sources["source"] == np.arange(1, len(frame.sources) + 1)).all()

    def test_threads_find_what_one_thread_finds(self, reduced_frames: list[Reduced]) -> None:
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(science.detect_sources, [frame.calexp for frame in reduced_frames] * 2))
        for frame, sources in zip(reduced_frames * 2, again, strict=True):
            assert (sources == frame.sources).all()


class TestSummary:
    def test_statistics_are_plain_and_finite(self, reduced_frames: list[Reduced]) -> None:
        frame = reduced_frames[0]
        statistics = science.frame_statistics(frame.calexp, frame.sources)
        assert statistics["sources"] == len(frame.sources)
        assert statistics["background_rms_adu"] == pytest.approx(statistics["expected_rms_adu"], rel=0.05)
        assert all(type(value) in (str, int, float) for value in statistics.values())

    def test_night_table_has_units_and_one_row_for_each_frame(self, reduced_frames: list[Reduced]) -> None:
        table = science.night_table(
            [
                {"exposure": number} | science.frame_statistics(frame.calexp, frame.sources)
                for number, frame in enumerate(reduced_frames, start=4)
            ]
        )
        assert list(table["exposure"]) == [4, 5, 6, 7]
        assert table["background"].unit == u.adu
        assert table["exposure_time"].unit == u.s
        assert table["median_fwhm"].unit == u.pix
        assert len(science.night_table([])) == 0

    def test_quick_look_is_a_picture_and_the_same_from_every_thread(self, small_night: Night) -> None:
        frame = small_night.of_kind(FrameKind.SCIENCE)[0]
        raw, calexp = read_frame(frame.path), small_night.reduce(frame)
        sources = science.detect_sources(calexp)
        first = science.quick_look(raw, calexp, sources)
        with ThreadPoolExecutor(4) as pool:
            others = list(pool.map(lambda _: science.quick_look(raw, calexp, sources), range(4)))
        height, width, _ = matplotlib_image.imread(BytesIO(first)).shape
        assert width == 1500
        assert height > 500
        assert all(other == first for other in others)
        assert science.quick_look(raw, calexp) != first
