"""Splits: honest (nothing straddles, gaps where time runs on), complete, spread out, repeatable."""

from itertools import pairwise

import numpy as np
import pytest

from visioncore.config import build_config
from visioncore.data import Block, SplitConfig
from visioncore.data.splits import SPLITS, assign_blocks, spread_share
from visioncore.errors import ConfigError, DataError
from visioncore.recording import Split, Trial

RATE_HZ = 10.0
CONFIG = SplitConfig(block_s=20.0, split_gap_s=1.0)


def _assign(
    trials: dict[str, tuple[Trial, ...]], config: SplitConfig = CONFIG, burn_in_bins: int = 2
) -> dict[str, tuple[Block, ...]]:
    return assign_blocks(trials, RATE_HZ, burn_in_bins, config)


def _share(blocks: tuple[Block, ...], split: Split) -> float:
    return sum(b.n_bins for b in blocks if b.split == split) / sum(b.n_bins for b in blocks)


def _trials(n_trials: int, n_bins: int = 20, n_repeated: int = 0, repeats: int = 4) -> tuple[Trial, ...]:
    """Trials of unique stimuli, then `n_repeated` stimuli shown `repeats` times each."""
    ids = [f"unique-{k}" for k in range(n_trials)] + [
        f"repeated-{k // repeats}" for k in range(n_repeated * repeats)
    ]
    return tuple(Trial(k * n_bins, (k + 1) * n_bins, stimulus_id=name) for k, name in enumerate(ids))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_bins", [6000, 4567, 700])
def test_time_blocks_of_different_splits_are_separated_by_the_gap(n_bins: int, seed: int) -> None:
    config = SplitConfig(block_s=20.0, split_gap_s=1.0, seed=seed)
    blocks = _assign({"s": (Trial(0, n_bins),)}, config)["s"]
    assert {block.split for block in blocks} == set(SPLITS)
    for before, after in pairwise(blocks):
        assert before.stop <= after.start
        if before.split != after.split:
            assert after.start - before.stop == 10
    assert all(block.n_bins > 0 for block in blocks)
    assert (
        sum(block.n_bins for block in blocks) + 10 * sum(a.split != b.split for a, b in pairwise(blocks))
        == n_bins
    )


def test_time_blocks_get_their_shares_and_lie_all_over_the_session() -> None:
    blocks = _assign({"s": (Trial(0, 20_000),)})["s"]
    assert _share(blocks, "test") == pytest.approx(0.2, abs=0.03)
    assert _share(blocks, "validation") == pytest.approx(0.1, abs=0.03)
    tested = np.array([block.start for block in blocks if block.split == "test"])
    assert np.diff(np.concatenate([[0], tested, [20_000]])).max() < 2.5 * 20_000 / len(tested)


def test_the_seed_alone_decides() -> None:
    trials = {"s": (Trial(0, 20_000),), "t": _trials(40, n_repeated=3)}
    assert _assign(trials) == _assign(trials)
    others = [_assign(trials, SplitConfig(seed=seed)) for seed in range(1, 4)]
    assert all(other != _assign(trials) for other in others)


def test_neighbouring_training_blocks_are_joined_and_others_are_not() -> None:
    blocks = _assign({"s": (Trial(0, 20_000),)})["s"]
    assert max(b.n_bins for b in blocks if b.split == "train") > 200
    assert max(b.n_bins for b in blocks if b.split != "train") <= 200


def test_given_splits_stand_and_have_no_gaps() -> None:
    splits: tuple[Split, ...] = ("train", "test", "validation", "train")
    trials = tuple(Trial(k * 600, (k + 1) * 600, split=split) for k, split in enumerate(splits))
    assert [(b.start, b.stop, b.split) for b in _assign({"s": trials})["s"]] == [
        (t.start, t.stop, t.split) for t in trials
    ]


def test_repeats_go_to_the_test_split_first() -> None:
    blocks = _assign({"s": _trials(92, n_repeated=2)})["s"]
    for block in blocks:
        assert (block.split == "test") >= str(block.stimulus_id).startswith("repeated")
    assert _share(blocks, "test") == pytest.approx(0.2, abs=0.05)
    assert _share(blocks, "validation") == pytest.approx(0.1, abs=0.05)


def test_repeats_beyond_the_test_share_are_trained_on() -> None:
    blocks = _assign({"s": _trials(0, n_repeated=25)})["s"]
    assert _share(blocks, "test") == pytest.approx(0.2, abs=0.05)
    assert _share(blocks, "train") == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("seed", range(10))
def test_what_shares_a_stimulus_or_a_group_never_straddles_two_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = {
        session: tuple(
            Trial(
                k * 20,
                k * 20 + 20,
                stimulus_id=f"s{rng.integers(60)}" if rng.random() < 0.7 else None,
                group=f"g{rng.integers(60)}" if rng.random() < 0.3 else None,
            )
            for k in range(80)
        )
        for session in ("a", "b")
    }
    assigned = _assign(trials, SplitConfig(seed=seed))
    seen: dict[tuple[str, str], set[str]] = {}
    for block in (block for own in assigned.values() for block in own):
        for what, name in (("stimulus", block.stimulus_id), ("group", block.group)):
            if name is not None:
                seen.setdefault((what, name), set()).add(block.split)
    assert all(len(splits) == 1 for splits in seen.values())
    assert {block.split for own in assigned.values() for block in own} == set(SPLITS)


def test_a_given_split_decides_for_the_whole_group_in_every_session() -> None:
    linked = Trial(0, 20, split="test", group="photograph")
    follower = Trial(0, 20, group="photograph", stimulus_id="clip")
    further = Trial(20, 40, stimulus_id="clip")
    free = tuple(Trial(k * 20, (k + 1) * 20) for k in range(2, 30))
    assigned = _assign({"a": (linked, *free), "b": (follower, further, *free)})
    assert [block.split for block in assigned["b"][:2]] == ["test", "test"]


def test_a_group_in_two_given_splits_is_refused() -> None:
    trials = (Trial(0, 100, split="train", group="cat"), Trial(100, 200, split="test", group="cat"))
    with pytest.raises(
        DataError, match=r"bins 0 to 100 \(train\).*bins 100 to 200 \(test\) share group 'cat'"
    ):
        _assign({"s": trials})


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ((Trial(0, 300),), "nothing is left to train on.*block_s"),
        (tuple(Trial(k, k + 50, split="train") for k in (0, 50)), "in the validation split"),
        ((Trial(0, 50, split="train"), Trial(50, 90, split="validation")), "in the test split"),
        ((Trial(0, 50, split="test"), Trial(50, 90, split="validation")), "nothing is left to train on"),
    ],
)
def test_an_empty_split_is_refused_with_a_remedy(trials: tuple[Trial, ...], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        _assign({"s": trials})


def test_a_split_that_is_all_burn_in_is_refused() -> None:
    trials = tuple(Trial(k * 10, k * 10 + 10, split=split) for k, split in enumerate(SPLITS))
    with pytest.raises(DataError, match=r"longest train block has 10 bins.*burn_in_s"):
        _assign({"s": trials}, burn_in_bins=10)
    _assign({"s": trials}, burn_in_bins=9)


@pytest.mark.parametrize(
    "raw", [{"test": 0.6, "validation": 0.4}, {"test": 0}, {"block_s": 2.0, "split_gap_s": 0.6}, {"seed": -1}]
)
def test_settings_that_cannot_be_met_are_refused(raw: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"split.yaml"):
        build_config(SplitConfig, raw, "split.yaml")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_share_of_blocks_is_met_to_half_a_block_spread_over_time_and_part_of_every_larger_one(
    share: float,
) -> None:
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.integers(50, 150, 40))
    all_blocks = [Block(int(a), int(b), "train") for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    kept = spread_share(all_blocks, share)
    assert abs(sum(block.n_bins for block in kept) - share * ends[-1]) <= 75
    assert set(kept) < set(spread_share(all_blocks, share + 0.1))
    assert list(kept) == sorted(kept, key=lambda block: block.start)
    gaps = np.diff([0, *(block.start for block in kept), int(ends[-1])])
    assert gaps.max() < 3 * ends[-1] / len(kept)
    assert spread_share(all_blocks[:1], 0.1) == tuple(all_blocks[:1])


def _shown(ids: list[int], n_bins: int = 20) -> tuple[Trial, ...]:
    return tuple(Trial(k * n_bins, (k + 1) * n_bins, stimulus_id=str(i)) for k, i in enumerate(ids))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "sizes",
    [
        [8, 2, *[1] * 10],
        [8, *[1] * 12],
        [5, 5, *[1] * 10],
        [12, 4, *[1] * 4],
        [10, *[1] * 10],
        [6, 6, 1, 1, *[2] * 3],
        [40, 3, 3, *[1] * 14],
    ],
    ids=str,
)
def test_a_stimulus_shown_often_does_not_fill_a_split_far_beyond_its_share(
    sizes: list[int], seed: int
) -> None:
    ids = [i for i, size in enumerate(sizes) for _ in range(size)]
    np.random.default_rng(seed).shuffle(ids)
    blocks = _assign({"s": _shown(ids)}, SplitConfig(test=0.2, validation=0.1, seed=seed))["s"]
    trial = 1 / len(ids)
    assert 0.1 - trial <= _share(blocks, "test") <= 0.3 + trial
    assert 0.05 - trial <= _share(blocks, "validation") <= 0.15 + trial
    assert {block.split for block in blocks} == set(SPLITS)


@pytest.mark.parametrize("sizes", [[7, 7, 7], [10, 1, 1], [3, 9, 3, 9], [20, 10, 5]], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_every_split_is_filled_where_there_are_three_stimuli(sizes: list[int], seed: int) -> None:
    ids = [i for i, size in enumerate(sizes) for _ in range(size)]
    blocks = _assign({"s": _shown(ids)}, SplitConfig(seed=seed))["s"]
    assert {block.split for block in blocks} == set(SPLITS)


def test_a_share_that_whole_groups_miss_is_said(caplog: pytest.LogCaptureFixture) -> None:
    _assign({"s": _shown([0] * 7 + [1] * 7 + [2] * 7)})
    assert "session 's': 33 % of it is in the test split, and 20 % was asked" in caplog.text
    caplog.clear()
    _assign({"s": _trials(92, n_repeated=2)})
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("n_stimuli", "told"), [(1, "all trials show one stimulus"), (2, "all trials show 2 stimuli")]
)
def test_too_few_stimuli_to_differ_are_told_with_remedies_that_apply(n_stimuli: int, told: str) -> None:
    with pytest.raises(DataError, match=rf"{told}.*cannot differ in stimulus") as caught:
        _assign({"s": _shown([k % n_stimuli for k in range(12)])})
    assert "block_s" not in str(caught.value)


def test_given_splits_that_lack_one_are_told_so() -> None:
    trials = tuple(Trial(k * 20, k * 20 + 20, split="train", stimulus_id=str(k)) for k in range(6))
    with pytest.raises(DataError, match="give at least one trial to every split"):
        _assign({"s": trials})


def _divided_by_the_first_rules(trials: tuple[Trial, ...], config: SplitConfig) -> list[Split]:
    """An independent telling of how version 1 chose, for one session of groups alone."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(str(trial.stimulus_id), []).append(trial)
    names = list(groups)
    order = list(np.random.default_rng([config.seed, 0]).permutation(len(names)))
    order.sort(key=lambda number: len(groups[names[number]]) == 1)
    total = sum(trial.stop - trial.start for trial in trials)
    has = {"test": 0, "validation": 0, "train": 0}
    chosen: dict[str, Split] = {}
    for number in order:
        name = names[number]
        size = sum(trial.stop - trial.start for trial in groups[name])
        chosen[name] = "train"
        for split, share in (("test", config.test), ("validation", config.validation)):
            if has[split] == 0 or share * total - has[split] >= size / 2:
                chosen[name] = split  # type: ignore[assignment]
                break
        has[chosen[name]] += size
    return [chosen[str(trial.stimulus_id)] for trial in trials]


def test_a_group_fills_what_a_single_time_block_leaves_empty() -> None:
    sizes = (320, 320, 320)
    starts = np.cumsum([0, *sizes])
    trials = [Trial(int(a), int(a) + n, stimulus_id=str(a)) for a, n in zip(starts, sizes, strict=False)]
    spontaneous = Trial(int(starts[-1]), int(starts[-1]) + 40)
    blocks = _assign({"s": (*trials, spontaneous)})["s"]
    assert {block.split for block in blocks} == set(SPLITS)


@pytest.mark.parametrize("seed", range(30))
def test_what_fills_a_split_takes_no_session_its_last_training(seed: int) -> None:
    """Sessions that share stimuli: wherever the first rules found a division, there is one."""
    rng = np.random.default_rng(seed)
    shared = _shown([int(i) for i in rng.integers(0, 4, 12)])
    own = tuple(
        Trial(k * 20, k * 20 + 20, stimulus_id=f"own {i}") for k, i in enumerate(rng.integers(0, 6, 12))
    )
    mixed = (*own[:9], *(Trial(180 + k * 20, 200 + k * 20, stimulus_id=str(k)) for k in range(2)))
    blocks = _assign({"a": shared, "b": mixed}, SplitConfig(seed=seed))
    assert all(any(block.split == "train" for block in own) for own in blocks.values())


@pytest.mark.parametrize("n_stimuli", range(3, 12))
def test_stimuli_of_one_length_are_divided_as_by_the_first_rules(n_stimuli: int) -> None:
    for seed in range(5):
        config = SplitConfig(seed=seed)
        trials = _shown(list(range(n_stimuli)))
        division = assign_blocks({"s": trials}, RATE_HZ, 2, config)
        assert [block.split for block in division["s"]] == _divided_by_the_first_rules(trials, config)


def test_a_share_that_time_blocks_miss_is_said_with_their_own_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _assign({"s": (Trial(0, 800),)})
    assert "it has 4 time blocks; make split.block_s shorter" in caplog.text
    assert "stimulus_id" not in caplog.text


def test_repeats_that_train_while_the_test_split_has_none_are_said(caplog: pytest.LogCaptureFixture) -> None:
    _assign({"s": _shown([0] * 8 + list(range(1, 13)))})
    assert "no stimulus of the test split is shown twice" in caplog.text
    caplog.clear()
    _assign({"s": _trials(92, n_repeated=2)})
    assert caplog.text == ""


def test_one_long_film_is_divided_by_clips_alike_in_every_repeat_and_session() -> None:
    film = tuple(Trial(k * 1000, k * 1000 + 998 + k % 3, stimulus_id="film") for k in range(4))
    part = Trial(5000, 5400, stimulus_id="film, frames 600 to 999", group="film")
    config = SplitConfig(block_s=20.0, cut_stimuli=True)
    blocks = _assign({"s": (*film, part), "other": film[:1]}, config)
    of_clip: dict[str, set[tuple[int, Split]]] = {}
    for block in (*blocks["s"], *blocks["other"]):
        assert block.start < 5000
        if block.stimulus_id is not None:
            of_clip.setdefault(block.stimulus_id, set()).add((block.start % 1000, block.split))
    assert {split for found in of_clip.values() for _, split in found} >= {"test", "validation"}
    assert all(len(found) == 1 for found in of_clip.values())
    tested = [block for block in blocks["s"] if block.split == "test"]
    assert len({block.stimulus_id for block in tested}) * 4 == len(tested)
    for before, after in pairwise(blocks["s"]):
        if before.start // 1000 == after.start // 1000 and before.split != after.split:
            assert after.start - before.stop == 10


def test_without_clips_one_long_film_is_refused_and_the_setting_named() -> None:
    with pytest.raises(DataError, match="cut_stimuli"):
        _assign({"s": tuple(Trial(k * 1000, k * 1000 + 1000, stimulus_id="film") for k in range(4))})
