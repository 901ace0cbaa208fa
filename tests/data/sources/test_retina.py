"""Retina files as their laboratories share them: open-retina's and those of the Baccus laboratory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from visioncore.data import build_data_config, prepare
from visioncore.data.store import SessionStore
from visioncore.errors import DataError

N, H, W = 4, 5, 6
LENGTHS = {"mov_1": 150, "mov_10": 120, "mov_2": 130, "chirp_test": 90}
SPLIT = {"block_s": 1.0, "split_gap_s": 0.1}


def films() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(2, n, H, W)).astype(np.float32) for name, n in LENGTHS.items()}


def traces(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.gamma(1.0, size=(N, n)).astype(np.float32) for name, n in LENGTHS.items()}


def write_open_retina(folder: Path, name: str = "day 1.h5") -> Path:
    (folder / "stimuli").mkdir(exist_ok=True)
    for stimulus, film in films().items():
        np.save(folder / "stimuli" / f"{stimulus}.npy", film)
    with h5py.File(folder / name, "w") as file:
        for stimulus, values in traces().items():
            file[f"responses_{stimulus}"] = values
        file["session_info/celltypes"] = np.array([3, 1, 3, 2])
        file["session_info/roi_ids"] = np.array([b"roi-3", b"roi-1", b"roi-2", b"roi-0"])
        file["session_info/eye"] = "left"
        file["session_info/roi_mask"] = np.zeros((7, 8))
    return folder / name


def retina(folder: Path, *sessions: dict[str, Any], **params: Any) -> dict[str, SessionStore]:
    raw = {
        "type": "retina",
        "params": {"sampling_rate_hz": 30, "response_kind": "trace", "sessions": list(sessions), **params},
        "split": SPLIT,
        "burn_in_s": 0.1,
    }
    return prepare(build_data_config(raw, "test"), folder).sessions


def one(path: str, **keys: Any) -> dict[str, Any]:
    return {"id": "a", "subject": "m", "path": path, **keys}


def test_open_retina_is_read_stimulus_by_stimulus_in_sorted_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_open_retina(tmp_path)
    own = np.random.default_rng(9).normal(size=(2, LENGTHS["mov_2"], H, W)).astype(np.float32)
    with h5py.File(path, "r+") as file:
        file["stimulus_mov_2"] = own  # this session's own, in the place of the shared one
        file["responses_mov_10"][1] = np.nan  # a cell that was lost
    session = retina(tmp_path, one("day 1.h5"), test_names=["chirp_test"])["a"]
    order = ["mov_1", "mov_10", "mov_2", "chirp_test"]
    shown = films() | {"mov_2": own}
    n = sum(LENGTHS.values())
    np.testing.assert_array_equal(
        session.video(0, n), np.concatenate([shown[name].transpose(1, 0, 2, 3) for name in order])
    )
    answers = np.concatenate([traces()[name].T for name in order])
    valid = np.ones((n, N), bool)
    valid[150:270, 1] = False
    np.testing.assert_array_equal(session.valid(0, n), valid)
    np.testing.assert_array_equal(session.responses(0, n), np.where(valid, answers, 0))
    assert session.unit_ids == ("roi-3", "roi-1", "roi-2", "roi-0")
    units = session._signals.spec.units
    assert units["celltypes"] == (3, 1, 3, 2)
    assert units["eye"] == ("left",) * N
    assert [(b.start, b.stimulus_id) for b in session.blocks] == [
        (0, "mov_1"), (150, "mov_10"), (270, "mov_2"), (400, "chirp_test"),
    ]  # fmt: skip
    assert [b.split for b in session.blocks].count("validation") == 1
    assert [b.stimulus_id for b in session.blocks if b.split == "test"] == ["chirp_test"]
    assert "roi_mask (7, 8) left out" in caplog.text


def test_a_stimulus_in_two_sessions_is_in_one_split_and_what_a_session_lacks_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_open_retina(tmp_path)
    with h5py.File(write_open_retina(tmp_path, "day 2.hdf5"), "r+") as file:
        del file["responses_mov_2"]
    first, second = retina(
        tmp_path, one("day 1.h5"), {**one("day 2.hdf5"), "id": "b"}, test_names=["chirp_test"]
    ).values()
    split = {block.stimulus_id: block.split for block in first.blocks}
    assert {block.stimulus_id: block.split for block in second.blocks} == {
        name: split[name] for name in ("mov_1", "mov_10", "chirp_test")
    }
    assert "'b' (day 2.hdf5): has no responses to mov_2" in caplog.text


def test_stimuli_may_lie_elsewhere_and_without_test_names_splits_are_drawn(tmp_path: Path) -> None:
    write_open_retina(tmp_path)
    (tmp_path / "stimuli").rename(tmp_path / "films")
    session = retina(tmp_path, one("day 1.h5", stimuli="films"))["a"]
    assert {block.split for block in session.blocks} == {"train", "validation", "test"}
    with pytest.raises(
        DataError, match=r"has responses_chirp_test, but no stimulus_chirp_test, and there is no"
    ):
        retina(tmp_path, one("day 1.h5"))


def _change(name: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with h5py.File(folder / "day 1.h5", "r+") as file:
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value

    return change


def _change_all(folder: Path) -> None:
    for name in LENGTHS:
        _change(f"responses_{name}", None)(folder)


def _stimulus(value: np.ndarray, *, pickled: bool = False) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "stimuli" / "mov_1.npy", value, allow_pickle=pickled)


OPEN_RETINA_MISTAKES: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "time first": (
        _change("responses_mov_1", np.zeros((150, N))),
        {},
        r"responses_mov_1: has shape \(150, 4\)",
    ),
    "a frame too few": (
        _stimulus(np.zeros((2, 149, H, W))),
        {},
        r"mov_1.npy: .*149 frames, and responses_mov_1",
    ),
    "no channels": (
        _stimulus(np.zeros((150, H, W))),
        {},
        r"mov_1.npy: has shape \(150, 5, 6\); expected \(channels",
    ),
    "another size": (
        _stimulus(np.zeros((2, 150, H, 9))),
        {},
        r"has frames .*\(2, 5, 9\).*all stimuli must be alike",
    ),
    "bytes among floats": (
        _stimulus(np.zeros((2, 150, H, W), np.uint8)),
        {},
        r"values that are floats, and .*mov_1.npy bytes; all stimuli must be alike",
    ),
    "whole numbers": (
        _stimulus(np.zeros((2, 150, H, W), np.int64)),
        {},
        "mov_1.npy: is int64; expected float",
    ),
    "a pickle": (_stimulus(np.array([None]), pickled=True), {}, "mov_1.npy: holds Python objects"),
    "ids twice": (
        _change("session_info/roi_ids", np.zeros(N, int)),
        {},
        "session_info/roi_ids: has 4 ids, 1 of them",
    ),
    "no such ids": (
        lambda _: None,
        {"unit_ids": "cell"},
        "session_info has no 'cell'; it has celltypes, eye",
    ),
    "a key of another layout": (
        lambda _: None,
        {"train_blocks": 6},
        "open-retina file, which has no train_blocks",
    ),
    "another file": (_change_all, {}, "no retina file"),
}


@pytest.mark.parametrize("mistake", OPEN_RETINA_MISTAKES)
def test_a_mistake_in_an_open_retina_file_names_file_and_dataset(mistake: str, tmp_path: Path) -> None:
    change, keys, told = OPEN_RETINA_MISTAKES[mistake]
    write_open_retina(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=told) as caught:
        retina(tmp_path, one("day 1.h5", **keys), test_names=["chirp_test"])
    assert "session 'a'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_that_no_session_has_is_refused(tmp_path: Path) -> None:
    write_open_retina(tmp_path)
    with pytest.raises(
        DataError, match="test_names: no session has a stimulus 'chirp'; there are chirp_test, mov_1"
    ):
        retina(tmp_path, one("day 1.h5"), test_names=["chirp"])


T, T_TEST, REPEATS, CELLS = 600, 100, 3, 12


def baccus_truth() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "train": rng.integers(0, 256, (T, H, W), dtype=np.uint8),
        "test": rng.integers(0, 256, (T_TEST, H, W), dtype=np.uint8),
        "counts": rng.poisson(0.4, (T, CELLS)),
        "repeats": rng.poisson(0.4, (REPEATS, T_TEST, CELLS)),
    }


def write_baccus(path: Path, first: int = 1, *, binned: bool = True, joined: bool = False) -> np.ndarray:
    """A file whose cells are numbered from `first`; returns its smoothed rates."""
    truth = baccus_truth()
    rng = np.random.default_rng(3)
    time = 20 + np.arange(T) / 100
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 2) ** 2)
    rates = np.stack([np.convolve(own, kernel / kernel.sum() * 100, "same") for own in truth["counts"].T])
    with h5py.File(path, "w") as file:
        for part, film in (("train", truth["train"]), ("test", truth["test"])):
            file[f"{part}/stimulus"] = film
        file["train/time"], file["test/time"] = time, 5 + np.arange(T_TEST) / 100
        file["train/response/firing_rate_10ms"] = rates
        file["test/response/firing_rate_10ms"] = truth["repeats"].mean(axis=0).T * 100
        if binned:
            file["train/response/binned"] = truth["counts"].T.astype(float)
            file["test/response/binned"] = truth["repeats"].mean(axis=0).T
        for cell in range(CELLS):
            frame = np.repeat(np.arange(T), truth["counts"][:, cell])
            file[f"spikes/cell{cell + first}"] = np.sort(
                time[frame] + rng.uniform(0.0025, 0.0075, len(frame))
            )
            if not joined:
                file[f"test/repeats/cell{cell + first}"] = truth["repeats"][:, :, cell].astype(float)
        if joined:
            file["test/repeats/binned"] = truth["repeats"].transpose(0, 2, 1)
    return rates


def baccus(folder: Path, *, rate: float = 100, kind: str = "counts", **keys: Any) -> SessionStore:
    return retina(folder, one("naturalscene.h5", **keys), sampling_rate_hz=rate, response_kind=kind)["a"]


@pytest.mark.parametrize(
    ("first", "binned", "joined"), [(1, True, False), (0, True, True), (0, False, False), (1, False, True)]
)
def test_a_baccus_file_gives_counts_cells_in_natural_order_and_single_repeats(
    first: int, binned: bool, joined: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_baccus(tmp_path / "naturalscene.h5", first, binned=binned, joined=joined)
    session, truth = baccus(tmp_path, train_blocks=6), baccus_truth()
    assert session.unit_ids == tuple(f"cell{k + first}" for k in range(CELLS))
    np.testing.assert_array_equal(session.video(0, T)[:, 0], truth["train"])
    np.testing.assert_array_equal(session.responses(0, T), truth["counts"])
    for repeat in range(REPEATS):
        start = T + repeat * T_TEST
        np.testing.assert_array_equal(session.video(start, start + T_TEST)[:, 0], truth["test"])
        np.testing.assert_array_equal(session.responses(start, start + T_TEST), truth["repeats"][repeat])
    trials = session._signals.manifest.trials
    assert [trial.start for trial in trials] == [*range(0, T, 100), T, T + 100, T + 200]
    assert [trial.split for trial in trials] == ["train"] * 6 + ["test"] * REPEATS
    assert [trial.stimulus_id for trial in trials[6:]] == ["naturalscene test"] * REPEATS
    assert {block.split for block in session.blocks if block.stop <= T} == {"train", "validation"}
    assert ("has no binned counts: spikes are counted" in caplog.text) != binned


def test_a_smoothed_rate_is_a_trace_and_says_that_it_looks_ahead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates = write_baccus(tmp_path / "naturalscene.h5", binned=False)
    session = baccus(tmp_path, kind="trace", responses="firing_rate_10ms", train_blocks=6)
    np.testing.assert_allclose(session.responses(0, T), rates.T, rtol=1e-6)
    assert "firing_rate_10ms is smoothed over time and looks ahead" in caplog.text
    assert "is a mean over repeats: there are no single trials" in caplog.text
    assert session._signals.spec.units["response"] == ("firing_rate_10ms, smoothed, looks ahead",) * CELLS


def test_counts_of_two_frames_are_summed_and_pauses_cut_training(tmp_path: Path) -> None:
    write_baccus(tmp_path / "naturalscene.h5")
    with h5py.File(tmp_path / "naturalscene.h5", "r+") as file:
        time = file["train/time"][()]
        time[300:] += 2.0
        file["train/time"][...] = time
    session, truth = baccus(tmp_path, rate=50), baccus_truth()
    np.testing.assert_array_equal(
        session.responses(0, T // 2), truth["counts"].reshape(T // 2, 2, CELLS).sum(axis=1)
    )
    assert [trial.start for trial in session._signals.manifest.trials[:3]] == [0, 150, 300]


def test_only_a_mean_over_repeats_is_no_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_baccus(tmp_path / "naturalscene.h5")
    with h5py.File(tmp_path / "naturalscene.h5", "r+") as file:
        del file["test/repeats"]
    session = baccus(tmp_path)
    assert session.n_bins == T
    assert {block.split for block in session.blocks} == {"train", "validation", "test"}
    assert "test/response/binned: is a mean over repeats and not counts: left out" in caplog.text


def _replace(name: str, value: np.ndarray | None) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


BACCUS_MISTAKES: dict[str, tuple[Callable[[h5py.File], None], dict[str, Any], str]] = {
    "blocks": (
        lambda _: None,
        {"train_blocks": 7},
        "train/stimulus: has 600 frames, which 7 equally long films",
    ),
    "a rate as counts": (
        lambda _: None,
        {"responses": "firing_rate_10ms"},
        "smoothed rate.*response_kind: trace",
    ),
    "not there": (
        lambda _: None,
        {"responses": "firing_rate_5ms"},
        "no 'firing_rate_5ms'; it has binned, firing",
    ),
    "a trace unnamed": (lambda _: None, {"kind": "trace"}, "Name one .responses: firing_rate_10ms"),
    "a cell too few": (_replace("spikes/cell3", None), {}, "test/repeats: has 12 cells, and 11 have spikes"),
    "a repeat too few": (
        _replace("test/repeats/cell2", np.zeros((2, 100))),
        {},
        "cells have other numbers of repeats .*cell2: 2",
    ),
    "times too few": (_replace("train/time", np.arange(599.0)), {}, "train/time: 599 times for 600 frames"),
    "fractions": (
        lambda f: f["train/response/binned"].__setitem__((3, 7), 0.5),
        {},
        "unit 3 in frame 7 .* is 0.5",
    ),
    "a key of another layout": (lambda _: None, {"unit_ids": "x"}, "is a Baccus file, which has no unit_ids"),
}


@pytest.mark.parametrize("mistake", BACCUS_MISTAKES)
def test_a_mistake_in_a_baccus_file_names_file_and_dataset(mistake: str, tmp_path: Path) -> None:
    change, keys, told = BACCUS_MISTAKES[mistake]
    write_baccus(tmp_path / "naturalscene.h5")
    with h5py.File(tmp_path / "naturalscene.h5", "r+") as file:
        change(file)
    with pytest.raises(DataError, match=told) as caught:
        baccus(tmp_path, **keys)
    assert "session 'a' (naturalscene.h5)" in str(caught.value)
