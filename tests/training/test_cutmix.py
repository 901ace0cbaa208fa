"""What a pasted box changes, and what the targets of a mixed clip are."""

import numpy as np
import pytest
import torch

from visioncore.data import SessionClips
from visioncore.training.cutmix import cutmix

HEIGHT, WIDTH, TIME = 9, 14, 6


def clips(session: str = "a", n: int = 3) -> SessionClips:
    """Clip i is 10 · i everywhere: pixels, responses and behaviour."""
    level = 10.0 * torch.arange(n)
    valid = torch.ones(n, TIME, 2, dtype=torch.bool)
    valid[0, 4:] = False
    return SessionClips(
        session=session,
        video=level.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 1, TIME, HEIGHT, WIDTH).clone(),
        behaviour=level.view(-1, 1, 1).expand(-1, TIME, 3).clone(),
        responses=level.view(-1, 1, 1).expand(-1, TIME, 2).clone(),
        valid=valid,
        lengths=(4, *[TIME] * (n - 1)),
        starts=tuple(range(n)),
    )


def mixed(seed: int, n: int = 3) -> SessionClips:
    (part,) = cutmix((clips(n=n),), 1.0, np.random.default_rng(seed))
    return part


many_draws = pytest.mark.parametrize("seed", range(30))


@many_draws
def test_a_box_of_one_other_clip_is_pasted_at_all_times(seed: int) -> None:
    part = mixed(seed)
    for own, video in zip((0, 10, 20), part.video[:, 0], strict=True):
        assert bool((video == video[0]).all())
        pasted = video[0] != own
        assert len(video[0][pasted].unique()) <= 1
        rows, columns = pasted.any(dim=1), pasted.any(dim=0)
        assert torch.equal(pasted, rows[:, None] & columns[None])
        assert bool((rows.int().diff().abs().sum() + columns.int().diff().abs().sum()) <= 4)


@many_draws
def test_targets_are_the_mean_of_the_frame(seed: int) -> None:
    part = mixed(seed)
    frame = part.video.double().mean(dim=(1, 3, 4))
    assert part.behaviour is not None
    for signal in (part.responses, part.behaviour):
        assert torch.allclose(signal.double(), frame[..., None].expand_as(signal), atol=1e-5)


def test_boxes_of_all_sizes_are_drawn_and_no_clip_is_mixed_with_itself() -> None:
    parts = [mixed(seed, n=2) for seed in range(400)]
    shares = np.array([float(part.responses[0].mean()) / 10 for part in parts])
    assert shares.min() < 0.02
    assert shares.max() > 0.8
    # Of uniform areas, less what hangs over the edges.
    assert 0.25 < shares.mean() < 0.45
    assert np.corrcoef(shares, [float(part.responses[1].mean()) for part in parts])[0, 1] == pytest.approx(-1)


@many_draws
def test_a_bin_counts_where_both_clips_count(seed: int) -> None:
    part = mixed(seed)
    expected = torch.ones(3, TIME, 2, dtype=torch.bool)
    partner = int((part.valid[1:].all(dim=(1, 2))).logical_not().nonzero().item()) + 1
    expected[[0, partner], 4:] = False
    assert torch.equal(part.valid, expected)
    assert [part.lengths[i] for i in range(3)] == [4 if i in (0, partner) else TIME for i in range(3)]


def test_draws_depend_on_the_generator_alone_and_leave_the_batch_as_it_was() -> None:
    batch = (clips("a"), clips("b", n=1))
    first, second = (cutmix(batch, 1.0, np.random.default_rng(7)) for _ in range(2))
    other = cutmix(batch, 1.0, np.random.default_rng(8))
    assert torch.equal(first[0].video, second[0].video)
    assert not torch.equal(first[0].video, other[0].video)
    assert torch.equal(batch[0].video, clips().video)
    assert torch.equal(batch[0].responses, clips().responses)
    assert first[1] is batch[1]


def test_the_share_of_mixed_batches_is_the_probability() -> None:
    batch = (clips(),)
    assert all(cutmix(batch, 0.0, np.random.default_rng(seed)) is batch for seed in range(50))
    changed = sum(cutmix(batch, 0.3, np.random.default_rng(seed)) is not batch for seed in range(1000))
    assert 250 < changed < 350
