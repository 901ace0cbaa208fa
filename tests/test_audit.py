"""What an audit finds: every kind of planted leak, twins that cheat, and nothing where there is nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress
from scipy.optimize import minimize_scalar
from skimage import data as pictures

from predictors import ScriptedPredictor
from visioncore.audit import AuditResult, AuditSettings, Finding, audit, load_audit
from visioncore.audit.controls import SessionControls
from visioncore.audit.likeness import is_distinctive, likeness
from visioncore.audit.lines import told
from visioncore.audit.recalibration import recalibrated
from visioncore.audit.run import control_lines, leak_findings
from visioncore.audit.scan import Moments
from visioncore.audit.verdicts import about_controls
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.errors import DataError
from visioncore.evaluation import read_test_evaluations, record_test_evaluation
from visioncore.metrics import bits_per_spike
from visioncore.predictor import Predictor
from visioncore.provenance import Provenance
from visioncore.run_folder import RunFolder
from visioncore.spec import DataSpec, Normalisation

RATE_HZ, TRIAL, N_TRIALS, SIDE, N_UNITS, BURN_IN = 60.0, 90, 48, 16, 6, 6
SPLIT = np.array((["train"] * 5 + ["test"] * 2 + ["validation"]) * 6)
TEST, TRAIN = np.flatnonzero(SPLIT == "test"), np.flatnonzero(SPLIT == "train")
Arrays = dict[str, Any]
Build = Callable[..., RecordingStore]


def drive(video: np.ndarray) -> np.ndarray:
    """Each unit follows a pixel of its own, one frame late."""
    rates = np.full((len(video), N_UNITS), 0.2)
    rates[1:] = 0.05 + 0.5 * (video[:-1, 3, 3 : 3 + N_UNITS] > 127.5)
    return rates


def noise_recording() -> Arrays:
    """Trials of binary white noise; behaviour lifts all units a little."""
    rng = np.random.default_rng(0)
    video = rng.choice(np.array([40, 215], np.uint8), (N_TRIALS * TRIAL, SIDE, SIDE))
    eye = rng.normal(size=(len(video), 2)).astype(np.float32)
    rates = drive(video) + 0.3 * (eye[:, :1] > 1)
    return {
        "video": video,
        "eye": eye,
        "counts": rng.poisson(rates),
        "trial": np.repeat(np.arange(N_TRIALS), TRIAL),
        "split": SPLIT,
        "stimulus": np.array([f"s{i}" for i in range(N_TRIALS)]),
    }


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Prepares the recording after `change` was made to its arrays."""

    def prepared(change: Callable[[Arrays], None] = lambda arrays: None, sessions: int = 1) -> RecordingStore:
        folder = tmp_path_factory.mktemp("audited")
        arrays = noise_recording()
        change(arrays)
        named = []
        for i in range(sessions):
            np.savez(folder / f"{i}.npz", **(arrays | {"stimulus": np.char.add(f"{i}", arrays["stimulus"])}))
            keys = {
                "video": "video",
                "responses": "counts",
                "behaviour": "eye",
                "behaviour_names": ["x", "y"],
            }
            keys |= {"trial": "trial", "split": "split", "stimulus_id": "stimulus"}
            named.append({"id": f"day{i}", "subject": "m", "path": f"{i}.npz", **keys})
        params = {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": named}
        return prepare(
            build_data_config({"type": "arrays", "params": params, "burn_in_s": 0.1}, "test"), folder
        )

    return prepared


@pytest.fixture(scope="module")
def clean(build: Build) -> RecordingStore:
    return build()


def twin_of(
    store: RecordingStore,
    script: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda video, _: drive(video),
    spec: DataSpec | None = None,
) -> ScriptedPredictor:
    """Predicts what `script` says of video (time, height, width) and behaviour."""

    def told(session: str, video: np.ndarray, behaviour: Any) -> np.ndarray:
        return script(video[:, 0], np.zeros((len(video), 2)) if isinstance(behaviour, str) else behaviour)

    provenance = Provenance(data_fingerprint=store.fingerprint)
    return ScriptedPredictor(spec or store.spec, told, uses_behaviour=True, provenance=provenance)


def leaks(store: RecordingStore, twin: Predictor | None = None) -> dict[str, Finding]:
    found = leak_findings(twin or twin_of(store), store, Progress(disable=True))
    return {finding.check: finding for finding in found}


def controls(store: RecordingStore, twin: Predictor) -> dict[str, Finding]:
    return {finding.check: finding for finding in about_controls(control_lines(twin, store))}


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.level for check, finding in found.items()}


def only_failing(found: dict[str, Finding]) -> list[str]:
    return [check for check, finding in found.items() if finding.level == "fail"]


def trial(number: int) -> slice:
    return slice(number * TRIAL, (number + 1) * TRIAL)


# --- Nothing where there is nothing -------------------------------------------------------------------------------


def test_a_clean_recording_and_an_honest_twin_pass_every_check(clean: RecordingStore) -> None:
    result = audit(twin_of(clean), clean, progress=False)
    found = {finding.check: finding for finding in result.findings}
    assert set(levels(found).values()) == {"pass"}, found
    assert result.passed
    assert found["near duplicates"].numbers["pairs"][0]["compared"] > 100


def test_an_honest_twin_that_uses_behaviour_passes_too(clean: RecordingStore) -> None:
    twin = twin_of(clean, lambda video, eye: drive(video) + 0.3 * (eye[:, :1] > 1))
    assert set(levels(controls(clean, twin)).values()) == {"pass"}


# --- Leaks --------------------------------------------------------------------------------------------------------


def test_frames_of_the_test_split_that_stand_in_train_are_found_and_counted(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TEST[1])][20:25] = arrays["video"][trial(TRAIN[3])][50:55]

    found = leaks(build(change))
    assert only_failing(found) == ["exact duplicates", "near duplicates"]
    pair = found["exact duplicates"].numbers["pairs"][0]
    assert (pair["frames"], pair["by_chance"]) == (5, 0)
    assert pair["share"] == pytest.approx(5 / (len(TEST) * TRIAL))
    first = {
        "test": f"session day0 bin {TEST[1] * TRIAL + 20}",
        "train": f"session day0 bin {TRAIN[3] * TRIAL + 50}",
    }
    assert pair["examples"][0] == first
    assert first["test"] in found["exact duplicates"].sentence


def test_a_grey_screen_in_every_split_is_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        for number in (TEST[0], TRAIN[0]):
            arrays["video"][trial(number)][:40] = 128

    finding = leaks(build(change))["exact duplicates"]
    assert finding.level == "pass"
    assert finding.numbers["pairs"][0]["frames"] == 0


def test_frames_so_small_that_they_agree_by_chance_are_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        # Four by four binary pixels, shown large: tens of thousands of frames share a few thousand patterns.
        coarse = np.random.default_rng(3).integers(0, 2, (len(arrays["video"]), 2, 4))
        arrays["video"] = np.repeat(np.repeat(coarse, 8, 1), 4, 2).astype(np.uint8) * 175 + 40

    finding = leaks(build(change))["exact duplicates"]
    assert finding.level != "fail"
    assert finding.numbers["pairs"][0]["frames"] > 100


def photograph(down: int, right: int, contrast: float = 1.0) -> np.ndarray:
    """A window onto one picture, in steps of a pixel of the stimulus."""
    camera: np.ndarray = pictures.camera()  # type: ignore[no-untyped-call]
    picture = camera[:384:4, :384:4].astype(float)
    window = picture[40 + down : 40 + down + SIDE, 30 + right : 30 + right + SIDE]
    return np.clip(128 + contrast * (window - 128), 0, 255).astype(np.uint8)


def test_one_photograph_in_two_splits_is_found_though_it_is_moved_and_paler(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TRAIN[2])] = photograph(0, 0)
        arrays["video"][trial(TEST[2])] = photograph(2, -2, contrast=0.8)

    found = leaks(build(change))
    assert only_failing(found) == ["near duplicates"]
    pair = found["near duplicates"].numbers["pairs"][0]
    assert pair["frames"] == 15
    assert pair["by_chance"] == 0
    assert pair["examples"][0]["correlation"] > 0.85


def test_two_photographs_in_two_splits_are_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TRAIN[2])] = photograph(0, 0)
        arrays["video"][trial(TEST[2])] = photograph(20, 25)

    assert levels(leaks(build(change)))["near duplicates"] == "pass"


def test_a_grating_says_nothing_about_which_picture_it_is_from() -> None:
    row, column = np.mgrid[:18, :32]
    grating = np.sin(0.9 * row + 0.6 * column).astype(np.float32)[None]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 18, 32)).astype(np.float32)
    assert is_distinctive(np.concatenate([grating, noise])).tolist() == [False, True]
    moved = np.roll(noise, (2, 3), axis=(1, 2))
    assert likeness(moved, noise) == pytest.approx(1, abs=0.1)
    assert likeness(rng.normal(size=(200, 18, 32)).astype(np.float32), np.repeat(noise, 200, 0)).max() < 0.4


def test_a_stimulus_id_or_group_in_two_splits_is_found(build: Build) -> None:
    store = build()
    session = store.sessions["day0"]
    blocks = list(session.blocks)
    train = next(i for i, block in enumerate(blocks) if block.split == "train")
    test = next(i for i, block in enumerate(blocks) if block.split == "test")
    blocks[test] = replace(blocks[test], group="cat")
    blocks[train] = replace(blocks[train], group="cat")
    session.blocks = tuple(blocks)
    finding = leaks(store)["repeats astride"]
    assert finding.level == "fail"
    assert "group 'cat' in" in finding.sentence


def test_one_clip_in_two_splits_under_two_ids_is_found(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TEST[0])] = arrays["video"][trial(TRAIN[4])]

    found = leaks(build(change))
    assert found["repeats astride"].level == "fail"
    assert found["repeats astride"].numbers["straddling"][0]["what"] == "clip"
    assert found["exact duplicates"].level == "fail"


def test_blocks_that_share_bins_fail_and_blocks_of_a_running_recording_that_touch_are_noted(
    build: Build,
) -> None:
    store = build()
    session = store.sessions["day0"]
    named = session.blocks
    session.blocks = tuple(replace(block, stimulus_id=None) for block in named)
    finding = leaks(store)["context"]
    assert finding.level == "note"
    assert "less than split_gap_s (1 s) apart" in finding.sentence
    session.blocks = (replace(named[0], stop=named[0].stop + 5), *named[1:])
    assert leaks(store)["context"].level == "fail"


def constants_of_all_data(store: RecordingStore) -> Normalisation:
    session = store.sessions["day0"]
    video = session.video(0, session.n_bins).astype(float)
    behaviour = session.behaviour(0, session.n_bins)
    assert behaviour is not None
    return Normalisation(
        video_mean=(video.mean(),),
        video_std=(video.std(),),
        behaviour_mean=tuple(behaviour.mean(0, dtype=float).tolist()),
        behaviour_std=tuple(behaviour.std(0, dtype=float).tolist()),
    )


def test_constants_that_were_fitted_on_all_data_are_named_as_such(build: Build) -> None:
    store = build()
    store.spec = store.spec.with_constants(constants_of_all_data(store))
    finding = leaks(store)["constants"]
    assert finding.level == "fail"
    for what in ("store's normalisation of video", "twin's normalisation of behaviour"):
        assert f"{what} (they are those of all data, test bins included)" in finding.sentence


def test_null_rates_of_all_data_are_named_as_such(build: Build) -> None:
    store = build()
    session = store.sessions["day0"]
    bins = np.concatenate([np.arange(b.start + BURN_IN, b.stop) for b in session.blocks])
    session.train_mean = session.responses(0, session.n_bins)[bins].mean(0, dtype=float)
    finding = leaks(store)["constants"]
    assert "the null rates of session day0 (they are those of all data" in finding.sentence


def test_a_twin_of_other_data_and_counts_that_are_not_whole_fail(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build()
    twin = twin_of(store)
    twin.provenance = Provenance(data_fingerprint="beef", session_fingerprints={"day0": "beef"})
    session = store.sessions["day0"]
    counts = session.responses(0, session.n_bins)
    smoothed = np.apply_along_axis(np.convolve, 0, counts, np.ones(3) / 3, "same").astype(np.float32)
    monkeypatch.setattr(session, "responses", lambda start, stop: smoothed[start:stop])
    found = leaks(store, twin)
    assert found["training data"].level == "fail"
    assert found["responses"].level == "fail"
    assert "smoothed" in found["responses"].sentence


def test_moments_add_up_whatever_the_dtype() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 256, (500, 2), dtype=np.uint8), rng.normal(1e4, 1, (500, 2))):
        first, second = (Moments(np.array([100.0, 1e4])) for _ in range(2))
        first.add(values[:200])
        second.add(values[200:])
        np.testing.assert_allclose((first + second).mean, values.mean(0))
        np.testing.assert_allclose((first + second).std, values.std(0), rtol=1e-6)


# --- Controls -----------------------------------------------------------------------------------------------------


def lines(store: RecordingStore, twin: Predictor) -> dict[str, Any]:
    return {line.name: line for line in told(control_lines(twin, store))}


def test_every_control_of_an_honest_twin_falls_to_chance_and_the_intact_score_does_not(build: Build) -> None:
    store = build(sessions=2)
    found = lines(store, twin_of(store))
    assert found["intact"].correlation.mean > 0.3
    assert found["intact"].recalibrated_bits_per_spike.mean > 0.2
    for name in ("video shifted", "trials shuffled", "other readout", "pixels scrambled", "no input"):
        low, high = found[name].correlation.ci95
        assert low <= 0.01, name
        assert high < 0.1, name
        assert found[name].less_intact.correlation.ci95[1] < -0.2, name


def test_a_wrong_prediction_that_is_sure_of_itself_is_judged_after_recalibration(
    clean: RecordingStore,
) -> None:
    shifted = lines(clean, twin_of(clean))["video shifted"]
    assert shifted.bits_per_spike.mean < -0.2
    assert 0 <= shifted.recalibrated_bits_per_spike.mean < 0.05


def test_repeats_that_a_grey_level_tells_apart_are_no_other_stimulus(build: Build) -> None:
    """Else a control gives an honest twin the right stimulus by mistake."""

    def few_repeated(arrays: Arrays) -> None:
        for i, trial in enumerate(TEST):
            first = TEST[i % 3]
            shown = arrays["video"][first * TRIAL : (first + 1) * TRIAL]
            arrays["video"][trial * TRIAL : (trial + 1) * TRIAL] = shown
            arrays["stimulus"][trial] = f"s{first}"
        for i, trial in enumerate(TEST):
            arrays["video"][trial * TRIAL : (trial + 1) * TRIAL, 0, 0] ^= np.uint8(i // 3 % 2)

    store = build(few_repeated)
    session = SessionControls(twin_of(store), store, store.sessions["day0"])
    names = [audited.block.stimulus_id for audited in session.blocks]
    assert len(set(names)) == 3 < len(names)
    named = [np.full_like(a.recorded, names.index(a.block.stimulus_id)) for a in session.blocks]
    for _ in range(20):
        shuffled = session.shuffled(named)
        assert shuffled is not None
        assert all((given != own).all() for given, own in zip(shuffled, named, strict=True))


def test_a_twin_that_ignores_the_stimulus_is_reported_as_such(clean: RecordingStore) -> None:
    found = controls(clean, twin_of(clean, lambda video, eye: np.tile(0.3 + 0.3 * (eye[:, :1] > 1), N_UNITS)))
    assert found["stimulus"].level == "fail"
    assert "ignores the stimulus" in found["stimulus"].sentence
    assert found["video shifted"].level == "fail"


def test_a_twin_that_predicts_nothing_has_nothing_to_fall_from(clean: RecordingStore) -> None:
    found = controls(clean, twin_of(clean, lambda video, _: np.full((len(video), N_UNITS), 0.3)))
    assert found["stimulus"].level == "note"
    assert "predicts nothing" in found["stimulus"].sentence


def test_a_twin_with_a_clock_fails_even_where_it_also_sees(build: Build) -> None:
    """All test trials follow one time course, which no training trial shows; the twin knows it by heart."""
    course = 0.6 * (np.sin(np.arange(TRIAL) / 4) > 0.3)

    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(5)
        for number in TEST.tolist():
            arrays["counts"][trial(number)] += rng.poisson(course[:, None], (TRIAL, N_UNITS))

    store = build(change)
    found = controls(store, twin_of(store, lambda video, _: drive(video) + course[: len(video), None]))
    assert found["stimulus"].level == "pass"
    assert found["no input"].level == "fail"
    assert "clock" in found["no input"].remedy
    # Honest eyes see the same recording without a clock.
    assert levels(controls(store, twin_of(store)))["no input"] == "pass"


def test_what_every_trial_begins_with_may_survive_the_shuffling_of_trials(build: Build) -> None:
    """A transient after onset that all trials share, in training too, is no leak."""
    course = np.exp(-np.arange(TRIAL) / 15)

    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(5)
        arrays["counts"] += rng.poisson(np.tile(course, N_TRIALS)[:, None], arrays["counts"].shape)

    store = build(change)
    twin = twin_of(store, lambda video, _: drive(video) + course[: len(video), None])
    scored = control_lines(twin, store)
    found: dict[str, Any] = {line.name: line for line in told(scored)}
    assert found["trials shuffled"].correlation.ci95[0] > 0.1
    assert found["time since onset"].correlation.mean >= found["trials shuffled"].correlation.mean
    assert {finding.level for finding in about_controls(scored)} == {"pass"}


def test_units_that_are_all_copies_share_their_score_and_are_judged_by_that(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(6)
        arrays["counts"] = rng.poisson(np.repeat(drive(arrays["video"])[:, :1], N_UNITS, 1))

    store = build(change)
    twin = twin_of(store, lambda video, _: np.repeat(drive(video)[:, :1], N_UNITS, 1))
    finding = controls(store, twin)["other readout"]
    assert finding.level == "fail"
    assert "survives" in finding.sentence


def test_the_best_recalibration_is_found_and_undoes_any_gain_and_offset() -> None:
    rng = np.random.default_rng(0)
    truth = rng.gamma(0.8, 0.5, (4000, 1))
    counts = rng.poisson(truth)
    valid = rng.random(counts.shape) > 0.1
    confident = 0.1 + 7 * truth
    fitted = recalibrated(confident, counts, valid)
    np.testing.assert_allclose(fitted, recalibrated(3 + 0.2 * truth, counts, valid), rtol=1e-6)
    null = np.array([counts[valid].mean()])

    def bits(weight: float) -> float:
        above = truth - truth[valid].min()
        rates = null * (1 - weight + weight * above / above[valid].mean())
        return float(bits_per_spike(rates, counts, null, valid)[0])

    best = minimize_scalar(lambda weight: -bits(weight), bounds=(0, 1), method="bounded")
    assert bits_per_spike(fitted, counts, null, valid)[0] == pytest.approx(-best.fun, abs=1e-5)
    upside_down = recalibrated(-truth, counts, valid)
    np.testing.assert_allclose(upside_down, null[0])


# --- Files --------------------------------------------------------------------------------------------------------


def test_an_audit_survives_its_file_and_belongs_to_one_twin(clean: RecordingStore, tmp_path: Path) -> None:
    twin, path = twin_of(clean), RunFolder(tmp_path).audit
    result = audit(twin, clean, progress=False)
    result.write_json(path)
    again = load_audit(path, twin, clean)
    assert again is not None
    assert again.to_json() == json.loads(path.read_text())
    assert again == result
    assert again.passed
    other = twin_of(clean, spec=clean.spec.with_constants(constants_of_all_data(clean)))
    assert load_audit(path, other, clean) is None
    path.write_text(json.dumps(result.to_json() | {"findings": [{"check": "context"}]}))
    assert load_audit(path, twin, clean) is None
    with pytest.raises(DataError, match="run 'visioncore audit' again"):
        AuditResult.from_json({})


def test_every_look_at_the_test_split_is_counted(tmp_path: Path) -> None:
    assert str(read_test_evaluations(tmp_path)) == "test split never evaluated"
    for number, twin in enumerate(["one", "one", "two"]):
        counted = record_test_evaluation(tmp_path, twin, "data", {"bin_ms": number}, "evaluate")
    assert str(counted) == "test split evaluated 3 times, by 2 different twins"
    entries = read_test_evaluations(tmp_path).entries
    assert [entry.settings["bin_ms"] for entry in entries] == [0, 1, 2]
    assert {"time", "visioncore", "commit", "purpose"} <= entries[0].to_json().keys()
    RunFolder(tmp_path).test_evaluations.write_text("[{]")
    with pytest.raises(DataError, match="no record of test evaluations"):
        record_test_evaluation(tmp_path, "three", "data", {}, "audit")


def test_several_twins_on_one_test_split_are_noted(tmp_path: Path) -> None:
    result = AuditResult(
        settings=AuditSettings(
            audit_version=1,
            visioncore="0.1.0",
            twin_digest="one",
            data_fingerprint="data",
            seed=0,
            audited_test_blocks=1,
            response_kind="counts",
            bin_ms=10.0,
        ),
        findings=(),
        controls=(),
    )
    for twin, level in (("one", "pass"), ("two", "note")):
        counted = record_test_evaluation(tmp_path, twin, "data", {}, "audit")
        finding = result.with_evaluations(counted).findings[-1]
        assert (finding.check, finding.level) == ("test evaluations", level)
