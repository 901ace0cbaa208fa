"""Clips: a pure function of seed and index, inside their blocks, honest masks, each session its share."""

import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from visioncore.config import dump_config
from visioncore.data import (
    Batch,
    ClipDataset,
    DataConfig,
    Mixing,
    RecordingStore,
    SessionClips,
    StepSampler,
    build_data_config,
    prepare,
)
from visioncore.data.balance import balance_weights, clip_weights
from visioncore.data.clips import clip_length
from visioncore.errors import DataError
from visioncore.recording import Split

Balance = Literal["subject", "session", "none"]
BURN_IN = 6


def _dataset(store: RecordingStore, clip_frames: int = 50, clips: int = 4, seed: int = 0) -> ClipDataset:
    return ClipDataset(store, clip_frames, clips, seed, balance="subject")


def _equal(a: Batch, b: Batch) -> bool:
    return len(a) == len(b) and all(_equal_clips(x, y) for x, y in zip(a, b, strict=True))


def _equal_clips(a: SessionClips, b: SessionClips) -> bool:
    if (a.session, a.starts) != (b.session, b.starts) or a.behaviour is None or b.behaviour is None:
        return False
    pairs = ((a.video, b.video), (a.behaviour, b.behaviour), (a.responses, b.responses), (a.valid, b.valid))
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_batch_depends_on_seed_and_index_alone(tiny_store: RecordingStore) -> None:
    forwards, backwards = _dataset(tiny_store), _dataset(RecordingStore(tiny_store.path))
    first = [forwards[i] for i in range(8)]
    assert all(_equal(first[i], backwards[i]) for i in reversed(range(8)))
    assert not any(_equal(first[0], other) for other in first[1:])
    assert not _equal(first[0], _dataset(tiny_store, seed=1)[0])


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_workers_give_the_batches_of_the_main_process(
    cache: Literal["none", "memory"], tiny_store: RecordingStore
) -> None:
    dataset = _dataset(RecordingStore(tiny_store.path, cache=cache))
    expected = [dataset[i] for i in range(6)]
    loader = DataLoader(dataset, batch_size=None, sampler=StepSampler(6), num_workers=2)
    assert all(_equal(a, b) for a, b in zip(loader, expected, strict=True))
    spawned = pickle.loads(pickle.dumps(dataset))
    assert all(_equal(spawned[i], expected[i]) for i in range(6))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("clip_frames", [30, 130])
def test_clips_hold_what_was_recorded_in_blocks_of_their_split(
    clip_frames: int, split: Split, tiny_store: RecordingStore
) -> None:
    dataset = ClipDataset(tiny_store, clip_frames, 5, seed=3, balance="none", split=split)
    for clips in (clips for i in range(20) for clips in dataset[i]):
        session = tiny_store.sessions[clips.session]
        n_units = len(session.unit_ids)
        assert clips.video.shape == (len(clips.starts), 1, clip_frames, 5, 7)
        assert clips.video.dtype == torch.uint8
        assert clips.video.is_contiguous()
        assert clips.responses.shape == clips.valid.shape == (len(clips.starts), clip_frames, n_units)
        assert clips.behaviour is not None
        for k, start in enumerate(clips.starts):
            (block,) = [b for b in session.blocks_in(split) if b.start <= start < b.stop]
            length = min(clip_frames, block.n_bins)
            stop = start + length
            assert stop <= block.stop
            np.testing.assert_array_equal(
                clips.video[k, :, :length].swapaxes(0, 1), session.video(start, stop)
            )
            np.testing.assert_array_equal(clips.responses[k, :length], session.responses(start, stop))
            np.testing.assert_array_equal(clips.behaviour[k, :length], session.behaviour(start, stop))
            np.testing.assert_array_equal(
                clips.valid[k, BURN_IN:length], session.valid(start + BURN_IN, stop)
            )
            assert not clips.valid[k, :BURN_IN].any()
            assert not clips.valid[k, length:].any()


def test_short_blocks_are_padded_and_occur(tiny_store: RecordingStore) -> None:
    dataset = ClipDataset(tiny_store, 130, 5, seed=3, balance="none", split="validation")
    assert any(not clips.valid[:, -1].any() for clips in dataset[0])


def test_every_training_bin_is_drawn_and_no_other(tiny_store: RecordingStore) -> None:
    dataset = _dataset(tiny_store, clip_frames=20, clips=40)
    drawn = {session: np.zeros(store.n_bins, int) for session, store in tiny_store.sessions.items()}
    for clips in (clips for i in range(120) for clips in dataset[i]):
        for start in clips.starts:
            drawn[clips.session][start : start + 20] += 1
    for session, store in tiny_store.sessions.items():
        train = np.zeros(store.n_bins, bool)
        for block in store.blocks_in("train"):
            train[block.start : block.stop] = True
        assert not drawn[session][~train].any()
        assert (drawn[session][train] > 0).mean() > 0.98


@pytest.mark.parametrize(
    ("balance", "expected"),
    [("subject", [0.3, 0.2, 0.5]), ("session", [1 / 3] * 3), ("none", [0.3, 0.2, 0.5])],
)
def test_balance_shares_out_the_clips(balance: Balance, expected: list[float]) -> None:
    np.testing.assert_allclose(balance_weights(("a", "a", "b"), (300, 200, 500), balance), expected)


def test_a_subject_with_little_data_counts_as_much_as_another() -> None:
    weights = balance_weights(("a", "a", "b"), (3000, 1000, 10), "subject")
    np.testing.assert_allclose(weights, [0.375, 0.125, 0.5])


@pytest.mark.parametrize("clips_per_batch", [1, 3, 16])
def test_each_session_gets_its_share_in_every_batch_and_over_batches(
    clips_per_batch: int, tiny_store: RecordingStore
) -> None:
    dataset = _dataset(tiny_store, clips=clips_per_batch)
    sessions = list(tiny_store.sessions)
    counts = np.zeros((200, len(sessions)))
    for i in range(200):
        for clips in dataset[i]:
            counts[i, sessions.index(clips.session)] = len(clips.starts)
    assert (counts.sum(1) == clips_per_batch).all()
    assert (np.abs(counts - dataset.weights * clips_per_batch) < 1).all()
    share = counts.sum(0) / counts.sum()
    # Drawing at random would miss by about 1/sqrt(200).
    np.testing.assert_allclose(share, dataset.weights, atol=0.01)


def _windows(dataset: ClipDataset, batches: range) -> list[tuple[str, int]]:
    parts = [clips for i in batches for clips in dataset[i]]
    return sorted((clips.session, start) for clips in parts for start in clips.starts)


@pytest.mark.parametrize("mixing", ["clips", "session", "round"])
def test_a_step_has_the_same_clips_however_they_are_dealt_out(
    mixing: Mixing, tiny_store: RecordingStore
) -> None:
    def dealt(clips: int, batches: int) -> ClipDataset:
        return ClipDataset(
            tiny_store, 50, clips, seed=4, balance="subject", batches_per_step=batches, mixing=mixing
        )

    for step in range(5):
        whole = _windows(dealt(6, 1), range(step, step + 1))
        assert len(whole) == 6
        assert whole == _windows(dealt(2, 3), range(3 * step, 3 * step + 3))
        assert whole == _windows(dealt(1, 6), range(6 * step, 6 * step + 6))


@pytest.mark.parametrize("mixing", ["clips", "session", "round"])
def test_each_session_counts_as_much_as_its_share_whatever_a_step_holds(
    mixing: Mixing, tiny_store: RecordingStore
) -> None:
    n_sessions = len(tiny_store.sessions)
    dataset = ClipDataset(tiny_store, 50, n_sessions, 0, "subject", batches_per_step=2, mixing=mixing)
    own = dict(zip(tiny_store.sessions, clip_weights(tiny_store, dataset._blocks), strict=True))
    counted, most = dict.fromkeys(tiny_store.sessions, 0.0), 0
    for step in range(200):
        parts = [clips for i in (2 * step, 2 * step + 1) for clips in dataset[i]]
        for clips in parts:
            counted[clips.session] += len(clips.starts) * clips.weight / own[clips.session]
        most = max(most, len({clips.session for clips in parts}))
        if mixing == "round":
            assert len({clips.session for clips in parts}) == n_sessions
    assert (most == 1) is (mixing == "session")
    share = np.array(list(counted.values())) / sum(counted.values())
    np.testing.assert_allclose(share, dataset.weights, atol=0.01)


def test_a_step_that_holds_no_whole_rounds_is_refused(tiny_store: RecordingStore) -> None:
    n_sessions = len(tiny_store.sessions)
    with pytest.raises(DataError, match=f"a step has {n_sessions + 1} clips, which are no rounds of"):
        ClipDataset(tiny_store, 50, n_sessions + 1, 0, "subject", mixing="round")


def test_clips_that_are_all_burn_in_are_refused(tiny_store: RecordingStore) -> None:
    with pytest.raises(DataError, match="clips of 6 frames are all burn-in"):
        _dataset(tiny_store, clip_frames=BURN_IN)


def test_ranks_share_the_batches_without_overlap() -> None:
    samplers = [StepSampler(5, rank=rank, world_size=3) for rank in range(3)]
    seen: list[int] = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
            seen.extend(sampler)
    assert sorted(seen) == list(range(30))


def test_clips_move_to_a_device_whole(tiny_store: RecordingStore) -> None:
    moved = _dataset(tiny_store)[0][0].to("meta")
    assert moved.behaviour is not None
    assert {t.device.type for t in (moved.video, moved.behaviour, moved.responses, moved.valid)} == {"meta"}


def test_a_recording_without_behaviour_gives_clips_without(tiny_config: tuple[DataConfig, Path]) -> None:
    config, folder = tiny_config
    raw = dump_config(config)
    for session in raw["params"]["sessions"]:
        session.update(behaviour=None, behaviour_names=None)
    store = prepare(build_data_config(raw, "still.yaml"), folder)
    assert _dataset(store)[0][0].behaviour is None
    assert store.spec.sessions[0].normalisation.behaviour_mean == ()


def test_clips_for_training_are_no_longer_than_any_block(tiny_store: RecordingStore) -> None:
    longest = max(b.n_bins for s in tiny_store.sessions.values() for b in s.blocks_in("train"))
    assert clip_length(tiny_store, longest - 1) == longest - 1
    assert clip_length(tiny_store, 10 * longest) == longest
