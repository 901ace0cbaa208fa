"""Moved fields: the core sees the clips elsewhere, its readouts look there, and nothing else is moved."""

from pathlib import Path
from typing import Any

import pytest
import torch

from visioncore.config import build_config, dump_config
from visioncore.data import DataConfig, prepare
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.training.experiment import Experiment
from visioncore.training.lit_twin import LitTwin
from visioncore.training.run import train

MODEL: dict[str, Any] = {
    "sampling_rate": 60,
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 16,
            "num_spatial_blocks": 0,
            "num_temporal_blocks": 1,
            "num_heads": 2,
            "head_dim": 8,
            "ff_dim": 16,
            "patch_size": [4, 2, 2],
            "stride": [2, 1, 1],
        },
    },
    "linear": {"type": "low_rank", "params": {"rank": 1, "num_basis": 4}},
}


@pytest.fixture
def twin(tiny_config: tuple[DataConfig, Path]) -> Twin:
    store = prepare(*tiny_config)
    torch.manual_seed(0)
    built = build_config(TwinConfig, MODEL, "test").build(store.spec).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("linear.temporal"):
                parameter.normal_()
    return built


def clip_of(twin: Twin) -> InputClips:
    spec = twin.spec
    video = torch.full((1, 1, 24, spec.sampling.height, spec.sampling.width), 127.0)
    middle_row, middle_column = spec.sampling.height // 2, spec.sampling.width // 2
    video[..., middle_row - 1 : middle_row + 1, middle_column - 1 : middle_column + 1] = torch.randint(
        0, 255, (24, 2, 2)
    ).float()
    return InputClips(twin.sessions[0], video, None)


def test_where_the_grid_has_a_place_for_every_pixel_a_move_changes_no_rate(twin: Twin) -> None:
    """What is seen lies in the middle, on grey that is the video's mean: moved by a pixel it is all still there."""
    for place, session in enumerate(twin.sessions):
        twin.trunk.adapter.get_buffer(f"video_mean_{place}").fill_(127.0)
        readout = twin.heads[session].readout
        assert isinstance(readout, DynamicGaussianReadout)
        with torch.no_grad():
            readout.log_width.fill_(-2.5)
    clip = clip_of(twin)
    (still,) = twin([clip])
    for moved_px in ((1, 0), (0, -1), (-1, 1)):
        (moved,) = twin([clip], moved_px)
        torch.testing.assert_close(moved, still, rtol=1e-3, atol=1e-6, equal_nan=True)
    readout = twin.heads[clip.session].readout
    assert isinstance(readout, DynamicGaussianReadout)
    with torch.no_grad():
        readout.position[:, 0].add_(0.5)
    (elsewhere,) = twin([clip])
    assert not torch.allclose(elsewhere, still, rtol=1e-2, equal_nan=True)


def test_moves_are_drawn_by_seed_and_step_up_to_what_is_asked_for(
    tiny_config: tuple[DataConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []
    loss = LitTwin.loss

    def recording(self: LitTwin, batch: Any, moved_px: tuple[int, int] = (0, 0)) -> Any:
        drawn.append(moved_px)
        return loss(self, batch, moved_px)

    monkeypatch.setattr(LitTwin, "loss", recording)
    for name, shift_px in (("one", 2), ("again", 2), ("none", 0)):
        raw = {
            "model": MODEL,
            "data": dump_config(tiny_config[0]),
            "training": {
                "max_epochs": 1,
                "steps_per_epoch": 12,
                "batch_size": 2,
                "clip_frames": 30,
                "shift_px": shift_px,
            },
        }
        train(Experiment(raw, "test", tiny_config[1]), tmp_path / name)
    one, again, none = drawn[:12], drawn[12:24], drawn[24:]
    assert one == again
    assert len(set(one)) > 5
    assert {abs(way) for moved in one for way in moved} == {0, 1, 2}
    assert set(none) == {(0, 0)}


@pytest.mark.parametrize("fixed", [True, False])
def test_spatial_filters_stay_as_they_were_set_where_asked_for(
    fixed: bool, twin: Twin, tiny_config: tuple[DataConfig, Path]
) -> None:
    raw = {
        "model": MODEL,
        "data": dump_config(tiny_config[0]),
        "training": {"fixed_filters": fixed},
    }
    experiment = Experiment(raw, "test", tiny_config[1])
    store = prepare(*tiny_config)
    LitTwin(twin, experiment.training, None, store, "none")  # type: ignore[arg-type]
    trained = {
        id(p) for group in experiment.training.optimiser.parameter_groups(twin) for p in group["params"]
    }
    for name, parameter in twin.named_parameters():
        is_fixed = fixed and name.endswith("linear.spatial")
        assert (id(parameter) in trained) is not is_fixed, name
