"""Preparation steps in the data YAML: part of the store's name and of the plan's record, and nothing where there are
none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from conftest import tiny_arrays, tiny_data_yaml, tiny_session
from prepared import require_step_contracts, small_session
from visioncore.config import dump_config, dump_yaml
from visioncore.data import DataConfig, build_data_config, load_data_config, prepare
from visioncore.data.preparation import BaseStepConfig, StepConfig
from visioncore.data.preparation.base import PIECE_BYTES
from visioncore.data.preparation.crop import CropConfig
from visioncore.data.preparation.gaze_crop import GazeCropConfig
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording, Signal, Trial
from visioncore.spec import Sampling, SessionSpec

STEPS: list[BaseStepConfig] = [kind.tiny() for kind in get_args(get_args(StepConfig)[0])]
CROP = {"type": "crop", "params": {"rows": [1, 4], "columns": [2, 6]}}
RESAMPLE = {"type": "resample", "params": {"factor": 2}}
Prepared = Callable[..., tuple[DataConfig, Path]]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.type)
def test_every_step_reads_in_pieces_keeps_its_size_and_never_looks_ahead(
    step: BaseStepConfig, tmp_path: Path
) -> None:
    require_step_contracts(step, tmp_path)


def test_steps_are_taken_one_after_the_other_and_stand_in_the_plan(one_session: Prepared) -> None:
    config, folder = one_session(preparation=[CROP, RESAMPLE])
    store = prepare(config, folder)
    arrays = tiny_arrays()
    session = store.sessions["one"]
    assert store.spec.rate_hz == 30.0
    assert session.n_bins == 1200
    expected = arrays["stim"][:, 1:4, 2:6].reshape(1200, 2, 3, 4).mean(axis=1).round()
    np.testing.assert_array_equal(session.video(0, 1200)[:, 0], expected.astype(np.uint8))
    assert store.settings.sources[0]["preparation"] == [CROP, RESAMPLE]
    assert prepare(config, folder).fingerprint == store.fingerprint


def test_a_recording_without_steps_is_spelt_and_named_as_before_there_were_any(one_session: Prepared) -> None:
    config, folder = one_session()
    assert "preparation" not in dump_config(config)
    without, _ = one_session(preparation=[])
    assert dump_config(without) == dump_config(config)
    store = prepare(config, folder)
    assert list(store.settings.sources[0]) == ["type", "params"]
    assert prepare(without, folder).path == store.path


def test_every_setting_of_a_step_is_part_of_the_name(one_session: Prepared) -> None:
    names = set()
    other = {"type": "crop", "params": {"rows": [1, 4], "columns": [2, 5]}}
    for steps in ([], [CROP], [other], [RESAMPLE], [CROP, RESAMPLE], [RESAMPLE, CROP]):
        config, folder = one_session(preparation=steps)
        source = config.recordings[0].build(folder)
        names.add(source.fingerprint("one"))
        source.session("one").close()
    assert len(names) == 6


def test_the_yaml_of_a_config_with_steps_is_the_yaml_it_came_from(one_session: Prepared) -> None:
    for step in STEPS:
        config, _ = one_session(preparation=[dump_config(step)])
        dumped = dump_config(config)
        assert list(dumped)[:3] == ["type", "params", "preparation"]
        assert build_data_config(dumped, "again.yaml") == config


def test_listed_recordings_bring_their_own_steps(tmp_path: Path) -> None:
    for name, steps in (
        ("a", [CROP]),
        ("b", [{"type": "crop", "params": {"rows": [0, 3], "columns": [0, 4]}}]),
    ):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "one.npz", **tiny_arrays(seed=ord(name)))
        raw = tiny_data_yaml(tiny_session(id=name, path="one.npz"), preparation=steps)
        del raw["split"], raw["burn_in_s"]
        (tmp_path / name / "data.yaml").write_text(dump_yaml(raw), encoding="utf-8")
    split = {"block_s": 2.0, "split_gap_s": 0.25}
    both = {"recordings": ["a/data.yaml", "b/data.yaml"], "split": split}
    (tmp_path / "both.yaml").write_text(dump_yaml(both), encoding="utf-8")
    config = load_data_config(tmp_path / "both.yaml")
    assert [len(located.preparation) for located in config.recordings] == [1, 1]
    store = prepare(config, tmp_path)
    for name, top in (("a", 1), ("b", 0)):
        found = store.sessions[name].video(0, 9)[:, 0]
        left = 2 * top
        np.testing.assert_array_equal(
            found, tiny_arrays(seed=ord(name))["stim"][:9, top : top + 3, left : left + 4]
        )
    beside = both | {"preparation": [CROP]}
    with pytest.raises(ConfigError, match="'preparation' stands beside 'recordings'; give it in each"):
        build_data_config(beside, "data.yaml", tmp_path)


def test_a_simulated_recording_is_prepared_with_its_truth(tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "type": "white_noise",
        "params": {"minutes": 0.5, "n_units": 3, "frozen_s": 2.0, "repeats": 2},
        "burn_in_s": 0.1,
        "split": {"block_s": 2.0, "split_gap_s": 0.25},
    }
    plain = build_data_config(raw, "data.yaml").recordings[0].build(tmp_path)
    steps = [{"type": "resize", "params": {"factor": 2}}, {"type": "resample", "params": {"factor": 2}}]
    store = prepare(build_data_config(raw | {"preparation": steps}, "data.yaml"), tmp_path)
    (session,) = store.sessions.values()
    before = plain.session(session.id)
    assert store.spec.sampling.height == plain.sampling().height // 2
    assert store.path.name.startswith("white_noise-")
    assert np.array(session.unit_truth["rf_row_px"]) == pytest.approx(
        np.array(before.unit_truth["rf_row_px"]) / 2
    )
    rates = session.rates(0, 20)
    assert rates is not None
    assert rates.sum() == pytest.approx(before.read("rates", 0, 40).sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"type": "crp"}], "'preparation.0.type' is 'crp'; expected crop | "),
        (
            [CROP, {"type": "crop", "params": {"row": [0, 3]}}],
            "'preparation.1.params.row'; did you mean 'rows'?",
        ),
        ([{"type": "crop", "params": {"rows": [4, 4]}}], "first < stop"),
        ([{"type": "resample", "params": {"factor": 1.5}}], "'preparation.0.params.factor'"),
        ([{"type": "crop"}], "crops neither rows nor columns"),
        ([{"type": "select_units"}], "selects nothing"),
        ([{"type": "mask_signal", "params": {"signal": "x"}}], "has no threshold"),
    ],
)
def test_a_mistake_in_a_step_is_one_line_with_its_key(steps: Any, expected: str) -> None:
    raw = tiny_data_yaml(tiny_session(id="one", path="one.npz"), preparation=steps)
    with pytest.raises(ConfigError) as caught:
        build_data_config(raw, "data.yaml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_that_needs_the_screen_stands_before_the_one_that_follows_the_gaze(
    one_session: Prepared,
) -> None:
    gaze = {"gaze": ["x", "y"], "gaze_unit": "pixels"}
    crop = {"type": "gaze_crop", "params": gaze | {"size_px": [3, 3], "interpolation": "nearest"}}
    config, folder = one_session(preparation=[crop, {"type": "mask_off_screen", "params": gaze}])
    with pytest.raises(ConfigError, match=r"step 1 \(mask_off_screen\) .* after gaze_crop"):
        prepare(config, folder)


def test_trials_that_overlap_are_refused_before_any_step(one_session: Prepared) -> None:
    class Source:
        def sampling(self) -> Sampling:
            return Sampling(channels=2, height=6, width=9, rate_hz=60.0)

        def session(self, session_id: str) -> ArrayRecording:
            return small_session(trials=(Trial(0, 30), Trial(20, 40)), trial_columns={})

    from visioncore.data.preparation import PreparedSource

    source: Any = Source()
    with pytest.raises(DataError, match=r"trial of bins 20 to 40 .* overlaps"):
        PreparedSource(source, [CropConfig.tiny()]).session("s")


@pytest.mark.parametrize(
    "step",
    [
        CropConfig(rows=(0, 2), columns=(0, 2)),
        GazeCropConfig(gaze=("x", "y"), gaze_unit="pixels", size_px=(2, 2), interpolation="linear"),
    ],
    ids=lambda step: step.type,
)
def test_a_small_part_of_large_frames_is_read_a_few_frames_at_a_time(step: BaseStepConfig) -> None:
    height, width, n_bins = 500, 800, 400
    asked: list[int] = []

    class Large(ArrayRecording):
        def read(self, signal: Signal, start: int, stop: int) -> np.ndarray:
            if signal != "video":
                return super().read(signal, start, stop)
            asked.append(stop - start)
            return np.zeros((stop - start, 1, height, width), np.uint8)

    recording = Large(
        spec=SessionSpec(id="s", subject="m", unit_ids=("u",), behaviour_names=("x", "y")),
        trials=(Trial(0, n_bins),),
        frames=np.broadcast_to(np.uint8(0), (n_bins, 1, height, width)),
        responses=np.zeros((n_bins, 1), np.uint8),
        valid=np.ones((n_bins, 1), bool),
        behaviour=np.full((n_bins, 2), 100, np.float32),
    )
    after = step.apply(recording, Sampling(channels=1, height=height, width=width, rate_hz=60.0))
    assert asked == []
    assert after.read("video", 0, n_bins).shape == (n_bins, 1, 2, 2)
    assert sum(asked) == n_bins
    assert max(asked) * height * width * 8 <= PIECE_BYTES
