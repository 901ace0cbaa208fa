"""The events format: folders of sorters, loose arrays, frames, films, clocks, gaze, trials; and what is refused."""

import csv
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
import zarr
from scipy.io import savemat

from event_files import (
    CLUSTERS,
    COLUMNS,
    COUNTS,
    LABELS,
    ONSETS,
    RATE_HZ,
    ROWS,
    SPIKES_S,
    T0_S,
    VIDEO,
    N,
    Raw,
    make_lab,
    opened,
    read,
    session,
    source,
)
from shared_cases import CASES, needs_cases
from visioncore.data import build_data_config, prepare
from visioncore.data.sources.events_config import EventsSessionConfig
from visioncore.errors import VisionCoreError


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return make_lab(tmp_path)


@needs_cases
def test_the_case_of_a_retina_lab_is_read_to_its_truth(tmp_path: Path) -> None:
    for path in (CASES / "checkerboard_ran1").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    from visioncore.data import load_data_config

    truth = np.load(tmp_path / "truth.npz")
    store = prepare(load_data_config(tmp_path / "vc.yaml"), tmp_path)
    stored = store.sessions["rgc"]
    assert np.array_equal(stored.video(0, 3000)[:, 0], truth["video"])
    assert np.array_equal(stored.responses(0, 3000), truth["counts"])
    assert np.array_equal(stored.valid(0, 3000).all(axis=1), truth["valid"])
    assert store.spec.session("rgc").unit_ids == tuple(truth["unit_ids"])
    assert abs(store.spec.rate_hz - 59.9417 / 2) < 1e-9


@needs_cases
def test_the_broken_folder_of_the_cases_is_refused() -> None:
    with pytest.raises(
        VisionCoreError, match=r"spike_clusters\.npy: 99 labels of clusters, and 100 spike times"
    ):
        opened(CASES / "errors", spikes={"phy": "ks_mismatch"})


def test_a_phy_folder_is_read_through_prepare(lab: Path) -> None:
    raw = {
        "type": "events",
        "params": {"sampling_rate_hz": RATE_HZ, "sessions": [session()]},
        "split": {"block_s": 2.0, "split_gap_s": 0.25},
    }
    store = prepare(build_data_config(raw, "data.yaml"), lab)
    stored = store.sessions["one"]
    assert store.spec.session("one").unit_ids == ("2", "5", "40")
    assert store.spec.session("one").units == {"group": ("good", "mua", "good")}
    assert np.array_equal(stored.responses(0, N), COUNTS)
    assert np.array_equal(stored.video(0, N)[:, 0], VIDEO)
    assert stored.valid(0, N).all()


def test_groups_choose_clusters(lab: Path) -> None:
    recording = opened(lab, spikes={"phy": "ks4/", "groups": ["good"]})
    assert recording.spec.unit_ids == ("2", "40")
    assert np.array_equal(read(recording, "responses"), COUNTS[:, [0, 2]])


def test_curation_counts_before_the_sorters_word_and_columns_are_carried(lab: Path) -> None:
    ks = lab / "ks4"
    (ks / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n2\tmua\n5\tgood\n40\tgood\n")
    (ks / "cluster_Amplitude.tsv").write_text("cluster_id\tAmplitude\n2\t10.5\n5\t3\n40\t7\n99\t1\n")
    (ks / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tgood\n")
    spec = opened(lab).spec
    assert spec.units["group"] == ("good", "unsorted", "unsorted")
    assert spec.units["KSLabel"] == ("mua", "good", "good")
    assert spec.units["Amplitude"] == (10.5, 3, 7)

    (ks / "cluster_group.tsv").unlink()
    assert opened(lab).spec.units["group"] == ("mua", "good", "good")

    info = (
        "id\tdepth\tKSLabel\tgroup\tquality\n2\t120.5\tmua\t\t\n5\t80\tgood\tnoise\t\n40\t60\tgood\tgood\tx\n"
    )
    (ks / "cluster_info.tsv").write_text(info)
    spec = opened(lab).spec
    assert spec.units["group"] == ("unsorted", "noise", "good")
    assert spec.units["depth"] == (120.5, 80, 60)
    assert spec.units["quality"] == (None, None, "x")
    assert "Amplitude" not in spec.units


def test_templates_stand_for_clusters_that_nobody_has_curated(lab: Path) -> None:
    (lab / "ks4" / "spike_clusters.npy").rename(lab / "ks4" / "spike_templates.npy")
    np.save(lab / "ks4" / "spike_templates.npy", LABELS.astype(np.uint32))
    assert np.array_equal(read(opened(lab), "responses"), COUNTS)


@pytest.mark.parametrize("rate", ["30000", "3e4", "30000.0  # Hz"])
def test_params_are_parsed_and_never_run(lab: Path, rate: str) -> None:
    evil = f"import os\nos.mkdir({str(lab / 'ran')!r})\ndat_path = os.path.join('a', 'b')\nsample_rate = {rate}\n"
    (lab / "ks4" / "params.py").write_text(evil)
    assert np.array_equal(read(opened(lab), "responses"), COUNTS)
    assert not (lab / "ran").exists()


def test_folders_of_ibl_are_read_with_identifiers_in_their_names(lab: Path) -> None:
    alf = lab / "alf"
    alf.mkdir()
    uuid = "0e6a5a4c-1f3c-4b7e-9d3e-0123456789ab"
    np.save(alf / f"spikes.times.{uuid}.npy", SPIKES_S)
    np.save(alf / f"spikes.clusters.{uuid}.npy", LABELS.astype(np.uint16))
    np.save(alf / f"spikes.times_probe.{uuid}.npy", SPIKES_S + 77)
    np.save(alf / "clusters.depths.npy", np.arange(50.0))
    with (alf / "clusters.metrics.csv").open("w", newline="") as file:
        rows: list[tuple[Any, ...]] = [(2, 1.0, "good"), (5, 0.33, "mua"), (40, 1.0, "good")]
        csv.writer(file).writerows([("cluster_id", "label", "ks2_label"), *rows])
    recording = opened(lab, spikes={"phy": "alf", "groups": ["good"]})
    assert np.array_equal(read(recording, "responses"), COUNTS[:, [0, 2]])
    assert recording.spec.units["depths"] == (2.0, 40.0)
    assert recording.spec.units["label"] == (1.0, 1.0)

    pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    (alf / "clusters.metrics.csv").unlink()
    table = pa.table({"cluster_id": list(CLUSTERS), "ks2_label": ["mua", "good", "mua"]})
    parquet.write_table(table, alf / "clusters.metrics.pqt")
    assert opened(lab, spikes={"phy": "alf", "groups": ["good"]}).spec.unit_ids == ("5",)


def _as_mat(folder: Path) -> Raw:
    savemat(folder / "spikes.mat", {"t": SPIKES_S[None], "unit": LABELS[:, None]})
    return {"times": "spikes.mat:t", "clusters": "spikes.mat:unit"}


def _as_mat_73(folder: Path) -> Raw:
    with h5py.File(folder / "spikes.mat", "w", userblock_size=512) as file:
        file["t"], file["unit"] = SPIKES_S[:, None], LABELS[None].astype(float)
    return {"times": "spikes.mat:t", "clusters": "spikes.mat:unit"}


def _as_text(folder: Path) -> Raw:
    (folder / "t.txt").write_text("% seconds\n" + "\n".join(f"{t:.9f}" for t in SPIKES_S))
    (folder / "c.csv").write_text("n,cluster\n" + "\n".join(f"{n},{c}" for n, c in enumerate(LABELS)))
    return {"times": "t.txt", "clusters": "c.csv:cluster"}


def _as_samples(folder: Path) -> Raw:
    np.save(folder / "t.npy", np.round((SPIKES_S - 1) * 25_000).astype(np.int64))
    np.save(folder / "c.npy", LABELS.astype(float))
    return {
        "times": "t.npy",
        "clusters": "c.npy",
        "times_unit": "samples",
        "sample_rate_hz": 25_000,
        "t0_s": 1.0,
    }


def _as_ms(folder: Path) -> Raw:
    np.save(folder / "t.npy", SPIKES_S * 1e3)
    np.save(folder / "c.npy", LABELS)
    return {"times": "t.npy", "clusters": "c.npy", "times_unit": "ms"}


def _with_table(folder: Path) -> Raw:
    (folder / "cells.csv").write_text("cluster_id,type,group\n2,on,good\n5,off,good\n40,on,bad\n")
    np.save(folder / "t.npy", SPIKES_S[::-1])
    np.save(folder / "c.npy", LABELS[::-1])
    return {"times": "t.npy", "clusters": "c.npy", "units": "cells.csv"}


@pytest.mark.parametrize("write", [_as_mat, _as_mat_73, _as_text, _as_samples, _as_ms, _with_table])
def test_loose_spikes_are_read(lab: Path, write: Callable[[Path], Raw]) -> None:
    recording = opened(lab, spikes=write(lab))
    assert recording.spec.unit_ids == ("2", "5", "40")
    assert np.array_equal(read(recording, "responses"), COUNTS)
    if write is _with_table:
        assert recording.spec.units == {"type": ("on", "off", "on"), "group": ("good", "good", "bad")}


def _film_zarr(folder: Path) -> Raw:
    zarr.save_array(folder / "film.zarr", VIDEO)  # type: ignore[arg-type]
    return {"path": "film.zarr"}


def _film_zarr_group(folder: Path) -> Raw:
    group = zarr.open_group(folder / "film.zarr", mode="w")
    group["stim"], group["other"] = VIDEO, VIDEO[::-1]
    return {"path": "film.zarr:stim"}


def _film_hdf5(folder: Path) -> Raw:
    with h5py.File(folder / "film.h5", "w") as file:
        file.create_dataset("a/stim", data=VIDEO.transpose(2, 1, 0), chunks=(COLUMNS, ROWS, 50))
    return {"path": "film.h5:a/stim", "axes": "xyt"}


def _film_transposed(folder: Path) -> Raw:
    np.save(folder / "film.npy", VIDEO.transpose(0, 2, 1))
    return {"path": "film.npy", "axes": "txy"}


@pytest.mark.parametrize("write", [_film_zarr, _film_zarr_group, _film_hdf5, _film_transposed])
def test_films_are_read_from_arrays(lab: Path, write: Callable[[Path], Raw]) -> None:
    recording = opened(lab, video=write(lab))
    assert np.array_equal(read(recording, "video")[:, 0], VIDEO)
    assert np.array_equal(recording.read("video", 700, 703)[:, 0], VIDEO[700:703])


def test_colour_and_truth_values_and_floats(lab: Path) -> None:
    colour = np.random.default_rng(5).integers(0, 256, (N, ROWS, COLUMNS, 3), dtype=np.uint8)
    np.save(lab / "film.npy", colour)
    assert np.array_equal(read(opened(lab), "video"), np.moveaxis(colour, -1, 1))
    np.save(lab / "film.npy", VIDEO > 127)
    assert np.array_equal(read(opened(lab), "video")[:, 0], np.uint8(255) * (VIDEO > 127))
    np.save(lab / "film.npy", VIDEO / 255.0)
    assert read(opened(lab), "video").dtype == np.float32


def test_a_film_in_a_video_file_with_an_index_of_frames(lab: Path) -> None:
    av = import_module("av")
    with av.open(str(lab / "film.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=60)
        stream.height, stream.width, stream.pix_fmt = ROWS, COLUMNS, "gray"
        stream.codec_context.thread_count = 1  # its threads would not survive the fork of a later test
        for pixels in VIDEO[:100]:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    index = np.random.default_rng(0).integers(0, 100, N)
    index[500:510] = -1
    np.save(lab / "index.npy", index[:, None].astype(float))
    recording = opened(lab, video={"path": "film.mkv"}, frames={"times_s": "flips.npy", "index": "index.npy"})
    known = index >= 0
    assert np.array_equal(read(recording, "video")[known, 0], VIDEO[index[known]])
    assert np.array_equal(read(recording, "valid").all(axis=1), known)


@pytest.mark.parametrize(
    ("times_are", "rate_hz"), [(None, RATE_HZ), ("refreshes", RATE_HZ), (None, RATE_HZ / 2)]
)
def test_a_picture_stays_for_several_refreshes(lab: Path, times_are: str | None, rate_hz: float) -> None:
    np.save(lab / "film.npy", VIDEO[: N // 2])
    frames = {"times_s": "flips.npy"} | ({"times_are": times_are} if times_are else {})
    recording = opened(lab, rate_hz, video={"path": "film.npy", "refreshes_per_frame": 2}, frames=frames)
    assert np.array_equal(
        read(recording, "video")[:, 0], VIDEO[np.arange(N) // 2][:: round(RATE_HZ / rate_hz)]
    )


def test_times_of_frames_that_are_slower_than_a_display_are_of_frames(lab: Path) -> None:
    np.save(lab / "flips.npy", ONSETS[::2])
    board = {"name": "pcg64", "seed": 1, "rows": 4, "columns": 6, "refreshes_per_frame": 2}
    slow = opened(lab, RATE_HZ / 2, video={"generator": board})
    board["refreshes_per_frame"] = 1
    assert np.array_equal(
        read(slow, "video"), read(opened(lab, RATE_HZ / 2, video={"generator": board}), "video")
    )


def test_a_stixel_is_a_pixel_and_its_size_is_geometry(lab: Path) -> None:
    board = {"name": "pcg64", "seed": 1, "rows": 4, "columns": 6, "stixel_px": 8}
    spec = opened(lab, video={"generator": board}, geometry={"um_per_pixel": 3.5}).spec
    assert spec.geometry.um_per_pixel == 28.0


def test_gaze_on_its_own_clock_and_where_it_is_lost(lab: Path) -> None:
    times = T0_S - 1 + np.arange(25_000) / 1000
    xy = np.stack([np.sin(times), np.cos(times)], axis=1)
    ok = np.ones(len(times), bool)
    ok[10_000:10_200] = False
    xy[5_000:5_100] = np.nan
    for name, array in (
        ("t", times),
        ("xy", xy),
        ("ok", ok),
        ("speed", times[::10] ** 2),
        ("ts", times[::10]),
    ):
        np.save(lab / f"{name}.npy", array)
    gaze = {"times_s": "t.npy", "xy_deg": "xy.npy", "valid": "ok.npy", "pixels_per_degree": 37.5}
    running = {"names": ["speed"], "times_s": "ts.npy", "values": "speed.npy"}
    recording = opened(lab, gaze=gaze, behaviour=[running])
    assert recording.spec.behaviour_names == ("gaze_x", "gaze_y", "speed")
    assert recording.spec.geometry.degrees_per_pixel == pytest.approx(1 / 37.5)
    behaviour, valid = read(recording, "behaviour"), read(recording, "valid")[:, 0]
    starts = recording.bins.start_s
    expected = np.stack([np.sin(starts), np.cos(starts), starts**2], axis=1)
    assert np.abs(behaviour - expected)[valid].max() < 0.5
    assert np.abs(behaviour - expected)[valid][:, :2].max() < 2e-3
    lost = ((starts > times[10_000]) & (starts < times[10_199])) | (
        (starts > times[5_000]) & (starts < times[5_099])
    )
    assert not valid[lost].any()
    assert valid[~lost].mean() > 0.99


def test_two_clocks_and_a_delay_of_the_display(lab: Path) -> None:
    def to_display(times_s: np.ndarray) -> np.ndarray:
        return (times_s - 100) * (1 - 5e-5)

    pulses = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 40))
    np.save(lab / "e.npy", pulses)
    np.save(lab / "d.npy", to_display(np.delete(pulses, [3, 17])))
    np.save(lab / "flips.npy", to_display(ONSETS - 0.02))
    rows = [[to_display(ONSETS[100] - 0.02), to_display(ONSETS[700] - 0.02)]]
    (lab / "trials.csv").write_text("start_s,stop_s\n" + "\n".join(f"{a:.6f},{b:.6f}" for a, b in rows))
    frames = {"times_s": "flips.npy", "display_delay_s": 0.02}
    recording = opened(
        lab, sync={"ephys_s": "e.npy", "display_s": "d.npy"}, frames=frames, trials="trials.csv"
    )
    assert np.abs(recording.bins.start_s - ONSETS[100:700]).max() < 1e-5
    assert np.array_equal(read(recording, "responses"), COUNTS[100:700])
    assert np.abs(recording.session.clocks[0].residuals_s).max() < 1e-6
    assert len(recording.session.clocks[0].residuals_s) == 38


def test_trials_and_all_that_is_known_of_them(lab: Path) -> None:
    header = "stop_s,start_s,stimulus_id,kind,split,group,contrast,place"
    film = VIDEO.copy()
    film[600:900] = film[0:300]
    np.save(lab / "film.npy", film)
    rows = [
        (ONSETS[900] + 1e-4, ONSETS[600] + 1e-4, "a", "noise", "test", "", 0.5, "left"),
        (ONSETS[300] - 1e-4, ONSETS[0] - 1e-4, "a", "noise", "test", "", 0.25, ""),
        (ONSETS[590], ONSETS[310], "", "", "train", "g", "nan", "right"),
        (500.0, 499.0, "x", "", "", "", 1, ""),
    ]
    (lab / "trials.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    recording = opened(lab, trials="trials.csv")
    found = [(t.start, t.stop, t.split, t.stimulus_id, t.kind, t.group) for t in recording.trials]
    assert found == [
        (0, 300, "test", "a", "noise", None),
        (300, 580, "train", None, "video", "g"),
        (580, 880, "test", "a", "noise", None),
    ]
    assert recording.trial_columns == {"contrast": (0.25, None, 0.5), "place": (None, "right", "left")}
    assert np.array_equal(read(recording, "video")[300:580, 0], VIDEO[310:590])


def test_a_session_is_known_by_its_content_and_not_by_its_places(lab: Path) -> None:
    before = source(lab).fingerprint("one")
    (lab / "ks4").rename(lab / "sorted")
    (lab / "film.npy").rename(lab / "f.npy")
    moved = source(lab, spikes={"phy": "sorted"}, video={"path": "f.npy"})
    assert moved.fingerprint("one") == before
    (lab / "sorted" / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tgood\n5\tgood\n40\tgood\n")
    assert moved.fingerprint("one") != before
    assert (
        source(lab, RATE_HZ / 2, spikes={"phy": "sorted"}, video={"path": "f.npy"}).fingerprint("one")
        != before
    )


def test_settings_survive_a_round_through_json(lab: Path) -> None:
    settings = source(lab).settings(cast(EventsSessionConfig, source(lab).sessions[0]))
    assert "ks4" not in json.dumps(settings)
