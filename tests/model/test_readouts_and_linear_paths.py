"""A twin asks its readouts and linear paths for what their base classes promise, so others can take their places."""

from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from specs import data_spec
from visioncore.config import ComponentConfig, build_config
from visioncore.errors import ConfigError
from visioncore.model import Clip, Twin, TwinConfig
from visioncore.model.cores import BlindConfig, NoCoreConfig, ViViTConfig
from visioncore.model.linear import LinearPath
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

    def build(self, features: FeatureShape, video: VideoShape, n_units: int, *, gain: bool = False) -> "Mean":
        return Mean(features, n_units, 1 + gain)


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


class FlickerConfig(ComponentConfig):
    type: Literal["flicker"] = "flicker"

    def build(self, video: VideoShape, n_units: int, sampling_rate_hz: float) -> "Flicker":
        return Flicker(n_units, sampling_rate_hz)


class Flicker(LinearPath):
    """Every unit follows the change of the frame's mean."""

    lags = 2

    def __init__(self, n_units: int, sampling_rate_hz: float) -> None:
        super().__init__()
        self.window_s = self.lags / sampling_rate_hz
        self.weight = nn.Parameter(torch.randn(n_units))

    def advance(
        self,
        state: Float[Tensor, "batch recent filters"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch time units"], Float[Tensor, "batch kept filters"]]:
        mean = video.mean(dim=(1, 3, 4))[:, :, None]
        means = torch.cat((mean.new_zeros(len(mean), 1, 1) if state is None else state, mean), dim=1)
        return means.diff(dim=1) * self.weight, means[:, -1:]


def twin(**changes: Any) -> Twin:
    torch.manual_seed(0)
    config = TwinConfig(sampling_rate=60, convnet=ViViTConfig.tiny()).model_copy(update=changes)
    return config.build(SPEC)


OTHERS = {
    "a readout": {"readout": MeanConfig()},
    "a linear path": {"linear": FlickerConfig()},
    "a linear path alone": {"linear": FlickerConfig(), "convnet": NoCoreConfig()},
    "both": {"readout": MeanConfig(), "linear": FlickerConfig()},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_a_twin_of_other_parts_predicts_streams_and_trains(changes: dict[str, Any]) -> None:
    other = twin(**changes)
    video = torch.randn(2, 1, 15, SPEC.sampling.height, SPEC.sampling.width)
    (whole,) = other([Clip("s", video, None)])
    state, pieces = None, []
    for frame in video.split(1, dim=2):
        rates, state = other.advance(state, frame, session="s")
        pieces.append(rates)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, equal_nan=True)
    whole[:, other.stride :].square().sum().backward()
    own = [part for part in other.modules() if isinstance(part, Mean | Flicker)]
    assert len(own) == len(changes.keys() - {"convnet"})
    gradients = [parameter.grad for part in own for parameter in part.parameters()]
    assert all(gradient is not None and gradient.all() for gradient in gradients)


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
