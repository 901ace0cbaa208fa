"""`visioncore describe`: what a config amounts to, before anything is trained."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from visioncore.cli import app
from visioncore.config import apply_overrides, build_config, read_yaml
from visioncore.describe import Description, describe, guide_spec
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.cores import ViViTConfig, X3DConfig
from visioncore.shapes import VideoShape

CONFIGS = Path(__file__).resolve().parents[1] / "experiments" / "model_configs"
GUIDE_FORWARD_TFLOP = {"baseline": 0.48, "small": 0.011}
NO_OTHERS = ("modulator={type: none}", "linear={type: none}")


def described(name: str, *overrides: str, clip_frames: int = 300) -> Description:
    raw = apply_overrides(read_yaml(CONFIGS / f"vivit_{name}.yaml"), overrides)
    config = build_config(TwinConfig, raw, name)
    return describe(config, guide_spec(config), clip_frames)


def shapes(found: Description) -> dict[str, str]:
    return {stage.stage: stage.shape for stage in found.stages}


@pytest.fixture(scope="module")
def baseline() -> Description:
    return described("baseline")


def test_the_baseline_has_the_shapes_of_the_guide(baseline: Description) -> None:
    found = shapes(baseline)
    expected = {
        "input": "(B, 1, 300, 36, 64)",
        "tokens, patch 4x4x4": "(B, 75, 144, 384)",
        "spatial transformer, attention over 144": "(B·75, 144, 384)",
        "temporal transformer, causal, attention over 75": "(B·144, 75, 384)",
        "core output": "(B, 384, 75, 9, 16)",
        "readout, last step": "(B, 100)",
        "readout, dense": "(B, 300, 100)",
    }
    assert {stage: found[stage] for stage in expected} == expected


def test_the_parameters_of_the_stages_are_all_there_are(baseline: Description) -> None:
    assert sum(stage.parameters for stage in baseline.stages) == baseline.parameters


def test_small_pads_and_has_thirty_seven_tokens_in_time() -> None:
    found = described("small")
    assert shapes(found)["tokens, patch 8x8x8"] == "(B, 37, 40, 192)"
    assert shapes(found)["core output"] == "(B, 192, 37, 5, 8)"
    assert "height: padded by 2 + 2 grey pixels" in found.notes


@pytest.mark.parametrize("name", ["baseline", "small"])
def test_the_core_costs_what_the_guide_says_and_training_three_times_that(name: str) -> None:
    config = build_config(TwinConfig, read_yaml(CONFIGS / f"vivit_{name}.yaml"), name)
    assert isinstance(config.convnet, ViViTConfig)
    # The plain path: the counter does not know every fused kernel.
    plain = config.convnet.model_copy(update={"flash_attention": False, "grad_checkpointing": False})
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        plain.build(VideoShape(1, 36, 64)).advance(None, torch.zeros(1, 1, 300, 36, 64))
    forward = counter.get_total_flops()
    assert forward / 1e12 == pytest.approx(GUIDE_FORWARD_TFLOP[name], rel=0.021)
    trained = described(name, *NO_OTHERS).training_flops_per_clip
    assert trained / forward == pytest.approx(3, rel=0.02)


def test_a_depthwise_convolution_costs_twice_as_much_backwards_as_forwards() -> None:
    raw = apply_overrides(read_yaml(CONFIGS / "x3d.yaml"), NO_OTHERS)
    config = build_config(TwinConfig, raw, "x3d")
    assert isinstance(config.convnet, X3DConfig)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        config.convnet.build(VideoShape(1, 36, 64)).advance(None, torch.zeros(1, 1, 48, 36, 64))
    trained = describe(config, guide_spec(config), 48).training_flops_per_clip
    # Less than three, since the first convolution gives the video no gradient.
    assert 2.4 < trained / counter.get_total_flops() < 3


def test_the_count_covers_the_modulator_and_the_linear_path(baseline: Description) -> None:
    without = described("baseline", *NO_OTHERS)
    assert baseline.training_flops_per_clip > 1.03 * without.training_flops_per_clip


def test_the_count_does_not_depend_on_the_kernel_or_on_checkpointing_which_is_noted(
    baseline: Description,
) -> None:
    assert any("checkpointing" in note for note in baseline.notes)
    plain = described(
        "baseline", "convnet.params.flash_attention=false", "convnet.params.grad_checkpointing=false"
    )
    assert plain.training_flops_per_clip == baseline.training_flops_per_clip
    assert not any("checkpointing" in note for note in plain.notes)


def test_predictions_older_than_twenty_milliseconds_give_a_warning(baseline: Description) -> None:
    assert baseline.staleness_ms == pytest.approx(12.5)
    assert baseline.warnings == []
    slow = described("baseline", "sampling_rate=30", clip_frames=24)
    assert slow.staleness_ms == pytest.approx(100)
    assert any("100 ms old (stride 4 at 30 Hz)" in warning for warning in slow.warnings)
    dense = described("tiny", "sampling_rate=30", "convnet.params.stride=[1, 3, 3]", clip_frames=24)
    assert (dense.staleness_ms, dense.warnings) == (0, [])


@pytest.mark.parametrize(
    ("overrides", "clip_frames", "expected"),
    [
        ((), 3, "a single token"),
        ((), 1, "no token"),
        (("convnet.params.temporal_window=1",), 60, "a single token"),
    ],
)
def test_temporal_attention_over_less_than_two_tokens_gives_a_warning(
    overrides: tuple[str, ...], clip_frames: int, expected: str
) -> None:
    assert any(
        expected in warning for warning in described("tiny", *overrides, clip_frames=clip_frames).warnings
    )
    assert described("tiny", clip_frames=4).warnings == []


def test_the_span_of_temporal_attention_is_that_of_its_window() -> None:
    assert described("tiny", clip_frames=40).temporal_span_ms == pytest.approx(20 * 2 / 120 * 1000)
    windowed = described("tiny", "convnet.params.temporal_window=6", clip_frames=40)
    assert windowed.temporal_span_ms == pytest.approx(6 * 2 / 120 * 1000)


def test_cropped_pixels_are_noted_and_a_size_that_does_not_tile_is_refused() -> None:
    found = described("small", "convnet.params.padding=crop", clip_frames=16)
    assert "height: 4 of 36 pixels cropped (padding: crop)" in found.notes
    with pytest.raises(ConfigError, match=r"36 pixels do not tile.*padding: same"):
        described("small", "convnet.params.padding=none")


def test_a_model_without_a_core_has_no_tokens_and_no_staleness() -> None:
    config = build_config(TwinConfig, read_yaml(CONFIGS / "ln.yaml"), "ln")
    found = describe(config, guide_spec(config), 48)
    assert (found.staleness_ms, found.temporal_span_ms, found.warnings) == (0, None, [])
    assert shapes(found)["readout, dense"] == "(B, 48, 100)"


def test_json_has_what_the_table_has() -> None:
    path = str(CONFIGS / "vivit_small.yaml")
    as_json = CliRunner().invoke(app, ["describe", path, "--clip-frames", "64", "--json"])
    as_table = CliRunner().invoke(app, ["describe", path, "--clip-frames", "64"], env={"COLUMNS": "200"})
    assert (as_json.exit_code, as_table.exit_code) == (0, 0)
    found = json.loads(as_json.stdout)
    assert found["warnings"]
    assert found["clip_frames"] == 64
    for stage in found["stages"]:
        assert stage["stage"] in as_table.stdout
        assert stage["shape"] in as_table.stdout
    for text in (*found["notes"], *found["warnings"], f"{found['parameters']:,}"):
        assert text in as_table.stdout
