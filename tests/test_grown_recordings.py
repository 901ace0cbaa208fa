"""A recording that has gained or lost a session is still the twin's; one whose sessions have changed is not."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from flawed import SPLITS, VIVIT, prepared, recording, started
from visioncore.audit import Finding, audit
from visioncore.audit.run import leak_findings
from visioncore.data import RecordingStore
from visioncore.errors import CheckpointError
from visioncore.evaluation import evaluate, load_evaluation
from visioncore.model import Twin
from visioncore.provenance import Provenance, RecordedData, RecordedExperiment, RecordedTraining
from visioncore.report import write_report


@pytest.fixture(scope="module")
def sessions() -> list[dict[str, Any]]:
    return [recording(seed=0), recording(seed=1)]


def trained(store: RecordingStore, *, knows_sessions: bool = True) -> Twin:
    """A twin that says of its training what training writes down."""
    twin = started(store)
    of_sessions = {name: session.fingerprint for name, session in store.sessions.items()}
    twin.provenance = Provenance(
        data_fingerprint=store.fingerprint, session_fingerprints=of_sessions if knows_sessions else None
    )
    return twin


def findings(twin: Twin, store: RecordingStore) -> dict[str, Finding]:
    return {finding.check: finding for finding in audit(twin, store, progress=False).findings}


def test_a_recording_that_has_gained_a_session_is_a_note_and_no_failure(
    sessions: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = prepared(tmp_path / "before", sessions[0])
    after = prepared(tmp_path / "after", *sessions)
    twin = trained(before)
    found = findings(twin, after)
    assert found["training data"].level == "note"
    assert "gained s1" in found["training data"].sentence
    assert found["constants"].level == "pass"
    assert "fail" not in {found[check].level for check in ("training data", "constants", "context")}
    caplog.clear()
    scores = evaluate(twin, after, progress=False)
    assert "the twin does not know session 's1'; only s0 can be scored" in caplog.text
    assert scores.settings.trained_on_these_data is True
    assert scores.units == evaluate(twin, before, progress=False).units


def test_a_recording_that_has_lost_a_session_is_a_note(
    sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    both = prepared(tmp_path / "both", *sessions)
    one = prepared(tmp_path / "one", sessions[0])
    found = findings(trained(both), one)
    assert {found[check].level for check in ("training data", "constants")} == {"note"}
    assert "lost s1" in found["training data"].sentence
    assert "also rest on s1, not here" in found["constants"].sentence


@pytest.mark.parametrize("knows_sessions", [True, False])
def test_the_same_recording_passes(
    knows_sessions: bool, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    store = prepared(tmp_path, *sessions)
    found = findings(trained(store, knows_sessions=knows_sessions), store)
    assert {found[check].level for check in ("training data", "constants")} == {"pass"}


def test_of_an_old_twin_of_a_grown_recording_it_cannot_be_told(
    sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    twin = trained(prepared(tmp_path / "before", sessions[0]), knows_sessions=False)
    found = findings(twin, prepared(tmp_path / "after", *sessions))
    assert found["training data"].level == "note"
    assert "does not say on which data" in found["training data"].sentence


def other_splits(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "split": np.array(SPLITS[1:] + SPLITS[:1])}


def other_counts(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "spikes": np.roll(arrays["spikes"], 500, axis=0)}


@pytest.mark.parametrize("change", [other_splits, other_counts])
@pytest.mark.parametrize("grown", [False, True])
def test_a_session_that_has_changed_fails_however_the_recording_has_grown(
    grown: bool, change: Any, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    twin = trained(prepared(tmp_path / "before", sessions[0]))
    after = prepared(tmp_path / "after", change(sessions[0]), *(sessions[1:] if grown else []))
    found = {f.check: f for f in leak_findings(twin, after.only(["s0"]), Progress(disable=True), after)}
    assert found["training data"].level == "fail"


def test_a_recording_without_any_session_of_the_twin_is_an_error(
    sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    both = prepared(tmp_path, *sessions)
    twin = started(both.only(["s1"]))
    with pytest.raises(CheckpointError, match="the twin has no session 's0'"):
        evaluate(twin, both.only(["s0"]), progress=False)


def test_constants_of_some_sessions_are_those_of_a_recording_of_them_alone(
    sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    both, one = prepared(tmp_path / "both", *sessions), prepared(tmp_path / "one", sessions[1])
    kept = both.only(["s1"])
    (session,) = kept.spec.sessions
    assert session.id == "s1"
    assert session.normalisation != both.spec.session("s1").normalisation
    # Recordings of one session call it s0.
    assert session.normalisation == one.spec.sessions[0].normalisation
    assert kept.spec.sampling.channels == one.spec.sampling.channels


@pytest.mark.parametrize("pixels", ["flicker", "one pixel"])
def test_scrambled_pixels_are_not_asked_for_where_frames_are_of_one_value(
    pixels: str, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    arrays = dict(sessions[0])
    arrays["stim"] = arrays["stim"][:, :1, :1]
    if pixels == "flicker":
        arrays["stim"] = np.tile(arrays["stim"], (1, 9, 12))
    twin = trained(prepared(tmp_path, arrays))
    # A cell that follows the flicker, so that there is a score to fall from.
    drive = np.clip((arrays["stim"].mean((1, 2)) - 100) / 100, 0.01, None)
    arrays["spikes"] = np.random.default_rng(0).poisson(0.4 * drive[:, None] * np.ones(4))
    del arrays["truth"]
    store = prepared(tmp_path / "driven", arrays)
    twin = trained(store)
    result = audit(twin, store, progress=False)
    found = {finding.check: finding for finding in result.findings}
    assert "pixels scrambled" not in {line.name for line in result.controls}
    if "pixels scrambled" in found:
        assert found["pixels scrambled"].level == "note"
        assert "nothing to scramble" in found["pixels scrambled"].sentence
    assert found["near duplicates"].level in ("pass", "note")


def test_a_stored_evaluation_of_before_is_still_found(sessions: list[dict[str, Any]], tmp_path: Path) -> None:
    store = prepared(tmp_path, sessions[0])
    twin = trained(store)
    evaluate(twin, store, progress=False).write_to(tmp_path)
    assert load_evaluation(tmp_path / "evaluation_test.json", twin, store) is not None


def test_a_report_on_a_grown_recording_shows_the_sessions_of_the_twin(
    sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    before = prepared(tmp_path / "before", sessions[0])
    after = prepared(tmp_path / "after", *sessions)
    twin = started(before, VIVIT)
    page = write_report(twin, after, evaluate(twin, after, progress=False), tmp_path).read_text()
    assert re.search(r">\s*s0\s*<", page)
    assert not re.search(r">\s*s1\s*<", page)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_constants_of_a_twin_of_a_share_of_the_training_data_are_those_of_the_share(
    share: float, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    store = prepared(tmp_path, *sessions)
    twin = trained(store.with_train_share(0.4))
    made = RecordedExperiment(training=RecordedTraining(train_share=share))
    twin.provenance = twin.provenance.model_copy(update={"experiment": made})
    found = {finding.check: finding for finding in leak_findings(twin, store, Progress(disable=True))}
    assert found["training data"].level == "pass"
    assert found["constants"].level == ("pass" if share == 0.4 else "fail"), found["constants"].sentence


@pytest.mark.parametrize("claimed", ["pooled", "session"])
def test_constants_of_each_session_are_recomputed_from_it_alone(
    claimed: str, sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    darker = {**sessions[1], "stim": sessions[1]["stim"] // 2, "speed": sessions[1]["speed"] + 5}
    store = prepared(tmp_path, sessions[0], darker, normalisation="session")
    twin = trained(store)
    made = RecordedExperiment(data=RecordedData(normalisation=claimed))
    twin.provenance = twin.provenance.model_copy(update={"experiment": made})
    found = {finding.check: finding for finding in leak_findings(twin, store, Progress(disable=True))}
    assert found["constants"].level == ("pass" if claimed == "session" else "fail"), found[
        "constants"
    ].sentence
