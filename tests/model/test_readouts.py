"""What readouts promise of places, and how one is chosen."""

from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from specs import data_spec
from visioncore.config import build_config
from visioncore.errors import ConfigError
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import BlindConfig, NoCoreConfig, ViViTConfig
from visioncore.model.readouts import PlacedReadout, Readout
from visioncore.model.readouts.base import BaseReadoutConfig
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import Normalisation, SessionSpec

SPEC = data_spec(
    height=14,
    width=22,
    sampling_rate_hz=60.0,
    sessions=(SessionSpec(id="s", subject="m", unit_ids=("a", "b", "c")),),
    constants=Normalisation(video_mean=(0.0,), video_std=(1.0,)),
)


class MeanConfig(BaseReadoutConfig):
    type: Literal["mean"] = "mean"

    @classmethod
    def tiny(cls) -> "MeanConfig":
        return cls()

    def build(
        self,
        features: FeatureShape,
        video: VideoShape,
        session: SessionSpec,
        *,
        gain: bool = False,
        shared: nn.Module | None = None,
    ) -> "Mean":
        return Mean(features, len(session.unit_ids), 1 + gain)


class Mean(Readout):
    """Every unit reads the mean over the field; its phases differ in nothing."""

    def __init__(self, features: FeatureShape, n_units: int, n_signals: int) -> None:
        super().__init__()
        self.stride = features.stride
        self.weight = nn.Parameter(torch.randn(n_signals, n_units, features.channels))

    def signals(
        self, features: Float[Tensor, "batch dim tokens rows columns"], moved_px: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "batch bins signals units"]:
        read = torch.einsum("bdt,sud->btsu", features.mean(dim=(3, 4)), self.weight)
        return read.repeat_interleave(self.stride, dim=1)


def twin(**changes: Any) -> Twin:
    torch.manual_seed(0)
    config = TwinConfig(sampling_rate=60, convnet=ViViTConfig.tiny()).model_copy(update=changes)
    return config.build(SPEC)


def test_only_units_that_look_somewhere_have_a_place() -> None:
    assert isinstance(twin().placed_readout("s"), PlacedReadout)
    assert twin(readout=MeanConfig()).placed_readout("s") is None
    assert twin(convnet=BlindConfig.tiny()).placed_readout("s") is None
    assert twin(convnet=NoCoreConfig()).placed_readout("s") is None


def test_a_placed_readout_weighs_most_where_it_is_put() -> None:
    readout = twin().placed_readout("s")
    assert readout is not None
    where = torch.tensor([[2.0, 3.0], [7.0, 20.0], [12.0, 11.0]])
    readout.place(where)
    torch.testing.assert_close(readout.centres_px(), where)
    assert readout.widths_px().shape == (3, 2)
    assert readout.angles().shape == (3,)
    masks = readout.masks()
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(3))
    assert len(set(masks.argmax(dim=1).tolist())) == 3


@pytest.mark.parametrize(
    ("readout", "expected"),
    [
        ({"type": "gausian"}, "'readout.type' is 'gausian'; expected gaussian; did you mean 'gaussian'?"),
        ({"params": {}}, "missing key 'readout.type'; expected gaussian"),
        ({"type": "gaussian", "params": {"rank": 2}}, "unknown key 'readout.params.rank'; did you mean 'phase_rank'?"),
    ],
)  # fmt: skip
def test_a_readout_is_chosen_by_its_type(readout: dict[str, Any], expected: str) -> None:
    raw = {"sampling_rate": 60, "convnet": {"type": "none"}, "readout": readout}
    with pytest.raises(ConfigError) as caught:
        build_config(TwinConfig, raw, "my.yaml")
    assert str(caught.value) == f"my.yaml: {expected}"
