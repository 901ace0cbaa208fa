"""Prepare: all or nothing, repeatable, in bounded memory, with constants from training bins only."""

import importlib
import itertools
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visioncore.config import apply_overrides, dump_config
from visioncore.data import (
    DataConfig,
    RecordingStore,
    build_data_config,
    prepare,
)
from visioncore.data.train_statistics import RunningMoments
from visioncore.errors import DataError

Prepared = Callable[..., tuple[DataConfig, Path]]
N_BINS = 2400


def _content(store: RecordingStore) -> dict[str, bytes]:
    """Every file of the plan and of the session stores beside it."""
    assert isinstance(store.path, Path)
    files = sorted(path for path in store.path.parent.rglob("*") if path.is_file())
    return {str(path.relative_to(store.path.parent)): path.read_bytes() for path in files}


def _finished(folder: Path) -> list[str]:
    """Session stores and plans that bear their final names."""
    found = [*folder.glob("stores/*"), *folder.glob("stores/sessions/*")]
    return sorted(
        path.name.split("-")[0] for path in found if path.name != "sessions" and path.name[0] != "."
    )


def _start_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked process; its exit status is 0 when nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    try:
        action()
        os._exit(0)
    finally:
        os._exit(1)


def _killed_before(module: str, function: str, call: int, config: DataConfig, folder: Path) -> None:
    """Prepare, but SIGKILL ourselves just before the given call of a function."""
    patched = importlib.import_module(module)
    original, calls = getattr(patched, function), itertools.count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(patched, function, deadly)
    prepare(config, folder)


@pytest.mark.parametrize(
    ("module", "function", "call", "finished"),
    [
        ("visioncore.data.session_writer", "write_array", 1, 0),
        ("visioncore.data.session_writer", "write_array", 5, 0),
        ("visioncore.data.session_writer", "checked_frames", 1, 0),
        ("visioncore.data.session_writer", "write_manifest", 1, 0),
        ("os", "fsync", 1, 0),  # in the session's manifest, before the rename
        ("os", "fsync", 2, 1),  # after the rename
        ("visioncore.data.plan", "assign_blocks", 1, 1),
        ("visioncore.data.prepare", "write_manifest", 1, 1),
        ("os", "fsync", 3, 1),  # in the plan, before the rename
        ("os", "fsync", 4, 2),
    ],
)
def test_a_killed_prepare_leaves_nothing_that_looks_finished_and_can_be_repeated(
    module: str, function: str, call: int, finished: int, one_session: Prepared
) -> None:
    config, folder = one_session()
    child = _start_child(lambda: _killed_before(module, function, call, config, folder))
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert _finished(folder) == ["arrays"] * finished
    repeated = prepare(config, folder)
    assert _finished(folder) == ["arrays"] * 2
    assert not list(folder.glob("stores/**/.*"))
    undisturbed = prepare(config.model_copy(update={"store": "elsewhere"}), folder)
    assert _content(repeated) == _content(undisturbed)


def test_a_prepare_that_fails_leaves_nothing(one_session: Prepared) -> None:
    config, folder = one_session({"spikes": -np.ones((N_BINS, 3), int)})
    with pytest.raises(DataError, match="negative"):
        prepare(config, folder)
    assert _finished(folder) == []
    assert not list(folder.glob("stores/**/.*"))


def test_processes_that_prepare_at_once_end_with_one_store(one_session: Prepared) -> None:
    config, folder = one_session()
    children = [_start_child(lambda: prepare(config, folder)) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    prepare(config, folder)
    assert _finished(folder) == ["arrays"] * 2
    assert not list(folder.glob("stores/**/.*"))


def test_the_work_of_another_living_process_is_left_alone(one_session: Prepared) -> None:
    config, folder = one_session()
    sessions = folder / "stores" / "sessions"
    alive = sessions / f".building-arrays-0-{socket.gethostname()}-{os.getppid()}"
    elsewhere = sessions / ".building-arrays-0-another.machine-999999999"
    for path in (alive, elsewhere):
        path.mkdir(parents=True)
    prepare(config, folder)
    assert alive.exists()
    assert elsewhere.exists()


def test_preparing_again_reads_no_signal(one_session: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    config, folder = one_session()
    first = prepare(config, folder)
    module = importlib.import_module("visioncore.data.session_making")
    monkeypatch.delattr(module, "write_session")
    assert prepare(config, folder).fingerprint == first.fingerprint


def test_the_store_depends_on_content_and_settings_and_not_on_places(
    one_session: Prepared, tmp_path: Path
) -> None:
    config, folder = one_session()
    first = prepare(config, folder)
    moved = tmp_path / "moved"
    moved.mkdir()
    (folder / "one.npz").rename(moved / "renamed.npz")
    raw = dump_config(config)
    raw["params"]["sessions"][0]["path"] = "renamed.npz"
    assert prepare(build_data_config(raw, "moved.yaml"), moved).fingerprint == first.fingerprint
    changes = ["split.seed=1", "split.test=0.25", "burn_in_s=0.2", "params.sampling_rate_hz=61"]
    others = [build_data_config(apply_overrides(raw, [change]), change) for change in changes]
    fingerprints = [prepare(other, moved).fingerprint for other in others]
    assert len({first.fingerprint, *fingerprints}) == 1 + len(changes)
    same = build_data_config(apply_overrides(raw, ["balance=session", "cache=none"]), "same.yaml")
    assert prepare(same, moved).fingerprint == first.fingerprint


def test_changed_content_gets_a_store_of_its_own(one_session: Prepared) -> None:
    before = prepare(*one_session())
    after = prepare(*one_session({"eye": np.zeros((N_BINS, 2), np.float32)}))
    assert before.path != after.path
    assert after.spec.sessions[0].normalisation.behaviour_std == (1.0, 1.0)


def test_a_renamed_plan_or_session_store_is_not_taken_for_another(one_session: Prepared) -> None:
    config, folder = one_session()
    store = prepare(config, folder)
    other = build_data_config(apply_overrides(dump_config(config), ["split.seed=5"]), "other.yaml")
    target = prepare(other, folder).path
    assert isinstance(store.path, Path)
    assert isinstance(target, Path)
    store.path.rename(target)
    with pytest.raises(DataError, match="holds another recording"):
        prepare(other, folder)
    target.unlink()
    (own,) = (folder / "stores" / "sessions").iterdir()
    changed, _ = one_session({"eye": np.zeros((N_BINS, 2), np.float32)})
    prepare(changed, folder)
    (second,) = (path for path in (folder / "stores" / "sessions").iterdir() if path != own)
    shutil.rmtree(second)
    own.rename(second)
    with pytest.raises(DataError, match="holds another session"):
        prepare(changed, folder)


def test_normalisation_comes_from_the_training_bins_of_all_sessions_only(tiny_store: RecordingStore) -> None:
    video, behaviour = [], []
    for session in tiny_store.sessions.values():
        for block in session.blocks_in("train"):
            video.append(session.video(block.start, block.stop).astype(np.float64))
            samples = session.behaviour(block.start, block.stop)
            assert samples is not None
            behaviour.append(samples.astype(np.float64))
    frames, samples = np.concatenate(video), np.concatenate(behaviour)
    (constants,) = {session.normalisation for session in tiny_store.spec.sessions}
    np.testing.assert_allclose(constants.video_mean, [frames.mean()], rtol=1e-12)
    np.testing.assert_allclose(constants.video_std, [frames.std()], rtol=1e-12)
    np.testing.assert_allclose(constants.behaviour_mean, samples.mean(0), rtol=1e-10)
    np.testing.assert_allclose(constants.behaviour_std, samples.std(0), rtol=1e-10)


def test_moments_of_pieces_are_the_moments_of_the_whole_even_far_from_zero() -> None:
    values = (1e6 + np.random.default_rng(0).normal(size=(1000, 3))).astype(np.float32)
    moments = RunningMoments(3)
    for piece in np.split(values, [1, 1, 500, 640]):
        moments.add(piece)
    np.testing.assert_allclose(moments.mean, values.mean(0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(moments.std, values.std(0, dtype=np.float64), rtol=1e-10)


def test_the_training_mean_counts_valid_training_bins_after_burn_in(tiny_store: RecordingStore) -> None:
    assert tiny_store.burn_in_bins == 6
    for session in tiny_store.sessions.values():
        spikes, bins = np.zeros(len(session.unit_ids)), np.zeros(len(session.unit_ids))
        for block in session.blocks_in("train"):
            valid = session.valid(block.start + 6, block.stop)
            spikes += (session.responses(block.start + 6, block.stop) * valid).sum(0)
            bins += valid.sum(0)
        np.testing.assert_allclose(session.train_mean, spikes / bins, rtol=1e-12)


def test_a_silent_unit_has_a_training_mean_of_half_a_spike(one_session: Prepared) -> None:
    spikes = np.zeros((N_BINS, 3), int)
    spikes[::2, 1] = 1
    session = prepare(*one_session({"spikes": spikes, "ok": np.ones(N_BINS, bool)})).sessions["one"]
    bins = sum(block.n_bins - 6 for block in session.blocks_in("train"))
    np.testing.assert_allclose(session.train_mean[[0, 2]], 0.5 / bins, rtol=1e-12)
    assert session.silent_in_training.tolist() == [True, False, True]
    assert session.valid(0, 9).any(0).tolist() == [False, True, False]


def test_a_unit_that_is_never_valid_in_training_is_refused(one_session: Prepared) -> None:
    valid = np.ones((N_BINS, 3), bool)
    valid[:, 1] = False
    with pytest.raises(DataError, match="session 'one': unit '11' is valid in no training bin"):
        prepare(*one_session({"ok": valid}))


def test_a_video_that_never_changes_is_refused(one_session: Prepared) -> None:
    with pytest.raises(DataError, match="channel 0 of the video has one value"):
        prepare(*one_session({"stim": np.full((N_BINS, 5, 7), 3, np.uint8)}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"stim": np.zeros((N_BINS, 7, 5), np.uint8)}, r"session 'b'.*\(1, 7, 5\).*\(1, 5, 7\).*one size"),
        ({"stim": np.zeros((N_BINS, 5, 7), np.float32)}, "float32 in session 'b', uint8 in session 'one'"),
        (
            {"eye": np.zeros((N_BINS, 3), np.float32)},
            r"session 'b'.*'eye': has 3 signals but behaviour_names lists 2",
        ),
    ],
)
def test_sessions_that_do_not_fit_together_are_refused(
    change: dict[str, np.ndarray], expected: str, one_session: Prepared
) -> None:
    config, folder = one_session()
    raw = dump_config(config)
    with np.load(folder / "one.npz") as arrays:
        np.savez(folder / "b.npz", allow_pickle=False, **(dict(arrays) | change))
    second = raw["params"]["sessions"][0] | {"id": "b", "path": "b.npz"}
    raw["params"]["sessions"].append(second)
    with pytest.raises(DataError, match=expected):
        prepare(build_data_config(raw, "two.yaml"), folder)


def test_a_prepare_killed_from_outside_can_be_repeated(
    one_session: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = one_session()
    monkeypatch.setattr("visioncore.data.stored_array._CHUNK_BYTES", 2048)
    child = _start_child(lambda: prepare(config, folder))
    while not list(folder.glob("stores/sessions/.building-*/video/c.5.*")):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert _finished(folder) == []
    repeated = prepare(config, folder)
    undisturbed = prepare(config.model_copy(update={"store": "elsewhere"}), folder)
    assert _content(repeated) == _content(undisturbed)
