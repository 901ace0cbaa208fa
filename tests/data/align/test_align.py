"""From clocks to bins: what is shown in a bin, what is counted in it, and what nobody may count."""

from typing import Any

import numpy as np
import pytest

from visioncore.data.align import (
    AlignedRecording,
    ClockedSession,
    Events,
    Frames,
    Intervals,
    PicturesInMemory,
    Shown,
    Signal,
    align,
    make_bins,
)
from visioncore.errors import DataError
from visioncore.spec import SessionSpec


def _pictures(n: int) -> PicturesInMemory:
    """Picture k is grey of value k, so that what is shown can be read."""
    return PicturesInMemory(
        np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 3), np.uint8)
    )


def _frames(times_s: Any, **given: Any) -> Frames:
    times = np.asarray(times_s, np.float64)
    return Frames(times, np.arange(len(times)), _pictures(len(times)), "frames.npy", **given)


def _session(frames: Frames, **given: Any) -> ClockedSession:
    n_units = given.pop("n_units", 2)
    names = tuple(name for signal in given.get("behaviour", ()) for name in signal.names)
    spec = SessionSpec(id="s", subject="m", unit_ids=tuple(map(str, range(n_units))), behaviour_names=names)
    given = {"responses": None, "shown": (Shown(0, len(frames.times_s)),), **given}
    return ClockedSession(spec=spec, frames=frames, **given)


def _shown(recording: AlignedRecording) -> list[int]:
    return [int(k) for k in recording.read("video", 0, recording.n_bins)[:, 0, 0, 0]]


def test_a_film_that_runs_a_thousandth_slow_loses_no_frame_in_an_hour() -> None:
    n = 60 * 3600
    times = 5.0 + np.arange(n) / 59.94
    bins = make_bins(Frames(times, np.arange(n), _pictures(1), "f"), (Shown(0, n),), 60.0)
    assert len(bins) == n
    np.testing.assert_array_equal(bins.first_frame, np.arange(n))
    np.testing.assert_allclose(bins.start_s, times)


def test_a_dropped_frame_holds_the_one_before_for_another_bin() -> None:
    times = np.array([0, 1, 2, 4, 5, 8, 9]) / 60  # frames stayed for 1, 1, 2, 1, 3 and 1 refreshes
    assert _shown(align(_session(_frames(times)), 60.0)) == [0, 1, 2, 2, 3, 4, 4, 4, 5, 6]


def test_late_and_early_frames_have_one_bin_each() -> None:
    rng = np.random.default_rng(0)
    times = (np.arange(200) + rng.uniform(-0.22, 0.22, 200)) / 60
    recording = align(_session(_frames(times)), 60.0)
    assert _shown(recording) == list(range(200))


def test_a_doubled_flip_is_not_a_bin_and_its_time_is_not_lost() -> None:
    times = np.array([0, 1, 1.1, 2, 3, 4]) / 60
    bins = make_bins(_frames(times), (Shown(0, 6),), 60.0)
    np.testing.assert_allclose(bins.start_s[1:], bins.stop_s[:-1])
    assert bins.stop_s[-1] == pytest.approx(5 / 60)
    assert len(bins) == 5
    recording = align(_session(_frames(times)), 60.0)
    assert recording.alignment.unseen_frames == 1


def test_25_frames_per_second_on_bins_of_a_sixtieth_show_the_last_frame_that_began() -> None:
    times = np.arange(25) / 25
    recording = align(_session(_frames(times)), 60.0)
    expected = np.floor(np.arange(60) / 60 * 25 + 1e-6).astype(int)
    assert _shown(recording) == expected.tolist()


def test_several_frames_in_a_bin_are_averaged_never_dropped() -> None:
    recording = align(_session(_frames(np.arange(60) / 60)), 30.0)
    assert _shown(recording)[:4] == [0, 2, 4, 6]  # (0 + 1) / 2 rounds to even, as do the others
    floats = PicturesInMemory(
        np.arange(60, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 1, 1), np.float32)
    )
    frames = Frames(np.arange(60) / 60, np.arange(60), floats, "f")
    video = align(_session(frames), 30.0).read("video", 0, 30)[:, 0, 0, 0]
    np.testing.assert_allclose(video, np.arange(30) * 2 + 0.5)
    video = align(_session(Frames(np.arange(75) / 75, np.arange(75), floats_of(75), "f")), 30.0).read(
        "video", 0, 4
    )
    np.testing.assert_allclose(video[:, 0, 0, 0], [0.8, 3.2, 5.8, 8.2], atol=1e-5)  # 2.5 frames in each


def floats_of(n: int) -> PicturesInMemory:
    return PicturesInMemory(
        np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 1, 1), np.float32)
    )


def test_a_pause_ends_a_stretch_and_its_repeat_is_not_taken_for_the_whole() -> None:
    times = np.r_[np.arange(30) / 60, 10 + np.arange(30) / 60]
    session = _session(_frames(times), shown=(Shown(0, 60, stimulus_id="film"),))
    recording = align(session, 60.0)
    assert [(t.start, t.stop) for t in recording.trials] == [(0, 30), (30, 60)]
    assert recording.bins.stop_s[29] == pytest.approx(0.5)
    assert len({t.stimulus_id for t in recording.trials}) == 2
    assert {t.group for t in recording.trials} == {"film"}
    assert recording.alignment.breaks == 1


def test_a_picture_with_a_known_end_stays_until_then() -> None:
    frames = _frames([0.0, 3.0], stop_s=np.array([0.5, 4.0]))
    recording = align(_session(frames, shown=(Shown(0, 1), Shown(1, 2))), 10.0)
    assert _shown(recording) == [0] * 5 + [1] * 10
    assert [(t.start, t.stop) for t in recording.trials] == [(0, 5), (5, 15)]


def test_another_rate_than_the_frames_have_is_refused_with_the_one_they_have() -> None:
    with pytest.raises(DataError, match=r"frames\.npy.*75 bins per second.*sampling_rate_hz is 70"):
        make_bins(_frames(np.arange(100) / 75), (Shown(0, 100),), 70.0)


def test_spikes_are_counted_from_the_start_of_a_bin_up_to_its_end() -> None:
    times = np.arange(10) / 10
    spikes = Events(
        np.array([0.85, 0.1, 0.1999, 0.2, -3.0, 55.0]), np.array([1, 0, 0, 1, 0, 0]), "spikes.npy"
    )
    counts = align(_session(_frames(times), responses=spikes), 10.0).read("responses", 0, 10)
    expected = np.zeros((10, 2), int)
    expected[1, 0], expected[2, 1], expected[8, 1] = 2, 1, 1
    np.testing.assert_array_equal(counts, expected)


def test_a_piece_read_alone_is_that_piece_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    spikes = Events(rng.uniform(0, 10, 500), rng.integers(0, 2, 500), "spikes.npy")
    run = Signal(np.arange(-1, 11, 0.07), rng.normal(size=(172, 1)), ("run",), "run.npy")
    recording = align(_session(_frames(np.arange(600) / 60), responses=spikes, behaviour=(run,)), 60.0)
    for name in ("video", "responses", "valid", "behaviour"):
        whole = recording.read(name, 0, 600)
        pieces = [recording.read(name, a, min(a + 97, 600)) for a in range(0, 600, 97)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_behaviour_is_never_of_later_than_the_start_of_its_bin() -> None:
    times = np.arange(0, 2, 0.013)
    before = Signal(times, times[:, None].copy(), ("run",), "run.npy")
    recording = align(_session(_frames(np.arange(100) / 60), behaviour=(before,)), 60.0)
    held = recording.read("behaviour", 0, 100)[:, 0]
    known = recording.read("valid", 0, 100)[:, 0]
    assert known.all()
    assert (held <= recording.bins.start_s + 1e-6).all()
    assert (held > recording.bins.start_s - 0.0131).all()


def test_a_sample_that_is_too_old_is_unknown_and_the_bin_does_not_count() -> None:
    times = np.r_[np.arange(0, 0.5, 0.02), np.arange(1.0, 1.6, 0.02)]
    signal = Signal(times, np.ones((len(times), 1)), ("pupil",), "eye.npy, pupil")
    recording = align(_session(_frames(np.arange(90) / 60), behaviour=(signal,)), 60.0)
    valid, start = recording.read("valid", 0, 90)[:, 0], recording.bins.start_s
    assert valid[start < 0.5].all()
    assert not valid[(start > 0.6) & (start < 0.99)].any()
    assert valid[start > 1.0].all()
    assert 0.3 < recording.alignment.invalid_s["eye.npy, pupil: unknown"] < 0.5


def test_a_unit_counts_where_it_was_held_and_nothing_counts_where_marked() -> None:
    spikes = Events(
        np.array([0.05, 0.55]),
        np.array([0, 1]),
        "units",
        held=(None, Intervals(np.array([0.3]), np.array([0.9]), "u")),
    )
    blink = Intervals(np.array([0.62]), np.array([0.64]), "blinks")
    recording = align(_session(_frames(np.arange(10) / 10), responses=spikes, invalid=(blink,)), 10.0)
    valid = recording.read("valid", 0, 10)
    assert valid[:, 0].tolist() == [True] * 6 + [False] + [True] * 3
    assert valid[:, 1].tolist() == [False] * 3 + [True] * 3 + [False] + [True] * 2 + [False]


def test_a_trace_counts_in_the_bin_that_holds_its_sample_on_each_planes_own_clock() -> None:
    first = Signal(np.array([0.05, 0.25, 0.45]), np.array([[1.0], [2.0], [np.nan]]), ("0",), "plane 0")
    second = Signal(np.array([0.11, 0.12, 0.31]), np.array([[3.0], [5.0], [6.0]]), ("1",), "plane 1")
    recording = align(_session(_frames(np.arange(5) / 10), responses=(first, second)), 10.0)
    trace, valid = recording.read("responses", 0, 5), recording.read("valid", 0, 5)
    np.testing.assert_array_equal(valid.T, [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0]])
    np.testing.assert_array_equal(trace[valid], [1, 4, 2, 6])


def test_the_union_of_intervals_that_overlap_is_counted_once() -> None:
    found = Intervals(np.array([0.0, 0.2, 5.0, 0.5]), np.array([1.0, 0.4, 6.0, 1.5]), "i")
    start = np.array([0.0, 0.25, 1.4, 2.0, 4.0, 5.9])
    np.testing.assert_allclose(found.overlap(start, start + 0.2), [0.2, 0.2, 0.1, 0.0, 0.0, 0.1], atol=1e-12)
    np.testing.assert_allclose(found.overlap(np.array([-1.0]), np.array([9.0])), [2.5])


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([0.0, 0.1, np.nan], r"1 of 3 timestamps are NaN or infinite, the first is number 2"),
        ([0.0, 2.0, 0.5], r"jump back by 1\.5 s after number 1"),
        ([0.0, 0.1, 0.1], r"stand still"),
    ],
)
def test_frame_times_that_cannot_be_are_refused(times: list[float], told: str) -> None:
    with pytest.raises(DataError, match=f"frames.npy: .*{told}"):
        _frames(times)


def test_one_time_too_few_is_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"300 frames, but 299 timestamps"):
        Frames(np.arange(299.0), np.arange(300), _pictures(3), "stimulus")
    with pytest.raises(DataError, match=r"starts and ends"):
        Signal(np.zeros((2, 5)), np.zeros((5, 1)), ("run",), "running")


@pytest.mark.parametrize("rate_hz", [3.0, 30.0])
def test_spikes_in_samples_or_milliseconds_are_told_from_seconds(rate_hz: float) -> None:
    rng = np.random.default_rng(2)
    seconds = np.sort(rng.uniform(0, 300, int(rate_hz * 300 * 2)))
    unit = rng.integers(0, 2, len(seconds))
    frames = _frames(100 + np.arange(255) / 30)
    align(_session(frames, responses=Events(seconds, unit, "units/spike_times")), 30.0)
    for factor, told in ((1000.0, "milliseconds"), (30_000.0, "whole numbers")):
        wrong = np.round(seconds * factor) if told == "whole numbers" else seconds * factor
        with pytest.raises(DataError, match=f"units/spike_times: .*{told}"):
            align(_session(frames, responses=Events(wrong, unit, "units/spike_times")), 30.0)


def test_spikes_nowhere_near_the_frames_are_refused() -> None:
    late = Events(1000 + np.arange(100) / 9.7, np.zeros(100, int), "units/spike_times")
    with pytest.raises(DataError, match=r"0 of 100 spikes fall into the time of the frames"):
        align(_session(_frames(np.arange(200) / 60), responses=late), 60.0)
