"""From arrays and pynapple objects in memory to a prepared recording, and the code of the tutorials."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import visioncore
from array_writers import save_in_matlab
from pages import ROOT, code_blocks
from visioncore.data import load_data_config, prepare
from visioncore.data.store import SessionStore
from visioncore.errors import DataError

T, DT, START = 1800, 1 / 60, 5.0
TUTORIALS = ROOT / "docs" / "tutorials"


def session_at(yaml: Path, name: str = "session") -> SessionStore:
    return prepare(load_data_config(yaml), yaml.parent).sessions[name]


def recorded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 256, (T, 4, 6), dtype=np.uint8),
        rng.poisson(0.3, (T, 3)),
        START + np.arange(T) * DT,
    )


def spikes_of(counts: np.ndarray, times_s: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    trains = [np.repeat(times_s, own) for own in counts.T]
    return [np.sort(train + DT * rng.uniform(0.25, 0.75, len(train))) for train in trains]


DATA: dict[str, Any] = {"split": {"block_s": 2.0, "split_gap_s": 0.1}, "burn_in_s": 0.1}


def test_arrays_on_one_clock_are_prepared_as_they_are(tmp_path: Path) -> None:
    video, counts, _ = recorded()
    yaml = visioncore.prepare_arrays(
        tmp_path / "here",
        video=video,
        responses=counts,
        sampling_rate_hz=60,
        behaviour={"speed": np.arange(T) / T},
        trials=np.arange(0, T, 300),
        split=["train", "validation", "test"] * 2,
        stimulus_id=[None, 4, 5, None, 6, -1],
        units={"depth": [1.5, None, 3.0]},
        data=DATA,
    )
    assert yaml == tmp_path / "here" / "data.yaml"
    session = session_at(yaml)
    np.testing.assert_array_equal(session.video(0, T)[:, 0], video)
    np.testing.assert_array_equal(session.responses(0, T), counts)
    np.testing.assert_allclose(np.array(session.behaviour(0, T)), np.arange(T)[:, None] / T, rtol=1e-6)
    assert [block.split for block in session.blocks] == ["train", "validation", "test"] * 2
    assert [block.stimulus_id for block in session.blocks] == [None, "4", "5", None, "6", None]
    assert session._signals.spec.units == {"depth": (1.5, None, 3.0)}


def test_pynapple_objects_are_brought_to_bins(tmp_path: Path) -> None:
    nap = import_module("pynapple")
    video, counts, times_s = recorded()
    rng = np.random.default_rng(2)
    eye = rng.normal(size=(4000, 2))
    eye_s = START - 0.5 + np.arange(4000) / 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = nap.TsGroup(
            {10 + k: nap.Ts(train) for k, train in enumerate(spikes_of(counts, times_s))},
            metadata={"area": ["V1", "LM", "AL"]},
        )
        edges = np.append(times_s[::300], times_s[-1] + DT)
        trials = nap.IntervalSet(edges[:-1], edges[1:] - 2e-6, metadata={"angle": np.arange(6) * 30.0})
        gaze = nap.TsdFrame(t=eye_s, d=eye, columns=["x", "y"])
        movie = nap.TsdTensor(t=times_s, d=video)
        counted = nap.IntervalSet([0.0, 20.0], [15.0, 90.0])
    yaml = visioncore.prepare_arrays(
        tmp_path,
        video=movie,
        responses=group,
        behaviour={"eye": gaze},
        trials=trials,
        valid=counted,
        data=DATA,
    )
    session = session_at(yaml)
    ok = ~((times_s + DT > 15.0) & (times_s < 20.0))
    np.testing.assert_array_equal(session.valid(0, T).all(axis=1), ok)
    np.testing.assert_array_equal(session.responses(0, T)[ok], counts[ok])
    held = eye[np.searchsorted(eye_s, times_s + 1e-9, side="right") - 1]
    np.testing.assert_allclose(np.array(session.behaviour(0, T)), held, atol=1e-6)
    spec = session._signals.spec
    assert (spec.unit_ids, spec.behaviour_names) == (("10", "11", "12"), ("eye_x", "eye_y"))
    assert spec.units == {"area": ("V1", "LM", "AL")}
    assert session._signals.manifest.trial_columns == {"angle": (0.0, 30.0, 60.0, 90.0, 120.0, 150.0)}


def test_traces_at_their_own_times_have_bins_without_a_sample(tmp_path: Path) -> None:
    nap = import_module("pynapple")
    video, _, times_s = recorded()
    trace_s = START + np.arange(100) * 0.3 + 0.001
    values = np.random.default_rng(3).normal(size=(100, 2)) + np.arange(100)[:, None] / 50
    yaml = visioncore.prepare_arrays(
        tmp_path,
        video=video,
        frame_times_s=times_s,
        responses=nap.TsdFrame(t=trace_s, d=values, columns=["a", "b"]),
        response_kind="trace",
        data=DATA,
    )
    session = session_at(yaml)
    at = np.flatnonzero(session.valid(0, T).all(axis=1))
    np.testing.assert_array_equal(at, np.arange(100) * 18)
    np.testing.assert_allclose(session.responses(0, T)[at], values, rtol=1e-6)
    assert session.unit_ids == ("a", "b")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"responses": {"a": np.ones(3)}}, "responses has times of its own .dict., and the frames have none"),
        ({"sampling_rate_hz": None}, "sampling_rate_hz is missing"),
        ({"responses": -np.ones((T, 3))}, "negative spike counts"),
        ({"video": np.zeros((T, 4), np.uint8)}, "video has shape .1800, 4."),
        ({"unit_ids": [object()] * 3}, "unit_ids: holds Python objects"),
        ({"frame_times_s": np.arange(T - 1.0)}, r"frame_times_s: has shape \(1799,\) for 1800 frames"),
        (
            {"frame_times_s": np.arange(T) / 60, "trials": np.array([[90.0, 99.0]])},
            "no frame appears in trial 0",
        ),
    ],
)
def test_what_is_refused_leaves_everything_as_it_was(
    changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    video, counts, _ = recorded()
    right: dict[str, Any] = {"video": video, "responses": counts, "sampling_rate_hz": 60, "data": DATA}
    with pytest.raises(DataError, match=told):
        visioncore.prepare_arrays(tmp_path / "new", **{**right, **changed})
    assert not (tmp_path / "new").exists()
    yaml = visioncore.prepare_arrays(tmp_path / "old", **right)
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=told):
        visioncore.prepare_arrays(tmp_path / "old", **{**right, **changed})
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before
    np.testing.assert_array_equal(session_at(yaml).responses(0, T), counts)


def test_the_code_of_the_notebook_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = TUTORIALS / "notebook.md"
    names: dict[str, Any] = {}
    first, second = code_blocks(page, "python")
    exec(compile(first, str(page), "exec"), names)
    session = session_at(tmp_path / names["data"])
    np.testing.assert_array_equal(session.responses(0, 7200), names["counts"])
    exec(compile(second, str(page), "exec"), names)
    session = session_at(tmp_path / names["data"], "with-times")
    valid = session.valid(0, 7200)
    np.testing.assert_array_equal(session.responses(0, 7200), names["counts"] * valid)
    assert valid.mean() == pytest.approx((87.5 + 29.5) / 120, abs=0.001)


def test_the_yaml_of_the_matlab_tutorial_reads_what_its_code_saves(tmp_path: Path) -> None:
    page = TUTORIALS / "matlab.md"
    (yaml,) = code_blocks(page, "yaml")
    (tmp_path / "data.yaml").write_text(yaml + "split: {block_s: 2.0, split_gap_s: 0.1}\n", encoding="utf-8")
    video, counts, _ = recorded()
    saved = {
        "stim": video.transpose(1, 2, 0),
        "spikes": counts.T,
        "valid": np.ones(T, bool),
        "starts": np.arange(1, T, 300),
        "names": np.array(["u1", "u2", "u3"]),
    }
    with h5py.File(tmp_path / "mouse1.mat", "w", userblock_size=512) as file:
        for name, array in saved.items():
            save_in_matlab(file, name, array)
    session = session_at(tmp_path / "data.yaml", "mouse1")
    np.testing.assert_array_equal(session.video(0, T)[:, 0], video)
    np.testing.assert_array_equal(session.responses(0, T), counts)
    assert session.unit_ids == ("u1", "u2", "u3")
