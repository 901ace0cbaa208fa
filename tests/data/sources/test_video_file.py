"""Video files: every frame by its exact number, in every order, whatever the container and the codec."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from video_files import write
from visioncore.data.sources.video_file import VideoFile
from visioncore.errors import DataError

av = import_module("av")

N, HEIGHT, WIDTH = 70, 32, 48
# Frame n is told from its neighbours by its grey: 3 n; and by a bar, so that a codec has motion to predict.
GREY = np.broadcast_to((3 * np.arange(N, dtype=np.uint8))[:, None, None], (N, HEIGHT, WIDTH)).copy()
for _n in range(N):
    GREY[_n, :, (_n % 40) : (_n % 40) + 4] = 255 - 3 * _n

B_FRAMES = {"bf": "3", "g": "12", "crf": "10"}
FILMS: dict[str, tuple[str, str, dict[str, str]]] = {
    # file name: (codec, pixel format, options)
    "b_frames.mp4": ("libx264", "yuv420p", {**B_FRAMES, "x264-params": "scenecut=0:b-adapt=0:open-gop=0"}),
    "open_gop.mp4": ("libx264", "yuv420p", {**B_FRAMES, "x264-params": "scenecut=0:b-adapt=0:open-gop=1"}),
    "hevc.mp4": (
        "libx265",
        "yuv420p",
        {"x265-params": "log-level=none:keyint=12:min-keyint=12:open-gop=1:qp=8"},
    ),
    "lossless.mkv": ("ffv1", "gray", {}),
    "b_frames.ts": ("libx264", "yuv420p", B_FRAMES),
    "b_frames.avi": ("mpeg4", "yuv420p", {"bf": "2", "g": "10", "qmax": "2"}),
    "motion.avi": ("mjpeg", "yuvj420p", {"qmax": "2"}),
    "program.mpg": ("mpeg2video", "yuv420p", {"bf": "2", "g": "12", "qmax": "2"}),
    "raw.h264": ("libx264", "yuv420p", B_FRAMES),
    "hidden.webm": ("libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "4M", "g": "20"}),
}


def numbers_of(pictures: np.ndarray) -> np.ndarray:
    """Which frame each picture is, by the grey of its last columns."""
    return np.round(pictures[:, 0, :, -3:].astype(float).mean(axis=(1, 2)) / 3).astype(int)


@pytest.mark.parametrize("name", FILMS)
def test_frames_are_found_by_number_in_any_order(name: str, tmp_path: Path) -> None:
    film = VideoFile(write(tmp_path / name, GREY, *FILMS[name]), "video")
    assert film.n_pictures == N
    assert film.shape == (1, HEIGHT, WIDTH)
    assert numbers_of(film.read(np.arange(N))).tolist() == list(range(N))
    scattered = np.random.default_rng(0).integers(0, N, 40)
    fresh = VideoFile(tmp_path / name, "video")
    for number in scattered[:10]:
        assert numbers_of(fresh.read(np.array([number]))).tolist() == [number]
        fresh._cache.clear()
    assert numbers_of(fresh.read(scattered)).tolist() == scattered.tolist()
    assert np.array_equal(fresh.read(scattered), film.read(scattered))
    film.close()
    assert numbers_of(film.read(np.array([N - 1, 0]))).tolist() == [N - 1, 0]


def test_most_films_are_not_decoded_to_be_listed(tmp_path: Path) -> None:
    trusted = {
        name: VideoFile(write(tmp_path / name, GREY, *FILMS[name]), "v")._index.at is not None
        for name in FILMS
    }
    assert {name for name, by_time in trusted.items() if not by_time} <= {
        "b_frames.avi", "program.mpg", "raw.h264", "hidden.webm"
    }  # fmt: skip


def test_frames_of_a_film_with_a_variable_rate_are_counted_and_not_timed(tmp_path: Path) -> None:
    at = np.cumsum(np.random.default_rng(1).integers(5, 90, N))
    options = {**B_FRAMES, "x264-params": "scenecut=0"}
    film = VideoFile(write(tmp_path / "vfr.mkv", GREY, "libx264", "yuv420p", options, at), "video")
    assert numbers_of(film.read(np.array([60, 3, 33, 4]))).tolist() == [60, 3, 33, 4]
    assert np.allclose(film.times_s, (at - at[0]) / 1000, atol=1e-3)


def test_lossless_pixels_are_read_as_they_are_and_colour_keeps_its_order(tmp_path: Path) -> None:
    grey = np.random.default_rng(2).integers(0, 256, (5, 8, 10), np.uint8)
    film = VideoFile(write(tmp_path / "grey.mkv", grey, "ffv1", "gray"), "video")
    assert np.array_equal(film.read(np.arange(5))[:, 0], grey)
    colour = np.random.default_rng(3).integers(0, 256, (5, 8, 10, 3), np.uint8)
    path = write(tmp_path / "colour.mkv", colour, "ffv1", "bgr0")
    film = VideoFile(path, "video")
    assert film.shape == (3, 8, 10)
    assert np.array_equal(film.read(np.arange(5)), np.moveaxis(colour, -1, 1))
    assert VideoFile(path, "video", colour=False).read(np.array([0])).shape == (1, 1, 8, 10)


def test_limited_and_full_range_give_the_same_grey(tmp_path: Path) -> None:
    steps = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[:, None, None], 16, 1).repeat(16, 2)
    ranges = {"a.mp4": ("libx264", "yuv420p", {"qp": "0"}), "b.avi": ("mjpeg", "yuvj420p", {"qmax": "2"})}
    for name, (codec, pixels, options) in ranges.items():
        film = VideoFile(write(tmp_path / name, steps, codec, pixels, options), "video")
        read = film.read(np.arange(len(steps)))[:, 0].mean(axis=(1, 2))
        assert np.abs(read - steps[:, 0, 0]).max() <= 2, name


def test_colour_that_comes_late_is_not_lost_in_silence(tmp_path: Path) -> None:
    film = np.repeat(GREY[..., None], 3, axis=-1)
    film[33, :10, :10] = (200, 0, 0)
    path = write(
        tmp_path / "late.mkv", film, "libx264", "yuv444p", {"g": "60", "bf": "0", "x264-params": "scenecut=0"}
    )
    late = VideoFile(path, "video")
    if late.shape[0] == 1:
        with pytest.raises(DataError, match=r"video: frame 33 of late.mkv has colour.*colour: true"):
            late.read(np.array([33]))
    assert VideoFile(path, "video", colour=True).read(np.array([33]))[0, 0, 2, 2] > 150


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("b_frames.mp4", lambda b: b[: len(b) // 2], r"the field: b_frames.mp4 cannot be read as a video"),
        ("b_frames.mp4", lambda b: b"not a film at all", r"cannot be read as a video"),
        ("b_frames.mp4", lambda b: b"", r"cannot be read as a video"),
    ],
)
def test_a_broken_file_is_one_message(name: str, spoil: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, GREY, *FILMS[name])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        VideoFile(path, "the field").read(np.array([N - 1]))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_film_has_no_threads_that_a_fork_would_lose(tmp_path: Path) -> None:
    path = write(tmp_path / "b.mp4", GREY, "libx264", "yuv420p", {"g": "20"})
    before = set(os.listdir("/proc/self/task"))
    film = VideoFile(path, "the field")
    film.read(np.arange(N))
    assert set(os.listdir("/proc/self/task")) <= before
    film.close()


def test_damage_within_a_film_is_told_where_it_is_met(tmp_path: Path) -> None:
    path = write(tmp_path / "b.mp4", GREY, "libx264", "yuv420p", {"bf": "0", "crf": "5", "g": "20"})
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux() if packet.size][35]
    whole = path.read_bytes()
    at, size = whole.find(packet) + 5, len(packet) - 5
    path.write_bytes(whole[:at] + bytes(x ^ 0x5A for x in whole[at : at + size]) + whole[at + size :])
    film = VideoFile(path, "the field")
    assert numbers_of(film.read(np.array([34, 45]))).tolist() == [34, 45]
    with pytest.raises(DataError, match=r"the field: b.mp4 cannot be read as a video \(.*frame 35"):
        film.read(np.array([35]))


def test_a_film_that_was_cut_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "b.mkv", GREY, "ffv1", "gray")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert VideoFile(path, "the field").n_pictures < N
    assert "the field: b.mkv lasts 2.33 s by its header, and its frames end at 1." in caplog.text


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the field: there is no file .*film.mp4"):
        VideoFile(tmp_path / "film.mp4", "the field")
    film = VideoFile(write(tmp_path / "b.mkv", GREY[:9], "ffv1", "gray"), "the field")
    with pytest.raises(DataError, match=r"the field: frame 9 is asked for, and b.mkv has 9 frames, 0 to 8"):
        film.read(np.array([3, 9]))
