"""An inspection of a lab's folder proposes the YAML that reads it, but for what only the user knows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from event_files import COUNTS, ONSETS, VIDEO, N, make_lab
from shared_cases import CASES, needs_cases
from visioncore.config import build_config
from visioncore.data.inspection.events import inspect_events
from visioncore.data.sources.events_config import EventsConfig
from visioncore.errors import DataError


def filled(proposal: Any, known: dict[str, Any]) -> Any:
    """The proposal with what the user knows in the place of None."""
    if isinstance(proposal, dict):
        return {key: known[key] if value is None else filled(value, known) for key, value in proposal.items()}
    return [filled(value, known) for value in proposal] if isinstance(proposal, list) else proposal


@needs_cases
def test_the_case_is_proposed_but_for_what_the_user_knows() -> None:
    folder = CASES / "checkerboard_ran1"
    found = inspect_events(folder)
    assert found is not None
    knows = {
        "name": "ran1",
        "seed": 10000,
        "rows": 12,
        "columns": 18,
        "stixel_px": 4,
        "refreshes_per_frame": 2,
    }
    knows |= {"frames_per_trigger": 50, "sampling_rate_hz": 59.9417 / 2, "subject": "m"}
    recording = (
        build_config(EventsConfig, filled(found.proposal, knows), "y")
        .build(folder)
        .session("checkerboard_ran1")
    )
    truth = np.load(folder / "truth.npz")
    assert np.array_equal(recording.read("video", 0, 3000)[:, 0], truth["video"])
    assert np.array_equal(recording.read("responses", 0, 3000), truth["counts"])
    assert "every 1.66829 s" in " ".join(found.notes)


def test_a_sorters_folder_with_flips_and_a_film_is_proposed(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    (lab / "trials.csv").write_text(f"start_s,stop_s\n{ONSETS[0]},{ONSETS[-1] + 0.0167}\n")
    np.save(lab / "eye_t.npy", ONSETS)
    np.save(lab / "eye_xy.npy", np.zeros((N, 2)))
    np.save(lab / "eye_valid.npy", np.ones(N, bool))
    np.save(lab / "notes.npy", np.array(["a", None], dtype=object), allow_pickle=True)
    found = inspect_events(lab)
    assert found is not None
    session = found.proposal["params"]["sessions"][0]
    assert session["spikes"] == {"phy": "ks4/", "groups": ["good"], "t0_s": 0.0}
    assert session["frames"] == {"times_s": "flips.npy", "display_delay_s": 0.0}
    assert session["video"] == {"path": "film.npy", "axes": "tyx"}
    assert session["gaze"] == {"times_s": "eye_t.npy", "xy_deg": "eye_xy.npy", "valid": "eye_valid.npy"}
    assert session["trials"] == "trials.csv"
    known = {"sampling_rate_hz": 59.94, "subject": "m"}
    recording = build_config(EventsConfig, filled(found.proposal, known), "y").build(lab).session(lab.name)
    assert np.array_equal(recording.read("responses", 0, N), COUNTS[:, [0, 2]])
    assert [p.pixels.shape for p in found.pictures] == [VIDEO.shape[1:], VIDEO.shape[:0:-1]]
    assert np.array_equal(found.pictures[1].pixels, VIDEO[N // 2].T)
    notes = {listed.name: listed.note for listed in found.listed}
    assert "pickled" in notes["notes.npy"]
    assert any("2 good" in note and "1 mua" in note for note in found.notes)


def test_other_folders_are_not_its_own_and_broken_ones_are_told(tmp_path: Path) -> None:
    assert inspect_events(tmp_path) is None
    (tmp_path / "film.npy").touch()
    assert inspect_events(tmp_path) is None
    assert inspect_events(tmp_path / "film.npy") is None
    lab = make_lab(tmp_path)
    np.save(lab / "ks4" / "spike_clusters.npy", np.zeros(7, np.int64))
    with pytest.raises(DataError, match=r"spike_clusters\.npy: 7 labels"):
        inspect_events(lab)
