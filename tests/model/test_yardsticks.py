"""The models that any other must beat: the mean rate, and behaviour alone. And what each modulator remembers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from specs import data_spec
from visioncore.config import load_config
from visioncore.data import RecordingStore
from visioncore.model import Twin, TwinConfig
from visioncore.model.modulators import ConcatConfig, ConvGRUConfig, FiLM, FiLMConfig, Modulator
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.report.fields import field_figure
from visioncore.shapes import FeatureShape
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise

CONFIGS = Path(__file__).resolve().parents[2] / "experiments" / "model_configs"
FEATURES = FeatureShape(4, 3, 5, 2, (0.0, 6.0), (0.0, 10.0))
MEANS = torch.tensor([0.02, 0.5, 3.0])


def shipped(name: str) -> Twin:
    torch.manual_seed(0)
    spec = data_spec(
        channels=1,
        height=6,
        width=10,
        sampling_rate_hz=240.0,
        response_kind="counts",
        behaviour_names=("x", "speed"),
        sessions=(SessionSpec(id="s", subject="m", unit_ids=("a", "b", "c")),),
    )
    constants = Normalisation(
        video_mean=(127.0,), video_std=(50.0,), behaviour_mean=(0.0, 1.0), behaviour_std=(1.0, 2.0)
    )
    twin = load_config(TwinConfig, CONFIGS / f"{name}.yaml").build(spec.with_constants(constants))
    twin.heads["s"].output.initialise(MEANS, MEANS.sqrt())
    return twin


def random_video(frames: int) -> Tensor:
    return torch.randint(0, 256, (2, 1, frames, 6, 10), dtype=torch.uint8)


def test_the_mean_rate_model_predicts_each_units_mean_in_every_bin_and_needs_no_behaviour() -> None:
    twin = shipped("mean_rate")
    rates = twin.rates(random_video(9), session="s")
    torch.testing.assert_close(rates, MEANS.expand(2, 9, 3))
    assert twin.predict(random_video(9)[0, 0].numpy(), session="s").shape == (9, 3)


def test_the_mean_rate_model_learns_means_and_nothing_else() -> None:
    twin = shipped("mean_rate")
    targets = torch.poisson(2 * MEANS.expand(2, 400, 3), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=0.0)
    for _ in range(300):
        rates = twin.rates(random_video(400), session="s")
        loss = (rates - targets * rates.log()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learnt = twin.rates(random_video(4), session="s")
    torch.testing.assert_close(learnt, targets.mean(dim=(0, 1)).expand(2, 4, 3), rtol=0.02, atol=1e-3)


def test_the_behaviour_only_model_predicts_from_behaviour_whatever_is_shown() -> None:
    twin = shipped("behaviour_only")
    behaviour = torch.randn(2, 24, 2)
    with torch.no_grad():
        one = twin.rates(random_video(24), behaviour, session="s")
        same = twin.rates(random_video(24), behaviour, session="s")
        other = twin.rates(random_video(24), behaviour + 1.0, session="s")
    assert torch.equal(one.nan_to_num(-1), same.nan_to_num(-1))
    covered = slice(twin.stride - 1, None)
    assert (one[:, covered] != other[:, covered]).any(dim=1).all()
    assert twin.placed_readout("s") is None
    assert any("no video" in note for note in (twin.trunk.core.notes() if twin.trunk.core else []))


def test_a_blind_twin_starts_at_the_mean_rates_and_has_no_positions_to_find_or_draw(
    tiny_store: RecordingStore,
) -> None:
    config = load_config(TwinConfig, CONFIGS / "behaviour_only.yaml")
    config = config.model_copy(update={"sampling_rate": tiny_store.spec.rate_hz})
    twin = config.build(tiny_store.spec)
    readout = twin.heads["a"].readout
    assert isinstance(readout, DynamicGaussianReadout)
    initialise(twin, tiny_store, InitialiseConfig())
    assert (readout.position == 0).all()
    assert not torch.equal(twin.heads["a"].output.bias, twin.heads["c"].output.bias[:1].expand(3))
    assert field_figure(twin, tiny_store, "test") is None


def test_film_starts_without_effect() -> None:
    modulator = FiLMConfig.tiny().build(FEATURES, 2)
    features = torch.randn(2, 4, 3, 3, 5)
    modulated, _ = modulator.advance(None, features, torch.randn(2, 6, 2))
    assert torch.equal(modulated, features)


def test_film_scales_and_shifts_whole_channels() -> None:
    modulator = FiLMConfig.tiny().build(FEATURES, 2)
    torch.nn.init.normal_(modulator.to_scale_and_shift.weight)
    one, other = torch.randn(2, 1, 4, 3, 3, 5).unbind(0)
    behaviour = torch.randn(1, 6, 2)
    with torch.no_grad():
        difference = modulator.advance(None, one, behaviour)[0] - modulator.advance(None, other, behaviour)[0]
    scale = difference / (one - other)
    torch.testing.assert_close(scale, scale[..., :1, :1].expand_as(scale), rtol=1e-3, atol=1e-3)
    assert scale[0, :, :, 0, 0].std() > 0.1


@pytest.mark.parametrize(
    ("config", "remembers"),
    [(ConvGRUConfig.tiny(), True), (FiLMConfig.tiny(), False), (ConcatConfig.tiny(), False)],
    ids=lambda value: getattr(value, "type", ""),
)
def test_behaviour_before_a_tokens_frames_acts_through_a_recurrent_state_only(
    config: ConvGRUConfig | FiLMConfig | ConcatConfig, remembers: bool
) -> None:
    torch.manual_seed(0)
    modulator: Modulator = config.build(FEATURES, 2)
    if isinstance(modulator, FiLM):
        torch.nn.init.normal_(modulator.to_scale_and_shift.weight)
    features, behaviour = torch.randn(1, 4, 3, 3, 5), torch.randn(1, 6, 2)
    other = behaviour.clone()
    other[:, 2] += 1.0  # the first sample of the second token
    with torch.no_grad():
        before, _ = modulator.advance(None, features, behaviour)
        after, _ = modulator.advance(None, features, other)
    changed = (before != after).flatten(3).any(dim=3).any(dim=1)[0]
    assert changed.tolist() == [False, True, remembers]
