"""Prepare: all or nothing, repeatable, in bounded memory, with constants from training bins only."""

import importlib
import itertools
import os
import shutil
import signal
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visioncore.config import apply_overrides, dump_config, dump_yaml
from visioncore.data import (
    DataConfig,
    RecordingStore,
    build_data_config,
    load_data_config,
    prepare,
    stored_array,
)
from visioncore.data.session_writer import write_session
from visioncore.data.signals import SessionSignals
from visioncore.data.stored_array import StoredArray
from visioncore.data.train_statistics import RunningMoments
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording, Signal, Trial
from visioncore.spec import Sampling, SessionSpec

Prepared = Callable[..., tuple[DataConfig, Path]]
N_BINS = 2400


def _content(store: RecordingStore) -> dict[str, bytes]:
    """Every file of the plan and of the session stores beside it."""
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
    module = importlib.import_module("visioncore.data.prepare")
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


def test_the_null_rate_counts_valid_training_bins_after_burn_in(tiny_store: RecordingStore) -> None:
    assert tiny_store.burn_in_bins == 6
    for session in tiny_store.sessions.values():
        spikes, bins = np.zeros(len(session.unit_ids)), np.zeros(len(session.unit_ids))
        for block in session.blocks_in("train"):
            valid = session.valid(block.start + 6, block.stop)
            spikes += (session.responses(block.start + 6, block.stop) * valid).sum(0)
            bins += valid.sum(0)
        np.testing.assert_allclose(session.train_mean, spikes / bins, rtol=1e-12)


def test_a_silent_unit_has_a_null_rate_of_half_a_spike(one_session: Prepared) -> None:
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


def test_a_session_larger_than_memory_is_written_piece_by_piece(tmp_path: Path) -> None:
    n_bins, height, width = 8000, 64, 64

    class Endless(ArrayRecording):
        def read(self, signal: Signal, start: int, stop: int) -> np.ndarray:
            if signal != "video":
                return super().read(signal, start, stop)
            return np.random.default_rng(start).integers(
                0, 256, (stop - start, 1, height, width), dtype=np.uint8
            )

    recording: Any = Endless(
        spec=SessionSpec(id="long", subject="m", unit_ids=("u",)),
        trials=(Trial(0, n_bins),),
        frames=np.broadcast_to(np.uint8(0), (n_bins, 1, height, width)),
        responses=np.zeros((n_bins, 1), np.uint8),
        valid=np.ones((n_bins, 1), bool),
    )
    sampling = Sampling(channels=1, height=height, width=width, rate_hz=60.0)
    tracemalloc.start()
    write_session(recording, sampling, "f", tmp_path / "long", lambda n: None)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    video = SessionSignals(tmp_path / "long").arrays["video"]
    assert video.nbytes == n_bins * height * width
    assert peak_bytes < video.nbytes / 3


def test_thousands_of_units_are_written_piece_by_piece(tmp_path: Path) -> None:
    n_bins, n_units = 12_000, 1000

    class Many(ArrayRecording):
        def read(self, signal: Signal, start: int, stop: int) -> np.ndarray:
            if signal == "valid":
                return np.ones((stop - start, n_units), bool)
            if signal == "responses":
                return np.random.default_rng(start).poisson(0.1, (stop - start, n_units)).astype(float)
            return super().read(signal, start, stop)

    recording: Any = Many(
        spec=SessionSpec(id="many", subject="m", unit_ids=tuple(map(str, range(n_units)))),
        trials=(Trial(0, n_bins),),
        frames=np.arange(n_bins, dtype=np.uint8)[:, None, None, None],
        responses=np.zeros((1, n_units)),
        valid=np.ones((1, n_units), bool),
    )
    sampling = Sampling(channels=1, height=1, width=1, rate_hz=60.0)
    tracemalloc.start()
    write_session(recording, sampling, "f", tmp_path / "many", lambda n: None)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < n_bins * n_units * 8


def test_other_splits_and_other_sessions_read_and_write_no_video(
    tiny_config: tuple[DataConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny_config
    config = config.model_copy(update={"store": str(tmp_path / "stores")})
    raw = dump_config(config)
    written: list[str] = []
    video_reads: list[str] = []
    write, read = stored_array.write_array, StoredArray.read

    def noted_write(path: Path, *arguments: Any) -> Any:
        written.append(path.name)
        return write(path, *arguments)

    def noted_read(self: StoredArray, start: int, stop: int) -> np.ndarray:
        video_reads.extend([self._where] if self._where.endswith(", video") else [])
        return read(self, start, stop)

    def after(change: str, sessions: list[dict[str, Any]]) -> tuple[RecordingStore, int, int]:
        written.clear()
        video_reads.clear()
        changed = apply_overrides(raw, [change])
        changed["params"]["sessions"] = sessions
        store = prepare(build_data_config(changed, "changed.yaml"), folder)
        return store, written.count("video"), len(video_reads)

    monkeypatch.setattr("visioncore.data.session_writer.write_array", noted_write)
    monkeypatch.setattr(StoredArray, "read", noted_read)
    every = raw["params"]["sessions"]
    two, *counts = after("split.seed=0", every[:2])
    assert counts[0] == 2
    for change in ("split.seed=1", "split.test=0.25", "burn_in_s=0.2", "normalisation=session"):
        again, *counts = after(change, every[:2])
        assert again.fingerprint != two.fingerprint
        assert counts == [0, 0], change
    three, *counts = after("split.seed=0", every)
    assert counts[0] == 1
    assert not any(where.startswith(("session 'a'", "session 'b'")) for where in video_reads)
    assert list(three.sessions) == ["a", "b", "c"]
    _, *counts = after("split.seed=0", every[1:])
    assert counts == [0, 0]


def test_a_session_may_have_its_own_constants(tiny_config: tuple[DataConfig, Path]) -> None:
    config, folder = tiny_config
    store = prepare(config.model_copy(update={"normalisation": "session"}), folder)
    for id_, session in store.sessions.items():
        frames = np.concatenate([session.video(b.start, b.stop) for b in session.blocks_in("train")])
        own = store.spec.session(id_).normalisation
        np.testing.assert_allclose((own.video_mean[0], own.video_std[0]), (frames.mean(), frames.std()))
    assert len({session.normalisation for session in store.spec.sessions}) == 3


def test_a_recording_of_the_stimulus_alone_is_a_recording(one_session: Prepared) -> None:
    without = {"responses": None, "unit_ids": None, "valid": None, "rates": None}
    session = prepare(*one_session(session=without)).sessions["one"]
    assert session.unit_ids == ()
    assert session.video(0, 10).shape == (10, 1, 5, 7)
    assert session.responses(0, 10).shape == session.valid(0, 10).shape == (10, 0)
    assert session.blocks_in("train")


def test_what_was_measured_of_units_and_trials_is_kept(one_session: Prepared) -> None:
    tables = {
        "starts": np.arange(0, N_BINS, 240),
        "depth": np.array([100.0, np.nan, 300.0]),
        "area": np.array(["V1", "LM", "V1"]),
        "angle": np.arange(10) * 36,
    }
    named = {
        "trial_start": "starts",
        "units": {"depth_um": "depth", "area": "area"},
        "trial_columns": {"orientation_deg": "angle"},
        "geometry": {"um_per_pixel": 4.0, "gamma": 2.2},
    }
    store = prepare(*one_session(tables, named))
    session = store.sessions["one"]
    assert session.units == {"depth_um": (100.0, None, 300.0), "area": ("V1", "LM", "V1")}
    assert session.trial_columns == {"orientation_deg": tuple(range(0, 360, 36))}
    assert len(session.trials) == 10
    assert store.spec.sessions[0].geometry.um_per_pixel == 4.0


def test_several_data_yamls_are_one_recording(tiny_config: tuple[DataConfig, Path], tmp_path: Path) -> None:
    config, folder = tiny_config
    raw = dump_config(config)
    first, second = tmp_path / "first", tmp_path / "second"
    for place, sessions in ((first, raw["params"]["sessions"][:2]), (second, raw["params"]["sessions"][2:])):
        place.mkdir()
        for session in sessions:
            shutil.copy(folder / session["path"], place)
        own = {"type": "arrays", "params": {**raw["params"], "sessions": sessions}}
        (place / "data.yaml").write_text(dump_yaml(own), encoding="utf-8")
    listing = tmp_path / "both.yaml"
    shared = {key: raw[key] for key in ("split", "burn_in_s")}
    listing.write_text(dump_yaml({"recordings": ["first/data.yaml", "second/data.yaml"], **shared}))
    both = load_data_config(listing)
    assert prepare(both, tmp_path).spec == prepare(config, folder).spec
    # What an experiment records needs none of the listed files.
    assert build_data_config(dump_config(both), "recorded") == both
    (first / "data.yaml").write_text((first / "data.yaml").read_text() + "burn_in_s: 0.3\n")
    with pytest.raises(
        ConfigError, match=r"first/data\.yaml: has 'burn_in_s'.*give 'burn_in_s' in .*both\.yaml"
    ):
        load_data_config(listing)


def test_the_yaml_of_a_config_is_the_yaml_it_came_from(tiny_config: tuple[DataConfig, Path]) -> None:
    config, _ = tiny_config
    dumped = dump_config(config)
    assert list(dumped)[:2] == ["type", "params"]
    assert build_data_config(dumped, "again.yaml") == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("splitt=3", "data.yaml: unknown key 'splitt'; did you mean 'split'?"),
        ("params.sampling_rate=60", "unknown key 'params.sampling_rate'; did you mean 'sampling_rate_hz'?"),
        ("split.tst=0.1", "unknown key 'split.tst'; did you mean 'test'?"),
        ("type=aray", "arrays; did you mean 'arrays'?"),
        ("params.response_kind=spikes", "'params.response_kind' is 'spikes'; expected counts | trace"),
        ("burn_in_s=-1", "'burn_in_s'"),
        ("source={}", "unknown key 'source'"),
        ("recordings=[a.yaml]", "'type' stands beside 'recordings'"),
    ],
)
def test_a_typo_in_a_data_yaml_is_named_with_the_nearest_key(
    override: str, expected: str, tiny_config: tuple[DataConfig, Path]
) -> None:
    raw = apply_overrides(dump_config(tiny_config[0]), [override])
    with pytest.raises(ConfigError) as caught:
        build_data_config(raw, "data.yaml")
    assert expected in str(caught.value)


def test_a_data_yaml_needs_a_type(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("params: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="missing key 'type'"):
        load_data_config(tmp_path / "data.yaml")


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
