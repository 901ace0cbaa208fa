"""What a twin keeps to whatever parts it is made of; for parts of the product and for those of the how-tos."""

import torch
from torch import Tensor

from specs import data_spec
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.model.outputs import BaseOutputConfig, CountOutput
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.optimisers import AdamWConfig

HEIGHT, WIDTH, FRAMES = 14, 22, 15
SESSIONS = ("a", "b")
SPEC = data_spec(
    height=HEIGHT,
    width=WIDTH,
    sampling_rate_hz=60.0,
    behaviour_names=("x", "y"),
    sessions=tuple(
        SessionSpec(id=name, subject="m", unit_ids=("1", "2", "3", "4")[: 3 + place])
        for place, name in enumerate(SESSIONS)
    ),
    constants=Normalisation(
        video_mean=(120.0,), video_std=(50.0,), behaviour_mean=(0.0, 1.0), behaviour_std=(1.0, 2.0)
    ),
)


def config_with(**parts: object) -> TwinConfig:
    """A small ViViT with these parts in place of its own."""
    plain = TwinConfig(sampling_rate=60, convnet=ViViTConfig.tiny())
    return plain.model_copy(update=parts)


def build(config: TwinConfig) -> Twin:
    """Every part of it has something to say: what starts at zero does not stay there."""
    torch.manual_seed(0)
    twin = config.build(SPEC).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return twin


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (2, 1, FRAMES, HEIGHT, WIDTH), generator=generator).float()
    return video, torch.randn(2, FRAMES, 2, generator=generator)


def require_contracts(config: TwinConfig) -> Twin:
    """Causality to the last bit, streaming, sessions apart, gradients, training: all that a new part may break."""
    twin = build(config)
    with torch.no_grad():
        _looks_at_no_later_bin(twin)
        _streams(twin)
    _learns(twin)
    again = config.build(SPEC).eval()
    again.load_state_dict(twin.state_dict())
    video, behaviour = inputs()
    assert torch.equal(
        again.rates(video, behaviour, session="b").nan_to_num(-1.0),
        twin.rates(video, behaviour, session="b").nan_to_num(-1.0),
    )
    return twin


def require_a_curve(config: BaseOutputConfig) -> None:
    """Its inverse and its slope belong to its curve."""
    output = config.build(5)
    assert isinstance(output, CountOutput)
    rate = torch.tensor([0.001, 0.05, 0.3, 1.0, 4.0])
    x = output.inverse(rate).detach().requires_grad_()
    found = output.curve(x)
    torch.testing.assert_close(found, rate)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(output.slope(rate).detach(), slope, rtol=1e-4, atol=1e-6)


def _looks_at_no_later_bin(twin: Twin) -> None:
    video, behaviour = inputs()
    before = twin.rates(video, behaviour, session="a")
    assert (~before.isnan()).any(dim=2).any(dim=0).tolist() == [t >= twin.stride - 1 for t in range(FRAMES)]
    assert (before[:, twin.stride - 1 :] >= 0).all()
    seen = False
    for t in (0, 6, 11):
        other, samples = video.clone(), behaviour.clone()
        other[:, :, t] = 255 - other[:, :, t]
        samples[:, t] += 3
        for changed in (
            twin.rates(other, behaviour, session="a"),
            twin.rates(video, samples, session="a"),
        ):
            assert torch.equal(changed[:, :t].nan_to_num(-1.0), before[:, :t].nan_to_num(-1.0))
            seen |= not torch.equal(changed.nan_to_num(-1.0), before.nan_to_num(-1.0))
    assert seen


def _streams(twin: Twin) -> None:
    video, behaviour = inputs()
    whole = twin.rates(video, behaviour, session="b")
    for lengths in ([1] * FRAMES, [4, 7, 4]):
        chunks = zip(video.split(lengths, dim=2), behaviour.split(lengths, dim=1), strict=True)
        found = torch.cat(list(twin.walk(chunks, session="b")), dim=1)
        torch.testing.assert_close(found, whole, equal_nan=True)


def _learns(twin: Twin) -> None:
    video, behaviour = inputs()
    rates = twin.train()([InputClips(name, video, behaviour) for name in SESSIONS])
    torch.stack([(own[:, twin.stride :] - 0.3).square().sum() for own in rates]).sum().backward()
    dead = [
        n for n, p in twin.named_parameters() if p.numel() and (p.grad is None or not (p.grad != 0).any())
    ]
    assert dead == []
    grouped = [id(p) for group in AdamWConfig().parameter_groups(twin) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in twin.parameters())
    twin.eval()
