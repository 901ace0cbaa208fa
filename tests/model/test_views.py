"""Where a session looks: a shift by gaze that is learned, and behaviour as channels of the video."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from flawed import N_BINS, RATE_HZ, SPLITS, TRIAL_BINS, VIVIT, prepared
from part_contracts import SPEC, config_with, inputs, require_contracts
from visioncore.checkpoint import load_twin
from visioncore.config import build_config, dump_yaml
from visioncore.data import load_data_config, prepare
from visioncore.errors import ConfigError
from visioncore.evaluation import evaluate, learned_views
from visioncore.model import Twin, TwinConfig
from visioncore.model.adapters import ShiftAdapter, ShiftAdapterConfig
from visioncore.model.cores import NoCoreConfig
from visioncore.report import write_report
from visioncore.training.experiment import read_experiment
from visioncore.training.optimisers import AdamWConfig
from visioncore.training.run import train
from visioncore.training.transfer import freeze

SHIFT = ShiftAdapterConfig(signals=("y", "x"))


def shifted(twin: Twin, session: str, per_signal: list[list[float]]) -> ShiftAdapter:
    adapter = twin.trunk.adapter
    assert isinstance(adapter, ShiftAdapter)
    with torch.no_grad():
        adapter.of_session(session).per_signal.copy_(torch.tensor(per_signal))
    return adapter


def test_a_frame_is_read_further_down_and_right() -> None:
    """By whole pixels that is a roll; behaviour of 1 is two standard deviations above the mean of `y`."""
    twin = config_with(adapter=SHIFT).build(SPEC).eval()
    height, width = SPEC.sampling.height, SPEC.sampling.width
    down, right = np.arctanh(np.array([2.0, 3.0]) / height / 0.25) * 0.25
    adapter = shifted(twin, "a", [[float(down), 0.0], [0.0, float(right)]])
    video = torch.randn(1, 1, 2, height, width)
    samples = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])  # x, y
    straight, both = adapter.look(video, samples.flip(1) * 0, "a"), adapter.look(video, samples, "a")
    torch.testing.assert_close(straight, video, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[0, 0, 0, :-2], video[0, 0, 0, 2:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(both[0, 0, 1, :-2, :-3], video[0, 0, 1, 2:, 3:], rtol=1e-3, atol=1e-3)
    # The other session looks straight, and nothing moves further than it may.
    torch.testing.assert_close(adapter.look(video, samples, "b"), video, rtol=1e-4, atol=1e-4)
    assert float(adapter.shift(samples * 1e4, "a").detach().abs().max()) <= 0.25


def test_each_session_keeps_its_own_view() -> None:
    twin = config_with(adapter=SHIFT).build(SPEC).eval()
    shifted(twin, "a", [[0.1, 0.2], [0.0, 0.0]])
    shifted(twin, "b", [[0.0, 0.0], [0.3, 0.0]])
    alone = twin.without_sessions("a")
    session = SPEC.session("a").model_copy(update={"id": "new"})
    grown = alone.with_sessions(session)
    video, behaviour = inputs()
    for other in (alone, grown):
        found = other.rates(video, behaviour, session="b").nan_to_num(-1)
        assert torch.equal(found, twin.rates(video, behaviour, session="b").nan_to_num(-1))
    adapter = grown.trunk.adapter
    assert isinstance(adapter, ShiftAdapter)
    assert not adapter.of_session("new").per_signal.any()
    # On a frozen trunk the view of a session is fitted with its head, at the rate of what sessions own.
    freeze(grown, "heads")
    assert [name for name, weight in grown.trunk.named_parameters() if weight.requires_grad] == [
        "adapter.views.0.per_signal",
        "adapter.views.1.per_signal",
    ]
    groups = AdamWConfig(session_learning_rate=4.0).parameter_groups(grown)
    view = adapter.of_session("new").per_signal
    (group,) = [group for group in groups if any(weight is view for weight in group["params"])]
    assert (group["lr"], group["weight_decay"]) == (4e-3, 0.0)


def test_signals_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="looks at the signal 'gaze', and the data have x, y"):
        config_with(adapter=ShiftAdapterConfig(signals=("gaze",))).build(SPEC)


@pytest.mark.slow
def test_a_planted_miscalibration_is_recovered(tmp_path: Path) -> None:
    """Units look where the eye tracker says, and as much further as the planted calibration is wrong."""
    rng = np.random.default_rng(0)
    height, width, n_units, per_bin = 16, 20, 12, 0.5
    noise = gaussian_filter(rng.normal(size=(N_BINS, height, width)), (1.0, 1.2, 1.2))
    video = np.clip(127 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)
    gaze = gaussian_filter(rng.normal(size=(N_BINS, 2)), (20, 0))
    gaze = (gaze - gaze.mean(0)) / gaze.std(0)
    planted = np.array([[1.5, 0.0], [0.6, -1.2]])  # pixels down and right per standard deviation
    down, right = planted @ gaze.T
    row, column = np.mgrid[:height, :width]
    contrast = (video - 127.0) / 60
    rates = np.empty((N_BINS, n_units))
    for unit in range(n_units):
        centre = rng.uniform(5, height - 5), rng.uniform(5, width - 5)
        field = np.exp(-((row - centre[0]) ** 2 + (column - centre[1]) ** 2) / 3.0)
        drive = [
            (map_coordinates(frame, (row + down[t], column + right[t]), order=1) * field).sum()
            for t, frame in enumerate(contrast)
        ]
        rates[:, unit] = np.exp(1.2 * np.array(drive) / np.std(drive))
    rates *= per_bin / rates.mean(0)
    arrays = {"stim": video, "spikes": rng.poisson(rates), "speed": gaze.astype(np.float32)}
    starts = np.arange(0, N_BINS, TRIAL_BINS)
    np.savez(tmp_path / "0.npz", **arrays, starts=starts, split=np.array(SPLITS))
    session = {"id": "s0", "subject": "m", "path": "0.npz", "video": "stim", "responses": "spikes"}
    keys: dict[str, Any] = {"behaviour": "speed", "behaviour_names": ["gaze_y", "gaze_x"], "split": "split"}
    keys |= session | {"trial_start": "starts", "geometry": {"degrees_per_pixel": 0.2}}
    files = {
        "model": {
            "sampling_rate": RATE_HZ,
            "adapter": {"type": "shift"},
            "convnet": {"type": "none"},
            "linear": {"type": "low_rank", "params": {"rank": 1, "window_s": 0.05}},
        },
        "data": {
            "type": "arrays",
            "params": {
                "sampling_rate_hz": RATE_HZ,
                "response_kind": "counts",
                "sessions": [keys],
            },
            "burn_in_s": 0.1,
        },
        "training": {
            "clip_frames": 120,
            "batch_size": 4,
            "length": {"type": "steps", "params": {"number": 250}},
            "steps_per_epoch": 125,
            "warmup_steps": 10,
            "optimiser": {"type": "adamw", "params": {"learning_rate": 0.003}},
        },
    }
    for kind, raw in files.items():
        (tmp_path / f"{kind}.yaml").write_text(dump_yaml(raw))
    model, data, training = (tmp_path / f"{kind}.yaml" for kind in files)
    twin = load_twin(train(read_experiment(model, data, training), tmp_path / "run"))
    adapter = twin.trunk.adapter
    assert isinstance(adapter, ShiftAdapter)
    found = height * adapter.of_session("s0").per_signal.detach().numpy()
    np.testing.assert_allclose(found, planted, atol=0.3)
    # As users are told: by signal, and as a whole.
    store = prepare(load_data_config(data), tmp_path)
    (view,) = learned_views(twin, store, "test")
    assert [signal.signal for signal in view.signals] == ["gaze_y", "gaze_x"]
    assert view.signals[1].right_arcmin == pytest.approx(60 * 0.2 * found[1, 1], rel=1e-4)
    size = np.linalg.norm(gaze[np.repeat(np.array(SPLITS) == "test", TRIAL_BINS)] @ planted.T, axis=1)
    assert view.rms_arcmin == pytest.approx(60 * 0.2 * np.sqrt(np.mean(size**2)), rel=0.2)
    page = write_report(twin, store, evaluate(twin, store, progress=False), tmp_path / "run").read_text()
    assert f"{view.rms_arcmin:.1f}′" in page


# --- Behaviour as channels ----------------------------------------------------------------------------------------


def test_a_core_that_sees_behaviour_as_channels_is_a_core() -> None:
    twin = require_contracts(config_with(behaviour_channels=True))
    video, behaviour = inputs()
    rates = twin.rates(video, behaviour, session="a").nan_to_num(0)
    assert twin.uses_behaviour
    assert not torch.equal(twin.rates(video, behaviour + 1, session="a").nan_to_num(0), rates)


def test_channels_without_behaviour_or_without_a_core_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="behaviour_channels are seen by a core"):
        build_config(
            TwinConfig,
            {"sampling_rate": 60, "behaviour_channels": True, "convnet": {"type": NoCoreConfig().type}},
            "m",
        )
    video = np.random.default_rng(0).integers(0, 256, (N_BINS, 9, 12), dtype=np.uint8)
    blind = prepared(tmp_path, {"stim": video, "spikes": np.ones((N_BINS, 1), int)})
    config = build_config(TwinConfig, {"sampling_rate": RATE_HZ, **VIVIT, "behaviour_channels": True}, "m")
    with pytest.raises(ConfigError, match="behaviour_channels needs behaviour"):
        config.build(blind.spec)
