"""With `train_share`, what lies outside the share might as well not exist."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visioncore.config import build_config
from visioncore.data import ClipDataset, DataConfig, RecordingStore, prepare
from visioncore.data.stored_array import StoredArray
from visioncore.model import TwinConfig
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise

LINEAR = {"sampling_rate": 60.0, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}


@pytest.fixture
def store(one_session: Callable[..., tuple[DataConfig, Path]]) -> RecordingStore:
    return prepare(*one_session(cache="none"))


def test_nothing_outside_the_share_is_read_to_fit_anything(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[tuple[int, int]] = []
    read = StoredArray.read

    def noted(self: StoredArray, start: int, stop: int) -> np.ndarray:
        windows.append((start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(StoredArray, "read", noted)
    some = store.with_train_share(0.4)
    twin = build_config(TwinConfig, LINEAR, "test").build(some.spec)
    initialise(twin, some, InitialiseConfig())
    clips = ClipDataset(some, 30, 4, seed=0, balance="none")
    for number in range(50):
        clips[number]
    kept = some.sessions["one"].blocks_in("train")
    assert windows
    assert all(any(b.start <= start and stop <= b.stop for b in kept) for start, stop in windows)
    starts = {block.start for block in kept}
    assert starts < {block.start for block in store.sessions["one"].blocks_in("train")}


def test_constants_are_those_of_the_share_and_validation_and_test_stay(store: RecordingStore) -> None:
    whole, some = store.sessions["one"], store.with_train_share(0.4).sessions["one"]
    for split in ("validation", "test"):
        assert some.blocks_in(split) == whole.blocks_in(split)
    counts, valid = (
        np.concatenate([read(b.start + store.burn_in_bins, b.stop) for b in some.blocks_in("train")])
        for read in (whole.responses, whole.valid)
    )
    np.testing.assert_allclose(some.train_mean, (counts * valid).sum(0) / valid.sum(0), rtol=1e-6)
    frames = np.concatenate([whole.video(b.start, b.stop) for b in some.blocks_in("train")])
    assert store.with_train_share(0.4).spec.sessions[0].normalisation.video_mean[0] == pytest.approx(
        frames.mean()
    )
    assert store.with_train_share(0.4).spec != store.spec
    assert store.with_train_share(0.4).fingerprint == store.fingerprint


def test_all_of_the_data_is_the_recording_itself(store: RecordingStore) -> None:
    assert store.with_train_share(1.0) is store
