"""What a session counts in the loss depends neither on its rates, units and gaps, nor on how clips are dealt out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flawed import N_UNITS, VIVIT, prepared, recording, started
from visioncore.data import Batch, ClipDataset, RecordingStore, SessionClips
from visioncore.data.balance import clip_weights
from visioncore.training.experiment import TrainingConfig
from visioncore.training.lit_twin import LitTwin
from visioncore.training.plan import RunPlan


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    """A session, one of four times its rates, and one of which half is missing."""
    gaps = recording(seed=2)
    gaps["ok"] = np.random.default_rng(0).random(gaps["spikes"].shape) < 0.5
    return prepared(tmp_path_factory.mktemp("uneven"), recording(), recording(0.8, seed=1), gaps)


def weights(store: RecordingStore) -> np.ndarray:
    return clip_weights(store, {name: own.blocks_in("train") for name, own in store.sessions.items()})


def test_high_rates_and_gaps_make_no_session_count_for_more(store: RecordingStore) -> None:
    slow, fast, with_gaps = weights(store)
    rates = [own.train_mean.mean() for own in store.sessions.values()]
    assert slow / fast == pytest.approx(rates[1] / rates[0])
    assert with_gaps / slow == pytest.approx(2 * rates[0] / rates[2], rel=0.05)


def test_a_session_of_its_own_has_no_weight(tmp_path: Path) -> None:
    np.testing.assert_allclose(weights(prepared(tmp_path, recording(3.0))), 1.0)


def module_of(store: RecordingStore) -> LitTwin:
    torch.manual_seed(0)
    twin = started(store, VIVIT).train()
    plan = RunPlan(epochs=1, steps_per_epoch=1, batches_per_step=1, data_fingerprint="")
    return LitTwin(twin, TrainingConfig(), plan, store, "none")


def gradient(module: LitTwin, batches: list[Batch]) -> tuple[float, torch.Tensor]:
    """Mean loss, and its gradient in the core."""
    module.zero_grad()
    losses = [module.loss(batch)[0] / len(batches) for batch in batches]
    loss = torch.stack(losses).sum()
    loss.backward()
    core = module.twin.trunk.core
    assert core is not None
    return float(loss.detach()), torch.cat(
        [w.grad.flatten() for w in core.parameters() if w.grad is not None]
    )


def test_a_step_is_the_same_however_its_clips_are_dealt_out(store: RecordingStore) -> None:
    module = module_of(store)
    found = [
        gradient(
            module,
            [ClipDataset(store, 96, 6 // n, 1, "session", batches_per_step=n)[2 * n + k] for k in range(n)],
        )
        for n in (1, 2, 6)
    ]
    for loss, change in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(change, found[0][1], rtol=1e-4, atol=1e-6)


def twice(part: SessionClips) -> SessionClips:
    return replace(
        part,
        responses=torch.cat((part.responses, part.responses), dim=-1),
        valid=torch.cat((part.valid, part.valid), dim=-1),
    )


def test_more_units_make_no_session_count_for_more(tmp_path: Path) -> None:
    """A session of every unit twice moves the core as the session does."""
    arrays = recording()
    double = {
        key: np.concatenate((a, a), 1) if key in ("spikes", "truth") else a for key, a in arrays.items()
    }
    one, two = prepared(tmp_path / "one", arrays), prepared(tmp_path / "two", double)
    module, other = module_of(one), module_of(two)
    with torch.no_grad():
        head, wide = (m.twin.heads["s0"].state_dict() for m in (module, other))
        for name, tensor in head.items():
            axis = next((k for k in range(tensor.ndim) if tensor.shape[k] != wide[name].shape[k]), None)
            wide[name].copy_(tensor if axis is None else torch.cat((tensor, tensor), dim=axis))
        other.twin.trunk.load_state_dict(module.twin.trunk.state_dict())
    batch = ClipDataset(one, 96, 2, 0, "none")[0]
    assert two.spec.sessions[0].unit_ids[:N_UNITS] != two.spec.sessions[0].unit_ids[N_UNITS:]
    loss, change = gradient(module, [batch])
    loss_of_two, change_of_two = gradient(other, [tuple(twice(part) for part in batch)])
    assert loss_of_two == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(change_of_two, change, rtol=1e-3, atol=1e-6)
