"""Blocks too short for a twin's stride are told before any training, with the setting that helps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, RATE_HZ, VIVIT, prepared, recording
from visioncore.config import apply_overrides, build_config
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.errors import ConfigError
from visioncore.model import Twin, TwinConfig
from visioncore.training.coverage import require_predicted_bins
from visioncore.training.experiment import Experiment
from visioncore.training.run import train

RESNET: dict[str, Any] = {
    "convnet": {
        "type": "resnet",
        "params": {
            "stem": {"channels": 4, "kernel": [4, 3, 3], "stride": [4, 3, 3]},
            "stages": [{"channels": 4, "blocks": 1, "kernel": [1, 3, 3]}],
        },
    }
}
BLIND: dict[str, Any] = {"convnet": {"type": "blind", "params": {"channels": 4, "stride": 4}}}


def short_trials(folder: Path, length: int, long_ones: int = 0, n_bins: int = 480) -> RecordingStore:
    """Static images, or nearly: every trial a few bins, `long_ones` of each split a second; no burn-in."""
    arrays = {name: values[:n_bins] for name, values in recording().items()}
    starts = np.arange(0, n_bins, length)
    rng = np.random.default_rng(0)
    split = rng.choice(["train", "train", "validation", "test"], len(starts))
    if long_ones:
        tail = np.arange(n_bins - 360 * long_ones, n_bins, 120)
        starts = np.concatenate([starts[starts < tail[0]], tail])
        split = np.concatenate(
            [split[: len(starts) - len(tail)], ["train", "validation", "test"] * long_ones]
        )
    np.savez(folder / "0.npz", stim=arrays["stim"], spikes=arrays["spikes"], starts=starts, split=split)
    session = {
        "id": "s0",
        "subject": "m",
        "path": "0.npz",
        "video": "stim",
        "responses": "spikes",
        "trial_start": "starts",
        "split": "split",
    }
    params = {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": [session]}
    return prepare(build_data_config({"type": "arrays", "params": params, "burn_in_s": 0.0}, "d"), folder)


def built(store: RecordingStore, model: dict[str, Any], *overrides: str) -> Twin:
    raw = apply_overrides({"model": {"sampling_rate": RATE_HZ, **model}}, overrides)
    return build_config(TwinConfig, raw["model"], "m").build(store.spec)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("model", [VIVIT, RESNET, BLIND], ids=["vivit", "resnet", "blind"])
def test_blocks_shorter_than_the_stride_are_refused_with_a_remedy_that_works(
    model: dict[str, Any], length: int, tmp_path: Path
) -> None:
    store = short_trials(tmp_path, length)
    twin = built(store, model)
    if length >= twin.stride:
        require_predicted_bins(twin, store)
        return
    with pytest.raises(
        ConfigError, match=rf"longest train block has {length} bin.*every {twin.stride}"
    ) as caught:
        require_predicted_bins(twin, store)
    remedy = str(caught.value).rpartition("set ")[2]
    require_predicted_bins(built(store, model, remedy), store)


def test_a_split_of_which_most_is_not_predicted_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = short_trials(tmp_path, 3, long_ones=1, n_bins=N_BINS)
    require_predicted_bins(built(store, RESNET), store)
    assert "of the train split" in caplog.text
    assert "set model.convnet.params.stem.stride=[1,3,3]" in caplog.text


def test_static_images_train_as_the_message_says(tmp_path: Path) -> None:
    store = short_trials(tmp_path, 1)
    raw = {
        "model": {"sampling_rate": RATE_HZ, **VIVIT},
        "data": {"type": "arrays", "params": store.settings.sources[0]["params"], "burn_in_s": 0.0},
        "training": {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 4, "clip_frames": 120},
    }
    with pytest.raises(ConfigError, match=r"set model\.convnet\.params\.stride=\[1,3,3\]"):
        train(Experiment(raw, "t", tmp_path), tmp_path / "run")
    changed = apply_overrides(raw, ["model.convnet.params.stride=[1,3,3]"])
    train(Experiment(changed, "t", tmp_path), tmp_path / "run1")
    assert (tmp_path / "run1" / "twin.safetensors").exists()


def test_usual_blocks_are_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = prepared(tmp_path, recording())
    require_predicted_bins(built(store, VIVIT), store)
    assert "is predicted" not in caplog.text
