"""Losses and statistics of a core's own reach whoever trains it, and nobody else."""

from pathlib import Path
from typing import Literal, get_args

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.data import ClipDataset, DataConfig, prepare
from visioncore.model import TwinConfig
from visioncore.model.cores import CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.cores.base import Core
from visioncore.model.extras import Extras, auxiliary_loss
from visioncore.model.grid_layers import GridLayer, SpaceLayerConfig
from visioncore.model.grid_layers.base import BaseGridLayerConfig
from visioncore.model.layers.block import BlockForm
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.training.experiment import TrainingConfig
from visioncore.training.lit_twin import LitTwin

VIDEO = VideoShape(1, 14, 22)
CORES = [config.tiny() for config in get_args(get_args(CoreConfig)[0])]


class GateConfig(BaseGridLayerConfig):
    type: Literal["gate"] = "gate"
    wanted: float = 0.1
    """Share of the tokens that should pass."""

    @classmethod
    def tiny(cls) -> "GateConfig":
        return cls()

    def build(self, tokens: FeatureShape, form: BlockForm) -> "Gate":
        return Gate(self, tokens)


class Gate(GridLayer[None]):
    """Lets a learnt share of every token pass, and wants that share small."""

    def __init__(self, config: GateConfig, tokens: FeatureShape) -> None:
        super().__init__(tokens)
        self.wanted = config.wanted
        self.openness = nn.Linear(tokens.channels, 1)

    def advance(
        self, state: None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows columns dim"], None]:
        tokens, state, _ = self.advance_with_extras(state, tokens)
        return tokens, state

    def advance_with_extras(
        self, state: None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows columns dim"], None, Extras]:
        share = self.openness(tokens).sigmoid()
        loss = (share.mean() - self.wanted).square()
        return tokens * share, None, {"loss/open": loss, "statistic/open": share.mean().detach()}


LAYERS = (GateConfig(), SpaceLayerConfig(), GateConfig(wanted=0.9))


def gated() -> Core:
    torch.manual_seed(0)
    return ViViTConfig.tiny().model_copy(update={"layers": LAYERS}).build(VIDEO)


@pytest.mark.parametrize(
    "core", [core for core in CORES if not isinstance(core, NoCoreConfig)], ids=lambda core: core.type
)
def test_with_extras_a_core_gives_what_it_gives_without(core: CoreConfig) -> None:
    assert not isinstance(core, NoCoreConfig)
    module = core.build(VIDEO).eval()
    video = torch.randn(2, 1, 9, VIDEO.height, VIDEO.width)
    features, _ = module.advance(None, video)
    again, _, extras = module.advance_with_extras(None, video)
    assert torch.equal(features, again)
    assert extras == {}
    assert auxiliary_loss(extras) == 0


def test_every_layers_extras_arrive_under_a_name_of_their_own() -> None:
    core = gated()
    video = torch.randn(2, 1, 9, VIDEO.height, VIDEO.width)
    features, _, extras = core.advance_with_extras(None, video)
    assert torch.equal(features, core.advance(None, video)[0])
    assert list(extras) == [
        *("loss/layers.0.open", "statistic/layers.0.open"),
        *("loss/layers.2.open", "statistic/layers.2.open"),
    ]
    expected = extras["loss/layers.0.open"] + extras["loss/layers.2.open"]
    torch.testing.assert_close(auxiliary_loss(extras), expected)


def test_a_loss_of_a_layer_trains_it() -> None:
    core = gated()
    video = torch.randn(2, 1, 9, VIDEO.height, VIDEO.width)
    gates = [p for part in core.modules() if isinstance(part, Gate) for p in part.parameters()]
    optimiser = torch.optim.Adam(gates, lr=0.05)
    for _ in range(100):
        _, _, extras = core.advance_with_extras(None, video)
        optimiser.zero_grad()
        auxiliary_loss(extras).backward()
        optimiser.step()
    open_ = [float(extras[f"statistic/layers.{i}.open"]) for i in (0, 2)]
    assert open_ == pytest.approx([0.1, 0.9], abs=0.03)


def test_training_adds_the_losses_of_a_twins_trunk_to_its_own(
    tiny_config: tuple[DataConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepare(*tiny_config)
    core = ViViTConfig.tiny().model_copy(update={"layers": LAYERS})
    config = TwinConfig(sampling_rate=60, convnet=NoCoreConfig()).model_copy(update={"convnet": core})
    torch.manual_seed(0)
    twin = config.build(store.spec)
    dataset = ClipDataset(store, 24, 2, 0, balance="none")
    trained = LitTwin(twin, TrainingConfig(), None, store, "none")  # type: ignore[arg-type]
    loss, extras = trained.loss(dataset[0])
    added = auxiliary_loss(extras)
    assert set(extras) == {f"{kind}/core.layers.{i}.open" for kind in ("loss", "statistic") for i in (0, 2)}
    assert added > 0
    monkeypatch.setattr("visioncore.training.lit_twin.auxiliary_loss", lambda _: torch.zeros(()))
    torch.testing.assert_close(loss - added, trained.loss(dataset[0])[0])


def test_an_extra_that_would_be_neither_added_nor_logged_is_refused() -> None:
    with pytest.raises(ValueError, match=r"extra 'los/balance': names begin with 'loss/' or 'statistic/'"):
        auxiliary_loss({"los/balance": torch.zeros(())})
