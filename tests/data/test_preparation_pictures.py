"""Steps that change pictures and time: areas, sums and means, never samples; and the crop that follows the gaze."""

from typing import Any

import numpy as np
import pytest

from prepared import RATE_HZ, SAMPLING, TRIALS, small_session, whole
from visioncore.data.preparation.crop import CropConfig
from visioncore.data.preparation.gaze_crop import GazeCropConfig
from visioncore.data.preparation.grey import GreyConfig
from visioncore.data.preparation.resample import ResampleConfig
from visioncore.data.preparation.resize import ResizeConfig
from visioncore.errors import ConfigError, DataError
from visioncore.recording import Trial
from visioncore.spec import Geometry, Sampling
from visioncore.stimuli import GREY


def test_a_crop_moves_the_middle_of_the_field_and_the_true_fields() -> None:
    before = small_session()
    after = CropConfig(rows=(2, 6)).apply(before, SAMPLING)
    np.testing.assert_array_equal(whole(after, "video"), before.frames[:, :, 2:])
    # The middle of rows 2 to 6 lies one row below that of rows 0 to 6: half a degree lower.
    assert after.spec.geometry == Geometry(degrees_per_pixel=0.5, centre_deg=(0.0, -0.5))
    assert after.unit_truth["rf_row_px"] == [0.0, 1.0, 2.0]
    assert after.unit_truth["rf_column_px"] == before.unit_truth["rf_column_px"]
    right = CropConfig(columns=(4, 9)).apply(before, SAMPLING)
    assert right.spec.geometry.centre_deg == (1.0, 0.0)
    with pytest.raises(DataError, match="columns 3 to 10 of frames with 9 columns"):
        CropConfig(columns=(3, 10)).sampling(SAMPLING)


def test_a_larger_pixel_is_the_mean_of_its_area() -> None:
    before = small_session()
    whole_factor = ResizeConfig(factor=2)
    after = whole_factor.apply(before, SAMPLING)
    means = before.frames[:, :, :6, :8].reshape(-1, 2, 3, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(whole(after, "video"), np.rint(means))
    assert after.spec.geometry.degrees_per_pixel == 1.0
    # One column of nine is left over, on the right: the middle moves to the left by half a pixel.
    assert after.spec.geometry.centre_deg == (-0.25, 0.0)
    assert after.unit_truth["rf_row_px"] == [1.0, 1.5, 2.0]
    assert after.unit_truth["rf_sigma_px"] == [0.5] * 3

    fractional = ResizeConfig(factor=1.5)
    halves = before.frames.repeat(2, axis=2).repeat(2, axis=3)
    means = halves.reshape(-1, 2, 4, 3, 6, 3).mean(axis=(3, 5))
    np.testing.assert_array_equal(whole(fractional.apply(before, SAMPLING), "video"), np.rint(means))


def test_what_is_left_over_is_cut_off_on_both_sides_alike() -> None:
    before = small_session()
    # Two rows of six are left over, and one column of nine, which cannot be halved.
    after = whole(ResizeConfig(factor=4).apply(before, SAMPLING), "video")
    means = before.frames[:, :, 1:5, :8].reshape(-1, 2, 1, 4, 2, 4).mean(axis=(3, 5))
    np.testing.assert_array_equal(after, np.rint(means))
    # A fractional factor keeps the middle where it is.
    fractional = ResizeConfig(factor=2.5).apply(before, SAMPLING)
    assert fractional.spec.geometry.centre_deg == (0.0, 0.0)
    flat = small_session(frames=np.tile(np.arange(9, dtype=np.uint8) * 20, (210, 2, 6, 1)))
    assert whole(ResizeConfig(factor=2.5).apply(flat, SAMPLING), "video")[0, 0, 0].tolist() == [30, 80, 130]


@pytest.mark.parametrize("factor", [1.1, 1.7, 2.5, 3.0])
def test_a_grey_screen_stays_grey_whatever_the_factor(factor: float) -> None:
    before = small_session(frames=np.full((210, 2, 6, 9), 77, np.uint8))
    assert (whole(ResizeConfig(factor=factor).apply(before, SAMPLING), "video") == 77).all()
    with pytest.raises(DataError, match="leaves no pixel"):
        ResizeConfig(factor=7).sampling(SAMPLING)


def test_flicker_at_the_old_rate_becomes_grey_and_is_never_skipped() -> None:
    frames = np.zeros((210, 2, 6, 9), np.uint8)
    frames[::2] = 200
    after = ResampleConfig(factor=2).apply(small_session(frames=frames), SAMPLING)
    assert (whole(after, "video") == 100).all()


def test_counts_are_summed_traces_averaged_and_behaviour_is_that_of_the_bins_start() -> None:
    before = small_session()
    after = ResampleConfig(factor=4).apply(before, SAMPLING)
    assert ResampleConfig(factor=4).sampling(SAMPLING).rate_hz == RATE_HZ / 4
    place = 0
    assert before.behaviour is not None
    for (start, stop), trial in zip(TRIALS, after.trials, strict=True):
        n = (stop - start) // 4
        assert (trial.start, trial.stop) == (place, place + n)
        old = slice(start, start + 4 * n)
        for new, expected in (
            ("responses", before.responses[old].reshape(n, 4, 3).sum(axis=1)),
            ("rates", np.full((n, 3), 1.6, np.float32)),
            ("valid", before.valid[old].reshape(n, 4, 3).all(axis=1)),
            ("behaviour", before.behaviour[old][::4]),
            ("video", np.rint(before.frames[old].reshape(n, 4, 2, 6, 9).mean(axis=1))),
        ):
            found = after.read(new, place, place + n)  # type: ignore[arg-type]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        place += n
    assert after.n_bins == place
    trace = small_session().spec.model_copy(update={"response_kind": "trace"})
    traces = ResampleConfig(factor=2).apply(small_session(spec=trace), SAMPLING)
    np.testing.assert_allclose(
        traces.read("responses", 0, 5), before.responses[5:15].reshape(5, 2, 3).mean(axis=1)
    )


def test_a_trial_shorter_than_a_bin_is_left_out_with_its_columns_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trials = (Trial(0, 3), Trial(3, 60), Trial(60, 100))
    before = small_session(trials=trials, trial_columns={"n": (0, 1, 2)})
    after = ResampleConfig(factor=5).apply(before, SAMPLING)
    assert after.trial_columns == {"n": (1, 2)}
    assert "1 of 3 trials" in caplog.text
    with pytest.raises(DataError, match="no trial is left"):
        ResampleConfig(factor=70).apply(before, SAMPLING)
    with pytest.raises(DataError, match="static images"):
        ResampleConfig(factor=2).sampling(Sampling(channels=1, height=4, width=4))


def test_counts_of_many_bins_are_not_cut_at_the_largest_byte() -> None:
    full = small_session(responses=np.full((210, 3), 200, np.uint8))
    assert (whole(ResampleConfig(factor=5).apply(full, SAMPLING), "responses") == 1000).all()


def test_grey_has_the_named_weights_and_refuses_what_they_are_not_for() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (210, 3, 6, 9), dtype=np.uint8)
    sampling = SAMPLING.model_copy(update={"channels": 3})
    before = small_session(frames=colours)
    luma = 0.2126 * colours[:, 0] + 0.7152 * colours[:, 1] + 0.0722 * colours[:, 2]
    found = whole(GreyConfig(weights="rec709").apply(before, sampling), "video")
    np.testing.assert_allclose(found[:, 0], luma, atol=0.51)
    mean = whole(GreyConfig(weights="mean").apply(before, sampling), "video")
    np.testing.assert_allclose(mean[:, 0], colours.mean(axis=1), atol=0.51)
    with pytest.raises(DataError, match="2 channels, and weights 'rec601'"):
        GreyConfig(weights="rec601").sampling(SAMPLING)


# --- The crop that follows the gaze -------------------------------------------------------------------------------

SCREEN = Sampling(channels=1, height=24, width=32, rate_hz=RATE_HZ)
SPOT = 250


def gaze_crop(**changes: Any) -> GazeCropConfig:
    settings: dict[str, Any] = {"gaze": ("x", "y"), "gaze_unit": "degrees", "size_px": (5, 7)}
    return GazeCropConfig(**(settings | {"interpolation": "nearest"} | changes))


def session_with_a_spot(rows: np.ndarray, columns: np.ndarray, gaze: np.ndarray, **changes: Any) -> Any:
    """A dark screen with one bright pixel per frame."""
    n = len(rows)
    frames = np.full((n, 1, 24, 32), 10, np.uint8)
    frames[np.arange(n), 0, rows, columns] = SPOT
    return small_session(
        frames=frames,
        behaviour=gaze.astype(np.float32),
        responses=np.zeros((n, 3), np.uint8),
        valid=np.ones((n, 3), bool),
        trials=(Trial(0, n),),
        trial_columns={},
        rates=None,
        **changes,
    )


@pytest.mark.parametrize("gaze_unit", ["degrees", "pixels"])
@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_what_the_eye_follows_stays_in_the_middle_of_the_crop(gaze_unit: str, interpolation: str) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(3, 21, 50), rng.integers(4, 28, 50)
    middle = np.stack([columns + 0.5, rows + 0.5], axis=1)
    # Half a degree per pixel; x grows to the right, y upwards, from the middle of the screen.
    degrees = (middle - (16, 12)) * (0.5, -0.5)
    before = session_with_a_spot(rows, columns, degrees if gaze_unit == "degrees" else middle)
    after = gaze_crop(gaze_unit=gaze_unit, interpolation=interpolation).apply(before, SCREEN)
    crop = whole(after, "video")
    assert crop.shape == (50, 1, 5, 7)
    assert (crop[:, 0, 2, 3] == SPOT).all()
    assert (np.delete(crop.reshape(50, -1), 2 * 7 + 3, axis=1) == 10).all()
    assert whole(after, "valid").all()
    assert after.spec.geometry == Geometry(degrees_per_pixel=0.5, centre_deg=(0.0, 0.0))
    assert "rf_row_px" not in after.unit_truth


def test_the_middle_of_the_field_counts_where_the_session_says_where_it_is() -> None:
    before = session_with_a_spot(np.array([12]), np.array([16]), np.array([[10.25, -3.25]]))
    spec = before.spec.model_copy(
        update={"geometry": Geometry(degrees_per_pixel=0.5, centre_deg=(10.0, -3.0))}
    )
    before.spec = spec
    assert whole(gaze_crop().apply(before, SCREEN), "video")[0, 0, 2, 3] == SPOT


def test_a_crop_beside_the_gaze_sees_what_is_there() -> None:
    # Two degrees to the right of the gaze and one above: four columns and two rows.
    before = session_with_a_spot(np.array([10]), np.array([20]), np.array([[0.25, -0.25]]))
    after = gaze_crop(centre_deg=(2.0, 1.0)).apply(before, SCREEN)
    assert whole(after, "video")[0, 0, 2, 3] == SPOT
    assert after.spec.geometry.centre_deg == (2.0, 1.0)


def test_linear_interpolation_follows_half_a_pixel_and_nearest_keeps_pixels_whole() -> None:
    before = session_with_a_spot(np.array([12]), np.array([16]), np.array([[17.0, 12.5]]))
    linear = whole(gaze_crop(gaze_unit="pixels", interpolation="linear").apply(before, SCREEN), "video")
    assert linear[0, 0, 2].tolist() == [10, 10, 130, 130, 10, 10, 10]
    nearest = whole(gaze_crop(gaze_unit="pixels").apply(before, SCREEN), "video")
    assert sorted(nearest.ravel().tolist())[-2:] == [10, SPOT]


def test_beside_the_screen_it_is_grey_and_nothing_counts_once_the_gaze_is_there() -> None:
    gaze = np.array([[0.5, 0.5], [-0.5, 5.5], [31.5, 23.5], [32.5, 5.5], [np.nan, 3.0], [16.5, 12.5]])
    before = session_with_a_spot(np.full(6, 12), np.full(6, 16), gaze)
    after = gaze_crop(gaze_unit="pixels").apply(before, SCREEN)
    crop = whole(after, "video")[:, 0]
    assert whole(after, "valid")[:, 0].tolist() == [True, False, True, False, False, True]
    # The upper left corner of the screen is the middle of the crop.
    assert (crop[0, :2] == GREY).all()
    assert (crop[0, :, :3] == GREY).all()
    assert (crop[0, 2:, 3:] == 10).all()
    # What is not known is where it was last known.
    np.testing.assert_array_equal(crop[4], crop[3])
    assert crop[5, 2, 3] == SPOT
    dark = gaze_crop(gaze_unit="pixels", grey=3.0).apply(before, SCREEN)
    assert (whole(dark, "video")[0, 0, :2] == 3).all()


def test_a_size_in_degrees_has_pixels_of_its_own() -> None:
    before = session_with_a_spot(np.array([12]), np.array([16]), np.array([[0.25, -0.25]]))
    config = gaze_crop(size_px=None, size_deg=(2.0, 3.0), degrees_per_pixel=0.25)
    after = config.apply(before, SCREEN)
    assert (config.sampling(SCREEN).height, config.sampling(SCREEN).width) == (8, 12)
    crop = whole(after, "video")[0, 0]
    assert (crop[3:5, 5:7] == SPOT).all()
    assert (crop == SPOT).sum() == 4
    assert after.spec.geometry.degrees_per_pixel == 0.25
    with pytest.raises(DataError, match=r"coarser than the screen's 0\.5"):
        gaze_crop(size_px=None, size_deg=(4.0, 4.0), degrees_per_pixel=1.0).apply(before, SCREEN)


def test_repeats_that_follow_the_gaze_are_no_repeats_but_stay_together() -> None:
    before = session_with_a_spot(np.full(6, 12), np.full(6, 16), np.zeros((6, 2)))
    before.trials = (
        Trial(0, 2, stimulus_id="film"), Trial(2, 4, stimulus_id="film"), Trial(4, 6, group="photo"),
    )  # fmt: skip
    after = gaze_crop().apply(before, SCREEN)
    assert [trial.stimulus_id for trial in after.trials] == [None] * 3
    assert [trial.group for trial in after.trials] == ["stimulus_id film"] * 2 + ["photo"]
    still = gaze_crop(repeats="same").apply(before, SCREEN)
    assert still.trials == before.trials
    before.trials = (Trial(0, 2, stimulus_id="film", group="a"), Trial(2, 4, stimulus_id="film", group="b"))
    with pytest.raises(DataError, match="stimulus_id 'film' are of several groups"):
        gaze_crop().apply(before, SCREEN)


def test_what_a_crop_cannot_know_is_asked_for() -> None:
    gaze = np.zeros((2, 2))
    before = session_with_a_spot(np.full(2, 12), np.full(2, 16), gaze)
    before.frames = before.frames.astype(np.float32)
    with pytest.raises(DataError, match="give grey"):
        whole(gaze_crop().apply(before, SCREEN), "video")
    with pytest.raises(DataError, match="no behavioural signal 'eye_x'; there are: x, y"):
        gaze_crop(gaze=("eye_x", "y")).apply(before, SCREEN)
    before.spec = before.spec.model_copy(update={"geometry": Geometry()})
    with pytest.raises(DataError, match="how many degrees a pixel has"):
        gaze_crop().apply(before, SCREEN)
    for wrong in ({"size_px": None}, {"size_deg": (1.0, 1.0)}, {"degrees_per_pixel": 0.1}):
        with pytest.raises((ConfigError, ValueError), match="size_px"):
            gaze_crop(**wrong)
