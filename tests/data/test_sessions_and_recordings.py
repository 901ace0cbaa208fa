"""Session stores and recordings: large ones, grown ones, several, and of the stimulus alone."""

import shutil
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
from visioncore.errors import ConfigError
from visioncore.recording import ArrayRecording, Signal, Trial
from visioncore.spec import Sampling, SessionSpec

Prepared = Callable[..., tuple[DataConfig, Path]]
N_BINS = 2400


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
        ("type=aray", "did you mean 'arrays'?"),
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
