"""Frame times from triggers: missed, doubled and late ones, each told from a film that is stretched."""

import numpy as np
import pytest

from visioncore.data.sources.triggers import doubled, frames_of_triggers
from visioncore.errors import DataError

N, FRAME_S = 50, 1 / 29.97085
TRIGGERS = 7.321 + np.arange(40) * N * FRAME_S


def onsets_of(triggers: np.ndarray) -> np.ndarray:
    return (triggers[:, None] + np.arange(N) * FRAME_S).reshape(-1)


def test_times_between_triggers_are_interpolated_and_after_the_last_extrapolated() -> None:
    found = frames_of_triggers(TRIGGERS, N, "t")
    assert np.allclose(found.start_s, onsets_of(TRIGGERS), atol=1e-9)
    assert np.allclose(found.stop_s[:-1], found.start_s[1:], atol=1e-9)
    assert found.stop_s[-1] == pytest.approx(TRIGGERS[-1] + N * FRAME_S)
    assert found.number.tolist() == list(range(40 * N))
    assert not len(found.unclear.start_s)


def test_triggers_of_whole_samples_leave_no_drift() -> None:
    rounded = np.round(TRIGGERS * 10_000) / 10_000
    assert np.abs(frames_of_triggers(rounded, N, "t").start_s - onsets_of(TRIGGERS)).max() < 2e-4


def test_missed_triggers_leave_the_film_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    kept = np.delete(TRIGGERS, [5, 20, 21])
    found = frames_of_triggers(kept, N, "t")
    assert np.allclose(found.start_s, onsets_of(TRIGGERS), atol=1e-9)
    assert "3 triggers were missed" in caplog.text


@pytest.mark.parametrize("after_s", [0.0004, 0.004, 0.02, 0.3])
def test_doubled_triggers_are_left_out(after_s: float, caplog: pytest.LogCaptureFixture) -> None:
    more = np.sort(np.concatenate([TRIGGERS, TRIGGERS[[0, 9, 39]] + after_s]))
    found = frames_of_triggers(more, N, "t")
    assert np.allclose(found.start_s, onsets_of(TRIGGERS), atol=1e-9)
    assert "3 of 43 triggers come too soon" in caplog.text


@pytest.mark.parametrize("pause_s", [0.31, 2.5, 60.0])
def test_a_late_trigger_is_a_pause_and_no_stretched_film(pause_s: float) -> None:
    late = TRIGGERS + pause_s * (np.arange(40) >= 17)
    found = frames_of_triggers(late, N, "t")
    assert np.allclose(found.start_s, onsets_of(late), atol=1e-9)
    assert np.allclose(found.stop_s - found.start_s, FRAME_S, atol=1e-9)
    assert not len(found.unclear.start_s)


def test_a_trigger_late_by_a_frame_or_two_makes_its_frames_unclear() -> None:
    late = TRIGGERS + FRAME_S * (np.arange(40) >= 17)
    found = frames_of_triggers(late, N, "t")
    assert found.unclear.start_s.tolist() == [late[16]]
    assert found.unclear.stop_s.tolist() == [late[17]]
    assert np.allclose(found.start_s, onsets_of(late), atol=1e-9)


def test_the_last_trigger_may_be_followed_by_less_than_all() -> None:
    assert len(frames_of_triggers(TRIGGERS, N, "t", n_frames=39 * N + 7).number) == 39 * N + 7
    with pytest.raises(DataError, match=r"t: triggers of 2000 frames \(50 each\), and the film has 1950"):
        frames_of_triggers(TRIGGERS, N, "t", n_frames=39 * N)


def test_what_cannot_be_triggers_is_refused() -> None:
    with pytest.raises(DataError, match="t: one trigger"):
        frames_of_triggers(TRIGGERS[:1], N, "t")
    shifted = TRIGGERS - 0.5 * (np.arange(40) >= 17)
    with pytest.raises(DataError, match=r"t: trigger 17 .* s\) comes 1\.168.* s after the one before"):
        frames_of_triggers(shifted, N, "t")


def test_a_flip_that_is_one_too_many_is_told_from_one_that_is_late() -> None:
    flips = np.arange(100) / 60
    assert not doubled(flips).any()
    late = flips.copy()
    late[40] += 0.6 / 60  # and the next is on time
    assert not doubled(late).any()
    assert np.flatnonzero(doubled(np.insert(flips, 41, flips[40] + 0.002))).tolist() == [41]
