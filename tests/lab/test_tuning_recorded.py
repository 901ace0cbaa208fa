"""Recorded tuning beside predicted: a recording whose trials are gratings, and predictions that agree or do not."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import tiny_data_yaml, tiny_session
from predictors import ScriptedPredictor
from visioncore import cli
from visioncore.checkpoint import save_twin
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.lab import Rig
from visioncore.lab.tuning.recorded import Harmonics, RecordedTuning, recorded_tuning
from visioncore.lab.tuning.showing import untold
from visioncore.model import TwinConfig
from visioncore.model.cores import NoCoreConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.model.modulators import NoModulatorConfig
from visioncore.model.readouts import GaussianReadoutConfig
from visioncore.provenance import Provenance

TRIAL_BINS, N_TRIALS = 60, 60
RECORDED = (120.0, 40.0)
"""A preferred direction, and a preferred orientation."""
PREDICTED = (120.0, 70.0)


def rates_of(degrees: np.ndarray, direction: float, orientation: float) -> np.ndarray:
    """Of four units per bin: one with a direction, one with an orientation, and two that take no notice."""
    one = 1.2 * (1 + np.cos(np.deg2rad(degrees - direction))) ** 2 / 2
    two = 1.2 * (1 + np.cos(2 * np.deg2rad(degrees - orientation)))
    return np.stack([one, two, np.full_like(one, 0.4), np.full_like(one, 0.4)], axis=1)


def directions_in(video: np.ndarray) -> np.ndarray:
    """Of each frame, as its first pixel tells it."""
    return video.reshape(len(video), -1)[:, 0].astype(np.float64) * 360 / 256


def recording(folder: Path, column: str = "direction_deg", **changes: Any) -> RecordingStore:
    """Every fourth trial shows noise; the last unit is not recorded in the others."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(0, 256, 8), 2))[:N_TRIALS].astype(np.uint8)
    is_grating = np.arange(N_TRIALS) % 4 != 0
    video = rng.integers(0, 256, (N_TRIALS * TRIAL_BINS, 5, 7), dtype=np.uint8)
    video[:, 0, 0] = codes.repeat(TRIAL_BINS)
    valid = np.ones((len(video), 4), bool)
    valid[:, 3] = ~is_grating.repeat(TRIAL_BINS)
    arrays = {
        "stim": video,
        "spikes": rng.poisson(rates_of(directions_in(video), *RECORDED)),
        "ids": np.arange(4),
        "ok": valid,
        "start": np.arange(N_TRIALS) * TRIAL_BINS,
        "angle": np.where(is_grating, codes.astype(float) * 360 / 256, np.nan),
        **changes,
    }
    np.savez(folder / "s.npz", **arrays)
    return prepare(build_data_config(yaml_of(column), "test.yaml"), folder)


def yaml_of(column: str) -> dict[str, Any]:
    """The data YAML of `recording`."""
    session = tiny_session(
        id="s",
        path="s.npz",
        behaviour=None,
        behaviour_names=None,
        rates=None,
        trial_start="start",
        trial_columns={column: "angle"},
    )
    return tiny_data_yaml(session, split={"test": 0.2, "validation": 0.2})


def predictor_for(store: RecordingStore) -> ScriptedPredictor:
    return ScriptedPredictor(
        store.spec, lambda session, video, behaviour: rates_of(directions_in(video), *PREDICTED)
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    return recording(tmp_path_factory.mktemp("gratings"))


@pytest.fixture(scope="module")
def found(store: RecordingStore) -> RecordedTuning:
    told = recorded_tuning(Rig.of(predictor_for(store), store), store, untold)
    assert told is not None
    return told


def test_preferences_are_found_in_both_and_held_against_each_other(found: RecordedTuning) -> None:
    index = found.indices
    assert index["recorded_direction_deg"].values[0] == pytest.approx(RECORDED[0], abs=4)
    assert index["predicted_direction_deg"].values[0] == pytest.approx(PREDICTED[0], abs=1)
    assert index["direction_difference_deg"].values[0] < 5
    assert index["recorded_orientation_deg"].values[1] == pytest.approx(RECORDED[1], abs=5)
    assert index["predicted_orientation_deg"].values[1] == pytest.approx(PREDICTED[1], abs=1)
    assert index["orientation_difference_deg"].values[1] == pytest.approx(30, abs=5)
    # 1 + cos(2 theta) has a circular variance of a half.
    assert index["recorded_osi_vector"].values[1] == pytest.approx(0.5, abs=0.05)
    assert index["recorded_correlation"].values[0] > 0.95
    assert index["recorded_correlation"].values[1] < 0.7


def test_what_the_recording_does_not_tell_is_counted(found: RecordedTuning) -> None:
    why = {name: index.why for name, index in found.indices.items()}
    assert "does not depend on orientation" in why["orientation_difference_deg"][2]
    assert "does not depend on direction" in why["direction_difference_deg"][1]
    assert why["recorded_correlation"][2] == "all conditions are answered alike"
    assert {why[name][3] for name in why} == {
        "fewer than 8 grating conditions were recorded of it",
        "fewer than 8 grating conditions outside the training split were recorded of it",
    }


def test_trials_are_of_all_splits_and_told_apart(found: RecordedTuning) -> None:
    assert set(found.splits) == {"train", "validation", "test"}
    assert sum(found.splits.values()) == N_TRIALS * 3 // 4
    (session,) = found.sessions
    # Two trials have one direction, as a rule: conditions are fewer, and their responses means.
    assert len(session.directions_deg) == len(set(session.directions_deg.tolist())) < N_TRIALS * 3 // 4
    assert 0 < session.unseen.sum() < len(session.unseen)
    assert found.indices["recorded_correlation_unseen"].values[0] > 0.9


def test_units_may_be_some_of_them_in_any_order(found: RecordedTuning, store: RecordingStore) -> None:
    some = recorded_tuning(Rig.of(predictor_for(store), store, ["1", "0"]), store, untold)
    assert some is not None
    for name, index in some.indices.items():
        np.testing.assert_array_equal(index.values, found.indices[name].values[[1, 0]])


def test_gratings_without_opposites_have_orientations_alone(tmp_path: Path) -> None:
    angle = np.where(np.arange(N_TRIALS) % 4 != 0, np.arange(N_TRIALS) * 3.0 % 180, np.nan)
    store = recording(tmp_path, "orientation", angle=angle)
    told = recorded_tuning(Rig.of(predictor_for(store), store), store, untold)
    assert told is not None
    assert (
        told.indices["direction_difference_deg"].why[0] == "the recording's gratings have orientations alone"
    )


def test_a_recording_without_gratings_tells_nothing(tmp_path: Path) -> None:
    store = recording(tmp_path, "depth")
    assert recorded_tuning(Rig.of(predictor_for(store), store), store, untold) is None


def test_harmonics_of_even_steps_are_vector_sums_and_uneven_steps_do_not_matter() -> None:
    degrees = np.arange(16) * 22.5
    rng = np.random.default_rng(0)
    responses = rng.uniform(1, 2, 16)
    fitted = Harmonics.of(degrees, responses)
    vector = np.sum(responses * np.exp(2j * np.deg2rad(degrees))) / responses.sum()
    assert fitted.osi == pytest.approx(abs(vector))
    assert fitted.orientation_deg == pytest.approx(np.rad2deg(np.angle(vector)) / 2 % 180)
    uneven = np.sort(rng.uniform(0, 360, 12))
    curve = Harmonics.of(uneven, rates_of(uneven, 0, 40.0)[:, 1])
    assert curve.orientation_deg == pytest.approx(40)
    assert curve.p_orientation < 1e-9
    assert curve.p_direction > 0.05
    np.testing.assert_allclose(curve.at(degrees), rates_of(degrees, 0, 40.0)[:, 1], atol=1e-9)
    chance = [Harmonics.of(uneven, rng.normal(1, 0.1, 12)).p_orientation for _ in range(400)]
    assert np.mean(np.array(chance) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_the_command_shows_both_and_counts_the_look_at_test_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = recording(tmp_path)
    config = TwinConfig(
        sampling_rate=60,
        convnet=NoCoreConfig(),
        modulator=NoModulatorConfig(),
        readout=GaussianReadoutConfig.tiny(),
        linear=LowRankLinearConfig(rank=1, window_s=0.1, num_basis=4, gain=False),
    )
    torch.manual_seed(0)
    twin = config.build(store.spec)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    run = tmp_path / "run"
    run.mkdir()
    save_twin(twin, run / "twin.safetensors", Provenance())
    (run / "experiment.yaml").write_text("{}\n")
    data = tmp_path / "data.yaml"
    data.write_text(json.dumps(yaml_of("direction_deg")))
    monkeypatch.setattr(sys, "argv", ["visioncore", "tune", str(run), "--data", str(data)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "The recording showed gratings in" in printed
    assert "test split evaluated once, by one twin" in printed
    (entry,) = json.loads((run / "test_evaluations.json").read_text())
    assert entry["purpose"] == "tune"
    kept = json.loads((run / "analysis" / "tuning.json").read_text())
    assert sum(kept["facts"]["recorded_trials"].values()) == N_TRIALS * 3 // 4
    assert [figure["file"] for figure in kept["figures"]][-1] == "tuning_recorded.png"
    # Its spatial frequencies are one, which fits into 5 pixels: no curve of it is told, and that is said.
    reasons = kept["facts"]["indices"]["preferred_spatial_frequency_cycles_per_px"]["undefined"]
    assert sum(reasons.values()) == 4
