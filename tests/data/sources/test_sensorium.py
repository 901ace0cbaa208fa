"""Mice of the Sensorium competitions: what their files hold is what is prepared, whatever is odd about them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mice import (
    N_UNITS,
    TIERS,
    clip,
    padded,
    prepared_mouse,
    save,
    write_images,
    write_mouse,
    zipped,
)
from shared_cases import CASES, needs_cases
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.data.inspection.sensorium import inspect_sensorium
from visioncore.errors import DataError


def splits(store: RecordingStore) -> list[str | None]:
    return [trial.split for trial in store.sessions["m1"].trials]


@needs_cases
@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("sensorium_2023", "dynamic29999-1-1-Video-0123456789abcdef0123456789abcdef"),
        ("sensorium_2023", "dynamic29999-1-1-Video-0123456789abcdef0123456789abcdef.zip"),
        ("sensorium_2022_static", "static26872-17-20-GrayImageNet-94c6ff995dac583098847cfecd43e7b6"),
    ],
)
def test_the_case_is_prepared_to_its_truth(case: str, path: str, tmp_path: Path) -> None:
    inspection = inspect_sensorium(CASES / case / path)
    assert inspection is not None
    session = inspection.proposal["params"]["sessions"][0] | {"id": "m1"}
    raw = {
        **inspection.proposal,
        "base": str(inspection.base),
        "params": {**inspection.proposal["params"], "sessions": [session]},
    }
    mouse = prepare(build_data_config(raw, "case"), tmp_path).sessions["m1"]
    with np.load(CASES / case / "truth.npz") as truth:
        n = len(truth["valid"])
        assert mouse.n_bins == n
        np.testing.assert_array_equal(mouse.valid(0, n).all(axis=1), truth["valid"])
        shown = truth["video"] if truth["video"].ndim == 4 else truth["video"][:, None]
        np.testing.assert_array_equal(mouse.video(0, n), shown)
        known = truth["valid"]
        np.testing.assert_allclose(mouse.responses(0, n)[known], truth["trace"][known], rtol=1e-6)
        assert list(mouse.unit_ids) == list(truth["unit_ids"])
        assert [trial.start for trial in mouse.trials] == list(truth["trial_start"])
        assert [trial.split for trial in mouse.trials] == list(truth["trial_split"])
        if "behaviour" in truth:
            assert mouse.spec.behaviour_names == tuple(truth["behaviour_names"])
            behaviour = mouse.behaviour(0, n)
            assert behaviour is not None
            np.testing.assert_allclose(
                behaviour, truth["behaviour"], atol=float(truth["behaviour_tolerance"])
            )
        names: dict[str, set[str | None]] = {}
        for trial, name in zip(mouse.trials, truth["trial_stimulus"], strict=True):
            names.setdefault(str(name), set()).add(trial.stimulus_id)
        assert names.pop("", {None}) == {None}
        assert all(len(ids) == 1 for ids in names.values())
        assert len(set.union(*names.values())) == len(names)


@pytest.mark.parametrize("as_zip", [False, True])
def test_padding_numbers_beyond_nine_and_tiers_without_files(
    as_zip: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_mouse(tmp_path)
    third = np.load(root / "data/responses/11.npy")
    store = prepared_mouse(tmp_path, zipped(root) if as_zip else root)
    mouse = store.sessions["m1"]
    lengths = [54 if number == 1 else 60 for number in range(20)]
    assert [t.stop - t.start for t in mouse.trials] == lengths
    place = mouse.trials[11]
    np.testing.assert_array_equal(mouse.video(place.start, place.stop)[:, 0], np.moveaxis(clip(11, 60), 2, 0))
    expected = np.maximum(third[:, :60].T, 0)
    np.testing.assert_allclose(mouse.responses(place.start, place.stop), expected, rtol=1e-6)
    assert mouse.responses(0, mouse.n_bins).min() == 0
    assert splits(store) == ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    assert mouse.units["x_um"] == (0, 3, 6, 9, 12)
    assert mouse.trial_columns["file"] == tuple(range(20))
    assert store.spec.rate_hz == 30
    assert "1 trials of the tier 'none'" in caplog.text
    assert caplog.text.count("CC BY-NC-ND") == 1
    # What is prepared already says it no more.
    caplog.clear()
    prepared_mouse(tmp_path, next(tmp_path.glob("dynamic*")))
    assert "CC BY-NC-ND" not in caplog.text


def test_repeats_are_found_by_what_they_show_and_kinds_by_tiers(tmp_path: Path) -> None:
    root = write_mouse(tmp_path)
    # A codec moves pixels by a grey level: not the same bytes, the same clip.
    moved = np.load(root / "data/videos/14.npy")
    moved[:, :, 5:8] = np.clip(moved[:, :, 5:8] + 1, 0, 255)
    save(root / "data/videos/14.npy", moved)
    # Another clip is another one, however it begins.
    other = np.load(root / "data/videos/16.npy")
    other[:, :, 20:60] = clip(99, 40)
    save(root / "data/videos/17.npy", other)
    trials = prepared_mouse(tmp_path, root).sessions["m1"].trials
    ids = [trial.stimulus_id for trial in trials]
    assert ids[:12] == [None] * 12
    assert ids[12] == ids[14]
    assert ids[13] == ids[15]
    assert len({*ids[12:]}) == 6
    assert [trial.kind for trial in trials[16:]] == ["video"] * 2 + ["bonus"] * 2


@pytest.mark.parametrize("how", ["missing", "zeros", "nan"])
def test_withheld_responses_are_not_valid(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_mouse(tmp_path)
    for number in range(16, 20):
        name = root / f"data/responses/{number}.npy"
        if how == "missing":
            name.unlink()
        else:
            save(name, np.full((N_UNITS, 64), np.nan if how == "nan" else 0.0))
    mouse = prepared_mouse(tmp_path, root).sessions["m1"]
    for number, trial in enumerate(mouse.trials):
        assert mouse.valid(trial.start, trial.stop).all() == (number < 16)
        assert mouse.valid(trial.start, trial.stop).any() == (number < 16)
    assert "responses of 4 of 20 trials are withheld" in caplog.text
    assert "tiers: public" in caplog.text
    inspection = inspect_sensorium(root)
    assert inspection is not None
    assert inspection.proposal["params"]["tiers"] == "public"


def test_public_tiers_leave_something_to_test_on(tmp_path: Path) -> None:
    root = write_mouse(tmp_path)
    for number in range(16, 18):
        (root / f"data/responses/{number}.npy").unlink()
    # Two training trials show one clip: they go together.
    save(root / "data/videos/3.npy", np.load(root / "data/videos/2.npy"))
    mouse = prepared_mouse(tmp_path, root, tiers="public").sessions["m1"]
    assert {t.split for t in mouse.trials[12:]} == {"test"}
    training = [t.split for t in mouse.trials[:12]]
    assert training.count("validation") in (2, 3)
    assert training[2] == training[3]
    counted = [bool(mouse.valid(t.start, t.stop).any()) for t in mouse.trials if t.split == "test"]
    assert counted == [True] * 4 + [False] * 4


def test_a_unit_that_is_nan_has_a_mask_of_its_own_and_unknown_behaviour_masks_all(tmp_path: Path) -> None:
    root = write_mouse(tmp_path)
    responses = np.load(root / "data/responses/4.npy")
    responses[2, 10:20] = np.nan
    save(root / "data/responses/4.npy", responses)
    behaviour = np.load(root / "data/behavior/5.npy")
    behaviour[0, :7] = np.nan
    save(root / "data/behavior/5.npy", behaviour)
    (root / "data/pupil_center/6.npy").unlink()
    mouse = prepared_mouse(tmp_path, root).sessions["m1"]
    masked, blinked, unseen = mouse.trials[4:7]
    expected = np.ones((60, N_UNITS), bool)
    expected[10:20, 2] = False
    np.testing.assert_array_equal(mouse.valid(masked.start, masked.stop), expected)
    assert mouse.valid(blinked.start, blinked.stop).all(axis=1).tolist() == [False] * 7 + [True] * 53
    assert not mouse.valid(unseen.start, unseen.stop).any()


def test_later_mice_and_other_labs_add_files_of_their_own(tmp_path: Path) -> None:
    tiers = ["train"] * 8 + ["validation"] * 2 + ["live_main"] * 2 + ["live_bonus"] * 4 + ["none"]
    root = write_mouse(tmp_path, tiers, name="VIPcre232_FOV1_day1")
    joined = [str(i) for i in range(16)] + ["12--13--14"]
    joined[15] = "40--41--42"
    save(root / "meta/trials/trial_idx.npy", joined)
    mouse = prepared_mouse(tmp_path, root).sessions["m1"]
    assert mouse.trial_columns["trial_idx"][15] == "40--41--42"
    assert [t.kind for t in mouse.trials[12:]] == ["bonus"] * 3 + ["flashed image"]
    save(root / "meta/trials/stimulus_ids.npy", [0] * 12 + [1, 4, 1, 4, -1])
    save(root / "meta/trials/video_ids.npy", [*range(10), 20, 21, 30, 31, 30, 31, -1])
    mouse = prepared_mouse(tmp_path, root).sessions["m1"]
    assert [t.kind for t in mouse.trials[11:14]] == ["video", "directional pink noise", "drifting gabor"]
    assert [t.stimulus_id for t in mouse.trials[11:]] == ["21", "30", "31", "30", "31"]


def test_images_have_no_rate_and_no_burn_in(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    # A silent image is an image; a zero where responses are withheld is none.
    save(root / "data/responses/3.npy", np.zeros(3))
    save(root / "data/responses/36.npy", np.zeros(3))
    store = prepared_mouse(tmp_path, root)
    mouse = store.sessions["m1"]
    assert store.spec.sampling.rate_hz is None
    assert store.burn_in_bins == 0
    assert mouse.n_bins == len(mouse.trials) == 40
    assert mouse.valid(0, 40).all(axis=1).tolist() == [True] * 36 + [False] * 4
    assert splits(store) == ["train"] * 26 + ["validation"] * 4 + ["test"] * 10
    assert [t.stimulus_id for t in mouse.trials[30:]] == ["900", "901", "902"] * 2 + ["950", "951"] * 2
    assert {t.kind for t in mouse.trials} == {"image"}
    assert mouse.spec.behaviour_names == ("pupil_size", "pupil_change", "running", "pupil_x", "pupil_y")
    assert mouse.trial_columns["trial_idx"][10] == f"{10:016x}"
    with pytest.raises(DataError, match="images, which have no rate"):
        prepared_mouse(tmp_path, root, sampling_rate_hz=30)


def test_public_tiers_of_images_are_drawn_by_picture(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    ids = np.load(root / "meta/trials/frame_image_id.npy")
    ids[5] = ids[4]
    save(root / "meta/trials/frame_image_id.npy", ids)
    save(root / "data/images/5.npy", np.load(root / "data/images/4.npy"))
    store = prepared_mouse(tmp_path, root, tiers="public")
    found = splits(store)
    assert found[4] == found[5]
    assert found[:26].count("validation") in (3, 4)
    assert set(found[26:]) == {"test"}


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _pickle(path: Path) -> None:
    np.save(path, np.array([{}, {}], object), allow_pickle=True)


def _fewer_neurons(path: Path) -> None:
    save(path, [1, 2, 3, 4])
    (path.parent / "cell_motor_coordinates.npy").unlink()


BREAKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "tiers": ("meta/trials/tiers.npy", Path.unlink),
    "a tier": ("meta/trials/tiers.npy", lambda path: save(path, ["training", *TIERS[1:]])),
    "fewer tiers": ("meta/trials/tiers.npy", lambda path: save(path, TIERS[:15])),
    "a video": ("data/videos/7.npy", Path.unlink),
    "half a video": ("data/videos/7.npy", _half),
    "a pickle": ("data/responses/7.npy", _pickle),
    "pickled tiers": ("meta/trials/tiers.npy", _pickle),
    "units": ("meta/neurons/unit_ids.npy", lambda path: save(path, [1, 2, 3, 4, 4])),
    "neurons": ("meta/neurons/unit_ids.npy", _fewer_neurons),
    "short responses": ("data/responses/7.npy", lambda path: save(path, np.ones((N_UNITS, 50)))),
    "no frame": ("data/videos/7.npy", lambda path: save(path, padded(np.zeros((4, 6, 0))))),
    "another size": ("data/videos/7.npy", lambda path: save(path, np.zeros((5, 6, 60)))),
}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("tiers", "meta/trials/tiers.npy"),
        ("a tier", "tiers.npy.*'training'.*expected train"),
        ("fewer tiers", "tiers.npy.*15 trials.*videos/15.npy"),
        ("a video", "data/videos/7.npy.*'train'"),
        ("half a video", "data/videos/7.npy.*damaged"),
        ("a pickle", "data/responses/7.npy.*Python objects"),
        ("pickled tiers", "meta/trials/tiers.npy.*Python objects"),
        ("units", "unit_ids.npy.*4 appears more than once"),
        ("neurons", "data/responses/0.npy.*5 rows.*names 4"),
        ("short responses", "data/responses/7.npy.*50 bins.*60 frames"),
        ("no frame", "data/videos/7.npy.*NaN from the first"),
        ("another size", r"data/videos/7.npy.*\(1, 5, 6\).*\(1, 4, 6\)"),
    ],
)
def test_a_broken_mouse_is_refused_by_file(what: str, said: str, tmp_path: Path) -> None:
    root = write_mouse(tmp_path)
    name, change = BREAKS[what]
    change(root / name)
    with pytest.raises(DataError, match=said) as caught:
        prepared_mouse(tmp_path, root)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("stores/*.json"))


def test_a_zip_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = zipped(write_mouse(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"\.zip: is not an intact zip"):
        prepared_mouse(tmp_path, path)
    with pytest.raises(DataError, match="not an intact zip"):
        inspect_sensorium(path)
    # A byte in the middle: the archive's own checksum finds it.
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged"):
        prepared_mouse(tmp_path, path)


@needs_cases
@pytest.mark.parametrize(
    ("name", "said"),
    [("dynamic1-1-1-Video-x", "meta/trials/tiers.npy"), ("cut.zip", "not an intact zip file")],
)
def test_the_broken_cases_are_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}.*{said}"):
        prepared_mouse(tmp_path, CASES / "errors" / name)


def test_a_folder_of_something_else_is_left_to_others(tmp_path: Path) -> None:
    save(tmp_path / "other/data/0.npy", [1])
    assert inspect_sensorium(tmp_path / "other") is None


def test_codes_for_missing_samples_are_taken_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    root = write_mouse(tmp_path)
    behaviour = np.load(root / "data/behavior/5.npy")
    behaviour[0, :7] = -9999
    save(root / "data/behavior/5.npy", behaviour)
    session: dict[str, Any] = {"missing": [-9999]}
    mouse = prepared_mouse(tmp_path, root, session=session).sessions["m1"]
    trial = mouse.trials[5]
    assert not mouse.valid(trial.start, trial.start + 7).any()
    assert mouse.valid(trial.start + 7, trial.stop).all()
