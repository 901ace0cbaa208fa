"""Experanto folders, written as its own code reads them: what is on the screen, and what is known, in each bin."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experanto_folders import (
    CALCIUM_HZ,
    HZ,
    SHIFTS_S,
    SHOWN,
    START_S,
    tarred,
    write_experiment,
)
from mice import save
from shared_cases import CASES, needs_cases
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.data.inspection.experanto import inspect_experanto
from visioncore.errors import DataError


def prepared(folder: Path, path: Path, responses: str = "units", **session: Any) -> RecordingStore:
    session = {"id": "m", "subject": "mouse1", "path": str(path), **session}
    params = {"sampling_rate_hz": HZ, "responses": responses, "sessions": [session]}
    return prepare(build_data_config({"type": "experanto", "params": params}, "e.yaml"), folder)


@needs_cases
@pytest.mark.parametrize("as_tar", [False, True])
def test_the_case_is_prepared_to_its_truth(as_tar: bool, tmp_path: Path) -> None:
    path = CASES / "experanto_spikes" / "mouse17_session4"
    if as_tar:
        path = tmp_path / "mouse17.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(CASES / "experanto_spikes" / "mouse17_session4", "mouse17_session4")
    inspection = inspect_experanto(path)
    assert inspection is not None
    params = {**inspection.proposal["params"]}
    assert (params["sampling_rate_hz"], params["responses"], params["response_kind"]) == (
        30,
        "units",
        "counts",
    )
    params["sessions"] = [{**params["sessions"][0], "id": "m", "subject": "17"}]
    raw = {"type": "experanto", "base": str(inspection.base), "params": params}
    mouse = prepare(build_data_config(raw, "e"), tmp_path).sessions["m"]
    with np.load(CASES / "experanto_spikes" / "truth.npz") as truth:
        n = len(truth["valid"])
        assert mouse.n_bins == n
        np.testing.assert_array_equal(mouse.responses(0, n), truth["counts"])
        np.testing.assert_array_equal(mouse.video(0, n)[:, 0], truth["video"])
        np.testing.assert_array_equal(mouse.valid(0, n), truth["valid"])
        assert list(mouse.unit_ids) == list(truth["unit_ids"])
        assert [t.start for t in mouse.trials] == list(truth["trial_start"])
        behaviour = mouse.behaviour(0, n)
        assert behaviour is not None
        assert np.abs(behaviour[:, [0, 4]] - truth["behaviour"]).max() < truth["behaviour_tolerance"]
        given = [(t.split, s) for t, s in zip(mouse.trials, truth["trial_split"], strict=True) if s]
        assert all(mine == theirs for mine, theirs in given)


@pytest.mark.parametrize("as_tar", [False, True])
def test_each_bin_has_the_frame_and_the_spikes_of_its_time(as_tar: bool, tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    counts = np.load(root / "truth/counts.npy")
    mouse = prepared(tmp_path, tarred(root) if as_tar else root).sessions["m"]
    starts = np.cumsum([0, *(n for _, n, _ in SHOWN)])
    assert mouse.n_bins == starts[-1]
    assert [t.start for t in mouse.trials] == starts[:-1].tolist()
    np.testing.assert_array_equal(mouse.responses(0, mouse.n_bins)[: starts[8]], counts[: starts[8]])
    video = mouse.video(0, mouse.n_bins)[:, 0]
    film = np.load(root / "screen/data/00003.npy")
    np.testing.assert_array_equal(video[starts[3] : starts[4]], film)
    image = np.load(root / "screen/data/00001.npy")
    np.testing.assert_array_equal(video[starts[1] : starts[2]], np.repeat(image[None], 15, 0))
    assert (video[starts[2] : starts[3]] == 128.5).all()
    assert mouse.valid(0, mouse.n_bins).all(axis=1).tolist() == [
        not starts[8] <= t < starts[9] for t in range(starts[-1])
    ]
    assert [t.split for t in mouse.trials] == [t if t != "blank" else "train" for _, _, t in SHOWN]
    ids = [t.stimulus_id for t in mouse.trials]
    assert ids[4] == ids[6]
    assert sum(i is not None for i in ids) == 2
    assert mouse.trial_columns["stimulus_name"][3] == "video_3"
    assert [t.kind for t in mouse.trials] == [m for m, _, _ in SHOWN]


def test_behaviour_is_the_last_sample_of_its_own_clock(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    names = {"eye_tracker": ["pupil_x", "pupil_y"], "treadmill": ["running"]}
    mouse = prepared(tmp_path, root, behaviour=names).sessions["m"]
    assert mouse.spec.behaviour_names == ("pupil_x", "pupil_y", "running")
    behaviour = mouse.behaviour(0, mouse.n_bins)
    assert behaviour is not None
    times = START_S + np.arange(mouse.n_bins) / HZ
    eye = np.load(root / "eye_tracker/data.npy")
    speed = np.fromfile(root / "treadmill/data.mem", np.float32)
    known = mouse.valid(0, mouse.n_bins).any(axis=1)
    expected = eye[np.floor((times - 98.1) * 20.07 + 1e-6).astype(int)]
    np.testing.assert_allclose(behaviour[known, :2], expected[known], rtol=1e-5)
    expected = speed[np.floor((times - 96.0) * 100 + 1e-6).astype(int)]
    np.testing.assert_allclose(behaviour[known, 2], expected[known], rtol=1e-5)
    assert not prepared(tmp_path, root, behaviour={}).sessions["m"].spec.behaviour_names


def test_what_other_devices_recorded_of_units_is_no_behaviour_unless_it_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_experiment(tmp_path)
    expected = ("eye_tracker_0", "eye_tracker_1", "treadmill")
    assert prepared(tmp_path, root).sessions["m"].spec.behaviour_names == expected
    assert "responses looks like responses, and is no behaviour unless" in caplog.text
    (root / "responses").rename(root / "scan")  # known by its shifts alone
    assert prepared(tmp_path, root).sessions["m"].spec.behaviour_names == expected
    found = inspect_experanto(root)
    assert found is not None
    assert set(found.proposal["params"]["sessions"][0]["behaviour"]) == {"eye_tracker", "treadmill"}
    assert any("scan: signals of units too" in note for note in found.notes)
    named = prepared(tmp_path, root, behaviour={"scan": None}).sessions["m"].spec.behaviour_names
    assert named == ("scan_0", "scan_1", "scan_2", "scan_3")


def test_calcium_is_known_in_the_bin_of_its_sample_with_the_shift_of_each_unit(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    mouse = prepared(tmp_path, root, "responses", behaviour={}).sessions["m"]
    n = mouse.n_bins
    data = np.load(root / "responses/data.npy")
    trace = np.full((n, 4), np.nan)
    for unit, shift_s in enumerate(SHIFTS_S):
        for sample, value in enumerate(data[:, unit]):
            at = (97.31 + sample / CALCIUM_HZ + shift_s - START_S) * HZ
            if 0 <= at < n:
                trace[int(at), unit] = value
    trace[[t for t in range(n) if 285 + 60 <= t < 285 + 75]] = np.nan
    np.testing.assert_array_equal(mouse.valid(0, n), ~np.isnan(trace))
    found = np.where(mouse.valid(0, n), mouse.responses(0, n), np.nan)
    np.testing.assert_allclose(found, trace, rtol=1e-6)
    assert len({tuple(row) for row in mouse.valid(0, n).T.tolist()}) > 2
    assert mouse.spec.response_kind == "trace"
    assert mouse.unit_ids == ("11", "12", "15", "19")
    assert mouse.units["y_um"] == (1, 4, 7, 10)
    # Behaviour that is read line by line is at the times of its lines.
    inspection = inspect_experanto(root)
    assert inspection is not None
    assert inspection.proposal["params"]["responses"] == "units"


def test_an_offset_moves_a_device_against_the_screen(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    names: dict[str, Any] = {"eye_tracker": ["x", "y"]}
    still = prepared(tmp_path, root, behaviour=names).sessions["m"]
    n, k = still.n_bins, 3
    offsets = {"units": k / HZ, "eye_tracker": -k / HZ}
    moved = prepared(tmp_path, root, behaviour=names, offset_s=offsets).sessions["m"]
    assert moved.fingerprint != still.fingerprint
    # At t, what the units did k bins later, and what the eye did k bins before; the screen is as it was.
    counts, both = moved.responses(0, n), (still.valid(0, n) & moved.valid(0, n)).all(axis=1)
    at = np.flatnonzero(both[: n - k] & still.valid(0, n)[k:].all(axis=1))
    np.testing.assert_array_equal(counts[at], np.load(root / "truth/counts.npy")[at + k])
    eye, before = moved.behaviour(0, n), still.behaviour(0, n)
    assert eye is not None
    assert before is not None
    at = np.flatnonzero(both[k:] & both[:-k]) + k
    np.testing.assert_allclose(eye[at], before[at - k])
    np.testing.assert_array_equal(moved.video(0, n), still.video(0, n))


@pytest.mark.parametrize(
    ("offset_s", "said"),
    [
        ({"screen": 0.1}, "offset_s names 'screen'.*move the others the other way"),
        ({"eye": 0.1}, "offset_s names 'eye'; expected one of eye_tracker, responses, treadmill, units"),
        ({"treadmill": 0.1}, "offset_s of 'treadmill' is 0.1.*seen before it happened"),
    ],
)
def test_an_offset_that_cannot_be_is_refused(offset_s: dict[str, float], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, write_experiment(tmp_path), offset_s=offset_s)


def test_the_cache_of_experanto_is_no_content_and_a_pixel_is(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    first = prepared(tmp_path, root)
    (root / "screen/combined_meta.json").write_text("written again")
    assert prepared(tmp_path, root).fingerprint == first.fingerprint
    save(root / "screen/data/00001.npy", np.load(root / "screen/data/00001.npy") ^ 1)
    assert prepared(tmp_path, root).fingerprint != first.fingerprint


def test_what_a_tar_of_one_experiment_is_not(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    whole = tarred(root)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"\.tar.*cut off"):
        prepared(tmp_path, whole)
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(root, root.name)
    with pytest.raises(DataError, match="compressed"):
        prepared(tmp_path, packed)
    two = tmp_path / "two.tar"
    with tarfile.open(two, "w") as archive:
        archive.add(root, "one")
        archive.add(root, "other")
    with pytest.raises(DataError, match="2 recordings"):
        prepared(tmp_path, two)


def _changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _shorter(path: Path) -> None:
    save(path, np.load(path)[:-1])


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "screen/timestamps.npy": (_shorter, "timestamps.npy.*305 timestamps.*306 frames"),
    "screen/meta/00003.yml": (Path.unlink, "meta/00004.yml.*first_frame_idx is 122.*expected 62"),
    "screen/data/00003.npy": (_shorter, "data/00003.npy.*60 frames of 4 x 6"),
    "screen/meta/00000.yml": (lambda p: _changed(p, tier="training"), "meta/00000.yml.*'training'"),
    "screen/meta/00004.yml": (lambda p: _changed(p, modality="film"), "meta/00004.yml.*'film'"),
    "units/spikes.npy": (_shorter, "units.*spike_indices.*end at"),
    "units/meta.yml": (lambda p: _changed(p, spike_indices=[0, 5, 3]), "units/meta.yml.*spike_indices"),
    "eye_tracker/meta.yml": (lambda p: _changed(p, n_signals=4), r"eye_tracker.*\(420, 2\).*n_signals: 4"),
    "treadmill/data.mem": (lambda p: p.write_bytes(p.read_bytes()[:-8]), "treadmill/data.mem.*9592 bytes"),
    "treadmill/meta.yml": (lambda p: _changed(p, dtype="object"), "treadmill.*dtype is 'object'"),
    "screen/data/00001.npy": (
        lambda p: np.save(p, np.array([{}], object), allow_pickle=True),
        "data/00001.npy.*Python objects",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_experiment_is_refused_by_file_and_field(name: str, tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    change, said = BREAKS[name]
    change(root / name)
    with pytest.raises(DataError, match=said) as caught:
        prepared(tmp_path, root)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("stores/*.json"))


def test_timestamps_that_jump_back_and_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    root = write_experiment(tmp_path)
    with pytest.raises(DataError, match=r"no device 'neurons'.*eye_tracker"):
        prepared(tmp_path, root, "neurons")
    with pytest.raises(DataError, match="treadmills"):
        prepared(tmp_path, root, behaviour={"treadmills": None})
    times = np.load(root / "screen/timestamps.npy")
    times[100:] -= 1.5
    save(root / "screen/timestamps.npy", times)
    with pytest.raises(DataError, match=r"screen/timestamps.npy.*jump back by 1\.4"):
        prepared(tmp_path, root)
