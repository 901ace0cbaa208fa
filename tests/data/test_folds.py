"""Folds and splits by kind: every trial is tested once, nothing that is tested is trained on."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visioncore.config import build_config, dump_config
from visioncore.data import Block, DataConfig, SplitConfig, prepare
from visioncore.data.folds import ByKind
from visioncore.data.splits import assign_blocks
from visioncore.errors import ConfigError, DataError
from visioncore.recording import Split, Trial

RATE_HZ = 10.0
Trials = dict[str, tuple[Trial, ...]]


def _assign(trials: Trials, **split: Any) -> dict[str, tuple[Block, ...]]:
    config = build_config(SplitConfig, split, "split")
    return assign_blocks(trials, RATE_HZ, 2, config)


def _clips(session: str = "", n: int = 30, n_repeated: int = 4, repeats: int = 5) -> tuple[Trial, ...]:
    names = [f"clip-{k}" for k in range(n)] + [
        f"repeat-{k}" for k in range(n_repeated) for _ in range(repeats)
    ]
    order = np.random.default_rng(len(session)).permutation(len(names))
    return tuple(Trial(20 * k, 20 * (k + 1), stimulus_id=names[i]) for k, i in enumerate(order))


TRIALS: dict[str, Trials] = {
    "clips": {"a": _clips(), "b": _clips("b")},
    "a film": {"a": (Trial(0, 20_000),), "b": (Trial(0, 9_000),)},
    "both": {"a": (*_clips(), Trial(1000, 6000), Trial(6000, 6020)), "b": _clips("b", n=12)},
    "a short session": {"a": (Trial(0, 20_000),), "b": (Trial(0, 800),)},
    "few clips": {
        "a": _clips(),
        "b": tuple(Trial(20 * k, 20 * k + 20, stimulus_id=f"b-{k}") for k in range(3)),
    },
    "photographs": {"a": tuple(Trial(20 * k, 20 * k + 20, group=f"photo-{k % 25}") for k in range(75))},
    "given": {
        "a": tuple(
            Trial(20 * k, 20 * k + 20, split=("train", "test", "validation")[k % 3], stimulus_id=f"{k}")
            for k in range(40)
        )
    },
}


@pytest.mark.parametrize("trials", TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("folds", [2, 5, 7])
def test_every_bin_is_tested_once_over_the_folds(trials: Trials, folds: int) -> None:
    tested: Counter[tuple[str, int]] = Counter()
    for fold in range(folds):
        divided = _assign(trials, fold=fold, folds=folds)
        assert divided == _assign(trials, fold=fold, folds=folds)
        for session, blocks in divided.items():
            held_out = [block for block in blocks if block.split == "test"]
            tested.update((session, at) for block in held_out for at in range(block.start, block.stop))
    assert set(tested.values()) == {1}
    for session, own in trials.items():
        for trial in own:
            # Between test and validation blocks of one trial the gap is left out of either: of validation, here.
            covered = sum((session, at) in tested for at in range(trial.start, trial.stop))
            assert covered / (trial.stop - trial.start) > 0.97


@pytest.mark.parametrize("trials", TRIALS.values(), ids=TRIALS.keys())
def test_folds_keep_stimuli_whole_leave_gaps_and_have_a_like_share(trials: Trials) -> None:
    shares = []
    for fold in range(5):
        divided = _assign(trials, fold=fold, folds=5, validation=0.1)
        splits: dict[str, set[str]] = {}
        for blocks in divided.values():
            for block in blocks:
                if (name := block.stimulus_id or block.group) is not None:
                    splits.setdefault(name, set()).add(block.split)
            for before, after in pairwise(blocks):
                assert before.stop <= after.start
        assert all(len(found) == 1 for found in splits.values())
        bins: Counter[str] = Counter()
        for block in (block for blocks in divided.values() for block in blocks):
            bins[block.split] += block.n_bins
        total = sum(bins.values())
        shares.append(bins["test"] / total)
        assert bins["validation"] / total == pytest.approx(0.1, abs=0.05)
    assert max(shares) - min(shares) < 0.06
    assert np.mean(shares) == pytest.approx(0.2, abs=0.02)


def test_time_blocks_of_a_fold_lie_all_over_the_session() -> None:
    for fold in range(5):
        blocks = _assign({"s": (Trial(0, 20_000),)}, fold=fold, folds=5)["s"]
        starts = [block.start for block in blocks if block.split == "test"]
        assert np.diff([0, *starts, 20_000]).max() < 2.5 * 20_000 / len(starts)
        for before, after in pairwise(blocks):
            if before.split != after.split:
                assert after.start - before.stop == 10


def test_each_fold_has_repeats_while_there_are_enough() -> None:
    for fold in range(4):
        blocks = _assign({"a": _clips()}, fold=fold, folds=4)["a"]
        shown = Counter(block.stimulus_id for block in blocks if block.split == "test")
        assert max(shown.values()) == 5


def test_another_seed_deals_otherwise() -> None:
    trials = TRIALS["both"]
    assert _assign(trials, fold=0, folds=5) != _assign(trials, fold=0, folds=5, seed=1)


def test_more_folds_than_stimuli_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"split.folds is 5, and the recording has 3 stimuli .* and 0 time blocks"
    ):
        _assign(
            {"a": tuple(Trial(20 * k, 20 * k + 20, stimulus_id=f"{k % 3}") for k in range(9))},
            fold=0,
            folds=5,
        )


# --- By kind ------------------------------------------------------------------------------------------------------


def _kinds(**of: int) -> tuple[Trial, ...]:
    kinds = [kind for kind, n in of.items() for _ in range(n)]
    return tuple(
        Trial(20 * k, 20 * k + 20, stimulus_id=f"{kind}-{k}", kind=kind) for k, kind in enumerate(kinds)
    )


def _splits_of(blocks: tuple[Block, ...]) -> dict[str, set[Split]]:
    found: dict[str, set[Split]] = {}
    for block in blocks:
        found.setdefault(block.kind, set()).add(block.split)
    return found


def test_kinds_that_train_give_validation_too_and_others_test_or_are_left_out() -> None:
    by_kind = {"train": ["film"], "test": ["grating", "noise"]}
    blocks = _assign({"a": _kinds(film=40, grating=10, noise=5, grey=8)}, by_kind=by_kind)["a"]
    assert _splits_of(blocks) == {"film": {"train", "validation"}, "grating": {"test"}, "noise": {"test"}}
    assert sum(block.split == "test" for block in blocks) == 15
    share = sum(block.split == "validation" for block in blocks) / 55
    assert share == pytest.approx(0.1, abs=0.05)


def test_a_long_film_without_ids_is_divided_between_training_and_validation_alone() -> None:
    trials = (Trial(0, 8000, kind="film"), Trial(8000, 12_000, kind="noise"))
    blocks = _assign({"a": trials}, by_kind={"train": ["film"], "test": ["noise"]})["a"]
    assert _splits_of(blocks) == {"film": {"train", "validation"}, "noise": {"test"}}
    tested = [block for block in blocks if block.split == "test"]
    assert [(block.start, block.stop) for block in tested] == [(8000, 12_000)]


def test_splits_that_are_given_stand_within_the_kinds_that_train() -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    trials = tuple(
        Trial(20 * k, 20 * k + 20, split=splits[k % 3], kind="film" if k < 30 else "noise") for k in range(40)
    )
    blocks = _assign({"a": trials}, by_kind={"train": ["film"], "test": ["noise"]})["a"]
    assert _splits_of(blocks) == {"film": {"train", "validation"}, "noise": {"test"}}
    # What the source holds out of a kind that trains is not trained on.
    assert sum(block.kind == "film" for block in blocks) == 20
    assert sum(block.split == "test" for block in blocks) == 10


def test_what_shares_a_photograph_with_the_test_is_not_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    trials = tuple(
        Trial(20 * k, 20 * k + 20, group=f"photo-{k % 20}", kind="film" if k < 30 else "flashed")
        for k in range(35)
    )
    blocks = _assign({"a": trials}, by_kind={"train": ["film"], "test": ["flashed"]})["a"]
    tested = {block.group for block in blocks if block.split == "test"}
    assert len(tested) == 5
    assert not tested & {block.group for block in blocks if block.split != "test"}
    assert "5 trials of the kinds that train share" in caplog.text


def test_a_kind_that_no_trial_has_is_named_with_those_there_are() -> None:
    with pytest.raises(DataError, match="kind 'movie', and the trials are of: film, noise"):
        _assign({"a": _kinds(film=9, noise=9)}, by_kind={"train": ["movie"], "test": ["noise"]})


# --- Spelling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"fold": 1}, "one of fold and folds"),
        ({"folds": 5}, "one of fold and folds"),
        ({"fold": 5, "folds": 5}, "counted from 0"),
        ({"fold": 0, "folds": 5, "test": 0.3}, "gives both test and folds"),
        ({"fold": 0, "folds": 2, "validation": 0.5}, "nothing to train on"),
        ({"fold": 0, "folds": 5, "by_kind": {"train": ["a"], "test": ["b"]}}, "both folds and by_kind"),
        ({"by_kind": {"train": ["a", "b"], "test": ["b"]}}, "kind 'b' both trains and tests"),
        ({"by_kind": {"train": ["a"]}}, "missing key 'by_kind.test'"),
    ],
)
def test_a_split_that_says_two_things_is_refused(split: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(SplitConfig, split, "data.yaml")
    assert expected in str(caught.value)


def test_a_split_without_folds_is_written_as_before_there_were_any() -> None:
    assert list(dump_config(SplitConfig())) == ["validation", "test", "seed", "block_s", "split_gap_s"]
    for config in (
        SplitConfig(fold=2, folds=5),
        SplitConfig(by_kind=ByKind(train=("a",), test=("b",))),
    ):
        assert build_config(SplitConfig, dump_config(config), "again") == config


def test_folds_are_plans_over_the_same_session_stores(
    one_session: Callable[..., tuple[DataConfig, Path]],
) -> None:
    plans = set()
    for fold in range(3):
        config, folder = one_session(
            split={"fold": fold, "folds": 3, "block_s": 2.0, "split_gap_s": 0.25, "validation": 0.15}
        )
        store = prepare(config, folder)
        plans.add(store.path)
        assert store.settings.split.fold == fold
    assert len(plans) == 3
    assert len(list((folder / "stores" / "sessions").iterdir())) == 1
