"""Steps that choose units, make behaviour, mask bins and move trials."""

from typing import Any

import numpy as np
import pytest

from prepared import RATE_HZ, SAMPLING, TRIALS, small_session, whole
from visioncore.data.preparation.align_trials import AlignTrialsConfig
from visioncore.data.preparation.behaviour_features import (
    BehaviourFeaturesConfig,
    DerivativeConfig,
    LaggedConfig,
    LowPassedConfig,
    SpeedConfig,
)
from visioncore.data.preparation.mask_off_screen import MaskOffScreenConfig
from visioncore.data.preparation.mask_onsets import MaskOnsetsConfig
from visioncore.data.preparation.mask_saccades import MaskSaccadesConfig
from visioncore.data.preparation.mask_signal import MaskSignalConfig
from visioncore.data.preparation.select_units import ColumnRule, SelectUnitsConfig
from visioncore.data.preparation.trial_kinds import TrialKindsConfig
from visioncore.errors import DataError
from visioncore.recording import ArrayRecording, Trial

# --- Units --------------------------------------------------------------------------------------------------------


def test_units_are_chosen_with_all_that_is_known_of_them() -> None:
    before = small_session()
    after = SelectUnitsConfig(ids=("c", "a")).apply(before, SAMPLING)
    assert after.spec.unit_ids == ("a", "c")
    assert after.spec.units == {"depth": (0.5, 3.0), "quality": ("good", "mua")}
    assert after.unit_truth["rf_row_px"] == [2.0, 4.0]
    for signal in ("responses", "valid", "rates"):
        np.testing.assert_array_equal(whole(after, signal), whole(before, signal)[:, [0, 2]])
    shared = small_session(valid=np.ones((210, 1), bool))
    assert whole(SelectUnitsConfig(ids=("a",)).apply(shared, SAMPLING), "valid").shape == (210, 1)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (ColumnRule(column="quality", equals=("good", "mua")), ("a", "c")),
        (ColumnRule(column="depth", min=2.0), ("b", "c")),
        (ColumnRule(column="depth", min=1.0, max=2.5), ("b",)),
        (ColumnRule(column="depth", max=2.0), ("a", "b")),
    ],
)
def test_a_unit_whose_column_is_not_known_is_left_out(rule: ColumnRule, kept: tuple[str, ...]) -> None:
    after = SelectUnitsConfig(columns=(rule,)).apply(small_session(), SAMPLING)
    assert after.spec.unit_ids == kept


def test_rate_and_presence_are_of_the_bins_that_count() -> None:
    responses = np.zeros((1000, 3), np.uint8)
    responses[::10, 0] = 1  # 6 Hz, always there.
    responses[:400, 1] = 1  # 24 Hz, and lost after two fifths.
    responses[::2, 2] = 5  # Only where nothing counts.
    valid = np.ones((1000, 3), bool)
    valid[::2, 2] = False
    before = small_session(
        responses=responses,
        valid=valid,
        rates=None,
        frames=np.zeros((1000, 2, 6, 9), np.uint8),
        behaviour=np.zeros((1000, 2), np.float32),
        trials=(Trial(0, 1000),),
        trial_columns={},
    )

    def chosen(**changes: Any) -> tuple[str, ...]:
        return SelectUnitsConfig(**changes).apply(before, SAMPLING).spec.unit_ids

    assert chosen(min_rate_hz=5.9) == ("a", "b")
    assert chosen(min_rate_hz=6.1) == ("b",)
    assert chosen(min_presence=0.9) == ("a",)
    assert chosen(min_presence=0.4) == ("a", "b")
    with pytest.raises(
        DataError, match=r"of 3 units none is left .*min_rate_hz leaves 1, min_presence leaves 1"
    ):
        chosen(min_rate_hz=20.0, min_presence=0.9)


def test_a_session_of_the_stimulus_alone_has_nothing_to_choose() -> None:
    spec = small_session().spec.model_copy(update={"unit_ids": (), "units": {}})
    alone = small_session(spec=spec, unit_truth={})
    assert SelectUnitsConfig(min_rate_hz=1.0).apply(alone, SAMPLING) is alone


def test_a_choice_that_cannot_be_made_is_refused_and_a_unit_that_is_not_there_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = small_session()
    with pytest.raises(DataError, match="units have no column 'area'; they have: depth, quality"):
        SelectUnitsConfig(columns=(ColumnRule(column="area", equals=("V1",)),)).apply(before, SAMPLING)
    SelectUnitsConfig(ids=("a", "z")).apply(before, SAMPLING)
    assert "has no unit z" in caplog.text
    traces = small_session(spec=before.spec.model_copy(update={"response_kind": "trace"}))
    with pytest.raises(DataError, match="traces have no rate"):
        SelectUnitsConfig(min_rate_hz=1.0).apply(traces, SAMPLING)
    wrongs: tuple[dict[str, Any], ...] = ({}, {"equals": ("a",), "min": 1.0})
    for wrong in wrongs:
        with pytest.raises(ValueError, match="equals"):
            ColumnRule(column="a", **wrong)


# --- Behaviour ----------------------------------------------------------------------------------------------------

FEATURES = (
    SpeedConfig(of=("x", "y")),
    DerivativeConfig(of=("x",)),
    LaggedConfig(of=("x",), lag_s=0.1),
    LowPassedConfig(of=("x",), time_constant_s=0.2),
)


def features(before: ArrayRecording, *of: Any, **changes: Any) -> np.ndarray:
    config = BehaviourFeaturesConfig(features=of or FEATURES, keep=(), **changes)
    return whole(config.apply(before, SAMPLING), "behaviour")


def test_features_are_what_their_names_say_and_start_afresh_with_every_trial() -> None:
    before = small_session()
    config = BehaviourFeaturesConfig(features=FEATURES)
    after = config.apply(before, SAMPLING)
    assert after.spec.behaviour_names == (
        "x", "y", "speed_of_x_y", "x_per_s", "x_100ms_ago", "x_over_200ms",
    )  # fmt: skip
    assert before.behaviour is not None
    new = whole(after, "behaviour")
    np.testing.assert_array_equal(new[:, :2], before.behaviour)
    for start, stop in TRIALS:
        x, y = before.behaviour[start:stop].astype(np.float64).T
        speed, per_s, ago, smooth = new[start:stop, 2:].T
        assert (speed[0], per_s[0]) == (0, 0)
        np.testing.assert_allclose(per_s[1:], np.diff(x) * RATE_HZ, rtol=1e-5)
        np.testing.assert_allclose(speed[1:], np.hypot(np.diff(x), np.diff(y)) * RATE_HZ, rtol=1e-5)
        np.testing.assert_array_equal(ago[6:], x[:-6].astype(np.float32))
        assert (ago[:6] == np.float32(x[0])).all()
        mean, new_share = x[0], 1 - np.exp(-1 / (0.2 * RATE_HZ))
        for value, expected in zip(x[1:], smooth[1:], strict=True):
            mean += new_share * (value - mean)
            assert expected == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("at", range(47, 90, 3))
def test_a_later_sample_never_changes_an_earlier_feature(at: int) -> None:
    before = small_session()
    later = small_session()
    assert later.behaviour is not None
    later.behaviour[at:] += np.random.default_rng(at).normal(0, 9, later.behaviour[at:].shape)
    one, other = features(before), features(later)
    np.testing.assert_array_equal(one[:at], other[:at])
    # And the sample itself does change its own.
    if at > 47:
        assert (one[at] != other[at]).sum() == 3


def test_what_is_not_known_stays_unknown_and_what_follows_is_not() -> None:
    before = small_session()
    assert before.behaviour is not None
    before.behaviour[60:64, 0] = np.nan
    before.behaviour[100, 0] = np.nan
    new = features(before)
    assert np.isnan(new[60:64]).all()
    assert np.isfinite(np.delete(new, [60, 61, 62, 63, 100], axis=0)).all()
    # Since the last known sample.
    x = before.behaviour[:, 0].astype(np.float64)
    assert new[64, 1] == pytest.approx((x[64] - x[59]) * RATE_HZ, rel=1e-5)


def test_a_feature_that_cannot_be_made_is_refused() -> None:
    before = small_session()
    with pytest.raises(DataError, match="no behavioural signal 'pupil'"):
        features(before, DerivativeConfig(of=("pupil",)))
    with pytest.raises(DataError, match="there would be two signals 'x_per_s'"):
        features(before, DerivativeConfig(of=("x",)), DerivativeConfig(of=("x",)))
    with pytest.raises(DataError, match="less than half a bin"):
        features(before, LaggedConfig(of=("x",), lag_s=0.001))


# --- Masks --------------------------------------------------------------------------------------------------------


def session_with(x: np.ndarray, y: np.ndarray | None = None, **changes: Any) -> ArrayRecording:
    gaze = np.stack([x, np.zeros_like(x) if y is None else y], axis=1)
    return small_session(behaviour=gaze.astype(np.float32), valid=np.ones((210, 3), bool), **changes)


def masked_bins(config: Any, before: ArrayRecording) -> list[int]:
    valid = whole(config.apply(before, SAMPLING), "valid")
    assert (valid == valid[:, :1]).all()
    return np.flatnonzero(~valid[:, 0]).tolist()


def test_a_blink_is_masked_with_its_margin_and_holds_what_was_before() -> None:
    pupil = np.full(210, 3.0)
    pupil[60:63] = 0.0
    pupil[70] = 9.0
    pupil[80] = np.nan
    before = session_with(pupil)
    config = MaskSignalConfig(signal="x", below=1.0, above=8.0, margin_s=2 / RATE_HZ, hold=("x",))
    assert masked_bins(config, before) == [*range(58, 65), *range(68, 73), *range(78, 83)]
    assert masked_bins(MaskSignalConfig(signal="x", below=1.0, margin_s=0.0), before) == [60, 61, 62, 80]
    held = whole(config.apply(before, SAMPLING), "behaviour")
    assert np.isnan(held[58:65, 0]).all()
    assert not np.isnan(held[:, 1]).any()
    assert before.behaviour is not None
    assert before.behaviour[60, 0] == 0.0


def test_a_mask_adds_to_what_does_not_count_already() -> None:
    before = small_session()
    after = MaskOnsetsConfig(seconds=0.1, of="trial").apply(before, SAMPLING)
    assert not (whole(after, "valid") & ~before.valid).any()
    assert whole(after, "valid").sum() < before.valid.sum()


def test_saccades_are_masked_by_their_speed_and_no_jump_between_trials_is_one() -> None:
    x = np.zeros(210)
    x[60:] = 2.0  # A jump of 2 degrees within a bin: 120 degrees/s.
    x[100:] = 30.0  # Another trial begins.
    x[120:130] += np.arange(10) * 0.1  # A drift of 6 degrees/s.
    x[130:] += 1.0
    config = MaskSaccadesConfig(gaze=("x", "y"), faster_than=100.0, margin_s=1 / RATE_HZ)
    assert masked_bins(config, session_with(x)) == [59, 60, 61]
    assert 125 in masked_bins(
        MaskSaccadesConfig(gaze=("x", "y"), faster_than=5.0, margin_s=0.0), session_with(x)
    )


def test_a_gaze_beside_the_screen_is_masked() -> None:
    # Nine columns and six rows of half a degree: 2.25 and 1.5 degrees from the middle.
    x, y = np.zeros(210), np.zeros(210)
    x[50], x[51], x[52] = 2.2, 2.3, -2.3
    y[53], y[54] = 1.4, 1.6
    x[55] = np.nan
    config = MaskOffScreenConfig(gaze=("x", "y"), gaze_unit="degrees")
    assert masked_bins(config, session_with(x, y)) == [51, 52, 54, 55]
    pixels = MaskOffScreenConfig(gaze=("x", "y"), gaze_unit="pixels", margin_s=1 / RATE_HZ)
    x[:], y[:] = 4.0, 3.0
    y[60] = 6.0
    assert masked_bins(pixels, session_with(x, y)) == [59, 60, 61]


def test_the_first_seconds_of_trials_or_of_kinds_are_masked() -> None:
    before = session_with(np.zeros(210))  # Kinds f, f, n, g.
    each = MaskOnsetsConfig(seconds=2 / RATE_HZ, of="trial")
    assert masked_bins(each, before) == [5, 6, 47, 48, 100, 101, 151, 152]
    kind = MaskOnsetsConfig(seconds=2 / RATE_HZ, of="kind")
    assert masked_bins(kind, before) == [5, 6, 100, 101, 151, 152]
    long = MaskOnsetsConfig(seconds=50 / RATE_HZ, of="kind")
    assert masked_bins(long, before) == [*range(5, 55), *range(100, 150), *range(151, 201)]


def test_a_mask_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="mask_signal: masks every bin of every trial"):
        MaskSignalConfig(signal="x", above=-1.0).apply(session_with(np.zeros(210)), SAMPLING)


# --- Trials -------------------------------------------------------------------------------------------------------


def test_trials_start_at_their_event_and_those_without_one_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = small_session()
    after = AlignTrialsConfig(column="fixation_s").apply(before, SAMPLING)
    assert [(t.start, t.stop, t.kind) for t in after.trials] == [
        (11, 47, "f"),
        (59, 90, "f"),
        (169, 200, "g"),
    ]
    assert after.trial_columns["stimulus"] == ("film", "film", "grating")
    assert after.n_bins == before.n_bins
    assert "1 of 4 trials" in caplog.text


def test_repeats_agree_once_they_start_at_their_event() -> None:
    film = np.random.default_rng(3).integers(0, 256, (20, 2, 6, 9), dtype=np.uint8)
    frames = np.zeros((210, 2, 6, 9), np.uint8)
    offsets = (3, 7, 0, 12)
    trials = tuple(
        Trial(start, start + o + 20, stimulus_id="film")
        for (start, _), o in zip(TRIALS, offsets, strict=True)
    )
    for trial, offset in zip(trials, offsets, strict=True):
        frames[trial.start + offset : trial.stop] = film
    before = small_session(
        frames=frames, trials=trials, trial_columns={"on_s": tuple(o / RATE_HZ for o in offsets)}
    )
    after = AlignTrialsConfig(column="on_s").apply(before, SAMPLING)
    for trial in after.trials:
        np.testing.assert_array_equal(after.read("video", trial.start, trial.stop), film)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.1, 0.1, 0.1, 2.0), "is 2 s in trial 3, which lasts"),
        ((-0.1, 0.1, 0.1, 0.1), "is -0.1 s in trial 0"),
        ((0.1, "late", 0.1, 0.1), "is 'late' in trial 1; expected seconds"),
        ((None, None, None, None), "no trial is left"),
    ],
)
def test_an_event_that_is_not_in_its_trial_is_refused(values: Any, expected: str) -> None:
    before = small_session(trial_columns={"on": values})
    with pytest.raises(DataError, match=expected):
        AlignTrialsConfig(column="on").apply(before, SAMPLING)
    with pytest.raises(DataError, match="trials have no column 'off'; they have: on"):
        AlignTrialsConfig(column="off").apply(before, SAMPLING)


def test_kinds_come_from_a_column_of_the_trials() -> None:
    after = TrialKindsConfig(column="stimulus").apply(small_session(), SAMPLING)
    assert [trial.kind for trial in after.trials] == ["film", "film", "noise", "grating"]
    with pytest.raises(DataError, match="'fixation_s' is not known of trial 2"):
        TrialKindsConfig(column="fixation_s").apply(small_session(), SAMPLING)
