"""NWB files whose stimulus lies in video files, in another NWB file, or in a picture each."""

from pathlib import Path

import av
import h5py
import numpy as np
import pynwb
import pytest
from pynwb.base import Images
from pynwb.image import GrayscaleImage, ImageSeries, IndexSeries

from nwb_files import (
    RATE_HZ,
    opened,
    read,
    screen,
    some_spikes,
    write,
)
from visioncore.errors import DataError


def _video(path: Path, pictures: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "gray"
        stream.codec_context.thread_count = 1  # its threads would not survive the fork of a later test
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())


def _external(path: Path, starts: list[int]) -> None:
    """As MICrONS has what was shown."""

    def fill(nwb: pynwb.NWBFile) -> None:
        shown = ImageSeries(
            name="shown",
            external_file=["videos/a.mkv", "videos/b.mkv"],
            starting_frame=starts,
            format="external",
            timestamps=1 + np.arange(50) / RATE_HZ,
            unit="n.a.",
        )
        nwb.add_acquisition(shown)
        some_spikes(nwb)

    write(path, fill)
    with h5py.File(path, "r+") as h5:
        h5.move("acquisition/shown", "acquisition/Video: stimulus_1")


def test_video_files_beside_the_nwb_file_are_one_film_and_need_no_axes(tmp_path: Path) -> None:
    pictures = screen(50, height=16, width=24)
    _video(tmp_path / "videos" / "a.mkv", pictures[:30])
    _video(tmp_path / "videos" / "b.mkv", pictures[30:])
    _external(tmp_path / "a.nwb", [0, 30])
    recording = opened("a.nwb", tmp_path, stimulus="Video: stimulus_1")
    assert (read(recording, "video")[:, 0] == pictures).all()
    _external(tmp_path / "b.nwb", [0, 25])
    with pytest.raises(DataError, match=r"external_file: videos/b.mkv starts at frame 25.*have 30 frames"):
        opened("b.nwb", tmp_path, stimulus="Video: stimulus_1")
    _video(tmp_path / "videos" / "b.mkv", pictures[30:45])
    with pytest.raises(DataError, match="45 frames, but 50 timestamps"):
        opened("a.nwb", tmp_path, stimulus="Video: stimulus_1")
    (tmp_path / "videos" / "b.mkv").unlink()
    with pytest.raises(DataError, match=r"there is no file videos/b\.mkv"):
        opened("a.nwb", tmp_path, stimulus="Video: stimulus_1")


def test_a_stimulus_in_another_file_is_followed_and_a_lost_one_is_named(tmp_path: Path) -> None:
    """Allen's 2-photon sessions are split into a processed and a raw file that links to it."""
    shown = {"timestamps": np.arange(50) / RATE_HZ, "unit": "n.a."}
    write(
        tmp_path / "raw.nwb", lambda nwb: nwb.add_stimulus(ImageSeries(name="film", data=screen(50), **shown))
    )
    write(tmp_path / "a.nwb", some_spikes)
    with h5py.File(tmp_path / "a.nwb", "r+") as h5:
        h5["stimulus/presentation/film"] = h5py.ExternalLink("raw.nwb", "/stimulus/presentation/film")
    recording = opened("a.nwb", tmp_path, stimulus="film", axes="tyx")
    assert (read(recording, "video")[:, 0] == screen(50)).all()
    (tmp_path / "raw.nwb").rename(tmp_path / "elsewhere.nwb")
    with pytest.raises(
        DataError, match=r"/stimulus/presentation/film is a link that leads nowhere.*raw\.nwb"
    ):
        opened("a.nwb", tmp_path, stimulus="film", axes="tyx")


@pytest.mark.parametrize(
    ("change", "told"),
    [("size", r"im1: has shape \(5, 8\), and im0 \(6, 8\)"), ("order", "has no order_of_images")],
)
def test_images_of_two_sizes_or_in_no_order_are_refused(change: str, told: str, tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        heights = (6, 5) if change == "size" else (6, 6)
        images = [GrayscaleImage(name=f"im{k}", data=screen(1, height=h)[0]) for k, h in enumerate(heights)]
        references = pynwb.base.ImageReferences(name="order_of_images", data=images)
        nwb.add_stimulus_template(film := Images(name="film", images=images, order_of_images=references))
        index = np.array([0, 1, 0, 1], np.uint32)
        nwb.add_stimulus(IndexSeries(name="shows", data=index, unit="N/A", rate=50.0, indexed_images=film))
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    if change == "order":
        with h5py.File(tmp_path / "a.nwb", "r+") as h5:
            del h5["stimulus/templates/film/order_of_images"]
    with pytest.raises(DataError, match=told):
        opened("a.nwb", tmp_path, stimulus="shows", axes="tyx")
