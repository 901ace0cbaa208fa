"""Gradients and attributions of a rate: against finite differences, captum, and what they must sum up to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

from known_cells import Cells, linear_twin, record, vivit_twin
from visioncore.data import RecordingStore
from visioncore.lab.gradients import Differentiated, Moments, draw_moments, integrated_gradients, smooth_grad
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.model.modulators import ConvGRUConfig

GREY = np.array([127.0], np.float32)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return record(tmp_path_factory.mktemp("cells"), "white", seconds=120)


def moments_of(twin: Twin, cells: Cells, count: int = 3) -> Moments:
    session = cells.store.sessions["one"]
    found = draw_moments(twin, session, session.blocks_in("validation"), count, 10, np.random.default_rng(0))
    assert found is not None
    return found


def test_a_moments_rate_is_that_of_its_bin(cells: Cells) -> None:
    twin = vivit_twin(cells.store)
    moments = moments_of(twin, cells)
    function = Differentiated(twin, moments)
    with torch.no_grad():
        found = function.rates(function.pixels()).numpy()
    session = cells.store.sessions["one"]
    for own, at in zip(found, moments.bins, strict=True):
        video = session.video(at + 1 - moments.video.shape[1], at + 1)
        np.testing.assert_allclose(own, twin.predict(video, session="one")[-1], rtol=1e-4)


def test_a_gradient_that_is_not_asked_for_leaves_onednn_as_it_was(cells: Cells) -> None:
    before = torch.backends.mkldnn.enabled
    twin = vivit_twin(cells.store)
    function = Differentiated(twin, moments_of(twin, cells))
    gradients = function.gradients(function.pixels(), np.array([0, 1]))
    next(gradients)
    assert torch.backends.mkldnn.enabled == before


def test_a_moments_behaviour_is_that_of_its_bins(tiny_store: RecordingStore) -> None:
    torch.manual_seed(0)
    config = TwinConfig(sampling_rate=60.0, convnet=ViViTConfig.tiny(), modulator=ConvGRUConfig.tiny())
    twin = config.build(tiny_store.spec)
    session = tiny_store.sessions["a"]
    moments = draw_moments(twin, session, session.blocks_in("train"), 3, 10, np.random.default_rng(0))
    assert moments is not None
    function = Differentiated(twin, moments)
    with torch.no_grad():
        found = function.rates(function.pixels()).numpy()
    n = moments.video.shape[1]
    for k, own in enumerate(found):
        assert moments.behaviour is not None
        together = twin.predict(moments.video[k], moments.behaviour[k], session="a")
        np.testing.assert_allclose(own, together[n - 1], rtol=1e-4)


def test_a_gradient_is_the_change_of_the_rate(cells: Cells) -> None:
    twin = vivit_twin(cells.store).double()
    function = Differentiated(twin, moments_of(twin, cells))
    pixels = function.pixels().double()
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for column, (_, gradient) in enumerate(function.gradients(pixels, np.arange(2))):
        with torch.no_grad():
            ahead, behind = (function.rates(pixels + step * direction)[:, column] for step in (1e-3, -1e-3))
        slope = (gradient * direction).sum((1, 2, 3, 4))
        torch.testing.assert_close(slope, (ahead - behind) / 2e-3, rtol=1e-2, atol=1e-7)


def test_integrated_gradients_sum_up_to_the_rate_above_grey_and_are_captums(cells: Cells) -> None:
    twin = vivit_twin(cells.store)
    moments = moments_of(twin, cells)
    found = integrated_gradients(twin, moments, 1, GREY, steps=64)
    function = Differentiated(twin, moments)
    shown = function.pixels()
    grey = torch.full_like(shown, 127.0)
    with torch.no_grad():
        above = (function.rates(shown) - function.rates(grey))[:, 1].numpy()
    np.testing.assert_allclose(found.sum((1, 2, 3, 4)), above, atol=0.02 * float(np.abs(above).max()))
    theirs = IntegratedGradients(lambda x: function.rates(x)[:, 1], multiply_by_inputs=True).attribute(
        shown, baselines=grey, n_steps=64, method="riemann_middle", internal_batch_size=3
    )
    np.testing.assert_allclose(found, theirs.detach().transpose(1, 2).numpy(), rtol=1e-3, atol=1e-7)


def test_smooth_grad_is_captums(cells: Cells) -> None:
    twin = vivit_twin(cells.store)
    moments = moments_of(twin, cells).take(slice(0, 1))
    function = Differentiated(twin, moments)
    shown = function.pixels()
    found = smooth_grad(twin, moments, 0, np.random.default_rng(0), samples=60)
    spread = float(0.1 * (shown.max() - shown.min()))
    torch.manual_seed(0)
    tunnel = NoiseTunnel(Saliency(lambda x: function.rates(x)[:, 0]))
    repeated = [
        tunnel.attribute(shown, nt_type="smoothgrad", nt_samples=1, stdevs=spread, abs=False)
        for _ in range(60)
    ]
    theirs = torch.stack(repeated).mean(0).transpose(1, 2).numpy()
    # Two averages over different noise.
    assert np.corrcoef(found.ravel(), theirs.ravel())[0, 1] > 0.9


def test_a_linear_units_gradient_has_one_shape_at_every_moment(cells: Cells) -> None:
    twin = linear_twin(cells.store)
    moments = moments_of(twin, cells)
    function = Differentiated(twin, moments)
    ((_, gradient),) = function.gradients(function.pixels(), np.array([0]))
    flat = gradient.flatten(1).numpy()
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, 1, atol=1e-4)


def test_blocks_that_are_too_short_give_no_moments(cells: Cells) -> None:
    twin, session = linear_twin(cells.store), cells.store.sessions["one"]
    blocks = session.blocks_in("validation")
    assert draw_moments(twin, session, blocks, 4, 10**6, np.random.default_rng(0)) is None
    assert draw_moments(twin, session, (), 4, 10, np.random.default_rng(0)) is None


def test_video_before_a_block_is_its_first_frame(cells: Cells, tmp_path: Path) -> None:
    twin, session = linear_twin(cells.store), cells.store.sessions["one"]
    block = session.blocks_in("validation")[0]
    found = draw_moments(twin, session, (block,), 3, 5, np.random.default_rng(1))
    assert found is not None
    assert all(block.start <= at < block.stop for at in found.bins)
    first = found.bins[0]
    inside = first - block.start + 1
    lacking = found.video.shape[1] - inside
    if lacking > 0:
        assert (found.video[0, :lacking] == session.video(block.start, block.start + 1)).all()
