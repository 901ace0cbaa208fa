"""Pages of `inspect`: what is measured of a prepared recording, and that the pages are whole."""

import re
from pathlib import Path

import numpy as np
import pytest

from visioncore.data import RecordingStore
from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.recording import Alignment, ClockResiduals
from visioncore.report.inspection_page import write_inspection, write_quality
from visioncore.report.quality import Gaze, RatesOverTime, Reliability, TriggeredAverages


def test_the_page_of_a_recording_shows_every_session_and_needs_no_network(
    tiny_store: RecordingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(tiny_store.sessions.values()))
    found = Alignment(
        n_frames=7,
        n_bins=9,
        bin_hz=59.94,
        held_frames=2,
        unseen_frames=0,
        breaks=1,
        invalid_s={"eye.npy, <pupil>: unknown": 1.5},
        clocks={"display to ephys": ClockResiduals(times_s=(0.0, 1.0), residuals_ms=(0.1, -0.1))},
    )
    monkeypatch.setattr(first, "alignment", found)
    assert write_quality(tiny_store, tmp_path / "page.html") == ()
    page = (tmp_path / "page.html").read_text()
    for name in tiny_store.sessions:
        assert f"<h2>{name} (" in page
    assert "eye.npy, &lt;pupil&gt;: unknown" in page
    assert "59.94" in page
    assert "off a straight line" not in page  # the figure is a picture, not text
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.rstrip().endswith("</html>")


def test_rates_over_time_are_the_means_of_what_counts(tiny_store: RecordingStore) -> None:
    session = next(iter(tiny_store.sessions.values()))
    found = RatesOverTime.of(session, 60.0)
    valid = session.valid(0, session.n_bins)
    mean = session.responses(0, session.n_bins).mean(axis=0, where=valid) * 60
    steps = np.searchsorted(np.round(found.time_s * 60), np.arange(session.n_bins), side="right") - 1
    counted = np.stack([np.bincount(steps, weights=own) for own in valid.T.astype(float)])
    np.testing.assert_allclose(np.nansum(found.mean * counted, axis=1) / counted.sum(axis=1), mean, rtol=1e-4)


def test_a_planted_field_and_lag_stand_out_of_the_average() -> None:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 2, (6000, 1, 8, 12)).astype(np.uint8) * 255
    rate = np.where(np.roll(video[:, 0, 5, 3], 4) > 0, 0.4, 0.05)
    session = _Made(video, rng.poisson(rate)[:, None].astype(np.float32))
    found = TriggeredAverages.of(session, 60.0)  # type: ignore[arg-type]
    assert found is not None
    assert found.lag_s[0] == pytest.approx(4 / 60)
    assert np.unravel_index(found.frame[0].argmax(), (8, 12)) == (5, 3)
    others = np.delete(found.frame[0].ravel(), 5 * 12 + 3)
    assert found.frame[0].max() > 10
    assert np.abs(others).max() < 5  # in widths of chance


def test_repeats_that_agree_are_reliable_and_those_of_noise_are_not() -> None:
    rng = np.random.default_rng(1)
    shared = np.tile(rng.poisson(2.0, 200), 4)
    responses = np.stack([shared, rng.poisson(2.0, 800)], axis=1).astype(np.float32)
    session = _Made(np.zeros((800, 1, 2, 2), np.uint8), responses, repeats=4)
    found = Reliability.of(session)  # type: ignore[arg-type]
    assert found is not None
    assert found.n_repeats == (4, 4)
    assert found.oracle[0] == pytest.approx(1.0)
    assert abs(found.oracle[1]) < 0.2


def test_gaze_is_found_by_the_names_of_its_coordinates(tiny_store: RecordingStore) -> None:
    session = _Made(np.zeros((50, 1, 2, 2), np.uint8), np.zeros((50, 1), np.float32))
    session.spec.behaviour_names = ("pupil", "gaze_y", "gaze_x")
    session.moves = np.stack([np.zeros(50), np.arange(50), -np.arange(50)], axis=1).astype(np.float32)
    found = Gaze.of(session)  # type: ignore[arg-type]
    assert found is not None
    assert found.names == ("gaze_x", "gaze_y")
    assert found.x[-1] == -49


def test_the_page_of_foreign_files_escapes_their_names(tmp_path: Path) -> None:
    found = Inspection(
        format="nwb",
        where=Path("<b>.nwb"),
        listed=(Listed("/units/<script>", (3, 4), "float64", "spikes"),),
        proposal={"type": "nwb"},
        notes=("which way round?",),
        pictures=(Picture("tyx", np.zeros((3, 4))), Picture("txy", np.zeros((4, 3)))),
    )
    page = write_inspection(found, "type: nwb\n", tmp_path / "page.html").read_text()
    assert "<script>" not in page
    assert "3 × 4" in page
    assert "which way round?" in page
    assert page.count("data:image/png") == 1


class _Made:
    """What the measures read of a session."""

    def __init__(self, video: np.ndarray, responses: np.ndarray, repeats: int = 1) -> None:
        from types import SimpleNamespace

        from visioncore.data import Block

        self._video, self._responses = video, responses
        self.n_bins, self.unit_ids = len(video), tuple(map(str, range(responses.shape[1])))
        self.train_mean = responses.mean(axis=0).astype(np.float64)
        length = self.n_bins // repeats
        names = [None] if repeats == 1 else ["film"] * repeats
        self.blocks = [Block(k * length, (k + 1) * length, "train", name) for k, name in enumerate(names)]
        self.spec = SimpleNamespace(behaviour_names=(), response_kind="counts")
        self.moves = np.zeros((self.n_bins, 0), np.float32)

    def blocks_in(self, split: str) -> list:
        return [block for block in self.blocks if block.split == split]

    def video(self, start: int, stop: int) -> np.ndarray:
        return self._video[start:stop]

    def responses(self, start: int, stop: int) -> np.ndarray:
        return self._responses[start:stop]

    def valid(self, start: int, stop: int) -> np.ndarray:
        return np.ones((stop - start, len(self.unit_ids)), bool)

    def behaviour(self, start: int, stop: int) -> np.ndarray:
        return self.moves[start:stop]
