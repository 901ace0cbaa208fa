"""Traces, behaviour and masks of NWB files, each on its own clock; files on a server; files larger than memory."""

import functools
import http.server
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
import pytest
from pynwb.behavior import EyeTracking, SpatialSeries
from pynwb.image import ImageSeries
from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

from nwb_files import (
    add_spikes,
    counts_for,
    opened,
    read,
    screen,
    series,
    some_spikes,
    spikes_of,
    table,
    write,
)
from visioncore.data.inspection.nwb import inspect_nwb
from visioncore.data.sources.nwb import traces
from visioncore.errors import ConfigError, DataError

N = 100
HOW: dict[str, Any] = {"stimulus": "movie", "axes": "tyx"}


def _movie(nwb: pynwb.NWBFile, n: int = N) -> None:
    shown = {"timestamps": np.arange(n) / 50, "unit": "n.a."}
    nwb.add_stimulus(ImageSeries(name="movie", data=screen(n), **shown))


def _planes(nwb: pynwb.NWBFile, times: list[np.ndarray], same_ids: bool) -> list[np.ndarray]:
    """Two planes of 3 and 4 regions; returns their traces (time, regions)."""
    device = nwb.create_device("microscope")
    channel = OpticalChannel("channel", "light", 500.0)
    module = nwb.create_processing_module("ophys", "traces")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    container = DfOverF()
    module.add(container)
    values = []
    for k, (n_regions, plane_times) in enumerate(zip((3, 4), times, strict=True)):
        plane = nwb.create_imaging_plane(
            name=f"plane{k}",
            optical_channel=channel,
            description="a plane",
            device=device,
            excitation_lambda=900.0,
            indicator="GCaMP",
            location=f"VISp{k}",
        )
        regions = segmentation.create_plane_segmentation("regions", plane, f"regions{k}")
        regions.add_column("valid_roi", "whether it is a cell")
        for own in range(n_regions):
            regions.add_roi(
                id=own + (0 if same_ids else 10 * k), image_mask=np.ones((2, 2)), valid_roi=own != 1
            )
        chosen = regions.create_roi_table_region("all", region=list(range(n_regions)))
        trace = np.random.default_rng(k).normal(size=(len(plane_times), n_regions))
        values.append(trace)
        container.add_roi_response_series(
            RoiResponseSeries(
                name=f"RoiResponseSeries{k}", data=trace, rois=chosen, unit="n.a.", timestamps=plane_times
            )
        )
    return values


def _put(path: Path, name: str, values: np.ndarray) -> None:
    """Data as pynwb does not write them, and files have them."""
    with h5py.File(path, "r+") as h5:
        attributes = dict(h5[name].attrs)
        del h5[name]
        h5[name] = values
        h5[name].attrs.update(attributes)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("same_ids", [False, True])
def test_each_plane_has_its_own_clock_and_lies_either_way_round(
    turned: bool, same_ids: bool, tmp_path: Path
) -> None:
    times = [0.003 + np.arange(20) * 0.1, 0.053 + np.arange(20) * 0.1]
    values: list[np.ndarray] = []

    def fill(nwb: pynwb.NWBFile) -> None:
        _movie(nwb)
        values.extend(_planes(nwb, times, same_ids))

    write(tmp_path / "a.nwb", fill)
    for k in range(2 if turned else 0):
        _put(tmp_path / "a.nwb", f"processing/ophys/DfOverF/RoiResponseSeries{k}/data", values[k].T)
    recording = opened("a.nwb", tmp_path, traces=["DfOverF"], **HOW)
    trace, valid = read(recording, "responses"), read(recording, "valid")
    for columns, own, bins in (
        (slice(0, 3), values[0], 5 * np.arange(20)),
        (slice(3, 7), values[1], 5 * np.arange(20) + 2),
    ):
        assert np.allclose(trace[bins, columns], own, atol=1e-6)
        assert valid[bins, columns].all()
        assert valid[:, columns].sum() == own.size
    assert recording.spec.response_kind == "trace"
    assert recording.spec.units["location"] == ("VISp0",) * 3 + ("VISp1",) * 4
    prefix = [f"RoiResponseSeries{k}/" if same_ids else "" for k in (0, 1)]
    ids = [
        *(f"{prefix[0]}{k}" for k in range(3)),
        *(f"{prefix[1]}{k + (0 if same_ids else 10)}" for k in range(4)),
    ]
    assert recording.spec.unit_ids == tuple(ids)
    some = opened("a.nwb", tmp_path, traces=["DfOverF"], unit_filter={"columns": {"valid_roi": True}}, **HOW)
    assert np.array_equal(read(some, "responses"), trace[:, [0, 2, 3, 5, 6]], equal_nan=True)
    one = opened("a.nwb", tmp_path, traces=["DfOverF/RoiResponseSeries1"], **HOW)
    assert len(one.spec.unit_ids) == 4
    with pytest.raises(
        DataError, match=r"no /units with spike_times; it has traces: .*RoiResponseSeries0.*traces"
    ):
        opened("a.nwb", tmp_path, **HOW)
    found = inspect_nwb(tmp_path / "a.nwb")
    assert found is not None
    assert len(found.proposal["params"]["sessions"][0]["traces"]) == 2


def test_traces_of_another_number_than_their_regions_are_refused(tmp_path: Path) -> None:
    times = [np.arange(20) * 0.1, np.arange(20) * 0.1]

    def fill(nwb: pynwb.NWBFile) -> None:
        _movie(nwb)
        _planes(nwb, times, same_ids=False)

    write(tmp_path / "a.nwb", fill)
    _put(tmp_path / "a.nwb", "processing/ophys/DfOverF/RoiResponseSeries0/data", np.zeros((20, 5)))
    with pytest.raises(
        DataError, match=r"RoiResponseSeries0/data: has shape \(20, 5\), and rois lists 3 regions"
    ):
        opened("a.nwb", tmp_path, traces=["DfOverF"], **HOW)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("slab_bytes", [1, 7 * 4 * 64, 10**6])
def test_traces_in_chunks_of_long_times_are_unpacked_once(
    slab_bytes: int, turned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32)
    monkeypatch.setattr(traces, "_SLAB_BYTES", slab_bytes)
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        chunks = (1, 64) if turned else (64, 1)
        stored = h5.create_dataset(
            "x", data=values.T if turned else values, chunks=chunks, compression="gzip"
        )
        rows = traces.LazyRows(stored, (5, 2), turned, "here", 2.0, 1.0)
        assert rows.shape == (200, 2)
        for start, stop in ((0, 30), (30, 100), (60, 61), (190, 200), (0, 200), (5, 5)):
            assert np.allclose(rows[start:stop], 2 * values[start:stop][:, [5, 2]] + 1)


def _behaving(nwb: pynwb.NWBFile) -> None:
    """Gaze in hundredths of a degree from before the film on; a pupil with blinks; a wheel that stops for a while."""
    _movie(nwb)
    some_spikes(nwb, 2.0)
    eye_times = -0.5 + np.arange(300) / 100
    gaze = np.stack([np.arange(300), -np.arange(300)], axis=1).astype(np.int16)
    tracking = EyeTracking()
    settings: dict[str, Any] = {"reference_frame": "screen", "unit": "degrees", "timestamps": eye_times}
    tracking.add_spatial_series(
        SpatialSeries(name="gaze", data=gaze, conversion=0.01, offset=5.0, **settings)
    )
    nwb.add_acquisition(tracking)
    blinks = np.zeros(300, bool)
    blinks[100:110] = True
    nwb.add_acquisition(series("likely_blink", blinks, eye_times, "n.a."))
    module = nwb.create_processing_module("running", "wheel")
    wheel_times = np.concatenate([np.arange(20) / 20, 1.5 + np.arange(15) / 20]) - 0.001
    module.add(series("running_speed", np.arange(35.0), wheel_times, "cm/s"))


def test_behaviour_is_read_in_its_unit_and_the_last_sample_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.nwb", _behaving)
    recording = opened("a.nwb", tmp_path, behaviour=["EyeTracking/gaze"], **HOW)
    assert recording.spec.behaviour_names == ("gaze_x", "gaze_y")
    held = 50 + 2 * np.arange(N)
    expected = 5 + 0.01 * np.stack([held, -held], axis=1)
    assert np.allclose(read(recording, "behaviour"), expected, atol=1e-5)
    assert read(recording, "valid").all()
    named = opened(
        "a.nwb", tmp_path, behaviour=[{"series": "gaze", "names": ["eye_x", "eye_y"]}, "running_speed"], **HOW
    )
    assert named.spec.behaviour_names == ("eye_x", "eye_y", "running_speed")
    valid = read(named, "valid")[:, 0]
    # The wheel's last sample before its pause is of 0.949 s, and holds for three samples (0.15 s).
    assert np.flatnonzero(~valid).tolist() == list(range(55, 75))


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ([{"series": "gaze", "names": ["x"]}], "gaze: has 2 columns, and names lists 1"),
        (
            ["gaze", {"series": "running_speed", "names": ["gaze_x"]}],
            "behaviour 'gaze_x' is of gaze and of running_speed",
        ),
        (["gaz"], "did you mean 'gaze'"),
    ],
)
def test_behaviour_that_is_named_wrongly_is_refused(behaviour: list[Any], told: str, tmp_path: Path) -> None:
    write(tmp_path / "a.nwb", _behaving)
    with pytest.raises(DataError, match=told):
        opened("a.nwb", tmp_path, behaviour=behaviour, **HOW)


def test_one_dataset_of_a_series_and_one_that_lies_the_other_way_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.nwb", _behaving)
    with h5py.File(tmp_path / "a.nwb", "r+") as h5:
        gaze = h5["acquisition/EyeTracking/gaze/data"][()]
        h5["acquisition/EyeTracking/gaze/area"] = np.arange(300.0)
    _put(tmp_path / "a.nwb", "acquisition/EyeTracking/gaze/data", gaze.T)
    recording = opened("a.nwb", tmp_path, behaviour=["gaze/area", "gaze"], **HOW)
    assert recording.spec.behaviour_names == ("area", "gaze_x", "gaze_y")
    held = 50 + 2 * np.arange(N)
    assert np.allclose(
        read(recording, "behaviour"), np.stack([held, 5 + 0.01 * held, 5 - 0.01 * held], axis=1), atol=1e-4
    )


def test_blinks_tables_and_invalid_times_count_for_no_unit(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        _behaving(nwb)
        nwb.add_invalid_time_interval(start_time=0.2, stop_time=0.3)
        nwb.add_time_intervals(table("off_screen", np.array([1.0]), np.array([1.1])))

    write(tmp_path / "a.nwb", fill)
    marked = np.flatnonzero(~read(opened("a.nwb", tmp_path, **HOW), "valid").all(axis=1))
    assert marked.tolist() == list(range(10, 15))
    all_of_them = opened("a.nwb", tmp_path, invalid=["likely_blink", "off_screen", "invalid_times"], **HOW)
    marked = np.flatnonzero(~read(all_of_them, "valid").all(axis=1))
    assert marked.tolist() == [*range(10, 15), *range(25, 30), *range(50, 55)]
    with pytest.raises(DataError, match=r"running_speed/data: is float64.*expected true or false"):
        opened("a.nwb", tmp_path, invalid=["running_speed"], **HOW)
    found = inspect_nwb(tmp_path / "a.nwb")
    assert found is not None
    session = found.proposal["params"]["sessions"][0]
    assert session["invalid"] == ["likely_blink"]
    assert session["behaviour"] == ["gaze", "running_speed"]
    assert any("invalid_times" in note for note in found.notes)


def test_a_unit_counts_only_while_it_was_observed(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        _movie(nwb)
        times = np.linspace(0.005, 1.9, 60)
        nwb.add_unit(spike_times=times, obs_intervals=[[0.0, 0.5], [1.0, 2.0]])
        nwb.add_unit(spike_times=times, obs_intervals=[[-5.0, 20.0]])

    write(tmp_path / "a.nwb", fill)
    valid = read(opened("a.nwb", tmp_path, **HOW), "valid")
    assert np.flatnonzero(~valid[:, 0]).tolist() == list(range(25, 50))
    assert valid[:, 1].all()


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Gives parts of files, as servers of recordings do; `ranges` off: whole files only."""

    ranges = True
    asked: list[int] = []  # noqa: RUF012  (of all requests together)

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not path.is_file() or found is None or not self.ranges:
            super().do_GET()
            return
        content = path.read_bytes()
        start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
        self.asked.append(stop - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(_Ranges, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client keeps its connection
def test_a_file_on_a_server_is_read_in_parts(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = counts_for(N)

    def fill(nwb: pynwb.NWBFile) -> None:
        _movie(nwb)
        add_spikes(nwb, spikes_of(counts, np.arange(N) / 50, (np.arange(N) + 1) / 50))
        nwb.add_acquisition(
            series("raw", np.random.default_rng(0).normal(size=(50_000, 8)), np.arange(50_000) / 1e4)
        )

    path = write(tmp_path / "a.nwb", fill)
    monkeypatch.setattr(_Ranges, "asked", [])
    recording = opened(f"{server}/a.nwb", tmp_path, **HOW)
    assert (read(recording, "responses") == counts).all()
    assert (read(recording, "video")[:, 0] == screen(N)).all()
    assert 0 < sum(_Ranges.asked) < path.stat().st_size / 2
    with pytest.raises(DataError, match=r"the server answers 404 .*/b\.nwb"):
        opened(f"{server}/b.nwb", tmp_path, **HOW)
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/a\.nwb cannot be reached"):
        opened("http://127.0.0.1:1/a.nwb", tmp_path, **HOW)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "remfile", None)
        with pytest.raises(ConfigError, match=r"pip install 'visioncore\[nwb\]'"):
            opened(f"{server}/a.nwb", tmp_path, **HOW)
    monkeypatch.setattr(_Ranges, "ranges", False)
    with pytest.raises(DataError, match="gives whole files only; download the file"):
        opened(f"{server}/a.nwb", tmp_path, **HOW)


def test_a_film_larger_than_the_limit_is_read_in_pieces(tmp_path: Path) -> None:
    """64 MB of film, of which no more than a few are in memory at once."""
    import tracemalloc

    pictures = np.zeros((1000, 256, 256), np.uint8)
    pictures[:, 0, 0] = np.arange(1000) % 256

    def fill(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus(ImageSeries(name="movie", data=pictures, unit="n.a.", rate=50.0))
        some_spikes(nwb, 20.0)

    write(tmp_path / "a.nwb", fill)
    with warnings.catch_warnings():
        recording = opened("a.nwb", tmp_path, **HOW)
        tracemalloc.start()
        for start in range(0, 1000, 50):
            piece = recording.read("video", start, start + 50)
            assert (piece[:, 0, 0, 0] == np.arange(start, start + 50) % 256).all()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 20e6
