"""Small twins of every core and modulator, for the tests of contracts: on grids that are not square."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from specs import data_spec
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.cores.vivit import SHORTHAND
from visioncore.model.grid_layers import GridLayerConfig
from visioncore.model.linear import LowRankLinear, LowRankLinearConfig, NoLinearConfig
from visioncore.model.modulators import (
    ConcatConfig,
    ConvGRUConfig,
    FiLM,
    FiLMConfig,
    ModulatorConfig,
    NoModulatorConfig,
)
from visioncore.model.readouts import DynamicGaussianReadout, GaussianReadoutConfig
from visioncore.shapes import FeatureShape
from visioncore.spec import DataSpec, Normalisation, SessionSpec

HEIGHT, WIDTH, FRAMES, BEHAVIOURS = 14, 22, 23, 3
CORES = [config.tiny() for config in get_args(get_args(CoreConfig)[0])]
MODULATORS = [config.tiny() for config in get_args(get_args(ModulatorConfig)[0])]
COMBINATIONS = [
    (core, modulator)
    for core in CORES
    for modulator in MODULATORS
    if not (isinstance(core, NoCoreConfig) and not isinstance(modulator, NoModulatorConfig))
]
Modulating = ConvGRUConfig | FiLMConfig | ConcatConfig
every_modulator = pytest.mark.parametrize(
    "config", [m for m in MODULATORS if not isinstance(m, NoModulatorConfig)], ids=lambda m: m.type
)
FEATURES = FeatureShape(4, 3, 5, 2, (0.0, 6.0), (0.0, 10.0))
ABLATED = ViViTConfig.tiny().model_copy(
    update={
        "block": "serial",
        "feedforward": "gated",
        "rope": "raster",
        "rectify": False,
        "num_filters": None,
        "patch_size": (4, 5, 5),
        "frames_per_tap": 2,
    }
)
GRID_LAYERS = [config.tiny() for config in get_args(get_args(GridLayerConfig)[0])]
LAYERED = ViViTConfig(
    **{key: getattr(ViViTConfig.tiny(), key) for key in ViViTConfig.tiny().model_fields_set - {*SHORTHAND}},
    layers=(*GRID_LAYERS[::-1], *GRID_LAYERS),
)
VARIANTS = {"ablated": ABLATED, "layered": LAYERED}
COMBINATIONS += [(core, MODULATORS[1]) for core in VARIANTS.values()]


def name_of(core: CoreConfig, modulator: ModulatorConfig) -> str:
    variant = "".join(f"{name} " for name, config in VARIANTS.items() if core is config)
    return f"{variant}{core.type}-{modulator.type}"


every_twin = pytest.mark.parametrize(
    ("core", "modulator"), COMBINATIONS, ids=[name_of(*pair) for pair in COMBINATIONS]
)
WITH_A_CORE = [pair for pair in COMBINATIONS if not isinstance(pair[0], NoCoreConfig)]
every_twin_with_a_core = pytest.mark.parametrize(
    ("core", "modulator"), WITH_A_CORE, ids=[name_of(*pair) for pair in WITH_A_CORE]
)
# Every core with one modulator and every modulator with one core, for what is slow.
PARTS = [
    (c, m) for c, m in COMBINATIONS if c is CORES[0] or m is MODULATORS[1] or isinstance(c, NoCoreConfig)
]
every_part = pytest.mark.parametrize(("core", "modulator"), PARTS, ids=[name_of(*pair) for pair in PARTS])
SPEC = data_spec(
    channels=1,
    height=HEIGHT,
    width=WIDTH,
    sampling_rate_hz=120.0,
    response_kind="counts",
    behaviour_names=("x", "y", "speed"),
    sessions=(
        SessionSpec(id="one", subject="m1", unit_ids=("a", "b", "c")),
        SessionSpec(id="two/β", subject="m2", unit_ids=("a", "d")),
    ),
)
NORMALISATION = Normalisation(
    video_mean=(120.0,), video_std=(50.0,), behaviour_mean=(1.0, 0.0, 2.0), behaviour_std=(1.0, 2.0, 0.5)
)


def make_twin(
    core: CoreConfig = CORES[0],
    modulator: ModulatorConfig = MODULATORS[1],
    spec: DataSpec = SPEC,
    linear: bool = True,
) -> Twin:
    """A twin in which every part matters: what training starts at zero is drawn at random here."""
    torch.manual_seed(1)
    gain = not isinstance(core, NoCoreConfig)
    config = TwinConfig(
        sampling_rate=spec.rate_hz,
        convnet=core,
        modulator=modulator,
        readout=GaussianReadoutConfig.tiny(),
        linear=LowRankLinearConfig(rank=2, window_s=0.06, num_basis=4, knots=4, gain=gain)
        if linear
        else NoLinearConfig(),
    )
    twin = config.build(spec.with_constants(NORMALISATION))
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, LowRankLinear):
                module.temporal.normal_()
                assert module.bend is not None
                module.bend.place(torch.full((module.n_units,), -1.0), torch.full((module.n_units,), 1.0))
                module.bend.values.normal_()
            if isinstance(module, DynamicGaussianReadout):
                module.position.uniform_(-0.8, 0.8)
                module.log_width.add_(0.3 * torch.randn_like(module.log_width))
                module.weight.normal_(std=0.5)
                module.phase_out.normal_()
                module.phase_bias.normal_(std=0.1)
                if module.gain_weight is not None:
                    module.gain_weight.normal_(std=0.5)
            if isinstance(module, FiLM):
                module.to_scale_and_shift.weight.normal_()
    return twin.eval()


def make_inputs(frames: int = FRAMES, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    video = torch.randint(0, 256, (batch, 1, frames, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    return video, torch.randn(batch, frames, BEHAVIOURS, generator=generator)


def run(twin: Twin, video: Tensor, behaviour: Tensor, session: str = "one") -> Tensor:
    torch.manual_seed(5)  # dropout draws the same in every run
    with torch.no_grad():
        return twin.rates(video, behaviour, session=session)


def sees_video(twin: Twin) -> bool:
    by_filters = any(head.linear is not None for head in twin.heads)
    return by_filters or (twin.trunk.core is not None and twin.trunk.core.sees_video)


def changed_bins(before: Tensor, after: Tensor) -> list[int]:
    """Bins in which anything changed at all, to the last bit."""
    same = (before == after) | (before.isnan() & after.isnan())
    return [int(t) for t in torch.nonzero(~same.all(dim=2).all(dim=0)).flatten()]
