"""The guide's own test file:  python tests/test_vivit.py   or   pytest tests/test_vivit.py -v

It checks that the ViViT of the guide is what the guide says: its stages, shapes, sizes and options.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"

if __name__ == "__main__":
    here = importlib.util.find_spec("visioncore") and importlib.util.find_spec("pytest")
    if not here and not VENV_PYTHON.exists():
        subprocess.run(["make", "install"], cwd=ROOT, check=True)
    python = sys.executable if here else str(VENV_PYTHON)
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "pytest", __file__, "-v", *sys.argv[1:]])

import pytest
import torch

from visioncore.config import load_config
from visioncore.describe import guide_spec
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.cores.vivit import ViViT, ViViTConfig
from visioncore.model.grid_layers.space import SpaceLayer
from visioncore.model.grid_layers.time import TimeLayer
from visioncore.shapes import VideoShape
from visioncore.spec import Normalisation

CONFIGS = ROOT / "experiments" / "model_configs"
GUIDE = {
    "small": {
        "embedding_dim": 192,
        "num_spatial_blocks": 4,
        "num_temporal_blocks": 4,
        "num_heads": 4,
        "head_dim": 48,
        "patch_size": (8, 8, 8),
    },
    "baseline": {
        "embedding_dim": 384,
        "num_spatial_blocks": 6,
        "num_temporal_blocks": 6,
        "num_heads": 6,
        "head_dim": 64,
        "patch_size": (4, 4, 4),
    },
}


def guide_twin(name: str, device: str = "meta") -> Twin:
    """The shipped model on the guide's data; on `meta` it has shapes but no numbers."""
    config = load_config(TwinConfig, CONFIGS / f"vivit_{name}.yaml")
    spec = guide_spec(config)
    constants = Normalisation(
        video_mean=(127.0,), video_std=(50.0,), behaviour_mean=(0.0,) * 42, behaviour_std=(1.0,) * 42
    )
    with torch.device(device):
        return config.build(spec.with_constants(constants))


@pytest.mark.parametrize("name", ["small", "baseline"])
def test_the_shipped_config_has_exactly_the_guides_values(name: str) -> None:
    config = load_config(TwinConfig, CONFIGS / f"vivit_{name}.yaml")
    assert (config.model_type, config.sampling_rate, config.initial_input_channels) == ("v1multi", 240, 1)
    assert isinstance(config.convnet, ViViTConfig)
    for key, value in GUIDE[name].items():
        assert getattr(config.convnet, key) == value
    assert config.convnet.ff_dim == 4 * config.convnet.embedding_dim


def test_the_baseline_flows_through_the_guides_shapes() -> None:
    """(B,1,300,36,64) -> (B,75,144,384) -> spatial over 144 -> temporal over 75 -> (B,384,75,9,16) -> (B,n)."""
    twin = guide_twin("baseline")
    core = twin.trunk.core
    assert isinstance(core, ViViT)
    seen: dict[str, tuple[int, ...]] = {}
    for name, layer in zip(("spatial", "temporal"), core.layers, strict=True):
        assert isinstance(layer, SpaceLayer | TimeLayer)
        layer.blocks[0].norm.register_forward_hook(
            lambda _, inputs, __, name=name: seen.update({name: tuple(inputs[0].shape)})
        )
    batch = 2
    with torch.device("meta"):
        video, behaviour = torch.zeros(batch, 1, 300, 36, 64), torch.zeros(batch, 300, 42)
    tokens, _ = core.tokenizer.advance(None, video)
    assert tokens.flatten(2, 3).shape == (batch, 75, 144, 384)
    features, _ = core.advance(None, video)
    assert seen == {"spatial": (batch * 75, 144, 384), "temporal": (batch * 144, 75, 384)}
    assert features.shape == (batch, 384, 75, 9, 16)
    assert twin.trunk.modulator is not None
    modulated, _ = twin.trunk.modulator.advance(None, features, behaviour)
    assert modulated.shape == features.shape
    n_units = len(twin.unit_ids("session"))
    readout = twin.heads["session"].readout
    assert readout is not None
    assert readout(modulated).shape == (batch, n_units)
    assert twin([InputClips("session", video, behaviour)])[0].shape == (batch, 300, n_units)


def test_small_pads_what_does_not_tile_and_drops_no_row() -> None:
    core = guide_twin("small").trunk.core
    assert isinstance(core, ViViT)
    assert (core.out_shape.rows, core.out_shape.columns) == (5, 8)
    assert core.notes() == ["height: padded by 2 + 2 grey pixels"]
    with torch.device("meta"):
        features, _ = core.advance(None, torch.zeros(1, 1, 300, 36, 64))
    assert features.shape == (1, 192, 37, 5, 8)


def test_the_baseline_core_has_the_guides_twenty_million_parameters() -> None:
    core = guide_twin("baseline").trunk.core
    assert core is not None
    assert 19e6 < sum(p.numel() for p in core.parameters()) < 23e6


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("registers", [0, 3])
def test_it_trains_with_every_option(flash: bool, registers: int) -> None:
    config = ViViTConfig.tiny().model_copy(
        update={
            "flash_attention": flash,
            "num_registers": registers,
            "patch_dropout": 0.1,
            "mha_dropout": 0.1,
            "ff_dropout": 0.1,
            "drop_path": 0.1,
            "grad_checkpointing": True,
        }
    )
    torch.manual_seed(0)
    core = config.build(VideoShape(1, 18, 26))
    optimizer = torch.optim.AdamW(core.parameters(), lr=1e-2)
    video = torch.randn(4, 1, 8, 18, 26)
    target = video.mean(dim=(1, 2, 3, 4))
    losses = []
    for _ in range(25):
        prediction = core.advance(None, video)[0][:, 0, -1].mean(dim=(1, 2))
        loss = (prediction - 10 * target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_temporal_transformer_is_causal_token_by_token() -> None:
    torch.manual_seed(0)
    core = ViViTConfig.tiny().build(VideoShape(1, 18, 26)).eval()
    video = torch.randn(1, 1, 16, 18, 26)
    with torch.no_grad():
        before, _ = core.advance(None, video)
        for frame in range(16):
            other = video.clone()
            other[:, :, frame] += 1.0
            after, _ = core.advance(None, other)
            changed = (before != after).flatten(3).any(dim=3).any(dim=1)[0]
            first = frame // core.out_shape.stride
            assert not changed[:first].any()
            assert changed[first]
